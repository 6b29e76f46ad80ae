//! Carrying out a decision, the way the loop does it: every record write is conditional, and a pass goes on
//! with what it has in hand, except after a claim, a seal and a conflict, when it reads again.

use super::Protocol;
use super::act::replace_control;
use super::broken::Broken;
use super::check;
use super::intern::Shared;
use super::state::{
    At, Attempt, CLOSINGS, CONTROLS, Doing, Door, Memory, Pending, Reported, Said, State, Task,
};
use super::view::{place, shared, time, token};
use contract::attempt::{Budget, Verdict};
use contract::invariants::Invariant;
use contract::{Closing, Control, Evidence, LaunchToken, WriteId};
use plan::{Decision, Effect};

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It was done, and the answer said so.
    Done,
    /// A launch was done, but the answer was lost.
    Lost,
    /// A launch was not done, and nobody knows.
    Failed,
    /// A launch was refused for certain.
    Refused,
}

/// What may become of carrying out a decision, within the bounds.
pub(crate) fn answers(m: &Protocol, s: &State, pending: &Pending) -> Vec<Answer> {
    match &*pending.decision {
        Decision::Do { effect: Effect::Launch { .. }, .. } if m.bounds.calm => vec![Answer::Done],
        Decision::Do { effect: Effect::Launch { token }, .. } => launch_answers(s, place(token)),
        Decision::Do { effect: Effect::Claim { .. }, .. } => {
            let drafts = usize::from(m.bounds.attempts + m.bounds.wasted);
            let room = pending.draft.is_some() || s.ledger.len() < drafts;
            if room && s.claims < m.bounds.attempts { vec![Answer::Done] } else { Vec::new() }
        }
        Decision::Do {
            effect:
                Effect::Seal { .. }
                | Effect::Stop { .. }
                | Effect::Publish { .. }
                | Effect::Close { .. }
                | Effect::Collect,
            ..
        }
        | Decision::Write { .. } => vec![Answer::Done],
        Decision::Wait { .. } => Vec::new(),
    }
}

fn launch_answers(s: &State, of: u8) -> Vec<Answer> {
    match s.tasks[usize::from(of)] {
        // The runtime knows the token: an uncertain answer changes nothing but what the caller remembers.
        [Doing::Forgotten, Doing::Forgotten] => Vec::new(),
        [Doing::Nothing, _] | [Doing::Forgotten, Doing::Nothing] => {
            vec![Answer::Done, Answer::Lost, Answer::Failed, Answer::Refused]
        }
        [_, _] => vec![Answer::Done, Answer::Lost],
    }
}

/// Carries out what `who` has decided.
pub(crate) fn apply(m: &Protocol, s: &mut State, who: usize, pending: Pending, answer: Answer) {
    s.reconcilers[who].at = At::Start;
    match &*pending.decision {
        Decision::Wait { .. } => {}
        Decision::Write { control, settled, .. } => {
            if may_write(m, s, &pending) {
                write(s, who, control, *settled);
                go_on(s, who, pending);
            }
        }
        Decision::Do { effect, .. } => effect_of(m, s, who, pending, effect, answer),
    }
}

fn effect_of(m: &Protocol, s: &mut State, who: usize, pending: Pending, effect: &Effect, answer: Answer) {
    match effect {
        Effect::Claim { draft, control } => match pending.draft {
            None => {
                let of = s.ledger.push(Attempt {
                    number: small(draft.number),
                    run: small(draft.run),
                    retry: u8::try_from(draft.retry).expect("few retries"),
                    claimed_at: s.now,
                    started_at: 0,
                    gate: Door::Absent,
                    outcome: None,
                    closing: None,
                });
                s.reconcilers[who].at = At::Decided(Pending { draft: Some(of), ..pending });
                if m.is(Broken::LaunchBeforeClaim) {
                    launch(s, of);
                }
            }
            Some(of) => claim(m, s, who, &pending, control, of),
        },
        Effect::Launch { token } => {
            let of = place(token);
            if matches!(answer, Answer::Done | Answer::Lost) {
                launch(s, of);
            }
            memory(s, who, token).said = match answer {
                Answer::Done => Said::Launched,
                Answer::Lost | Answer::Failed => Said::Uncertain,
                Answer::Refused => Said::Refused,
            };
            go_on(s, who, pending);
        }
        Effect::Seal { token, why } => match s.ledger.get(place(token)).gate {
            Door::Absent => super::act::move_gate(s, place(token), Door::Sealed(*why, None)),
            Door::Started(task) => {
                super::act::move_gate(s, place(token), Door::Sealed(*why, Some(task)));
            }
            Door::Finished(_) | Door::Sealed(..) => {}
        },
        Effect::Stop { token, .. } => {
            // The task may stop at any later time, as it may without being asked.
            memory(s, who, token).stop_asked = true;
            go_on(s, who, pending);
        }
        Effect::Publish { token, number, .. } => publish(m, s, who, pending, place(token), small(*number)),
        Effect::Close { token, verdict, uses, evidence } => {
            close(s, who, pending, token, verdict, *uses, evidence);
        }
        Effect::Collect => unreachable!("the TTL is longer than the model's clock"),
    }
}

fn small(n: u32) -> u8 {
    u8::try_from(n).expect("a small number")
}

fn memory<'s>(s: &'s mut State, who: usize, of: &LaunchToken) -> &'s mut Memory {
    &mut s.reconcilers[who].memory[usize::from(place(of))]
}

fn may_write(m: &Protocol, s: &State, pending: &Pending) -> bool {
    let claims = matches!(&*pending.decision, Decision::Do { effect: Effect::Claim { .. }, .. });
    let same_control = pending.seen.current || m.is(Broken::WriteWithoutVersion);
    let same_desired = pending.seen.record.wanted == s.record.wanted;
    same_control && (same_desired || claims && m.is(Broken::ClaimIgnoresDesired))
}

fn write(s: &mut State, who: usize, control: &Control, settled: bool) {
    let nameless = Control { version: WriteId::from_bits(0), epoch: 0, ..control.clone() };
    let next: Shared<Control> = CONTROLS.share(nameless);
    check::write(s, &next);
    replace_control(s, Some(next), |_, _| false);
    s.record.active = !settled;
    s.record.epoch = u8::try_from(who).expect("two reconcilers");
    s.edited = false;
    s.forged = false;
}

/// The pass goes on with what it read, brought up to date with its own write only.
fn go_on(s: &mut State, who: usize, pending: Pending) {
    let mut seen = pending.seen;
    if matches!(&*pending.decision, Decision::Write { .. }) {
        seen.record = super::state::Record { wanted: seen.record.wanted, ..s.record };
        seen.current = true;
    }
    s.reconcilers[who].at = At::Both(seen, pending.ledger);
}

fn claim(m: &Protocol, s: &mut State, who: usize, pending: &Pending, control: &Control, of: u8) {
    if !may_write(m, s, pending) {
        return;
    }
    if s.record.wanted.cancel {
        check::breaks(s, Invariant::CancelHolds);
    }
    write(s, who, &Control { token: Some(token(of)), ..control.clone() }, false);
    s.claims += 1;
    s.reconcilers[who].memory[usize::from(of)].mine = true;
    if m.is(Broken::LaunchFromOldLedger) {
        let mut ledger = s.ledger;
        for unheard in u8::try_from(pending.ledger.len()).expect("few attempts")..of {
            ledger.get_mut(unheard).number = super::view::UNHEARD;
        }
        s.reconcilers[who].at = At::Both(super::act::now_seen(s), shared(&ledger));
    }
}

/// The runtime makes a task unless it knows the token.
fn launch(s: &mut State, of: u8) {
    let made = match s.tasks[usize::from(of)] {
        [Doing::Nothing, _] => 0,
        [Doing::Forgotten, Doing::Nothing] => 1,
        [_, _] => return,
    };
    s.set(Task { of, made }, Doing::Starting);
}

fn publish(m: &Protocol, s: &mut State, who: usize, pending: Pending, of: u8, number: u8) {
    let readable = s.ledger.get(of).outcome == Some(Reported::Success);
    if readable {
        if number < s.published && m.is(Broken::PublishWithoutCompare) {
            s.published = number;
            check::breaks(s, Invariant::OutcomeIsFinal);
        }
        s.published = s.published.max(number);
    }
    s.reconcilers[who].memory[usize::from(of)].published = Some(readable);
    go_on(s, who, pending);
}

fn wordless(verdict: &Verdict) -> Verdict {
    match verdict {
        Verdict::Failed { class, .. } => Verdict::Failed { class: *class, message: String::new() },
        Verdict::Succeeded | Verdict::Left { .. } => verdict.clone(),
    }
}

fn close(
    s: &mut State,
    who: usize,
    pending: Pending,
    of: &LaunchToken,
    verdict: &Verdict,
    uses: Budget,
    evidence: &Evidence,
) {
    let place = place(of);
    let closing = Closing {
        write: WriteId::from_bits(0),
        closed_at: time(s.now),
        verdict: wordless(verdict),
        uses,
        // What plan() does not decide by is left out.
        evidence: Evidence { refusal: evidence.refusal.clone(), ..Evidence::default() },
    };
    let a = s.ledger.get_mut(place);
    let first = a.closing.is_none();
    if first {
        a.closing = Some(CLOSINGS.share(closing));
    }
    let closed = *a;
    *memory(s, who, of) = Memory::default();
    if first {
        let mut ledger = *pending.ledger;
        ledger.get_mut(place).closing = closed.closing;
        go_on(s, who, Pending { ledger: shared(&ledger), ..pending });
    }
}
