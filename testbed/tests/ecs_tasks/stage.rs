//! A cluster of the double. Its workers are a shell script; what one does follows from the job's name.

use async_trait::async_trait;
use aws_sdk_ecs::config::timeout::TimeoutConfig;
use aws_sdk_ecs::config::{BehaviorVersion, Credentials, Region};
use backends::settings::{Layers, Machine, Settings};
use backends::{ChannelHints, Hints};
use contract::{Desired, JobId, JobTypes, LaunchToken, TaskId};
use reconciler::tasks::conformance::{Play, Stage};
use reconciler::tasks::ecs::{EcsError, EcsOptions, EcsTasks};
use reconciler::tasks::{Launch, LaunchAnswer, Observed, TaskState, TaskView, Tasks};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use testbed::ecs::{EcsDouble, Execution, Lag, Options, Phases, Quotas, Worker, definition};

/// How long a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

const WORKER: &str = r#"
ready() { if [ -p "$SCRATCH/$AGENT_RUNNER_JOB_ID" ]; then echo ready > "$SCRATCH/$AGENT_RUNNER_JOB_ID"; fi; }
case "$AGENT_RUNNER_JOB_ID" in
lasts-*) ready; exec sleep 600 ;;
ignores-*) trap '' TERM; ready; while :; do sleep 600; done ;;
exits-*) code=${AGENT_RUNNER_JOB_ID#exits-}; exit "${code%%-*}" ;;
esac
"#;

/// Nothing takes time but what a test asks for, and there are no quotas.
pub(crate) fn quiet() -> Options {
    Options {
        quotas: Quotas::none(),
        lag: Lag { list: Duration::ZERO, describe: Duration::ZERO },
        phases: Phases::none(),
        execution: Execution::Simulated { lasts: Duration::from_secs(600), exit_code: 0 },
        ..Options::default()
    }
}

/// The same with tasks that are processes, killed 2 s after they are asked to stop.
pub(crate) fn with_workers() -> Options {
    let mut worker = definition("worker", "worker");
    worker["containerDefinitions"][0]["stopTimeout"] = json!(2);
    let command = ["/bin/sh", "-c", WORKER].map(str::to_owned).into();
    let execution = Execution::Process(Worker { command, env: Vec::new(), log: None });
    Options { definitions: vec![worker], execution, ..quiet() }
}

/// A cluster with an orchestrator's client.
pub(crate) struct Cluster {
    pub(crate) double: EcsDouble,
    pub(crate) snapshot_seconds: u32,
    scratch: TempDir,
    tasks: Option<EcsTasks>,
    pub(crate) hints: ChannelHints,
    launches: u128,
}

impl Cluster {
    /// Starts a double; its client believes in what it saw for so long.
    pub(crate) fn start(mut options: Options, snapshot_seconds: u32) -> Self {
        let scratch = tempfile::tempdir().expect("a folder");
        if let Execution::Process(worker) = &mut options.execution {
            let path = scratch.path().to_str().expect("UTF-8").to_owned();
            worker.env.extend([("SCRATCH".into(), path), ("PATH".into(), "/usr/bin:/bin".into())]);
        }
        let double = EcsDouble::start(options).expect("a double");
        let hints = ChannelHints::new().1;
        let mut cluster = Self { double, snapshot_seconds, scratch, tasks: None, hints, launches: 0 };
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(cluster.reopen()));
        cluster
    }

    pub(crate) async fn reopen(&mut self) {
        let (sender, hints) = ChannelHints::new();
        self.hints = hints;
        self.tasks = Some(self.open(&[], sender).await.expect("the definition is there"));
    }

    /// Tasks with other settings.
    pub(crate) async fn open(
        &self,
        others: &[(&str, &str)],
        hints: backends::HintSender,
    ) -> Result<EcsTasks, EcsError> {
        let snapshot = self.snapshot_seconds.to_string();
        let mut given = vec![
            ("AGENT_RUNNER_ECS_TASK_DEFINITION", "worker:1"),
            ("AGENT_RUNNER_ECS_SUBNETS", "subnet-b,subnet-a"),
            ("AGENT_RUNNER_ECS_RUN_TASK_PER_SECOND", "1000"),
            ("AGENT_RUNNER_ECS_MODIFY_PER_SECOND", "1000"),
            ("AGENT_RUNNER_ECS_READS_PER_SECOND", "1000"),
            ("AGENT_RUNNER_ECS_SNAPSHOT_SECONDS", &snapshot),
        ];
        given.retain(|(name, _)| others.iter().all(|(other, _)| other != name));
        given.extend(others);
        let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let layers = Layers::new([], given.into_iter().map(own), []);
        let settings = Settings::read(|name| layers.get(name), Machine::this()).expect("good settings");
        let options = EcsOptions {
            client: client(&self.double.url()),
            cluster: "agent-runner".into(),
            settings: settings.ecs,
            job_types: Arc::new(JobTypes::default()),
            hints,
        };
        EcsTasks::open(options).await
    }

    pub(crate) fn ecs(&self) -> &EcsTasks {
        self.tasks.as_ref().expect("it is open")
    }

    /// A launch of a task that does what `name` says, as `desired` wants it.
    pub(crate) fn launch_as(&mut self, name: &str, desired: &Desired) -> Launch {
        self.launches += 1;
        Launch {
            job_id: JobId::new(format!("{name}-{}", self.launches)).expect("a name"),
            token: LaunchToken::from_bits(self.launches),
            stop_grace: Duration::from_secs(2),
            request: self.ecs().request(desired),
        }
    }

    pub(crate) fn launch_of(&mut self, name: &str) -> Launch {
        self.launch_as(name, &Desired::new("echo"))
    }

    pub(crate) async fn launched(&self, launch: &Launch) -> TaskId {
        match self.ecs().launch(launch).await {
            LaunchAnswer::Launched(task) => task,
            other => panic!("the launch was answered with {other:?}"),
        }
    }

    pub(crate) async fn views(&self, launch: &Launch, task: Option<&TaskId>) -> Vec<TaskView> {
        match self.ecs().observe(&launch.job_id, &launch.token, task).await {
            Observed::Known(views) => views,
            Observed::Unknown(why) => panic!("nothing was observed: {why}"),
        }
    }

    /// Waits until the task is seen stopped.
    pub(crate) async fn evidence(&mut self, launch: &Launch, task: &TaskId) -> contract::Evidence {
        let waiting = async {
            loop {
                if let [TaskView { state: TaskState::Stopped(evidence), .. }] =
                    &self.views(launch, Some(task)).await[..]
                {
                    return (**evidence).clone();
                }
                self.ecs().heard_of(&launch.job_id);
                let _ = tokio::time::timeout(Duration::from_millis(200), self.hints.next()).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("the task stops")
    }

    /// Scripts faults.
    pub(crate) fn faults(&self, faults: Value) {
        let url = format!("{}/_double/faults", self.double.url());
        let body = json!({"faults": faults}).to_string();
        let answer = ureq::post(url).send(body).expect("the faults are taken");
        assert_eq!(answer.status().as_u16(), 200);
    }

    /// How often an action was called.
    pub(crate) fn calls(&self, action: &str) -> u64 {
        self.double.state()["calls"][action]["total"].as_u64().unwrap_or(0)
    }

    fn pipe(&self, launch: &Launch) -> PathBuf {
        self.scratch.path().join(launch.job_id.as_str())
    }
}

fn client(url: &str) -> aws_sdk_ecs::config::Builder {
    // Of the double's delay of 30 s a third, and more than any answer takes on a busy machine.
    let limit = Duration::from_secs(10);
    let timeouts = TimeoutConfig::builder().operation_attempt_timeout(limit).operation_timeout(limit).build();
    aws_sdk_ecs::config::Builder::new()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("double", "double", None, None, "test"))
        .endpoint_url(url)
        .timeout_config(timeouts)
}

#[async_trait]
impl Stage for Cluster {
    fn tasks(&self) -> &dyn Tasks {
        self.ecs()
    }

    fn launch(&mut self, play: Play) -> Launch {
        let launch = match play {
            Play::Lasts => self.launch_of("lasts"),
            Play::Ignores => self.launch_of("ignores"),
            Play::Exits(code) => self.launch_of(&format!("exits-{code}")),
        };
        let made = std::process::Command::new("mkfifo").arg(self.pipe(&launch)).status().expect("mkfifo");
        assert!(made.success());
        launch
    }

    async fn playing(&mut self, launch: &Launch) {
        let pipe = self.pipe(launch);
        let reading = tokio::task::spawn_blocking(move || std::fs::read_to_string(pipe).expect("a pipe"));
        let said = tokio::time::timeout(PATIENCE, reading).await.expect("it plays").expect("no panic");
        assert_eq!(said, "ready\n");
    }

    async fn restart(&mut self) {
        self.tasks = None;
        self.reopen().await;
    }

    async fn changed(&mut self) {
        let _ = tokio::time::timeout(Duration::from_millis(200), self.hints.next()).await;
    }

    async fn clear(&mut self) {
        self.tasks = None;
    }
}
