//! The whole system as it runs on AWS, on this machine: the real API and reconciler as processes, MiniStack as
//! DynamoDB, SQS and S3, the double of ECS, which starts the real worker for each task, and the pump in place of
//! EventBridge Pipes. Nothing in between but HTTP and the unmodified SDKs.
//!
//! ```text
//! api, reconciler ──► gates ──► MiniStack ──streams──► pump ──► queue
//!      └─► gate ──► ECS double ──► workers ──► gates          double ──events──► queue
//! ```
//!
//! The double runs [`SCALE`] times faster than Fargate unless told otherwise; the reconciler runs in real time.

mod account;
pub mod bench;
pub mod containers;
pub mod gate;
pub mod ministack;
mod program;

pub use account::{Account, BUCKET, PREFIX};
pub use gate::{Gate, Gates, Outage, Way};
pub use ministack::{Ministack, Missing};

use crate::client::Client;
use crate::ecs::options::Post;
use crate::ecs::{EcsDouble, Execution, Worker, definition};
use crate::executable::servers;
use crate::judge::Judged;
use crate::ledger::Ledger;
use crate::pump::{Pump, Treatment};
use crate::stack::{self, free_port};
use program::Program;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How much faster than Fargate the double is: the 25 s until a container starts take a good second.
pub const SCALE: u32 = 20;

/// How a stack is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// The agent of the job types `ledger` and `stubborn`; see [`crate::ledger_agent`].
    pub agent: String,
    /// Jobs that may hold an attempt at once.
    pub slots: u32,
    /// `AGENT_RUNNER_RESYNC_SECONDS`.
    pub resync_seconds: u32,
    /// What becomes of hints from the tables.
    pub records_hints: Treatment,
    /// What becomes of events of ECS.
    pub task_events: Post,
    /// How often each event of ECS is sent.
    pub event_copies: usize,
    /// How much faster than Fargate the double is.
    pub scale: u32,
    /// `AGENT_RUNNER_ECS_SNAPSHOT_SECONDS`.
    pub snapshot_seconds: u32,
    /// Tasks are simulated and never report: for what is measured up to their launch.
    pub without_workers: bool,
    /// More lines for the job-types file.
    pub job_types: String,
    /// Tasks are [`containers`] of this image, started by the emulator's ECS; there is no double then.
    pub image: Option<String>,
}

impl Options {
    /// With the ledger's agent, and everything else as on AWS.
    #[must_use]
    pub fn with_agent(agent: &str) -> Self {
        Self {
            agent: agent.to_owned(),
            slots: 8,
            resync_seconds: 30,
            records_hints: Treatment::default(),
            task_events: Post::default(),
            event_copies: 1,
            scale: SCALE,
            snapshot_seconds: 2,
            without_workers: false,
            job_types: String::new(),
            image: None,
        }
    }
}

/// How long a program may take until it answers, in a debug build on a busy machine.
const READY: Duration = Duration::from_secs(60);

/// A running system. What it is made of ends when it is dropped.
#[derive(Debug)]
pub struct AwsStack {
    // In the order in which they end: nobody writes to a server that is gone.
    reconcilers: Vec<Program>,
    api: Program,
    /// Of the reconcilers, by number.
    metrics: BTreeMap<usize, Client>,
    double: Option<EcsDouble>,
    _pump: Pump,
    /// In front of the emulator's services.
    pub gates: Gates,
    /// The emulator, and what was made in it.
    pub account: Account,
    options: Options,
    port: u16,
    folder: TempDir,
}

impl AwsStack {
    /// Starts all of it with one reconciler, and waits until the API answers.
    ///
    /// # Errors
    /// MiniStack is not installed.
    ///
    /// # Panics
    /// When anything else does not start.
    pub fn start(options: Options) -> Result<Self, Missing> {
        let folder = TempDir::with_prefix("agent-runner-aws-").expect("a folder");
        std::fs::create_dir(folder.path().join("outside")).expect("a folder");
        let of_types = stack::Options {
            agent: Some(PathBuf::from(&options.agent)),
            job_types: options.job_types.clone(),
            ..stack::Options::default()
        };
        let types = stack::job_types(&of_types);
        std::fs::write(folder.path().join("job-types.toml"), types).expect("a file");
        let account = Account::open()?;
        let mut gates = Gates::start(&account.server.endpoint()).expect("gates");
        let pump = account.pump(options.records_hints);
        let double = if let Some(image) = &options.image {
            containers::prepare(&account.server, image, &stores(&gates));
            None
        } else {
            let double =
                EcsDouble::start(of_double(&options, &account, &gates, folder.path())).expect("a double");
            gates.ecs = Gate::start(&double.url()).expect("a gate");
            Some(double)
        };
        let port = free_port();
        let api = Program::at(servers().join("agent-runner-api"), folder.path().join("api.log"));
        let (reconcilers, metrics) = (Vec::new(), BTreeMap::new());
        let mut stack =
            Self { reconcilers, api, metrics, double, _pump: pump, gates, account, options, port, folder };
        let environment = stack.environment();
        stack.api.start(stack.folder.path(), &environment);
        stack.launch_reconciler();
        stack.ready();
        Ok(stack)
    }

    /// What API and reconciler are told.
    fn environment(&self) -> Vec<(String, String)> {
        let options = &self.options;
        let mut all = stores(&self.gates);
        // Where faults are scripted, a connection more to break would be one more.
        let ecs = match &self.double {
            Some(double) if !options.without_workers => double.url(),
            _ => self.gates.ecs.endpoint(),
        };
        let own = [
            ("AGENT_RUNNER_TASKS", "ecs:agent-runner".to_owned()),
            ("AGENT_RUNNER_HINTS", format!("sqs:{}", self.account.queue_url)),
            ("AGENT_RUNNER_LISTEN", format!("127.0.0.1:{}", self.port)),
            ("AGENT_RUNNER_JOB_TYPES", self.path("job-types.toml")),
            ("AGENT_RUNNER_MAX_CONCURRENT_TASKS", options.slots.to_string()),
            ("AGENT_RUNNER_RESYNC_SECONDS", options.resync_seconds.to_string()),
            ("AGENT_RUNNER_ECS_TASK_DEFINITION", "agent-runner-worker:1".to_owned()),
            ("AGENT_RUNNER_ECS_SUBNETS", "subnet-a,subnet-b".to_owned()),
            ("AGENT_RUNNER_ECS_SNAPSHOT_SECONDS", options.snapshot_seconds.to_string()),
            ("AWS_ENDPOINT_URL_ECS", ecs),
        ];
        all.extend(own.map(|(name, value)| (name.to_owned(), value)));
        all.extend(std::env::var("TESTBED_LOG").ok().map(|level| ("AGENT_RUNNER_LOG".to_owned(), level)));
        all
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().expect("UTF-8").to_owned()
    }

    /// Starts a reconciler more and names it.
    pub fn launch_reconciler(&mut self) -> usize {
        let number = self.reconcilers.len();
        let log = self.folder.path().join(format!("reconciler-{number}.log"));
        self.reconcilers.push(Program::at(servers().join("agent-runner-reconciler"), log));
        self.relaunch_reconciler(number);
        number
    }

    /// Starts one that was killed.
    pub fn relaunch_reconciler(&mut self, number: usize) {
        let mut environment = self.environment();
        let port = free_port();
        environment.push(("AGENT_RUNNER_METRICS_LISTEN".to_owned(), format!("127.0.0.1:{port}")));
        self.metrics.insert(number, Client::new(format!("http://127.0.0.1:{port}")));
        let folder = self.folder.path().to_owned();
        self.reconcilers[number].start(&folder, &environment);
    }

    /// SIGKILL.
    pub fn kill_reconciler(&mut self, number: usize) {
        self.reconcilers[number].kill();
    }

    /// SIGSTOP.
    pub fn pause_reconciler(&self, number: usize) {
        self.reconcilers[number].pause();
    }

    /// SIGCONT.
    pub fn continue_reconciler(&self, number: usize) {
        self.reconcilers[number].go_on();
    }

    /// The process id of one that runs; 0 of one that does not.
    #[must_use]
    pub fn reconciler_pid(&self, number: usize) -> u32 {
        self.reconcilers[number].pid().unwrap_or(0)
    }

    /// Waits until the API answers and somebody holds the lease.
    ///
    /// # Panics
    /// When that does not come.
    pub fn ready(&mut self) {
        let until = Instant::now() + READY;
        loop {
            let answers = self.client().ask("GET", "/readyz", &[], None).is_ok_and(|a| a.status == 200);
            if answers && self.account.leader().is_some() {
                return;
            }
            let ended = self.reconcilers.iter_mut().chain([&mut self.api]).any(Program::has_ended);
            assert!(!ended, "a program ended\n{}", self.logs());
            assert!(Instant::now() < until, "nobody answers or leads\n{}", self.logs());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The metrics of a reconciler that runs.
    ///
    /// # Panics
    /// When there is none of this number.
    #[must_use]
    pub fn metrics(&self, number: usize) -> &Client {
        &self.metrics[&number]
    }

    /// A client of the API.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(format!("http://127.0.0.1:{}", self.port))
    }

    /// What agents wrote down, outside of the system.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        Ledger::at(self.folder.path().join("outside/ledger"))
    }

    /// ECS.
    ///
    /// # Panics
    /// When tasks are containers.
    #[must_use]
    pub fn double(&self) -> &EcsDouble {
        self.double.as_ref().expect("the double")
    }

    /// Scripts faults of ECS; false if the double does not take them: what they name is gone.
    #[must_use]
    pub fn faults(&self, faults: &Value) -> bool {
        let url = format!("{}/_double/faults", self.double().url());
        let answer = ureq::post(url).send(json!({"faults": faults}).to_string());
        answer.is_ok_and(|answer| answer.status() == 200)
    }

    /// Waits until every job has ended, seen in the table and not by the API.
    ///
    /// # Panics
    /// Names those that have not within `patience`.
    pub fn expect_ended(&self, job_ids: &[String], patience: Duration) {
        let until = Instant::now() + patience;
        loop {
            let statuses = self.account.statuses();
            let ended = |id: &String| {
                statuses.get(id).is_some_and(|s| matches!(s["status"].as_str(), Some("SUCCEEDED" | "FAILED")))
            };
            let left: Vec<_> = job_ids.iter().filter(|id| !ended(id)).collect();
            if left.is_empty() {
                return;
            }
            if Instant::now() >= until {
                // The logs first: who keeps the end only of what was printed sees the records.
                panic!("{}\n{} jobs have not ended:\n{}", self.logs(), left.len(), self.records_of(&left));
            }
            // The table tells nobody; a scan of it takes some milliseconds.
            std::thread::sleep(Duration::from_millis(250));
        }
    }

    /// What is on record of these jobs, and what the double has of them.
    fn records_of(&self, job_ids: &[&String]) -> String {
        let mut out = String::new();
        let jobs = self.jobs();
        for id in job_ids {
            out += &format!("{id}: {:?}\n", jobs.get(*id));
        }
        for attempt in self.attempts().iter().filter(|attempt| job_ids.contains(&&attempt.job)) {
            out += &format!("{attempt:?}\n");
        }
        let state = self.double.as_ref().map(EcsDouble::state).unwrap_or_default();
        let ours = |task: &&Value| job_ids.iter().any(|id| task.to_string().contains(id.as_str()));
        for task in state["tasks"].as_array().into_iter().flatten().filter(ours) {
            out += &format!("{task}\n");
        }
        out
    }

    /// Waits until no task is left that has not stopped.
    ///
    /// # Panics
    /// Names the tasks that are left after `patience`.
    pub fn expect_no_task_left(&self, patience: Duration) {
        let until = Instant::now() + patience;
        loop {
            let state = self.double().state();
            let all = state["tasks"].as_array().cloned().unwrap_or_default();
            let left: Vec<_> = all.iter().filter(|task| task["lastStatus"] != "STOPPED").collect();
            if left.is_empty() {
                assert_eq!(state["overlaps"], 0, "two containers of one attempt at once");
                return;
            }
            assert!(Instant::now() < until, "{} tasks are left: {left:#?}\n{}", left.len(), self.logs());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The ends of the logs, for messages.
    #[must_use]
    pub fn logs(&self) -> String {
        let programs = self.reconcilers.iter().chain([&self.api]).map(|program| program.log.clone());
        let all = programs.chain([self.folder.path().join("worker.log")]);
        all.map(|path| program::end_of(&path)).collect()
    }
}

impl Drop for AwsStack {
    fn drop(&mut self) {
        if std::thread::panicking() {
            crate::say(&self.logs());
            if let Some(folder) = std::env::var_os("TESTBED_KEEP") {
                let _ =
                    std::process::Command::new("cp").arg("-r").arg(self.folder.path()).arg(folder).status();
            }
        }
    }
}

/// Where records and artifacts are, and credentials that the emulator does not check.
fn stores(gates: &Gates) -> Vec<(String, String)> {
    let mut all = gates.environment();
    let own = [
        ("AGENT_RUNNER_RECORDS", format!("dynamodb:{}", account::PREFIX)),
        ("AGENT_RUNNER_ARTIFACTS", format!("s3://{}", account::BUCKET)),
        ("AWS_REGION", "us-east-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", "test".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ("PATH", "/usr/bin:/bin".to_owned()),
    ];
    all.extend(own.map(|(name, value)| (name.to_owned(), value)));
    all
}

fn of_double(options: &Options, account: &Account, gates: &Gates, folder: &Path) -> crate::ecs::Options {
    let mut worker = definition("agent-runner-worker", "worker");
    // As infra/terraform/worker.tf has it.
    worker["containerDefinitions"][0]["stopTimeout"] = json!(120);
    let program = servers().join("agent-runner-worker");
    let execution = if options.without_workers {
        Execution::Simulated { lasts: Duration::from_secs(3600), exit_code: 0 }
    } else {
        Execution::Process(Worker {
            command: vec![program.to_str().expect("UTF-8").to_owned()],
            env: stores(gates),
            log: Some(folder.join("worker.log")),
        })
    };
    crate::ecs::Options {
        definitions: vec![worker],
        execution,
        time_scale: options.scale,
        sinks: vec![account.event_sink(options.event_copies)],
        post: options.task_events,
        short_pages: true,
        ..crate::ecs::Options::default()
    }
}
