//! An account that is full: what waits for room does not go on asking for it.

use super::stage::{Cluster, PATIENCE, quiet};
use super::whole::{Both, parts, settings, submit};
use backends::records::ApiRecords;
use backends::stores::Stores;
use backends::{ChannelHints, Interest};
use contract::desired::{Capacity, Resources};
use contract::{Control, Desired, JobId, Phase, Reason};
use reconciler::Metrics;
use serde_json::json;
use std::time::Duration;
use tempfile::TempDir;
use testbed::ecs::{Options, Quotas};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Calls of RunTask a second; the reconciler then has 12 attempts at once that have no task yet.
const RATE: &str = "5";

/// A reconciler on a Fargate with room for two vCPUs on demand, and as many on Spot as one likes.
struct Account {
    cluster: Cluster,
    records: ApiRecords,
    jobs: usize,
    _folder: TempDir,
    end: oneshot::Sender<()>,
    running: JoinHandle<()>,
}

impl Account {
    async fn open() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = settings(folder.path());
        let stores = Stores::open(&settings).await.expect("stores");
        let quotas = Quotas { vcpus: Some(2), ..Quotas::none() };
        let cluster = Cluster::start(Options { quotas, ..quiet() }, 1);
        let (task_hints, from_tasks) = ChannelHints::new();
        let from_records = stores.hints().await.expect("a feed").expect("of SQLite");
        let rate = [("AGENT_RUNNER_ECS_RUN_TASK_PER_SECOND", RATE)];
        let parts = parts(&stores, cluster.open(&rate, task_hints).await.expect("ECS"));
        let metrics = Metrics::new(&prometheus::Registry::new()).expect("metrics");
        let (end, ending) = oneshot::channel::<()>();
        let hints = Box::new(Both(from_records, from_tasks));
        let running = tokio::spawn(reconciler::run(parts, hints, metrics, async { drop(ending.await) }));
        let records = ApiRecords::new(stores.records.clone());
        let _ = stores.feed.subscribe(Interest::Status).await;
        Self { cluster, records, jobs: 0, _folder: folder, end, running }
    }

    async fn submit(&mut self, desired: Desired) -> JobId {
        self.jobs += 1;
        submit(&self.records, self.jobs, desired).await
    }

    async fn control(&self, job_id: &JobId) -> Option<Control> {
        let loaded = self.records.load(job_id).await.expect("read").expect("there");
        loaded.job.control.map(|control| control.parse().expect("good"))
    }

    fn launched(&self) -> u64 {
        self.cluster.double.state()["launched"].as_u64().expect("a number")
    }

    fn calls(&self) -> u64 {
        self.cluster.calls("RunTask")
    }

    async fn until(&self, what: &str, is: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !is(self) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{what}"));
    }

    /// Waits until the account is full, and whatever had set out before that was known has come back.
    async fn full(&self, tasks: u64) {
        self.until("it is full", |a| a.launched() == tasks && a.calls() > tasks).await;
        tokio::time::sleep(Duration::from_secs(4)).await;
    }

    async fn close(self) {
        self.end.send(()).expect("it runs");
        self.running.await.expect("it ends");
    }
}

fn sized(cpu: u32, memory_mib: u32) -> Desired {
    let resources = Resources { cpu, memory_mib, ephemeral_storage_gib: None };
    Desired { resources: Some(resources), ..Desired::new("echo") }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_account_is_asked_for_room_by_one_launch_at_a_time() {
    let mut account = Account::open().await;
    let mut jobs = Vec::new();
    for _ in 0..60 {
        jobs.push(account.submit(Desired::new("echo")).await);
    }
    account.full(8).await;
    let before = account.calls();
    assert!(before <= 8 + 12 + 4, "{before} calls: what was under way, and few more");
    tokio::time::sleep(Duration::from_secs(8)).await;
    let tried = account.calls() - before;
    assert!((1..=3).contains(&tried), "{tried} calls in 8 s, each of them refused");

    // Another capacity has room of its own, and is asked for it at once.
    let spot = account.submit(Desired { capacity: Capacity::Spot, ..Desired::new("echo") }).await;
    account.until("a task on Spot", |a| a.launched() == 9).await;
    assert_eq!(account.control(&spot).await.map(|c| c.phase), Some(Phase::Launching));

    // Two tasks end, and there is room for two.
    let state = account.cluster.double.state();
    let running = state["tasks"].as_array().expect("a list").iter();
    let on_demand =
        running.filter(|task| task["capacityProviderName"].is_null() || task["launchType"] == "FARGATE");
    for task in on_demand.take(2) {
        account.cluster.faults(json!([{"fault": "KillTask", "task": task["taskArn"]}]));
    }
    account.until("what there is room for is launched", |a| a.launched() >= 11).await;

    // Jobs that were never tried say what they wait for, and have no attempt.
    let mut never_tried = 0;
    for job_id in &jobs {
        let loaded = account.records.load(job_id).await.expect("read").expect("there");
        if loaded.attempts.is_empty() {
            never_tried += 1;
            let control = account.control(job_id).await.expect("looked at");
            assert_eq!(control.reason, Some(Reason::WaitingForQuota), "{}", control.message);
        }
    }
    assert!(never_tried >= 25, "{never_tried} of {} jobs have no attempt", jobs.len());
    account.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_is_too_large_for_what_is_free_keeps_no_smaller_one_waiting() {
    let mut account = Account::open().await;
    let mut large = Vec::new();
    for _ in 0..20 {
        large.push(account.submit(Desired { priority: 9, ..sized(4096, 8192) }).await);
    }
    account.until("one is refused", |a| a.calls() > 0).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let began = std::time::Instant::now();
    for _ in 0..8 {
        account.submit(sized(256, 512)).await;
    }
    account.until("the small ones run", |a| a.launched() == 8).await;
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
    let before = account.calls();
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(account.calls() - before <= 2, "{} calls", account.calls() - before);
    account.close().await;
}
