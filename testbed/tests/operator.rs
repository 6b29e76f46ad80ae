//! An operator steers jobs, through the API and by editing the records with a database client.

use rusqlite::Connection;
use serde_json::{Value, json};
use std::process::Command;
use std::time::{Duration, Instant};
use testbed::client::word;
use testbed::ledger::Event;
use testbed::{Client, Options, Stack, leave_out, ledger_agent};

const SOON: Duration = Duration::from_secs(20);

/// Something that changes a job: by a second connection, the sqlite3 program or the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Connection,
    Program,
    Api,
}

const WAYS: [By; 3] = [By::Connection, By::Program, By::Api];

fn edit_with_program(stack: &Stack, sql: &str) -> Result<(), String> {
    let mut command = Command::new("sqlite3");
    command.arg("-cmd").arg(".timeout 5000").arg(stack.database()).arg(sql);
    let output = command.output().map_err(|e| e.to_string())?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

fn has_program() -> bool {
    let there = Command::new("sqlite3").arg("-version").output().is_ok_and(|output| output.status.success());
    if !there {
        leave_out("edits with the sqlite3 program", "it is not installed");
    }
    there
}

fn set(job_id: &str, member: &str, value: &str) -> String {
    format!("UPDATE jobs SET desired = json_set(desired, '$.{member}', {value}) WHERE job_id = '{job_id}'")
}

/// Does what a verb of the API does, in one of the three ways.
fn act(stack: &Stack, by: By, job_id: &str, verb: &str) {
    let sql = match verb {
        "retry" => set(job_id, "retry", "json_extract(desired, '$.retry') + 1"),
        "cancel" => set(job_id, "cancel", "json('true')"),
        "suspend" => set(job_id, "suspend", "json('true')"),
        _ => set(job_id, "suspend", "json('false')"),
    };
    match by {
        By::Api => drop(stack.client().post(&format!("/jobs/{job_id}/{verb}"), &Value::Null).expect(200)),
        By::Connection => assert_eq!(stack.records().execute(&sql, []).expect(verb), 1),
        By::Program => edit_with_program(stack, &sql).expect(verb),
    }
}

fn ways() -> impl Iterator<Item = By> {
    let program = has_program();
    WAYS.into_iter().filter(move |by| *by != By::Program || program)
}

fn slow(stack: &Stack) -> Value {
    json!({"job_type": "ledger", "payload": {"ledger": stack.ledger().path(), "sleep_ms": 60_000}})
}

/// Work that goes on when it is told to stop, and is killed after a second of grace: whoever does not wait
/// for its end starts a second agent beside it.
fn stubborn(stack: &Stack) -> Value {
    let payload = json!({"ledger": stack.ledger().path(), "sleep_ms": 60_000, "ignore_sigterm": true});
    json!({"job_type": "stubborn", "payload": payload})
}

#[test]
fn a_finished_job_is_retried_by_hand_and_by_the_api_and_keeps_counting_attempts() {
    let stack = Stack::start(Options::default());
    let client = stack.client();
    let job_id = client.echo(&json!({"n": 1}));
    client.ended(&job_id, SOON);
    for (n, by) in (2..).zip(ways()) {
        act(&stack, by, &job_id, "retry");
        let job = client.until(&job_id, SOON, "the next run", |job| {
            job["attempt"] == n && word(job, "status") == "SUCCEEDED"
        });
        assert_eq!(job["control"]["run"], n, "{by:?}");
        assert_eq!(job["result"]["attempt"], n, "{by:?}: {}", job["result"]);
    }
    stack.expect_no_process_left(SOON);
}

#[test]
fn a_running_job_is_cancelled_in_every_way_and_its_agent_is_stopped() {
    let stack = Stack::start(Options::with_agent(ledger_agent!()));
    let client = stack.client();
    for by in ways() {
        let job_id = client.submit(&slow(&stack));
        client.status(&job_id, "RUNNING", SOON);
        act(&stack, by, &job_id, "cancel");
        let job = client.ended(&job_id, SOON);
        assert_eq!((word(&job, "status"), word(&job, "reason")), ("FAILED", "Cancelled"), "{by:?}");
        assert_eq!(stack.ledger().count(&job_id, Event::End), 0, "{by:?}: the agent was let run to its end");
    }
    stack.expect_no_process_left(SOON);
}

#[test]
fn a_job_is_suspended_while_it_runs_and_resumed_in_every_way_without_using_up_a_try() {
    let stack = Stack::start(Options::with_agent(ledger_agent!()));
    let client = stack.client();
    for by in ways() {
        let job_id = client.submit(&stubborn(&stack));
        client.status(&job_id, "RUNNING", SOON);
        act(&stack, by, &job_id, "suspend");
        let held = |job: &Value| word(job, "status") == "QUEUED" && word(job, "reason") == "Suspended";
        client.until(&job_id, SOON, "being held", held);
        act(&stack, by, &job_id, "resume");
        let again = |job: &Value| job["attempt"] == 2 && word(job, "status") == "RUNNING";
        let job = client.until(&job_id, SOON, "running again", again);
        assert_eq!(job["control"]["tries"], 0, "{by:?}: a try was used up");
        let first = &client.attempts(&job_id)[0];
        assert_eq!(first.pointer("/closing/verdict/left/why"), Some(&json!("Suspended")), "{by:?}");
        act(&stack, by, &job_id, "cancel");
        client.ended(&job_id, SOON);
    }
    assert!(testbed::ledger::mistakes(&stack.ledger().lines()).is_empty());
    stack.expect_no_process_left(SOON);
}

#[test]
fn a_job_that_is_not_started_yet_obeys_as_well() {
    let stack = Stack::start(Options::default());
    let client = stack.client();
    let held = json!({"job_type": "echo", "suspend": true});
    for by in ways() {
        let (one, other) = (client.submit(&held), client.submit(&held));
        client.reason(&one, "Suspended", SOON);
        act(&stack, by, &one, "cancel");
        act(&stack, by, &other, "resume");
        assert_eq!(word(&client.ended(&one, SOON), "reason"), "Cancelled", "{by:?}");
        assert_eq!(client.ended(&one, SOON)["attempt"], 0, "{by:?}: it was started");
        assert_eq!(word(&client.ended(&other, SOON), "status"), "SUCCEEDED", "{by:?}");
    }
}

#[test]
fn a_retry_of_a_running_job_needs_force_and_then_stops_its_attempt_first() {
    let stack = Stack::start(Options::with_agent(ledger_agent!()));
    let client = stack.client();
    let job_id = client.submit(&stubborn(&stack));
    client.status(&job_id, "RUNNING", SOON);
    let refused = client.post(&format!("/jobs/{job_id}/retry"), &Value::Null).expect(409);
    assert!(refused.text.contains("force"), "{}", refused.text);
    let _ = client.post(&format!("/jobs/{job_id}/retry?force=true"), &Value::Null).expect(200);
    let again = |job: &Value| job["attempt"] == 2 && word(job, "status") == "RUNNING";
    client.until(&job_id, SOON, "the next run", again);
    let _ = client.post(&format!("/jobs/{job_id}/cancel"), &Value::Null).expect(200);
    client.ended(&job_id, SOON);
    assert_eq!(testbed::ledger::mistakes(&stack.ledger().lines()), [""; 0]);
    stack.expect_no_process_left(SOON);
}

#[test]
fn the_database_refuses_edits_that_make_no_sense_and_says_why() {
    let stack = Stack::start(Options::default());
    let job_id = stack.client().echo(&json!({}));
    stack.client().ended(&job_id, SOON);
    let records = stack.records();
    let by_id = |sql: &str| format!("UPDATE jobs SET {sql} WHERE job_id = '{job_id}'");
    let refused = [
        (set(&job_id, "retri", "1"), "unknown word"),
        (by_id("desired = '{broken'"), "desired must be one JSON object"),
        (by_id("desired = '[]'"), "desired must be one JSON object"),
        (by_id("desired = 7"), "desired must be one JSON object"),
        (set(&job_id, "retry", "-1"), "only grows"),
        (set(&job_id, "retry", "'2'"), "whole number"),
        (set(&job_id, "job_type", "'other'"), "never changes"),
        (set(&job_id, "cancel", "1"), "true or false"),
        (by_id("job_id = 'other'"), "never change"),
        (by_id("active = 2"), "active must be 0 or 1"),
        ("UPDATE attempts SET number = 9".to_owned(), "never change"),
        ("UPDATE attempts SET gate = NULL".to_owned(), "only moves forward"),
        ("DELETE FROM attempts".to_owned(), "ledger"),
    ];
    for (sql, why) in refused {
        let error = records.execute(&sql, []).expect_err(&sql).to_string();
        assert!(error.contains(why), "{sql}: {error}");
    }
    let job = stack.client().job(&job_id);
    assert_eq!((word(&job, "status"), &job["attempt"]), ("SUCCEEDED", &json!(1)));
}

/// Milliseconds from the commit of an edit until the client sees its effect.
fn pick_up_time(records: &Connection, client: &Client, job_id: &str) -> f64 {
    let sql = set(job_id, "cancel", "json('true')");
    std::thread::scope(|scope| {
        let seen = scope.spawn(|| {
            let answer = client.get(&format!("/jobs/{job_id}?wait=10s&until=finished"));
            assert_eq!(answer.word("reason"), "Cancelled");
            Instant::now()
        });
        // So that the long poll is there before the edit: otherwise it would see the end at once as well.
        std::thread::sleep(Duration::from_millis(30));
        assert_eq!(records.execute(&sql, []).unwrap(), 1);
        let edited = Instant::now();
        seen.join().unwrap().saturating_duration_since(edited).as_secs_f64() * 1000.0
    })
}

#[test]
fn an_edit_by_another_process_is_picked_up_at_once() {
    let stack = Stack::start(Options::default());
    let (client, records) = (stack.client(), stack.records());
    let mut times: Vec<f64> = (0..10)
        .map(|_| {
            let job_id = client.submit(&json!({"job_type": "echo", "suspend": true}));
            client.reason(&job_id, "Suspended", SOON);
            pick_up_time(&records, &client, &job_id)
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let (median, worst) = (times[5], times[9]);
    testbed::say(&format!("edit to effect: median {median:.1} ms, worst of 10 {worst:.1} ms"));
    // 100 ms is promised on a machine that is not busy; this one runs other tests.
    assert!(median < 1000.0, "{times:?}");
}

#[test]
fn an_edit_of_a_finished_job_made_while_nobody_was_up_is_found_at_the_start() {
    let mut stack = Stack::start(Options::default());
    let job_id = stack.client().echo(&json!({}));
    stack.client().ended(&job_id, SOON);
    stack.kill();
    act(&stack, By::Connection, &job_id, "retry");
    stack.launch();
    stack.ready();
    let job = stack.client().until(&job_id, SOON, "the next run", |job| {
        job["attempt"] == 2 && word(job, "status") == "SUCCEEDED"
    });
    assert_eq!(job["control"]["run"], 2);
}

#[test]
fn wiping_control_by_hand_starts_no_second_agent() {
    let stack = Stack::start(Options::with_agent(ledger_agent!()));
    let client = stack.client();
    let payload = json!({"ledger": stack.ledger().path(), "sleep_ms": 1500});
    let job_id = client.submit(&json!({"job_type": "ledger", "payload": payload}));
    client.status(&job_id, "RUNNING", SOON);
    let sql = format!("UPDATE jobs SET control = NULL, status = NULL WHERE job_id = '{job_id}'");
    assert_eq!(stack.records().execute(&sql, []).unwrap(), 1);
    client.ended(&job_id, SOON);
    testbed::judge::judge(&stack, &[job_id], &Default::default()).accept("control wiped");
    stack.expect_no_process_left(SOON);
}

#[test]
fn an_epoch_that_never_was_ends_no_leadership_and_no_job() {
    let stack = Stack::start(Options::with_agent(ledger_agent!()));
    let client = stack.client();
    let job_id = client.submit(&json!({"job_type": "echo", "suspend": true}));
    client.reason(&job_id, "Suspended", SOON);
    let sql =
        format!("UPDATE jobs SET control = json_set(control, '$.epoch', 999) WHERE job_id = '{job_id}'");
    assert_eq!(stack.records().execute(&sql, []).unwrap(), 1);
    act(&stack, By::Api, &job_id, "resume");
    assert_eq!(word(&client.ended(&job_id, SOON), "status"), "SUCCEEDED");
    assert_eq!(client.metric("agent_runner_lease_epoch"), 1.0, "leadership was given up");
}
