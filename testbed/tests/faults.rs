//! Stores that fail: a full disk, a folder that is none, a database that somebody else has locked, records
//! that were broken by hand.

use rusqlite::Connection;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use testbed::client::word;
use testbed::judge::judge;
use testbed::{Client, Options, Stack, leave_out, ledger_agent};

const SOON: Duration = Duration::from_secs(30);

fn desired(stack: &Stack, sleep_ms: u64) -> Value {
    json!({"job_type": "ledger", "payload": {"ledger": stack.ledger().path(), "sleep_ms": sleep_ms}})
}

fn all_end(client: &Client, job_ids: &[String], patience: Duration) {
    let since = Instant::now();
    for job_id in job_ids {
        client.ended(job_id, patience.saturating_sub(since.elapsed()));
    }
}

fn settle(stack: &Stack, job_ids: &[String], what: &str) {
    judge(stack, job_ids, &BTreeMap::new()).accept(what);
    stack.expect_no_process_left(SOON);
}

#[test]
fn a_database_that_somebody_else_locks_for_ten_seconds_loses_nothing() {
    let stack = Stack::start(Options::with_agent(ledger_agent!()).slots(8));
    let client = stack.client();
    // Some end while the database is locked, so that their workers have to wait with their outcome.
    let mut job_ids: Vec<String> = (0..8).map(|n| client.submit(&desired(&stack, 300 * n))).collect();
    client.status(&job_ids[7], "RUNNING", SOON);
    let records = stack.records();
    records.execute_batch("BEGIN EXCLUSIVE").expect("the lock");
    let locked = Instant::now();
    let during: Vec<String> = std::thread::scope(|scope| {
        let submit = |n: usize| {
            let (client, desired) = (client.clone(), desired(&stack, 1));
            move || client.insist(&format!("locked-{n}"), &desired, SOON).expect("accepted in the end")
        };
        let submitters: Vec<_> = (0..4).map(|n| scope.spawn(submit(n))).collect();
        // Reads go on: what is shown is what was there.
        while locked.elapsed() < Duration::from_secs(10) {
            let asked = Instant::now();
            let answer = client.get(&format!("/jobs/{}", job_ids[0]));
            assert_eq!(answer.status, 200, "{}", answer.text);
            assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
            std::thread::sleep(Duration::from_millis(200));
        }
        records.execute_batch("COMMIT").expect("the lock is given back");
        submitters.into_iter().map(|one| one.join().unwrap()).collect()
    });
    job_ids.extend(during);
    let since = Instant::now();
    all_end(&client, &job_ids, SOON);
    testbed::say(&format!("database locked for 10 s: settled {:.1?} after it", since.elapsed()));
    for job_id in &job_ids {
        assert_eq!(client.job(job_id)["attempt"], 1, "the lock cost an attempt of {job_id}");
    }
    settle(&stack, &job_ids, "database locked");
}

#[test]
fn a_submission_to_a_locked_database_is_answered_in_time_and_says_to_come_again() {
    let stack = Stack::start(Options::default());
    let records = stack.records();
    records.execute_batch("BEGIN EXCLUSIVE").expect("the lock");
    let since = Instant::now();
    let answer = stack.client().post("/jobs", &json!({"job_type": "echo"}));
    let after = since.elapsed();
    let health = stack.client().get("/health");
    assert_eq!(health.status, 503, "nothing can be written, and it is well: {}", health.text);
    records.execute_batch("COMMIT").expect("the lock is given back");
    let health = stack.client().get("/health");
    assert_eq!(health.status, 200, "{}", health.text);
    assert_eq!((answer.status, &*answer.content_type), (503, "application/problem+json"), "{}", answer.text);
    assert!(after < Duration::from_secs(30), "{after:?}");
    testbed::say(&format!("submission to a locked database: 503 after {after:.1?}"));
    let job_id = stack.client().echo(&json!({}));
    assert_eq!(word(&stack.client().ended(&job_id, SOON), "status"), "SUCCEEDED");
}

/// Puts a file where the folder of artifacts was: nothing can be stored, whoever the user is.
fn break_artifacts(stack: &Stack) -> PathBuf {
    let aside = stack.folder().join("data/artifacts.aside");
    std::fs::rename(stack.artifacts(), &aside).expect("a folder to put aside");
    std::fs::write(stack.artifacts(), "no folder").expect("a file");
    aside
}

fn mend_artifacts(stack: &Stack, aside: &Path) {
    std::fs::remove_file(stack.artifacts()).expect("the file");
    std::fs::rename(aside, stack.artifacts()).expect("the folder");
}

#[test]
fn outcomes_wait_for_a_folder_of_artifacts_that_comes_back() {
    let stack = Stack::start(Options::with_agent(ledger_agent!()).slots(4));
    let client = stack.client();
    let first = client.submit(&desired(&stack, 1));
    client.ended(&first, SOON);
    let aside = break_artifacts(&stack);
    let mut job_ids: Vec<String> = (0..6).map(|_| client.submit(&desired(&stack, 100))).collect();
    std::thread::sleep(Duration::from_secs(3));
    for job_id in &job_ids {
        let status = word(&client.job(job_id), "status").to_owned();
        assert!(status != "SUCCEEDED", "a result that cannot be read was accepted");
        assert!(status != "FAILED", "the job is given up: {}", client.job(job_id));
    }
    mend_artifacts(&stack, &aside);
    let since = Instant::now();
    job_ids.push(first);
    all_end(&client, &job_ids, Duration::from_secs(60));
    testbed::say(&format!("artifacts away for 3 s: settled {:.1?} after they came back", since.elapsed()));
    settle(&stack, &job_ids, "artifacts that come back");
}

#[test]
fn a_job_whose_artifacts_cannot_be_stored_says_so_and_goes_on_later() {
    let options = Options::with_agent(ledger_agent!()).env("AGENT_RUNNER_ARTIFACTS_PATIENCE_SECONDS", "0");
    let stack = Stack::start(options);
    let client = stack.client();
    client.ended(&client.submit(&desired(&stack, 1)), SOON);
    let aside = break_artifacts(&stack);
    let job_id = client.submit(&desired(&stack, 1));
    let waiting = client.reason(&job_id, "BackingOff", SOON);
    assert!(word(&waiting, "message").contains("ArtifactsNotStored"), "{waiting}");
    assert_eq!(waiting["control"]["tries"], 0, "the infrastructure's failure uses up no try");
    mend_artifacts(&stack, &aside);
    client.ended(&job_id, SOON);
    settle(&stack, &[job_id], "artifacts not stored");
}

/// `up` in a mount namespace of its own where `data` is a file system of 4 MiB. An ordinary user may do this
/// where the kernel allows user namespaces.
const SMALL_DISK: &str = "mkdir -p data && mount -t tmpfs -o size=4m tmpfs data && exec \"$@\"";

fn can_have_a_small_disk() -> bool {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", "mount -t tmpfs tmpfs /tmp"]);
    command.output().is_ok_and(|output| output.status.success())
}

#[test]
fn a_full_disk_stops_nothing_for_good() {
    if !can_have_a_small_disk() {
        return leave_out("a full disk", "no small file system can be mounted: unshare --user --mount fails");
    }
    let mut options = Options::with_agent(ledger_agent!()).slots(2);
    options.script =
        Some(format!("exec unshare --user --map-root-user --mount sh -c '{SMALL_DISK}' sh \"$@\""));
    let stack = Stack::start(options);
    let client = stack.client();
    let first = client.submit(&desired(&stack, 1));
    client.ended(&first, SOON);
    // The same folder as `up` sees it.
    let data = PathBuf::from(format!("/proc/{}/root", stack.pid()))
        .join(stack.folder().strip_prefix("/").expect("absolute").join("data"));
    let running: Vec<String> = (0..2).map(|_| client.submit(&desired(&stack, 1500))).collect();
    client.status(&running[1], "RUNNING", SOON);
    fill(&data.join("filler"));
    let refused = refused_submissions(&stack, &client);
    std::thread::sleep(Duration::from_secs(3));
    let read = client.get(&format!("/jobs/{first}"));
    assert_eq!(read.status, 200, "nothing is readable with a full disk: {}", read.text);
    std::fs::remove_file(data.join("filler")).expect("the filler");
    let last = client.insist("after", &desired(&stack, 1), SOON).expect("there is room again");
    let mut job_ids = running;
    job_ids.push(last);
    all_end(&client, &job_ids, Duration::from_secs(90));
    testbed::say(&format!("full disk: {refused} of 40 submissions refused, everything accepted has ended"));
    let problems = testbed::ledger::mistakes(&stack.ledger().lines());
    assert!(problems.is_empty(), "{problems:#?}");
    for job_id in &job_ids {
        assert_eq!(word(&client.job(job_id), "status"), "SUCCEEDED", "{}", client.job(job_id));
    }
    stack.expect_no_process_left(SOON);
}

/// Writes until nothing more fits.
fn fill(path: &Path) {
    use std::io::Write;
    let mut file = std::fs::File::create(path).expect("a file");
    for size in [65_536, 4096, 512, 1] {
        let block = vec![b'x'; size];
        while file.write_all(&block).is_ok() {}
    }
}

/// Submits to a full disk: each job is accepted or refused with a clear answer; what is accepted must end.
fn refused_submissions(stack: &Stack, client: &Client) -> usize {
    let payload = json!({"ledger": stack.ledger().path(), "text": "x".repeat(20_000)});
    let body = json!({"job_type": "ledger", "payload": payload, "suspend": true});
    let answers: Vec<_> = (0..40).map(|_| client.post("/jobs", &body)).collect();
    for answer in &answers {
        let clear = answer.status == 201
            || (answer.status == 503 && answer.content_type == "application/problem+json");
        assert!(clear, "{} {}", answer.status, answer.text);
        if answer.status == 201 {
            let there = client.get(&format!("/jobs/{}", answer.word("job_id")));
            assert_eq!(there.status, 200, "an accepted job is lost: {}", there.text);
        }
    }
    let statuses: std::collections::BTreeSet<u16> = answers.iter().map(|answer| answer.status).collect();
    let last = answers.last().map(|answer| answer.text.clone()).unwrap_or_default();
    testbed::say(&format!("full disk: submissions are answered {statuses:?}, the last {last}"));
    answers.iter().filter(|answer| answer.status != 201).count()
}

/// Hand edits that the database lets pass, each with the field that is to be named.
const BROKEN: [(&str, &str, &str); 8] = [
    ("max_attempts", "0", "max_attempts"),
    ("attempt_timeout_seconds", "-5", "attempt_timeout_seconds"),
    ("capacity", "'cheap'", "capacity"),
    ("priority", "99999999999", "priority"),
    ("backoff", "json('{\"initial\":1}')", "backoff"),
    ("failure_policy", "json('{\"rules\":[{\"action\":\"Maybe\"}]}')", "failure_policy"),
    ("env", "json('{\"A\":5}')", "env"),
    ("queue", "'Not A Name'", "queue"),
];

fn edit(records: &Connection, job_id: &str, member: &str, value: &str) {
    let sql = format!("UPDATE jobs SET desired = json_set(desired, '$.{member}', {value}) WHERE job_id = ?1");
    assert_eq!(records.execute(&sql, [job_id]).unwrap_or_else(|e| panic!("{member}: {e}")), 1);
}

#[test]
fn a_hundred_broken_records_disturb_no_good_one_and_each_is_healed_by_fixing_its_field() {
    let stack = Stack::start(Options::with_agent(ledger_agent!()).slots(8));
    let (client, records) = (stack.client(), stack.records());
    let mut held = desired(&stack, 1);
    held["suspend"] = json!(true);
    let broken: Vec<String> = (0..100).map(|_| client.submit(&held)).collect();
    for (job_id, (member, value, _)) in broken.iter().zip(BROKEN.iter().cycle()) {
        edit(&records, job_id, member, value);
    }
    let good: Vec<String> = (0..100).map(|_| client.submit(&desired(&stack, 1))).collect();
    let since = Instant::now();
    all_end(&client, &good, SOON);
    testbed::say(&format!("100 good jobs among 100 broken records: {:.1?}", since.elapsed()));
    for (job_id, (_, _, field)) in broken.iter().zip(BROKEN.iter().cycle()) {
        let job = client.reason(job_id, "InvalidRecord", SOON);
        assert!(word(&job, "message").contains(field), "{field} is not named: {job}");
        assert_eq!((word(&job, "status"), &job["attempt"]), ("QUEUED", &json!(0)));
        assert_eq!(word(&job["invalid"][0], "section"), "desired", "{job}");
    }
    let counted = client.metric("agent_runner_invalid_records");
    assert!((counted - 100.0).abs() < 0.5, "{counted} are counted");
    for (job_id, (member, ..)) in broken.iter().zip(BROKEN.iter().cycle()) {
        let sql = format!(
            "UPDATE jobs SET desired = json_set(json_remove(desired, '$.{member}'), '$.suspend', json('false'))
             WHERE job_id = ?1"
        );
        assert_eq!(records.execute(&sql, [job_id]).unwrap(), 1);
    }
    let all: Vec<String> = broken.into_iter().chain(good).collect();
    all_end(&client, &all, SOON);
    settle(&stack, &all, "broken records");
    let counted = client.metric("agent_runner_invalid_records");
    assert!(counted.abs() < 0.5, "{counted} are still counted");
}

#[test]
fn a_record_that_breaks_while_its_agent_works_leaves_the_agent_alone() {
    let stack = Stack::start(Options::with_agent(ledger_agent!()));
    let (client, records) = (stack.client(), stack.records());
    let job_id = client.submit(&desired(&stack, 1500));
    client.status(&job_id, "RUNNING", SOON);
    edit(&records, &job_id, "max_attempts", "0");
    client
        .until(&job_id, SOON, "its end", |_| stack.ledger().count(&job_id, testbed::ledger::Event::End) == 1);
    assert_eq!(stack.ledger().count(&job_id, testbed::ledger::Event::Told), 0, "the agent was stopped");
    edit(&records, &job_id, "max_attempts", "3");
    let job = client.ended(&job_id, SOON);
    assert_eq!((word(&job, "status"), &job["attempt"]), ("SUCCEEDED", &json!(1)), "{job}");
    settle(&stack, &[job_id], "broken while running");
}

#[test]
fn a_control_section_that_was_broken_by_hand_is_made_anew() {
    let stack = Stack::start(Options::with_agent(ledger_agent!()));
    let (client, records) = (stack.client(), stack.records());
    let job_ids: Vec<String> = (0..3).map(|_| client.submit(&desired(&stack, 1000))).collect();
    for (job_id, control) in job_ids.iter().zip([r#"{"phase":"Nonsense"}"#, "{}", r#"{"a":{"b":[1]}}"#]) {
        client.status(job_id, "RUNNING", SOON);
        let sql = "UPDATE jobs SET control = ?2 WHERE job_id = ?1";
        assert_eq!(records.execute(sql, [job_id, control]).unwrap(), 1);
    }
    all_end(&client, &job_ids, SOON);
    settle(&stack, &job_ids, "control broken");
}
