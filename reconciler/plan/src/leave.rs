//! Leaving an attempt (rule 5 of the launch protocol): seal, then stop the task that started until worker
//! and agent are gone, then write the evidence and close. Only then may the job go on.

use crate::Job;
use crate::classify::{class_of_left, classify, exit_code};
use crate::cost::complete;
use crate::decision::{Decision, Effect};
use crate::pacing::later;
use crate::snapshot::{AttemptView, LaunchSaid, Seen};
use contract::attempt::{Budget, Evidence, Verdict};
use contract::{Control, Gate, LeaveReason, Phase, Reason, TaskId};

/// The next step of leaving `a`. `why` matters only if it is not sealed yet: the first seal wins.
pub(crate) fn leave(job: &Job<'_>, a: &AttemptView, why: LeaveReason) -> Decision {
    match &a.gate {
        None | Some(Gate::Started { .. }) => Decision::act(
            Effect::Seal { token: a.token.clone(), why },
            "leave the attempt: first close its gate",
        ),
        // Reported before it was sealed. The outcome stays in the history.
        Some(Gate::Finished { task }) => {
            let evidence = Evidence { task: Some(task.clone()), ..Evidence::default() };
            close(job, a, Verdict::Left { why }, Budget::Nothing, evidence, "keep the outcome in the history")
        }
        Some(Gate::Sealed { why, started: None }) => {
            // No task can pass the gate any more, so whatever was launched is harmless.
            sealed(job, a, *why, evidence_of_unstarted(a), false)
        }
        Some(Gate::Sealed { why, started: Some(task) }) => match a.tasks.stopped(task) {
            Some(evidence) => sealed(job, a, *why, evidence, true),
            None => stop(job, a, *why, task),
        },
    }
}

/// Stops the task that passed the gate and waits until it is gone.
fn stop(job: &Job<'_>, a: &AttemptView, why: LeaveReason, task: &TaskId) -> Decision {
    if !a.stop_asked {
        let effect =
            Effect::Stop { token: a.token.clone(), task: task.clone(), grace_seconds: a.stop_grace_seconds };
        return Decision::act(effect, "the gate is sealed: stop the task that had passed it");
    }
    let until = Some(later(job.now, job.policy.look_again_ms));
    let reason = reason_of(why);
    let named = job.names(a);
    if named && (job.control.reason != Some(reason) || !job.control.blockers.is_empty()) {
        let message = "the attempt is being stopped".to_owned();
        let control = Control {
            reason: Some(reason),
            message,
            blockers: Vec::new(),
            phase: Phase::Running,
            ..job.control.clone()
        };
        return Decision::write(control, false, "tell that the attempt is being stopped");
    }
    Decision::wait(Some(reason), until)
}

/// What is shown while an attempt is being left for this reason.
fn reason_of(why: LeaveReason) -> Reason {
    match why {
        LeaveReason::Cancelled => Reason::Cancelled,
        LeaveReason::Suspended => Reason::Suspended,
        LeaveReason::DeadlineExceeded => Reason::DeadlineExceeded,
        LeaveReason::CostLimitExceeded => Reason::CostLimitExceeded,
        LeaveReason::AttemptTimeout => Reason::AttemptTimeout,
        LeaveReason::StartTimeout => Reason::StartTimeout,
        LeaveReason::TaskGone => Reason::WorkerLost,
        LeaveReason::Retried
        | LeaveReason::Superseded
        | LeaveReason::LaunchRefused
        | LeaveReason::LaunchExpired => Reason::PendingEvaluation,
    }
}

/// Closes a sealed attempt whose task is gone or never started.
fn sealed(job: &Job<'_>, a: &AttemptView, why: LeaveReason, evidence: Evidence, started: bool) -> Decision {
    let Some(class) = class_of_left(why, &evidence, started) else {
        return close(
            job,
            a,
            Verdict::Left { why },
            Budget::Nothing,
            evidence,
            "nothing of it is alive any more",
        );
    };
    let code = exit_code(None, &evidence);
    let judged = classify(&job.desired.failure_policy, class, code, evidence.stop_code.as_deref());
    let message = describe(why, &evidence);
    close(
        job,
        a,
        Verdict::Failed { class, message },
        judged.uses,
        evidence,
        "nothing of it is alive any more",
    )
}

fn describe(why: LeaveReason, evidence: &Evidence) -> String {
    let what = match why {
        LeaveReason::AttemptTimeout => "the attempt ran longer than attempt_timeout_seconds",
        LeaveReason::StartTimeout => "no task passed the start gate within start_timeout_seconds",
        LeaveReason::TaskGone if evidence.forgotten => "the task runtime does not know the task any more",
        LeaveReason::TaskGone => "the task ended without an outcome",
        LeaveReason::Cancelled
        | LeaveReason::Suspended
        | LeaveReason::Retried
        | LeaveReason::DeadlineExceeded
        | LeaveReason::CostLimitExceeded
        | LeaveReason::Superseded
        | LeaveReason::LaunchRefused
        | LeaveReason::LaunchExpired => "the attempt was left",
    };
    let mut message = with_words(what, evidence);
    if let Some(code) = evidence.exit_code {
        message.push_str(&format!("; exit code {code}"));
    }
    if let Some(signal) = evidence.signal {
        message.push_str(&format!("; signal {signal}"));
    }
    message
}

/// A message with what the runtime says of the task.
pub(crate) fn with_words(what: &str, evidence: &Evidence) -> String {
    let mut message = what.to_owned();
    let words = [
        ("stop code", &evidence.stop_code),
        ("reason", &evidence.stopped_reason),
        ("container", &evidence.container_reason),
    ];
    for (name, value) in words {
        if let Some(value) = value {
            message.push_str(&format!("; {name}: {value}"));
        }
    }
    message
}

/// What is known about an attempt whose gate nobody passed.
fn evidence_of_unstarted(a: &AttemptView) -> Evidence {
    let mut evidence = a
        .tasks
        .seen
        .values()
        .find_map(|seen| match seen {
            Seen::Stopped(evidence) => Some((**evidence).clone()),
            Seen::Alive | Seen::WorkerGone => None,
        })
        .unwrap_or_default();
    if evidence.task.is_none() {
        evidence.task = a.tasks.seen.keys().next().cloned();
    }
    if let LaunchSaid::Refused(refusal) = &a.launch {
        evidence.refusal = Some(refusal.clone());
    }
    evidence
}

/// The end of an attempt.
pub(crate) fn close(
    job: &Job<'_>,
    a: &AttemptView,
    verdict: Verdict,
    uses: Budget,
    evidence: Evidence,
    why: &'static str,
) -> Decision {
    let evidence = complete(job, a, evidence);
    Decision::act(Effect::Close { token: a.token.clone(), verdict, uses, evidence: Box::new(evidence) }, why)
}
