//! Checks of the attempt record and of the launch protocol's conditions.
#![allow(missing_docs, clippy::missing_panics_doc, reason = "checks are named by sentences and panic")]

use super::Fixture;
use crate::clock::fresh_token;
use crate::conformance::fixtures::{
    at, claim, closing, desired, edited, finished, job_id, launching, outcome, report, task, waiting, write,
};
use crate::conformance::wait::all;
use crate::records::{Closed, ControlWrite, GateAnswer, StartAnswer, WriteAnswer};
use contract::{Gate, LeaveReason, Raw};

fn started(name: &str) -> Raw<Gate> {
    Raw::of(&Gate::Started { task: task(name) })
}

fn sealed(why: LeaveReason, name: Option<&str>) -> Raw<Gate> {
    Raw::of(&Gate::Sealed { why, started: name.map(task) })
}

pub async fn a_draft_is_stored_once_and_needs_its_job(f: &Fixture) {
    let (new, token) = (f.job().await, fresh_token());
    assert_eq!(f.records.draft(&job_id(), &token, &claim(1)).await, Ok(WriteAnswer::NotFound));
    assert_eq!(f.records.draft(&new.job_id, &token, &claim(1)).await, Ok(WriteAnswer::Written));
    assert_eq!(f.records.draft(&new.job_id, &token, &claim(1)).await, Ok(WriteAnswer::Written));
    assert_eq!(f.records.draft(&new.job_id, &token, &claim(2)).await, Ok(WriteAnswer::Conflict));
    let loaded = f.load(&new.job_id).await;
    assert_eq!((loaded.job.control, loaded.attempts.len()), (None, 1));
    let attempt = &loaded.attempts[0];
    assert_eq!((&attempt.job_id, &attempt.token), (&new.job_id, &token));
    assert_eq!((&attempt.claim, attempt.claim.parse()), (&Raw::of(&claim(1)), Ok(claim(1))));
    assert_eq!((&attempt.gate, &attempt.report, &attempt.closing), (&None, &None, &None));
}

pub async fn attempts_come_in_the_order_of_their_numbers(f: &Fixture) {
    let new = f.job().await;
    for number in [2, 1, 10, 3] {
        let answer = f.records.draft(&new.job_id, &fresh_token(), &claim(number)).await;
        assert_eq!(answer, Ok(WriteAnswer::Written));
    }
    let loaded = f.load(&new.job_id).await;
    let numbers: Vec<_> = loaded.attempts.iter().map(|a| a.claim.parse().unwrap().number).collect();
    assert_eq!(numbers, [1, 2, 3, 10]);
}

pub async fn a_claim_stores_the_attempt_and_the_control_that_names_it(f: &Fixture) {
    let new = f.job().await;
    let (seen, token) = (desired(&new), fresh_token());
    let control = launching(1, &token);
    let conflict = Raw::of(&waiting());
    for (expected, seen) in [(Some(&conflict), &seen), (None, &edited(&seen, 1))] {
        let answer = f.records.claim(&new.job_id, &token, &claim(1), expected, seen, &control).await;
        assert_eq!(answer, Ok(WriteAnswer::Conflict));
        assert_eq!(f.load(&new.job_id).await.job.control, None);
    }
    for _ in 0..2 {
        let answer = f.records.claim(&new.job_id, &token, &claim(1), None, &seen, &control).await;
        assert_eq!(answer, Ok(WriteAnswer::Written), "also when the first answer was lost");
    }
    let loaded = f.load(&new.job_id).await;
    assert_eq!(loaded.job.control, Some(Raw::of(&control)));
    assert_eq!(loaded.attempts.len(), 1);
    assert_eq!(loaded.attempts[0].claim, Raw::of(&claim(1)));
}

pub async fn of_concurrent_claims_one_wins(f: &Fixture) {
    let new = f.job().await;
    let (seen, first) = (desired(&new), claim(1));
    let claims: Vec<_> = (0..8)
        .map(|_| fresh_token())
        .map(|token| {
            let control = launching(1, &token);
            (token, control)
        })
        .collect();
    let calls = claims.iter().map(|(token, c)| f.records.claim(&new.job_id, token, &first, None, &seen, c));
    let answers = all(calls.collect()).await;
    let won: Vec<_> = answers.iter().map(|a| *a == Ok(WriteAnswer::Written)).collect();
    assert_eq!(won.iter().filter(|won| **won).count(), 1, "{answers:?}");
    let (token, control) = &claims[won.iter().position(|won| *won).unwrap()];
    let loaded = f.load(&new.job_id).await;
    assert_eq!(loaded.job.control, Some(Raw::of(control)));
    assert!(loaded.attempts.iter().any(|attempt| attempt.token == *token));
}

pub async fn a_claim_is_refused_while_another_attempt_is_open(f: &Fixture) {
    let (new, first, control) = f.claimed().await;
    let (r, id, seen, second) = (&f.records, &new.job_id, desired(&new), fresh_token());
    let (draft, next) = (claim(2), launching(2, &second));
    let claim_now = || r.claim(id, &second, &draft, Some(&control), &seen, &next);
    // The condition on control holds; what it was decided from may be older than the other claim.
    assert_eq!(claim_now().await, Ok(WriteAnswer::Conflict));
    assert_eq!(r.seal(id, &first, LeaveReason::Superseded).await, Ok(GateAnswer::Written));
    assert_eq!(claim_now().await, Ok(WriteAnswer::Conflict), "sealed is not closed");
    assert_eq!(r.close(id, &first, &closing()).await, Ok(WriteAnswer::Written));
    assert_eq!(claim_now().await, Ok(WriteAnswer::Written));
}

pub async fn a_claim_whose_number_was_used_is_refused(f: &Fixture) {
    let (new, first, control) = f.claimed().await;
    let (r, id, seen, second) = (&f.records, &new.job_id, desired(&new), fresh_token());
    assert_eq!(r.seal(id, &first, LeaveReason::Superseded).await, Ok(GateAnswer::Written));
    assert_eq!(r.close(id, &first, &closing()).await, Ok(WriteAnswer::Written));
    // Decided before the first attempt was drafted, and let through by a control that somebody put back.
    let late = r.claim(id, &second, &claim(1), Some(&control), &seen, &launching(1, &second)).await;
    assert_eq!(late, Ok(WriteAnswer::Conflict));
}

pub async fn the_gate_lets_exactly_one_task_pass(f: &Fixture) {
    let (new, token, _) = f.claimed().await;
    let (tasks, first): (Vec<_>, _) = (["a", "b", "c", "d"].map(task).into(), report(1));
    let starts = tasks.iter().map(|task| f.records.start(&new.job_id, &token, task, &first));
    let answers = all(starts.collect()).await;
    let passed: Vec<_> = answers.iter().map(|a| matches!(a, Ok(StartAnswer::Started(_)))).collect();
    assert_eq!(passed.iter().filter(|passed| **passed).count(), 1, "{answers:?}");
    let winner = &tasks[passed.iter().position(|passed| *passed).unwrap()];
    let gate = Raw::of(&Gate::Started { task: winner.clone() });
    let attempt = f.attempt(&new.job_id, &token).await;
    assert_eq!((attempt.gate, attempt.report), (Some(gate.clone()), Some(Raw::of(&first))));
    for (answer, passed) in answers.into_iter().zip(passed) {
        match answer.unwrap() {
            StartAnswer::Started(stored) => assert_eq!(*stored, Raw::of(&claim(1))),
            answer => assert_eq!((answer, passed), (StartAnswer::Lost(gate.clone()), false)),
        }
    }
}

pub async fn a_started_gate_answers_its_own_task_again(f: &Fixture) {
    let (new, token, _) = f.claimed().await;
    let (r, id) = (&f.records, &new.job_id);
    for _ in 0..2 {
        let answer = r.start(id, &token, &task("a"), &report(1)).await;
        assert_eq!(answer, Ok(StartAnswer::Started(Box::new(Raw::of(&claim(1))))));
    }
    assert_eq!(r.finish(id, &token, &task("a"), &outcome()).await, Ok(GateAnswer::Written));
    let gate = Raw::of(&Gate::Finished { task: task("a") });
    assert_eq!(r.start(id, &token, &task("a"), &report(1)).await, Ok(StartAnswer::Lost(gate)));
}

pub async fn a_sealed_gate_lets_nobody_pass_and_keeps_who_started(f: &Fixture) {
    let r = &f.records;
    for by in [None, Some("a")] {
        let (new, token, _) = f.claimed().await;
        let id = &new.job_id;
        if by.is_some() {
            let answer = r.start(id, &token, &task("a"), &report(1)).await;
            assert!(matches!(answer, Ok(StartAnswer::Started(_))), "{answer:?}");
        }
        assert_eq!(r.seal(id, &token, LeaveReason::Retried).await, Ok(GateAnswer::Written));
        assert_eq!(r.seal(id, &token, LeaveReason::Cancelled).await, Ok(GateAnswer::Written));
        let gate = sealed(LeaveReason::Retried, by);
        for name in ["a", "b"] {
            let task = task(name);
            let lost = r.start(id, &token, &task, &report(1)).await;
            assert_eq!(lost, Ok(StartAnswer::Lost(gate.clone())));
            let refused = Ok(GateAnswer::Refused(Some(gate.clone())));
            assert_eq!(r.heartbeat(id, &token, &task, &report(9)).await, refused);
            assert_eq!(r.finish(id, &token, &task, &outcome()).await, refused);
        }
        let attempt = f.attempt(id, &token).await;
        assert_eq!((attempt.gate, attempt.report), (Some(gate), by.map(|_| Raw::of(&report(1)))));
    }
}

pub async fn a_finished_gate_cannot_be_sealed(f: &Fixture) {
    let (new, token, _) = f.claimed().await;
    let (r, id) = (&f.records, &new.job_id);
    r.start(id, &token, &task("a"), &report(1)).await.unwrap();
    assert_eq!(r.finish(id, &token, &task("a"), &outcome()).await, Ok(GateAnswer::Written));
    let gate = Raw::of(&Gate::Finished { task: task("a") });
    let answer = r.seal(id, &token, LeaveReason::Cancelled).await;
    assert_eq!(answer, Ok(GateAnswer::Refused(Some(gate.clone()))));
    assert_eq!(f.attempt(id, &token).await.gate, Some(gate));
}

pub async fn start_and_seal_at_once_leave_one_winner(f: &Fixture) {
    for _ in 0..8 {
        let (new, token, _) = f.claimed().await;
        let (r, id, by, first) = (&f.records, &new.job_id, task("a"), report(1));
        let start = async { matches!(r.start(id, &token, &by, &first).await, Ok(StartAnswer::Started(_))) };
        let seal = async { r.seal(id, &token, LeaveReason::Cancelled).await == Ok(GateAnswer::Written) };
        let both: Vec<std::pin::Pin<Box<dyn Future<Output = bool>>>> = vec![Box::pin(seal), Box::pin(start)];
        let answers = all(both).await;
        assert!(answers[0], "a seal wins before and after a start");
        let started = answers[1].then_some("a");
        assert_eq!(f.attempt(id, &token).await.gate, Some(sealed(LeaveReason::Cancelled, started)));
    }
}

pub async fn reports_need_the_gate(f: &Fixture) {
    let (new, token, _) = f.claimed().await;
    let (r, id) = (&f.records, &new.job_id);
    assert_eq!(r.heartbeat(id, &token, &task("a"), &report(2)).await, Ok(GateAnswer::Refused(None)));
    assert_eq!(r.finish(id, &token, &task("a"), &outcome()).await, Ok(GateAnswer::Refused(None)));
    r.start(id, &token, &task("a"), &report(1)).await.unwrap();
    let refused = Ok(GateAnswer::Refused(Some(started("a"))));
    assert_eq!(r.heartbeat(id, &token, &task("b"), &report(3)).await, refused);
    assert_eq!(r.finish(id, &token, &task("b"), &outcome()).await, refused);
    assert_eq!(f.attempt(id, &token).await.report, Some(Raw::of(&report(1))));
    assert_eq!(r.heartbeat(id, &token, &task("a"), &report(4)).await, Ok(GateAnswer::Written));
    let attempt = f.attempt(id, &token).await;
    assert_eq!((attempt.gate, attempt.report), (Some(started("a")), Some(Raw::of(&report(4)))));
}

pub async fn an_outcome_and_the_finished_gate_are_one_write(f: &Fixture) {
    let (new, token, _) = f.claimed().await;
    let (r, id) = (&f.records, &new.job_id);
    r.start(id, &token, &task("a"), &report(1)).await.unwrap();
    for _ in 0..2 {
        assert_eq!(r.finish(id, &token, &task("a"), &outcome()).await, Ok(GateAnswer::Written));
    }
    let gate = Raw::of(&Gate::Finished { task: task("a") });
    let refused = Ok(GateAnswer::Refused(Some(gate.clone())));
    assert_eq!(r.finish(id, &token, &task("b"), &outcome()).await, refused);
    assert_eq!(r.heartbeat(id, &token, &task("a"), &report(9)).await, refused);
    let attempt = f.attempt(id, &token).await;
    assert_eq!((attempt.gate, attempt.report), (Some(gate), Some(Raw::of(&outcome()))));
}

pub async fn an_attempt_is_closed_once(f: &Fixture) {
    let (new, token, _) = f.claimed().await;
    let (r, id) = (&f.records, &new.job_id);
    assert_eq!(r.seal(id, &token, LeaveReason::Cancelled).await, Ok(GateAnswer::Written));
    let (first, other) = (closing(), closing());
    for _ in 0..2 {
        assert_eq!(r.close(id, &token, &first).await, Ok(WriteAnswer::Written));
    }
    assert_eq!(r.close(id, &token, &other).await, Ok(WriteAnswer::Conflict));
    assert_eq!(f.attempt(id, &token).await.closing, Some(Raw::of(&first)));
}

pub async fn an_end_and_the_control_that_follows_are_stored_together(f: &Fixture) {
    let (new, token, control) = f.claimed().await;
    let (r, id, seen) = (&f.records, &new.job_id, desired(&new));
    let (next, first) = (finished(1, &token, at(100)), closing());
    let write = write(Some(&control), &seen, &next, true);
    assert_eq!(r.seal(id, &token, LeaveReason::Cancelled).await, Ok(GateAnswer::Written));
    let both = Closed { closing: WriteAnswer::Written, control: Some(WriteAnswer::Written) };
    for _ in 0..2 {
        assert_eq!(r.close_and_write(id, &token, &first, write).await, Ok(both));
    }
    let loaded = f.load(id).await;
    assert_eq!(loaded.attempts[0].closing, Some(Raw::of(&first)));
    assert_eq!((loaded.job.control, loaded.job.active), (Some(Raw::of(&next)), false));
    // Somebody else's end decides what follows.
    let other = r.close_and_write(id, &token, &closing(), write).await;
    assert_eq!(other, Ok(Closed { closing: WriteAnswer::Conflict, control: None }));
}

pub async fn an_end_stands_although_the_control_that_follows_meets_a_conflict(f: &Fixture) {
    let (new, token, control) = f.claimed().await;
    let (r, id, seen) = (&f.records, &new.job_id, desired(&new));
    assert_eq!(r.seal(id, &token, LeaveReason::Cancelled).await, Ok(GateAnswer::Written));
    let edit = edited(&seen, 7);
    assert_eq!(r.write_desired(id, &seen, &edit).await, Ok(WriteAnswer::Written));
    let (next, end) = (finished(1, &token, at(100)), closing());
    let write = write(Some(&control), &seen, &next, true);
    let closed = r.close_and_write(id, &token, &end, write).await;
    assert_eq!(closed, Ok(Closed { closing: WriteAnswer::Written, control: Some(WriteAnswer::Conflict) }));
    let loaded = f.load(id).await;
    assert_eq!(loaded.attempts[0].closing, Some(Raw::of(&end)));
    assert_eq!((loaded.job.control, loaded.job.active), (Some(control), true));
}

pub async fn a_gate_that_cannot_be_decoded_refuses_everybody_with_its_text(f: &Fixture) {
    for text in [r#"{"state":"ajar"}"#, r#"{"state":"started"}"#] {
        let (new, token, _) = f.claimed().await;
        let (r, id) = (&f.records, &new.job_id);
        f.tamper(id, Some(&token), "gate", Some(text)).await;
        let gate = Raw::stored(text);
        let refused = Ok(GateAnswer::Refused(Some(gate.clone())));
        assert_eq!(r.seal(id, &token, LeaveReason::Cancelled).await, refused);
        let lost = r.start(id, &token, &task("a"), &report(1)).await;
        assert_eq!(lost, Ok(StartAnswer::Lost(gate.clone())));
        assert_eq!(r.heartbeat(id, &token, &task("a"), &report(1)).await, refused);
        assert_eq!(r.finish(id, &token, &task("a"), &outcome()).await, refused);
        assert_eq!(f.attempt(id, &token).await.gate, Some(gate));
    }
}

/// What a leader has read that stood still since before the claim, once somebody has wiped `control`.
pub async fn control_is_written_by_who_has_seen_the_newest_attempt_only(f: &Fixture) {
    let (new, token, control) = f.claimed().await;
    let (r, id, seen) = (&f.records, &new.job_id, desired(&new));
    f.tamper(id, None, "control", None).await;
    let (next, end) = (waiting(), closing());
    let long_ago = ControlWrite { newest: 0, ..write(None, &seen, &next, false) };
    assert_eq!(r.write_control(id, long_ago).await, Ok(WriteAnswer::Conflict));
    assert_eq!(f.load(id).await.job.control, None);
    assert_eq!(r.seal(id, &token, LeaveReason::Cancelled).await, Ok(GateAnswer::Written));
    let closed = Closed { closing: WriteAnswer::Written, control: Some(WriteAnswer::Conflict) };
    assert_eq!(r.close_and_write(id, &token, &end, long_ago).await, Ok(closed));
    let again = control.parse().expect("a control");
    let put_back = ControlWrite { newest: 1, ..write(None, &seen, &again, false) };
    assert_eq!(r.write_control(id, put_back).await, Ok(WriteAnswer::Written));
    let settled = ControlWrite { newest: 0, ..write(Some(&control), &seen, &next, true) };
    assert_eq!(r.write_control(id, settled).await, Ok(WriteAnswer::Conflict));
    let loaded = f.load(id).await;
    assert_eq!((loaded.job.control, loaded.job.active), (Some(control), true));
}
