//! Opening, locks and group commit.

#![cfg(all(feature = "conformance", feature = "sqlite"))]

use backends::conformance::{fixtures as fx, wait::all};
use backends::{
    Access, CreateAnswer, Durability, ListQuery, RecordsBackend, RecordsError, Retry, SqliteOptions,
    SqliteRecords, WriteAnswer,
};
use contract::{Desired, Raw};
use pollster::block_on;
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

fn open(path: &Path, access: Access) -> Result<Arc<SqliteRecords>, RecordsError> {
    SqliteRecords::open(path, SqliteOptions { durability: Durability::Process, access })
}

fn impatient(path: &Path, access: Access, patience: Duration) -> Arc<SqliteRecords> {
    let options = SqliteOptions { durability: Durability::Process, access };
    SqliteRecords::open_with(path, options, patience).unwrap()
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    (folder, path)
}

fn pragma(path: &Path, name: &str) -> String {
    let value = Connection::open(path).unwrap().query_row(&format!("PRAGMA {name}"), [], |row| {
        row.get_ref(0).map(|value| {
            value.as_i64().map_or_else(|_| value.as_str().unwrap().to_owned(), |n| n.to_string())
        })
    });
    value.unwrap()
}

#[test]
fn first_opens_at_the_same_moment_all_succeed() {
    for _ in 0..5 {
        let (_folder, path) = place();
        let start = Barrier::new(6);
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    start.wait();
                    let records = open(&path, Access::Orchestrator).unwrap();
                    assert_eq!(block_on(records.create(&fx::new_job())), Ok(CreateAnswer::Created));
                });
            }
        });
        let records = open(&path, Access::Worker).unwrap();
        assert_eq!(block_on(records.list_active()).unwrap().len(), 6);
        assert_eq!(
            (pragma(&path, "journal_mode").as_str(), pragma(&path, "user_version").as_str()),
            ("wal", "3")
        );
    }
}

#[test]
fn a_second_open_finds_what_the_first_has_written() {
    let (_folder, path) = place();
    let new = fx::new_job();
    block_on(open(&path, Access::Orchestrator).unwrap().create(&new)).unwrap();
    let schema = |path: &Path| -> i64 {
        Connection::open(path).unwrap().query_row("PRAGMA schema_version", [], |row| row.get(0)).unwrap()
    };
    let before = schema(&path);
    for access in [Access::Worker, Access::Orchestrator] {
        let job = block_on(open(&path, access).unwrap().job(&new.job_id)).unwrap().unwrap();
        assert_eq!(job.desired, fx::desired(&new));
    }
    assert_eq!(schema(&path), before, "opening a file that is up to date defines nothing");
}

/// The start of the trigger of schema version 1, which knew one word less.
const JOBS_DESIRED_1: &str = "DROP TABLE store; DROP TRIGGER jobs_desired;
    CREATE TRIGGER jobs_desired AFTER UPDATE OF desired ON jobs
    BEGIN
      SELECT CASE
        WHEN key GLOB '*[^a-z_]*' OR instr(' job_type payload max_attempts attempt_timeout_seconds start_timeout_seconds active_deadline_seconds backoff failure_policy priority queue resources capacity env labels ttl_seconds_after_finished max_cost_usd suspend cancel retry ', ' ' || key || ' ') = 0
          THEN RAISE(ABORT, 'desired holds an unknown word')
      END FROM json_each(NEW.desired);
    END;
    PRAGMA user_version = 1";

#[test]
fn a_file_of_schema_version_1_is_brought_up_to_date_with_its_jobs() {
    let (_folder, path) = place();
    let new = fx::new_job();
    block_on(open(&path, Access::Orchestrator).unwrap().create(&new)).unwrap();
    let client = Connection::open(&path).unwrap();
    client.execute_batch(JOBS_DESIRED_1).unwrap();
    let (seen, noted) = (fx::desired(&new), fx::updated(&fx::desired(&new), 1));
    let by_hand = client.execute("UPDATE jobs SET desired = ?1", [noted.text()]);
    assert!(by_hand.unwrap_err().to_string().contains("unknown word"), "it is a file of version 1");
    drop(client);
    assert!(
        matches!(open(&path, Access::Worker), Err(RecordsError::Unusable(_))),
        "a worker changes no schema"
    );

    let records = open(&path, Access::Orchestrator).unwrap();
    assert_eq!(pragma(&path, "user_version"), "3");
    assert_eq!(block_on(records.job(&new.job_id)).unwrap().unwrap().desired, seen);
    let written = block_on(records.write_desired(&new.job_id, &seen, &noted));
    assert_eq!(written, Ok(WriteAnswer::Written));
    assert_eq!(block_on(records.job(&new.job_id)).unwrap().unwrap().desired, noted);
    let wrong = Connection::open(&path).unwrap().execute("UPDATE jobs SET desired = '{}'", []);
    assert!(wrong.unwrap_err().to_string().contains("job_type must be a string"), "checks are the new ones");
    assert!(open(&path, Access::Worker).is_ok());
}

#[test]
fn a_retry_beyond_its_range_is_refused_and_one_that_is_there_already_can_be_taken_back() {
    let (_folder, path) = place();
    block_on(open(&path, Access::Orchestrator).unwrap().create(&fx::new_job())).unwrap();
    let client = Connection::open(&path).unwrap();
    let set =
        |retry: i64| client.execute("UPDATE jobs SET desired = json_set(desired, '$.retry', ?1)", [retry]);
    assert!(set(1_000_000_001).unwrap_err().to_string().contains("desired.retry is at most 1000000000"));
    set(1).unwrap();
    assert!(set(0).unwrap_err().to_string().contains("desired.retry only grows"));
    // As version 2 would have taken it.
    client.execute_batch("PRAGMA user_version = 2; DROP TRIGGER jobs_desired; DROP TABLE store").unwrap();
    set(2_000_000_000).unwrap();
    drop(open(&path, Access::Orchestrator).unwrap());
    set(2).unwrap();
    assert!(set(1).unwrap_err().to_string().contains("desired.retry only grows"));
}

#[test]
fn nothing_is_accepted_into_a_file_that_has_left_its_place() {
    let (folder, path) = place();
    let records = open(&path, Access::Orchestrator).unwrap();
    let away = folder.path().join("away.db");
    let new = fx::new_job();
    let refused = |what: &str| {
        for answer in [block_on(records.create(&new)).err(), block_on(records.job(&new.job_id)).err()] {
            let answer = answer.expect("the file is not at its place");
            assert_eq!(answer.retry(), Retry::Later);
            assert!(answer.to_string().contains(what), "{answer}");
        }
        assert!(block_on(records.writable()).is_err());
    };
    std::fs::rename(&path, &away).unwrap();
    refused("was removed or renamed while it was open");
    std::fs::write(&path, "").unwrap();
    refused("was replaced by another file while it was open");
    std::fs::rename(&away, &path).unwrap();
    assert_eq!(block_on(records.writable()), Ok(()));
    assert_eq!(block_on(records.create(&new)), Ok(CreateAnswer::Created));
}

#[test]
fn a_file_that_cannot_be_written_says_so_until_it_can() {
    let (_folder, path) = place();
    let records = impatient(&path, Access::Orchestrator, Duration::from_millis(10));
    let new = fx::new_job();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(block_on(records.writable()), Ok(()), "nobody has tried yet");
    assert!(block_on(records.create(&new)).is_err());
    assert!(block_on(records.writable()).is_err());
    assert!(block_on(records.writable()).is_err());
    other.execute_batch("COMMIT").unwrap();
    assert_eq!(block_on(records.writable()), Ok(()));
    // What a caller wrote wrongly is not the store's trouble.
    let seen = fx::desired(&new);
    block_on(records.create(&new)).unwrap();
    let wrong = Raw::stored("{}".to_owned());
    assert!(matches!(
        block_on(records.write_desired(&new.job_id, &seen, &wrong)),
        Err(RecordsError::Refused(_))
    ));
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(block_on(records.writable()), Ok(()));
}

#[test]
fn files_that_this_program_cannot_use_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("text"), "this is no database, and it is longer than one hundred bytes".repeat(9))
        .unwrap();
    let other = Connection::open(path("other")).unwrap();
    other.execute_batch("CREATE TABLE theirs (a)").unwrap();
    drop(open(&path("newer"), Access::Orchestrator).unwrap());
    Connection::open(path("newer")).unwrap().execute_batch("PRAGMA user_version = 99").unwrap();
    for (name, words) in [
        ("text", "not a database"),
        ("other", "the database of another program"),
        ("newer", "version 99, and this program knows versions up to 3"),
    ] {
        let before = std::fs::read(path(name)).unwrap();
        for access in [Access::Orchestrator, Access::Worker] {
            match open(&path(name), access) {
                Err(RecordsError::Unusable(why)) => assert!(why.contains(words), "{name}: {why}"),
                answer => panic!("{name}: {answer:?}"),
            }
        }
        assert_eq!(std::fs::read(path(name)).unwrap(), before, "{name}");
    }
}

#[test]
fn a_worker_never_creates_a_file() {
    let (_folder, path) = place();
    assert!(matches!(open(&path, Access::Worker), Err(RecordsError::Unavailable(_))));
    assert!(!path.exists());
    std::fs::write(&path, "").unwrap();
    assert!(matches!(open(&path, Access::Worker), Err(RecordsError::Unusable(_))));
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
}

#[test]
fn while_another_client_has_the_lock_writes_are_busy_and_reads_are_not() {
    let (_folder, path) = place();
    let patience = Duration::from_millis(80);
    let owner = impatient(&path, Access::Orchestrator, patience);
    let worker = impatient(&path, Access::Worker, patience);
    let known = fx::new_job();
    block_on(owner.create(&known)).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    for records in [&owner, &worker] {
        let start = Instant::now();
        let answer = block_on(records.create(&fx::new_job()));
        assert!(matches!(answer, Err(RecordsError::Busy(_))), "{answer:?}");
        assert!(start.elapsed() >= patience, "it waited {:?}", start.elapsed());
        assert!(block_on(records.load(&known.job_id)).unwrap().is_some());
        assert_eq!(block_on(records.list_active()).unwrap().len(), 1);
    }
    other.execute_batch("COMMIT").unwrap();
    for records in [&owner, &worker] {
        assert_eq!(block_on(records.create(&fx::new_job())), Ok(CreateAnswer::Created));
    }
    assert_eq!(block_on(owner.list_active()).unwrap().len(), 3, "what was busy was not written");
}

#[test]
fn a_lock_that_is_given_back_in_time_delays_only() {
    let (_folder, path) = place();
    let records = impatient(&path, Access::Orchestrator, Duration::from_secs(20));
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    std::thread::scope(|scope| {
        let write = scope.spawn(|| block_on(records.create(&fx::new_job())));
        std::thread::sleep(Duration::from_millis(30));
        assert!(!write.is_finished());
        other.execute_batch("COMMIT").unwrap();
        assert_eq!(write.join().unwrap(), Ok(CreateAnswer::Created));
    });
}

/// Runs `writes` on one thread while another client has the lock, so that they end up in one batch.
fn in_one_batch<T>(path: &Path, writes: impl FnOnce() -> Vec<T> + Send) -> Vec<T>
where
    T: Send,
{
    let other = Connection::open(path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    std::thread::scope(|scope| {
        let writes = scope.spawn(writes);
        std::thread::sleep(Duration::from_millis(50));
        other.execute_batch("COMMIT").unwrap();
        writes.join().unwrap()
    })
}

#[test]
fn a_refused_write_in_a_group_fails_alone() {
    let (_folder, path) = place();
    let records = impatient(&path, Access::Orchestrator, Duration::from_secs(20));
    let jobs: Vec<_> = (0..30)
        .map(|_| fx::new_job_of(Desired { retry: 1, ..Desired::new("echo") }))
        .inspect(|new| assert_eq!(block_on(records.create(new)), Ok(CreateAnswer::Created)))
        .collect();
    // Every third write wants to take a retry back, every fifth expects another text.
    let edits: Vec<_> = jobs
        .iter()
        .enumerate()
        .map(|(i, new)| {
            let retry = if i % 3 == 0 { 0 } else { 2 };
            let expected = if i % 5 == 0 { Raw::stored("{}") } else { fx::desired(new) };
            (expected, Raw::of(&Desired { retry, ..new.desired.clone() }))
        })
        .collect();
    let answers = in_one_batch(&path, || {
        let writes =
            jobs.iter().zip(&edits).map(|(new, (from, to))| records.write_desired(&new.job_id, from, to));
        block_on(all(writes.collect()))
    });
    for (i, ((new, (_, to)), answer)) in jobs.iter().zip(&edits).zip(answers).enumerate() {
        let stored = block_on(records.job(&new.job_id)).unwrap().unwrap().desired;
        let expected = match (i % 5, i % 3) {
            (0, _) => Ok(WriteAnswer::Conflict),
            (_, 0) => Err(RecordsError::Refused("desired.retry only grows".to_owned())),
            _ => Ok(WriteAnswer::Written),
        };
        assert_eq!(answer, expected, "write {i}");
        assert_eq!(stored == *to, answer == Ok(WriteAnswer::Written), "write {i}");
    }
}

#[test]
fn many_writes_share_a_transaction() {
    let (_folder, path) = place();
    let records = impatient(&path, Access::Orchestrator, Duration::from_secs(20));
    let watching = Connection::open(&path).unwrap();
    let commits = || watching.query_row("PRAGMA data_version", [], |row| row.get::<_, i64>(0)).unwrap();
    let wal = || std::fs::metadata(path.with_extension("db-wal")).unwrap().len();
    let (news, before) = ((0..100).map(|_| fx::new_job()).collect::<Vec<_>>(), (commits(), wal()));
    let answers = in_one_batch(&path, || block_on(all(news.iter().map(|new| records.create(new)).collect())));
    assert!(answers.iter().all(|answer| *answer == Ok(CreateAnswer::Created)));
    assert_ne!(commits(), before.0);
    let pages = (wal() - before.1) / 4096;
    assert!(pages < 100, "100 jobs took {pages} pages of WAL; one by one they take at least 500");
}

#[test]
fn what_is_queued_when_the_store_is_dropped_is_still_written() {
    let (_folder, path) = place();
    let records = open(&path, Access::Orchestrator).unwrap();
    let news: Vec<_> = (0..20).map(|_| fx::new_job()).collect();
    let mut writes: Vec<_> = news.iter().map(|new| records.create(new)).collect();
    // One poll queues each write; nobody waits for the answers.
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    for write in &mut writes {
        let _ = write.as_mut().poll(&mut cx);
    }
    drop(writes);
    drop(records);
    let records = open(&path, Access::Worker).unwrap();
    assert_eq!(block_on(records.list_active()).unwrap().len(), 20);
}

#[test]
fn a_page_of_large_jobs_ends_before_its_limit() {
    let (_folder, path) = place();
    let records = open(&path, Access::Orchestrator).unwrap();
    for _ in 0..10 {
        block_on(records.create(&fx::new_job())).unwrap();
    }
    // 600 kB each, half of them what the reconciler keeps: the seventh fills the 4 MiB of a page.
    let sql = "UPDATE jobs SET desired = json_set(desired, '$.payload', json_object('text', ?1)),
               control = json_object('message', ?1)";
    assert_eq!(Connection::open(&path).unwrap().execute(sql, ["x".repeat(300_000)]), Ok(10));
    let first = block_on(records.list(&ListQuery { limit: 10, cursor: None })).unwrap();
    assert_eq!(first.jobs.len(), 7);
    let second = block_on(records.list(&ListQuery { limit: 10, cursor: first.next })).unwrap();
    assert_eq!((second.jobs.len(), second.next), (3, None));
}
