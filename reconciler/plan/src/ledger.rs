//! The attempts as a ledger: what they say about a `control` that is missing, broken or contradicts them.
//!
//! The attempts are written before anything runs and are never deleted before their job, so whatever
//! somebody did to `control`, its part that matters for safety can be told from them: which numbers were
//! used, how many tries the run has used up, which retry it stands for, and what may be alive.

use crate::cost::spent;
use crate::snapshot::{AttemptView, ControlView, Snapshot};
use contract::attempt::{Budget, Verdict};
use contract::job::Accepted;
use contract::{Control, Gate, LeaveReason, Phase, Reason, Timestamp, WriteId};

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
        ControlView::Absent if s.attempts.is_empty() => return Ok((fresh(s), false)),
        ControlView::Valid(_) | ControlView::Absent | ControlView::Broken => (rebuilt(s, now), true),
    };
    mend(&mut control, s, now);
    Ok((control, repaired))
}

/// Puts right what needs no second opinion: counts come from the ledger, never from memory, so that an edit
/// of `control` cannot grant or take a try; and a time that has been cannot lie in the future, where it would
/// keep a deadline or the TTL from ever coming.
fn mend(control: &mut Control, s: &Snapshot, now: Timestamp) {
    control.tries = used(s, control.run, Budget::Try);
    control.infra_tries = used(s, control.run, Budget::Infrastructure);
    control.cost = spent(s);
    control.run_started_at = control.run_started_at.min(now);
    let finished = control.phase == Phase::Finished;
    if !finished || control.reason != Some(Reason::Completed) {
        control.accepted = None;
    }
    if !finished {
        control.finished_at = None;
        control.expires_at = None;
        if let Some(named) = find(s, control.token.as_ref()) {
            control.attempt = control.attempt.max(named.number);
        }
        return;
    }
    control.finished_at = control.finished_at.map(|at| at.min(now));
}

/// Whether a stored `control` can be true, given the attempts. Whatever this refuses, [`rebuilt`] must not
/// make again.
fn agrees(control: &Control, s: &Snapshot) -> bool {
    control.run > 0 && run_agrees(control, s) && phase_agrees(control, s)
}

/// A run starts with a retry, and the attempts tell how far both have come.
fn run_agrees(control: &Control, s: &Snapshot) -> bool {
    let Some((run, retry)) = latest(s.attempts.iter().filter(|a| was_claimed(a))) else { return true };
    (control.run == run && control.seen_retry >= retry) || (control.run > run && control.seen_retry > retry)
}

/// Whether `control` has named the attempt for certain. A draft whose claim lost tells nothing: a former leader
/// may write it at any time, from what it read long ago.
fn was_claimed(a: &AttemptView) -> bool {
    match &a.gate {
        None | Some(Gate::Sealed { why: LeaveReason::Superseded, started: None }) => {
            a.closing.as_ref().is_some_and(|c| !matches!(c.verdict, Verdict::Left { .. }))
        }
        Some(Gate::Started { .. } | Gate::Finished { .. } | Gate::Sealed { .. }) => true,
    }
}

/// Whether another attempt with this number or a later one was claimed and has ended. A claim's number is
/// higher than those of all attempts before it, so this one was never claimed.
fn is_overtaken(a: &AttemptView, s: &Snapshot) -> bool {
    let ended = s.attempts.iter().filter(|b| b.token != a.token && b.closing.is_some() && was_claimed(b));
    !was_claimed(a) && ended.map(|b| b.number).max().is_some_and(|number| number >= a.number)
}

/// The latest run and the latest retry among attempts. Runs count from 1; a claim that says 0 was edited.
fn latest<'a>(attempts: impl Iterator<Item = &'a AttemptView>) -> Option<(u32, u64)> {
    attempts.map(|a| (a.run.max(1), a.retry)).reduce(|a, b| (a.0.max(b.0), a.1.max(b.1)))
}

fn phase_agrees(control: &Control, s: &Snapshot) -> bool {
    let of_run = |a: &&AttemptView| a.run.max(1) == control.run;
    let most = s.attempts.iter().filter(of_run).map(insists).max().unwrap_or(Insists::Nothing);
    match control.phase {
        Phase::Launching | Phase::Running => {
            find(s, control.token.as_ref()).filter(of_run).is_some_and(|a| insists(a) == most)
        }
        Phase::Waiting => most == Insists::Nothing,
        Phase::Finished if control.reason == Some(Reason::Completed) => {
            control.accepted.as_ref().is_some_and(|accepted| {
                find(s, Some(&accepted.token))
                    .filter(of_run)
                    .is_some_and(|a| a.number == accepted.number && insists(a) == Insists::Success)
            })
        }
        Phase::Finished => most == Insists::Nothing && control.reason.is_some_and(is_end),
    }
}

/// How strongly an attempt demands that `control` is about it, while its run is the current one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Insists {
    /// Not at all.
    Nothing,
    /// An agent executes it, or its outcome has not been looked at: only a claim that `control` named comes
    /// so far. It goes on, rather than being left because somebody edited `control`.
    Executing,
    /// It has succeeded, so its run has.
    Success,
}

fn insists(a: &AttemptView) -> Insists {
    match (&a.closing, &a.gate) {
        (Some(closing), _) if closing.verdict == Verdict::Succeeded => Insists::Success,
        (None, Some(Gate::Started { .. } | Gate::Finished { .. })) => Insists::Executing,
        (Some(_), _) | (None, Some(Gate::Sealed { .. }) | None) => Insists::Nothing,
    }
}

/// The reasons that a run can end for.
fn is_end(reason: Reason) -> bool {
    match reason {
        Reason::Completed
        | Reason::NonZeroExitCode
        | Reason::CommandNotStarted
        | Reason::InvalidResult
        | Reason::MaxAttemptsExceeded
        | Reason::DeadlineExceeded
        | Reason::CostLimitExceeded
        | Reason::AttemptTimeout
        | Reason::StartTimeout
        | Reason::FailurePolicy
        | Reason::Cancelled
        | Reason::OutOfMemory
        | Reason::SpotInterruption
        | Reason::TaskFailedToStart
        | Reason::WorkerLost => true,
        Reason::PendingEvaluation
        | Reason::Suspended
        | Reason::Misconfigured
        | Reason::InvalidRecord
        | Reason::WaitingForQuota
        | Reason::BackingOff
        | Reason::LaunchThrottled
        | Reason::InsufficientCapacity
        | Reason::Launching => false,
    }
}

fn find<'a>(s: &'a Snapshot, token: Option<&contract::LaunchToken>) -> Option<&'a AttemptView> {
    token.and_then(|token| s.attempts.iter().find(|a| a.token == *token))
}

/// How many closed attempts of a run used up a budget.
fn used(s: &Snapshot, run: u32, budget: Budget) -> u32 {
    let count = s
        .attempts
        .iter()
        .filter(|a| a.run.max(1) == run && a.closing.as_ref().is_some_and(|c| c.uses == budget));
    u32::try_from(count.count()).unwrap_or(u32::MAX)
}

/// The number for the next attempt. It is never one that was used, whatever somebody wrote into `control`.
pub(crate) fn next_number(s: &Snapshot, control: &Control) -> u32 {
    let used = s.attempts.iter().map(|a| a.number).max().unwrap_or(0);
    used.max(control.attempt).checked_add(1).unwrap_or_else(|| used.saturating_add(1))
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
        reason_since: None,
        message: String::new(),
        blockers: Vec::new(),
        seen_retry: s.desired.as_ref().map_or(0, |d| d.retry),
        run_started_at: s.created_at,
        suspended: false,
        started_at: None,
        finished_at: None,
        expires_at: None,
        accepted: None,
        cost: None,
    }
}

/// The `control` that the attempts tell of. The last run goes on where its last attempt is: open, or closed
/// and not judged yet. Every other open attempt is left as superseded, so an attempt that insists goes
/// before a draft whose claim lost.
fn rebuilt(s: &Snapshot, now: Timestamp) -> Control {
    let base = fresh(s);
    let claimed = latest(s.attempts.iter().filter(|a| was_claimed(a)));
    let Some((run, seen_retry)) = claimed.or_else(|| latest(s.attempts.iter())) else { return base };
    let of_run = || s.attempts.iter().filter(|a| a.run.max(1) == run);
    // A draft whose claim lost may have the number of the attempt that won, and has nothing to say of the end.
    // One that comes late has a number that an ended attempt has used up, and is not launched any more.
    let goes_on = |a: &AttemptView| a.closing.is_none() && !is_overtaken(a, s);
    let Some(last) = of_run().max_by_key(|a| (insists(a), goes_on(a), was_claimed(a), a.number)) else {
        return base;
    };
    let started = match &last.gate {
        Some(Gate::Started { .. } | Gate::Finished { .. }) => true,
        Some(Gate::Sealed { started, .. }) => started.is_some(),
        None => false,
    };
    Control {
        run,
        attempt: last.number,
        token: Some(last.token.clone()),
        phase: if started { Phase::Running } else { Phase::Launching },
        reason: None,
        seen_retry,
        run_started_at: of_run().map(|a| a.claimed_at).min().unwrap_or(now),
        started_at: last.started_at.filter(|_| started),
        ..base
    }
}

/// What names an attempt as the accepted one.
pub(crate) fn accepted(attempt: &AttemptView) -> Accepted {
    Accepted { number: attempt.number, token: attempt.token.clone() }
}
