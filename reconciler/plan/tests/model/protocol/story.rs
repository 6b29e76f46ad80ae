//! Counterexamples in words.

use super::act::{Act, Action, Early};
use super::apply::Answer;
use super::state::{At, State};
use super::{Protocol, settle, state};
use contract::{Control, Status};
use plan::{Decision, Effect};

/// A path as numbered sentences.
pub(crate) fn tell(m: &Protocol, path: &[(State, Option<Action>)]) -> String {
    let mut lines = Vec::new();
    for (s, action) in path {
        let Some(action) = action else { continue };
        for (who, early) in action.before.into_iter().enumerate() {
            if let Some(early) = early {
                lines.push(format!("reconciler {} {}", name(who), self::early(m, s, who, early)));
            }
        }
        lines.push(act(m, s, action.act));
    }
    if let Some((last, _)) = path.last() {
        lines.push(state_of(last));
    }
    let numbered = lines.iter().enumerate().map(|(n, line)| format!("{:3}. {line}\n", n + 1));
    numbered.collect()
}

/// What a state that does not settle does instead.
pub(crate) fn unsettled(m: &Protocol, s: &State) -> String {
    let mut lines = Vec::new();
    for agents in [state::Reported::Success, state::Reported::Failure] {
        lines.push(format!("     then, without faults and with agents that report {agents:?}:"));
        let end = settle::settle(m, s.clone(), agents, |line| lines.push(format!("       {line}")));
        lines.push(format!("       {end:?}"));
    }
    lines.join("\n")
}

fn name(who: usize) -> char {
    if who == 0 { 'A' } else { 'B' }
}

fn early(m: &Protocol, s: &State, who: usize, early: Early) -> String {
    match early {
        Early::Record => "has read the record".to_owned(),
        Early::Both => "has read record and attempts".to_owned(),
        Early::Decided { complete } => {
            let decided = super::act::decision(m, s, who, complete);
            let words = decided.map_or_else(|| "to wait".to_owned(), |p| self::decided(&p.decision));
            format!("has decided: {words}{}", seen(complete))
        }
    }
}

fn seen(complete: bool) -> &'static str {
    if complete { "" } else { " (no answer from the task runtime)" }
}

/// A decision in words.
pub(crate) fn decided(decision: &Decision) -> String {
    match decision {
        Decision::Wait { reason, .. } => format!("wait, {reason:?}"),
        Decision::Write { control, why, .. } => format!("write {}: {why}", control_of(control)),
        Decision::Do { effect, .. } => match effect {
            Effect::Claim { draft, .. } => format!("claim attempt {} of run {}", draft.number, draft.run),
            Effect::Launch { token } => format!("launch {}", of(token)),
            Effect::Seal { token, why } => format!("seal {}: {why}", of(token)),
            Effect::Stop { token, task, .. } => format!("stop {task} of {}", of(token)),
            Effect::Publish { token, .. } => format!("publish the result of {}", of(token)),
            Effect::Close { token, verdict, uses, .. } => {
                format!("close {}: {verdict:?}, which uses {uses}", of(token))
            }
            Effect::Collect => "collect the job".to_owned(),
        },
    }
}

fn of(token: &contract::LaunchToken) -> String {
    format!("draft {}", super::view::place(token) + 1)
}

fn control_of(c: &Control) -> String {
    let named = c.token.as_ref().map_or_else(|| "no draft".to_owned(), of);
    let reason = c.reason.map_or("no reason", contract::Reason::as_str);
    format!("control {{{} ({}), {reason}, run {}, names {named}}}", c.phase, c.status(), c.run)
}

fn act(m: &Protocol, s: &State, act: Act) -> String {
    match act {
        Act::Arrive(task) => format!("the worker of {} reaches the gate", super::view::task_id(task)),
        Act::Report(task, out) => format!("the worker of {} reports {out:?}", super::view::task_id(task)),
        Act::Die(task) => format!("{} dies, worker and agent", super::view::task_id(task)),
        Act::Orphan(task) => format!("the worker of {} dies, its agent lives", super::view::task_id(task)),
        Act::Forget(task) => format!("the runtime forgets {} and its token", super::view::task_id(task)),
        Act::Tick => "time passes, beyond every timeout".to_owned(),
        Act::Edit(edit) => format!("an operator edits desired: {edit:?}"),
        Act::HandEdit(edit) => format!("somebody edits control by hand: {edit:?}"),
        Act::TakeOver => "B takes over; A does not know".to_owned(),
        Act::Pass { who, complete, answer } => {
            let decided = super::act::decision(m, s, who.into(), complete);
            let words = decided.map_or_else(String::new, |p| self::decided(&p.decision));
            format!("reconciler {}: {words}{}{}", name(who.into()), seen(complete), answered(answer))
        }
        Act::Do { who, answer } => {
            let At::Decided(pending) = s.reconcilers[usize::from(who)].at else { return String::new() };
            let what = match (&*pending.decision, pending.draft) {
                (Decision::Do { effect: Effect::Claim { .. }, .. }, None) => "writes its draft".to_owned(),
                (_, Some(draft)) => format!("makes its claim, draft {}", draft + 1),
                (decision, None) => format!("does what it had decided: {}", decided(decision)),
            };
            format!("reconciler {} {what}{}", name(who.into()), answered(answer))
        }
        Act::GiveUp(who) => format!("reconciler {}: the pass fails", name(who.into())),
        Act::Crash(who) => format!("reconciler {} dies and starts again", name(who.into())),
    }
}

fn answered(answer: Answer) -> &'static str {
    match answer {
        Answer::Done => "",
        Answer::Lost => " (done, but the answer is lost)",
        Answer::Failed => " (not done, and nobody knows)",
        Answer::Refused => " (refused)",
    }
}

fn state_of(s: &State) -> String {
    let control = s.record.control.map_or_else(|| "no control".to_owned(), |c| control_of(&c));
    let agents = s.executing();
    let broken = s.broken.map_or_else(String::new, |b| format!("; {b} ({b:?}) is broken"));
    let ended = s.record.control.is_some_and(|c| c.status() == Status::Succeeded);
    let result = if ended { ", the job counts as succeeded" } else { "" };
    format!("now: {control}, {agents} agents execute{result}{broken}")
}
