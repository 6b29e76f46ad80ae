//! The shell that an operator pastes into.

use crate::page::Block;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use testbed::executable::agent_runner;
use testbed::leave_out;

/// What the blocks call besides `agent-runner`.
const TOOLS: [&str; 4] = ["curl", "jq", "sqlite3", "openssl"];

/// Whether a program is in the path.
pub(crate) fn has(program: &str) -> bool {
    let find = Command::new("sh").args(["-c", "command -v \"$1\"", "sh", program]).output();
    find.is_ok_and(|output| output.status.success())
}

/// Whether everything is there that the blocks call; says so otherwise.
pub(crate) fn tools_are_there() -> bool {
    let missing: Vec<&str> = TOOLS.into_iter().filter(|tool| !has(tool)).collect();
    if !missing.is_empty() {
        leave_out("what runbooks say", &format!("{} not installed; type: make deps", missing.join(", ")));
    }
    missing.is_empty()
}

/// The shell understands the block.
pub(crate) fn can_be_read(page: &str, block: &Block) {
    let output = Command::new("bash").args(["-n", "-c", &block.text]).output().expect("bash");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{page}: {said}\n{}", block.text);
}

/// A shell in `folder` in which any failing command fails the block. What it starts in the background lives on.
pub(crate) fn shell(folder: &Path) -> Command {
    let beside = agent_runner().parent().map(PathBuf::from).unwrap_or_default();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let paths = std::iter::once(beside).chain(std::env::split_paths(&path));
    let mut command = Command::new("bash");
    testbed::stack::clean(&mut command);
    command.args(["-euo", "pipefail"]).current_dir(folder).stdin(Stdio::null());
    command.env("PATH", std::env::join_paths(paths).expect("a path"));
    command
}

/// Types a block in, expects it to work, and answers with what it said.
pub(crate) fn type_in(page: &str, block: &Block, shell: Command) -> String {
    let output = ended(&block.text, shell);
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    // Who asks what is wrong is told something.
    let told = block.section != "Diagnosis" || !output.stdout.is_empty() || !output.stderr.is_empty();
    assert!(
        output.status.success() && told,
        "{page}, {}: {}\n{}--- stdout\n{}--- stderr\n{}",
        block.section,
        output.status,
        block.text,
        said(&output.stdout),
        said(&output.stderr)
    );
    said(&output.stdout)
}

/// Types a text in and waits for its end, not for that of what it starts in the background.
pub(crate) fn ended(text: &str, mut shell: Command) -> Output {
    // Files, because what is started in the background keeps pipes open.
    let folder = tempfile::tempdir().expect("a folder");
    let (out, err) = (folder.path().join("out"), folder.path().join("err"));
    let status = shell
        .args(["-c", text])
        .stdout(std::fs::File::create(&out).expect("a file"))
        .stderr(std::fs::File::create(&err).expect("a file"))
        .status()
        .expect("bash can be started");
    let read = |path: &Path| std::fs::read(path).unwrap_or_default();
    Output { status, stdout: read(&out), stderr: read(&err) }
}
