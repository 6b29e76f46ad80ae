//! One attempt in a store of its own, and the real worker to execute it.

use backends::sqlite::{Access, SqliteOptions, SqliteRecords};
use backends::{Durability, GateAnswer, NewJob, RecordsBackend, WriteAnswer};
use contract::{
    Attempt, Claim, Created, Desired, FailureClass, Gate, JobId, JsonText, LaunchRequest, LaunchToken,
    LeaveReason, Outcome, PayloadRef, Program, Report, Timestamp, WriteId,
};
use pollster::block_on;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The worker.
pub(crate) const WORKER: &str = env!("CARGO_BIN_EXE_agent-runner-worker");

/// A world with one attempt.
pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) records: Arc<SqliteRecords>,
    pub(crate) env: BTreeMap<String, String>,
    job_id: JobId,
    token: LaunchToken,
}

/// A claim that runs `script` in a shell.
pub(crate) fn shell(script: &str) -> Claim {
    command(&["sh", "-c", script])
}

/// A claim that runs `argv`.
pub(crate) fn command(argv: &[&str]) -> Claim {
    let argv = argv.iter().map(|&word| word.to_owned()).collect();
    claim(Program::Command { argv, pass_env: Vec::new() }, r#"{"text": "Hello"}"#)
}

/// A claim of the built-in job type.
pub(crate) fn echo(payload: &str) -> Claim {
    claim(Program::Echo, payload)
}

fn claim(program: Program, payload: &str) -> Claim {
    Claim {
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
        request: LaunchRequest(JsonText::empty_object()),
    }
}

impl World {
    /// A world with the draft of `claim`.
    pub(crate) fn new(claim: &Claim) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let db = root.join("records.db");
        let options = SqliteOptions { durability: Durability::Process, access: Access::Orchestrator };
        let records = SqliteRecords::open(&db, options).unwrap();
        let job_id = JobId::new("j").unwrap();
        let token = LaunchToken::new("00112233445566778899aabbccddeeff").unwrap();
        let created = Created {
            write: WriteId::from_bits(1),
            at: Timestamp::from_millis(1),
            actor: "test".to_owned(),
            idempotency_key: None,
            body_digest: None,
            desired_digest: None,
        };
        let desired = Desired::parse(r#"{"job_type":"test"}"#).unwrap();
        block_on(records.create(&NewJob { job_id: job_id.clone(), created, desired })).unwrap();
        assert_eq!(block_on(records.draft(&job_id, &token, claim)).unwrap(), WriteAnswer::Written);
        std::fs::create_dir(root.join("task")).unwrap();
        let env = BTreeMap::from(
            [
                ("AGENT_RUNNER_JOB_ID", job_id.to_string()),
                ("AGENT_RUNNER_LAUNCH_TOKEN", token.to_string()),
                ("AGENT_RUNNER_TASK_ID", format!("process:{token}")),
                ("AGENT_RUNNER_TASK_FOLDER", root.join("task").display().to_string()),
                ("AGENT_RUNNER_RECORDS", format!("sqlite:{}", db.display())),
                ("AGENT_RUNNER_ARTIFACTS", format!("file:{}", root.join("artifacts").display())),
                ("AGENT_RUNNER_HEARTBEAT_SECONDS", "1".to_owned()),
                ("AGENT_RUNNER_ARTIFACTS_PATIENCE_SECONDS", "0".to_owned()),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        Self { folder, records, env, job_id, token }
    }

    /// Starts a worker as `ProcessTasks` does: its stdin is the locked lock file.
    pub(crate) fn start(&self) -> Worker {
        self.start_with(Stdio::from(File::create(self.folder.path().join("worker.log")).unwrap()))
    }

    /// Starts a worker with this stderr.
    pub(crate) fn start_with(&self, stderr: Stdio) -> Worker {
        let child = self.command(WORKER).stderr(stderr).spawn().unwrap();
        Worker(child)
    }

    /// `program` in the environment of a worker, with the locked lock file as its stdin.
    pub(crate) fn command(&self, program: &str) -> Command {
        let lock = self.lock_file();
        lock.lock().unwrap();
        let mut command = Command::new(program);
        command.envs(&self.env).current_dir(self.folder.path()).stdin(lock).stdout(Stdio::null());
        command
    }

    /// Runs a worker to its end, which must be a report or a lost gate.
    pub(crate) fn run(&self) {
        assert_eq!(self.start().wait().code(), Some(0), "{}", self.log());
    }

    /// Runs a worker to its end, and the failure that it reported.
    pub(crate) fn run_to_failure(&self) -> (FailureClass, Option<i32>, String) {
        self.run();
        self.failure()
    }

    /// The failure that was reported.
    pub(crate) fn failure(&self) -> (FailureClass, Option<i32>, String) {
        let outcome = self.outcome().unwrap_or_else(|| panic!("no outcome: {}", self.log()));
        let failure = outcome.failure.expect("a failure");
        (failure.class, failure.exit_code, failure.message)
    }

    fn lock_file(&self) -> File {
        let path = self.folder.path().join("task/lock");
        File::options().read(true).write(true).create(true).truncate(false).open(path).unwrap()
    }

    /// Whether worker, agent and all that inherited their lock are gone.
    pub(crate) fn lock_is_free(&self) -> bool {
        self.lock_file().try_lock().is_ok()
    }

    /// The lines of the lock file.
    pub(crate) fn lock_lines(&self) -> Vec<serde_json::Value> {
        let text = self.read("task/lock").unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// A file of this world.
    pub(crate) fn read(&self, path: &str) -> Option<String> {
        let bytes = std::fs::read(self.folder.path().join(path)).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Where the attempt's artifacts are.
    pub(crate) fn artifacts(&self) -> PathBuf {
        self.folder.path().join("artifacts").join(Attempt::folder(&self.job_id, 1, &self.token))
    }

    /// An artifact of the attempt.
    pub(crate) fn stored(&self, path: &str) -> Option<String> {
        self.read(self.artifacts().join(path).to_str().unwrap())
    }

    /// The paths that the manifest names.
    pub(crate) fn manifest(&self) -> Vec<String> {
        self.outcome().unwrap().manifest.files.into_iter().map(|file| file.path).collect()
    }

    /// What the worker said.
    pub(crate) fn log(&self) -> String {
        self.read("worker.log").unwrap_or_default()
    }

    fn attempt(&self) -> Attempt {
        block_on(self.records.load(&self.job_id)).unwrap().unwrap().attempts.remove(0)
    }

    /// The gate.
    pub(crate) fn gate(&self) -> Option<Gate> {
        self.attempt().gate.map(|gate| gate.parse().unwrap())
    }

    /// The report.
    pub(crate) fn report(&self) -> Option<Report> {
        self.attempt().report.map(|report| report.parse().unwrap())
    }

    /// The outcome.
    pub(crate) fn outcome(&self) -> Option<Outcome> {
        self.report().and_then(|report| report.outcome)
    }

    /// Seals the attempt, as the reconciler does.
    pub(crate) fn seal(&self, why: LeaveReason) {
        let answer = block_on(self.records.seal(&self.job_id, &self.token, why));
        assert_eq!(answer.unwrap(), GateAnswer::Written);
    }

    /// Waits until the agent has written `path` (below its working directory).
    pub(crate) fn wait_for(&self, path: &str) -> String {
        let path = Path::new("task/work").join(path);
        eventually(&format!("the agent writes {path:?}"), || {
            self.read(path.to_str().unwrap()).filter(|text| text.ends_with('\n'))
        })
    }
}

impl Drop for World {
    /// A test that failed must not leave an agent behind. While the lock is held the recorded number means
    /// the agent.
    fn drop(&mut self) {
        let agent = self
            .read("task/lock")
            .unwrap_or_default()
            .lines()
            .find_map(|line| serde_json::from_str::<serde_json::Value>(line).ok()?["agent_pid"].as_i64());
        let pid = agent.and_then(|pid| rustix::process::Pid::from_raw(i32::try_from(pid).ok()?));
        if let Some(pid) = pid.filter(|_| std::thread::panicking() && !self.lock_is_free()) {
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        }
    }
}

/// A worker that is killed when the test ends before it.
pub(crate) struct Worker(Child);

impl Worker {
    /// Waits for its end.
    pub(crate) fn wait(mut self) -> ExitStatus {
        eventually("the worker ends", || self.0.try_wait().unwrap())
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.0), signal).unwrap();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether a process exists, other than as one that waits to be reaped.
pub(crate) fn lives(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Looks until there is an answer.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "30 s and still not: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
