//! How fast waiting jobs are launched, and by how many calls of ECS.
//!
//! The real loop with its real tasks on ECS and the unmodified SDK, against the double with the quotas, phases and
//! delays of AWS; both with the same factor of compressed time ([`super::compressed`]). Records are in SQLite: at
//! twenty launches a second, times the factor, an emulator of DynamoDB would be what is measured. The double's
//! containers are simulated, because ten thousand processes would be; in the place of each worker a task of this
//! process passes the gate when the container starts, and reports its outcome a second before it ends, through the
//! same port and with the same files as a worker. Hints are those of the installation: the feed of the records, and
//! of the events of ECS those that its rule lets through.

use super::compressed::{CompressedClock, compressed};
use super::workers::Workers;
use crate::bench::{Failed, stats};
use crate::ecs::{EcsDouble, Execution, Sink, definition};
use aws_sdk_ecs::config::{BehaviorVersion, Builder, Credentials, Region};
use backends::records::{ApiRecords, NewJob, ReconcilerRecords, WorkerRecords};
use backends::settings::{EcsSettings, Machine, Settings};
use backends::sqlite::{Access, Interest, SqliteLease, SqliteOptions, SqliteRecords};
use backends::{Artifacts, ChannelHints, Clock, DirArtifacts, Durability, HintSender, Hints, SystemRandom};
use contract::{Created, Desired, JobId, JobTypes, JsonText, Status};
use reconciler::tasks::ecs::{EcsOptions, EcsTasks};
use reconciler::{Metrics, Parts};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// What to measure.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// How many jobs wait at the start.
    pub jobs: usize,
    /// How much faster than real time.
    pub factor: u32,
    /// How long a container runs.
    pub lasts: Duration,
    /// `AGENT_RUNNER_MAX_CONCURRENT_TASKS`.
    pub slots: u32,
}

/// What was measured. Times are compressed time.
#[derive(Debug, Clone)]
pub struct Launches {
    /// Launches a second over the whole run, after the first that a full bucket gives at once.
    pub rate: f64,
    /// The lowest rate of any minute in which jobs waited.
    pub worst_minute: f64,
    /// Calls of RunTask for each job.
    pub run_task: f64,
    /// Calls of DescribeTasks and ListTasks for each job.
    pub reads: f64,
    /// The share of all calls that were throttled.
    pub throttled: f64,
    /// The most tasks that were there at once.
    pub most: f64,
    /// Seconds from the outcome of a job until the job had ended, the 99th percentile.
    pub ending_p99: f64,
    /// How long the run took, on this machine, in seconds.
    pub took: f64,
}

/// RunTask was seen to take 1.5 to 2.1 s (gchq/sleeper issue 904).
const RUN_TASK: Duration = Duration::from_millis(1500);
/// How long a run may take beyond what its quota allows.
const PATIENCE: Duration = Duration::from_secs(600);
/// The task definition, whose family the rule for events names.
const FAMILY: &str = "agent-runner-worker";

/// Measures.
///
/// # Errors
/// Something did not work: a job was lost, or the run does not end.
pub fn measure(plan: Plan) -> Result<Launches, Failed> {
    let folder = tempfile::TempDir::with_prefix("agent-runner-launches-")?;
    let (to_workers, events) = mpsc::unbounded_channel();
    let began = Instant::now();
    let double = EcsDouble::start(of_double(plan, to_workers))?;
    let endings = compressed(plan.factor, run(plan, folder.path(), &double, events))?;
    let took = began.elapsed().as_secs_f64();
    if endings.len() != plan.jobs {
        return Err(Failed::new(format!("{} of {} jobs have succeeded", endings.len(), plan.jobs)));
    }
    evaluate(plan, &double.state(), &endings, took)
}

fn of_double(plan: Plan, to_workers: mpsc::UnboundedSender<Value>) -> crate::ecs::Options {
    let tell = move |event: &Value| drop(to_workers.send(event.clone()));
    crate::ecs::Options {
        definitions: vec![definition(FAMILY, "worker")],
        execution: Execution::Simulated { lasts: plan.lasts, exit_code: 0 },
        time_scale: plan.factor,
        run_task_latency: RUN_TASK,
        sinks: vec![Sink::Call(Arc::new(tell))],
        ..crate::ecs::Options::default()
    }
}

/// Runs until every job has ended; seconds from the outcome to the end of those that succeeded.
async fn run(
    plan: Plan,
    folder: &Path,
    double: &EcsDouble,
    events: mpsc::UnboundedReceiver<Value>,
) -> Result<Vec<f64>, Failed> {
    let options = SqliteOptions { durability: Durability::Process, access: Access::Orchestrator };
    let database = folder.join("records.db");
    let records = SqliteRecords::open(&database, options)?;
    let artifacts: Arc<dyn Artifacts> =
        Arc::new(DirArtifacts::open(&folder.join("artifacts"), Durability::Process)?);
    let clock = Arc::new(CompressedClock::start());
    let (sender, hints) = ChannelHints::new();
    submit(&ApiRecords::new(records.clone()), plan.jobs, &clock).await?;
    let workers = Workers {
        records: WorkerRecords::new(records.clone()),
        artifacts: artifacts.clone(),
        clock: clock.clone(),
        lasts: plan.lasts,
    };
    tokio::spawn(workers.run(events, sender.clone()));
    tokio::spawn(forward(records.subscribe(Interest::Reconcile), sender.clone()));
    let parts = Parts {
        records: ReconcilerRecords::new(records.clone()),
        artifacts,
        tasks: Arc::new(EcsTasks::open(of_tasks(double.url(), FAMILY, sender)).await?),
        lease: Arc::new(SqliteLease::open(&database)),
        clock,
        random: Arc::new(SystemRandom),
        job_types: Arc::new(JobTypes::default()),
        policy: plan::Policy::default(),
        max_concurrent_tasks: plan.slots,
        resync_interval: Duration::from_secs(30),
        scan_interval: Duration::from_secs(600),
        holder: "the benchmark".to_owned(),
    };
    let metrics = Metrics::new(&prometheus::Registry::new())?;
    let records = ReconcilerRecords::new(records);
    reconciler::run(parts, Box::new(hints), metrics, all_ended(&records, plan.jobs)).await;
    endings(&records, plan.jobs).await
}

/// Until no job is left, or far too long.
async fn all_ended(records: &ReconcilerRecords, jobs: usize) {
    let until = tokio::time::Instant::now() + Duration::from_secs(jobs as u64 / 10) + PATIENCE;
    while tokio::time::Instant::now() < until {
        tokio::time::sleep(Duration::from_secs(5)).await;
        if records.list_active().await.is_ok_and(|active| active.is_empty()) {
            return;
        }
    }
}

async fn endings(records: &ReconcilerRecords, jobs: usize) -> Result<Vec<f64>, Failed> {
    let mut endings = Vec::with_capacity(jobs);
    for n in 0..jobs {
        let Some(loaded) = records.load(&name(n)?).await? else { continue };
        let status = loaded.job.status.as_ref().and_then(|raw| raw.parse().ok()).map(|view| view.status);
        let [attempt] = &loaded.attempts[..] else { continue };
        let outcome =
            attempt.report.as_ref().and_then(|raw| raw.parse().ok()).and_then(|report| report.outcome);
        let closing = attempt.closing.as_ref().and_then(|raw| raw.parse().ok());
        if let (Some(Status::Succeeded), Some(outcome), Some(closing)) = (status, outcome, closing) {
            endings.push(closing.closed_at.millis_since(outcome.finished_at) as f64 / 1e3);
        }
    }
    Ok(endings)
}

fn name(n: usize) -> Result<JobId, Failed> {
    Ok(JobId::new(format!("job-{n}"))?)
}

async fn submit(records: &ApiRecords, jobs: usize, clock: &CompressedClock) -> Result<(), Failed> {
    for n in 0..jobs {
        let mut desired = Desired::new("echo");
        desired.payload = JsonText::of(&json!({"n": n}));
        let created = Created {
            write: backends::clock::fresh_write_id(),
            at: clock.now(),
            actor: "the benchmark".to_owned(),
            idempotency_key: None,
            body_digest: None,
            desired_digest: None,
        };
        records.create(&NewJob { job_id: name(n)?, created, desired }).await?;
    }
    Ok(())
}

async fn forward(mut from: ChannelHints, to: HintSender) {
    while let Ok(hints) = from.next().await {
        hints.into_iter().for_each(|hint| to.send(hint));
    }
}

/// Tasks with the default settings, which are those of AWS, in the double at `url`.
pub(super) fn of_tasks(url: String, family: &str, hints: HintSender) -> EcsOptions {
    let client = Builder::new()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .endpoint_url(url)
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "test"));
    EcsOptions {
        client,
        cluster: "agent-runner".to_owned(),
        settings: settings(family),
        job_types: Arc::new(JobTypes::default()),
        hints,
    }
}

fn settings(family: &str) -> EcsSettings {
    let given = |name: &str| match name {
        "AGENT_RUNNER_ECS_TASK_DEFINITION" => Some(format!("{family}:1")),
        "AGENT_RUNNER_ECS_SUBNETS" => Some("subnet-a,subnet-b".to_owned()),
        _ => None,
    };
    Settings::read(given, Machine::this()).expect("good settings").ecs
}

/// Of one action, in `state`.
pub(super) fn calls(state: &Value, action: &str, kind: &str) -> f64 {
    state["calls"][action][kind].as_f64().unwrap_or(0.0)
}

fn evaluate(plan: Plan, state: &Value, endings: &[f64], took: f64) -> Result<Launches, Failed> {
    let tasks = state["tasks"].as_array().ok_or_else(|| Failed::new("the double names no tasks"))?;
    let mut created: Vec<f64> = tasks.iter().filter_map(|task| task["createdAt"].as_f64()).collect();
    created.sort_by(f64::total_cmp);
    let steady = created.get(BURST..).filter(|created| created.len() > 1);
    let steady = steady.ok_or_else(|| Failed::new("hardly anything was launched"))?;
    let jobs = plan.jobs as f64;
    let all = ["RunTask", "StopTask", "DescribeTasks", "ListTasks"];
    let sum = |kind| all.iter().map(|action| calls(state, action, kind)).sum::<f64>();
    Ok(Launches {
        rate: rate(steady),
        worst_minute: worst_minute(steady),
        run_task: calls(state, "RunTask", "total") / jobs,
        reads: (calls(state, "DescribeTasks", "total") + calls(state, "ListTasks", "total")) / jobs,
        throttled: sum("throttled") / sum("total"),
        most: most_at_once(tasks),
        ending_p99: stats::percentile(endings, 99.0),
        took,
    })
}

/// What the bucket of RunTask gives at once when it is full ([`crate::ecs::Quotas`]).
const BURST: usize = 20;

fn rate(created: &[f64]) -> f64 {
    let (Some(first), Some(last)) = (created.first(), created.last()) else { return 0.0 };
    (created.len() - 1) as f64 / (last - first)
}

/// The lowest rate of any sixty seconds that end before the last launch; of the whole time where that is shorter.
fn worst_minute(created: &[f64]) -> f64 {
    const MINUTE: f64 = 60.0;
    let last = created.last().copied().unwrap_or(0.0);
    let begins = created.iter().take_while(|at| **at + MINUTE <= last);
    let within = |from: &f64| {
        created.partition_point(|at| *at <= from + MINUTE) - created.partition_point(|at| at <= from)
    };
    begins.map(within).min().map_or_else(|| rate(created), |fewest| fewest as f64 / MINUTE)
}

fn most_at_once(tasks: &[Value]) -> f64 {
    let at = |name: &'static str, change: i64| {
        tasks.iter().filter_map(move |task| Some((task[name].as_f64()?, change)))
    };
    let mut changes: Vec<(f64, i64)> = at("createdAt", 1).chain(at("executionStoppedAt", -1)).collect();
    changes.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut there = 0;
    changes.iter().fold(0, |most, (_, change)| {
        there += change;
        most.max(there)
    }) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_minute_is_the_one_with_the_fewest_launches() {
        let steady: Vec<f64> = (0..=1200).map(|n| f64::from(n) / 10.0).collect();
        assert!((worst_minute(&steady) - 10.0).abs() < 0.02);
        let gap: Vec<f64> = steady.iter().copied().filter(|at| !(50.0..80.0).contains(at)).collect();
        assert!((worst_minute(&gap) - 5.0).abs() < 0.05, "{}", worst_minute(&gap));
        assert!((worst_minute(&steady[..100]) - 10.0).abs() < 0.02, "less than a minute");
    }

    #[test]
    fn tasks_are_there_from_their_launch_until_their_container_ends() {
        let task = |from: u32, to: u32| json!({"createdAt": from, "executionStoppedAt": to});
        assert_eq!(most_at_once(&[task(0, 10), task(5, 15), task(9, 12), task(11, 20)]), 3.0);
    }
}
