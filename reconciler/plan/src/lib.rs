//! The decision core of agent-runner: what to do next about one job, and which jobs may start.
//!
//! * [`plan`] looks at a record, its attempts and what was seen of their tasks, and answers with exactly
//!   one [`Decision`]: write this `control`, do this one effect, or wait for a typed reason.
//! * [`admit`] chooses which waiting jobs get a free slot.
//! * [`classify`] says what a failed attempt counts as.
//!
//! All three are pure: no clock, no random source, no I/O. Time and [`Policy`] are arguments, numbers are
//! integers, and every type is `Eq + Hash + Ord`, so that the model checker explores this very code.
//!
//! An effect is always derived from something that is stored already. A crash at any point is therefore
//! healed by planning again: the next pass sees the same stored state and derives the same effect, and
//! effects are idempotent.
//!
//! The launch protocol that this code implements is described in `PROTOCOL.md` beside this crate.

mod admit;
mod classify;
mod cost;
mod decision;
mod ended;
mod leave;
mod ledger;
mod open;
mod pacing;
mod policy;
mod snapshot;
mod spot;
mod waiting;

pub use admit::{Limits, Rank, Running, Waiting, admit};
pub use classify::{Judgement, classify};
pub use decision::{ClaimDraft, Decision, Effect};
pub use policy::Policy;
pub use snapshot::{
    AttemptView, ControlView, LaunchSaid, Published, Scarcity, Seen, Slot, Snapshot, TasksSeen,
};

use contract::{Control, Phase, Reason, Timestamp};

/// Decides what to do next about one job.
///
/// The order of the steps is the order of the launch protocol: what may be alive comes first, and only a
/// job without an open attempt can retry, end or start.
#[must_use]
pub fn plan(s: &Snapshot, now: Timestamp, policy: &Policy, slot: Slot) -> Decision {
    let mut decision = decide(s, now, policy, slot);
    if let Decision::Write { control, .. } | Decision::Do { effect: Effect::Claim { control, .. }, .. } =
        &mut decision
    {
        let before = stored(s).filter(|stored| stored.reason == control.reason);
        control.reason_since = match before {
            Some(same) => same.reason_since,
            None => control.reason.map(|_| now),
        };
    }
    decision
}

fn decide(s: &Snapshot, now: Timestamp, policy: &Policy, slot: Slot) -> Decision {
    let (control, repaired) = match ledger::control_of(s, now) {
        Ok(found) => found,
        // The ledger cannot be read, so `control` cannot be checked: its words are changed, nothing else.
        Err(message) => return invalid(s, stored(s).cloned(), message),
    };
    let desired = match &s.desired {
        Ok(desired) if desired.retry < control.seen_retry => {
            let least = control.seen_retry;
            let message =
                format!("/retry: {} is not allowed: it never shrinks, at least {least}", desired.retry);
            return invalid(s, Some(control), message);
        }
        Ok(desired) => desired,
        Err(invalid_desired) => return invalid(s, Some(control), invalid_desired.to_string()),
    };
    if repaired {
        return Decision::write(control, false, "control was missing or contradicted the attempts");
    }
    let job = Job { s, desired, control, now, policy, slot };
    match step(&job) {
        // Somebody edited a count or a time that the ledger knows better.
        Decision::Wait { .. } if stored(s).is_some_and(|stored| *stored != job.control) => {
            // An attempt that is still being left keeps the job in sight, also after its end.
            let all_closed = s.attempts.iter().all(|a| a.closing.is_some());
            let settled = job.control.phase == Phase::Finished && all_closed;
            Decision::write(job.control, settled, "control is put right")
        }
        decision @ (Decision::Write { .. } | Decision::Do { .. } | Decision::Wait { .. }) => decision,
    }
}

fn step(job: &Job<'_>) -> Decision {
    let s = job.s;
    // Rule 6: the ledger of what may be alive is the set of attempts that are not closed.
    if let Some(stray) = s.attempts.iter().find(|a| a.closing.is_none() && !job.names(a)) {
        return leave::leave(job, stray, contract::LeaveReason::Superseded);
    }
    if let Some(open) = s.attempts.iter().find(|a| a.closing.is_none()) {
        return open::drive(job, open);
    }
    match job.control.phase {
        Phase::Launching | Phase::Running => ended::after_attempt(job),
        Phase::Waiting => waiting::wait_or_claim(job),
        Phase::Finished => ended::after_end(job),
    }
}

/// The `control` as it is stored.
fn stored(s: &Snapshot) -> Option<&Control> {
    match &s.control {
        ControlView::Valid(control) => Some(control),
        ControlView::Absent | ControlView::Broken => None,
    }
}

/// Everything the steps look at.
pub(crate) struct Job<'a> {
    pub(crate) s: &'a Snapshot,
    pub(crate) desired: &'a contract::Desired,
    pub(crate) control: Control,
    pub(crate) now: Timestamp,
    pub(crate) policy: &'a Policy,
    pub(crate) slot: Slot,
}

impl Job<'_> {
    /// Whether `control` names this attempt as the one that it is about.
    fn names(&self, attempt: &AttemptView) -> bool {
        matches!(self.control.phase, Phase::Launching | Phase::Running)
            && self.control.token.as_ref() == Some(&attempt.token)
    }

    /// When the run must have ended.
    pub(crate) fn deadline(&self) -> Timestamp {
        self.control.run_started_at.plus_seconds(self.desired.active_deadline_seconds)
    }

    /// Whether an operator asked for a new run. A raw `retry` on a job that is still marked `cancel` stays
    /// cancelled; `POST …/retry` clears the mark.
    pub(crate) fn retry_forced(&self) -> bool {
        self.desired.retry > self.control.seen_retry && !self.desired.cancel
    }

    /// Waits, and first stores the reason if it is not what people can read already.
    pub(crate) fn wait(
        &self,
        reason: Reason,
        message: String,
        blockers: Vec<Reason>,
        until: Option<Timestamp>,
    ) -> Decision {
        let shown = self.control.reason == Some(reason)
            && self.control.message == message
            && self.control.blockers == blockers
            && self.s.control.is_valid();
        if shown {
            return Decision::Wait { reason: Some(reason), blockers, until, wants_slot: None };
        }
        let control = Control { reason: Some(reason), message, blockers, ..self.control.clone() };
        Decision::write(control, false, reason.as_str())
    }
}

/// A record that cannot be decoded: say so, leave a running task alone, and touch nothing else. A job that
/// has ended keeps its status.
fn invalid(s: &Snapshot, control: Option<Control>, message: String) -> Decision {
    let wait = Decision::wait(Some(Reason::InvalidRecord), None);
    let Some(control) = control.filter(|c| c.phase != Phase::Finished) else { return wait };
    if s.control.is_valid() && control.reason == Some(Reason::InvalidRecord) && control.message == message {
        return wait;
    }
    let control = Control { reason: Some(Reason::InvalidRecord), message, blockers: Vec::new(), ..control };
    Decision::write(control, false, "the record cannot be decoded")
}
