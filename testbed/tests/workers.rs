//! Workers and agents that die, hang, or do not want to stop.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use testbed::client::word;
use testbed::judge::judge;
use testbed::ledger::Event;
use testbed::procfs::is_alive;
use testbed::{Client, Options, Stack, ledger_agent};

const SOON: Duration = Duration::from_secs(20);

fn start() -> (Stack, Client) {
    let stack = Stack::start(Options::with_agent(ledger_agent!()));
    let client = stack.client();
    (stack, client)
}

/// Submits a job of type `job_type` whose agent does what `payload` says, and waits until its agent is there.
fn working(stack: &Stack, job_type: &str, payload: &Value, more: &Value) -> (String, i32) {
    let mut payload = payload.clone();
    payload["ledger"] = json!(stack.ledger().path());
    let mut desired = json!({"job_type": job_type, "payload": payload});
    let more = more.as_object().cloned().unwrap_or_default();
    desired.as_object_mut().expect("an object").extend(more);
    let job_id = stack.client().submit(&desired);
    let agent = agent_of(stack, &job_id, 1);
    (job_id, agent)
}

/// The process of an attempt's agent, once it has started.
fn agent_of(stack: &Stack, job_id: &str, attempt: u32) -> i32 {
    let until = Instant::now() + SOON;
    loop {
        let lines = stack.ledger().of(job_id);
        let start = lines.iter().find(|line| line.event == Event::Start && line.attempt == attempt);
        if let Some(line) = start {
            return line.pid;
        }
        assert!(Instant::now() < until, "attempt {attempt} of {job_id} does not start\n{}", stack.logs());
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn settle(stack: &Stack, job_id: String, status: &'static str, what: &str) {
    let expected = BTreeMap::from([(job_id.clone(), status)]);
    judge(stack, &[job_id], &expected).accept(what);
    stack.expect_no_process_left(SOON);
}

#[test]
fn an_agent_that_outlives_its_killed_worker_is_killed_before_the_next_attempt() {
    let (stack, client) = start();
    let (job_id, agent) = working(&stack, "ledger", &json!({"first_sleep_ms": 60_000}), &json!({}));
    let workers = stack.workers();
    assert_eq!(workers.len(), 1, "{workers:#?}");
    workers[0].kill();
    let second = agent_of(&stack, &job_id, 2);
    assert!(!is_alive(agent), "the first agent lives beside the second one");
    assert_ne!(second, agent);
    let job = client.ended(&job_id, SOON);
    assert_eq!((word(&job, "status"), &job["attempt"]), ("SUCCEEDED", &json!(2)));
    assert_eq!(job["control"]["tries"], 0, "a lost worker uses up no try");
    assert_eq!(stack.ledger().count(&job_id, Event::Told), 1, "the first agent was not asked to stop");
    settle(&stack, job_id, "SUCCEEDED", "worker killed");
}

#[test]
fn a_stubborn_agent_of_a_killed_worker_and_its_escaped_child_are_killed_too() {
    let (stack, _client) = start();
    let payload = json!({
        "sleep_ms": 60_000, "ignore_sigterm": true, "child_ms": 120_000, "child_escapes": true,
    });
    let (job_id, agent) = working(&stack, "stubborn", &payload, &json!({"max_attempts": 1}));
    // The agent says that it starts before it makes its child.
    let until = Instant::now() + SOON;
    while stack.tasks().len() < 3 {
        assert!(Instant::now() < until, "{:#?}", stack.tasks());
        std::thread::sleep(Duration::from_millis(5));
    }
    stack.workers()[0].kill();
    agent_of(&stack, &job_id, 2);
    assert!(!is_alive(agent), "the first agent lives beside the second one");
    let _ = stack.client().post(&format!("/jobs/{job_id}/cancel"), &Value::Null).expect(200);
    stack.client().ended(&job_id, SOON);
    settle(&stack, job_id, "FAILED", "worker of a stubborn agent killed");
}

#[test]
fn an_agent_that_ignores_sigterm_is_killed_after_the_grace_period() {
    let (stack, client) = start();
    let payload = json!({"sleep_ms": 60_000, "ignore_sigterm": true});
    let (job_id, agent) = working(&stack, "stubborn", &payload, &json!({}));
    let since = Instant::now();
    let _ = client.post(&format!("/jobs/{job_id}/cancel"), &Value::Null).expect(200);
    let job = client.ended(&job_id, SOON);
    let after = since.elapsed();
    assert_eq!(word(&job, "reason"), "Cancelled");
    assert!(!is_alive(agent), "the job has ended and its agent lives");
    assert!(after >= Duration::from_millis(900), "it had a second of grace, not {after:?}");
    assert!(after < Duration::from_secs(8), "{after:?}");
    assert_eq!(stack.ledger().count(&job_id, Event::Told), 1, "it was not asked before it was killed");
    settle(&stack, job_id, "FAILED", "agent that ignores SIGTERM");
}

#[test]
fn a_killed_agent_fails_its_attempt_and_uses_up_a_try() {
    let (stack, client) = start();
    let (job_id, agent) =
        working(&stack, "ledger", &json!({"sleep_ms": 60_000}), &json!({"max_attempts": 1}));
    testbed::procfs::signal(agent, rustix::process::Signal::KILL);
    let job = client.ended(&job_id, SOON);
    assert_eq!((word(&job, "reason"), &job["attempt"]), ("NonZeroExitCode", &json!(1)), "{job}");
    let attempt = &client.attempts(&job_id)[0];
    assert_eq!(attempt.pointer("/report/outcome/failure/exit_code"), Some(&json!(137)), "{attempt}");
    settle(&stack, job_id, "FAILED", "agent killed");
}

#[test]
fn a_crashed_agent_is_recorded_with_its_signal() {
    let (stack, client) = start();
    let payload = json!({"abort": true, "ledger": stack.ledger().path()});
    let job_id = client.submit(&json!({"job_type": "ledger", "payload": payload, "max_attempts": 1}));
    let job = client.ended(&job_id, SOON);
    assert_eq!(word(&job, "reason"), "NonZeroExitCode");
    let attempt = &client.attempts(&job_id)[0];
    assert_eq!(attempt.pointer("/report/outcome/failure/exit_code"), Some(&json!(134)), "{attempt}");
    settle(&stack, job_id, "FAILED", "agent that aborts");
}

#[test]
fn a_child_that_an_agent_leaves_behind_ends_with_the_attempt() {
    let (stack, client) = start();
    for escapes in [false, true] {
        let payload = json!({"child_ms": 120_000, "child_escapes": escapes});
        let (job_id, _agent) = working(&stack, "ledger", &payload, &json!({}));
        let job = client.ended(&job_id, SOON);
        assert_eq!(word(&job, "status"), "SUCCEEDED", "escapes: {escapes}: {job}");
        // A task that is still alive a minute after its outcome is stopped.
        stack.expect_no_process_left(Duration::from_secs(if escapes { 75 } else { 10 }));
        settle(&stack, job_id, "SUCCEEDED", "child left behind");
    }
}

#[test]
fn the_worker_s_own_timeout_guard_and_the_reconciler_agree_on_one_attempt() {
    let (stack, client) = start();
    let more = json!({"attempt_timeout_seconds": 1, "max_attempts": 1});
    let (job_id, agent) = working(&stack, "ledger", &json!({"sleep_ms": 60_000}), &more);
    let job = client.ended(&job_id, SOON);
    assert_eq!((word(&job, "reason"), &job["attempt"]), ("AttemptTimeout", &json!(1)), "{job}");
    assert!(!is_alive(agent));
    settle(&stack, job_id, "FAILED", "attempt timeout");
}

#[test]
fn a_worker_that_is_told_to_stop_by_somebody_else_reports_it_and_the_job_goes_on() {
    let (stack, client) = start();
    let (job_id, _agent) = working(&stack, "ledger", &json!({"sleep_ms": 2000}), &json!({}));
    testbed::procfs::signal(stack.workers()[0].pid, rustix::process::Signal::TERM);
    let job = client.ended(&job_id, SOON);
    assert_eq!((word(&job, "status"), &job["attempt"]), ("SUCCEEDED", &json!(2)), "{job}");
    let first = &client.attempts(&job_id)[0];
    assert_eq!(first.pointer("/closing/verdict/failed/class"), Some(&json!("Interrupted")), "{first}");
    settle(&stack, job_id, "SUCCEEDED", "worker interrupted");
}

#[test]
fn files_and_a_long_log_are_stored_as_the_agent_left_them() {
    let (stack, client) = start();
    let payload = json!({"files": 30, "say": 300_000, "ledger": stack.ledger().path()});
    let job_id = client.submit(&json!({"job_type": "ledger", "payload": payload}));
    let job = client.ended(&job_id, SOON);
    assert_eq!(word(&job, "status"), "SUCCEEDED", "{job}");
    let files = client.get(&format!("/jobs/{job_id}/artifacts")).expect(200).body;
    let paths: Vec<&str> = files["artifacts"].as_array().unwrap().iter().map(|f| word(f, "path")).collect();
    assert_eq!(paths.iter().filter(|path| path.contains("/artifacts/")).count(), 30, "{paths:?}");
    settle(&stack, job_id, "SUCCEEDED", "files");
}
