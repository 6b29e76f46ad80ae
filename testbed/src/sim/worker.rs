//! A worker and its agent.
//!
//! The worker's program is bound to a process: it blocks a thread, reads the machine's clock and watches
//! Unix signals. So it is told again here for virtual time, step by step as `worker/src` does it: pass the
//! gate for at most a minute, execute, give signs of life and kill the agent at the first refused one, end
//! the agent on SIGTERM and say so, store the files, report the outcome for at most ten minutes.

use super::Mutation;
use super::artifacts::SimArtifacts;
use super::chaos::Fault;
use super::fleet::Signal;
use super::records::SimRecords;
use super::world::{Kind, World, wall};
use backends::records::WorkerRecords;
use backends::{Artifacts, Content, GateAnswer, StartAnswer};
use contract::attempt::{Evidence, RESULT_FILE};
use contract::{
    Attempt, Claim, Failure, FailureClass, JobId, LaunchToken, Manifest, ManifestEntry, Outcome, Report,
    TaskId, Timestamp,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// As in the worker's reporter and settings.
const START_PATIENCE: Duration = Duration::from_secs(60);
const ARTIFACTS_PATIENCE: Duration = Duration::from_secs(60);
const REPORT_PATIENCE: Duration = Duration::from_secs(600);
const GUARD: Duration = Duration::from_secs(30);

/// What a worker is started with.
pub(super) struct Start {
    pub(super) world: Arc<World>,
    pub(super) task: TaskId,
    pub(super) job_id: JobId,
    pub(super) token: LaunchToken,
    pub(super) signals: watch::Receiver<Signal>,
}

/// The life of a task, from its start to its last process.
pub(super) async fn live(start: Start) {
    let Start { world, task, job_id, .. } = &start;
    let (delay, fails) = {
        let mut s = world.lock();
        let slow = s.chance(Fault::StartSlow);
        let delay = if slow { s.seconds(60..=1800) } else { s.dice.millis(0..=40_000) };
        (if world.kind == Kind::Process { delay / 1000 } else { delay }, s.chance(Fault::StartFails))
    };
    let mut kill = start.signals.clone();
    let killed = tokio::select! {
        biased;
        () = raised(&mut kill, Signal::Kill) => true,
        () = async {
            tokio::time::sleep(delay).await;
            if !fails {
                Worker::new(&start).work().await;
            }
        } => false,
    };
    let executing = world.lock().executes(job_id, task);
    let outlives = killed && executing && world.kind == Kind::Process && world.lock().dice.once_in(2);
    if outlives {
        outlive(&start).await;
    }
    let mut s = world.lock();
    s.agent_ends(job_id, task);
    let now = s.now();
    let Some(t) = s.fleet.tasks.get_mut(task) else { return };
    let code = t.stop_code.unwrap_or(if fails { "TaskFailedToStart" } else { "EssentialContainerExited" });
    let evidence = Evidence {
        task: Some(task.clone()),
        exit_code: (!killed && !fails).then_some(0),
        signal: killed.then_some(9),
        stop_code: Some(code.to_owned()),
        ..Evidence::default()
    };
    t.stopped = Some((now, evidence));
    s.note(task.as_str(), &format!("has stopped: {code}"));
}

/// Waits for a signal, or a stronger one.
async fn raised(signals: &mut watch::Receiver<Signal>, least: Signal) {
    if signals.wait_for(|s| *s >= least).await.is_err() {
        // The task is forgotten; nobody can signal it any more.
        std::future::pending().await
    }
}

/// The worker was killed, and its agent goes on until somebody ends it.
async fn outlive(start: &Start) {
    let (world, task) = (&start.world, &start.task);
    let told = |world: &World| {
        let mut s = world.lock();
        let t = s.fleet.tasks.get_mut(task);
        t.is_none_or(|t| {
            t.worker_gone = true;
            t.stop_code.is_some()
        })
    };
    world.lock().note(task.as_str(), "the worker is dead, its agent lives");
    world.lock().hint(&start.job_id);
    let end = Instant::now() + world.lock().seconds(1..=3600);
    while Instant::now() < end && !told(world) {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

enum Ended {
    /// With this failure or none.
    Left(Option<Failure>),
    /// The attempt was taken away.
    Lost,
}

struct Worker<'a> {
    start: &'a Start,
    records: WorkerRecords,
    artifacts: SimArtifacts,
    skew: i64,
    report: Report,
    due: Instant,
}

impl<'a> Worker<'a> {
    fn new(start: &'a Start) -> Self {
        let world = &start.world;
        let (skew, since) = {
            let mut s = world.lock();
            (s.skew(), s.now())
        };
        let now = wall(since, skew);
        Self {
            start,
            records: WorkerRecords::new(Arc::new(SimRecords { world: world.clone(), host: None })),
            artifacts: SimArtifacts { world: world.clone(), host: None },
            skew,
            report: Report {
                started_at: now,
                heartbeat_at: now,
                outcome: None,
                phases: std::collections::BTreeMap::new(),
            },
            due: Instant::now() + world.heartbeat,
        }
    }

    fn now(&self) -> Timestamp {
        let since = self.start.world.lock().now();
        wall(since, self.skew)
    }

    async fn work(mut self) {
        let Some(claim) = self.pass_gate().await else { return };
        let (world, job_id, task) = (&self.start.world, &self.start.job_id, &self.start.task);
        world.lock().agent_starts(job_id, &self.start.token, task);
        self.meet_fate();
        let ended = self.execute(&claim).await;
        self.start.world.lock().agent_ends(&self.start.job_id, &self.start.task);
        let Ended::Left(failure) = ended else { return };
        let finished_at = self.now();
        if let Some(outcome) = self.store(&claim, failure, finished_at).await {
            self.finish(outcome).await;
        }
    }

    /// Decides when this worker is killed or its capacity taken back.
    fn meet_fate(&self) {
        let (world, task) = (self.start.world.clone(), self.start.task.clone());
        let (killed, spot, after) = {
            let mut s = world.lock();
            (s.chance(Fault::WorkerKilled), s.chance(Fault::Spot), s.seconds(0..=600))
        };
        if killed || spot {
            tokio::spawn(async move {
                tokio::time::sleep(after).await;
                let mut s = world.lock();
                if spot {
                    s.take_back(&world, &task);
                } else if let Some(t) = s.fleet.tasks.get(&task).filter(|t| t.stopped.is_none()) {
                    t.signal.send_replace(Signal::Kill);
                    s.note(task.as_str(), "the worker is killed");
                }
            });
        }
    }

    async fn pass_gate(&mut self) -> Option<Claim> {
        let Start { job_id, token, task, .. } = self.start;
        let until = Instant::now() + START_PATIENCE;
        let mut pause = Duration::from_millis(20);
        loop {
            match self.records.start(job_id, token, task, &self.report).await {
                Ok(StartAnswer::Started(claim)) => return claim.parse().ok(),
                Ok(StartAnswer::Lost(_) | StartAnswer::NotFound) => return None,
                Err(_) if Instant::now() >= until => return None,
                Err(_) => tokio::time::sleep(pause).await,
            }
            pause = (pause * 2).min(Duration::from_secs(5));
        }
    }

    /// Executes the agent until it ends, is told to stop, is too slow, or the attempt is taken away.
    async fn execute(&mut self, claim: &Claim) -> Ended {
        let script = self.start.world.lock().scripts.get(&self.start.job_id).cloned().unwrap_or_default();
        let turn = self.start.world.lock().reported(&self.start.job_id);
        let begun = Instant::now();
        let guard = begun + Duration::from_secs(claim.attempt_timeout_seconds) + GUARD;
        let end = script.takes.map(|takes| begun + takes);
        let mut signals = self.start.signals.clone();
        let failed = |class, message: &str| {
            Ended::Left(Some(Failure { class, exit_code: None, message: message.to_owned() }))
        };
        loop {
            let next = end.unwrap_or(guard).min(guard).min(self.due);
            tokio::select! {
                biased;
                () = raised(&mut signals, Signal::Term) => {
                    let grace = Duration::from_secs(claim.stop_grace_seconds);
                    tokio::time::sleep(script.stops_in.min(grace)).await;
                    return failed(FailureClass::Interrupted, "told to stop");
                }
                () = tokio::time::sleep_until(next) => {}
            }
            let now = Instant::now();
            if end.is_some_and(|end| now >= end) {
                return Ended::Left(script.failure(turn));
            }
            if now >= guard {
                return failed(FailureClass::AttemptTimeout, "ran too long");
            }
            if !self.beat().await {
                return Ended::Lost;
            }
        }
    }

    /// Gives a sign of life if one is due. `false`: the attempt was taken away.
    async fn beat(&mut self) -> bool {
        if Instant::now() < self.due {
            return true;
        }
        let Start { job_id, token, task, world, .. } = self.start;
        self.report.heartbeat_at = self.now();
        let answer = self.records.heartbeat(job_id, token, task, &self.report).await;
        self.due = Instant::now() + world.heartbeat;
        !matches!(answer, Ok(GateAnswer::Refused(_) | GateAnswer::NotFound))
    }

    async fn store(
        &mut self,
        claim: &Claim,
        mut failure: Option<Failure>,
        finished_at: Timestamp,
    ) -> Option<Outcome> {
        let Start { job_id, token, world, .. } = self.start;
        let folder = Attempt::folder(job_id, claim.number, token);
        let until = Instant::now() + ARTIFACTS_PATIENCE;
        let mut files = vec![("stdout.log", format!("attempt {}", claim.number))];
        if failure.is_none() {
            files.insert(0, (RESULT_FILE, format!("{{\"attempt\":{}}}", claim.number)));
        }
        let mut manifest = Manifest::default();
        for (path, text) in files {
            let stored = loop {
                if !self.beat().await {
                    return None;
                }
                let key = format!("{folder}/{path}");
                match self.artifacts.put(&key, Content::Bytes(text.as_bytes())).await {
                    Ok(stored) => break Some(stored),
                    Err(_) if Instant::now() >= until => break None,
                    Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
                }
            };
            let Some(stored) = stored else {
                let (class, message) = (FailureClass::ArtifactsNotStored, "simulated".to_owned());
                failure.get_or_insert(Failure { class, exit_code: None, message });
                break;
            };
            let sha256 = if world.is(Mutation::UnreadableSuccess) { "0".repeat(64) } else { stored.sha256 };
            manifest.files.push(ManifestEntry { path: path.to_owned(), size: stored.size, sha256 });
        }
        Some(Outcome { finished_at, failure, manifest })
    }

    async fn finish(mut self, outcome: Outcome) {
        let Start { job_id, token, task, .. } = self.start;
        self.report.heartbeat_at = self.now();
        self.report.outcome = Some(outcome);
        let until = Instant::now() + REPORT_PATIENCE;
        let mut pause = Duration::from_millis(20);
        while self.records.finish(job_id, token, task, &self.report).await.is_err() {
            if Instant::now() >= until {
                return;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(5));
        }
    }
}
