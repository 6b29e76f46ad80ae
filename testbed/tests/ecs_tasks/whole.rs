//! The whole loop: records, reconciler, ECS, and the real worker as what a task runs.

use super::stage::{Cluster, with_workers};
use backends::records::{ApiRecords, NewJob, ReconcilerRecords};
use backends::settings::{Layers, Machine, Settings};
use backends::stores::Stores;
use backends::{ChannelHints, Hint, Hints, HintsError, Interest, SystemClock, SystemRandom, clock};
use contract::attempt::phase;
use contract::{Control, Created, Desired, JobId, JobTypes, Status, Timestamp};
use reconciler::tasks::ecs::EcsTasks;
use reconciler::{Metrics, Parts};
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use testbed::ecs::{Execution, Options, Phases, Worker};
use testbed::executable::agent_runner;
use tokio::sync::oneshot;

const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Both(pub(crate) Box<dyn Hints>, pub(crate) ChannelHints);

#[async_trait::async_trait]
impl Hints for Both {
    async fn next(&mut self) -> Result<Vec<Hint>, HintsError> {
        tokio::select! {
            hints = self.0.next() => hints,
            hints = self.1.next() => hints,
        }
    }
}

pub(crate) fn settings(folder: &std::path::Path) -> Settings {
    let at = |name: &str| folder.join(name).to_str().expect("UTF-8").to_owned();
    let own = |name: &str, value: String| (name.to_owned(), value);
    let layers = Layers::new(
        [],
        [
            own("AGENT_RUNNER_RECORDS", format!("sqlite:{}", at("records.db"))),
            own("AGENT_RUNNER_ARTIFACTS", format!("file:{}", at("artifacts"))),
        ],
        [],
    );
    Settings::read(|name| layers.get(name), Machine::this()).expect("good settings")
}

/// Tasks that run the real worker, on a Fargate that is quick.
fn with_real_workers(settings: &Settings) -> Options {
    let text = |path: &std::ffi::OsStr| path.to_str().expect("UTF-8").to_owned();
    let command = vec![text(agent_runner().as_os_str()), "__worker".to_owned()];
    let env = vec![
        ("AGENT_RUNNER_RECORDS".to_owned(), text(&settings.records.setting())),
        ("AGENT_RUNNER_ARTIFACTS".to_owned(), text(&settings.artifacts.setting())),
    ];
    let phases = Phases { pull: Duration::from_millis(50), ..Phases::none() };
    Options { execution: Execution::Process(Worker { command, env, log: None }), phases, ..with_workers() }
}

pub(crate) async fn submit(records: &ApiRecords, n: usize, desired: Desired) -> JobId {
    let job_id = JobId::new(format!("job-{n}")).expect("a name");
    let at = Timestamp::from(SystemTime::now());
    let created = Created {
        write: clock::fresh_write_id(),
        at,
        actor: "test".to_owned(),
        idempotency_key: None,
        body_digest: None,
        desired_digest: None,
    };
    let new = NewJob { job_id: job_id.clone(), created, desired };
    records.create(&new).await.expect("stored");
    job_id
}

async fn ended(records: &ApiRecords, changes: &mut Box<dyn Hints>, job_id: &JobId) -> Control {
    loop {
        let loaded = records.load(job_id).await.expect("read").expect("there");
        if loaded.job.view().status.is_terminal() {
            return loaded.job.control.expect("looked at").parse().expect("good");
        }
        changes.next().await.expect("changes");
    }
}

/// A reconciler's parts.
pub(crate) fn parts(stores: &Stores, tasks: EcsTasks) -> Parts {
    Parts {
        records: ReconcilerRecords::new(stores.records.clone()),
        artifacts: stores.artifacts.clone(),
        tasks: Arc::new(tasks),
        lease: stores.lease.clone(),
        clock: Arc::new(SystemClock::default()),
        random: Arc::new(SystemRandom),
        job_types: Arc::new(JobTypes::default()),
        policy: plan::Policy::default(),
        max_concurrent_tasks: 1000,
        resync_interval: Duration::from_secs(1),
        scan_interval: Duration::from_secs(600),
        holder: "test".to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_succeed_on_ecs_whatever_runtask_answers_and_cost_what_they_took() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = settings(folder.path());
    let stores = Stores::open(&settings).await.expect("stores");
    let cluster = Cluster::start(with_real_workers(&settings), 1);
    let (task_hints, from_tasks) = ChannelHints::new();
    let from_records = stores.hints().await.expect("a feed").expect("of SQLite");
    let tasks = cluster.open(&[], task_hints).await.expect("ECS");
    let policy = plan::Policy { refusal_initial_ms: 100, ..plan::Policy::default() };
    let parts = Parts { policy, ..parts(&stores, tasks) };
    cluster.faults(json!([
        {"fault": "NoCapacity"}, {"fault": "Throttle"}, {"fault": "DropAnswerAfterApplying"}, {"fault": "Error500"},
        {"fault": "QuotaExhausted"},
    ]));
    let metrics = Metrics::new(&prometheus::Registry::new()).expect("metrics");
    let (end, ending) = oneshot::channel::<()>();
    let hints = Box::new(Both(from_records, from_tasks));
    let running = tokio::spawn(reconciler::run(parts, hints, metrics, async { drop(ending.await) }));
    let records = ApiRecords::new(stores.records.clone());
    let mut changes = stores.feed.subscribe(Interest::Status).await.expect("a feed").expect("of SQLite");
    let mut jobs = Vec::new();
    for n in 0..6 {
        jobs.push(submit(&records, n, Desired::new("echo")).await);
    }
    for job_id in &jobs {
        let control =
            tokio::time::timeout(PATIENCE, ended(&records, &mut changes, job_id)).await.expect("it ends");
        assert_eq!(control.status(), Status::Succeeded, "{}", control.message);
        let loaded = records.load(job_id).await.expect("read").expect("there");
        let accepted = control.accepted.as_ref().expect("a result");
        let attempt = loaded.attempts.iter().find(|a| a.token == accepted.token).expect("the attempt");
        let evidence = attempt.closing.as_ref().expect("closed").parse().expect("good").evidence;
        let task = evidence.task.expect("the task that passed the gate");
        assert!(task.as_str().starts_with("arn:aws:ecs:us-east-1:111122223333:task/agent-runner/"), "{task}");
        for name in [phase::QUEUED, phase::CLAIMED, phase::PULL_STARTED, phase::GATE_PASSED, phase::FINISHED]
        {
            assert!(evidence.phases.contains_key(name), "{name}: {:?}", evidence.phases);
        }
        // A minute of 0.25 vCPU and 0.5 GB.
        assert_eq!(evidence.cost.map(|usd| usd.0), Some(206));
        assert_eq!(control.cost, evidence.cost);
    }
    end.send(()).expect("it runs");
    running.await.expect("it ends");
    let state = cluster.double.state();
    assert_eq!(state["launched"], jobs.len(), "one task for each job: {state}");
    assert_eq!(state["faults"], json!([]), "every fault has struck");
}
