//! The invariants, evaluated by `contract::invariants`.

use super::intern::Shared;
use super::state::{Door, Reported, State};
use super::view::token;
use contract::invariants::{
    AttemptFacts, Invariant, one_agent_per_job, one_execution_per_token, success_has_result,
    terminal_is_final, tries_within_budget,
};
use contract::{Control, LaunchToken, Phase, Status};

/// Notes that an invariant is broken; the first one counts.
pub(crate) fn breaks(s: &mut State, invariant: Invariant) {
    s.broken.get_or_insert(invariant);
}

/// From one stored `control` to the next.
pub(crate) fn write(s: &mut State, next: &Shared<Control>) {
    if let Some(before) = s.record.control
        && !s.forged
        && !terminal_is_final(&before, next, s.edited)
    {
        breaks(s, Invariant::TerminalIsFinal);
    }
}

/// What must hold in each state.
pub(crate) fn state(m: &super::Protocol, s: &mut State) {
    if !one_agent_per_job(s.executing()) {
        breaks(s, Invariant::OneAgentPerJob);
    }
    if !s.executions.iter().all(|n| one_execution_per_token((*n).into())) {
        breaks(s, Invariant::OneExecutionPerToken);
    }
    let tokens: Vec<LaunchToken> = (0u8..).zip(s.ledger.iter()).map(|(of, _)| token(of)).collect();
    let facts: Vec<AttemptFacts<'_>> = tokens
        .iter()
        .zip(s.ledger.iter())
        .map(|(token, a)| AttemptFacts {
            token,
            run: a.run.into(),
            gate: None,
            closing: a.closing.as_deref(),
        })
        .collect();
    let most = m.bounds.max_attempts.into();
    let tries = facts.iter().all(|a| tries_within_budget(&facts, a.run, most));
    let control = s.record.control.filter(|_| !s.forged);
    let success = control.is_none_or(|c| success_has_result(&c, &facts) && result_is_its_own(s, &c));
    let quiet = control.is_none_or(|c| c.phase != Phase::Finished || s.executing() == 0);
    if !tries {
        breaks(s, Invariant::TriesWithinBudget);
    }
    if !success {
        breaks(s, Invariant::SuccessHasResult);
    }
    if !quiet {
        breaks(s, Invariant::CancelHolds);
    }
}

/// I5 as the world sees it: the accepted attempt reported a success whose result is readable, and the plain
/// path holds that result or a later one.
fn result_is_its_own(s: &State, control: &Control) -> bool {
    if control.status() != Status::Succeeded {
        return true;
    }
    control.accepted.as_ref().is_some_and(|accepted| {
        let a = s.ledger.get(super::view::place(&accepted.token));
        a.outcome == Some(Reported::Success)
            && matches!(a.gate, Door::Finished(_))
            && u32::from(a.number) == accepted.number
            && s.published >= a.number
    })
}

/// Whether the job has ended, and how.
pub(crate) fn ended(s: &State) -> Option<bool> {
    match s.record.control?.status() {
        Status::Succeeded => Some(true),
        Status::Failed => Some(false),
        Status::Queued | Status::Running => None,
    }
}
