//! What is written down of an attempt that ends: its class, the words for people, and what was seen.

use crate::given::*;
use contract::attempt::{Budget, Evidence, RefusalKind, Verdict, phase};
use contract::desired::{Capacity, FailureAction, FailurePolicy, FailureRule};
use contract::{FailureClass, LeaveReason, Phase, Price, Refusal};
use plan::{ClaimDraft, Decision, Effect, Judgement, LaunchSaid, Seen, TasksSeen, classify};
use std::collections::BTreeSet;

fn close(given: &Given) -> (Verdict, Evidence) {
    match given.effect() {
        Effect::Close { verdict, evidence, .. } => (verdict, *evidence),
        other => panic!("a close was expected, not {other:?}"),
    }
}

/// The class and the words of an attempt that was left for `why`, after its task stopped with this evidence.
fn of_stopped(why: LeaveReason, ran: bool, evidence: Evidence) -> (FailureClass, String) {
    let stopped = Seen::Stopped(Box::new(evidence));
    let given = Given::waiting().attempt(sealed(1, why, ran)).names(1, Phase::Running).now(17);
    match close(&given.last(|a| drop(a.tasks.seen.insert(task(1), stopped)))).0 {
        Verdict::Failed { class, message } => (class, message),
        other => panic!("a failure was expected, not {other:?}"),
    }
}

fn words(code: &str, reason: &str, container: &str) -> Evidence {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Evidence {
        stop_code: some(code),
        stopped_reason: some(reason),
        container_reason: some(container),
        ..Evidence::default()
    }
}

/// A worker on a runtime that explains stops has reported at 15 s that it was told to stop.
fn interrupted(now: i64) -> Given {
    let given =
        Given::waiting().attempt(reported(1, FailureClass::Interrupted, 143)).names(1, Phase::Running);
    let given = given.control(|c| (c.reason, c.started_at) = (None, Some(at(12))));
    given.now(now).last(|a| a.stops_explained = true)
}

#[test]
fn an_interrupted_attempt_waits_a_while_for_what_the_runtime_says_of_its_end() {
    let waits = Decision::Wait { reason: None, blockers: Vec::new(), until: Some(at(75)), wants_slot: None };
    assert_eq!(interrupted(17).plan(), waits, "its task has not stopped");
    let unseen = interrupted(17).names(1, Phase::Launching).written();
    assert_eq!((unseen.phase, unseen.reason), (Phase::Running, None), "it is told of as running meanwhile");
    assert_eq!(
        interrupted(17).last(|a| a.tasks = TasksSeen::default()).plan(),
        waits,
        "nothing is known of it"
    );
    let spot = Evidence {
        task: Some(task(1)),
        phases: [(phase::STOPPED.to_owned(), at(40))].into(),
        ..words("SpotInterruption", "Your Spot Task was interrupted.", "")
    };
    let seen = |given: Given| {
        given.last(|a| drop(a.tasks.seen.insert(task(1), Seen::Stopped(Box::new(spot.clone())))))
    };
    let (verdict, evidence) = close(&seen(interrupted(41)));
    let message =
        "it failed; stop code: SpotInterruption; reason: Your Spot Task was interrupted.".to_owned();
    assert_eq!(verdict, Verdict::Failed { class: FailureClass::SpotInterruption, message });
    assert_eq!(evidence, spot);
    let by_hand = Seen::Stopped(Box::new(words("UserInitiated", "maintenance", "")));
    let (verdict, _) = close(&interrupted(41).last(|a| drop(a.tasks.seen.insert(task(1), by_hand))));
    assert!(matches!(verdict, Verdict::Failed { class: FailureClass::Interrupted, .. }), "{verdict:?}");
}

#[test]
fn nobody_waits_for_the_words_of_a_runtime_in_vain() {
    let closes = |given: Given, why: &str| {
        let (verdict, evidence) = close(&given);
        let message = "it failed".to_owned();
        assert_eq!(verdict, Verdict::Failed { class: FailureClass::Interrupted, message }, "{why}");
        assert_eq!(evidence.task, Some(task(1)), "{why}");
    };
    closes(interrupted(75), "for longer than a minute");
    closes(interrupted(17).last(|a| a.stops_explained = false), "from a runtime that has none");
    closes(interrupted(17).desired(|d| d.cancel = true), "for a job that is to end now");
    let of = |seconds: i64| {
        interrupted(17).last(|a| a.outcome.as_mut().expect("reported").finished_at = at(seconds))
    };
    closes(of(78), "by a clock that is ahead");
    closes(of(-50), "by a clock that is behind");
    let deadline = interrupted(17).desired(|d| d.active_deadline_seconds = 20).plan();
    assert!(matches!(deadline, Decision::Wait { until: Some(until), .. } if until == at(20)), "{deadline:?}");
    let failed =
        Given::waiting().attempt(reported(1, FailureClass::NonZeroExitCode, 1)).names(1, Phase::Running);
    assert!(matches!(failed.last(|a| a.stops_explained = true).effect(), Effect::Close { .. }));
}

#[test]
fn the_class_of_an_attempt_without_an_outcome_comes_from_the_runtime_and_the_gate() {
    use FailureClass::{OutOfMemory, SpotInterruption, TaskFailedToStart, WorkerLost};
    for (code, reason, container, ran, class) in [
        ("SpotInterruption", "", "", true, SpotInterruption),
        ("TerminationNotice", "Your Spot Task was interrupted.", "", true, SpotInterruption),
        ("TerminationNotice", "maintenance", "", true, WorkerLost),
        ("EssentialContainerExited", "a Spot of bother", "", true, WorkerLost),
        ("SpotInterruption", "", "OutOfMemoryError", true, SpotInterruption),
        ("", "OutOfMemoryError: Container killed", "", true, OutOfMemory),
        ("", "", "OutOfMemoryError: Container killed", false, OutOfMemory),
        ("TaskFailedToStart", "", "", true, TaskFailedToStart),
        ("NeverStarted", "", "", true, TaskFailedToStart),
        ("EssentialContainerExited", "", "", true, WorkerLost),
        ("EssentialContainerExited", "", "", false, TaskFailedToStart),
    ] {
        let found = of_stopped(LeaveReason::TaskGone, ran, words(code, reason, container)).0;
        assert_eq!(found, class, "{code} {reason} {container} {ran}");
    }
    for (why, class) in [
        (LeaveReason::AttemptTimeout, FailureClass::AttemptTimeout),
        (LeaveReason::StartTimeout, FailureClass::StartTimeout),
    ] {
        assert_eq!(of_stopped(why, true, words("SpotInterruption", "", "")).0, class);
    }
}

#[test]
fn the_words_for_people_hold_everything_that_the_runtime_said() {
    let mut all = words("UserInitiated", "stopped by hand", "killed");
    (all.exit_code, all.signal) = (Some(137), Some(9));
    let said = of_stopped(LeaveReason::TaskGone, true, all).1;
    let rest =
        "stop code: UserInitiated; reason: stopped by hand; container: killed; exit code 137; signal 9";
    assert_eq!(said, format!("the task ended without an outcome; {rest}"));
    let said = of_stopped(LeaveReason::AttemptTimeout, true, Evidence::default()).1;
    assert_eq!(said, "the attempt ran longer than attempt_timeout_seconds");
    let said = of_stopped(LeaveReason::StartTimeout, false, Evidence::default()).1;
    assert_eq!(said, "no task passed the start gate within start_timeout_seconds");
}

#[test]
fn a_task_that_the_runtime_has_forgotten_is_told_of_as_such() {
    let given = Given::running().last(|a| {
        a.gate = sealed(1, LeaveReason::TaskGone, true).gate;
        a.tasks.seen.clear();
        a.tasks.absence_proven = true;
    });
    let (verdict, evidence) = close(&given);
    let message = "the task runtime does not know the task any more".to_owned();
    assert_eq!(verdict, Verdict::Failed { class: FailureClass::WorkerLost, message });
    assert_eq!(evidence, Evidence { task: Some(task(1)), forgotten: true, ..Evidence::default() });
}

#[test]
fn the_evidence_names_the_task_whoever_ended_it() {
    let of_task = |n| Evidence { task: Some(task(n)), ..Evidence::default() };
    let reported = Given::running().last(|a| *a = reported(1, FailureClass::NonZeroExitCode, 3));
    assert_eq!(close(&reported).1, of_task(1));
    let mut late = crate::given::reported(2, FailureClass::NonZeroExitCode, 3);
    late.claimed_at = at(11);
    let stray = Given::running().attempt(late);
    assert_eq!(close(&stray), (Verdict::Left { why: LeaveReason::Superseded }, of_task(2)));
    let unstarted = |seen| {
        let given = Given::waiting().attempt(sealed(1, LeaveReason::TaskGone, false));
        let given = given.names(1, Phase::Launching).now(17);
        close(&given.last(|a| drop(a.tasks.seen.insert(task(1), seen)))).1
    };
    assert_eq!(unstarted(Seen::Alive), of_task(1));
    let stopped = Evidence { task: Some(task(1)), ..words("TaskFailedToStart", "no image", "") };
    assert_eq!(unstarted(Seen::Stopped(Box::new(words("TaskFailedToStart", "no image", "")))), stopped);
}

#[test]
fn a_refusal_is_kept_with_the_attempt_that_it_ended() {
    let refusal = Refusal { kind: RefusalKind::Quota, message: "no".to_owned() };
    let given = Given::waiting().attempt(sealed(1, LeaveReason::LaunchRefused, false));
    let given = given.names(1, Phase::Launching).now(17);
    let (verdict, evidence) = close(&given.last(|a| a.launch = LaunchSaid::Refused(refusal.clone())));
    assert_eq!(verdict, Verdict::Left { why: LeaveReason::LaunchRefused });
    assert_eq!(evidence, Evidence { refusal: Some(refusal), ..Evidence::default() });
}

#[test]
fn a_rule_matches_when_each_of_its_lists_has_the_value() {
    let rule = |codes: &[i32], classes: &[FailureClass], stops: &[&str]| FailureRule {
        exit_codes: codes.iter().copied().collect(),
        classes: classes.iter().copied().collect(),
        stop_codes: stops.iter().map(|s| (*s).to_owned()).collect::<BTreeSet<_>>(),
        action: FailureAction::Fail,
    };
    let oom = FailureClass::OutOfMemory;
    for (rule, matches) in [
        (rule(&[], &[], &[]), true),
        (rule(&[3], &[], &[]), true),
        (rule(&[4], &[], &[]), false),
        (rule(&[], &[oom], &[]), true),
        (rule(&[], &[FailureClass::WorkerLost], &[]), false),
        (rule(&[], &[], &["X"]), true),
        (rule(&[], &[], &["Y"]), false),
        (rule(&[3], &[oom], &["X"]), true),
        (rule(&[3], &[oom], &["Y"]), false),
        (rule(&[3], &[FailureClass::WorkerLost], &["X"]), false),
        (rule(&[4], &[oom], &["X"]), false),
    ] {
        let shown = format!("{rule:?}");
        let judged = classify(&FailurePolicy { rules: vec![rule] }, oom, Some(3), Some("X"));
        assert_eq!(judged, Judgement { uses: Budget::Try, fail_now: matches }, "{shown}");
    }
    let none = classify(&FailurePolicy { rules: vec![rule(&[3], &[], &["X"])] }, oom, None, None);
    assert!(!none.fail_now, "what is not known matches no list");
}

#[test]
fn an_attempt_is_queued_from_the_start_of_its_run_or_the_end_of_the_one_before_it() {
    let ended = |n: u32, run: u32, number: u32, seconds: i64| {
        let mut view = closed(n, failed(FailureClass::WorkerLost), Budget::Infrastructure);
        (view.run, view.number, view.retry) = (run, number, u64::from(run) - 1);
        view.closing.as_mut().expect("closed").closed_at = at(seconds);
        view
    };
    let queued = |given: Given| {
        let mut view = sealed(9, LeaveReason::TaskGone, true);
        (view.run, view.number, view.retry, view.claimed_at) = (2, 4, 1, at(70));
        view.price = Some(Price { micros_per_hour: 1, least_seconds: 60 });
        view.tasks.seen.insert(task(9), gone("x"));
        let given = given.desired(|d| d.retry = 1).attempt(view).names(9, Phase::Running).now(80);
        let given = given.control(|c| (c.run, c.seen_retry, c.run_started_at) = (2, 1, at(40)));
        close(&given.write_all(1)).1.phases[phase::QUEUED]
    };
    let first = || Given::waiting().attempt(ended(1, 1, 1, 16)).attempt(ended(2, 1, 2, 65));
    assert_eq!(queued(first()), at(40), "attempts of the run before do not count");
    assert_eq!(queued(first().attempt(ended(3, 2, 3, 60))), at(60));
    let drafts = first().attempt(ended(3, 2, 3, 60)).attempt(ended(4, 2, 4, 66)).attempt(ended(5, 2, 5, 67));
    assert_eq!(queued(drafts), at(60), "only those with a lower number come before it");
}

#[test]
fn an_attempt_that_started_is_no_lack_of_capacity_whatever_it_stopped_with() {
    let mut lost = closed(1, failed(FailureClass::WorkerLost), Budget::Infrastructure);
    let closing = lost.closing.as_mut().expect("closed");
    closing.evidence.stopped_reason = Some("Capacity is unavailable at this time".to_owned());
    let given = Given::waiting()
        .attempt(lost)
        .desired(|d| d.capacity = Capacity::SpotThenOnDemand)
        .control(|c| (c.attempt, c.infra_tries) = (1, 1))
        .now(5_000);
    let Effect::Claim { draft, .. } = given.effect() else { panic!("no claim: {:?}", given.plan()) };
    assert_eq!(draft, ClaimDraft { number: 2, run: 1, retry: 0, capacity: Capacity::Spot });
}

#[test]
fn every_effect_has_its_name() {
    let (t, why) = (token(1), LeaveReason::Cancelled);
    let file = contract::ManifestEntry { path: "result.json".to_owned(), size: 2, sha256: String::new() };
    let draft = ClaimDraft { number: 1, run: 1, retry: 0, capacity: Capacity::Spot };
    let all = [
        Effect::Claim { draft, control: Box::new(waiting_control()) },
        Effect::Launch { token: t.clone() },
        Effect::Seal { token: t.clone(), why },
        Effect::Stop { token: t.clone(), task: task(1), grace_seconds: 1 },
        Effect::Publish { token: t.clone(), number: 1, result: file },
        Effect::Close {
            token: t,
            verdict: Verdict::Left { why },
            uses: Budget::Nothing,
            evidence: Box::default(),
        },
        Effect::Collect,
    ];
    assert_eq!(all.each_ref().map(Effect::name), Effect::NAMES);
}
