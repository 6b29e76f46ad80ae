//! Statements that must hold at any time, each with a name. The model checker, the property tests, the
//! simulation and the production counter `agent_runner_invariant_broken_total{invariant}` all evaluate
//! these functions, so they cannot drift apart.
//!
//! I1 and I2 speak of executions in the world, which only a model, a simulation or a ledger outside the
//! system can see; the others can be evaluated on records.

use crate::attempt::{Budget, Closing, Gate, Verdict};
use crate::id::LaunchToken;
use crate::job::{Control, Phase};
use crate::status::{Reason, words};

words! {
    /// The name of an invariant.
    Invariant {
        /// I1: at most one agent executes per job at any time.
        OneAgentPerJob = "I1",
        /// I2: each launch token is executed at most once.
        OneExecutionPerToken = "I2",
        /// I3: a run has at most `max_attempts` attempts that used up a try.
        TriesWithinBudget = "I3",
        /// I4: a terminal status changes only when `desired` changes.
        TerminalIsFinal = "I4",
        /// I5: SUCCEEDED names a closed attempt that succeeded.
        SuccessHasResult = "I5",
        /// I6: after `cancel` nothing new is claimed, and a settled cancelled job has nothing open.
        CancelHolds = "I6",
        /// I7: an outcome, once written, is never overwritten.
        OutcomeIsFinal = "I7",
        /// I8: without faults the system reaches a state in which nothing more is written.
        Settles = "I8",
    }
}

/// What the record invariants look at in one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptFacts<'a> {
    /// The key.
    pub token: &'a LaunchToken,
    /// The run it belongs to.
    pub run: u32,
    /// Its gate.
    pub gate: Option<&'a Gate>,
    /// Its end.
    pub closing: Option<&'a Closing>,
}

/// I1: given how many agents execute for one job now.
#[must_use]
pub fn one_agent_per_job(executing: usize) -> bool {
    executing <= 1
}

/// I2: given how often one token was executed so far.
#[must_use]
pub fn one_execution_per_token(executions: usize) -> bool {
    executions <= 1
}

/// I3: closed attempts of the run that used up a try, against `max_attempts`.
#[must_use]
pub fn tries_within_budget(attempts: &[AttemptFacts<'_>], run: u32, max_attempts: u32) -> bool {
    let used =
        attempts.iter().filter(|a| a.run == run && a.closing.is_some_and(|c| c.uses == Budget::Try)).count();
    u32::try_from(used).is_ok_and(|used| used <= max_attempts)
}

/// I4: from one stored `control` to the next. `desired_changed` tells whether `desired` differs from what
/// it was when `before` was written.
#[must_use]
pub fn terminal_is_final(before: &Control, after: &Control, desired_changed: bool) -> bool {
    before.phase != Phase::Finished || before.status() == after.status() || desired_changed
}

/// I5: a job that says SUCCEEDED names an attempt that is closed as succeeded.
#[must_use]
pub fn success_has_result(control: &Control, attempts: &[AttemptFacts<'_>]) -> bool {
    if control.phase != Phase::Finished || control.reason != Some(Reason::Completed) {
        return true;
    }
    control.accepted.as_ref().is_some_and(|accepted| {
        attempts
            .iter()
            .any(|a| *a.token == accepted.token && a.closing.is_some_and(|c| c.verdict == Verdict::Succeeded))
    })
}

/// I6: a job that ended has no attempt open.
#[must_use]
pub fn nothing_open_when_finished(control: &Control, attempts: &[AttemptFacts<'_>]) -> bool {
    control.phase != Phase::Finished || attempts.iter().all(|a| a.closing.is_some())
}

/// I7: from one stored gate to the next. The register moves forward only.
#[must_use]
pub fn gate_moves_forward(before: Option<&Gate>, after: Option<&Gate>) -> bool {
    match (before, after) {
        (None, _) => true,
        (Some(Gate::Started { task: a }), Some(Gate::Started { task: b } | Gate::Finished { task: b })) => {
            a == b
        }
        (Some(Gate::Started { task }), Some(Gate::Sealed { started, .. })) => started.as_ref() == Some(task),
        (before, after) => before == after,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attempt::LeaveReason;
    use crate::id::TaskId;

    #[test]
    fn a_gate_never_moves_back_or_changes_its_task() {
        let task = |n: u32| TaskId::new(format!("process:{n}")).unwrap();
        let started = Gate::Started { task: task(1) };
        let finished = Gate::Finished { task: task(1) };
        let sealed = Gate::Sealed { why: LeaveReason::Cancelled, started: None };
        assert!(gate_moves_forward(None, Some(&sealed)));
        assert!(gate_moves_forward(Some(&started), Some(&finished)));
        assert!(!gate_moves_forward(Some(&started), Some(&Gate::Finished { task: task(2) })));
        assert!(!gate_moves_forward(Some(&started), Some(&sealed)), "the started task was forgotten");
        assert!(!gate_moves_forward(Some(&finished), Some(&sealed)));
        assert!(!gate_moves_forward(Some(&sealed), None));
    }
}
