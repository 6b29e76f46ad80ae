//! Where the real `agent-runner` is.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Names a ready executable to test instead of building one, for example a release build.
pub const EXECUTABLE: &str = "TESTBED_AGENT_RUNNER";

/// The executable of `agent-runner`, built in the profile of this test. Cargo sets no variable for the
/// executable of another package, so it is asked where it puts it; nothing is compiled when it is up to date.
///
/// # Panics
/// When it cannot be built.
pub fn agent_runner() -> &'static Path {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND.get_or_init(|| match std::env::var_os(EXECUTABLE) {
        Some(path) => std::path::absolute(path).expect("a path"),
        None => build(),
    })
}

fn build() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["build", "--quiet", "--locked", "--package", "agent-runner", "--bin", "agent-runner"])
        .arg("--message-format=json-render-diagnostics")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    if cfg!(feature = "crash-points") {
        command.args(["--features", "agent-runner-backends/crash-points"]);
    }
    let output = command.output().expect("cargo can be started");
    assert!(output.status.success(), "agent-runner cannot be built");
    let messages = String::from_utf8_lossy(&output.stdout);
    let mut executables = messages.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        message.get("executable")?.as_str().map(PathBuf::from)
    });
    executables.next_back().expect("cargo names the executable")
}
