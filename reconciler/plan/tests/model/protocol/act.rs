//! What can happen next.

use super::Protocol;
use super::apply::{self, Answer};
use super::broken::Broken;
use super::check;
use super::intern::Shared;
use super::state::{At, CONTROLS, Doing, Door, Pending, Reported, Seen, State, Task};
use super::view::{decide, place, shared, token};
use contract::invariants::gate_moves_forward;
use contract::{Control, Phase, Reason};
use plan::{Decision, Effect};

/// One step: first what reconcilers have read or decided just before, then the act itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Action {
    pub(crate) before: [Option<Early>; 2],
    pub(crate) act: Act,
}

/// How far a reconciler had come just before somebody else acted. Only such reads are steps: a read that
/// nothing makes out of date can as well come later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Early {
    /// It has read the record.
    Record,
    /// It has read record and attempts.
    Both,
    /// It has decided; `complete` tells whether the task runtime answered.
    Decided { complete: bool },
}

/// What somebody does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// A worker reaches the gate.
    Arrive(Task),
    /// A worker reports an outcome.
    Report(Task, Reported),
    /// Worker and agent die.
    Die(Task),
    /// The worker dies, the agent lives on.
    Orphan(Task),
    /// The runtime forgets a stopped task and its launch token.
    Forget(Task),
    /// Time passes.
    Tick,
    /// An operator edits `desired`.
    Edit(Edit),
    /// Somebody edits `control`.
    HandEdit(HandEdit),
    /// The second reconciler takes over; the first one does not know.
    TakeOver,
    /// A reconciler looks, decides and does.
    Pass { who: u8, complete: bool, answer: Answer },
    /// A reconciler does what it had decided.
    Do { who: u8, answer: Answer },
    /// A reconciler's pass fails before it does anything.
    GiveUp(u8),
    /// A reconciler dies and starts again.
    Crash(u8),
}

/// Edits of `desired`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edit {
    Cancel,
    /// `POST …/retry`: also clears `cancel`.
    Retry,
    /// Or resumes, if it is suspended.
    Suspend,
    /// Lowers the deadline to nothing.
    Hurry,
}

/// Edits of `control`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HandEdit {
    Wipe,
    /// Puts back what a reconciler read some time ago.
    Restore(u8),
    /// To `Waiting`, without an attempt.
    Wait,
    /// To an end.
    End(Reason),
    /// Names another attempt.
    Name(u8),
    /// The next run, without a retry.
    Run,
}

/// Everything that can happen next, with everything that can have been read before it.
pub(crate) fn all(m: &Protocol, s: &State, actions: &mut Vec<Action>) {
    let mut acts = Vec::new();
    world(m, s, &mut acts);
    operators(m, s, &mut acts);
    let acting = s.acting(&m.bounds);
    for who in 0..acting {
        reconciler(m, s, who, &mut acts);
    }
    for act in acts {
        let change = changes(m, s, act);
        let second = early(m, s, 1, act, &change);
        for first in early(m, s, 0, act, &change) {
            for second in second.iter().copied() {
                actions.push(Action { before: [first, second], act });
            }
        }
    }
}

/// What an act changes of that which reconcilers look at.
struct Changes {
    record: bool,
    ledger: bool,
    other: bool,
}

fn changes(m: &Protocol, s: &State, act: Act) -> Changes {
    let (record, ledger, other) = match act {
        Act::Arrive(task) => (false, s.ledger.get(task.of).gate == Door::Absent, true),
        Act::Report(..) => (false, true, true),
        Act::Die(_) | Act::Forget(_) | Act::Tick => (false, false, true),
        Act::Edit(_) | Act::HandEdit(_) => (true, false, false),
        // A dead worker whose agent lives looks like a living one.
        Act::Orphan(_) => (false, false, m.is(Broken::WorkerSpeaksForAgent)),
        Act::GiveUp(_) | Act::Crash(_) | Act::TakeOver => (false, false, false),
        Act::Pass { who, complete, .. } => match decision(m, s, usize::from(who), complete) {
            Some(pending) => changed_by(&pending),
            None => (false, false, false),
        },
        Act::Do { who, .. } => match s.reconcilers[usize::from(who)].at {
            At::Decided(pending) => changed_by(&pending),
            At::Start | At::Record(_) | At::Both(..) => (false, false, false),
        },
    };
    Changes { record, ledger, other }
}

fn changed_by(pending: &Pending) -> (bool, bool, bool) {
    match &*pending.decision {
        Decision::Wait { .. } => (false, false, false),
        Decision::Write { .. } => (true, false, false),
        Decision::Do { effect, .. } => match effect {
            Effect::Claim { .. } => (pending.draft.is_some(), pending.draft.is_none(), true),
            Effect::Launch { .. } => (false, false, true),
            Effect::Seal { .. } | Effect::Close { .. } => (false, true, false),
            Effect::Stop { .. } | Effect::Publish { .. } | Effect::Collect => (false, false, false),
        },
    }
}

fn early(m: &Protocol, s: &State, who: usize, act: Act, change: &Changes) -> Vec<Option<Early>> {
    let mut found = vec![None];
    let own = match act {
        Act::Pass { who: actor, .. } | Act::Do { who: actor, .. } => usize::from(actor) == who,
        Act::GiveUp(_)
        | Act::Crash(_)
        | Act::TakeOver
        | Act::Arrive(_)
        | Act::Report(..)
        | Act::Die(_)
        | Act::Orphan(_)
        | Act::Forget(_)
        | Act::Tick
        | Act::Edit(_)
        | Act::HandEdit(_) => false,
    };
    if own || who >= s.acting(&m.bounds) {
        return found;
    }
    let at = s.reconcilers[who].at;
    if change.record && at == At::Start {
        found.push(Some(Early::Record));
    }
    if change.ledger && matches!(at, At::Start | At::Record(_)) {
        found.push(Some(Early::Both));
    }
    if (change.record || change.ledger || change.other) && !matches!(at, At::Decided(_)) {
        let answered = decision(m, s, who, true);
        let unanswered = decision(m, s, who, m.bounds.calm);
        found.extend(answered.map(|_| Some(Early::Decided { complete: true })));
        if unanswered != answered {
            found.extend(unanswered.map(|_| Some(Early::Decided { complete: false })));
        }
    }
    found
}

fn world(m: &Protocol, s: &State, acts: &mut Vec<Act>) {
    for (task, doing) in s.all_tasks() {
        match doing {
            Doing::Nothing | Doing::Forgotten => {}
            Doing::Starting if m.bounds.calm => acts.push(Act::Arrive(task)),
            Doing::Executing if m.bounds.calm => acts.push(Act::Report(task, Reported::Success)),
            Doing::Starting => acts.extend([Act::Arrive(task), Act::Die(task)]),
            Doing::Executing => {
                acts.extend([Reported::Success, Reported::Failure].map(|out| Act::Report(task, out)));
                if task.of == 0 {
                    acts.push(Act::Report(task, Reported::Unreadable));
                }
                acts.push(Act::Die(task));
                if m.bounds.orphans {
                    acts.push(Act::Orphan(task));
                }
            }
            Doing::Orphaned => acts.push(Act::Die(task)),
            Doing::Stopped if m.bounds.forgets && task.made == 0 => acts.push(Act::Forget(task)),
            Doing::Stopped => {}
        }
    }
    if s.now < m.bounds.ticks {
        acts.push(Act::Tick);
    }
}

fn operators(m: &Protocol, s: &State, acts: &mut Vec<Act>) {
    if s.edits > 0 {
        if !s.record.wanted.cancel {
            acts.push(Act::Edit(Edit::Cancel));
        }
        if !s.record.wanted.hurry {
            acts.push(Act::Edit(Edit::Hurry));
        }
        acts.extend([Act::Edit(Edit::Retry), Act::Edit(Edit::Suspend)]);
    }
    if s.takeovers > 0 {
        acts.push(Act::TakeOver);
    }
    let Some(control) = s.record.control.filter(|_| s.hand_edits > 0) else { return };
    acts.push(Act::HandEdit(HandEdit::Wipe));
    if m.bounds.wipes_only {
        return;
    }
    for (who, reconciler) in (0u8..).zip(&s.reconcilers) {
        if seen_of(&reconciler.at).is_some_and(|seen| !seen.current && seen.record.control.is_some()) {
            acts.push(Act::HandEdit(HandEdit::Restore(who)));
        }
    }
    acts.push(Act::HandEdit(HandEdit::Wait));
    acts.extend([Reason::Completed, Reason::Cancelled].map(|why| Act::HandEdit(HandEdit::End(why))));
    acts.push(Act::HandEdit(HandEdit::Run));
    let named = control.token.as_ref().map(place);
    let others = (0u8..).zip(s.ledger.iter()).map(|(of, _)| of).filter(|of| Some(*of) != named);
    acts.extend(others.map(|of| Act::HandEdit(HandEdit::Name(of))));
}

fn seen_of(at: &At) -> Option<Seen> {
    match at {
        At::Start => None,
        At::Record(seen) | At::Both(seen, _) => Some(*seen),
        At::Decided(pending) => Some(pending.seen),
    }
}

fn reconciler(m: &Protocol, s: &State, who: usize, acts: &mut Vec<Act>) {
    let r = &s.reconcilers[who];
    let name = u8::try_from(who).expect("two reconcilers");
    match r.at {
        At::Decided(pending) => {
            let answers = apply::answers(m, s, &pending);
            acts.extend(answers.into_iter().map(|answer| Act::Do { who: name, answer }));
            if !m.bounds.calm {
                acts.push(Act::GiveUp(name));
            }
        }
        At::Start | At::Record(_) | At::Both(..) => {
            let mut last = None;
            for complete in [true, false] {
                let Some(pending) = decision(m, s, who, complete || m.bounds.calm) else { continue };
                if last == Some(pending) {
                    continue;
                }
                last = Some(pending);
                let answers = apply::answers(m, s, &pending);
                acts.extend(answers.into_iter().map(|answer| Act::Pass { who: name, complete, answer }));
            }
            if r.at != At::Start && !m.bounds.calm {
                acts.push(Act::GiveUp(name));
            }
        }
    }
    if r.memory != super::state::Reconciler::FRESH.memory && !m.bounds.calm {
        acts.push(Act::Crash(name));
    }
}

/// What a reconciler decides from what it has read and what it reads now; `None`: to wait.
pub(crate) fn decision(m: &Protocol, s: &State, who: usize, complete: bool) -> Option<Pending> {
    let (seen, ledger) = match s.reconcilers[who].at {
        At::Start => (now_seen(s), shared(&s.ledger)),
        At::Record(seen) => (seen, shared(&s.ledger)),
        At::Both(seen, ledger) => (seen, ledger),
        At::Decided(pending) => return Some(pending),
    };
    if super::merge::deposed(m, who, seen) {
        return None;
    }
    let decision = decide(m, s, who, seen.record, ledger, complete);
    match *decision {
        Decision::Wait { .. } => None,
        Decision::Write { .. } | Decision::Do { .. } => Some(Pending { decision, seen, ledger, draft: None }),
    }
}

pub(crate) fn now_seen(s: &State) -> Seen {
    Seen { record: s.record, current: true }
}

/// The state after a step; `None` where the step is the same as another one.
pub(crate) fn next(m: &Protocol, s: &State, action: Action) -> Option<State> {
    let mut n = s.clone();
    for (who, early) in action.before.into_iter().enumerate() {
        if let Some(early) = early {
            n.reconcilers[who].at = advance(m, s, who, early)?;
        }
    }
    act(m, &mut n, action.act)?;
    super::merge::merge(m, &mut n);
    for who in 0..2 {
        let at = super::merge::put_off(m, &n, who);
        n.reconcilers[who].at = at;
        // Nothing that was read is out of date: the read can as well come later.
        if action.before[who].is_some() && at == s.reconcilers[who].at {
            return None;
        }
    }
    check::state(m, &mut n);
    (n != *s).then_some(n)
}

fn advance(m: &Protocol, s: &State, who: usize, early: Early) -> Option<At> {
    let at = s.reconcilers[who].at;
    match early {
        Early::Record => Some(At::Record(now_seen(s))),
        Early::Both => match at {
            At::Start => Some(At::Both(now_seen(s), shared(&s.ledger))),
            At::Record(seen) => Some(At::Both(seen, shared(&s.ledger))),
            At::Both(..) | At::Decided(_) => None,
        },
        Early::Decided { complete } => decision(m, s, who, complete).map(At::Decided),
    }
}

fn act(m: &Protocol, s: &mut State, act: Act) -> Option<()> {
    match act {
        Act::Arrive(task) => arrive(m, s, task),
        Act::Report(task, out) => report(m, s, task, out),
        Act::Die(task) => s.set(task, Doing::Stopped),
        Act::Orphan(task) => s.set(task, Doing::Orphaned),
        Act::Forget(task) => s.set(task, Doing::Forgotten),
        Act::Tick => s.now += 1,
        Act::Edit(edit) => edit_desired(s, edit),
        Act::HandEdit(edit) => hand_edit(s, edit),
        Act::TakeOver => s.takeovers -= 1,
        Act::Pass { who, complete, answer } => {
            let pending = decision(m, s, usize::from(who), complete)?;
            apply::apply(m, s, usize::from(who), pending, answer);
        }
        Act::Do { who, answer } => {
            let At::Decided(pending) = s.reconcilers[usize::from(who)].at else { return None };
            apply::apply(m, s, usize::from(who), pending, answer);
        }
        Act::GiveUp(who) => s.reconcilers[usize::from(who)].at = At::Start,
        Act::Crash(who) => s.reconcilers[usize::from(who)] = super::state::Reconciler::FRESH,
    }
    Some(())
}

/// Moves a gate, and checks that it moves forward.
pub(crate) fn move_gate(s: &mut State, of: u8, door: Door) {
    let a = s.ledger.get_mut(of);
    let before = a.gate;
    a.gate = door;
    if !gate_moves_forward(super::view::gate(before).as_ref(), super::view::gate(door).as_ref()) {
        check::breaks(s, contract::invariants::Invariant::OutcomeIsFinal);
    }
}

fn arrive(m: &Protocol, s: &mut State, task: Task) {
    let door = s.ledger.get(task.of).gate;
    let passes = match door {
        Door::Absent => true,
        Door::Sealed(..) => m.is(Broken::NoSeal),
        Door::Started(_) | Door::Finished(_) => false,
    };
    if door == Door::Absent {
        move_gate(s, task.of, Door::Started(task));
        s.ledger.get_mut(task.of).started_at = s.now;
    }
    if passes || m.is(Broken::NoGate) {
        s.set(task, Doing::Executing);
        s.executions[usize::from(task.of)] += 1;
    } else {
        s.set(task, Doing::Stopped);
    }
}

fn report(m: &Protocol, s: &mut State, task: Task, out: Reported) {
    let a = s.ledger.get(task.of);
    let own = a.gate == Door::Started(task) || m.is(Broken::ReportWithoutGate);
    if own {
        if a.outcome.is_some_and(|before| before != out) {
            check::breaks(s, contract::invariants::Invariant::OutcomeIsFinal);
        }
        s.ledger.get_mut(task.of).outcome = Some(out);
        move_gate(s, task.of, Door::Finished(task));
    }
    s.set(task, Doing::Stopped);
}

fn edit_desired(s: &mut State, edit: Edit) {
    let wanted = &mut s.record.wanted;
    match edit {
        Edit::Cancel => wanted.cancel = true,
        Edit::Retry => {
            wanted.retry += 1;
            wanted.cancel = false;
        }
        Edit::Suspend => wanted.suspend = !wanted.suspend,
        Edit::Hurry => wanted.hurry = true,
    }
    s.record.active = true;
    s.edits -= 1;
    s.edited = true;
}

fn hand_edit(s: &mut State, edit: HandEdit) {
    let forged = |s: &State, change: &dyn Fn(&mut Control)| {
        let mut control = s.record.control.map(|c| (*c).clone())?;
        change(&mut control);
        Some(CONTROLS.share(control))
    };
    let next = match edit {
        HandEdit::Wipe => None,
        HandEdit::Restore(who) => {
            seen_of(&s.reconcilers[usize::from(who)].at).and_then(|seen| seen.record.control)
        }
        HandEdit::Wait => forged(s, &|c| {
            (c.phase, c.reason) = (Phase::Waiting, Some(Reason::PendingEvaluation));
        }),
        HandEdit::End(why) => forged(s, &|c| {
            (c.phase, c.reason, c.finished_at) = (Phase::Finished, Some(why), Some(super::view::time(0)));
        }),
        HandEdit::Name(of) => forged(s, &|c| {
            (c.phase, c.token) = (Phase::Launching, Some(token(of)));
        }),
        HandEdit::Run => forged(s, &|c| c.run += 1),
    };
    replace_control(s, next, |who, seen| match edit {
        HandEdit::Wipe => seen.record.control.is_none(),
        HandEdit::Restore(of) => usize::from(of) == who,
        HandEdit::Wait | HandEdit::End(_) | HandEdit::Name(_) | HandEdit::Run => false,
    });
    if s.record.control.is_none() {
        s.record.epoch = 0;
    }
    s.hand_edits -= 1;
    s.forged = true;
}

/// Stores a `control`. What was read before is out of date, except where it is the very value again.
pub(crate) fn replace_control(
    s: &mut State,
    next: Option<Shared<Control>>,
    same: impl Fn(usize, &Seen) -> bool,
) {
    s.record.control = next;
    for (who, reconciler) in s.reconcilers.iter_mut().enumerate() {
        let seen = match &mut reconciler.at {
            At::Start => continue,
            At::Record(seen) | At::Both(seen, _) => seen,
            At::Decided(pending) => &mut pending.seen,
        };
        seen.current = same(who, seen);
    }
}
