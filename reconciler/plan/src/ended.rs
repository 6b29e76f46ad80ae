//! Jobs without an open attempt: after an attempt, and after the end.

use crate::classify::{classify, exit_code};
use crate::decision::{Decision, Effect};
use crate::ledger::accepted;
use crate::pacing::{after_failure, doubling};
use crate::snapshot::AttemptView;
use crate::{Job, cost, waiting};
use contract::attempt::{Budget, Closing, RefusalKind, Verdict};
use contract::{Control, FailureClass, LeaveReason, Phase, Reason};

/// The attempt that `control` names is closed: what follows from its verdict.
pub(crate) fn after_attempt(job: &Job<'_>) -> Decision {
    let named = job.s.attempts.iter().find(|a| Some(&a.token) == job.control.token.as_ref());
    let Some((a, closing)) = named.and_then(|a| a.closing.as_ref().map(|c| (a, c))) else {
        // Nothing is named: cannot be, because such a control contradicts the ledger. Wait as if new.
        return Decision::write(waiting_again(job, None, String::new()), false, "no attempt is named");
    };
    if job.retry_forced() {
        return new_run(job);
    }
    if closing.verdict == Verdict::Succeeded {
        let done = Control { accepted: Some(accepted(a)), ..job.control.clone() };
        return finish(job, done, Reason::Completed, String::new());
    }
    if job.desired.cancel {
        return finish(job, job.control.clone(), Reason::Cancelled, "cancel was set".to_owned());
    }
    match &closing.verdict {
        Verdict::Succeeded => Decision::wait(None, None),
        Verdict::Failed { class, message } => after_failed(job, a, closing, *class, message),
        Verdict::Left { why } => after_left(job, closing, *why),
    }
}

fn after_failed(
    job: &Job<'_>,
    a: &AttemptView,
    closing: &Closing,
    class: FailureClass,
    message: &str,
) -> Decision {
    let control = job.control.clone();
    let failure = a.outcome.as_ref().and_then(|o| o.failure.as_ref());
    let code = exit_code(failure, &closing.evidence);
    let rule = classify(&job.desired.failure_policy, class, code, closing.evidence.stop_code.as_deref());
    if rule.fail_now {
        let message = format!("a rule of failure_policy fails the job: {message}");
        return finish(job, control, Reason::FailurePolicy, message);
    }
    if let Some((reason, message)) = waiting::budget_spent(job, Some((class, message))) {
        return finish(job, control, reason, message);
    }
    if let Some((reason, message)) = cost::used_up(job) {
        return finish(job, control, reason, message);
    }
    if job.now >= job.deadline() {
        return finish(job, control, Reason::DeadlineExceeded, waiting::deadline_message(job));
    }
    let (again_at, count) = match closing.uses {
        Budget::Try => {
            let tries = job.control.tries;
            (after_failure(&job.desired.backoff, tries, &job.s.job_id, closing.closed_at), tries)
        }
        Budget::Infrastructure | Budget::Nothing => {
            let count = job.control.infra_tries;
            let (first, most) = (job.policy.infra_initial_ms, job.policy.infra_max_ms);
            (doubling(first, most, count, &job.s.job_id, closing.closed_at), count)
        }
    };
    let message = format!("attempt {} failed ({class}, failure {count} of its kind): {message}", a.number);
    let mut next = waiting_again(job, Some(Reason::BackingOff), message);
    next.not_before = Some(again_at);
    Decision::write(next, false, "the attempt failed and may be tried again")
}

fn after_left(job: &Job<'_>, closing: &Closing, why: LeaveReason) -> Decision {
    match why {
        LeaveReason::DeadlineExceeded => {
            finish(job, job.control.clone(), Reason::DeadlineExceeded, waiting::deadline_message(job))
        }
        LeaveReason::LaunchRefused => refused(job, closing),
        // The hold, the retry, the cancel or the limit may have been taken back meanwhile; waiting looks at what
        // is wanted now.
        LeaveReason::Suspended
        | LeaveReason::Cancelled
        | LeaveReason::Retried
        | LeaveReason::Superseded
        | LeaveReason::LaunchExpired
        | LeaveReason::CostLimitExceeded
        | LeaveReason::AttemptTimeout
        | LeaveReason::StartTimeout
        | LeaveReason::TaskGone => {
            let next = waiting_again(job, Some(Reason::PendingEvaluation), String::new());
            Decision::write(next, false, "the attempt was left; the job waits again")
        }
    }
}

/// A definite refusal uses up no try; the pause grows with each refusal in a row.
fn refused(job: &Job<'_>, closing: &Closing) -> Decision {
    let refusals = job.control.refusals.saturating_add(1);
    let (reason, message) = match &closing.evidence.refusal {
        Some(refusal) => (reason_of_refusal(refusal.kind), refusal.message.clone()),
        None => (Reason::LaunchThrottled, "the launch was refused".to_owned()),
    };
    let (first, most) = (job.policy.refusal_initial_ms, job.policy.refusal_max_ms);
    let mut next = waiting_again(job, Some(reason), message);
    next.refusals = refusals;
    next.not_before = Some(doubling(first, most, refusals, &job.s.job_id, closing.closed_at));
    Decision::write(next, false, "the task runtime refused the launch")
}

/// What a job waits for after such a refusal.
pub(crate) fn reason_of_refusal(kind: RefusalKind) -> Reason {
    match kind {
        RefusalKind::Throttled => Reason::LaunchThrottled,
        RefusalKind::Capacity => Reason::InsufficientCapacity,
        RefusalKind::Quota => Reason::WaitingForQuota,
        RefusalKind::Misconfigured => Reason::Misconfigured,
    }
}

/// A job without an attempt that goes on waiting.
pub(crate) fn waiting_again(job: &Job<'_>, reason: Option<Reason>, message: String) -> Control {
    Control {
        phase: Phase::Waiting,
        not_before: None,
        reason,
        message,
        blockers: Vec::new(),
        started_at: None,
        ..job.control.clone()
    }
}

/// The end of a run.
pub(crate) fn finish(job: &Job<'_>, control: Control, reason: Reason, message: String) -> Decision {
    // A short attempt ends before anybody looked at it while it ran.
    let mut of_run = job.s.attempts.iter().filter(|a| a.run == control.run);
    let named = of_run.find(|a| Some(&a.token) == control.token.as_ref());
    let started_at = control.started_at.or(named.and_then(|a| a.started_at));
    let next = Control {
        phase: Phase::Finished,
        not_before: None,
        started_at,
        reason: Some(reason),
        message,
        blockers: Vec::new(),
        suspended: false,
        refusals: 0,
        finished_at: Some(job.now),
        expires_at: Some(job.now.plus_seconds(job.desired.ttl_seconds_after_finished)),
        ..control
    };
    Decision::write(next, true, "the job has ended")
}

/// A forced retry: a fresh budget. Attempt numbers go on.
pub(crate) fn new_run(job: &Job<'_>) -> Decision {
    let next = Control {
        run: job.control.run.saturating_add(1),
        tries: 0,
        infra_tries: 0,
        refusals: 0,
        seen_retry: job.desired.retry,
        run_started_at: job.now,
        suspended: false,
        finished_at: None,
        expires_at: None,
        accepted: None,
        ..waiting_again(job, Some(Reason::PendingEvaluation), String::new())
    };
    Decision::write(next, false, "a retry was forced: the next run starts")
}

/// The job has ended. Only a forced retry and the TTL act on it.
pub(crate) fn after_end(job: &Job<'_>) -> Decision {
    if job.retry_forced() {
        return new_run(job);
    }
    let finished_at = job.control.finished_at.unwrap_or(job.now);
    // An end that was edited to lie before that of its attempts must not delete their work early.
    let worked = |c: &&Closing| !matches!(c.verdict, Verdict::Left { .. });
    let closings = job.s.attempts.iter().filter_map(|a| a.closing.as_ref());
    let last_closed = closings.filter(worked).map(|c| c.closed_at).max();
    let kept_from = last_closed.map_or(finished_at, |at| at.max(finished_at));
    let expires_at = kept_from.plus_seconds(job.desired.ttl_seconds_after_finished);
    let stored = job.control.expires_at == Some(expires_at) && job.control.finished_at == Some(finished_at);
    if !stored || !job.s.control.is_valid() || job.s.active {
        let next =
            Control { finished_at: Some(finished_at), expires_at: Some(expires_at), ..job.control.clone() };
        return Decision::write(next, true, "the end is taken note of");
    }
    if job.now >= expires_at {
        return Decision::act(Effect::Collect, "ttl_seconds_after_finished has passed");
    }
    Decision::wait(job.control.reason, Some(expires_at))
}
