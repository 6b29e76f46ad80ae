//! A pool: Redis, records in SQLite, workers, and the reconciler's side.

use crate::redis_server::RedisServer;
use backends::sqlite::{Access, SqliteOptions, SqliteRecords};
use backends::{ChannelHints, Durability, Hints, NewJob, RecordsBackend, WriteAnswer};
use contract::{
    Attempt, Claim, Created, Desired, Evidence, Gate, JobId, JsonText, LaunchRequest, LaunchToken, Outcome,
    PayloadRef, Program, Report, TaskId, Timestamp, WriteId,
};
use pollster::block_on;
use reconciler::tasks::pool::{PoolOptions, PoolTasks};
use reconciler::tasks::{Launch, LaunchAnswer, Observed, TaskState, TaskView, Tasks};
use rustix::process::{Pid, Signal};
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The lease of the workers, in seconds: the longest. Half of it without time on the processor, on a busy machine,
/// and a worker that nobody cut off would kill its agents.
const CALM: u64 = 60;
/// Between two heartbeats of a worker with that lease.
pub(crate) const BEAT: Duration = Duration::from_secs(CALM / 10);
/// The lease where one is to lapse, in seconds.
pub(crate) const LEASE: u64 = 6;
/// The reconciler's grace on top of it.
pub(crate) const GRACE: Duration = Duration::from_millis(500);
/// How long a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// A grace that no test outwaits.
pub(crate) const LONG: Duration = Duration::from_secs(600);

/// A pool.
pub(crate) struct World {
    // Workers before the server, so that they end first.
    pub(crate) workers: Vec<PoolWorker>,
    pub(crate) tasks: PoolTasks,
    pub(crate) hints: ChannelHints,
    pub(crate) records: Arc<SqliteRecords>,
    pub(crate) redis: RedisServer,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) env: BTreeMap<String, String>,
    jobs: u32,
}

impl World {
    /// Without a worker. `None`: there is no Redis.
    pub(crate) fn new() -> Option<Self> {
        let redis = RedisServer::start()?;
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let db = root.join("records.db");
        let options = SqliteOptions { durability: Durability::Process, access: Access::Orchestrator };
        let records = SqliteRecords::open(&db, options).unwrap();
        let (tasks, hints) = open(&redis.url());
        let env = BTreeMap::from(
            [
                ("AGENT_RUNNER_POOL", redis.url()),
                ("AGENT_RUNNER_POOL_LEASE_SECONDS", CALM.to_string()),
                ("AGENT_RUNNER_RECORDS", format!("sqlite:{}", db.display())),
                ("AGENT_RUNNER_ARTIFACTS", format!("file:{}", root.join("artifacts").display())),
                ("AGENT_RUNNER_TASKS_DIR", root.join("tasks").display().to_string()),
                ("AGENT_RUNNER_HEARTBEAT_SECONDS", "1".to_owned()),
                ("SCRATCH", root.display().to_string()),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        Some(Self { workers: Vec::new(), tasks, hints, records, redis, folder, env, jobs: 0 })
    }

    /// With a worker.
    pub(crate) fn with_worker(slots: u32) -> Option<Self> {
        let mut world = Self::new()?;
        world.start_worker(slots);
        Some(world)
    }

    /// The workers that are started from now on have the short lease.
    pub(crate) fn hurry(&mut self) {
        self.env.insert("AGENT_RUNNER_POOL_LEASE_SECONDS".to_owned(), LEASE.to_string());
    }

    pub(crate) fn start_worker(&mut self, slots: u32) {
        self.start(Command::new(env!("CARGO_BIN_EXE_agent-runner-worker")), slots);
    }

    /// With so much address space, which every thread takes some of.
    pub(crate) fn start_cramped_worker(&mut self, slots: u32, kib: u32) {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -v {kib}; exec \"$0\" \"$@\"")]);
        command.arg(env!("CARGO_BIN_EXE_agent-runner-worker"));
        self.start(command, slots);
    }

    fn start(&mut self, mut command: Command, slots: u32) {
        let log = std::fs::File::options().append(true).create(true).open(self.path("worker.log")).unwrap();
        let child = command
            .args(["--pool", "--slots", &slots.to_string()])
            .envs(&self.env)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.workers.push(PoolWorker(child));
    }

    /// The reconciler's side, as after a restart.
    pub(crate) fn reopen(&mut self) {
        self.reopen_over(&self.redis.url());
    }

    /// As [`World::reopen`], with another way to the server.
    pub(crate) fn reopen_over(&mut self, url: &str) {
        (self.tasks, self.hints) = open(url);
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.path(name)).ok()
    }

    /// Waits until somebody has written a whole line into a file of this world.
    pub(crate) fn wait_for(&self, name: &str) -> String {
        eventually(name, || self.read(name).filter(|text| text.ends_with('\n')), || self.log())
    }

    pub(crate) fn log(&self) -> String {
        self.read("worker.log").unwrap_or_default()
    }

    /// A launch of a job that exists nowhere else.
    pub(crate) fn launch_of(&mut self, name: &str, inside: bool) -> Launch {
        self.jobs += 1;
        let job_id = JobId::new(format!("{name}-{}", self.jobs)).unwrap();
        let inside = if inside { ",\"inside\":true" } else { "" };
        let request = LaunchRequest(JsonText::new(format!("{{\"runtime\":\"pool\"{inside}}}")).unwrap());
        let bits = u128::from(RandomState::new().hash_one(self.jobs)) << 64 | u128::from(self.jobs);
        Launch { job_id, token: LaunchToken::from_bits(bits), stop_grace: LONG, request }
    }

    /// A launch of an attempt that runs `script` in a shell.
    pub(crate) fn shell(&mut self, script: &str) -> Launch {
        let argv = ["sh", "-c", script].map(str::to_owned).into();
        self.draft(Program::Command { argv, pass_env: vec!["SCRATCH".to_owned()] }, "{}", false)
    }

    /// A launch of the built-in job type.
    pub(crate) fn echo(&mut self, payload: &str) -> Launch {
        self.draft(Program::Echo, payload, true)
    }

    pub(crate) fn draft(&mut self, program: Program, payload: &str, inside: bool) -> Launch {
        let launch = self.launch_of("job", inside);
        let created = Created {
            write: WriteId::from_bits(self.jobs.into()),
            at: Timestamp::from_millis(1),
            actor: "test".to_owned(),
            idempotency_key: None,
            body_digest: None,
            desired_digest: None,
        };
        let desired = Desired::parse(r#"{"job_type":"test"}"#).unwrap();
        block_on(self.records.create(&NewJob { job_id: launch.job_id.clone(), created, desired })).unwrap();
        let claim = Claim {
            number: 1,
            run: 1,
            retry: 0,
            epoch: 1,
            claimed_at: Timestamp::from_millis(1),
            job_type: "test".to_owned(),
            program,
            payload: PayloadRef::Inline(JsonText::new(payload).unwrap()),
            env: BTreeMap::new(),
            attempt_timeout_seconds: 600,
            start_timeout_seconds: 600,
            stop_grace_seconds: 20,
            request: launch.request.clone(),
        };
        let drafted = block_on(self.records.draft(&launch.job_id, &launch.token, &claim)).unwrap();
        assert_eq!(drafted, WriteAnswer::Written);
        launch
    }

    pub(crate) async fn launched(&self, launch: &Launch) -> TaskId {
        match self.tasks.launch(launch).await {
            LaunchAnswer::Launched(task) => task,
            other => panic!("the launch was answered with {other:?}"),
        }
    }

    pub(crate) async fn view(&self, launch: &Launch) -> Option<TaskView> {
        match self.tasks.observe(&launch.job_id, &launch.token, None).await {
            Observed::Known(views) => views.into_iter().next(),
            Observed::Unknown(why) => panic!("nothing was observed: {why}"),
        }
    }

    /// Waits until a task that a worker has is forgotten: from then on it counts as young, which the sweep of tasks
    /// without an open attempt leaves alone. `launched`: when it had been launched, a second before.
    pub(crate) async fn forgotten(&self, launch: &Launch, launched: Instant) {
        loop {
            let since = launched.elapsed();
            let age = self.view(launch).await.expect("it is known").age;
            if age + Duration::from_millis(500) < since {
                return;
            }
            assert!(since < PATIENCE, "it is as old as before");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) async fn state(&self, launch: &Launch) -> TaskState {
        self.view(launch).await.expect("the task is known").state
    }

    /// Waits until the task is seen stopped, and looks at it again and again.
    pub(crate) async fn stopped(&self, launch: &Launch) -> Evidence {
        let start = Instant::now();
        loop {
            if let TaskState::Stopped(evidence) = self.state(launch).await {
                return *evidence;
            }
            assert!(start.elapsed() < PATIENCE, "the task still runs\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits for a hint of the job.
    pub(crate) async fn hinted(&mut self, launch: &Launch) {
        let waiting = async {
            while !self.hints.next().await.unwrap().contains(&backends::Hint::Job(launch.job_id.clone())) {}
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("a hint comes");
    }

    fn attempt(&self, launch: &Launch) -> Attempt {
        block_on(self.records.load(&launch.job_id)).unwrap().unwrap().attempts.remove(0)
    }

    pub(crate) fn gate(&self, launch: &Launch) -> Option<Gate> {
        self.attempt(launch).gate.map(|gate| gate.parse().unwrap())
    }

    pub(crate) fn outcome(&self, launch: &Launch) -> Option<Outcome> {
        let report: Option<Report> = self.attempt(launch).report.map(|report| report.parse().unwrap());
        report.and_then(|report| report.outcome)
    }

    /// The result that the attempt stored.
    pub(crate) fn result(&self, launch: &Launch) -> Option<String> {
        let folder = Attempt::folder(&launch.job_id, 1, &launch.token);
        self.read(&format!("artifacts/{folder}/result.json"))
    }
}

fn open(url: &str) -> (PoolTasks, ChannelHints) {
    let (sender, hints) = ChannelHints::new();
    let mut options = PoolOptions::new(url.to_owned(), sender);
    options.grace = GRACE;
    options.look_every = Duration::from_millis(50);
    (PoolTasks::new(options).unwrap(), hints)
}

/// A worker of the pool: its watchdog.
pub(crate) struct PoolWorker(Child);

impl PoolWorker {
    pub(crate) fn pid(&self) -> i32 {
        self.0.id().cast_signed()
    }

    /// The member that works at present.
    pub(crate) fn member(&self) -> i32 {
        eventually("a member", || children_of(self.pid()).first().copied(), String::new)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        send(self.pid(), signal);
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        eventually("the worker ends", || self.0.try_wait().unwrap(), String::new)
    }
}

impl Drop for PoolWorker {
    /// Kills what a test left, by walking down: nobody there can refuse it.
    fn drop(&mut self) {
        let mut found = vec![self.pid()];
        let mut at = 0;
        while let Some(&pid) = found.get(at) {
            found.extend(children_of(pid));
            at += 1;
        }
        if self.0.try_wait().is_ok_and(|ended| ended.is_none()) {
            for pid in found {
                if let Some(pid) = Pid::from_raw(pid) {
                    let _ = rustix::process::kill_process(pid, Signal::KILL);
                }
            }
        }
        let _ = self.0.wait();
    }
}

pub(crate) fn send(pid: i32, signal: Signal) {
    rustix::process::kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

/// The children of a process that have not ended.
pub(crate) fn children_of(parent: i32) -> Vec<i32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    numbers
        .filter(|pid| stat(*pid).is_some_and(|(state, ppid)| ppid == parent && !"ZX".contains(state)))
        .collect()
}

fn stat(pid: i32) -> Option<(char, i32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// Whether a process exists, other than as one that waits to be reaped.
pub(crate) fn lives(pid: &str) -> bool {
    stat(pid.trim().parse().unwrap()).is_some_and(|(state, _)| !"ZX".contains(state))
}

/// Looks until there is an answer.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>, more: impl Fn() -> String) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "still not: {what}\n{}", more());
        std::thread::sleep(Duration::from_millis(5));
    }
}
