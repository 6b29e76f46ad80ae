//! Each effect: when it is planned, and what comes before it.

use crate::given::*;
use contract::attempt::{Budget, RefusalKind, Verdict};
use contract::desired::{FailureAction, FailureRule};
use contract::{FailureClass, Gate, LeaveReason, Phase, Reason, Refusal};
use plan::{Effect, LaunchSaid, Published, Seen};
use std::collections::BTreeSet;

fn seal(n: u32, why: LeaveReason) -> Effect {
    Effect::Seal { token: token(n), why }
}

fn closes(given: &Given) -> (Verdict, Budget) {
    match given.effect() {
        Effect::Close { verdict, uses, .. } => (verdict, uses),
        other => panic!("not a close: {other:?}"),
    }
}

fn refusal(kind: RefusalKind) -> LaunchSaid {
    LaunchSaid::Refused(Refusal { kind, message: "no".to_owned() })
}

#[test]
fn a_job_that_may_run_is_claimed_with_the_next_number_of_its_run() {
    for (given, number) in [
        (Given::fresh(), 1),
        (Given::waiting(), 1),
        (Given::waiting().attempt(left(1, LeaveReason::Suspended)), 2),
        (Given::waiting().control(|c| c.attempt = 4), 5),
    ] {
        match given.effect() {
            Effect::Claim { draft, control } => {
                assert_eq!((draft.number, draft.run, control.attempt), (number, 1, number));
                assert_eq!((control.phase, control.reason), (Phase::Launching, Some(Reason::Launching)));
                assert_eq!(control.token, None, "the token is drawn by whoever writes");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_claimed_attempt_is_launched_while_its_claim_is_young_enough() {
    let launch = Effect::Launch { token: token(1) };
    let with = |mine: Option<u64>, now: i64| {
        Given::launching().last(|a| (a.mine_for_ms, a.start_timeout_seconds) = (mine, 86_400)).now(now)
    };
    for given in [with(Some(0), 10), with(Some(299_999), 11), with(None, 10 + 1799), with(Some(1), 9_000)] {
        assert_eq!(given.effect(), launch);
    }
    for given in [with(Some(300_000), 11), with(None, 10 + 1800)] {
        assert_eq!(given.effect(), seal(1, LeaveReason::LaunchExpired));
    }
}

#[test]
fn an_unclear_answer_is_followed_by_the_same_launch_when_its_pause_is_over() {
    let given = Given::launching().last(|a| a.launch = LaunchSaid::Uncertain { again_at: at(20) });
    assert_eq!(given.waits(), (Some(Reason::Launching), Some(at(20))));
    assert_eq!(given.now(20).effect(), Effect::Launch { token: token(1) });
}

#[test]
fn a_pause_after_an_unclear_answer_ends_with_the_deadline_and_with_the_launch_window() {
    let unclear = || Given::launching().last(|a| a.launch = LaunchSaid::Uncertain { again_at: at(9_000) });
    assert_eq!(unclear().waits().1, Some(at(610)), "the start timeout");
    assert_eq!(unclear().desired(|d| d.active_deadline_seconds = 60).waits().1, Some(at(60)));
    assert_eq!(unclear().last(|a| a.mine_for_ms = Some(290_000)).waits().1, Some(at(21)));
    let patient = unclear().last(|a| a.start_timeout_seconds = 86_400);
    assert_eq!(patient.waits().1, Some(at(10 + 1800)), "the window of everybody else");
}

#[test]
fn a_task_that_is_known_is_not_launched_again() {
    for said in [LaunchSaid::Nothing, LaunchSaid::Uncertain { again_at: at(0) }] {
        let given = Given::launching().last(|a| {
            a.launch = said;
            a.tasks.seen.insert(task(1), Seen::Alive);
        });
        assert_eq!(given.waits(), (Some(Reason::Launching), Some(at(610))));
    }
}

#[test]
fn an_attempt_that_cannot_start_any_more_is_sealed_with_the_reason() {
    let seen = |given: Given, seen: Seen| given.last(|a| drop(a.tasks.seen.insert(task(1), seen)));
    let rows = [
        (Given::launching().last(|a| a.launch = refusal(RefusalKind::Quota)), LeaveReason::LaunchRefused),
        (seen(Given::launching(), gone("TaskFailedToStart")), LeaveReason::TaskGone),
        (
            Given::launching().last(|a| {
                a.launch = LaunchSaid::Launched;
                a.tasks.absence_proven = true;
            }),
            LeaveReason::TaskGone,
        ),
        (Given::launching().now(610), LeaveReason::StartTimeout),
        (seen(Given::launching(), Seen::Alive).now(610), LeaveReason::StartTimeout),
    ];
    for (given, why) in rows {
        assert_eq!(given.effect(), seal(1, why));
    }
}

#[test]
fn a_refusal_does_not_count_against_a_task_that_is_there() {
    let given = Given::launching().last(|a| {
        a.launch = refusal(RefusalKind::Capacity);
        a.tasks.seen.insert(task(1), Seen::Alive);
    });
    assert_eq!(given.waits(), (Some(Reason::Launching), Some(at(610))));
}

#[test]
fn an_agent_that_outlives_its_worker_is_sealed_off_and_stopped_before_anything_else() {
    let alone = |given: Given| given.last(|a| drop(a.tasks.seen.insert(task(1), Seen::WorkerGone)));
    assert_eq!(alone(Given::running()).effect(), seal(1, LeaveReason::TaskGone));
    assert_eq!(alone(Given::launching()).effect(), seal(1, LeaveReason::TaskGone));
    let sealed = Given::running().last(|a| *a = sealed(1, LeaveReason::TaskGone, true));
    assert!(matches!(alone(sealed).effect(), Effect::Stop { .. }), "its agent may be alive");
}

#[test]
fn absence_that_is_not_proven_seals_nothing() {
    let launched = Given::launching().last(|a| a.launch = LaunchSaid::Launched);
    assert_eq!(launched.waits().0, Some(Reason::Launching));
    let running = Given::running().last(|a| a.tasks.seen.clear());
    assert_eq!(running.waits().0, None);
}

#[test]
fn what_the_operator_wants_comes_before_time_and_cancel_before_everything() {
    type Edit = fn(&mut contract::Desired);
    let edits: [(Edit, LeaveReason); 4] = [
        (|d| d.suspend = true, LeaveReason::Suspended),
        (|d| d.active_deadline_seconds = 5, LeaveReason::DeadlineExceeded),
        (|d| d.retry = 1, LeaveReason::Retried),
        (|d| d.cancel = true, LeaveReason::Cancelled),
    ];
    for start in [Given::launching(), Given::running()] {
        let mut given = start;
        for (edit, why) in edits {
            given = given.desired(edit);
            assert_eq!(given.effect(), seal(1, why));
        }
    }
}

#[test]
fn a_started_attempt_is_sealed_when_its_task_is_gone_or_its_time_is_up() {
    let gone =
        Given::running().last(|a| drop(a.tasks.seen.insert(task(1), gone("EssentialContainerExited"))));
    assert_eq!(gone.effect(), seal(1, LeaveReason::TaskGone));
    let forgotten = Given::running().last(|a| {
        a.tasks.seen.clear();
        a.tasks.absence_proven = true;
    });
    assert_eq!(forgotten.effect(), seal(1, LeaveReason::TaskGone));
    assert_eq!(Given::running().waits(), (None, Some(at(12 + 3600))));
    assert_eq!(Given::running().now(12 + 3600).effect(), seal(1, LeaveReason::AttemptTimeout));
}

#[test]
fn a_sealed_attempt_is_stopped_by_the_id_that_passed_the_gate_and_closed_when_that_is_gone() {
    let leaving = |n: u32| Given::running().last(|a| a.gate = sealed(n, LeaveReason::Cancelled, true).gate);
    let stop = Effect::Stop { token: token(1), task: task(1), grace_seconds: 30 };
    assert_eq!(leaving(1).effect(), stop);
    // Another task of the same token is gone: that says nothing about the one that executes.
    let other = leaving(1).last(|a| {
        a.tasks.seen.clear();
        a.tasks.seen.insert(task(7), gone("x"));
    });
    assert_eq!(other.effect(), stop);
    let asked = leaving(1).last(|a| a.stop_asked = true).write_all(1);
    assert_eq!(asked.stored().reason, Some(Reason::Cancelled), "people can read why");
    assert_eq!(asked.waits(), (Some(Reason::Cancelled), Some(at(14))));
    let stopped = asked.last(|a| drop(a.tasks.seen.insert(task(1), gone("UserInitiated"))));
    assert_eq!(closes(&stopped), (Verdict::Left { why: LeaveReason::Cancelled }, Budget::Nothing));
}

#[test]
fn a_sealed_attempt_that_never_started_is_closed_whatever_its_tasks_do() {
    for tasks in [None, Some(Seen::Alive), Some(gone("x"))] {
        let given = Given::launching().last(|a| {
            a.gate = sealed(1, LeaveReason::Suspended, false).gate;
            a.tasks.seen.extend(tasks.map(|seen| (task(1), seen)));
        });
        assert_eq!(closes(&given), (Verdict::Left { why: LeaveReason::Suspended }, Budget::Nothing));
    }
}

#[test]
fn a_success_is_published_before_it_is_closed_even_if_it_is_no_longer_wanted() {
    let edits: [fn(&mut contract::Desired); 5] = [
        |_| (),
        |d| d.cancel = true,
        |d| d.suspend = true,
        |d| d.retry = 1,
        |d| d.active_deadline_seconds = 1,
    ];
    for edit in edits {
        let given = Given::running().last(|a| *a = succeeded(1)).desired(edit);
        match given.effect() {
            Effect::Publish { number, result, .. } => {
                assert_eq!((number, result.path.as_str()), (1, "result.json"));
            }
            other => panic!("{other:?}"),
        }
        let published = given.last(|a| a.published = Some(Published::Done));
        assert_eq!(closes(&published), (Verdict::Succeeded, Budget::Nothing));
    }
}

#[test]
fn a_success_without_a_readable_result_is_a_failure_of_the_infrastructure() {
    let unreadable = Given::running().last(|a| {
        *a = succeeded(1);
        a.published = Some(Published::Unreadable("gone".to_owned()));
    });
    let nameless = Given::running().last(|a| {
        *a = succeeded(1);
        a.outcome.as_mut().unwrap().manifest.files.clear();
    });
    let empty = Given::running().last(|a| {
        *a = succeeded(1);
        a.outcome = None;
    });
    for given in [unreadable, nameless, empty] {
        let (verdict, uses) = closes(&given);
        assert!(matches!(verdict, Verdict::Failed { class: FailureClass::ResultUnreadable, .. }));
        assert_eq!(uses, Budget::Infrastructure);
    }
}

#[test]
fn an_open_attempt_that_control_does_not_name_is_left_before_anything_else() {
    let claim_lost = Given::waiting().attempt(claimed(1));
    assert_eq!(claim_lost.effect(), seal(1, LeaveReason::Superseded));
    let closing = claim_lost.last(|a| a.gate = sealed(1, LeaveReason::Superseded, false).gate);
    assert_eq!(closes(&closing), (Verdict::Left { why: LeaveReason::Superseded }, Budget::Nothing));
    let beside = Given::launching().attempt(started(2)).last(|a| a.run = 0);
    assert_eq!(beside.names(1, Phase::Launching).write_all(2).effect(), seal(1, LeaveReason::Superseded));
}

#[test]
fn budgets_are_charged_by_class_unless_a_rule_says_otherwise() {
    let rule = |action| FailureRule {
        exit_codes: BTreeSet::from([3]),
        classes: BTreeSet::new(),
        stop_codes: BTreeSet::new(),
        action,
    };
    let rows = [
        (FailureClass::NonZeroExitCode, None, Budget::Try),
        (FailureClass::Interrupted, None, Budget::Infrastructure),
        (FailureClass::ArtifactsNotStored, None, Budget::Infrastructure),
        (FailureClass::NonZeroExitCode, Some(FailureAction::Ignore), Budget::Infrastructure),
        (FailureClass::Interrupted, Some(FailureAction::Retry), Budget::Try),
        (FailureClass::Interrupted, Some(FailureAction::Fail), Budget::Try),
    ];
    for (class, action, budget) in rows {
        let given = Given::running()
            .desired(|d| d.failure_policy.rules.extend(action.map(rule)))
            .last(|a| *a = reported(1, class, 3));
        assert_eq!(closes(&given).1, budget, "{class} {action:?}");
    }
}

#[test]
fn an_ended_job_is_collected_after_its_ttl_and_only_with_every_attempt_closed() {
    let ended = Given::finished(Reason::Completed);
    let due = 20 + 7 * 86_400;
    assert_eq!(ended.waits(), (Some(Reason::Completed), Some(at(due))));
    assert_eq!(ended.clone().now(due).effect(), Effect::Collect);
    assert_eq!(ended.clone().now(due).desired(|d| d.retry = 1).written().run, 2, "a retry comes first");
    let longer = ended.clone().now(due).desired(|d| d.ttl_seconds_after_finished = 8 * 86_400);
    assert_eq!(longer.written().expires_at, Some(at(20 + 8 * 86_400)));
    let open = ended.now(due).attempt(claimed(2));
    assert_eq!(open.effect(), seal(2, LeaveReason::Superseded));
    let gate = Some(Gate::Sealed { why: LeaveReason::Superseded, started: None });
    assert!(matches!(open.last(|a| a.gate = gate).effect(), Effect::Close { .. }));
}
