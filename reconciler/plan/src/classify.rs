//! What a failed attempt counts as.

use contract::attempt::{Budget, Evidence, Failure};
use contract::desired::{FailureAction, FailurePolicy, FailureRule};
use contract::{FailureClass, LeaveReason};

/// What a failed attempt counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Judgement {
    /// Which budget pays.
    pub uses: Budget,
    /// Fail the job whatever the budgets say.
    pub fail_now: bool,
}

/// Judges a failure: the job's own rules first, in their order, then the class.
#[must_use]
pub fn classify(
    policy: &FailurePolicy,
    class: FailureClass,
    exit_code: Option<i32>,
    stop_code: Option<&str>,
) -> Judgement {
    for rule in &policy.rules {
        if matches_rule(rule, class, exit_code, stop_code) {
            return match rule.action {
                FailureAction::Retry => Judgement { uses: Budget::Try, fail_now: false },
                FailureAction::Fail => Judgement { uses: Budget::Try, fail_now: true },
                // "Uses no try" still has an end: the infrastructure budget.
                FailureAction::Ignore => Judgement { uses: Budget::Infrastructure, fail_now: false },
            };
        }
    }
    let uses = if class.is_infrastructure() { Budget::Infrastructure } else { Budget::Try };
    Judgement { uses, fail_now: false }
}

/// A rule matches when each of its non-empty lists has the value. A rule without lists matches every
/// failure, which makes it the last word of a policy.
fn matches_rule(
    rule: &FailureRule,
    class: FailureClass,
    exit_code: Option<i32>,
    stop_code: Option<&str>,
) -> bool {
    let exit = rule.exit_codes.is_empty() || exit_code.is_some_and(|code| rule.exit_codes.contains(&code));
    let class = rule.classes.is_empty() || rule.classes.contains(&class);
    let stop = rule.stop_codes.is_empty() || stop_code.is_some_and(|code| rule.stop_codes.contains(code));
    exit && class && stop
}

/// The class of an attempt whose task is gone and that left no outcome, from what the runtime says. Ordered,
/// first match wins.
pub(crate) fn class_of_gone(evidence: &Evidence, started: bool) -> FailureClass {
    let code = evidence.stop_code.as_deref().unwrap_or_default();
    let words = evidence.stopped_reason.as_deref().unwrap_or_default();
    let of_container = evidence.container_reason.as_deref().unwrap_or_default();
    // Before the exit codes: a reclaimed Spot task often shows 137, which looks like out of memory.
    if was_reclaimed(evidence) {
        return FailureClass::SpotInterruption;
    }
    // The runtime's own words for a kill by the memory limit.
    if words.contains("OutOfMemory") || of_container.contains("OutOfMemory") {
        return FailureClass::OutOfMemory;
    }
    // The runtime says that no container ran, or our process runtime that no worker did.
    if code == "TaskFailedToStart" || code == "NeverStarted" {
        return FailureClass::TaskFailedToStart;
    }
    // The worker came as far as the gate and vanished behind it.
    if started {
        return FailureClass::WorkerLost;
    }
    // The worker ran and never reached the gate: it could not do its work at all.
    FailureClass::TaskFailedToStart
}

/// Spot capacity was taken back. Older events of ECS say TerminationNotice for the same.
fn was_reclaimed(evidence: &Evidence) -> bool {
    let words = evidence.stopped_reason.as_deref().unwrap_or_default();
    match evidence.stop_code.as_deref() {
        Some("SpotInterruption") => true,
        Some("TerminationNotice") => words.contains("Spot"),
        Some(_) | None => false,
    }
}

/// The class of a failure that the worker reported: what it says, unless the runtime knows better who told it to
/// stop.
pub(crate) fn class_of_reported(class: FailureClass, evidence: &Evidence) -> FailureClass {
    let reclaimed = class == FailureClass::Interrupted && was_reclaimed(evidence);
    if reclaimed { FailureClass::SpotInterruption } else { class }
}

/// The class that an attempt left for this reason failed with; `None`: it is left without a judgement.
pub(crate) fn class_of_left(why: LeaveReason, evidence: &Evidence, started: bool) -> Option<FailureClass> {
    match why {
        LeaveReason::AttemptTimeout => Some(FailureClass::AttemptTimeout),
        LeaveReason::StartTimeout => Some(FailureClass::StartTimeout),
        LeaveReason::TaskGone => Some(class_of_gone(evidence, started)),
        LeaveReason::Cancelled
        | LeaveReason::Suspended
        | LeaveReason::Retried
        | LeaveReason::DeadlineExceeded
        | LeaveReason::CostLimitExceeded
        | LeaveReason::Superseded
        | LeaveReason::LaunchRefused
        | LeaveReason::LaunchExpired => None,
    }
}

/// The exit code that rules match on: the agent's as its worker reported it, else the one that the runtime saw.
pub(crate) fn exit_code(failure: Option<&Failure>, evidence: &Evidence) -> Option<i32> {
    failure.and_then(|f| f.exit_code).or(evidence.exit_code)
}
