//! One pass: look at one job, decide, do one thing, look again; at most [`STEPS`] times.

use crate::Parts;
use crate::admission::Admission;
use crate::apply::Then;
use crate::board::Board;
use crate::echo::Echoes;
use crate::facts::Facts;
use crate::metrics::Metrics;
use crate::pace::{Paces, Told};
use crate::queue::Queue;
use crate::tasks::Demand;
use backends::records::ControlWrite;
use backends::{Loaded, RecordsError, WriteAnswer};
use contract::desired::Capacity;
use contract::invariants::{self, AttemptFacts, Invariant};
use contract::{Control, Desired, JobId, LaunchToken, Phase, Raw, Reason, Status, Timestamp};
use plan::{Decision, Effect, Slot, Snapshot, plan};
use std::time::Duration;

/// How many decisions a pass carries out before it lets others go first.
const STEPS: usize = 4;

/// What all passes of one leadership share.
pub(crate) struct Work {
    pub(crate) parts: Parts,
    pub(crate) epoch: u64,
    pub(crate) metrics: Metrics,
    pub(crate) queue: Queue,
    pub(crate) admission: Admission,
    pub(crate) facts: Facts,
    pub(crate) paces: Paces,
    pub(crate) told: Told,
    pub(crate) board: Board,
    pub(crate) echoes: Echoes,
}

/// When to look at the job again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// When something is heard of it.
    Settled,
    /// At once.
    Now,
    /// At this time, if nothing is heard before.
    At(Timestamp),
}

/// Why a pass could not go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PassError {
    #[error("{call}: {error}")]
    Records { call: &'static str, error: RecordsError },
    #[error("artifacts: {0}")]
    Artifacts(#[from] backends::ArtifactsError),
    #[error("the lease: {0}")]
    Lease(#[from] backends::LeaseError),
    #[error("the task could not be stopped: {0}")]
    Stop(String),
    /// Another reconciler with a later epoch has written: this one leads no more.
    #[error("epoch {theirs} has taken over from {ours}")]
    Deposed { ours: u64, theirs: u64 },
}

impl Work {
    /// Counts a call to the records and names it in its error.
    pub(crate) fn stored<T>(
        &self,
        call: &'static str,
        answer: Result<T, RecordsError>,
    ) -> Result<T, PassError> {
        self.metrics.stored(call, answer).map_err(|error| PassError::Records { call, error })
    }

    /// One pass over the job.
    pub(crate) async fn pass(&self, key: &JobId) -> Result<Next, PassError> {
        let began = self.parts.clock.monotonic();
        let Some(mut loaded) = self.stored("load", self.parts.records.load(key).await)? else {
            self.gone(key);
            return Ok(Next::Settled);
        };
        let mut launched: Option<LaunchToken> = None;
        let mut known: Option<Snapshot> = None;
        for _ in 0..STEPS {
            let mut snapshot = match known.take() {
                Some(known) => known,
                None => {
                    let snapshot = self.snapshot(&loaded, launched.as_ref()).await;
                    self.check_epoch(&snapshot).await?;
                    snapshot
                }
            };
            match self.decide(&snapshot) {
                Decision::Wait { reason, until, wants_slot, .. } => {
                    self.show(key, &snapshot, reason);
                    if !self.keep_place(&loaded, &snapshot, reason, wants_slot).await {
                        // An ended job waits for its TTL, which the resync finds without a timer for each.
                        let until = until.filter(|_| !has_ended(&snapshot));
                        let until = until.into_iter().chain(self.look_again(&loaded, began)).min();
                        return Ok(until.map_or(Next::Settled, Next::At));
                    }
                }
                Decision::Write { control, settled, why } => {
                    tracing::debug!(job_id = %key, why, reason = ?control.reason, "write");
                    // Counted although the record may be one into which nothing can be written.
                    if control.reason == Some(Reason::InvalidRecord) {
                        self.show(key, &snapshot, control.reason);
                    }
                    if self.write(&mut loaded, &mut snapshot, *control, settled).await? {
                        known = Some(snapshot);
                    } else {
                        let Some(again) = self.reload(key).await? else { return Ok(Next::Settled) };
                        loaded = again;
                    }
                }
                Decision::Do { effect, why } => {
                    tracing::debug!(job_id = %key, effect = effect.name(), why, "do");
                    self.metrics.effects.with_label_values(&[effect.name()]).inc();
                    match self.apply(&mut loaded, &mut snapshot, effect, &mut launched).await? {
                        Then::GoOn => known = Some(snapshot),
                        Then::LookAgain => {}
                        Then::Reload => {
                            let Some(again) = self.reload(key).await? else { return Ok(Next::Settled) };
                            loaded = again;
                        }
                    }
                }
            }
        }
        Ok(Next::Now)
    }

    /// What the decision core says about it now.
    pub(crate) fn decide(&self, snapshot: &Snapshot) -> Decision {
        let (job_id, now) = (&snapshot.job_id, self.parts.clock.now());
        let slot = if self.admission.holds(job_id) { Slot::Granted } else { Slot::Denied };
        let decision = plan(snapshot, now, &self.parts.policy, slot);
        if let Decision::Do { effect: Effect::Claim { draft, .. }, .. } = &decision
            && let Ok(desired) = &snapshot.desired
            && !self.admission.may_launch(job_id, self.demand(desired, draft.capacity))
        {
            self.grant(self.admission.release(job_id));
            return plan(snapshot, now, &self.parts.policy, Slot::Denied);
        }
        decision
    }

    /// What a launch of the job on this capacity takes of the room for tasks.
    pub(crate) fn demand(&self, desired: &Desired, capacity: Capacity) -> Option<Demand> {
        self.parts.tasks.demand(&self.request(desired, capacity))
    }

    async fn reload(&self, key: &JobId) -> Result<Option<Loaded>, PassError> {
        let loaded = self.stored("load", self.parts.records.load(key).await)?;
        if loaded.is_none() {
            self.gone(key);
        }
        Ok(loaded)
    }

    /// The job does not exist (any more).
    fn gone(&self, key: &JobId) {
        self.grant(self.admission.release(key));
        self.board.show(&self.metrics, key, None);
    }

    /// Queues the jobs that were given a slot.
    pub(crate) fn grant(&self, granted: Vec<JobId>) {
        for job_id in granted {
            self.queue.push(job_id);
        }
    }

    /// Ends the pass if another reconciler has taken over. The lease has the last word: a later epoch in a
    /// single `control` may be a hand edit, which must not end a leadership.
    async fn check_epoch(&self, snapshot: &Snapshot) -> Result<(), PassError> {
        let theirs = match &snapshot.control {
            plan::ControlView::Valid(control) if control.epoch > self.epoch => control.epoch,
            plan::ControlView::Valid(_) | plan::ControlView::Absent | plan::ControlView::Broken => {
                return Ok(());
            }
        };
        match self.metrics.stored("lease", self.parts.lease.view().await)? {
            Some(lease) if lease.epoch > self.epoch => Err(PassError::Deposed { ours: self.epoch, theirs }),
            Some(_) | None => {
                tracing::warn!(job_id = %snapshot.job_id, epoch = theirs, "control names an epoch that never was");
                Ok(())
            }
        }
    }

    /// Keeps the job's place among the holders of slots and those who wait for one. Answers whether the job
    /// was given a slot just now.
    ///
    /// An open attempt holds a slot. Of a record that cannot be decoded nothing is launched, stopped or closed
    /// before somebody mends it, so there only what may still run does; else enough of them would keep every
    /// other job waiting. Mended, its open attempt holds a slot again, if need be beyond the limit.
    pub(crate) async fn keep_place(
        &self,
        loaded: &Loaded,
        snapshot: &Snapshot,
        reason: Option<Reason>,
        wants_slot: Option<Capacity>,
    ) -> bool {
        let key = &snapshot.job_id;
        let open = if reason == Some(Reason::InvalidRecord) {
            self.may_run(loaded, snapshot).await
        } else {
            snapshot.attempts.iter().any(|a| a.closing.is_none())
        };
        if let Some(slots) = self.parts.tasks.slots() {
            self.admission.note_slots(slots);
        }
        let granted = match &snapshot.desired {
            Ok(desired) if open => self.admission.hold(key, desired.queue.as_ref()),
            Err(_) if open => self.admission.keep(key),
            Ok(desired) if let Some(capacity) = wants_slot => {
                let demand = self.demand(desired, capacity);
                self.admission.wait(key, desired, snapshot.created_at, demand)
            }
            Ok(_) | Err(_) => self.admission.release(key),
        };
        let mut mine = false;
        for job_id in granted {
            if job_id == *key {
                mine = true;
            } else {
                self.queue.push(job_id);
            }
        }
        mine
    }

    /// Shows the job on the gauges.
    fn show(&self, key: &JobId, snapshot: &Snapshot, reason: Option<Reason>) {
        let status = match &snapshot.control {
            plan::ControlView::Valid(control) => control.status(),
            plan::ControlView::Absent | plan::ControlView::Broken => Status::Queued,
        };
        let shown =
            (!status.is_terminal() || reason == Some(Reason::InvalidRecord)).then_some((status, reason));
        self.board.show(&self.metrics, key, shown);
    }

    /// Writes `control`, stamped. `false`: the record has changed meanwhile.
    async fn write(
        &self,
        loaded: &mut Loaded,
        snapshot: &mut Snapshot,
        mut control: Control,
        settled: bool,
    ) -> Result<bool, PassError> {
        self.stamp(&mut control);
        let (job, newest) = (&loaded.job, loaded.newest());
        let expected = job.control.as_ref();
        let write = ControlWrite { expected, seen: &job.desired, newest, control: &control, settled };
        let answer = self.parts.records.write_control(&job.job_id, write).await;
        let answer = self.stored("write", answer)?;
        if answer != WriteAnswer::Written {
            return Ok(false);
        }
        self.written(loaded, snapshot, control, settled);
        Ok(true)
    }

    /// `control` is stored: what is in hand says so too.
    pub(crate) fn written(
        &self,
        loaded: &mut Loaded,
        snapshot: &mut Snapshot,
        control: Control,
        settled: bool,
    ) {
        self.note_transition(snapshot, &control);
        let job = &mut loaded.job;
        job.status = Some(Raw::of(&control.view()));
        job.control = Some(Raw::of(&control));
        job.active = !settled;
        snapshot.active = job.active;
        snapshot.control = plan::ControlView::Valid(Box::new(control));
    }

    /// Signs a `control` as this leadership's write.
    pub(crate) fn stamp(&self, control: &mut Control) {
        control.version = self.parts.random.write_id();
        self.echoes.expect(&control.version);
        control.epoch = self.epoch;
    }

    /// Counts what a write means: starts, ends, forced retries; and checks the invariants of an end.
    fn note_transition(&self, snapshot: &Snapshot, after: &Control) {
        let before = match &snapshot.control {
            plan::ControlView::Valid(control) => Some(&**control),
            plan::ControlView::Absent | plan::ControlView::Broken => None,
        };
        let m = &self.metrics;
        if before.is_some_and(|b| b.run < after.run) {
            m.retries.inc();
        }
        let newly_started = after.started_at.filter(|_| before.is_none_or(|b| b.started_at.is_none()));
        if let Some(at) = newly_started {
            m.start_seconds.observe(seconds(at.millis_since(after.run_started_at)));
        }
        if after.phase != Phase::Finished || before.is_some_and(|b| b.phase == Phase::Finished) {
            return;
        }
        m.finished.with_label_values(&[after.status().as_str()]).inc();
        if let (Some(start), Some(end)) = (after.started_at, after.finished_at) {
            m.run_seconds.observe(seconds(end.millis_since(start)));
        }
        tracing::info!(
            job_id = %snapshot.job_id, attempt = after.attempt, status = %after.status(),
            reason = after.reason.map(Reason::as_str), message = %after.message, "job ended"
        );
        self.check_end(snapshot, after);
    }

    fn check_end(&self, snapshot: &Snapshot, after: &Control) {
        let facts: Vec<AttemptFacts<'_>> = snapshot
            .attempts
            .iter()
            .map(|a| AttemptFacts {
                token: &a.token,
                run: a.run,
                gate: a.gate.as_ref(),
                closing: a.closing.as_ref(),
            })
            .collect();
        let most = snapshot.desired.as_ref().map_or(u32::MAX, |d| d.max_attempts);
        let held = [
            (Invariant::SuccessHasResult, invariants::success_has_result(after, &facts)),
            (Invariant::CancelHolds, invariants::nothing_open_when_finished(after, &facts)),
            (Invariant::TriesWithinBudget, invariants::tries_within_budget(&facts, after.run, most)),
        ];
        for (invariant, _) in held.into_iter().filter(|(_, holds)| !holds) {
            self.metrics.invariants.with_label_values(&[invariant.as_str()]).inc();
            tracing::error!(job_id = %snapshot.job_id, %invariant, "invariant broken");
        }
    }
}

/// Whether the run has ended and nothing of the job is alive.
fn has_ended(snapshot: &Snapshot) -> bool {
    let finished = match &snapshot.control {
        plan::ControlView::Valid(control) => control.phase == Phase::Finished,
        plan::ControlView::Absent | plan::ControlView::Broken => false,
    };
    finished && snapshot.attempts.iter().all(|a| a.closing.is_some())
}

fn seconds(millis: i64) -> f64 {
    Duration::from_millis(millis.unsigned_abs()).as_secs_f64()
}
