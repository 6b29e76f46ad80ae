//! The orchestrator ends or is killed, and another one goes on with the same folder.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use testbed::client::word;
use testbed::judge::judge;
use testbed::ledger::Event;
use testbed::procfs::is_alive;
use testbed::{Options, Stack, ledger_agent};

const SOON: Duration = Duration::from_secs(20);

fn working(stack: &Stack, sleep_ms: u64) -> Value {
    json!({"job_type": "ledger", "payload": {"ledger": stack.ledger().path(), "sleep_ms": sleep_ms}})
}

/// Starts jobs of every length, ends the orchestrator by `end`, lets some agents end while nobody is up, and
/// checks that the next orchestrator counts what all of them did.
fn live_on(end: impl Fn(&mut Stack)) {
    let mut stack = Stack::start(Options::with_agent(ledger_agent!()));
    let client = stack.client();
    let short: Vec<String> = (0..2).map(|_| client.submit(&working(&stack, 700))).collect();
    let long: Vec<String> = (0..2).map(|_| client.submit(&working(&stack, 4000))).collect();
    let all: Vec<String> = short.iter().chain(&long).cloned().collect();
    for job_id in &all {
        client.status(job_id, "RUNNING", SOON);
    }
    let workers = stack.workers();
    assert_eq!(workers.len(), 4, "{workers:#?}");
    end(&mut stack);
    assert!(workers.iter().all(|worker| is_alive(worker.pid)), "workers ended with the orchestrator");
    let until = Instant::now() + SOON;
    while short.iter().any(|job_id| stack.ledger().count(job_id, Event::End) == 0) {
        assert!(Instant::now() < until, "the agents do not end");
        std::thread::sleep(Duration::from_millis(20));
    }
    stack.launch();
    stack.ready();
    for job_id in &all {
        let job = client.ended(job_id, SOON);
        assert_eq!((word(&job, "status"), &job["attempt"]), ("SUCCEEDED", &json!(1)), "{job}");
    }
    judge(&stack, &all, &BTreeMap::new()).accept("workers that outlived their orchestrator");
    stack.expect_no_process_left(SOON);
}

#[test]
fn workers_outlive_sigterm_of_the_orchestrator_and_their_outcomes_count() {
    live_on(|stack| {
        let (status, after) = stack.terminate();
        assert_eq!(status.code(), Some(0));
        assert!(after < Duration::from_secs(2), "{after:?}");
    });
}

#[test]
fn workers_outlive_kill_9_of_the_orchestrator_and_their_outcomes_count() {
    live_on(Stack::kill);
}

#[test]
fn a_job_that_was_taken_over_is_stopped_when_it_is_cancelled() {
    let mut stack = Stack::start(Options::with_agent(ledger_agent!()));
    let client = stack.client();
    let job_id = client.submit(&working(&stack, 60_000));
    client.status(&job_id, "RUNNING", SOON);
    stack.restart();
    let _ = client.post(&format!("/jobs/{job_id}/cancel"), &Value::Null).expect(200);
    let job = client.ended(&job_id, SOON);
    assert_eq!((word(&job, "reason"), &job["attempt"]), ("Cancelled", &json!(1)));
    assert_eq!(stack.ledger().count(&job_id, Event::Told), 1, "the agent was not asked to stop");
    stack.expect_no_process_left(SOON);
}

#[test]
fn a_worker_that_dies_while_nobody_is_up_is_noticed_by_the_next_orchestrator() {
    let mut stack = Stack::start(Options::with_agent(ledger_agent!()));
    let client = stack.client();
    let payload = json!({"ledger": stack.ledger().path(), "first_sleep_ms": 60_000});
    let job_id = client.submit(&json!({"job_type": "ledger", "payload": payload}));
    client.status(&job_id, "RUNNING", SOON);
    while stack.ledger().count(&job_id, Event::Start) == 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    stack.kill();
    for worker in stack.workers() {
        worker.kill();
    }
    stack.launch();
    stack.ready();
    let job = client.ended(&job_id, SOON);
    assert_eq!((word(&job, "status"), &job["attempt"]), ("SUCCEEDED", &json!(2)), "{job}");
    let findings = judge(&stack, &[job_id], &BTreeMap::new());
    assert_eq!(findings.causes.get("WorkerLost"), Some(&1), "{findings:?}");
    findings.accept("a worker lost while nobody was up");
    stack.expect_no_process_left(SOON);
}

#[test]
fn a_second_orchestrator_on_the_same_records_stands_by_and_takes_over() {
    let first = Stack::start(Options::with_agent(ledger_agent!()));
    let mut second =
        first.command(&["up", "--listen", &format!("127.0.0.1:{}", testbed::stack::free_port())]);
    let mut second = second.spawn().expect("a second up");
    let client = first.client();
    let job_ids: Vec<String> = (0..20).map(|_| client.submit(&working(&first, 100))).collect();
    for job_id in &job_ids {
        let job = client.ended(job_id, SOON);
        assert_eq!((word(&job, "status"), &job["attempt"]), ("SUCCEEDED", &json!(1)), "{job}");
    }
    judge(&first, &job_ids, &BTreeMap::new()).accept("two orchestrators");
    let _ = second.kill();
    let _ = second.wait();
}
