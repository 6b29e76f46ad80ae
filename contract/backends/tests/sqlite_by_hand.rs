//! What operators can and cannot do to the records with a database client.

#![cfg(all(feature = "conformance", feature = "sqlite"))]

use backends::clock::fresh_token;
use backends::conformance::{fixtures as fx, wait::within};
use backends::{
    Access, ChannelHints, Durability, Hint, Hints, Interest, NewJob, RecordsBackend, SqliteOptions,
    SqliteRecords, StartAnswer, WriteAnswer,
};
use contract::{Desired, Job, LaunchToken, LeaveReason, Raw};
use pollster::block_on;
use rusqlite::Connection;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

struct Store {
    records: Arc<SqliteRecords>,
    hints: ChannelHints,
    path: PathBuf,
    job: NewJob,
    token: LaunchToken,
    _folder: tempfile::TempDir,
}

/// A store with one job, whose attempt has started; nothing of that is announced any more.
fn store() -> Store {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    let options = SqliteOptions { durability: Durability::Process, access: Access::Orchestrator };
    let records = SqliteRecords::open(&path, options).unwrap();
    let (mut desired, token) = (Desired::new("echo"), fresh_token());
    desired.retry = 1;
    let job = fx::new_job_of(desired);
    block_on(async {
        records.create(&job).await.unwrap();
        let control = fx::launching(1, &token);
        records.claim(&job.job_id, &token, &fx::claim(1), None, &fx::desired(&job), &control).await.unwrap();
        let answer = records.start(&job.job_id, &token, &fx::task("a"), &fx::report(1)).await.unwrap();
        assert!(matches!(answer, StartAnswer::Started(_)));
    });
    let hints = records.subscribe(Interest::Reconcile);
    Store { records, hints, path, job, token, _folder: folder }
}

impl Store {
    fn client(&self) -> Connection {
        Connection::open(&self.path).unwrap()
    }

    fn job(&self) -> Job {
        block_on(self.records.job(&self.job.job_id)).unwrap().unwrap()
    }

    fn hint(&mut self) -> Option<Vec<Hint>> {
        block_on(within(Duration::from_secs(20), self.hints.next())).map(Result::unwrap)
    }

    fn dump(&self) -> Vec<String> {
        let client = self.client();
        let mut rows = Vec::new();
        for table in ["jobs", "attempts", "changes", "revisions"] {
            let mut all = client.prepare(&format!("SELECT * FROM {table}")).unwrap();
            let columns = all.column_count();
            let found = all.query_map([], |row| {
                let values = (0..columns).map(|i| row.get_ref(i).map(|value| format!("{value:?}")));
                values.collect::<Result<Vec<_>, _>>().map(|values| values.join("|"))
            });
            rows.extend(found.unwrap().map(Result::unwrap));
        }
        rows
    }
}

/// What is refused, and a part of what SQLite says about it.
const REFUSED: &[(&str, &str)] = &[
    ("UPDATE jobs SET desired = '{'", "desired must be one JSON object"),
    ("UPDATE jobs SET desired = '[]'", "desired must be one JSON object"),
    ("UPDATE jobs SET desired = '{a: 1}'", "desired must be one JSON object"),
    ("UPDATE jobs SET desired = NULL", "NOT NULL constraint failed: jobs.desired"),
    ("UPDATE jobs SET desired = x'7b7d'", "cannot store BLOB value in TEXT column jobs.desired"),
    (
        "UPDATE jobs SET desired = json_set(desired, '$.suspnd', json('true'))",
        "unknown word; known are job_type",
    ),
    ("UPDATE jobs SET desired = json_set(desired, '$.\"cancel retry\"', 1)", "unknown word"),
    ("UPDATE jobs SET desired = '{\"job_type\":\"echo\",\"retry\":2,\"retry\":0}'", "holds a word twice"),
    ("UPDATE jobs SET desired = json_set(desired, '$.retry', 0)", "desired.retry only grows"),
    ("UPDATE jobs SET desired = json_remove(desired, '$.retry')", "desired.retry only grows"),
    ("UPDATE jobs SET desired = json_set(desired, '$.retry', '2')", "desired.retry must be a whole number"),
    ("UPDATE jobs SET desired = json_set(desired, '$.retry', 2.5)", "desired.retry must be a whole number"),
    ("UPDATE jobs SET desired = json_set(desired, '$.retry', NULL)", "desired.retry must be a whole number"),
    ("UPDATE jobs SET desired = json_set(desired, '$.suspend', true)", "in SQL write json('true')"),
    ("UPDATE jobs SET desired = json_set(desired, '$.cancel', 'yes')", "must be true or false"),
    ("UPDATE jobs SET desired = json_set(desired, '$.max_attempts', '3')", "are whole numbers"),
    ("UPDATE jobs SET desired = json_set(desired, '$.priority', 1.5)", "are whole numbers"),
    ("UPDATE jobs SET desired = json_set(desired, '$.start_timeout_seconds', '1m')", "are whole numbers"),
    ("UPDATE jobs SET desired = json_set(desired, '$.env', 'A=b')", "env and labels are objects"),
    ("UPDATE jobs SET desired = json_set(desired, '$.queue', 7)", "queue and capacity are strings"),
    ("UPDATE jobs SET desired = json_set(desired, '$.job_type', 'other')", "job_type never changes"),
    ("UPDATE jobs SET desired = json_remove(desired, '$.job_type')", "job_type must be a string"),
    ("UPDATE jobs SET job_id = 'other'", "job_id and created never change"),
    ("UPDATE jobs SET created = '{}'", "job_id and created never change"),
    ("UPDATE jobs SET seq = 77", "job_id and created never change"),
    ("UPDATE jobs SET control = '\"text\"'", "control must be one JSON object"),
    ("UPDATE jobs SET status = 'RUNNING'", "status must be one JSON object"),
    ("UPDATE jobs SET active = 2", "active must be 0 or 1"),
    ("DELETE FROM jobs", "an attempt that may be alive: cancel the job"),
    (
        "INSERT OR REPLACE INTO jobs (job_id, created, desired) SELECT job_id, created, desired FROM jobs",
        "use UPDATE",
    ),
    (
        "INSERT INTO jobs (job_id, created, desired) VALUES ('A b', '{}', '{\"job_type\":\"echo\"}')",
        "job_id must be",
    ),
    (
        "INSERT INTO jobs (job_id, created, desired) VALUES ('n', '{}', '{\"job_type\":\"echo\",\"try\":1}')",
        "unknown word",
    ),
    ("INSERT INTO jobs (job_id, created, desired) VALUES ('n', '{}', '{}')", "job_type must be a string"),
    (
        "INSERT INTO attempts (job_id, token, number, claim) VALUES ('n', 't', 1, '{}')",
        "there is no such job",
    ),
    (
        "INSERT OR REPLACE INTO attempts (job_id, token, number, claim) SELECT job_id, token, 9, '{}' FROM attempts",
        "this attempt exists",
    ),
    ("UPDATE attempts SET claim = json_set(claim, '$.number', 2)", "key, number and claim never change"),
    ("UPDATE attempts SET token = 'other'", "key, number and claim never change"),
    ("UPDATE attempts SET gate = NULL", "only moves forward"),
    ("UPDATE attempts SET gate = '{\"state\":\"started\",\"task\":\"b\"}'", "only moves forward"),
    (
        "UPDATE attempts SET gate = '{\"state\":\"sealed\",\"why\":\"Retried\"}'",
        "keeping the task that started",
    ),
    ("UPDATE attempts SET gate = '{\"state\":\"open\"}'", "state is started, finished or sealed"),
    ("UPDATE attempts SET closing = '{}'", "closed only after its gate is finished or sealed"),
    ("UPDATE attempts SET report = 'fine'", "report must be one JSON object"),
    ("DELETE FROM attempts", "the ledger of what may be alive"),
];

#[test]
fn edits_that_break_a_record_are_refused_in_words_and_change_nothing() {
    let store = store();
    let (client, before) = (store.client(), store.dump());
    for (sql, words) in REFUSED {
        let refused = client.execute(sql, []).expect_err(sql).to_string();
        assert!(refused.contains(words), "{sql}: {refused}");
        assert_eq!(store.dump(), before, "{sql}");
    }
}

#[test]
fn an_edit_of_desired_is_noticed_marks_the_job_and_counts_a_revision() {
    let mut store = store();
    let id = store.job.job_id.clone();
    let control = store.job().control.unwrap();
    let done = fx::finished(1, &store.token, fx::at(9));
    block_on(
        store.records.write_control(&id, fx::write(Some(&control), &fx::desired(&store.job), &done, true)),
    )
    .unwrap();
    assert!(!store.job().active);
    let sql = "UPDATE jobs SET desired = json_set(desired, '$.retry', json_extract(desired, '$.retry') + 1)
               WHERE job_id = ?1";
    assert_eq!(store.client().execute(sql, [id.as_str()]), Ok(1));
    assert_eq!(store.hint(), Some(vec![Hint::Job(id.clone())]));
    let job = store.job();
    assert!(job.active);
    assert_eq!(job.desired().unwrap().retry, 2);
    assert_eq!(block_on(store.records.list_active()).unwrap().len(), 1);
    let seen = store.client().execute("UPDATE jobs SET desired = ?1 WHERE job_id = 'nobody'", ["{"]);
    assert_eq!(seen, Ok(0), "an edit that matches nothing is harmless");
}

#[test]
fn cancel_suspend_wiping_and_inserting_by_hand_are_noticed() {
    let mut store = store();
    let id = store.job.job_id.clone();
    for sql in [
        "UPDATE jobs SET desired = json_set(desired, '$.suspend', json('true'))",
        "UPDATE jobs SET desired = json_set(desired, '$.suspend', json('false'))",
        "UPDATE jobs SET desired = json_set(desired, '$.cancel', json('true'), '$.queue', NULL)",
        "UPDATE jobs SET control = NULL, status = NULL, active = 0",
        "UPDATE jobs SET desired = desired",
        "UPDATE attempts SET gate = '{\"state\":\"sealed\",\"why\":\"Cancelled\",\"started\":\"task:a\"}'",
    ] {
        assert_eq!(store.client().execute(sql, []), Ok(1), "{sql}");
        assert_eq!(store.hint(), Some(vec![Hint::Job(id.clone())]), "{sql}");
    }
    assert!(store.job().active, "the last edit brought the mark back");
    let insert = "INSERT INTO jobs (job_id, created, desired)
                  VALUES ('by-hand', '{}', '{\"job_type\":\"echo\",\"payload\":{\"any\":[1]}}')";
    assert_eq!(store.client().execute(insert, []), Ok(1));
    let by_hand = contract::JobId::new("by-hand").unwrap();
    assert_eq!(store.hint(), Some(vec![Hint::Job(by_hand.clone())]));
    let active = block_on(store.records.list_active()).unwrap();
    assert!(active.iter().any(|(id, revision)| *id == by_hand && revision.0 > 0), "{active:?}");
    assert_eq!(store.client().execute("DELETE FROM jobs WHERE job_id = 'by-hand'", []), Ok(1));
    assert_eq!(store.hint(), Some(vec![Hint::Job(by_hand)]));
}

#[test]
fn a_job_is_not_deleted_while_an_attempt_may_be_alive() {
    let store = store();
    let (id, control) = (&store.job.job_id, store.job().control.unwrap());
    let delete = || block_on(store.records.delete(id, &control, &fx::desired(&store.job)));
    assert_eq!(delete(), Ok(WriteAnswer::Conflict));
    block_on(store.records.seal(id, &store.token, LeaveReason::Cancelled)).unwrap();
    assert_eq!(delete(), Ok(WriteAnswer::Conflict), "sealed is not closed");
    block_on(store.records.close(id, &store.token, &fx::closing())).unwrap();
    assert_eq!(delete(), Ok(WriteAnswer::Written));
}

#[test]
fn the_systems_own_write_of_a_shrinking_retry_is_refused_too() {
    let store = store();
    let old = fx::desired(&store.job);
    let less = Raw::of(&Desired { retry: 0, ..store.job.desired.clone() });
    let refused = block_on(store.records.write_desired(&store.job.job_id, &old, &less)).unwrap_err();
    assert_eq!(refused, backends::RecordsError::Refused("desired.retry only grows".to_owned()));
    assert_eq!(store.job().desired, old);
}

#[test]
fn the_systems_sqlite3_command_can_edit_and_is_refused_like_any_client() {
    let mut store = store();
    let sqlite3 = |sql: &str| Command::new("sqlite3").arg(&store.path).arg(sql).output();
    if sqlite3("SELECT 1").is_err() {
        eprintln!("left out: no sqlite3 command on this machine");
        return;
    }
    let id = store.job.job_id.clone();
    let edit = "desired = json_set(desired,'$.retry', json_extract(desired,'$.retry')";
    let wrong = sqlite3(&format!("update jobs set {edit}-1) where job_id='{id}'")).unwrap();
    let words = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(!wrong.status.success() && words.contains("desired.retry only grows"), "{words}");
    let right = sqlite3(&format!("update jobs set {edit}+1) where job_id='{id}'")).unwrap();
    assert!(right.status.success(), "{right:?}");
    let committed = Instant::now();
    assert_eq!(store.hint(), Some(vec![Hint::Job(id)]));
    // 100 ms are promised; a test machine may be busy with something else.
    assert!(committed.elapsed() < Duration::from_secs(2), "{:?}", committed.elapsed());
    assert_eq!(store.job().desired().unwrap().retry, 2);
}
