//! What is wanted of a job is done: retries, pauses, time limits, order, limits, collection, idempotency.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use testbed::client::word;
use testbed::judge::judge;
use testbed::ledger::Event;
use testbed::{Client, Options, Stack, ledger_agent};

const SOON: Duration = Duration::from_secs(20);

fn millis(job: &Value, field: &str) -> i64 {
    let time: contract::Timestamp =
        word(job, field).parse().unwrap_or_else(|e| panic!("{field} of {job}: {e}"));
    time.millis()
}

fn end(client: &Client, job_id: &str) -> (String, String, u64) {
    let job = client.ended(job_id, SOON);
    let words = ["status", "reason"].map(|name| word(&job, name).to_owned());
    let [status, reason] = words;
    (status, reason, job["attempt"].as_u64().unwrap_or(0))
}

fn ending(status: &str, reason: &str, attempts: u64) -> (String, String, u64) {
    (status.to_owned(), reason.to_owned(), attempts)
}

#[test]
fn a_job_is_tried_again_after_pauses_that_grow() {
    let stack = Stack::start(Options::default());
    let client = stack.client();
    let backoff = json!({"initial_seconds": 1, "factor": 2, "max_seconds": 10});
    let job_id =
        client.submit(&json!({"job_type": "echo", "payload": {"fail_times": 2}, "backoff": backoff}));
    let paused = client.reason(&job_id, "BackingOff", SOON);
    assert!(word(&paused, "message").contains("NonZeroExitCode"), "{paused}");
    assert_eq!(end(&client, &job_id), ending("SUCCEEDED", "Completed", 3));
    let attempts = client.attempts(&job_id);
    let pauses: Vec<i64> = attempts
        .windows(2)
        .map(|pair| millis(&pair[1], "claimed_at") - millis(&pair[0], "closed_at"))
        .collect();
    // A tenth of the pause either way, and what a busy machine adds.
    assert!((900..1900).contains(&pauses[0]) && (1800..3500).contains(&pauses[1]), "{pauses:?}");
}

#[test]
fn a_run_has_as_many_tries_as_it_may_and_a_forced_retry_gives_new_ones() {
    let stack = Stack::start(Options::default());
    let client = stack.client();
    let job_id = client.submit(&json!({
        "job_type": "echo", "payload": {"fail_with_exit_code": 3}, "max_attempts": 2,
        "backoff": {"initial_seconds": 0},
    }));
    assert_eq!(end(&client, &job_id), ending("FAILED", "MaxAttemptsExceeded", 2));
    assert!(
        word(&client.job(&job_id), "message").contains("exit code 3") || !client.attempts(&job_id).is_empty()
    );
    let _ = client.post(&format!("/jobs/{job_id}/retry"), &Value::Null).expect(200);
    assert_eq!(end(&client, &job_id), ending("FAILED", "MaxAttemptsExceeded", 4));
    let runs: Vec<u64> = client.attempts(&job_id).iter().filter_map(|a| a["run"].as_u64()).collect();
    assert_eq!(runs, [1, 1, 2, 2]);
}

#[test]
fn rules_of_the_failure_policy_decide_before_the_budgets() {
    let stack = Stack::start(Options::default());
    let client = stack.client();
    let with = |payload: Value, rule: Value| {
        client.submit(&json!({
            "job_type": "echo", "payload": payload, "max_attempts": 2,
            "backoff": {"initial_seconds": 0}, "failure_policy": {"rules": [rule]},
        }))
    };
    let fatal = with(json!({"fail_with_exit_code": 42}), json!({"exit_codes": [42], "action": "Fail"}));
    let other = with(json!({"fail_with_exit_code": 41}), json!({"exit_codes": [42], "action": "Fail"}));
    let forgiven =
        with(json!({"fail_times": 3}), json!({"classes": ["NonZeroExitCode"], "action": "Ignore"}));
    assert_eq!(end(&client, &fatal), ending("FAILED", "FailurePolicy", 1));
    assert_eq!(end(&client, &other), ending("FAILED", "MaxAttemptsExceeded", 2));
    assert_eq!(end(&client, &forgiven), ending("SUCCEEDED", "Completed", 4));
    assert_eq!(client.job(&forgiven)["control"]["tries"], 0);
}

#[test]
fn every_time_limit_ends_what_it_limits() {
    let stack = Stack::start(Options::with_agent(ledger_agent!()));
    let client = stack.client();
    let slow = |more: Value| {
        let payload = json!({"ledger": stack.ledger().path(), "sleep_ms": 60_000});
        let mut desired =
            json!({"job_type": "ledger", "payload": payload, "backoff": {"initial_seconds": 0}});
        desired.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        client.submit(&desired)
    };
    let attempt = slow(json!({"attempt_timeout_seconds": 1, "max_attempts": 2}));
    let run = slow(json!({"active_deadline_seconds": 2}));
    let waiting = client.submit(&json!({"job_type": "echo", "suspend": true, "active_deadline_seconds": 1}));
    assert_eq!(end(&client, &attempt), ending("FAILED", "MaxAttemptsExceeded", 2));
    assert_eq!(end(&client, &run), ending("FAILED", "DeadlineExceeded", 1));
    let job = client.job(&run);
    let took = millis(&job, "finished_at") - millis(&job, "created_at");
    assert!((2000..8000).contains(&took), "{took} ms");
    assert_eq!(word(&client.job(&waiting), "reason"), "Suspended", "time that a job is held does not count");
    let expected = BTreeMap::from([(attempt.clone(), "FAILED"), (run.clone(), "FAILED")]);
    judge(&stack, &[attempt, run], &expected).accept("time limits");
    stack.expect_no_process_left(SOON);
}

#[test]
fn the_deadline_counts_while_a_job_pauses_between_tries() {
    let stack = Stack::start(Options::default());
    let client = stack.client();
    let job_id = client.submit(&json!({
        "job_type": "echo", "payload": {"fail_times": 9}, "max_attempts": 9,
        "backoff": {"initial_seconds": 600, "max_seconds": 600}, "active_deadline_seconds": 2,
    }));
    assert_eq!(end(&client, &job_id), ending("FAILED", "DeadlineExceeded", 1));
}

/// The order in which agents started.
fn order(stack: &Stack) -> Vec<String> {
    let starts = stack.ledger().lines().into_iter().filter(|line| line.event == Event::Start);
    starts.map(|line| line.job).collect()
}

#[test]
fn with_one_slot_jobs_start_by_priority_and_then_by_age() {
    let stack = Stack::start(Options::with_agent(ledger_agent!()).slots(1));
    let client = stack.client();
    let submit = |priority: i32, sleep_ms: u64| {
        let payload = json!({"ledger": stack.ledger().path(), "sleep_ms": sleep_ms});
        client.submit(&json!({"job_type": "ledger", "payload": payload, "priority": priority}))
    };
    let mut expected = vec![submit(0, 1500)];
    client.status(&expected[0], "RUNNING", SOON);
    let (low, first, second, high) = (submit(-1, 1), submit(0, 1), submit(0, 1), submit(9, 1));
    expected.extend([high, first, second, low]);
    let waiting = client.reason(&expected[4], "WaitingForQuota", SOON);
    assert_eq!(word(&waiting, "status"), "QUEUED");
    for job_id in &expected {
        client.ended(job_id, SOON);
    }
    assert_eq!(order(&stack), expected);
}

/// The largest number of agents at once.
fn most_at_once(stack: &Stack, job_ids: &[String]) -> i32 {
    let mut lines = stack.ledger().lines();
    lines.retain(|line| job_ids.contains(&line.job));
    lines.sort_by_key(|line| line.at);
    let steps = lines.iter().map(|line| if line.event == Event::Start { 1 } else { -1 });
    let running = steps.scan(0, |running, step| {
        *running += step;
        Some(*running)
    });
    running.max().unwrap_or(0)
}

#[test]
fn a_queue_and_the_global_limit_are_never_exceeded() {
    let mut options = Options::with_agent(ledger_agent!()).slots(3);
    options.job_types = "[queues.llm]\nmax_running = 2\n".to_owned();
    let stack = Stack::start(options);
    let client = stack.client();
    let submit = |queue: Option<&str>| {
        let payload = json!({"ledger": stack.ledger().path(), "sleep_ms": 100});
        client.submit(&json!({"job_type": "ledger", "payload": payload, "queue": queue}))
    };
    let queued: Vec<String> = (0..8).map(|_| submit(Some("llm"))).collect();
    let free: Vec<String> = (0..8).map(|_| submit(None)).collect();
    let all: Vec<String> = queued.iter().chain(&free).cloned().collect();
    for job_id in &all {
        client.ended(job_id, SOON);
    }
    assert_eq!(most_at_once(&stack, &queued), 2);
    assert_eq!(most_at_once(&stack, &all), 3);
    let unknown = client.post("/jobs", &json!({"job_type": "echo", "queue": "lm"})).expect(422);
    assert!(unknown.text.contains("llm"), "no suggestion: {}", unknown.text);
}

#[test]
fn a_job_and_its_files_are_collected_when_its_time_has_come() {
    let stack = Stack::start(Options::default().env("AGENT_RUNNER_RESYNC_SECONDS", "1"));
    let client = stack.client();
    let kept = client.echo(&json!({}));
    // Too large for a claim.
    let payload = json!({"text": "x".repeat(10_000)});
    let job = |ttl: u32| json!({"job_type": "echo", "payload": &payload, "ttl_seconds_after_finished": ttl});
    let twin = client.submit(&job(86_400));
    client.ended(&twin, SOON);
    let job_id = client.submit(&job(1));
    assert_eq!(client.ended(&job_id, SOON)["result"]["payload"], payload);
    let of = |kind: &str, job_id: &str| stack.artifacts().join(kind).join(job_id);
    let (folder, stored) = (of("jobs", &job_id), of("payloads", &job_id));
    assert!(folder.is_dir() && stored.is_dir());
    let until = Instant::now() + SOON;
    while client.get(&format!("/jobs/{job_id}")).status != 404 {
        assert!(Instant::now() < until, "the job is not collected\n{}", stack.logs());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(!folder.exists() && !stored.exists(), "the record is gone and its files are not");
    assert!(of("payloads", &twin).is_dir(), "the payload of another job is gone");
    let attempts = "SELECT count(*) FROM attempts WHERE job_id = ?1";
    let left: i64 = stack.records().query_row(attempts, [&job_id], |row| row.get(0)).unwrap();
    assert_eq!(left, 0);
    assert_eq!(word(&client.job(&kept), "status"), "SUCCEEDED", "a job was collected that has days left");
}

#[test]
fn a_key_makes_one_job_however_often_and_from_wherever_it_is_sent() {
    let stack = Stack::start(Options::default());
    let client = stack.client();
    let body = r#"{"job_type": "echo", "payload": {"n": 1}}"#;
    let key = [("idempotency-key", "order-17")];
    let ids: Vec<String> = std::thread::scope(|scope| {
        let send = || client.ask("POST", "/jobs", &key, Some(body)).expect("an answer");
        let all: Vec<_> = (0..8).map(|_| scope.spawn(send)).collect();
        let answers: Vec<_> = all.into_iter().map(|one| one.join().unwrap()).collect();
        assert_eq!(answers.iter().filter(|a| a.status == 201).count(), 1, "{answers:?}");
        assert!(answers.iter().all(|a| matches!(a.status, 200 | 201)), "{answers:?}");
        answers.iter().map(|a| a.word("job_id").to_owned()).collect()
    });
    assert!(ids.windows(2).all(|pair| pair[0] == pair[1]), "{ids:?}");
    let other = client.ask("POST", "/jobs", &key, Some(r#"{"job_type": "echo"}"#)).unwrap();
    assert_eq!(other.status, 422, "{}", other.text);
    client.ended(&ids[0], SOON);
    assert_eq!(client.attempts(&ids[0]).len(), 1);
    let jobs: i64 = stack.records().query_row("SELECT count(*) FROM jobs", [], |row| row.get(0)).unwrap();
    assert_eq!(jobs, 1);
}

#[test]
fn what_cannot_be_honoured_is_refused_with_every_mistake_at_once() {
    let stack = Stack::start(Options::default());
    let refused = stack
        .client()
        .post(
            "/jobs",
            &json!({"job_type": "ehco", "capacity": "spot", "max_cost_usd": 1.5, "max_attempts": 0, "prioriti": 1}),
        )
        .expect(422);
    assert_eq!(refused.content_type, "application/problem+json");
    for part in ["echo", "/capacity", "/max_cost_usd", "/max_attempts", "priority", "not supported"] {
        assert!(refused.text.contains(part), "{part} is not named in {}", refused.text);
    }
}
