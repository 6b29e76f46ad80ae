//! The real `agent-runner up` in a folder of its own: started, killed, started again.

use crate::client::Client;
use crate::executable::agent_runner;
use crate::ledger::Ledger;
use crate::procfs::{self, Belonging};
use rusqlite::Connection;
use rustix::process::Signal;
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How a stack is started.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The executable of the job types `ledger` and `stubborn`; see [`crate::ledger_agent`].
    pub agent: Option<PathBuf>,
    /// Jobs that may hold an attempt at once; 4 when absent.
    pub slots: Option<u32>,
    /// More lines for the job-types file.
    pub job_types: String,
    /// More variables.
    pub env: Vec<(String, String)>,
    /// A shell script that ends with `exec "$@"`, to start `up` in surroundings of its own.
    pub script: Option<String>,
}

impl Options {
    /// With the ledger's agent.
    #[must_use]
    pub fn with_agent(agent: &str) -> Self {
        Self { agent: Some(agent.into()), ..Self::default() }
    }

    /// With so many slots.
    #[must_use]
    pub fn slots(mut self, slots: u32) -> Self {
        self.slots = Some(slots);
        self
    }

    /// With one more variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// How long `up` may take until it answers, in a debug build on a busy machine.
const READY: Duration = Duration::from_secs(20);

/// A running (or killed) `agent-runner up` with its data folder.
#[derive(Debug)]
pub struct Stack {
    folder: TempDir,
    options: Options,
    port: u16,
    up: Option<Child>,
}

impl Stack {
    /// Starts in a fresh folder and waits until the API answers.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    pub fn start(options: Options) -> Self {
        let folder = TempDir::with_prefix("agent-runner-test-").expect("a folder");
        std::fs::create_dir(folder.path().join("outside")).expect("a folder");
        std::fs::write(folder.path().join("job-types.toml"), job_types(&options)).expect("a file");
        let mut stack = Self { folder, options, port: free_port(), up: None };
        stack.launch();
        stack.ready();
        stack
    }

    /// The working directory of `up`.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The artifacts' folder.
    #[must_use]
    pub fn artifacts(&self) -> PathBuf {
        self.folder().join("data/artifacts")
    }

    /// The database file.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.folder().join("data/agent-runner.db")
    }

    /// What agents wrote down; not in the data folder.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        Ledger::at(self.folder().join("outside/ledger"))
    }

    /// A client of the API.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(format!("http://127.0.0.1:{}", self.port))
    }

    /// The process id of `up`.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.up.as_ref().expect("up runs").id().cast_signed()
    }

    /// A connection to the records, as an operator opens one.
    ///
    /// # Panics
    /// When the file cannot be opened.
    #[must_use]
    pub fn records(&self) -> Connection {
        let connection = Connection::open(self.database()).expect("the records open");
        connection.busy_timeout(Duration::from_secs(10)).expect("a busy timeout");
        connection
    }

    /// A command of `agent-runner` in this stack's folder.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(agent_runner());
        command.args(arguments);
        self.surround(&mut command);
        command
    }

    fn surround(&self, command: &mut Command) {
        clean(command);
        command.current_dir(self.folder()).stdin(Stdio::null());
        command.env("AGENT_RUNNER_LISTEN", format!("127.0.0.1:{}", self.port));
        // More than the number of cores that this machine happens to have.
        command.env("AGENT_RUNNER_MAX_CONCURRENT_TASKS", self.options.slots.unwrap_or(4).to_string());
        command.envs(self.options.env.iter().map(|(name, value)| (name, value)));
    }

    /// Starts `up` and does not wait for it.
    ///
    /// # Panics
    /// When it runs already or cannot be started.
    pub fn launch(&mut self) {
        assert!(self.up.is_none(), "up runs already");
        let mut command = match &self.options.script {
            None => self.command(&["up"]),
            Some(script) => {
                let mut command = Command::new("sh");
                command.args(["-c", script, "sh"]).arg(agent_runner()).arg("up");
                self.surround(&mut command);
                command
            }
        };
        let log = File::options().append(true).create(true).open(self.folder().join("up.log"));
        let log = log.expect("a log");
        command.stdout(log.try_clone().expect("a second handle")).stderr(log);
        self.up = Some(command.spawn().expect("up can be started"));
    }

    /// Waits until the API answers.
    ///
    /// # Panics
    /// When it does not in time, or ended.
    pub fn ready(&mut self) {
        let until = Instant::now() + READY;
        let client = self.client();
        loop {
            let ready = client.ask("GET", "/readyz", &[], None).is_ok_and(|answer| answer.status == 200);
            if ready {
                return;
            }
            let ended = self.up.as_mut().and_then(|up| up.try_wait().ok().flatten());
            assert!(ended.is_none(), "up ended: {ended:?}\n{}", self.logs());
            assert!(Instant::now() < until, "up does not answer\n{}", self.logs());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut up) = self.up.take() {
            let _ = up.kill();
            let _ = up.wait();
        }
    }

    /// The id of `up` and how it ended, if it did although nobody here ended it; it can be launched again then.
    pub fn died(&mut self) -> Option<(i32, ExitStatus)> {
        let status = self.up.as_mut()?.try_wait().ok().flatten()?;
        let up = self.up.take()?;
        Some((up.id().cast_signed(), status))
    }

    /// SIGTERM, and how `up` ended and after what time.
    ///
    /// # Panics
    /// When it does not run or does not end within 10 s.
    pub fn terminate(&mut self) -> (ExitStatus, Duration) {
        let mut up = self.up.take().expect("up runs");
        let since = Instant::now();
        procfs::signal(up.id().cast_signed(), Signal::TERM);
        while since.elapsed() < Duration::from_secs(10) {
            if let Some(status) = up.try_wait().expect("up is a child") {
                return (status, since.elapsed());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        // Killed and waited for when the stack is dropped.
        self.up = Some(up);
        panic!("up did not end within 10 s of SIGTERM\n{}", self.logs());
    }

    /// Starts `up` again on the same folder.
    pub fn restart(&mut self) {
        self.kill();
        self.launch();
        self.ready();
    }

    /// The workers and agents that are alive; `up` is none of them.
    #[must_use]
    pub fn tasks(&self) -> Vec<Belonging> {
        let up = self.up.as_ref().map(|up| up.id().cast_signed());
        let mut all = procfs::belonging_to(self.folder());
        all.retain(|process| Some(process.pid) != up);
        all
    }

    /// The workers that are alive.
    #[must_use]
    pub fn workers(&self) -> Vec<Belonging> {
        self.tasks().into_iter().filter(|process| process.worker).collect()
    }

    /// Waits until `up` has no task left, no zombie and no folder of a task.
    ///
    /// # Panics
    /// Names the processes that are left after `patience`.
    pub fn expect_no_process_left(&self, patience: Duration) {
        let until = Instant::now() + patience;
        loop {
            let (tasks, zombies) = (self.tasks(), self.up.as_ref().map(|_| procfs::zombies(self.pid())));
            let zombies = zombies.unwrap_or_default();
            let folders = if self.up.is_some() { self.task_folders() } else { Vec::new() };
            if tasks.is_empty() && zombies.is_empty() && folders.is_empty() {
                return;
            }
            let left = format!("{tasks:#?}, zombies {zombies:?}, folders {folders:?}");
            assert!(Instant::now() < until, "left behind: {left}\n{}", self.logs());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The folders of tasks that are still there; each is removed when its attempt is closed.
    fn task_folders(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.folder().join("data/tasks")) else { return Vec::new() };
        let folders = entries.filter_map(Result::ok).filter(|entry| entry.path().is_dir());
        folders.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    /// The ends of the logs, for messages.
    #[must_use]
    pub fn logs(&self) -> String {
        let logs = ["up.log", "data/tasks/worker.log"].map(|name| {
            let text = std::fs::read(self.folder().join(name)).unwrap_or_default();
            let text = String::from_utf8_lossy(&text).into_owned();
            let lines: Vec<&str> = text.lines().collect();
            let last = lines.iter().skip(lines.len().saturating_sub(40));
            last.fold(format!("--- {name}\n"), |text, line| format!("{text}{line}\n"))
        });
        logs.concat()
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if std::thread::panicking() {
            crate::say(&self.logs());
        }
        self.kill();
        for task in self.tasks() {
            task.kill();
        }
    }
}

/// Takes the settings of this process's environment away from a command: they are those of somebody else.
pub fn clean(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("AGENT_RUNNER_") {
            command.env_remove(name);
        }
    }
}

pub(crate) fn job_types(options: &Options) -> String {
    let mut text = options.job_types.clone();
    if let Some(agent) = &options.agent {
        // A string in TOML's basic form, which is JSON's for such a path.
        let command = serde_json::json!([agent]);
        for (name, grace) in [("ledger", 5), ("stubborn", 1)] {
            text.push_str(&format!(
                "\n[job_types.{name}]\ncommand = {command}\nstop_grace_seconds = {grace}\n"
            ));
        }
    }
    text
}

/// A port that nobody listens on, below those that the kernel gives to clients (32768 and up on Linux), so
/// that a stack gets it again after a restart.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn free_port() -> u16 {
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 20_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    for _ in 0..1000 {
        let n = u32::from(NEXT.fetch_add(1, Ordering::Relaxed)) + std::process::id().wrapping_mul(61);
        let port = u16::try_from(FIRST + n % COUNT).expect("below 30000");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port");
}
