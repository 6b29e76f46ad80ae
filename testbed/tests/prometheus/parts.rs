//! API and reconciler as programs of their own on one SQLite file, as other installations run them.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use testbed::Client;
use testbed::stack::{clean, free_port};

const READY: Duration = Duration::from_secs(30);

/// See the module. Both end with this value.
pub(crate) struct Parts {
    folder: TempDir,
    programs: Vec<Child>,
    api: Client,
    metrics: Client,
}

impl Parts {
    /// Starts both and waits until they are ready.
    pub(crate) fn start() -> Self {
        let folder = TempDir::with_prefix("agent-runner-parts-").expect("a folder");
        let [api, metrics] = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
        let client = |address: &str| Client::new(format!("http://{address}"));
        let mut parts = Self { folder, programs: Vec::new(), api: client(&api), metrics: client(&metrics) };
        // It has to stand beside the reconciler.
        let _ = executable("agent-runner-worker", "sqlite");
        for (program, features) in
            [("agent-runner-reconciler", "sqlite,process"), ("agent-runner-api", "sqlite")]
        {
            let log = File::create(parts.folder.path().join(format!("{program}.log"))).expect("a log");
            let mut command = Command::new(executable(program, features));
            clean(&mut command);
            command
                .current_dir(parts.folder.path())
                .env("AGENT_RUNNER_LISTEN", &api)
                .env("AGENT_RUNNER_METRICS_LISTEN", &metrics)
                .stdin(Stdio::null())
                .stdout(log.try_clone().expect("a second handle"))
                .stderr(log);
            parts.programs.push(command.spawn().expect("it can be started"));
        }
        parts.ready();
        parts
    }

    fn ready(&self) {
        let until = Instant::now() + READY;
        for client in [&self.api, &self.metrics] {
            while !client.ask("GET", "/readyz", &[], None).is_ok_and(|answer| answer.status == 200) {
                assert!(Instant::now() < until, "{} is not ready\n{}", client.base(), self.logs());
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    fn logs(&self) -> String {
        let log = |name: &str| std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        log("agent-runner-api.log") + &log("agent-runner-reconciler.log")
    }

    /// A client of the API.
    pub(crate) fn api(&self) -> Client {
        self.api.clone()
    }

    /// A client of the reconciler's own listener.
    pub(crate) fn metrics(&self) -> Client {
        self.metrics.clone()
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        if std::thread::panicking() {
            testbed::say(&self.logs());
        }
        for program in &mut self.programs {
            let _ = program.kill();
            let _ = program.wait();
        }
        for left in testbed::procfs::belonging_to(self.folder.path()) {
            left.kill();
        }
    }
}

/// One of the server programs, built with the backends of a laptop; nothing is compiled when it is up to date.
fn executable(name: &str, features: &str) -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["build", "--quiet", "--locked", "--package", name, "--bin", name])
        .args(["--no-default-features", "--features", features])
        .arg("--message-format=json-render-diagnostics")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let output = command.output().expect("cargo can be started");
    assert!(output.status.success(), "{name} cannot be built");
    let messages = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut executables = messages.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        message.get("executable")?.as_str().map(PathBuf::from)
    });
    executables.next_back().expect("cargo names the executable")
}
