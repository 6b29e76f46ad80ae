//! What hears of edits by hand, and what becomes of keys that somebody mistyped.

#![cfg(all(feature = "conformance", feature = "redis"))]

mod redis_support;

use backends::clock::fresh_token;
use backends::conformance::{fixtures as fx, wait::within};
use backends::{
    ChangeFeed, Closed, CreateAnswer, GateAnswer, Hint, Hints, Interest, ListQuery, NewJob, RecordsBackend,
    RedisRecords, Revision, StartAnswer, WriteAnswer,
};
use contract::{JobId, LaunchToken, LeaveReason, Raw, Reason, Status};
use redis_support::{RedisServer, block_on};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// How long a hint may take, however busy the machine.
const PATIENCE: Duration = Duration::from_secs(20);

struct Store {
    server: RedisServer,
    records: Arc<RedisRecords>,
    job: NewJob,
    token: LaunchToken,
}

/// A store with one job whose attempt has started.
fn store() -> Option<Store> {
    let server = RedisServer::start()?;
    let records = RedisRecords::lazy(&server.url()).unwrap();
    let (job, token) = (fx::new_job(), fresh_token());
    block_on(async {
        records.create(&job).await.unwrap();
        let control = fx::launching(1, &token);
        records.claim(&job.job_id, &token, &fx::claim(1), None, &fx::desired(&job), &control).await.unwrap();
        let answer = records.start(&job.job_id, &token, &fx::task("a"), &fx::report(1)).await.unwrap();
        assert!(matches!(answer, StartAnswer::Started(_)));
    });
    Some(Store { server, records, job, token })
}

impl Store {
    fn key(&self) -> String {
        format!("agent-runner:job:{}", self.job.job_id)
    }

    fn attempt_key(&self) -> String {
        format!("agent-runner:attempt:{}:{}", self.job.job_id, self.token)
    }

    /// Creates a job, so that every hint of what happened before has arrived when this one has.
    async fn mark(&self) -> JobId {
        let new = fx::new_job();
        assert_eq!(self.records.create(&new).await, Ok(CreateAnswer::Created));
        new.job_id
    }

    async fn revisions(&self) -> BTreeMap<JobId, Revision> {
        self.records.list_active().await.unwrap().into_iter().collect()
    }

    async fn settle(&self) {
        let (id, done) = (&self.job.job_id, fx::finished(1, &self.token, fx::at(9)));
        let job = self.records.job(id).await.unwrap().unwrap();
        let written =
            self.records.write_control(id, fx::write(job.control.as_ref(), &job.desired, &done, true)).await;
        assert_eq!(written, Ok(WriteAnswer::Written));
    }
}

/// All hints until `last` is named.
async fn until(hints: &mut Box<dyn Hints>, last: &JobId) -> BTreeSet<Hint> {
    let mut heard = BTreeSet::new();
    while !heard.contains(&Hint::Job(last.clone())) {
        heard.extend(within(PATIENCE, hints.next()).await.expect("a hint in time").unwrap());
    }
    heard.remove(&Hint::Job(last.clone()));
    heard
}

#[test]
fn an_edit_by_hand_is_heard_whatever_it_touches() {
    let Some(store) = store() else { return };
    block_on(async {
        let (key, attempt) = (store.key(), store.attempt_key());
        let mut hints = store.records.subscribe(Interest::Reconcile).await.unwrap().unwrap();
        for edit in [
            vec!["HSET", &key, "desired", "{}"],
            vec!["HDEL", &key, "control", "status"],
            vec!["HSET", &attempt, "gate", "{\"state\":\"sealed\",\"why\":\"Cancelled\"}"],
            vec!["HINCRBY", &attempt, "number", "1"],
            vec!["DEL", &key],
        ] {
            store.server.cli(&edit);
            let heard = until(&mut hints, &store.mark().await).await;
            assert_eq!(heard, BTreeSet::from([Hint::Job(store.job.job_id.clone())]), "{edit:?}");
        }
        store.server.cli(&["FLUSHALL"]);
        let heard = until(&mut hints, &store.mark().await).await;
        assert!(heard.contains(&Hint::Resync), "{heard:?}");
    });
}

#[test]
fn the_systems_own_writes_wake_whom_they_should_and_nobody_else() {
    let Some(store) = store() else { return };
    let (r, id, token) = (&store.records, &store.job.job_id, &store.token);
    let hint = BTreeSet::from([Hint::Job(id.clone())]);
    block_on(async {
        // Another process, as far as the server can tell.
        let api = RedisRecords::lazy(&store.server.url()).unwrap();
        let mut statuses = api.subscribe(Interest::Status).await.unwrap().unwrap();
        let mut hints = r.subscribe(Interest::Reconcile).await.unwrap().unwrap();
        for beat in 2..20 {
            let beaten = r.heartbeat(id, token, &fx::task("a"), &fx::report(beat)).await;
            assert_eq!(beaten, Ok(GateAnswer::Written));
            let (job, next) = (r.job(id).await.unwrap().unwrap(), fx::waiting());
            r.write_control(id, fx::write(job.control.as_ref(), &job.desired, &next, false)).await.unwrap();
        }
        assert_eq!(until(&mut hints, &store.mark().await).await, BTreeSet::new());
        let heard = within(PATIENCE, statuses.next()).await.expect("the status of another process").unwrap();
        assert!(heard.iter().all(|heard| *heard == Hint::Job(id.clone())), "{heard:?}");
        r.seal(id, token, LeaveReason::Cancelled).await.unwrap();
        assert_eq!(until(&mut hints, &store.mark().await).await, hint, "a seal");
        r.close(id, token, &fx::closing()).await.unwrap();
        assert_eq!(until(&mut hints, &store.mark().await).await, BTreeSet::new(), "a closing");
        let job = r.job(id).await.unwrap().unwrap();
        let next = Raw::of(&fx::new_job_of(contract::Desired::new("echo")).desired);
        assert_eq!(r.write_desired(id, &job.desired, &next).await, Ok(WriteAnswer::Written));
        assert_eq!(until(&mut hints, &store.mark().await).await, hint, "an edit");
        r.delete(id, &job.control.unwrap(), &next).await.unwrap();
        assert_eq!(until(&mut hints, &store.mark().await).await, hint, "a deletion");
    });
}

#[test]
fn a_start_is_announced_as_unhurried_an_outcome_at_once_and_an_end_with_what_follows_to_nobody() {
    let Some(store) = store() else { return };
    let (r, new, token, task) = (&store.records, fx::new_job(), fresh_token(), fx::task("b"));
    let (id, seen) = (&new.job_id, fx::desired(&new));
    block_on(async {
        r.create(&new).await.unwrap();
        let control = fx::launching(1, &token);
        r.claim(id, &token, &fx::claim(1), None, &seen, &control).await.unwrap();
        let mut hints = r.subscribe(Interest::Reconcile).await.unwrap().unwrap();
        r.start(id, &token, &task, &fx::report(1)).await.unwrap();
        let heard = until(&mut hints, &store.mark().await).await;
        assert_eq!(heard, BTreeSet::from([Hint::Unhurried(id.clone())]), "a start");
        r.finish(id, &token, &task, &fx::outcome()).await.unwrap();
        let heard = until(&mut hints, &store.mark().await).await;
        assert_eq!(heard, BTreeSet::from([Hint::Job(id.clone())]), "an outcome");
        let (expected, next) = (Raw::of(&control), fx::finished(1, &token, fx::at(9)));
        let write = fx::write(Some(&expected), &seen, &next, true);
        let both = Closed { closing: WriteAnswer::Written, control: Some(WriteAnswer::Written) };
        let closing = fx::closing();
        for _ in 0..2 {
            assert_eq!(r.close_and_write(id, &token, &closing, write).await, Ok(both));
        }
        assert_eq!(until(&mut hints, &store.mark().await).await, BTreeSet::new(), "an end");
        // Neither is any of it taken for what a later edit is announced by.
        store.server.cli(&["HSET", &format!("agent-runner:attempt:{id}:{token}"), "report", "{}"]);
        let heard = until(&mut hints, &store.mark().await).await;
        assert_eq!(heard, BTreeSet::from([Hint::Job(id.clone())]), "an edit");
    });
}

#[test]
fn an_edit_by_hand_is_noticed_and_never_overwritten() {
    let Some(store) = store() else { return };
    let (r, id, seen) = (&store.records, &store.job.job_id, fx::desired(&store.job));
    block_on(async {
        let by_hand = fx::edited(&seen, 7);
        store.server.cli(&["HSET", &store.key(), "desired", by_hand.text()]);
        let control = r.job(id).await.unwrap().unwrap().control.unwrap();
        let written = r.write_control(id, fx::write(Some(&control), &seen, &fx::waiting(), true)).await;
        assert_eq!(written, Ok(WriteAnswer::Conflict), "the reconciler has not seen it");
        assert_eq!(r.write_desired(id, &seen, &fx::edited(&seen, 8)).await, Ok(WriteAnswer::Conflict));
        assert_eq!(r.delete(id, &control, &seen).await, Ok(WriteAnswer::Conflict));
        assert_eq!(r.job(id).await.unwrap().unwrap().desired, by_hand);
    });
}

#[test]
fn a_resync_sees_every_edit_that_no_hint_announced() {
    let Some(store) = store() else { return };
    let (key, attempt) = (store.key(), store.attempt_key());
    block_on(async {
        let (id, other) = (&store.job.job_id, store.mark().await);
        let mut seen = BTreeSet::from([store.revisions().await[id]]);
        for edit in [
            vec!["HSET", &key, "desired", "{}"],
            // As long as before.
            vec!["HSET", &key, "desired", "[]"],
            vec!["HDEL", &key, "control"],
            vec!["HSET", &key, "control", ""],
            vec!["HSET", &attempt, "report", "{}"],
            vec!["HDEL", &attempt, "gate"],
            vec!["DEL", &attempt],
            vec!["SET", &attempt, "no hash"],
        ] {
            let before = store.revisions().await;
            store.server.cli(&edit);
            let now = store.revisions().await;
            assert_eq!(now[&other], before[&other]);
            assert!(now[id] != before[id] || edit[0] == "SET", "{edit:?}");
            seen.insert(now[id]);
        }
        assert_eq!(seen.len(), 8);
    });
}

#[test]
fn an_edit_of_a_finished_job_is_found_although_nobody_listened() {
    let Some(store) = store() else { return };
    let (r, id) = (&store.records, &store.job.job_id);
    block_on(async {
        r.seal(id, &store.token, LeaveReason::Cancelled).await.unwrap();
        r.close(id, &store.token, &fx::closing()).await.unwrap();
        store.settle().await;
        assert_eq!(store.revisions().await, BTreeMap::new());
        assert!(!r.job(id).await.unwrap().unwrap().active);
        let edited = fx::edited(&fx::desired(&store.job), 3);
        store.server.cli(&["HSET", &store.key(), "desired", edited.text()]);
        assert!(store.revisions().await.contains_key(id));
        assert!(r.job(id).await.unwrap().unwrap().active);
    });
}

#[test]
fn a_mistyped_key_is_shown_as_a_record_that_cannot_be_decoded_and_is_never_claimed() {
    let Some(store) = store() else { return };
    let (r, ghost, token) = (&store.records, JobId::new("mistyped").unwrap(), fresh_token());
    block_on(async {
        let mut hints = r.subscribe(Interest::Reconcile).await.unwrap().unwrap();
        let good = fx::desired(&store.job);
        store.server.cli(&["HSET", "agent-runner:job:mistyped", "desired", good.text()]);
        let heard = until(&mut hints, &store.mark().await).await;
        assert_eq!(heard, BTreeSet::from([Hint::Job(ghost.clone())]));
        assert!(store.revisions().await.contains_key(&ghost), "also without the hint");

        let job = r.load(&ghost).await.unwrap().unwrap().job;
        let error = job.desired().unwrap_err().to_string();
        assert!(error.contains("a key made by hand"), "{error}");
        for seen in [&good, &job.desired] {
            let claimed = r.claim(&ghost, &token, &fx::claim(1), None, seen, &fx::launching(1, &token)).await;
            assert_eq!(claimed, Ok(WriteAnswer::Conflict));
        }
        assert_eq!(r.draft(&ghost, &token, &fx::claim(1)).await, Ok(WriteAnswer::NotFound));
        assert_eq!(r.write_desired(&ghost, &good, &fx::edited(&good, 1)).await, Ok(WriteAnswer::Conflict));
        // That it cannot be decoded is written into it, where whoever mistyped looks.
        let said = fx::waiting();
        assert_eq!(
            r.write_control(&ghost, fx::write(None, &job.desired, &said, false)).await,
            Ok(WriteAnswer::Written)
        );
        assert!(r.load(&ghost).await.unwrap().unwrap().attempts.is_empty());
        let page = r.list(&ListQuery { limit: 10, cursor: None }).await.unwrap();
        assert_eq!(page.jobs[0].job.job_id, ghost);

        store.server.cli(&["DEL", "agent-runner:job:mistyped"]);
        assert_eq!(r.load(&ghost).await, Ok(None));
        assert!(!store.revisions().await.contains_key(&ghost));
    });
}

#[test]
fn a_key_of_another_type_delays_no_other_job() {
    let Some(store) = store() else { return };
    let r = &store.records;
    block_on(async {
        store.server.cli(&["SET", "agent-runner:job:text", "no hash"]);
        store.server.cli(&["HSET", "agent-runner:job:No Id", "desired", "{}"]);
        let revisions = store.revisions().await;
        let text = JobId::new("text").unwrap();
        assert_eq!(revisions.keys().collect::<BTreeSet<_>>(), BTreeSet::from([&store.job.job_id, &text]));
        let job = r.load(&text).await.unwrap().unwrap().job;
        assert!(job.desired().is_err());
        let refused = r.write_control(&text, fx::write(None, &job.desired, &fx::waiting(), false)).await;
        assert!(matches!(refused, Err(backends::RecordsError::Refused(_))), "{refused:?}");
        // Nobody can write down what is wrong with it, and everybody is told.
        let view = job.view();
        assert_eq!((view.status, view.reason), (Status::Queued, Some(Reason::InvalidRecord)));
        assert!(view.message.starts_with("no job but a key made by hand"), "{}", view.message);
        let page = r.list(&ListQuery { limit: 10, cursor: None }).await.unwrap();
        assert!(page.jobs.iter().any(|listed| listed.job == job), "{page:?}");
    });
}

#[test]
fn an_attempt_whose_hash_was_deleted_still_stands_in_the_way() {
    let Some(store) = store() else { return };
    let (r, id, seen, token) = (&store.records, &store.job.job_id, fx::desired(&store.job), fresh_token());
    block_on(async {
        store.server.cli(&["DEL", &store.attempt_key()]);
        let loaded = r.load(id).await.unwrap().unwrap();
        assert_eq!((loaded.attempts.len(), loaded.attempts[0].claim.text()), (1, ""));
        let (claim, next) = (fx::claim(2), fx::launching(2, &token));
        let claimed = r.claim(id, &token, &claim, loaded.job.control.as_ref(), &seen, &next).await;
        assert_eq!(claimed, Ok(WriteAnswer::Conflict));
    });
}

#[test]
fn a_gate_that_was_written_in_other_words_is_the_same_gate() {
    let Some(store) = store() else { return };
    let (r, id, token, task) = (&store.records, &store.job.job_id, &store.token, fx::task("a"));
    block_on(async {
        let gate = "{ \"task\": \"task:a\", \"state\": \"started\" }";
        store.server.cli(&["HSET", &store.attempt_key(), "gate", gate]);
        assert!(matches!(r.start(id, token, &task, &fx::report(1)).await, Ok(StartAnswer::Started(_))));
        assert_eq!(r.heartbeat(id, token, &task, &fx::report(5)).await, Ok(GateAnswer::Written));
        assert_eq!(r.finish(id, token, &task, &fx::outcome()).await, Ok(GateAnswer::Written));
        store.server.cli(&["HSET", &store.attempt_key(), "gate", ""]);
        let lost = r.start(id, token, &task, &fx::report(1)).await;
        assert!(matches!(lost, Ok(StartAnswer::Lost(_))), "an empty gate is no absent one: {lost:?}");
    });
}

#[test]
fn a_server_that_may_not_tell_of_edits_still_tells_of_writes_and_the_resync_finds_the_edits() {
    let Some(store) = store() else { return };
    store.server.cli(&["ACL", "SETUSER", "limited", "on", ">pw", "~*", "&*", "+@all", "-client|tracking"]);
    let url = store.server.url().replace("://", "://limited:pw@");
    block_on(async {
        let records = RedisRecords::open(&url).await.unwrap();
        let mut hints = records.subscribe(Interest::Reconcile).await.unwrap().unwrap();
        let before = store.revisions().await;
        store.server.cli(&["HSET", &store.key(), "desired", "{}"]);
        assert_eq!(until(&mut hints, &store.mark().await).await, BTreeSet::new());
        assert_ne!(store.revisions().await[&store.job.job_id], before[&store.job.job_id]);
    });
}
