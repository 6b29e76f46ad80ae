//! What must hold for every snapshot, however little its parts fit together: stale reads, hand edits of any
//! field, forged ledgers.

use crate::given::*;
use contract::attempt::{Budget, Verdict};
use contract::desired::Capacity;
use contract::invariants::{AttemptFacts, nothing_open_when_finished, success_has_result};
use contract::{
    Accepted, Control, FailureClass, Gate, Invalid, LeaveReason, Outcome, Phase, Reason, Refusal,
    RefusalKind, TaskId, Timestamp,
};
use plan::{
    AttemptView, ControlView, Decision, Effect, LaunchSaid, Published, Scarcity, Seen, Slot, TasksSeen,
};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::{bool, option};

fn moment() -> impl Strategy<Value = Timestamp> {
    prop_oneof![8 => (0i64..200).prop_map(at), 1 => Just(Timestamp::from_millis(i64::MAX)), 1 => Just(at(-900_000))]
}

fn gates(n: u32) -> impl Strategy<Value = Option<Gate>> {
    let own = prop_oneof![4 => Just(task(n)), 1 => Just(task(9))];
    let why = select(LeaveReason::ALL);
    prop_oneof![
        Just(None),
        own.clone().prop_map(|task| Some(Gate::Started { task })),
        own.clone().prop_map(|task| Some(Gate::Finished { task })),
        (why, option::of(own)).prop_map(|(why, started)| Some(Gate::Sealed { why, started })),
    ]
}

fn verdicts() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        Just(Verdict::Succeeded),
        select(FailureClass::ALL).prop_map(failed),
        select(LeaveReason::ALL).prop_map(|why| Verdict::Left { why }),
    ]
}

fn tasks() -> impl Strategy<Value = TasksSeen> {
    let seen = prop_oneof![Just(Seen::Alive), Just(gone("EssentialContainerExited"))];
    let of: Vec<TaskId> = vec![task(1), task(2), task(3), task(9)];
    (prop::collection::btree_map(select(of), seen, 0..3), bool::ANY)
        .prop_map(|(seen, absence_proven)| TasksSeen { seen, absence_proven })
}

fn launches() -> impl Strategy<Value = LaunchSaid> {
    let kind = select(contract::attempt::RefusalKind::ALL);
    prop_oneof![
        Just(LaunchSaid::Nothing),
        Just(LaunchSaid::Launched),
        kind.prop_map(|kind| LaunchSaid::Refused(Refusal { kind, message: "no".to_owned() })),
        moment().prop_map(|again_at| LaunchSaid::Uncertain { again_at }),
    ]
}

fn interrupted(n: u32, finished_at: Timestamp) -> Option<Outcome> {
    reported(n, FailureClass::Interrupted, 143).outcome.map(|outcome| Outcome { finished_at, ..outcome })
}

fn attempt(n: u32) -> impl Strategy<Value = AttemptView> {
    let claim = (0u32..3, 0u64..3, moment(), 1u32..4, 0u64..60, 0u64..60);
    let gate = (gates(n), option::of(moment()), 0u8..4, moment(), bool::ANY);
    let end = option::of((verdicts(), select(Budget::ALL), moment()));
    let memory = (option::of(0u64..400_000), launches(), tasks(), bool::ANY, 0u8..3);
    (claim, gate, end, memory).prop_map(move |(claim, gate, end, memory)| {
        let mut a = claimed(n);
        (a.run, a.retry, a.claimed_at, a.number) = (claim.0, claim.1, claim.2, claim.3);
        (a.attempt_timeout_seconds, a.start_timeout_seconds) = (claim.4, claim.5);
        (a.gate, a.started_at) = (gate.0, gate.1);
        a.outcome = match gate.2 {
            0 => None,
            1 => succeeded(n).outcome,
            2 => interrupted(n, gate.3),
            _ => reported(n, FailureClass::NonZeroExitCode, 1).outcome,
        };
        a.stops_explained = gate.4;
        a.closing = end.map(|(verdict, uses, closed_at)| {
            let mut closing = closed(n, verdict, uses).closing.expect("closed");
            closing.closed_at = closed_at;
            closing
        });
        (a.mine_for_ms, a.launch, a.tasks, a.stop_asked) = (memory.0, memory.1, memory.2, memory.3);
        a.published = match memory.4 {
            0 => None,
            1 => Some(Published::Done),
            _ => Some(Published::Unreadable("gone".to_owned())),
        };
        a
    })
}

fn scarcities() -> impl Strategy<Value = Scarcity> {
    let refusal = Refusal { kind: RefusalKind::Capacity, message: "no".to_owned() };
    moment().prop_map(move |since| Scarcity { refusal: refusal.clone(), since })
}

fn controls() -> impl Strategy<Value = Control> {
    let names = (option::of(0u32..5), 0u32..3, 0u32..4, 0u64..3, option::of((0u32..4, 1u32..4)));
    let words = (select(Phase::ALL), option::of(select(Reason::ALL)), select(vec!["", "something"]));
    let counts = (0u32..4, 0u32..4, 0u32..4, bool::ANY);
    let times =
        (option::of(moment()), moment(), option::of(moment()), option::of(moment()), option::of(moment()));
    (names, words, counts, times).prop_map(|(names, words, counts, times)| {
        let mut c = waiting_control();
        c.token = names.0.map(token);
        (c.run, c.attempt, c.seen_retry) = (names.1, names.2, names.3);
        c.accepted = names.4.map(|(n, number)| Accepted { number, token: token(n) });
        (c.phase, c.reason, c.message) = (words.0, words.1, words.2.to_owned());
        (c.tries, c.infra_tries, c.refusals, c.suspended) = counts;
        c.reason_since = c.reason.filter(|_| counts.3).map(|_| at(7));
        (c.not_before, c.run_started_at, c.started_at, c.finished_at, c.expires_at) = times;
        c
    })
}

fn givens() -> impl Strategy<Value = Given> {
    let wanted = (bool::weighted(0.2), bool::weighted(0.2), 0u64..3, 1u32..4, 1u64..300, bool::weighted(0.9));
    let control = prop_oneof![
        1 => Just(ControlView::Absent),
        1 => Just(ControlView::Broken),
        12 => controls().prop_map(|c| ControlView::Valid(Box::new(c))),
    ];
    let ledger = (0usize..4).prop_flat_map(|n| (1..=n as u32).map(attempt).collect::<Vec<_>>());
    let rest = (0i64..200, bool::ANY, bool::weighted(0.1), bool::ANY, moment());
    let capacity =
        (select(Capacity::ALL), prop::collection::btree_map(select(Capacity::ALL), scarcities(), 0..2));
    (wanted, control, ledger, rest, capacity).prop_map(|(wanted, control, attempts, rest, capacity)| {
        let mut given = Given::fresh().now(rest.0).desired(|d| {
            (d.cancel, d.suspend, d.retry, d.max_attempts, d.active_deadline_seconds) =
                (wanted.0, wanted.1, wanted.2, wanted.3, wanted.4);
            d.ttl_seconds_after_finished = 30;
            d.capacity = capacity.0;
        });
        given.s.scarce = capacity.1;
        if !wanted.5 {
            given.s.desired = Err(Invalid::one("/priority", "\"high\"", "a whole number"));
        }
        given.s.control = control;
        given.s.attempts = attempts;
        given.slot = if rest.1 { Slot::Granted } else { Slot::Denied };
        given.s.misconfigured = rest.2.then(|| "no such job type".to_owned());
        given.s.active = rest.3;
        given.s.created_at = rest.4;
        given
    })
}

fn find<'a>(given: &'a Given, of: &contract::LaunchToken) -> &'a AttemptView {
    given.s.attempts.iter().find(|a| a.token == *of).expect("effects name attempts that exist")
}

fn facts(given: &Given) -> Vec<AttemptFacts<'_>> {
    given
        .s
        .attempts
        .iter()
        .map(|a| AttemptFacts {
            token: &a.token,
            run: a.run,
            gate: a.gate.as_ref(),
            closing: a.closing.as_ref(),
        })
        .collect()
}

fn check_effect(given: &Given, effect: &Effect) {
    let attempts = &given.s.attempts;
    let desired = given.s.desired.as_ref().expect("nothing is done about an invalid record");
    let others_closed = |n: usize| attempts.iter().filter(|a| a.closing.is_none()).count() == n;
    match effect {
        Effect::Claim { draft, control } => {
            assert!(others_closed(0), "an attempt is open");
            assert!(!desired.cancel && !desired.suspend && given.s.misconfigured.is_none());
            assert!(given.slot == Slot::Granted && control.not_before.is_none());
            assert!(attempts.iter().all(|a| a.number < draft.number), "a number is used again");
            assert!(control.tries < desired.max_attempts && control.phase == Phase::Launching);
            let succeeded = |a: &AttemptView| {
                a.run == draft.run && a.closing.as_ref().is_some_and(|c| c.verdict == Verdict::Succeeded)
            };
            assert!(!attempts.iter().any(succeeded), "the run has succeeded already");
        }
        Effect::Launch { token } => {
            let a = find(given, token);
            assert!(others_closed(1) && a.closing.is_none() && a.gate.is_none());
            let ControlView::Valid(control) = &given.s.control else { panic!("nothing is claimed") };
            assert!(control.phase == Phase::Launching && control.token.as_ref() == Some(token));
            assert!(!desired.cancel && !desired.suspend, "not wanted");
        }
        Effect::Seal { token, .. } => {
            let a = find(given, token);
            assert!(a.closing.is_none() && matches!(a.gate, None | Some(Gate::Started { .. })));
        }
        Effect::Stop { token, task, .. } => {
            let started =
                matches!(&find(given, token).gate, Some(Gate::Sealed { started: Some(s), .. }) if s == task);
            assert!(started, "only what passed the gate is stopped, and only behind the seal");
        }
        Effect::Publish { token, .. } => {
            let a = find(given, token);
            assert!(matches!(a.gate, Some(Gate::Finished { .. })));
            assert!(a.outcome.as_ref().is_some_and(|o| o.failure.is_none()));
        }
        Effect::Close { token, verdict, .. } => {
            let a = find(given, token);
            assert!(a.closing.is_none());
            let over = match &a.gate {
                Some(Gate::Finished { .. } | Gate::Sealed { started: None, .. }) => true,
                Some(Gate::Sealed { started: Some(task), .. }) => a.tasks.stopped(task).is_some(),
                Some(Gate::Started { .. }) | None => false,
            };
            assert!(over, "it may be alive");
            if *verdict == Verdict::Succeeded {
                assert!(
                    matches!(a.gate, Some(Gate::Finished { .. })) && a.published == Some(Published::Done)
                );
            }
        }
        Effect::Collect => {
            let ControlView::Valid(control) = &given.s.control else { panic!("no control") };
            assert!(
                others_closed(0) && control.phase == Phase::Finished && desired.retry <= control.seen_retry
            );
            assert!(control.expires_at.is_some_and(|at| at <= given.now));
        }
    }
}

fn check_write(given: &Given, control: &Control, settled: bool) {
    let facts = facts(given);
    let quiet = nothing_open_when_finished(control, &facts);
    assert_eq!(settled, control.phase == Phase::Finished && quiet, "a job was lost from sight");
    if control.reason == Some(Reason::InvalidRecord) {
        assert!(control.phase != Phase::Finished);
        return;
    }
    let ended_before = matches!(&given.s.control, ControlView::Valid(c) if c.phase == Phase::Finished);
    assert!(quiet || ended_before, "I6");
    assert!(success_has_result(control, &facts), "I5");
    let ends = control.phase == Phase::Finished;
    assert!(ends || control.finished_at.is_none() && control.expires_at.is_none());
    assert!(control.accepted.is_none() || ends && control.reason == Some(Reason::Completed));
    assert!(control.run > 0 && control.run_started_at <= given.now.max(given.s.created_at));
}

fn check_wait(given: &Given, reason: Option<Reason>) {
    if reason.is_some() {
        return;
    }
    let ControlView::Valid(control) = &given.s.control else { panic!("an unexplained wait") };
    let a = find(given, control.token.as_ref().expect("named"));
    let class = a.outcome.as_ref().and_then(|o| o.failure.as_ref()).map(|f| f.class);
    let explained = a.stops_explained && class == Some(FailureClass::Interrupted);
    let waits_for = match a.gate {
        Some(Gate::Started { .. }) => true,
        Some(Gate::Finished { .. }) => explained,
        _ => false,
    };
    assert!(control.phase == Phase::Running && waits_for);
}

/// A kind of wait: all of it but the time of the next look.
fn kind(decision: Decision) -> Option<(Option<Reason>, Vec<Reason>, Option<Capacity>)> {
    match decision {
        Decision::Wait { reason, blockers, wants_slot, .. } => Some((reason, blockers, wants_slot)),
        Decision::Write { .. } | Decision::Do { .. } => None,
    }
}

fn later_looks(given: &Given, until: Option<Timestamp>) -> Vec<Timestamp> {
    let end = until.map_or(i64::MAX, Timestamp::millis);
    let now = given.now.millis();
    assert!(now < end, "the next look lies in the past");
    let mut looks: Vec<i64> = [1, 999, 1000, 1001, 5_000, 20_000, 60_000, 100_000, 200_000, 90_000_000]
        .map(|later| now.saturating_add(later))
        .into();
    looks.extend((0..300).step_by(7).map(|s| at(s).millis()));
    looks.extend([end.saturating_sub(1), i64::MAX]);
    looks.into_iter().filter(|t| (now..end).contains(t)).map(Timestamp::from_millis).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_decision_keeps_the_protocol(given in givens()) {
        match given.plan() {
            Decision::Do { effect, .. } => check_effect(&given, &effect),
            Decision::Write { control, settled, .. } => check_write(&given, &control, settled),
            Decision::Wait { reason, .. } => check_wait(&given, reason),
        }
        prop_assert_eq!(given.plan(), given.plan());
    }

    #[test]
    fn a_reason_holds_since_the_write_that_changed_it(given in givens()) {
        let control = match given.plan() {
            Decision::Do { effect: Effect::Claim { control, .. }, .. } | Decision::Write { control, .. } => control,
            Decision::Do { .. } | Decision::Wait { .. } => return Ok(()),
        };
        let since = match &given.s.control {
            ControlView::Valid(c) if c.reason == control.reason => c.reason_since,
            ControlView::Valid(_) | ControlView::Absent | ControlView::Broken => control.reason.map(|_| given.now),
        };
        prop_assert_eq!(control.reason_since, since);
        // It decides nothing.
        let mut without = given.clone();
        if let ControlView::Valid(c) = &mut without.s.control {
            c.reason_since = None;
        }
        let kinds = |given: &Given| std::mem::discriminant(&given.plan());
        prop_assert_eq!(kinds(&without), kinds(&given));
    }

    #[test]
    fn writing_ends_within_five_writes_while_the_world_stands_still(given in givens()) {
        let settled = given.write_all(5);
        let writes = matches!(settled.plan(), Decision::Write { .. });
        prop_assert!(!writes);
    }

    #[test]
    fn a_wait_lasts_until_its_next_look(given in givens()) {
        let given = given.write_all(5);
        let Decision::Wait { until, .. } = given.plan() else { return Ok(()) };
        let now = kind(given.plan());
        for look in later_looks(&given, until) {
            let then = Given { now: look, ..given.clone() }.plan();
            prop_assert_eq!(kind(then.clone()), now.clone(), "at {}: {:?}, until {:?}", look, then, until);
        }
    }

    #[test]
    fn an_invalid_record_changes_words_only(given in givens()) {
        let mut given = given;
        given.s.desired = Err(Invalid::one("/priority", "\"high\"", "a whole number"));
        let Decision::Write { control, settled, .. } = given.plan() else { return Ok(()) };
        prop_assert_eq!((control.reason, settled), (Some(Reason::InvalidRecord), false));
        let again = Given { s: plan::Snapshot { control: ControlView::Valid(control), ..given.s }, ..given };
        let waits = matches!(again.plan(), Decision::Wait { reason: Some(Reason::InvalidRecord), .. });
        prop_assert!(waits);
    }
}
