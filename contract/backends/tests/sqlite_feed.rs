//! What the change feed announces, and what it does not.

#![cfg(all(feature = "conformance", feature = "sqlite"))]

use backends::clock::fresh_token;
use backends::conformance::{fixtures as fx, wait::within};
use backends::{
    Access, ChannelHints, Durability, GateAnswer, Hint, Hints, Interest, NewJob, RecordsBackend,
    SqliteOptions, SqliteRecords, WriteAnswer,
};
use contract::{JobId, LeaveReason, Raw};
use pollster::block_on;
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

fn open(path: &Path, access: Access) -> Arc<SqliteRecords> {
    SqliteRecords::open(path, SqliteOptions { durability: Durability::Process, access }).unwrap()
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    (folder, path)
}

fn next(hints: &mut ChannelHints) -> Vec<Hint> {
    block_on(within(Duration::from_secs(20), hints.next())).expect("a hint in time").unwrap()
}

/// Everything up to a job that is created by `records` now.
fn until_marker(records: &SqliteRecords, hints: &mut ChannelHints) -> Vec<Hint> {
    let marker = fx::new_job();
    block_on(records.create(&marker)).unwrap();
    let end = Hint::Job(marker.job_id);
    let mut seen = Vec::new();
    loop {
        seen.extend(next(hints));
        if seen.last() == Some(&end) {
            seen.pop();
            return seen;
        }
    }
}

fn create(records: &SqliteRecords) -> NewJob {
    let new = fx::new_job();
    block_on(records.create(&new)).unwrap();
    new
}

fn hint(job_id: &JobId) -> Hint {
    Hint::Job(job_id.clone())
}

#[test]
fn creations_edits_and_gates_are_announced_but_no_heartbeats_and_no_control() {
    let (_folder, path) = place();
    let records = open(&path, Access::Orchestrator);
    let worker = open(&path, Access::Worker);
    let mut hints = records.subscribe(Interest::Reconcile);
    let new = create(&records);
    let (id, seen, token, task) = (&new.job_id, fx::desired(&new), fresh_token(), fx::task("a"));
    assert_eq!(next(&mut hints), [hint(id)], "created");
    block_on(async {
        let first = fx::waiting();
        records.write_control(id, fx::write(None, &seen, &first, false)).await.unwrap();
        let (first, claimed) = (Raw::of(&first), fx::launching(1, &token));
        let answer = records.claim(id, &token, &fx::claim(1), Some(&first), &seen, &claimed).await;
        assert_eq!(answer, Ok(WriteAnswer::Written));
    });
    assert_eq!(until_marker(&records, &mut hints), [], "the reconciler's own control and claim");
    block_on(worker.start(id, &token, &task, &fx::report(1))).unwrap();
    assert_eq!(next(&mut hints), [hint(id)], "started");
    let beat = block_on(worker.heartbeat(id, &token, &task, &fx::report(2))).unwrap();
    assert_eq!(beat, GateAnswer::Written);
    assert_eq!(until_marker(&records, &mut hints), [], "a heartbeat");
    assert_eq!(block_on(worker.finish(id, &token, &task, &fx::outcome())), Ok(GateAnswer::Written));
    assert_eq!(next(&mut hints), [hint(id)], "finished");
    let answer = block_on(worker.write_desired(id, &seen, &fx::edited(&seen, 1)));
    assert_eq!(answer, Ok(WriteAnswer::Written));
    assert_eq!(next(&mut hints), [hint(id)], "edited");
}

#[test]
fn a_start_that_this_process_carried_out_is_announced_without_hurry_unless_more_happened_to_the_job() {
    let (_folder, path) = place();
    let records = open(&path, Access::Orchestrator);
    let mut hints = records.subscribe(Interest::Reconcile);
    let mut unhurried = 0;
    for _ in 0..20 {
        let new = create(&records);
        let (id, seen, token, task) = (&new.job_id, fx::desired(&new), fresh_token(), fx::task("a"));
        assert_eq!(next(&mut hints), [hint(id)], "created");
        let claim = (fx::claim(1), fx::launching(1, &token));
        block_on(records.claim(id, &token, &claim.0, None, &seen, &claim.1)).unwrap();
        block_on(records.start(id, &token, &task, &fx::report(1))).unwrap();
        match &next(&mut hints)[..] {
            [Hint::Unhurried(job_id)] if job_id == id => unhurried += 1,
            // The watch of the file was faster than the thread that wrote; it does not know what changed.
            other => assert_eq!(other, [hint(id)]),
        }
        assert_eq!(block_on(records.finish(id, &token, &task, &fx::outcome())), Ok(GateAnswer::Written));
        assert_eq!(next(&mut hints), [hint(id)], "finished");
    }
    assert!(unhurried >= 10, "only {unhurried} of 20 starts could wait");
}

#[test]
fn statuses_are_announced_to_those_who_wait_for_them_only() {
    let (_folder, path) = place();
    let records = open(&path, Access::Orchestrator);
    let new = create(&records);
    let (mut status, mut reconcile) =
        (records.subscribe(Interest::Status), records.subscribe(Interest::Reconcile));
    let (id, seen, control) = (&new.job_id, fx::desired(&new), fx::waiting());
    let conflict = Raw::of(&fx::waiting());
    block_on(async {
        let answer = records.write_control(id, fx::write(Some(&conflict), &seen, &control, false)).await;
        assert_eq!(answer, Ok(WriteAnswer::Conflict));
        let answer = records.write_control(id, fx::write(None, &seen, &control, false)).await;
        assert_eq!(answer, Ok(WriteAnswer::Written));
    });
    assert_eq!(next(&mut status), [hint(id)], "one for the write, none for the conflict");
    assert_eq!(until_marker(&records, &mut reconcile), []);
    assert!(block_on(within(Duration::from_millis(20), status.next())).is_none(), "none for the creation");
}

#[test]
fn a_fresh_subscriber_hears_nothing_of_the_past() {
    let (_folder, path) = place();
    let records = open(&path, Access::Orchestrator);
    create(&records);
    let mut hints = records.subscribe(Interest::Reconcile);
    assert_eq!(until_marker(&records, &mut hints), []);
    drop(records);
    let records = open(&path, Access::Orchestrator);
    let mut hints = records.subscribe(Interest::Reconcile);
    assert_eq!(until_marker(&records, &mut hints), []);
}

#[test]
fn every_subscriber_hears_everything_and_leaving_disturbs_nobody() {
    let (_folder, path) = place();
    let records = open(&path, Access::Orchestrator);
    let mut one = records.subscribe(Interest::Reconcile);
    let two = records.subscribe(Interest::Reconcile);
    drop(two);
    let mut three = records.subscribe(Interest::Reconcile);
    let new = create(&records);
    assert_eq!(next(&mut one), [hint(&new.job_id)]);
    assert_eq!(next(&mut three), [hint(&new.job_id)]);
}

#[test]
fn commits_of_another_process_are_heard_however_they_are_synchronised() {
    let (_folder, path) = place();
    let records = open(&path, Access::Orchestrator);
    let new = create(&records);
    let mut hints = records.subscribe(Interest::Reconcile);
    for synchronous in ["OFF", "NORMAL", "FULL", "EXTRA"] {
        let other = Connection::open(&path).unwrap();
        other.execute_batch(&format!("PRAGMA synchronous = {synchronous}")).unwrap();
        for _ in 0..20 {
            other.execute_batch("UPDATE jobs SET desired = desired").unwrap();
            assert_eq!(next(&mut hints), [hint(&new.job_id)], "{synchronous}");
        }
    }
}

#[test]
fn commits_are_heard_after_a_checkpoint_has_emptied_the_wal() {
    let (_folder, path) = place();
    let records = open(&path, Access::Orchestrator);
    let new = create(&records);
    let mut hints = records.subscribe(Interest::Reconcile);
    for mode in ["RESTART", "TRUNCATE"] {
        let other = Connection::open(&path).unwrap();
        other.busy_timeout(Duration::from_secs(20)).unwrap();
        let sql = format!("PRAGMA wal_checkpoint({mode})");
        let busy: i64 = other.query_row(&sql, [], |row| row.get(0)).unwrap();
        assert_eq!(busy, 0, "{mode}");
        other.execute_batch("UPDATE jobs SET desired = desired").unwrap();
        assert_eq!(next(&mut hints), [hint(&new.job_id)], "{mode}");
    }
}

#[test]
fn a_subscriber_that_missed_pruned_changes_is_told_to_compare_everything() {
    let (_folder, path) = place();
    let records = open(&path, Access::Orchestrator);
    create(&records);
    let mut hints = records.subscribe(Interest::Reconcile);
    let other = Connection::open(&path).unwrap();
    let sql =
        "BEGIN; UPDATE jobs SET desired = desired; UPDATE revisions SET last = last + 50, pruned = last + 49;
               DELETE FROM changes; UPDATE jobs SET desired = desired; COMMIT";
    other.execute_batch(sql).unwrap();
    assert_eq!(next(&mut hints)[0], Hint::Resync);
}

#[test]
fn a_file_that_was_set_back_makes_everything_be_compared() {
    let (_folder, path) = place();
    let records = open(&path, Access::Orchestrator);
    create(&records);
    create(&records);
    let mut hints = records.subscribe(Interest::Reconcile);
    let other = Connection::open(&path).unwrap();
    other.execute_batch("DELETE FROM changes; UPDATE revisions SET last = 0").unwrap();
    assert_eq!(next(&mut hints), [Hint::Resync]);
    let new = create(&records);
    assert_eq!(next(&mut hints), [hint(&new.job_id)], "and the feed goes on from there");
}

#[test]
fn old_changes_are_pruned_and_the_newest_are_kept() {
    let (_folder, path) = place();
    let records = open(&path, Access::Orchestrator);
    let mut hints = records.subscribe(Interest::Reconcile);
    let other = Connection::open(&path).unwrap();
    other
        .execute_batch(
            "BEGIN; UPDATE revisions SET last = 30000; INSERT INTO changes
             WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 30000)
             SELECT n, 'old' FROM c; COMMIT",
        )
        .unwrap();
    for _ in 0..12 {
        until_marker(&records, &mut hints);
    }
    let kept = "SELECT min(revision), max(revision), (SELECT pruned FROM revisions) FROM changes";
    let kept: (i64, i64, i64) =
        other.query_row(kept, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    assert_eq!(kept, (10_001, 30_012, 10_000));
}

#[test]
fn an_attempt_that_is_left_by_another_process_is_announced() {
    let (_folder, path) = place();
    let (records, other) = (open(&path, Access::Orchestrator), open(&path, Access::Orchestrator));
    let (new, token) = (create(&records), fresh_token());
    block_on(records.draft(&new.job_id, &token, &fx::claim(1))).unwrap();
    let mut hints = records.subscribe(Interest::Reconcile);
    block_on(other.seal(&new.job_id, &token, LeaveReason::Superseded)).unwrap();
    assert_eq!(next(&mut hints), [hint(&new.job_id)]);
}
