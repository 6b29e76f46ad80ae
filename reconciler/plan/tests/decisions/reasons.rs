//! Each reason: when it is shown, and when the job is looked at again. No job waits without one.

use crate::given::*;
use contract::attempt::{Budget, RefusalKind, Verdict};
use contract::desired::{FailureAction, FailureRule};
use contract::{Evidence, FailureClass, Invalid, LeaveReason, Phase, Reason, Refusal, Status};
use plan::{ControlView, Decision};
use std::collections::BTreeSet;

/// After attempt 1 ended so; `edit` changes what is wanted.
fn after(verdict: Verdict, uses: Budget, edit: impl FnOnce(&mut contract::Desired)) -> Given {
    Given::waiting().attempt(closed(1, verdict, uses)).names(1, Phase::Running).now(17).desired(edit)
}

/// The pauses are spread by ten percent.
fn within_ten_percent(from: i64, at_: Option<contract::Timestamp>, seconds: i64) {
    let pause = at_.expect("a pause").millis_since(at(from));
    assert!((seconds * 900..=seconds * 1100).contains(&pause), "{pause} ms instead of about {seconds} s");
}

#[test]
fn a_job_without_a_slot_waits_for_quota_and_says_so_after_a_moment() {
    let given = Given::fresh().no_slot().now(0);
    assert_eq!(given.waits(), (Some(Reason::WaitingForQuota), Some(at(1))));
    let shown = given.now(1).write_all(1);
    assert_eq!(shown.stored().reason, Some(Reason::WaitingForQuota));
    assert_eq!(shown.waits(), (Some(Reason::WaitingForQuota), Some(at(86_400))));
    assert!(matches!(shown.plan(), Decision::Wait { wants_slot: Some(_), .. }));
    let named = Given::waiting().no_slot().now(9).desired(|d| d.queue = Some("gpu".to_owned()));
    assert!(named.written().message.contains("gpu"));
}

#[test]
fn a_clock_that_was_ahead_does_not_hide_the_wait_for_a_slot() {
    let mut given = Given::fresh().no_slot().now(5);
    given.s.created_at = at(9_999);
    let shown = given.write_all(2);
    assert_eq!(shown.stored().reason, Some(Reason::WaitingForQuota));
}

#[test]
fn a_held_job_says_so_and_does_not_end_by_its_deadline() {
    let held = Given::waiting().desired(|d| d.suspend = true).write_all(1);
    assert_eq!((held.stored().reason, held.stored().suspended), (Some(Reason::Suspended), true));
    assert_eq!(held.waits(), (Some(Reason::Suspended), None));
    assert_eq!(held.clone().now(9_999_999).waits(), (Some(Reason::Suspended), None));
    let resumed = held.now(5_000).desired(|d| d.suspend = false).no_slot().write_all(2);
    assert_eq!(resumed.stored().run_started_at, at(5_000), "the deadline starts again");
}

#[test]
fn a_held_job_in_a_pause_is_written_once_and_time_changes_nothing() {
    let held = Given::waiting()
        .desired(|d| d.suspend = true)
        .control(|c| (c.reason, c.not_before) = (Some(Reason::LaunchThrottled), Some(at(100))))
        .write_all(1);
    assert_eq!(held.stored().blockers, []);
    assert_eq!(held.now(200).waits(), (Some(Reason::Suspended), None));
}

#[test]
fn a_misconfigured_job_says_what_is_wrong_and_keeps_its_pause_in_sight() {
    let mut given = Given::waiting()
        .control(|c| (c.reason, c.not_before) = (Some(Reason::LaunchThrottled), Some(at(100))));
    given.s.misconfigured = Some("no such job type".to_owned());
    let shown = given.write_all(1);
    assert_eq!(shown.stored().message, "no such job type");
    assert_eq!(shown.stored().blockers, [Reason::LaunchThrottled]);
    assert_eq!(shown.waits(), (Some(Reason::Misconfigured), Some(at(100))));
    let mut healed = shown.clone();
    healed.s.misconfigured = None;
    assert_eq!(healed.write_all(1).waits(), (Some(Reason::LaunchThrottled), Some(at(100))));
    let later = shown.now(100).write_all(1);
    assert_eq!(later.waits(), (Some(Reason::Misconfigured), Some(at(86_400))));
}

#[test]
fn a_record_that_cannot_be_decoded_leaves_a_running_task_alone_and_heals() {
    let broken = |mut given: Given| {
        given.s.desired = Err(Invalid::one("/max_attempts", "\"three\"", "a whole number from 1 to 100"));
        given.now(9_999_999).write_all(1)
    };
    for given in [Given::running(), Given::launching(), Given::waiting()] {
        let before = given.stored().clone();
        let shown = broken(given);
        let after = shown.stored();
        assert_eq!((after.phase, &after.token, after.attempt), (before.phase, &before.token, before.attempt));
        assert!(after.message.contains("/max_attempts"), "{}", after.message);
        assert_eq!(shown.waits(), (Some(Reason::InvalidRecord), None));
    }
    let mut healed = broken(Given::running()).now(14);
    healed.s.desired = Ok(contract::Desired::new("echo"));
    let healed = healed.write_all(1);
    assert_eq!((healed.stored().reason, healed.stored().message.as_str()), (None, ""));
    assert_eq!(healed.waits(), (None, Some(at(12 + 3600))), "the start was not forgotten");
    let ended = broken(Given::finished(Reason::Completed));
    assert_eq!(ended.stored().status(), Status::Succeeded);
}

#[test]
fn a_retry_that_shrank_is_an_invalid_record_until_it_grows_again() {
    let given = Given::running().control(|c| c.seen_retry = 2).last(|a| a.retry = 2).desired(|d| d.retry = 1);
    let shown = given.write_all(1);
    assert_eq!(shown.waits().0, Some(Reason::InvalidRecord));
    assert!(shown.stored().message.contains("/retry: 1"), "{}", shown.stored().message);
    assert_eq!(shown.desired(|d| d.retry = 2).write_all(1).waits().0, None);
}

#[test]
fn an_attempt_that_cannot_be_decoded_is_told_about_and_nothing_is_decided() {
    for mut given in [Given::running(), Given::waiting(), Given::launching()] {
        given.s.broken_attempt = Some("attempt 1: gate: what".to_owned());
        let shown = given.now(9_999_999).write_all(1);
        assert_eq!(shown.stored().message, "attempt 1: gate: what");
        assert_eq!(shown.waits(), (Some(Reason::InvalidRecord), None));
    }
    let mut unknown = Given::fresh();
    unknown.s.broken_attempt = Some("attempt 1: gate: what".to_owned());
    assert_eq!(unknown.waits(), (Some(Reason::InvalidRecord), None));
}

#[test]
fn a_failed_try_backs_off_longer_each_time_and_the_last_one_ends_the_job() {
    let class = FailureClass::NonZeroExitCode;
    let first = after(failed(class), Budget::Try, |_| ()).write_all(2);
    assert_eq!((first.stored().phase, first.stored().tries), (Phase::Waiting, 1));
    assert_eq!(first.waits().0, Some(Reason::BackingOff));
    within_ten_percent(16, first.stored().not_before, 10);
    let second =
        first.attempt(closed(2, failed(class), Budget::Try)).names(2, Phase::Running).now(17).write_all(2);
    within_ten_percent(16, second.stored().not_before, 20);
    let third =
        second.attempt(closed(3, failed(class), Budget::Try)).names(3, Phase::Running).now(17).write_all(2);
    assert_eq!(third.stored().reason, Some(Reason::MaxAttemptsExceeded));
    assert!(third.stored().message.contains("it failed"), "{}", third.stored().message);
}

#[test]
fn a_single_try_ends_with_its_own_reason() {
    for (class, reason) in [
        (FailureClass::NonZeroExitCode, Reason::NonZeroExitCode),
        (FailureClass::CommandNotStarted, Reason::CommandNotStarted),
        (FailureClass::InvalidResult, Reason::InvalidResult),
        (FailureClass::OutOfMemory, Reason::OutOfMemory),
        (FailureClass::AttemptTimeout, Reason::AttemptTimeout),
    ] {
        let ended = after(failed(class), Budget::Try, |d| d.max_attempts = 1).write_all(2);
        assert_eq!(ended.stored().reason, Some(reason));
    }
}

#[test]
fn infrastructure_failures_have_their_own_budget_and_end_with_their_own_reason() {
    for (class, reason) in [
        (FailureClass::WorkerLost, Reason::WorkerLost),
        (FailureClass::SpotInterruption, Reason::SpotInterruption),
        (FailureClass::TaskFailedToStart, Reason::TaskFailedToStart),
        (FailureClass::StartTimeout, Reason::StartTimeout),
    ] {
        let mut given = Given::waiting().now(17).desired(|d| d.max_attempts = 1);
        for n in 1..=20 {
            given = given.attempt(closed(n, failed(class), Budget::Infrastructure)).names(n, Phase::Running);
            given = given.write_all(3);
            let phase = if n < 20 { Phase::Waiting } else { Phase::Finished };
            assert_eq!((given.stored().phase, given.stored().tries), (phase, 0), "after failure {n}");
        }
        assert_eq!(given.stored().reason, Some(reason));
    }
}

#[test]
fn a_rule_that_ignores_every_failure_still_ends() {
    let ignore = FailureRule {
        exit_codes: BTreeSet::new(),
        classes: BTreeSet::new(),
        stop_codes: BTreeSet::new(),
        action: FailureAction::Ignore,
    };
    let mut given = Given::running().desired(|d| d.failure_policy.rules.push(ignore));
    for n in 1..=20 {
        given = given.last(|a| *a = reported(n, FailureClass::NonZeroExitCode, 1));
        let plan::Effect::Close { uses, verdict, .. } = given.effect() else { panic!("{:?}", given.plan()) };
        given = given.last(|a| a.closing = closed(n, verdict, uses).closing).now(17).write_all(2);
        if given.stored().phase == Phase::Finished {
            assert_eq!((n, given.stored().status()), (20, Status::Failed));
            return;
        }
        given = given.now(9_000).attempt(started(n + 1)).names(n + 1, Phase::Running);
        given = given.last(|a| a.claimed_at = at(8_999)).control(|c| c.started_at = Some(at(8_999)));
    }
    panic!("20 ignored failures did not end the job: {:?}", given.stored());
}

#[test]
fn a_rule_that_fails_ends_the_job_although_tries_are_left() {
    let fail = FailureRule {
        exit_codes: BTreeSet::from([1]),
        classes: BTreeSet::new(),
        stop_codes: BTreeSet::new(),
        action: FailureAction::Fail,
    };
    let edit = |d: &mut contract::Desired| d.failure_policy.rules.push(fail);
    let ended = after(failed(FailureClass::NonZeroExitCode), Budget::Try, edit).write_all(2);
    assert_eq!(ended.stored().reason, Some(Reason::FailurePolicy));
}

#[test]
fn a_refusal_uses_no_try_says_what_it_was_and_pauses_longer_each_time() {
    for (kind, reason) in [
        (RefusalKind::Throttled, Reason::LaunchThrottled),
        (RefusalKind::Capacity, Reason::InsufficientCapacity),
        (RefusalKind::Quota, Reason::WaitingForQuota),
        (RefusalKind::Misconfigured, Reason::Misconfigured),
    ] {
        let refused = |given: Given, n: u32| {
            let mut view = left(n, LeaveReason::LaunchRefused);
            let refusal = Some(Refusal { kind, message: "no".to_owned() });
            view.closing.as_mut().unwrap().evidence = Evidence { refusal, ..Evidence::default() };
            given.attempt(view).names(n, Phase::Launching).now(17).write_all(2)
        };
        let first = refused(Given::waiting(), 1);
        assert_eq!((first.stored().reason, first.stored().tries), (Some(reason), 0));
        within_ten_percent(16, first.stored().not_before, 2);
        let second = refused(first, 2);
        within_ten_percent(16, second.stored().not_before, 4);
        assert_eq!(second.waits(), (Some(reason), second.stored().not_before));
    }
}

#[test]
fn a_passed_deadline_ends_a_job_wherever_it_is() {
    let ended = |given: Given| given.now(86_400).write_all(1).stored().reason;
    assert_eq!(ended(Given::fresh()), Some(Reason::DeadlineExceeded));
    assert_eq!(ended(Given::waiting().no_slot()), Some(Reason::DeadlineExceeded));
    let pausing = Given::waiting().control(|c| c.not_before = Some(at(999_999)));
    assert_eq!(pausing.clone().write_all(1).waits(), (Some(Reason::BackingOff), Some(at(86_400))));
    assert_eq!(ended(pausing), Some(Reason::DeadlineExceeded));
    let mut misconfigured = Given::waiting();
    misconfigured.s.misconfigured = Some("no such job type".to_owned());
    assert_eq!(ended(misconfigured), Some(Reason::DeadlineExceeded));
    let left = Given::waiting().attempt(left(1, LeaveReason::DeadlineExceeded)).names(1, Phase::Running);
    assert_eq!(ended(left), Some(Reason::DeadlineExceeded));
}

#[test]
fn cancel_ends_a_job_that_has_nothing_open_except_after_a_success() {
    let cancel = |given: Given| given.desired(|d| d.cancel = true).write_all(2).stored().reason;
    assert_eq!(cancel(Given::fresh()), Some(Reason::Cancelled));
    assert_eq!(cancel(Given::waiting().desired(|d| d.suspend = true)), Some(Reason::Cancelled));
    let failed = after(failed(FailureClass::NonZeroExitCode), Budget::Try, |_| ());
    assert_eq!(cancel(failed), Some(Reason::Cancelled));
    assert_eq!(cancel(after(Verdict::Succeeded, Budget::Nothing, |_| ())), Some(Reason::Completed));
}

#[test]
fn a_forced_retry_starts_a_fresh_run_and_a_cancelled_job_stays_cancelled() {
    let ended = || Given::finished(Reason::MaxAttemptsExceeded).desired(|d| d.retry = 1);
    let retried = ended().written();
    assert_eq!((retried.run, retried.tries, retried.seen_retry, retried.attempt), (2, 0, 1, 1));
    assert_eq!((retried.run_started_at, retried.finished_at), (at(21), None));
    let cancelled = ended().desired(|d| d.cancel = true);
    assert_eq!(cancelled.waits().0, Some(Reason::MaxAttemptsExceeded));
    let succeeded = after(Verdict::Succeeded, Budget::Nothing, |d| d.retry = 1).written();
    assert_eq!((succeeded.run, succeeded.phase), (2, Phase::Waiting), "the outcome stays in the history");
}

#[test]
fn a_run_that_ends_before_it_starts_does_not_show_the_start_of_the_run_before() {
    let retried = Given::finished(Reason::MaxAttemptsExceeded).desired(|d| d.retry = 1).write_all(1);
    let ended = retried.desired(|d| d.cancel = true).write_all(1);
    assert_eq!((ended.stored().run, ended.stored().reason), (2, Some(Reason::Cancelled)));
    assert_eq!(ended.stored().started_at, None);
}

#[test]
fn an_attempt_left_on_purpose_is_followed_by_what_is_wanted_now() {
    for why in [LeaveReason::Suspended, LeaveReason::Cancelled, LeaveReason::Retried, LeaveReason::Superseded]
    {
        let left = || Given::waiting().attempt(left(1, why)).names(1, Phase::Launching).now(17);
        assert!(matches!(left().write_all(1).effect(), plan::Effect::Claim { .. }), "{why}");
        let held = left().desired(|d| d.suspend = true).write_all(2);
        assert_eq!((held.stored().reason, held.stored().tries), (Some(Reason::Suspended), 0), "{why}");
    }
}

#[test]
fn a_finished_job_keeps_its_mark_only_until_its_end_is_written() {
    let mut given = Given::finished(Reason::Completed);
    given.s.active = true;
    let after = given.write_all(1);
    assert!(!after.s.active);
    let ControlView::Valid(control) = &after.s.control else { panic!("no control") };
    assert_eq!(control.status(), Status::Succeeded);
}
