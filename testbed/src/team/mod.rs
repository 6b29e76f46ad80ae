//! The team's stack as it is deployed, without containers: redis-server, `agent-runner-api`,
//! `agent-runner-reconciler` and any number of `agent-runner-worker --pool`, each a process that can be killed
//! and started again.

mod judged;
mod redis_server;

pub use redis_server::{RedisServer, is_installed};

use crate::client::Client;
use crate::executable::servers;
use crate::ledger::Ledger;
use crate::procfs::{self, Belonging};
use crate::stack::{self, clean, free_port};
use rustix::process::Signal;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How a team is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// The executable of the job types `ledger` and `stubborn`; see [`crate::ledger_agent`].
    pub agent: Option<PathBuf>,
    /// The folder of the programs; absent: they are built.
    pub programs: Option<PathBuf>,
    /// Workers.
    pub workers: usize,
    /// Slots of each.
    pub slots: u32,
    /// `appendfsync` of Redis.
    pub fsync: &'static str,
    /// More variables, of every program.
    pub env: Vec<(String, String)>,
}

impl Options {
    /// So many workers with so many slots each; Redis keeps what it acknowledged.
    #[must_use]
    pub fn new(workers: usize, slots: u32) -> Self {
        Self { agent: None, programs: None, workers, slots, fsync: "always", env: Vec::new() }
    }

    /// With the ledger's agent.
    #[must_use]
    pub fn agent(mut self, agent: &str) -> Self {
        self.agent = Some(agent.into());
        self
    }

    /// With one more variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// One process of a team.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// redis-server.
    Redis,
    /// The API.
    Api,
    /// The reconciler.
    Reconciler,
    /// The watchdog of the worker with this number, which has the worker's member as its child.
    Worker(usize),
}

/// How long a program may take until it answers, in a debug build on a busy machine.
const READY: Duration = Duration::from_secs(30);

/// A team; everything ends with it.
#[derive(Debug)]
pub struct Team {
    folder: Arc<TempDir>,
    options: Options,
    programs: PathBuf,
    redis: RedisServer,
    api_port: u16,
    metrics_port: u16,
    api: Option<Child>,
    reconciler: Option<Child>,
    workers: Vec<Option<Child>>,
}

impl Team {
    /// Starts everything in a fresh folder, and waits until the API answers, the reconciler leads and every
    /// worker is in the pool. `None`, after a word about it, where no redis-server is installed.
    ///
    /// # Panics
    /// When something does not come up.
    #[must_use]
    pub fn start(options: Options) -> Option<Self> {
        if !is_installed() {
            crate::leave_out("the team's stack", "redis-server is not installed; type: make deps");
            return None;
        }
        let folder = TempDir::with_prefix("agent-runner-team-").expect("a folder");
        for inside in ["outside", "redis"] {
            std::fs::create_dir(folder.path().join(inside)).expect("a folder");
        }
        let of_types = stack::Options { agent: options.agent.clone(), ..stack::Options::default() };
        std::fs::write(folder.path().join("job-types.toml"), stack::job_types(&of_types)).expect("a file");
        let programs = options.programs.clone().unwrap_or_else(|| servers().to_owned());
        let redis = RedisServer::start(folder.path().join("redis"), options.fsync);
        let (api_port, metrics_port) = (free_port(), free_port());
        let (api, reconciler, workers) = (None, None, Vec::new());
        let folder = Arc::new(folder);
        let mut team =
            Self { folder, options, programs, redis, api_port, metrics_port, api, reconciler, workers };
        team.launch(Part::Api);
        team.launch(Part::Reconciler);
        for n in 0..team.options.workers {
            team.launch(Part::Worker(n));
        }
        team.ready();
        Some(team)
    }

    /// Where everything is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The folder, which then outlives the team.
    #[must_use]
    pub fn keep_folder(&self) -> Arc<TempDir> {
        Arc::clone(&self.folder)
    }

    /// The artifacts' folder.
    #[must_use]
    pub fn artifacts(&self) -> PathBuf {
        self.folder().join("artifacts")
    }

    /// What agents wrote down; not among the artifacts.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        Ledger::at(self.folder().join("outside/ledger"))
    }

    /// Where the tasks of a worker have their folders.
    #[must_use]
    pub fn tasks_folder(&self, worker: usize) -> PathBuf {
        self.folder().join(format!("tasks-{worker}"))
    }

    /// What the health check of a worker's container says.
    ///
    /// # Panics
    /// When it cannot be asked.
    #[must_use]
    pub fn is_healthy(&self, worker: usize) -> bool {
        let mut command = self.command("agent-runner-worker");
        command.arg("healthcheck").env("AGENT_RUNNER_TASKS_DIR", self.tasks_folder(worker));
        command.status().expect("a health check").success()
    }

    /// What the health check of the API's container says: `agent-runner-api` with these arguments.
    ///
    /// # Panics
    /// When it cannot be asked.
    #[must_use]
    pub fn api_is_healthy(&self, arguments: &[&str]) -> bool {
        self.command("agent-runner-api").args(arguments).status().expect("a health check").success()
    }

    /// A client of the API.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(format!("http://127.0.0.1:{}", self.api_port))
    }

    /// A client of the reconciler's listener, for metrics.
    #[must_use]
    pub fn reconciler(&self) -> Client {
        Client::new(format!("http://127.0.0.1:{}", self.metrics_port))
    }

    /// The Redis server.
    #[must_use]
    pub fn redis(&self) -> &RedisServer {
        &self.redis
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        clean(&mut command);
        let folder = self.folder();
        command.current_dir(folder).stdin(Stdio::null());
        command
            .env("AGENT_RUNNER_RECORDS", self.redis.url())
            .env("AGENT_RUNNER_TASKS", "pool")
            .env("AGENT_RUNNER_ARTIFACTS", format!("file:{}", self.artifacts().display()))
            .env("AGENT_RUNNER_JOB_TYPES", folder.join("job-types.toml"))
            .env("AGENT_RUNNER_LISTEN", format!("127.0.0.1:{}", self.api_port))
            .env("AGENT_RUNNER_METRICS_LISTEN", format!("127.0.0.1:{}", self.metrics_port))
            .envs(self.options.env.iter().map(|(name, value)| (name, value)));
        let log = File::options().append(true).create(true).open(folder.join(format!("{program}.log")));
        let log = log.expect("a log");
        command.stdout(log.try_clone().expect("a second handle")).stderr(log);
        command
    }

    fn place(&mut self, part: Part) -> &mut Option<Child> {
        match part {
            Part::Redis => unreachable!("the server keeps its own process"),
            Part::Api => &mut self.api,
            Part::Reconciler => &mut self.reconciler,
            Part::Worker(n) => {
                if self.workers.len() <= n {
                    self.workers.resize_with(n + 1, || None);
                }
                &mut self.workers[n]
            }
        }
    }

    /// Starts a part that does not run, and waits for nothing but Redis.
    ///
    /// # Panics
    /// When it runs already or cannot be started.
    pub fn launch(&mut self, part: Part) {
        let mut command = match part {
            Part::Redis => return self.redis.run(),
            Part::Api => self.command("agent-runner-api"),
            Part::Reconciler => self.command("agent-runner-reconciler"),
            Part::Worker(n) => {
                let mut command = self.command("agent-runner-worker");
                command.args(["--pool", "--slots", &self.options.slots.to_string()]);
                command.env("AGENT_RUNNER_TASKS_DIR", self.tasks_folder(n));
                command
            }
        };
        let place = self.place(part);
        assert!(place.is_none(), "{part:?} runs already");
        *place = Some(command.spawn().expect("a program can be started"));
    }

    /// SIGKILL.
    pub fn kill(&mut self, part: Part) {
        if part == Part::Redis {
            return self.redis.kill();
        }
        if let Some(mut child) = self.place(part).take() {
            let _ = (child.kill(), child.wait());
        }
    }

    /// SIGTERM, and how the part ended.
    ///
    /// # Panics
    /// When it does not run, or does not end within `patience`.
    pub fn terminate(&mut self, part: Part, patience: Duration) -> ExitStatus {
        let mut child = self.place(part).take().expect("it runs");
        let until = Instant::now() + patience;
        procfs::signal(child.id().cast_signed(), Signal::TERM);
        while Instant::now() < until {
            if let Some(status) = child.try_wait().expect("a child") {
                return status;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let _ = (child.kill(), child.wait());
        panic!("{part:?} did not end within {patience:?} of SIGTERM\n{}", self.logs());
    }

    /// Starts again what ended although nobody here ended it, as a container's restart policy does; what it was.
    pub fn restart_ended(&mut self) -> Vec<(Part, ExitStatus)> {
        let parts = [Part::Api, Part::Reconciler].into_iter();
        let parts: Vec<Part> = parts.chain((0..self.workers.len()).map(Part::Worker)).collect();
        let mut ended = Vec::new();
        for part in parts {
            let status = self.place(part).as_mut().and_then(|child| child.try_wait().ok().flatten());
            if let Some(status) = status {
                *self.place(part) = None;
                self.launch(part);
                ended.push((part, status));
            }
        }
        ended
    }

    /// The process of the worker's watchdog, if it runs.
    fn watchdog(&self, n: usize) -> Option<i32> {
        Some(self.workers.get(n)?.as_ref()?.id().cast_signed())
    }

    /// The process that has the slots of a worker, if there is one now.
    #[must_use]
    pub fn member(&self, n: usize) -> Option<Belonging> {
        let watchdog = self.watchdog(n)?;
        let all = procfs::belonging_to(self.folder());
        all.into_iter().find(|process| process.parent == watchdog && is_member(process))
    }

    /// Waits until the API and the reconciler answer and the pool has the slots of the workers that run.
    ///
    /// # Panics
    /// When that does not come.
    pub fn ready(&mut self) {
        let until = Instant::now() + READY;
        let workers = self.workers.iter().flatten().count();
        let slots = f64::from(self.options.slots) * workers as f64;
        loop {
            let up = |client: Client| client.ask("GET", "/readyz", &[], None).is_ok_and(|a| a.status == 200);
            if up(self.client()) && up(self.reconciler()) && f64::from(self.redis.slots()) >= slots {
                return;
            }
            let ended = self.restart_ended();
            assert!(ended.is_empty(), "ended: {ended:?}\n{}", self.logs());
            assert!(Instant::now() < until, "the team does not come up\n{}", self.logs());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until the reconciler has noticed that the pool has so many slots.
    ///
    /// # Panics
    /// When it does not within `patience`.
    pub fn until_slots(&self, slots: u32, patience: Duration) {
        let (until, wanted) = (Instant::now() + patience, format!("slots of the pool slots={slots} "));
        loop {
            let text = std::fs::read(self.folder().join("agent-runner-reconciler.log")).unwrap_or_default();
            let text = String::from_utf8_lossy(&text).into_owned();
            let last = text.lines().rfind(|line| line.contains("slots of the pool"));
            if last.is_some_and(|line| line.contains(&wanted)) {
                return;
            }
            assert!(Instant::now() < until, "the pool has not {slots} slots\n{}", self.logs());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until some part has said `text`.
    ///
    /// # Panics
    /// When none does within `patience`.
    pub fn until_logged(&self, text: &str, patience: Duration) {
        let until = Instant::now() + patience;
        while !self.logs().contains(text) {
            assert!(Instant::now() < until, "nobody says {text:?}\n{}", self.logs());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The processes of attempts: what belongs to the team and is none of its parts.
    #[must_use]
    pub fn tasks(&self) -> Vec<Belonging> {
        let mut parts: Vec<i32> = [&self.api, &self.reconciler]
            .into_iter()
            .chain(&self.workers)
            .flatten()
            .map(|child| child.id().cast_signed())
            .collect();
        parts.extend(self.redis.pid());
        let mut all = procfs::belonging_to(self.folder());
        all.retain(|p| !(parts.contains(&p.pid) || is_member(p) && parts.contains(&p.parent)));
        all
    }

    /// Waits until no process of an attempt is left, and nothing of one in the pool.
    ///
    /// # Panics
    /// Names what is left after `patience`.
    pub fn expect_nothing_left(&self, patience: Duration) {
        let until = Instant::now() + patience;
        loop {
            let (tasks, pool) = (self.tasks(), self.redis.pool());
            let workers = self.workers.iter().flatten().count();
            if tasks.is_empty() && pool.tasks.is_empty() && pool.waiting == 0 && pool.workers == workers {
                return;
            }
            let left = format!("{tasks:#?}, {pool:?} with {workers} workers that run");
            assert!(Instant::now() < until, "left behind: {left}\n{}", self.logs());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The ends of the logs, for messages.
    #[must_use]
    pub fn logs(&self) -> String {
        let logs = ["api", "reconciler", "worker"].map(|name| {
            let name = format!("agent-runner-{name}.log");
            let text = std::fs::read(self.folder().join(&name)).unwrap_or_default();
            let text = String::from_utf8_lossy(&text).into_owned();
            let lines: Vec<&str> = text.lines().collect();
            let last = lines.iter().skip(lines.len().saturating_sub(40));
            last.fold(format!("--- {name}\n"), |text, line| format!("{text}{line}\n"))
        });
        logs.concat()
    }
}

fn is_member(process: &Belonging) -> bool {
    process.command.contains("--pool-member")
}

impl Drop for Team {
    fn drop(&mut self) {
        if std::thread::panicking() {
            crate::say(&self.logs());
        }
        self.kill(Part::Api);
        self.kill(Part::Reconciler);
        for n in 0..self.workers.len() {
            self.kill(Part::Worker(n));
        }
        self.redis.kill();
        for task in procfs::belonging_to(self.folder()) {
            task.kill();
        }
    }
}
