//! Every `control` that is written, field by field: nothing of the time before is left over.

use crate::given::*;
use contract::attempt::{Budget, Verdict};
use contract::{Accepted, Control, FailureClass, Invalid, LeaveReason, Phase, Reason};
use plan::{ControlView, Effect, Published};

/// What an earlier time may have left in `control`.
fn left_over(c: &mut Control) {
    c.not_before = Some(at(-5));
    c.message = "an old story".to_owned();
    c.blockers = vec![Reason::LaunchThrottled];
    c.refusals = 3;
}

/// What is written, beside what was stored; since when the reason holds is told by a property.
fn written(given: Given) -> (Control, Control) {
    let (after, stored) = (given.written(), given.stored().clone());
    let reason_since = after.reason_since;
    (after, Control { reason_since, ..stored })
}

#[test]
fn a_launch_that_is_told_of_says_nothing_else() {
    let given = Given::launching().control(|c| {
        left_over(c);
        (c.reason, c.started_at) = (Some(Reason::InvalidRecord), Some(at(5)));
    });
    let (after, before) = written(given);
    let expected = Control {
        reason: Some(Reason::Launching),
        message: String::new(),
        blockers: Vec::new(),
        started_at: None,
        ..before
    };
    assert_eq!(after, expected);
}

#[test]
fn a_start_that_is_told_of_ends_the_row_of_refusals() {
    let given = Given::running().control(|c| {
        left_over(c);
        (c.phase, c.reason, c.started_at) = (Phase::Launching, Some(Reason::Launching), None);
    });
    let (after, before) = written(given);
    let expected = Control {
        phase: Phase::Running,
        reason: None,
        message: String::new(),
        blockers: Vec::new(),
        refusals: 0,
        started_at: Some(at(12)),
        ..before
    };
    assert_eq!(after, expected);
}

#[test]
fn an_attempt_that_is_being_stopped_is_shown_as_running_and_why_it_ends() {
    let given = Given::running()
        .last(|a| {
            a.gate = sealed(1, LeaveReason::Cancelled, true).gate;
            a.stop_asked = true;
        })
        .control(|c| {
            left_over(c);
            c.phase = Phase::Launching;
        });
    let (after, before) = written(given);
    let expected = Control {
        phase: Phase::Running,
        reason: Some(Reason::Cancelled),
        message: "the attempt is being stopped".to_owned(),
        blockers: Vec::new(),
        ..before
    };
    assert_eq!(after, expected);
}

#[test]
fn a_job_that_waits_again_has_no_pause_and_no_start() {
    let given = Given::waiting().attempt(left(1, LeaveReason::Suspended)).names(1, Phase::Running).now(17);
    let (after, before) = written(given.control(|c| {
        left_over(c);
        c.started_at = Some(at(12));
    }));
    let expected = Control {
        phase: Phase::Waiting,
        not_before: None,
        reason: Some(Reason::PendingEvaluation),
        message: String::new(),
        blockers: Vec::new(),
        started_at: None,
        ..before
    };
    assert_eq!(after, expected);
}

#[test]
fn the_end_of_a_run_holds_its_start_and_its_times_and_nothing_of_the_wait() {
    let given = Given::waiting()
        .attempt(closed(1, failed(FailureClass::NonZeroExitCode), Budget::Try))
        .names(1, Phase::Running)
        .now(17)
        .desired(|d| (d.cancel, d.ttl_seconds_after_finished) = (true, 100))
        .control(|c| {
            left_over(c);
            (c.suspended, c.started_at, c.tries) = (true, None, 1);
        });
    let (after, before) = written(given);
    let expected = Control {
        phase: Phase::Finished,
        not_before: None,
        started_at: Some(at(12)),
        reason: Some(Reason::Cancelled),
        message: "cancel was set".to_owned(),
        blockers: Vec::new(),
        suspended: false,
        refusals: 0,
        finished_at: Some(at(17)),
        expires_at: Some(at(117)),
        ..before
    };
    assert_eq!(after, expected);
}

#[test]
fn a_new_run_starts_with_nothing_of_the_last_one_but_its_numbers() {
    let infra = closed(2, failed(FailureClass::WorkerLost), Budget::Infrastructure);
    let given = Given::finished(Reason::Completed).attempt(infra).desired(|d| d.retry = 1).control(|c| {
        left_over(c);
        (c.suspended, c.started_at, c.infra_tries) = (true, Some(at(12)), 1);
    });
    let (after, before) = written(given);
    let expected = Control {
        run: 2,
        tries: 0,
        infra_tries: 0,
        refusals: 0,
        phase: Phase::Waiting,
        not_before: None,
        reason: Some(Reason::PendingEvaluation),
        message: String::new(),
        blockers: Vec::new(),
        seen_retry: 1,
        run_started_at: at(21),
        suspended: false,
        started_at: None,
        finished_at: None,
        expires_at: None,
        accepted: None,
        ..before
    };
    assert_eq!(after, expected);
}

#[test]
fn an_end_without_a_time_ends_now() {
    let given = Given::finished(Reason::Cancelled).control(|c| c.finished_at = None);
    assert_eq!(given.written().finished_at, Some(at(21)));
}

#[test]
fn a_hold_and_its_end_write_over_whatever_was_shown() {
    let held = Given::waiting().desired(|d| d.suspend = true).control(left_over);
    let (after, before) = written(held.clone());
    let expected = Control {
        suspended: true,
        not_before: None,
        reason: Some(Reason::Suspended),
        message: "suspend is set".to_owned(),
        blockers: Vec::new(),
        ..before
    };
    assert_eq!(after, expected);
    let resumed = held.desired(|d| d.suspend = false).now(50).control(|c| {
        (c.suspended, c.reason) = (true, Some(Reason::Suspended));
    });
    let (after, before) = written(resumed);
    let expected = Control {
        suspended: false,
        run_started_at: at(50),
        not_before: None,
        reason: Some(Reason::PendingEvaluation),
        message: String::new(),
        blockers: Vec::new(),
        ..before
    };
    assert_eq!(after, expected);
    let mut misconfigured = Given::waiting().desired(|d| d.suspend = true);
    misconfigured.s.misconfigured = Some("no such job type".to_owned());
    let first = misconfigured.written();
    assert_eq!((first.reason, first.message.as_str()), (Some(Reason::Misconfigured), "no such job type"));
    assert_eq!((first.blockers.as_slice(), first.suspended), (&[Reason::Suspended][..], true));
    let mut held = misconfigured.write_all(1);
    assert_eq!(held.waits(), (Some(Reason::Misconfigured), None));
    held.s.misconfigured = None;
    let mended = held.written();
    assert_eq!((mended.reason, mended.blockers), (Some(Reason::Suspended), Vec::new()), "still held");
}

#[test]
fn a_claim_takes_nothing_of_the_wait_along() {
    let given = Given::waiting().attempt(left(1, LeaveReason::Suspended)).now(17).control(|c| {
        left_over(c);
        (c.attempt, c.token, c.started_at) = (1, Some(token(1)), Some(at(12)));
    });
    let Effect::Claim { control, .. } = given.effect() else { panic!("no claim: {:?}", given.plan()) };
    let expected = Control {
        attempt: 2,
        token: None,
        phase: Phase::Launching,
        not_before: None,
        reason: Some(Reason::Launching),
        message: String::new(),
        blockers: Vec::new(),
        reason_since: Some(at(17)),
        started_at: None,
        ..given.stored().clone()
    };
    assert_eq!(*control, expected);
}

#[test]
fn what_a_wiped_control_is_rebuilt_to_says_all_that_the_attempts_tell() {
    let mut earlier = closed(1, failed(FailureClass::NonZeroExitCode), Budget::Try);
    (earlier.claimed_at, earlier.run, earlier.retry) = (at(5), 2, 1);
    let mut last = started(2);
    (last.run, last.retry) = (2, 1);
    let mut given = Given::fresh().attempt(earlier).attempt(last).now(30).desired(|d| d.retry = 2);
    given.s.control = ControlView::Broken;
    let expected = Control {
        version: contract::WriteId::from_bits(0),
        epoch: 0,
        run: 2,
        attempt: 2,
        token: Some(token(2)),
        tries: 1,
        phase: Phase::Running,
        reason: None,
        seen_retry: 1,
        run_started_at: at(5),
        started_at: Some(at(12)),
        ..waiting_control()
    };
    assert_eq!(given.written(), expected);
    assert!(!given.s.control.is_valid() && !Given::fresh().s.control.is_valid());
}

#[test]
fn a_rebuilt_control_goes_on_with_a_draft_that_no_claimed_attempt_has_overtaken() {
    let failed = || closed(1, failed(FailureClass::NonZeroExitCode), Budget::Try);
    let next = |given: Given| given.now(13).write_all(2).stored().token.clone();
    assert_eq!(next(Given::fresh().attempt(failed()).attempt(claimed(2))), Some(token(2)));
    // Two drafts with one number, as two leaders write them: neither of them has ended.
    let mut beside = claimed(3);
    beside.number = 2;
    assert_eq!(next(Given::fresh().attempt(failed()).attempt(claimed(2)).attempt(beside)), Some(token(3)));
    // A draft that was never claimed overtakes nothing by being closed.
    let given = Given::fresh().attempt(claimed(1)).attempt(left(2, LeaveReason::Superseded));
    assert_eq!(next(given), Some(token(1)));
}

#[test]
fn what_is_shown_follows_when_only_its_words_change() {
    let broken = |mut given: Given, word: &str| {
        given.s.desired = Err(Invalid::one("/priority", word, "a whole number"));
        given
    };
    let shown = broken(Given::waiting().control(left_over), "\"high\"").write_all(1);
    assert_eq!(shown.stored().blockers, []);
    let other = broken(shown, "\"low\"").write_all(1);
    assert!(other.stored().message.contains("\"low\""), "{}", other.stored().message);
    let edited = other.clone().control(|c| c.reason = Some(Reason::PendingEvaluation));
    assert_eq!(edited.written().reason, Some(Reason::InvalidRecord), "the words alone are not enough");
    let mut misconfigured = Given::waiting();
    misconfigured.s.misconfigured = Some("no such job type".to_owned());
    let mut shown = misconfigured.write_all(1);
    shown.s.misconfigured = Some("no such queue".to_owned());
    assert_eq!(shown.write_all(1).stored().message, "no such queue");
}

#[test]
fn a_pause_ends_at_its_time_and_keeps_the_words_of_what_it_is_for() {
    let pausing = |reason, message: &str| {
        Given::waiting().control(|c| {
            (c.reason, c.message, c.not_before) = (Some(reason), message.to_owned(), Some(at(100)));
        })
    };
    let shown = |given: Given| given.write_all(1).stored().message.clone();
    assert_eq!(shown(pausing(Reason::BackingOff, "it failed")), "it failed");
    assert_eq!(shown(pausing(Reason::BackingOff, "")), "pausing before the next try");
    assert_eq!(shown(pausing(Reason::PendingEvaluation, "x")), "pausing before the next try");
    assert!(matches!(pausing(Reason::BackingOff, "x").now(100).effect(), Effect::Claim { .. }));
    let mut misconfigured = pausing(Reason::BackingOff, "x").now(100);
    misconfigured.s.misconfigured = Some("no such job type".to_owned());
    assert_eq!(misconfigured.written().blockers, [], "the pause is over");
}

#[test]
fn an_end_by_the_deadline_says_which_and_since_when() {
    let given = Given::waiting().desired(|d| d.active_deadline_seconds = 60).now(60);
    let expected = format!("active_deadline_seconds: 60 s have passed since {}", at(0));
    assert_eq!(given.written().message, expected);
}

#[test]
fn a_success_names_the_attempt_that_succeeded() {
    let given = Given::running().last(|a| {
        *a = closed(1, Verdict::Succeeded, Budget::Nothing);
        a.published = Some(Published::Done);
    });
    let after = given.now(17).written();
    assert_eq!((after.reason, after.message.as_str()), (Some(Reason::Completed), ""));
    assert_eq!(after.accepted, Some(Accepted { number: 1, token: token(1) }));
}
