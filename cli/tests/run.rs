//! `run` without a server, with the real executable.

mod lab;

use lab::{Lab, attempt_folder, job_folder, read_until, signal_to};
use rustix::process::Signal;
use std::io::{BufReader, Read, Write};
use std::process::Stdio;

#[test]
fn the_first_command_of_a_newcomer_leaves_result_logs_and_record_behind() {
    let lab = Lab::new();
    let said = lab.output(&["run", "echo", "--payload", r#"{"message":"Hello, World!"}"#]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let result: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(result["payload"]["message"], "Hello, World!");
    let words: Vec<&str> = said
        .err
        .lines()
        .filter(|l| l.starts_with("20"))
        .filter_map(|l| l.split_whitespace().nth(1))
        .collect();
    assert_eq!(words, ["QUEUED", "RUNNING", "SUCCEEDED"], "{}", said.err);
    let job = job_folder(&lab, result["job_id"].as_str().unwrap());
    let stored = std::fs::read_to_string(job.join("result.json")).unwrap();
    assert_eq!(said.out.trim_end(), stored.trim_end());
    for log in ["stdout.log", "stderr.log"] {
        assert!(attempt_folder(&job).join(log).is_file(), "{log}");
    }
    assert!(lab.path("data/agent-runner.db").is_file());
    assert!(!said.out.contains('\x1b') && !said.err.contains('\x1b'), "no colours into a pipe");
}

#[test]
fn the_exit_code_is_the_agents_or_says_why_there_is_none() {
    let lab = Lab::new();
    lab.write("job-types.toml", "[job_types.gone]\ncommand = ['./no-such-program']\n");
    let once = ["--set", "max_attempts=1"];
    let code = |words: &[&str]| {
        let said = lab.output(&[&["run"], words, &once].concat());
        assert_eq!(said.out, "", "nothing but a result goes to stdout: {said:?}");
        (said.code, said.err)
    };
    let (agent, said) = code(&["echo", "--payload", r#"{"fail_with_exit_code":7}"#]);
    assert_eq!(agent, Some(7), "{said}");
    assert!(said.contains("FAILED") && said.contains("NonZeroExitCode"), "{said}");
    let sleep = r#"{"sleep_seconds":600}"#;
    let limit = code(&["echo", "--payload", sleep, "--set", "attempt_timeout_seconds=1"]);
    assert_eq!(limit.0, Some(123), "{}", limit.1);
    assert_eq!(code(&["gone"]).0, Some(125));
    assert_eq!(code(&["echo", "--payload", r#"{"sleep_seconds":2}"#, "--timeout", "100ms"]).0, Some(124));
    let (refused, said) = code(&["ehco"]);
    assert_eq!(refused, Some(1));
    assert!(said.contains("did you mean \"echo\"?"), "{said}");
    assert_eq!(code(&["echo", "--payload", "{message"]).0, Some(2));
}

#[test]
fn the_payload_comes_from_stdin_or_a_file_too() {
    let lab = Lab::new();
    lab.write("payload.json", "[1.50]");
    let said = lab.output(&["run", "echo", "--payload-file", "payload.json"]);
    assert!(said.out.contains(r#""payload":[1.50]"#), "{said:?}");
    let mut child = lab
        .command(&["run", "echo", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"\"from stdin\"").unwrap();
    let said = lab::Said::of(child.wait_with_output().unwrap());
    assert!(said.out.contains(r#""payload":"from stdin""#), "{said:?}");
}

#[test]
fn two_at_once_in_one_folder_share_the_records_and_both_end() {
    let lab = Lab::new();
    let start = |n: u32| {
        let payload = format!(r#"{{"n":{n},"sleep_seconds":0.3}}"#);
        let mut command = lab.command(&["run", "echo", "--payload", &payload]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let children: Vec<_> = (0..4).map(start).collect();
    for (n, child) in children.into_iter().enumerate() {
        let said = lab::Said::of(child.wait_with_output().unwrap());
        assert_eq!(said.code, Some(0), "{said:?}");
        assert!(said.out.contains(&format!(r#""n":{n}"#)), "{said:?}");
    }
}

#[test]
fn ctrl_c_says_what_becomes_of_the_job_and_the_next_run_takes_it_over() {
    let lab = Lab::new();
    let mut child = lab
        .command(&["run", "echo", "--payload", r#"{"sleep_seconds":1}"#])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let begin = read_until(&mut stderr, "RUNNING");
    let job_id = begin.split("job ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap().to_owned();
    signal_to(&child, Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    assert!(rest.contains(&format!("left job {job_id}")) && rest.contains("goes on"), "{rest}");
    // Its worker lives on; whoever leads next accepts the outcome.
    let said = lab.output(&["run", "echo", "--payload", r#"{"sleep_seconds":2}"#]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let job = job_folder(&lab, &job_id);
    assert!(job.join("result.json").is_file(), "the result of the job that was left is not published");
    attempt_folder(&job);
}

#[test]
fn ctrl_c_while_the_job_is_being_submitted_does_not_say_that_nothing_was() {
    let lab = Lab::new();
    // A server that takes the request and is slow to answer it.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let child = lab.command(&["--url", &url, "run", "echo"]).stderr(Stdio::piped()).spawn().unwrap();
    let (mut connection, _) = listener.accept().unwrap();
    connection.read_exact(&mut [0; 4]).unwrap();
    signal_to(&child, Signal::INT);
    let said = lab::Said::of(child.wait_with_output().unwrap());
    assert_eq!(said.code, Some(130), "{said:?}");
    let expected = format!(
        "no answer to the submission has come; if the job was taken, it goes on at {url}; `agent-runner get` shows it"
    );
    assert!(said.err.contains(&expected), "{said:?}");
}

#[test]
fn bad_settings_are_reported_together_before_anything_is_made() {
    let lab = Lab::new();
    lab.write(".env", "AGENT_RUNNER_LOG_FORMAT=xml\n");
    let said = lab
        .command(&["run", "echo", "--durability", "fsync"])
        .env("AGENT_RUNNER_RECORDS", "redis://user:secret@host")
        .env("AGENT_RUNNER_RECRODS", "x")
        .output()
        .map(lab::Said::of)
        .unwrap();
    assert_eq!(said.code, Some(2), "{said:?}");
    let expected = [
        "AGENT_RUNNER_RECORDS=redis://…@host: this binary was built without redis; it has sqlite:<path>",
        "AGENT_RUNNER_DURABILITY=fsync: process or power",
        "AGENT_RUNNER_LOG_FORMAT=xml: text or json",
        "warning: AGENT_RUNNER_RECRODS is not a setting; did you mean AGENT_RUNNER_RECORDS?",
    ];
    for part in expected {
        assert!(said.err.contains(part), "{part} is not in {}", said.err);
    }
    assert!(!lab.path("data").exists());
}
