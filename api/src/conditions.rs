//! A job's conditions, as Kubernetes has them: what holds, since when and why. They are told from the records at each
//! question; nothing is stored for them, and a time that no record holds is left out rather than guessed.

use crate::author::LastChange;
use crate::routes::attempts::Told;
use crate::view::{Head, Seen, without_tokens};
use contract::{Control, Job, Phase, Reason, Status, Timestamp};
use serde::Serialize;
use std::borrow::Cow;

/// One of them.
#[derive(Serialize)]
pub(crate) struct Condition<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    status: Truth,
    since: Option<Timestamp>,
    reason: Option<Reason>,
    message: Cow<'a, str>,
}

#[derive(Serialize, Clone, Copy, PartialEq, Eq)]
enum Truth {
    True,
    False,
    Unknown,
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// What the conditions are told from.
struct About<'a> {
    seen: &'a Seen,
    control: Option<&'a Control>,
    reason: Option<Reason>,
    attempt: Option<&'a Told<'a>>,
    created: Option<Timestamp>,
}

/// All six, always in this order. `reason` is the primary one, `attempt` the one that `control` speaks of.
pub(crate) fn conditions<'a>(
    job: &Job,
    seen: &'a Seen,
    reason: Option<Reason>,
    attempt: Option<&'a Told<'a>>,
) -> Vec<Condition<'a>> {
    let created = seen.created.as_ref().ok().map(|c| c.at);
    let about = About { seen, control: seen.control(), reason, attempt, created };
    vec![
        about.accepted(job),
        about.suspended(),
        about.admitted(),
        about.running(),
        about.finished(),
        about.succeeded(),
    ]
}

impl<'a> About<'a> {
    fn condition(
        &self,
        kind: &'static str,
        status: impl Into<Truth>,
        since: Option<Timestamp>,
    ) -> Condition<'a> {
        Condition { kind, status: status.into(), since, reason: None, message: Cow::Borrowed("") }
    }

    /// The condition with the job's reason, which explains it.
    fn because(&self, condition: Condition<'a>) -> Condition<'a> {
        Condition { reason: self.reason, message: without_tokens(&self.seen.view.message), ..condition }
    }

    fn is_finished(&self) -> bool {
        self.seen.is_finished()
    }

    /// The phase of a job that has not ended; `None` before the reconciler's first look.
    fn phase(&self) -> Option<Phase> {
        self.control.map(|c| c.phase).filter(|phase| *phase != Phase::Finished && !self.is_finished())
    }

    /// Whether only a look at `control` could tell, and it cannot be decoded.
    fn unreadable(&self) -> bool {
        matches!(self.seen.control, Some(Err(_)))
    }

    fn accepted(&self, job: &Job) -> Condition<'a> {
        let wrong = |r: &Reason| matches!(r, Reason::InvalidRecord | Reason::Misconfigured);
        if self.reason.as_ref().is_some_and(wrong) && (!self.is_finished() || self.seen.desired.is_err()) {
            let condition = self.condition("Accepted", false, self.seen.reason_since(self.reason));
            return match &self.seen.desired {
                Ok(_) => self.because(condition),
                Err(invalid) => {
                    Condition { reason: self.reason, message: invalid.to_string().into(), ..condition }
                }
            };
        }
        let since = match LastChange::of(job, self.seen, &Head::of(job.desired.text())) {
            None => self.created,
            Some(change) => change.at,
        };
        self.condition("Accepted", self.seen.desired.is_ok(), since)
    }

    fn suspended(&self) -> Condition<'a> {
        let wanted = self.seen.desired.as_ref().is_ok_and(|d| d.suspend) && !self.is_finished();
        let shown = wanted && self.reason == Some(Reason::Suspended);
        let since = self.seen.reason_since(self.reason).filter(|_| shown);
        let condition = self.condition("Suspended", wanted, since);
        if shown { self.because(condition) } else { condition }
    }

    fn admitted(&self) -> Condition<'a> {
        if self.unreadable() {
            return self.condition("Admitted", Truth::Unknown, None);
        }
        let claim = self.attempt.and_then(|a| a.claim.as_ref());
        match self.phase() {
            Some(Phase::Launching | Phase::Running) => {
                self.condition("Admitted", true, claim.map(|c| c.claimed_at))
            }
            _ => self.because(self.condition("Admitted", false, self.idle_since(|_| true))),
        }
    }

    fn running(&self) -> Condition<'a> {
        if self.unreadable() {
            return self.condition("Running", Truth::Unknown, None);
        }
        match self.phase() {
            // It runs without a reason until it is stopped for one.
            Some(Phase::Running) => self.because(self.condition("Running", true, self.seen.view.started_at)),
            _ => self.because(self.condition("Running", false, self.idle_since(|a| a.report.is_some()))),
        }
    }

    /// When the last attempt was closed, if it is one of those; with no attempt ever, when the job was made.
    fn idle_since(&self, counts: impl Fn(&Told<'_>) -> bool) -> Option<Timestamp> {
        match self.attempt {
            None => self.created,
            Some(attempt) if counts(attempt) => attempt.closing.as_ref().map(|c| c.closed_at),
            Some(attempt) if attempt.number == 1 => self.created,
            Some(_) => None,
        }
    }

    fn finished(&self) -> Condition<'a> {
        if self.is_finished() {
            return self.because(self.condition("Finished", true, self.seen.view.finished_at));
        }
        let first_run = self.control.is_none_or(|c| c.run <= 1) && !self.seen.retry_is_pending();
        self.condition("Finished", false, self.created.filter(|_| first_run && !self.unreadable()))
    }

    fn succeeded(&self) -> Condition<'a> {
        if !self.is_finished() {
            return self.condition("Succeeded", Truth::Unknown, None);
        }
        let success = self.seen.view.status == Status::Succeeded;
        self.because(self.condition("Succeeded", success, self.seen.view.finished_at))
    }
}
