//! The attempt that `control` names, while it is open.

use crate::classify::{class_of_reported, classify, exit_code};
use crate::decision::{Decision, Effect};
use crate::leave::{close, leave, with_words};
use crate::pacing::later;
use crate::snapshot::{AttemptView, LaunchSaid, Published, Seen};
use crate::waiting::budget_spent;
use crate::{Job, cost};
use contract::attempt::{Budget, Evidence, Outcome, Verdict};
use contract::{Control, FailureClass, Gate, LeaveReason, Phase, Reason, TaskId, Timestamp};

/// The next step for the open attempt that `control` names.
pub(crate) fn drive(job: &Job<'_>, a: &AttemptView) -> Decision {
    match &a.gate {
        Some(Gate::Finished { task }) => accept(job, a, task),
        // Sealed already: the reason is in the seal, the one given here is not looked at.
        Some(Gate::Sealed { why, .. }) => leave(job, a, *why),
        Some(Gate::Started { task }) => match unwanted(job).or_else(|| over(job, a, task)) {
            Some(why) => leave(job, a, why),
            None => executing(job, a),
        },
        None => match unwanted(job).or_else(|| lost_start(job, a)) {
            Some(why) => leave(job, a, why),
            None => launching(job, a),
        },
    }
}

/// Why the operator, or time, does not want this job's attempt any more. Ordered: the first reason is the
/// one that is recorded.
fn unwanted(job: &Job<'_>) -> Option<LeaveReason> {
    if job.desired.cancel {
        Some(LeaveReason::Cancelled)
    } else if job.retry_forced() {
        Some(LeaveReason::Retried)
    } else if job.now >= job.deadline() {
        Some(LeaveReason::DeadlineExceeded)
    } else if job.desired.suspend {
        Some(LeaveReason::Suspended)
    } else {
        None
    }
}

/// Why a started attempt is over although its worker has reported nothing.
fn over(job: &Job<'_>, a: &AttemptView, task: &TaskId) -> Option<LeaveReason> {
    if a.tasks.silent(task) {
        // An agent without its worker is stopped: nobody would hear of its end.
        // Sealing first: an outcome that is still on its way either arrives before the seal and wins, or
        // after it and is refused.
        Some(LeaveReason::TaskGone)
    } else if cost::exceeded_at(job, a).is_some_and(|at| job.now >= at) {
        Some(LeaveReason::CostLimitExceeded)
    } else if job.now >= times_out_at(job, a) {
        Some(LeaveReason::AttemptTimeout)
    } else {
        None
    }
}

/// When a started attempt runs out of time. The worker's clock may be wrong: its start counts only between
/// the claim and the first look at it.
fn times_out_at(job: &Job<'_>, a: &AttemptView) -> Timestamp {
    started_at(job, a).plus_seconds(a.attempt_timeout_seconds)
}

fn started_at(job: &Job<'_>, a: &AttemptView) -> Timestamp {
    let latest = job.now.max(a.claimed_at);
    remembered_start(job, a).unwrap_or_else(|| a.started_at.unwrap_or(latest).clamp(a.claimed_at, latest))
}

/// The start as `control` has it, unless it cannot be true: one in the future would move on with each look,
/// and the attempt would never time out.
fn remembered_start(job: &Job<'_>, a: &AttemptView) -> Option<Timestamp> {
    let possible = a.claimed_at..=job.now.max(a.claimed_at);
    let running = job.control.phase == Phase::Running;
    job.control.started_at.filter(|at| running && possible.contains(at))
}

/// Why an attempt that nobody has started cannot be expected to start.
fn lost_start(job: &Job<'_>, a: &AttemptView) -> Option<LeaveReason> {
    let launched = is_launched(a);
    let all_stopped = a.tasks.seen.values().all(|seen| *seen != Seen::Alive);
    let gone = !a.tasks.seen.is_empty() || a.tasks.absence_proven;
    if matches!(a.launch, LaunchSaid::Refused(_)) && !launched {
        Some(LeaveReason::LaunchRefused)
    } else if budget_spent(job, None).is_some() {
        // Another attempt of the run used up the last try after this one was claimed.
        Some(LeaveReason::Superseded)
    } else if launched && all_stopped && gone {
        Some(LeaveReason::TaskGone)
    } else if job.now >= a.claimed_at.plus_seconds(a.start_timeout_seconds) {
        Some(LeaveReason::StartTimeout)
    } else if !launched && !may_launch(job, a) {
        Some(LeaveReason::LaunchExpired)
    } else {
        None
    }
}

/// Whether a task is known to exist or to have existed. A refusal says nothing about a task that an earlier
/// call made, or another process.
fn is_launched(a: &AttemptView) -> bool {
    a.launch == LaunchSaid::Launched || !a.tasks.seen.is_empty()
}

/// Rule 2: the claimant launches by its own monotonic clock, anybody else by the wall clock and with a wider
/// margin; beyond that the runtime may have forgotten the token, and a second task would be possible.
fn may_launch(job: &Job<'_>, a: &AttemptView) -> bool {
    job.now < launch_until(job, a)
}

fn launch_until(job: &Job<'_>, a: &AttemptView) -> Timestamp {
    match a.mine_for_ms {
        Some(age) => later(job.now, job.policy.launch_window_ms.saturating_sub(age)),
        None => later(a.claimed_at, job.policy.replay_window_ms),
    }
}

/// Claimed and not started: launch, or wait for the task to pass the gate.
fn launching(job: &Job<'_>, a: &AttemptView) -> Decision {
    if job.control.phase != Phase::Launching || job.control.reason != Some(Reason::Launching) {
        // A healed record still says what was wrong with it.
        let control = Control {
            phase: Phase::Launching,
            reason: Some(Reason::Launching),
            message: String::new(),
            blockers: Vec::new(),
            started_at: None,
            ..job.control.clone()
        };
        return Decision::write(control, false, "the attempt is being launched");
    }
    let start_by = a.claimed_at.plus_seconds(a.start_timeout_seconds).min(job.deadline());
    let known = !a.tasks.seen.is_empty();
    match &a.launch {
        LaunchSaid::Nothing if !known => launch(a),
        LaunchSaid::Uncertain { again_at } if !known && job.now >= *again_at => launch(a),
        LaunchSaid::Uncertain { again_at } if !known => {
            let until = start_by.min(*again_at).min(launch_until(job, a));
            Decision::wait(Some(Reason::Launching), Some(until))
        }
        LaunchSaid::Nothing
        | LaunchSaid::Uncertain { .. }
        | LaunchSaid::Launched
        | LaunchSaid::Refused(_) => Decision::wait(Some(Reason::Launching), Some(start_by)),
    }
}

fn launch(a: &AttemptView) -> Decision {
    Decision::act(Effect::Launch { token: a.token.clone() }, "claimed, and no task is known")
}

/// Started and wanted: let it run.
fn executing(job: &Job<'_>, a: &AttemptView) -> Decision {
    let running = job.control.phase == Phase::Running
        && job.control.reason.is_none()
        && remembered_start(job, a).is_some();
    if !running {
        let control = Control {
            phase: Phase::Running,
            reason: None,
            message: String::new(),
            blockers: Vec::new(),
            refusals: 0,
            started_at: Some(started_at(job, a)),
            ..job.control.clone()
        };
        return Decision::write(control, false, "the task passed the start gate");
    }
    let until = times_out_at(job, a).min(job.deadline());
    Decision::wait(None, Some(cost::exceeded_at(job, a).map_or(until, |at| at.min(until))))
}

/// An outcome was reported. It wins over cancel, suspend and time: the work is done.
fn accept(job: &Job<'_>, a: &AttemptView, task: &TaskId) -> Decision {
    if let Some(until) = explained_by(job, a, task) {
        return match executing(job, a) {
            // What it shows until then is that it runs.
            tell @ (Decision::Write { .. } | Decision::Do { .. }) => tell,
            Decision::Wait { .. } => Decision::wait(None, Some(until)),
        };
    }
    let evidence = match a.tasks.stopped(task) {
        Some(evidence) => evidence,
        None => Evidence { task: Some(task.clone()), ..Evidence::default() },
    };
    let Some(outcome) = &a.outcome else {
        let message = "the gate says finished, but the report holds no outcome".to_owned();
        return failed(job, a, FailureClass::ResultUnreadable, message, evidence);
    };
    match &outcome.failure {
        Some(failure) => {
            let class = class_of_reported(failure.class, &evidence);
            failed(job, a, class, with_words(&failure.message, &evidence), evidence)
        }
        None => succeeded(job, a, outcome, evidence),
    }
}

/// A worker that was told to stop does not know by whom; the runtime does, and has said all when the task has
/// stopped. Until when to wait for that. Nobody waits who has no use for it, and not for longer than the policy
/// says by a worker's clock that is right; one that is not ends the wait.
fn explained_by(job: &Job<'_>, a: &AttemptView, task: &TaskId) -> Option<Timestamp> {
    let outcome = a.outcome.as_ref()?;
    let interrupted = outcome.failure.as_ref()?.class == FailureClass::Interrupted;
    if !interrupted || !a.stops_explained || a.tasks.stopped(task).is_some() || unwanted(job).is_some() {
        return None;
    }
    let (reported, wait) = (outcome.finished_at, job.policy.evidence_wait_ms);
    let until = later(reported, wait);
    (job.now < until && reported <= later(job.now, wait)).then(|| until.min(job.deadline()))
}

/// SUCCEEDED needs a readable result: publish it first, and close as succeeded only when that worked.
fn succeeded(job: &Job<'_>, a: &AttemptView, outcome: &Outcome, evidence: Evidence) -> Decision {
    let Some(result) = outcome.manifest.result() else {
        let message = "the outcome says succeeded, but names no result".to_owned();
        return failed(job, a, FailureClass::ResultUnreadable, message, evidence);
    };
    match &a.published {
        None => {
            let effect = Effect::Publish { token: a.token.clone(), number: a.number, result: result.clone() };
            Decision::act(effect, "an outcome was reported: check and publish its result")
        }
        Some(Published::Done) => {
            close(job, a, Verdict::Succeeded, Budget::Nothing, evidence, "its result is published")
        }
        Some(Published::Unreadable(message)) => {
            failed(job, a, FailureClass::ResultUnreadable, message.clone(), evidence)
        }
    }
}

fn failed(
    job: &Job<'_>,
    a: &AttemptView,
    class: FailureClass,
    message: String,
    evidence: Evidence,
) -> Decision {
    let failure = a.outcome.as_ref().and_then(|o| o.failure.as_ref());
    let code = exit_code(failure, &evidence);
    let judged = classify(&job.desired.failure_policy, class, code, evidence.stop_code.as_deref());
    close(job, a, Verdict::Failed { class, message }, judged.uses, evidence, "its outcome is a failure")
}
