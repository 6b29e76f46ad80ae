//! The named invariants: for each a case that holds and one that does not.

use contract::attempt::{Budget, Closing, Evidence, Gate, LeaveReason, Verdict};
use contract::invariants::*;
use contract::{Accepted, Control, LaunchToken, Phase, Raw, Reason, Timestamp, WriteId};

fn control(phase: Phase, reason: Reason) -> Control {
    let text = format!(
        "{{\"version\":\"0123456789abcdef\",\"epoch\":1,\"run\":1,\"attempt\":1,\"tries\":0,\"infra_tries\":0,\
         \"phase\":\"{phase}\",\"reason\":\"{reason}\",\"seen_retry\":0,\"run_started_at\":0}}"
    );
    Raw::<Control>::stored(text).parse().expect("a good control")
}

fn token(n: u128) -> LaunchToken {
    LaunchToken::from_bits(n)
}

fn closing(verdict: Verdict, uses: Budget) -> Closing {
    let (write, closed_at) = (WriteId::from_bits(1), Timestamp::from_millis(1));
    Closing { write, closed_at, verdict, uses, evidence: Evidence::default() }
}

fn facts<'a>(token: &'a LaunchToken, run: u32, closing: Option<&'a Closing>) -> AttemptFacts<'a> {
    AttemptFacts { token, run, gate: None::<&Gate>, closing }
}

#[test]
fn one_agent_and_one_execution_are_the_most() {
    assert_eq!([0, 1, 2].map(one_agent_per_job), [true, true, false]);
    assert_eq!([0, 1, 2].map(one_execution_per_token), [true, true, false]);
}

#[test]
fn only_tries_of_the_run_count_against_its_budget() {
    let left = Verdict::Left { why: LeaveReason::Cancelled };
    let (tried, free) = (closing(left.clone(), Budget::Try), closing(left, Budget::Nothing));
    let t = [token(1), token(2), token(3), token(4), token(5)];
    let all = [
        facts(&t[0], 1, Some(&tried)),
        facts(&t[1], 1, Some(&tried)),
        facts(&t[2], 1, Some(&free)),
        facts(&t[3], 2, Some(&tried)),
        facts(&t[4], 1, None),
    ];
    assert!(tries_within_budget(&all, 1, 2));
    assert!(!tries_within_budget(&all, 1, 1));
    assert!(tries_within_budget(&all, 2, 1));
    assert!(!tries_within_budget(&all, 2, 0));
    assert!(tries_within_budget(&all, 3, 0));
}

#[test]
fn an_end_changes_with_what_is_wanted_only() {
    let (running, failed) =
        (control(Phase::Running, Reason::Launching), control(Phase::Finished, Reason::Cancelled));
    let done = control(Phase::Finished, Reason::Completed);
    assert!(terminal_is_final(&running, &failed, false));
    assert!(terminal_is_final(&failed, &failed, false));
    assert!(terminal_is_final(&failed, &running, true));
    assert!(!terminal_is_final(&failed, &running, false));
    assert!(!terminal_is_final(&failed, &done, false));
}

#[test]
fn a_success_names_its_own_attempt_that_is_closed_as_one() {
    let (won, lost) = (
        closing(Verdict::Succeeded, Budget::Nothing),
        closing(Verdict::Left { why: LeaveReason::Cancelled }, Budget::Nothing),
    );
    let (one, two) = (token(1), token(2));
    let accepted = |n: u128| Control {
        accepted: Some(Accepted { number: 1, token: token(n) }),
        ..control(Phase::Finished, Reason::Completed)
    };
    let all = [facts(&one, 1, Some(&won)), facts(&two, 1, Some(&lost))];
    assert!(success_has_result(&accepted(1), &all));
    assert!(!success_has_result(&accepted(2), &all), "closed otherwise");
    assert!(!success_has_result(&accepted(3), &all), "not there");
    assert!(!success_has_result(&control(Phase::Finished, Reason::Completed), &all), "none is named");
    assert!(!success_has_result(&accepted(1), &[facts(&one, 1, None)]), "not closed");
    assert!(success_has_result(&control(Phase::Finished, Reason::Cancelled), &[]), "no success");
    assert!(success_has_result(&control(Phase::Running, Reason::Completed), &[]), "no end");
}

#[test]
fn an_ended_job_has_nothing_open() {
    let won = closing(Verdict::Succeeded, Budget::Nothing);
    let (one, two) = (token(1), token(2));
    let open = [facts(&one, 1, Some(&won)), facts(&two, 1, None)];
    let ended = control(Phase::Finished, Reason::Completed);
    assert!(!nothing_open_when_finished(&ended, &open));
    assert!(nothing_open_when_finished(&ended, &open[..1]));
    assert!(nothing_open_when_finished(&control(Phase::Running, Reason::Launching), &open));
}
