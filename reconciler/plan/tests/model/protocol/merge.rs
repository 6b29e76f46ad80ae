//! States that differ only in what cannot matter any more are made one state. Each rule says why.

use super::Protocol;
use super::intern::Shared;
use super::state::{At, Doing, Door, Ledger, Memory, Pending, Record, Seen, State};
use super::view::{decide, place, shared};
use plan::{Decision, Effect};

/// Forgets what cannot matter any more. A protocol with a mistake is left as it is: its mistake may be just
/// that these things matter.
pub(crate) fn merge(m: &Protocol, s: &mut State) {
    if m.broken.is_some() {
        return;
    }
    for of in 0..s.ledger.len() {
        let a = s.ledger.get(u8::try_from(of).expect("few attempts"));
        let over = a.closing.is_some();
        // A worker that comes to a gate that is finished or sealed only reads it and ends, so it may as well
        // have ended; and of a closed attempt nobody looks at tasks.
        if matches!(a.gate, Door::Finished(_) | Door::Sealed(..)) {
            for doing in &mut s.tasks[of] {
                if *doing == Doing::Starting {
                    *doing = Doing::Stopped;
                }
                if over && !doing.executes() {
                    *doing = Doing::Nothing;
                }
            }
        }
        let gate = a.gate;
        for reconciler in &mut s.reconcilers {
            // Old attempts in hand may still be decided on.
            if matches!(reconciler.at, At::Both(..) | At::Decided(_)) {
                continue;
            }
            let memory = &mut reconciler.memory[of];
            *memory = needed(*memory, gate, over);
        }
    }
}

/// The part of a memory that decisions about an attempt with this gate look at.
fn needed(memory: Memory, gate: Door, over: bool) -> Memory {
    let nothing = Memory::default();
    match gate {
        _ if over => nothing,
        Door::Absent => Memory { stop_asked: false, published: None, ..memory },
        Door::Started(_) => nothing,
        Door::Finished(_) => Memory { published: memory.published, ..nothing },
        Door::Sealed(_, None) => Memory { said: memory.said, ..nothing },
        Door::Sealed(_, Some(_)) => Memory { stop_asked: memory.stop_asked, ..nothing },
    }
}

/// Takes back what was read or decided as far as doing it now would give the same, and what nothing can come
/// of: a read that nothing made out of date can as well come later.
pub(crate) fn put_off(m: &Protocol, s: &State, who: usize) -> At {
    match s.reconcilers[who].at {
        At::Start => At::Start,
        At::Record(seen) | At::Both(seen, _) if deposed(m, who, seen) => At::Start,
        At::Record(seen) if fresh(s, seen) => At::Start,
        At::Record(seen) => At::Record(seen),
        At::Both(seen, ledger) => both(s, seen, ledger),
        At::Decided(pending) => decided(m, s, who, pending),
    }
}

/// Whether who read this ends the pass because a later leader has written.
pub(crate) fn deposed(m: &Protocol, who: usize, seen: Seen) -> bool {
    m.bounds.epochs && seen.record.control.is_some() && usize::from(seen.record.epoch) > who
}

fn fresh(s: &State, seen: Seen) -> bool {
    seen.current && seen.record == s.record
}

fn both(s: &State, seen: Seen, ledger: Shared<Ledger>) -> At {
    if *ledger != s.ledger {
        At::Both(seen, ledger)
    } else if fresh(s, seen) {
        At::Start
    } else {
        At::Record(seen)
    }
}

fn decided(m: &Protocol, s: &State, who: usize, pending: Pending) -> At {
    if pending.draft.is_some() {
        return if refused(m, s, pending.seen) { At::Start } else { At::Decided(pending) };
    }
    let again = |record: Record, ledger| {
        let decides = |complete| decide(m, s, who, record, ledger, complete) == pending.decision;
        decides(true) || decides(false)
    };
    let earlier = both(s, pending.seen, pending.ledger);
    let kept = At::Decided(pending);
    let gate = |of: &contract::LaunchToken| s.ledger.get(place(of));
    let shut = |door: Door| matches!(door, Door::Finished(_) | Door::Sealed(..));
    match &*pending.decision {
        // It meets a conflict, and the pass reads again.
        Decision::Write { .. } if refused(m, s, pending.seen) => At::Start,
        Decision::Do { effect, .. } if m.broken.is_none() => match effect {
            // A shut gate is not sealed, a closed attempt not closed again, and the pass reads again.
            Effect::Seal { token, .. } if shut(gate(token).gate) => At::Start,
            Effect::Close { token, .. } if gate(token).closing.is_some() => At::Start,
            // The pass reads again after a seal, so what it had read does not matter.
            Effect::Seal { .. } if again(s.record, shared(&s.ledger)) => At::Start,
            Effect::Seal { .. } => At::Decided(unread(pending)),
            // A task may stop at any time anyway, and one launched behind a shut gate ends there.
            Effect::Stop { .. } => earlier,
            Effect::Launch { token } if shut(gate(token).gate) => earlier,
            Effect::Launch { .. }
            | Effect::Claim { .. }
            | Effect::Publish { .. }
            | Effect::Close { .. }
            | Effect::Collect
                if again(pending.seen.record, pending.ledger) =>
            {
                earlier
            }
            Effect::Launch { .. }
            | Effect::Claim { .. }
            | Effect::Publish { .. }
            | Effect::Close { .. }
            | Effect::Collect => kept,
        },
        Decision::Write { .. } | Decision::Do { .. } | Decision::Wait { .. } => {
            if again(pending.seen.record, pending.ledger) { earlier } else { kept }
        }
    }
}

/// Whether a write on condition of what was seen is refused now and for ever.
fn refused(m: &Protocol, s: &State, seen: Seen) -> bool {
    if m.broken.is_some() {
        return false;
    }
    let back = s.hand_edits > 0 && (seen.record.control.is_none() || !m.bounds.wipes_only);
    (!seen.current && !back) || (seen.record.wanted != s.record.wanted && s.edits == 0)
}

fn unread(pending: Pending) -> Pending {
    let record = Record { wanted: Default::default(), control: None, active: false, epoch: 0 };
    Pending { seen: Seen { record, current: false }, ledger: shared(&Ledger::default()), ..pending }
}
