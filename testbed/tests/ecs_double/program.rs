//! The double as a program.

use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_program_says_where_it_listens_and_ends_at_sigterm() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ecs-double"));
    command.args(["--listen", "127.0.0.1:0", "--cluster", "mine", "--time-scale", "10"]);
    let mut program = Program(command.stdout(Stdio::piped()).spawn().expect("the program"));
    let mut line = String::new();
    BufReader::new(program.0.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
    let said: Value = serde_json::from_str(&line).expect("JSON");
    let state = ureq::get(format!("{}/_double/state", said["url"].as_str().expect("a URL")));
    let state: Value = state.call().expect("an answer").body_mut().read_json().expect("JSON");
    assert_eq!(state["launched"], 0);
    testbed::procfs::signal(program.0.id().cast_signed(), rustix::process::Signal::TERM);
    assert!(program.0.wait().expect("a child").success());
}

#[test]
fn the_program_refuses_what_it_does_not_know() {
    for arguments in [&["--lissten", "127.0.0.1:0"][..], &["--listen"], &["--listen", "nowhere"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ecs-double"));
        let output = command.args(arguments).output().expect("the program");
        assert!(!output.status.success() && output.stdout.is_empty(), "{arguments:?}");
    }
}
