//! The attempts as a ledger: what they say about a `control` that is missing, broken or contradicts them.
//!
//! The attempts are written before anything runs and are never deleted before their job, so whatever
//! somebody did to `control`, its part that matters for safety can be told from them: which numbers were
//! used, how many tries the run has used up, which retry it stands for, and what may be alive.

use crate::snapshot::{AttemptView, ControlView, Snapshot};
use contract::attempt::{Budget, Verdict};
use contract::job::Accepted;
use contract::{Control, Gate, Phase, Reason, Timestamp, WriteId};

/// The `control` to decide with, and whether it must be stored before anything else.
///
/// # Errors
/// The ledger itself cannot be read: what is wrong with it.
pub(crate) fn control_of(s: &Snapshot, now: Timestamp) -> Result<(Control, bool), String> {
    if let Some(broken) = &s.broken_attempt {
        return Err(broken.clone());
    }
    let (mut control, repaired) = match &s.control {
        ControlView::Valid(control) if agrees(control, s) => ((**control).clone(), false),
        ControlView::Absent if s.attempts.is_empty() => (fresh(s), false),
        ControlView::Valid(_) | ControlView::Absent | ControlView::Broken => (rebuilt(s, now), true),
    };
    // Counts come from the ledger, never from memory: an edit of `control` cannot grant or take a try.
    control.tries = used(s, control.run, Budget::Try);
    control.infra_tries = used(s, control.run, Budget::Infrastructure);
    Ok((control, repaired))
}

/// Whether a stored `control` can be true, given the attempts.
fn agrees(control: &Control, s: &Snapshot) -> bool {
    let numbers = s.attempts.iter().all(|a| a.run <= control.run && a.retry <= control.seen_retry);
    let named = match control.phase {
        Phase::Launching | Phase::Running => {
            find(s, control.token.as_ref()).is_some_and(|a| a.run == control.run)
        }
        Phase::Waiting | Phase::Finished => true,
    };
    let success = control.phase != Phase::Finished
        || control.reason != Some(Reason::Completed)
        || control.accepted.as_ref().is_some_and(|accepted| {
            find(s, Some(&accepted.token)).is_some_and(|a| {
                a.number == accepted.number
                    && a.closing.as_ref().is_some_and(|c| c.verdict == Verdict::Succeeded)
            })
        });
    numbers && named && success && control.run > 0
}

fn find<'a>(s: &'a Snapshot, token: Option<&contract::LaunchToken>) -> Option<&'a AttemptView> {
    token.and_then(|token| s.attempts.iter().find(|a| a.token == *token))
}

/// How many closed attempts of a run used up a budget.
fn used(s: &Snapshot, run: u32, budget: Budget) -> u32 {
    let count =
        s.attempts.iter().filter(|a| a.run == run && a.closing.as_ref().is_some_and(|c| c.uses == budget));
    u32::try_from(count.count()).unwrap_or(u32::MAX)
}

/// The highest attempt number that was ever used.
pub(crate) fn highest(s: &Snapshot, control: &Control) -> u32 {
    s.attempts.iter().map(|a| a.number).max().unwrap_or(0).max(control.attempt)
}

/// The `control` of a job that nobody has looked at.
fn fresh(s: &Snapshot) -> Control {
    Control {
        version: WriteId::from_bits(0),
        epoch: 0,
        run: 1,
        attempt: 0,
        token: None,
        tries: 0,
        infra_tries: 0,
        refusals: 0,
        phase: Phase::Waiting,
        not_before: None,
        reason: Some(Reason::PendingEvaluation),
        message: String::new(),
        blockers: Vec::new(),
        seen_retry: s.desired.as_ref().map_or(0, |d| d.retry),
        run_started_at: s.created_at,
        suspended: false,
        started_at: None,
        finished_at: None,
        expires_at: None,
        accepted: None,
    }
}

/// The `control` that the attempts tell of. The last run goes on where its last attempt is: open, or closed
/// and not judged yet.
fn rebuilt(s: &Snapshot, now: Timestamp) -> Control {
    let base = fresh(s);
    // Every open attempt but one is left as superseded. Go on with one that an agent executes, if there is
    // one, rather than with a draft whose claim lost.
    let executing = |a: &AttemptView| matches!(a.gate, Some(Gate::Started { .. } | Gate::Finished { .. }));
    let open = s.attempts.iter().filter(|a| a.closing.is_none()).max_by_key(|a| (executing(a), a.number));
    let Some(last) = open.or_else(|| s.attempts.iter().max_by_key(|a| a.number)) else { return base };
    let run = s.attempts.iter().map(|a| a.run).max().unwrap_or(1);
    let of_run = || s.attempts.iter().filter(|a| a.run == run);
    let phase = match last.gate {
        Some(Gate::Started { .. } | Gate::Finished { .. }) => Phase::Running,
        Some(Gate::Sealed { .. }) | None => Phase::Launching,
    };
    // An attempt of an earlier run cannot be the last one unless the ledger was edited; then the job waits.
    let phase = if last.run == run { phase } else { Phase::Waiting };
    Control {
        run,
        attempt: last.number,
        token: Some(last.token.clone()),
        phase,
        reason: None,
        seen_retry: s.attempts.iter().map(|a| a.retry).max().unwrap_or(0),
        run_started_at: of_run().map(|a| a.claimed_at).min().unwrap_or(now),
        started_at: last.started_at,
        ..base
    }
}

/// What names an attempt as the accepted one.
pub(crate) fn accepted(attempt: &AttemptView) -> Accepted {
    Accepted { number: attempt.number, token: attempt.token.clone() }
}
