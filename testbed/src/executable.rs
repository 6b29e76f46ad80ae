//! Where the real programs are.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Names a ready executable to test instead of building one, for example a release build.
pub const EXECUTABLE: &str = "TESTBED_AGENT_RUNNER";

/// Names a folder with ready executables of API, reconciler and worker.
pub const SERVERS: &str = "TESTBED_SERVERS";

/// The executable of `agent-runner`, built in the profile of this test. Cargo sets no variable for the
/// executable of another package, so it is asked where it puts it; nothing is compiled when it is up to date.
///
/// # Panics
/// When it cannot be built.
pub fn agent_runner() -> &'static Path {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND.get_or_init(|| match std::env::var_os(EXECUTABLE) {
        Some(path) => std::path::absolute(path).expect("a path"),
        None => build(&["agent-runner"]),
    })
}

/// The folder of `agent-runner-api`, `agent-runner-reconciler` and `agent-runner-worker`, built as
/// [`agent_runner`] is: with every backend, or without AWS where these tests are compiled without it.
///
/// # Panics
/// When they cannot be built.
pub fn servers() -> &'static Path {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND.get_or_init(|| match std::env::var_os(SERVERS) {
        Some(path) => std::path::absolute(path).expect("a path"),
        None => {
            let last = build(&["agent-runner-api", "agent-runner-reconciler", "agent-runner-worker"]);
            last.parent().expect("a folder").to_owned()
        }
    })
}

/// Builds the programs of the packages that are called as they are; the path of the last.
fn build(packages: &[&str]) -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--locked"]);
    for package in packages {
        command.args(["--package", package, "--bin", package]);
    }
    command
        .arg("--message-format=json-render-diagnostics")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    if cfg!(not(feature = "aws")) && packages.len() > 1 {
        // AWS would triple the time.
        command.args(["--no-default-features", "--features", "sqlite,redis,process"]);
    }
    if cfg!(feature = "crash-points") {
        command.args(["--features", "agent-runner-backends/crash-points"]);
    }
    let output = command.output().expect("cargo can be started");
    assert!(output.status.success(), "{packages:?} cannot be built");
    let messages = String::from_utf8_lossy(&output.stdout);
    let mut executables = messages.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        message.get("executable")?.as_str().map(PathBuf::from)
    });
    executables.next_back().expect("cargo names the executable")
}
