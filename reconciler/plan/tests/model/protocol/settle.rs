//! I8: with faults stopped, one honest reconciler that has just started brings every reachable state to one
//! that matches what is wanted, and then writes nothing more. It is checked by doing it: twice from each
//! state, once with agents that succeed and once with agents that fail.

use super::Protocol;
use super::apply::{self, Answer};
use super::check;
use super::intern::{Quick, QuickMap};
use super::state::{At, Doing, Door, MOST, Memory, Pending, Reconciler, Reported, State};
use super::view::{decide, shared, ticks};
use contract::{Phase, Reason};
use plan::{Decision, Effect};
use std::cell::RefCell;
use std::hash::{Hash, Hasher};

/// More steps than any job within the bounds needs.
const STEPS: usize = 300;

thread_local! {
    // Which worlds (everything but what reconcilers remember) are known to settle.
    static KNOWN: RefCell<QuickMap<(u64, u64), bool>> = RefCell::default();
}

/// Whether the state settles.
pub(crate) fn settles(m: &Protocol, s: &State) -> bool {
    let mut world = s.clone();
    world.reconcilers = [Reconciler::FRESH; 2];
    world.executions = [0; MOST];
    (world.claims, world.edits, world.hand_edits, world.takeovers) = (0, 0, 0, 0);
    let key = (hash(&world, 1), hash(&world, 2));
    if let Some(known) = KNOWN.with_borrow(|known| known.get(&key).copied()) {
        return known;
    }
    let settles = [Reported::Success, Reported::Failure]
        .into_iter()
        .all(|agents| settle(m, s.clone(), agents, |_| ()).is_ok());
    KNOWN.with_borrow_mut(|known| known.insert(key, settles));
    settles
}

fn hash(world: &State, seed: u64) -> u64 {
    let mut hasher = Quick::default();
    hasher.write_u64(seed);
    world.hash(&mut hasher);
    hasher.finish()
}

/// Lets one reconciler finish, and tells `tell` what it does. The error says why that did not end well.
pub(crate) fn settle(
    m: &Protocol,
    mut s: State,
    agents: Reported,
    mut tell: impl FnMut(String),
) -> Result<(), String> {
    s.reconcilers = [Reconciler::FRESH; 2];
    for _ in 0..STEPS {
        let ledger = shared(&s.ledger);
        let decision = decide(m, &s, 0, s.record, ledger, true);
        match &*decision {
            Decision::Wait { reason, until, .. } => {
                if matches(&s, *reason) {
                    return Ok(());
                }
                if world(&mut s, agents) {
                    continue;
                }
                let Some(until) = until else {
                    return Err(format!("waits for ever, reason {reason:?}"));
                };
                let later = ticks(*until);
                if later <= s.now.into() {
                    return Err(format!("looks again and again, reason {reason:?}"));
                }
                tell(format!("time passes until {later}"));
                s.now = u8::try_from(later).map_err(|_| format!("waits too long, reason {reason:?}"))?;
                // What a process remembers of its last stop call is only for a moment.
                s.reconcilers[0].memory.iter_mut().for_each(|memory| memory.stop_asked = false);
            }
            Decision::Write { .. } | Decision::Do { .. } => {
                tell(super::story::decided(&decision));
                let seen = super::act::now_seen(&s);
                let mut pending = Pending { decision, seen, ledger, draft: None };
                apply::apply(m, &mut s, 0, pending, Answer::Done);
                if let At::Decided(drafted) = s.reconcilers[0].at {
                    pending.draft = drafted.draft;
                    apply::apply(m, &mut s, 0, pending, Answer::Done);
                }
                s.reconcilers[0].at = At::Start;
                stopped(&mut s, &decision);
                check::state(m, &mut s);
                if let Some(broken) = s.broken {
                    return Err(format!("{broken} breaks on the way"));
                }
            }
        }
    }
    Err(format!("does not end within {STEPS} steps"))
}

/// With faults stopped a task that is asked to stop does.
fn stopped(s: &mut State, decision: &Decision) {
    if let Decision::Do { effect: Effect::Stop { task, .. }, .. } = decision {
        let asked: Vec<_> = s.all_tasks().filter(|(t, _)| super::view::task_id(*t) == *task).collect();
        for (task, doing) in asked {
            if doing != Doing::Forgotten {
                s.set(task, Doing::Stopped);
            }
        }
    }
}

/// One step of the tasks, if one has something to do.
fn world(s: &mut State, agents: Reported) -> bool {
    let busy = |doing: Doing| matches!(doing, Doing::Starting | Doing::Executing);
    let Some((task, doing)) = s.all_tasks().find(|(_, doing)| busy(*doing)) else { return false };
    let a = *s.ledger.get(task.of);
    match (doing, a.gate) {
        (Doing::Starting, Door::Absent) => {
            super::act::move_gate(s, task.of, Door::Started(task));
            s.set(task, Doing::Executing);
            s.executions[usize::from(task.of)] += 1;
        }
        (Doing::Executing, Door::Started(_)) => {
            super::act::move_gate(s, task.of, Door::Finished(task));
            s.ledger.get_mut(task.of).outcome = Some(agents);
            s.set(task, Doing::Stopped);
        }
        _ => s.set(task, Doing::Stopped),
    }
    true
}

/// Whether the records say what the world is, and that is what is wanted.
fn matches(s: &State, reason: Option<Reason>) -> bool {
    let Some(control) = s.record.control else { return false };
    let wanted = s.record.wanted;
    let nothing_open = s.ledger.iter().all(|a| a.closing.is_some()) && s.executing() == 0;
    let retried = wanted.cancel || control.seen_retry == u64::from(wanted.retry);
    let forgotten = s.reconcilers[0].memory == [Memory::default(); MOST];
    let at_rest = match control.phase {
        Phase::Finished => !s.record.active && control.reason == reason,
        Phase::Waiting => wanted.suspend && !wanted.cancel && reason == Some(Reason::Suspended),
        Phase::Launching | Phase::Running => false,
    };
    nothing_open && retried && forgotten && at_rest && control.reason == reason
}
