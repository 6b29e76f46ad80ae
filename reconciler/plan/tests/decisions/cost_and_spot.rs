//! `max_cost_usd`, and which capacity an attempt runs on.

use crate::given::*;
use contract::attempt::{Budget, Evidence, Verdict, phase};
use contract::cost::Usd;
use contract::desired::Capacity;
use contract::{FailureClass, LeaveReason, Phase, Price, Reason, Refusal, RefusalKind};
use plan::{AttemptView, Decision, Effect, Scarcity, Seen};

/// A dollar an hour: 60 s cost 16,667 millionths.
const PRICE: Price = Price { micros_per_hour: 1_000_000, least_seconds: 60 };
const MINUTE: Usd = Usd(16_667);

fn priced(mut view: AttemptView) -> AttemptView {
    view.price = Some(PRICE);
    if view.gate.is_some() {
        view.phases.insert(phase::GATE_PASSED.to_owned(), at(12));
    }
    view
}

fn running() -> Given {
    Given::running().last(|a| *a = priced(a.clone()))
}

fn closed_at_cost(n: u32, class: FailureClass, cost: Usd) -> AttemptView {
    let mut view = closed(n, failed(class), Budget::Infrastructure);
    view.closing.as_mut().expect("closed").evidence.cost = Some(cost);
    view
}

fn closing(given: &Given) -> Evidence {
    match given.effect() {
        Effect::Close { evidence, .. } => *evidence,
        other => panic!("a close was expected, not {other:?}"),
    }
}

#[test]
fn an_attempt_costs_from_its_pull_to_its_stop_and_at_least_a_minute() {
    let stopped = |from: i64, until: i64| {
        let mut evidence =
            Evidence { stop_code: Some("EssentialContainerExited".into()), ..Evidence::default() };
        evidence.phases.insert(phase::PULL_STARTED.to_owned(), at(from));
        evidence.phases.insert(phase::STOPPED.to_owned(), at(until));
        let gone = Seen::Stopped(Box::new(evidence));
        let given = Given::waiting().attempt(priced(sealed(1, LeaveReason::TaskGone, true)));
        closing(&given.names(1, Phase::Running).now(900).last(|a| drop(a.tasks.seen.insert(task(1), gone))))
    };
    assert_eq!(stopped(11, 40).cost, Some(MINUTE));
    let evidence = stopped(20, 740);
    assert_eq!(evidence.cost, Some(Usd(200_000)), "720 s");
    assert_eq!((evidence.phases[phase::QUEUED], evidence.phases[phase::CLAIMED]), (at(0), at(10)));
}

#[test]
fn a_success_costs_from_what_the_worker_knows() {
    let given = Given::waiting().attempt(priced(succeeded(1))).names(1, Phase::Running).now(200).last(|a| {
        a.published = Some(plan::Published::Done);
        a.phases.insert(phase::PULL_STARTED.to_owned(), at(11));
        a.phases.insert(phase::FINISHED.to_owned(), at(191));
    });
    assert_eq!(closing(&given).cost, Some(Usd(50_000)), "180 s");
}

#[test]
fn a_clock_that_is_wrong_makes_nothing_dearer_than_it_can_have_been() {
    let given = Given::waiting().attempt(priced(succeeded(1))).names(1, Phase::Running).now(200).last(|a| {
        a.published = Some(plan::Published::Done);
        a.phases.insert(phase::PULL_STARTED.to_owned(), at(-900_000));
        a.phases.insert(phase::FINISHED.to_owned(), at(900_000));
    });
    assert_eq!(closing(&given).cost, Some(PRICE.cost(190_000)), "from the claim until now");
}

#[test]
fn what_never_ran_or_has_no_price_costs_nothing() {
    let refused = |price| {
        let given = Given::waiting().attempt(sealed(1, LeaveReason::LaunchRefused, false));
        closing(&given.names(1, Phase::Launching).now(30).last(|a| a.price = price))
    };
    assert_eq!(refused(Some(PRICE)).cost, None);
    assert_eq!(refused(None), Evidence::default(), "runtimes without prices keep their evidence as it was");
}

#[test]
fn the_job_costs_what_its_attempts_of_all_runs_cost() {
    let given = Given::waiting()
        .attempt(closed_at_cost(1, FailureClass::WorkerLost, MINUTE))
        .attempt(closed_at_cost(2, FailureClass::WorkerLost, Usd(1)))
        .names(2, Phase::Running)
        .now(17);
    assert_eq!(given.written().cost, Some(Usd(16_668)));
    let edited = Given::waiting().control(|c| c.cost = Some(Usd(7))).no_slot();
    assert_eq!(edited.write_all(2).stored().cost, None, "an edit of the sum changes nothing");
}

#[test]
fn a_running_attempt_is_stopped_when_its_estimate_passes_the_limit() {
    // 100 s of a dollar an hour.
    let given = running().desired(|d| d.max_cost_usd = Some(Usd(27_778)));
    let limit = at(112).plus_millis(1);
    assert_eq!(given.waits(), (None, Some(limit)), "looked at again then");
    assert_eq!(given.clone().now(112).waits().1, Some(limit));
    let over = given.now(113);
    assert_eq!(over.effect(), Effect::Seal { token: token(1), why: LeaveReason::CostLimitExceeded });
    let unlimited = running().now(3000);
    assert!(matches!(unlimited.plan(), Decision::Wait { .. }));
}

#[test]
fn a_limit_counts_what_earlier_attempts_have_cost() {
    let given = Given::waiting()
        .attempt(closed_at_cost(1, FailureClass::WorkerLost, MINUTE))
        .attempt(priced(started(2)))
        .names(2, Phase::Running)
        .control(|c| {
            c.started_at = Some(at(12));
            c.infra_tries = 1;
            c.cost = Some(MINUTE);
            c.reason = None;
        })
        .desired(|d| d.max_cost_usd = Some(Usd(2 * 16_667)))
        .now(13);
    assert_eq!(given.waits().1, Some(at(72).plus_millis(1)), "a second minute is left");
}

#[test]
fn a_job_that_has_spent_its_limit_starts_no_attempt_and_fails() {
    let spent = |limit| {
        Given::waiting()
            .attempt(closed_at_cost(1, FailureClass::WorkerLost, MINUTE))
            .names(1, Phase::Running)
            .desired(|d| d.max_cost_usd = Some(limit))
            .now(17)
    };
    let ended = spent(MINUTE).written();
    assert_eq!((ended.phase, ended.reason), (Phase::Finished, Some(Reason::CostLimitExceeded)));
    assert_eq!(ended.message, "max_cost_usd: an estimated 0.016667 of 0.016667 dollars are spent");
    assert_eq!(spent(Usd(16_668)).written().reason, Some(Reason::BackingOff), "a little is left");
    let retried = spent(MINUTE).desired(|d| d.retry = 1).write_all(4);
    assert_eq!(retried.stored().reason, Some(Reason::CostLimitExceeded), "a retry is no money");
    let raised = retried.desired(|d| {
        d.retry = 2;
        d.max_cost_usd = Some(Usd(1_000_000));
    });
    assert!(matches!(raised.write_all(4).effect(), Effect::Claim { .. }));
}

#[test]
fn an_attempt_stopped_for_its_cost_ends_the_job_unless_the_limit_was_raised() {
    let left = |limit| {
        let mut view = left(1, LeaveReason::CostLimitExceeded);
        view.closing.as_mut().expect("closed").evidence.cost = Some(Usd(30_000));
        let given = Given::waiting().attempt(view).names(1, Phase::Running);
        given.desired(|d| d.max_cost_usd = limit).now(200).write_all(4)
    };
    assert_eq!(left(Some(Usd(27_778))).stored().reason, Some(Reason::CostLimitExceeded));
    assert!(matches!(left(Some(Usd(90_000))).effect(), Effect::Claim { .. }));
    assert!(matches!(left(None).effect(), Effect::Claim { .. }));
}

/// What the next attempt runs on.
fn next(given: Given) -> Capacity {
    match given.write_all(4).effect() {
        Effect::Claim { draft, .. } => draft.capacity,
        other => panic!("a claim was expected, not {other:?}"),
    }
}

fn both(given: Given) -> Given {
    given.desired(|d| d.capacity = Capacity::SpotThenOnDemand)
}

fn turned_away(n: u32, kind: RefusalKind, seconds: i64) -> AttemptView {
    let mut view = left(n, LeaveReason::LaunchRefused);
    let closing = view.closing.as_mut().expect("closed");
    closing.evidence.refusal = Some(Refusal { kind, message: "no".to_owned() });
    closing.closed_at = at(seconds);
    view
}

#[test]
fn capacity_is_what_was_asked_for() {
    for (asked, given) in [
        (Capacity::OnDemand, Capacity::OnDemand),
        (Capacity::Spot, Capacity::Spot),
        (Capacity::SpotThenOnDemand, Capacity::Spot),
    ] {
        assert_eq!(next(Given::waiting().desired(|d| d.capacity = asked)), given);
    }
}

#[test]
fn after_as_many_interruptions_as_the_policy_says_a_run_goes_on_on_demand() {
    let interrupted = |classes: &[FailureClass], capacity| {
        let given = classes
            .iter()
            .zip(1..)
            .fold(Given::waiting(), |given, (class, n)| given.attempt(closed_at_cost(n, *class, Usd(1))));
        let n = u32::try_from(classes.len()).expect("few");
        let given = given.names(n, Phase::Running).now(1_000).desired(|d| d.capacity = capacity);
        next(given.control(|c| c.not_before = None))
    };
    use FailureClass::{Interrupted, SpotInterruption, WorkerLost};
    let both = Capacity::SpotThenOnDemand;
    assert_eq!(interrupted(&[SpotInterruption], both), Capacity::Spot);
    assert_eq!(interrupted(&[SpotInterruption, WorkerLost], both), Capacity::Spot);
    assert_eq!(interrupted(&[SpotInterruption, Interrupted], both), Capacity::OnDemand);
    assert_eq!(interrupted(&[SpotInterruption, Interrupted, WorkerLost], both), Capacity::OnDemand);
    assert_eq!(interrupted(&[SpotInterruption, Interrupted], Capacity::Spot), Capacity::Spot);
}

#[test]
fn without_spot_capacity_for_a_while_the_next_attempt_is_on_demand() {
    let scarce = |now: i64, kind: RefusalKind| {
        let given = Given::waiting().attempt(turned_away(1, kind, 20)).attempt(turned_away(2, kind, 60));
        next(both(given.names(2, Phase::Waiting).now(now)))
    };
    assert_eq!(scarce(139, RefusalKind::Capacity), Capacity::Spot);
    assert_eq!(scarce(140, RefusalKind::Capacity), Capacity::OnDemand);
    assert_eq!(scarce(140, RefusalKind::Quota), Capacity::OnDemand, "Spot has a quota of its own");
    assert_eq!(scarce(500, RefusalKind::Throttled), Capacity::Spot);
    assert_eq!(scarce(500, RefusalKind::Misconfigured), Capacity::Spot);
    let accepted_first = {
        let mut view = closed(1, failed(FailureClass::TaskFailedToStart), Budget::Infrastructure);
        view.gate = None;
        let words = "Capacity is unavailable at this time. Please try again later";
        view.closing.as_mut().expect("closed").evidence.stopped_reason = Some(words.to_owned());
        view
    };
    let given = Given::waiting().attempt(accepted_first).names(1, Phase::Waiting);
    assert_eq!(next(both(given.control(|c| c.infra_tries = 1).now(140))), Capacity::OnDemand);
    let started_since = Given::waiting()
        .attempt(turned_away(1, RefusalKind::Capacity, 20))
        .attempt(closed(
            2,
            Verdict::Failed { class: FailureClass::NonZeroExitCode, message: "no".into() },
            Budget::Try,
        ))
        .names(2, Phase::Waiting);
    assert_eq!(next(both(started_since.control(|c| c.tries = 1).now(500))), Capacity::Spot);
}

fn scarce(since: i64) -> Scarcity {
    let refusal = Refusal { kind: RefusalKind::Capacity, message: "Capacity is unavailable".to_owned() };
    Scarcity { refusal, since: at(since) }
}

#[test]
fn a_job_that_was_never_turned_away_itself_goes_on_demand_when_nobody_got_spot_for_a_while() {
    let waits = |now: i64, since: Option<i64>| {
        let mut given = both(Given::waiting().no_slot().now(now));
        given.s.scarce.extend(since.map(|since| (Capacity::Spot, scarce(since))));
        match given.write_all(2).plan() {
            Decision::Wait { reason, until, wants_slot, .. } => (reason, until, wants_slot),
            other => panic!("a wait was expected, not {other:?}"),
        }
    };
    let (quota, short) = (Some(Reason::WaitingForQuota), Some(Reason::InsufficientCapacity));
    assert_eq!(waits(50, Some(20)), (short, Some(at(140)), Some(Capacity::Spot)));
    assert_eq!(waits(140, Some(20)), (quota, Some(at(86_400)), Some(Capacity::OnDemand)));
    assert_eq!(waits(50, None), (quota, Some(at(170)), Some(Capacity::Spot)), "that may change meanwhile");
}

#[test]
fn a_job_that_waits_for_room_says_so_in_the_words_of_the_runtime() {
    let mut given = Given::waiting().no_slot().now(9);
    given.s.scarce.insert(Capacity::OnDemand, scarce(3));
    let told = given.written();
    assert_eq!(told.reason, Some(Reason::InsufficientCapacity));
    assert!(told.message.ends_with(": Capacity is unavailable"), "{}", told.message);
    given.s.scarce.insert(
        Capacity::OnDemand,
        Scarcity {
            refusal: Refusal { kind: RefusalKind::Quota, message: "the limit".to_owned() },
            since: at(3),
        },
    );
    assert_eq!(given.written().reason, Some(Reason::WaitingForQuota));
    given.s.scarce = [(Capacity::Spot, scarce(3))].into();
    assert!(given.written().message.contains("global limit"), "there is room for its own capacity");
}
