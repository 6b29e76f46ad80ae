//! Answers that get lost, servers that refuse, and servers that are not there.

#![cfg(all(feature = "conformance", feature = "dynamodb"))]

mod aws_support;
mod dynamodb_support;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_support::proxy::{Fate, Proxy, Request, script};
use backends::clock::fresh_token;
use backends::conformance::fixtures as fx;
use backends::{
    CreateAnswer, DynamoLease, DynamoOptions, DynamoRecords, GateAnswer, Lease, RecordsBackend, RecordsError,
    Retry, StartAnswer, WriteAnswer,
};
use contract::{LeaveReason, Raw};
use dynamodb_support::{Store, Where, config, run};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A store behind a proxy.
struct Stage {
    store: Store,
    proxy: Proxy,
    /// Through the proxy.
    client: Client,
}

fn stage(rule: impl FnMut(&Request) -> Fate + Send + 'static) -> Option<Stage> {
    let store = Store::at(Where::Ministack)?;
    let proxy = Proxy::start(&store.endpoint, rule);
    Some(Stage { client: client(&proxy.endpoint()), store, proxy })
}

/// Tries are counted here: none of them may end because the machine is busy.
fn client(endpoint: &str) -> Client {
    client_that_waits(endpoint, Duration::from_secs(20))
}

fn client_that_waits(endpoint: &str, attempt: Duration) -> Client {
    let timeouts =
        TimeoutConfig::builder().operation_attempt_timeout(attempt).operation_timeout(10 * attempt);
    Client::from_conf(config(endpoint).timeout_config(timeouts.build()).build())
}

impl Stage {
    fn records(&self) -> Arc<DynamoRecords> {
        DynamoRecords::new(self.client.clone(), &self.store.prefix, DynamoOptions::default())
    }
}

fn operation(request: &Request) -> &str {
    request.header("x-amz-target").rsplit('.').next().unwrap_or_default()
}

fn writes(request: &Request) -> bool {
    ["UpdateItem", "TransactWriteItems"].contains(&operation(request))
}

#[test]
fn every_write_whose_answer_was_lost_recognises_itself() {
    // One answer of each write is lost; the SDK repeats the request.
    let lost = Arc::new(AtomicBool::new(false));
    let lose = lost.clone();
    let rule = move |request: &Request| {
        if writes(request) && lose.swap(false, Ordering::SeqCst) { Fate::CutAfter } else { Fate::Pass }
    };
    let Some(stage) = stage(rule) else { return };
    let (records, arm) = (stage.records(), || lost.store(true, Ordering::SeqCst));
    run(async {
        let (new, token, task) = (fx::new_job(), fresh_token(), fx::task("a"));
        let (id, seen) = (&new.job_id, fx::desired(&new));
        arm();
        assert_eq!(records.create(&new).await, Ok(CreateAnswer::Created));
        arm();
        let edit = fx::edited(&seen, 1);
        assert_eq!(records.write_desired(id, &seen, &edit).await, Ok(WriteAnswer::Written));
        arm();
        let waiting = fx::waiting();
        assert_eq!(
            records.write_control(id, fx::write(None, &edit, &waiting, false)).await,
            Ok(WriteAnswer::Written)
        );
        arm();
        let (control, before) = (fx::launching(1, &token), Raw::of(&waiting));
        let answer = records.claim(id, &token, &fx::claim(1), Some(&before), &edit, &control).await;
        assert_eq!(answer, Ok(WriteAnswer::Written));
        arm();
        let answer = records.start(id, &token, &task, &fx::report(1)).await;
        assert_eq!(answer, Ok(StartAnswer::Started(Box::new(Raw::of(&fx::claim(1))))));
        arm();
        assert_eq!(records.heartbeat(id, &token, &task, &fx::report(2)).await, Ok(GateAnswer::Written));
        arm();
        assert_eq!(records.finish(id, &token, &task, &fx::outcome()).await, Ok(GateAnswer::Written));
        arm();
        assert_eq!(records.close(id, &token, &fx::closing()).await, Ok(WriteAnswer::Written));
        let other = fresh_token();
        assert_eq!(records.draft(id, &other, &fx::claim(2)).await, Ok(WriteAnswer::Written));
        arm();
        assert_eq!(records.seal(id, &other, LeaveReason::Cancelled).await, Ok(GateAnswer::Written));
        assert_eq!(records.load(id).await.unwrap().unwrap().attempts.len(), 2);
        assert!(!lost.load(Ordering::SeqCst), "the last one was lost, too");
    });
    let seen = stage.proxy.seen(writes);
    assert_eq!(seen.len(), 9 + 9 + 1, "each write was sent twice, the draft once");
}

#[test]
fn a_lease_whose_answer_was_lost_is_held() {
    let rule = script(|r| operation(r) == "UpdateItem", [Fate::CutAfter, Fate::Pass, Fate::CutAfter]);
    let Some(stage) = stage(rule) else { return };
    let lease = DynamoLease::new(stage.client.clone(), &stage.store.prefix, Duration::from_secs(60));
    run(async {
        assert_eq!(lease.acquire("one").await.unwrap().unwrap().epoch, 1);
        assert!(lease.renew().await.unwrap());
        assert_eq!(lease.acquire("one").await.unwrap().unwrap().epoch, 1);
    });
    assert_eq!(stage.proxy.seen(|r| operation(r) == "UpdateItem").len(), 5);
}

/// What a creation and a reading end with when every answer is `fate`.
fn errors(fate: Fate) -> Option<(RecordsError, RecordsError)> {
    let mut stage = stage(move |_| fate.clone())?;
    // Nothing is carried out in time or late here.
    stage.client = client_that_waits(&stage.proxy.endpoint(), Duration::from_secs(1));
    let (records, new) = (stage.records(), fx::new_job());
    let write = run(records.create(&new)).expect_err("no answer");
    let read = run(records.load(&new.job_id)).expect_err("no answer");
    Some((write, read))
}

#[test]
fn a_store_that_is_busy_has_written_nothing() {
    for code in ["ThrottlingException", "ProvisionedThroughputExceededException", "RequestLimitExceeded"] {
        let Some((write, read)) = errors(Fate::Answer(400, code)) else { return };
        for error in [write, read] {
            assert!(matches!(error, RecordsError::Busy(_)), "{error:?}");
            assert_eq!(error.retry(), Retry::Later);
        }
    }
}

#[test]
fn a_store_that_is_busy_after_an_answer_was_lost_may_have_written() {
    let mut first = true;
    let rule = move |request: &Request| match (writes(request), std::mem::take(&mut first)) {
        (true, true) => Fate::CutAfter,
        _ => Fate::Answer(400, "ThrottlingException"),
    };
    let Some(stage) = stage(rule) else { return };
    let error = run(stage.records().create(&fx::new_job())).expect_err("an error");
    assert!(matches!(error, RecordsError::Uncertain(_)), "{error:?}");
    assert_eq!(error.retry(), Retry::Uncertain);
}

#[test]
fn a_server_that_fails_or_says_nothing_may_have_written() {
    for fate in [Fate::Answer(500, "InternalServerError"), Fate::CutAfter, Fate::Stall] {
        let Some((write, read)) = errors(fate) else { return };
        assert!(matches!(write, RecordsError::Uncertain(_)), "{write:?}");
        assert!(matches!(read, RecordsError::Unavailable(_)), "{read:?}");
    }
}

#[test]
fn missing_rights_can_be_given_while_the_system_runs() {
    let Some((write, read)) = errors(Fate::Answer(400, "AccessDeniedException")) else { return };
    for error in [write, read] {
        assert!(matches!(error, RecordsError::Unavailable(_)), "{error:?}");
    }
}

#[test]
fn a_server_that_is_not_there_has_written_nothing() {
    let free = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    let records = DynamoRecords::new(client(&format!("http://{free}")), "none", DynamoOptions::default());
    let new = fx::new_job();
    for error in [run(records.create(&new)).unwrap_err(), run(records.load(&new.job_id)).unwrap_err()] {
        assert!(matches!(error, RecordsError::Unavailable(_)), "{error:?}");
    }
}

#[test]
fn a_table_that_is_missing_is_named() {
    let Some(store) = Store::at(Where::Ministack) else { return };
    let records = DynamoRecords::new(store.client, "nobody-made-these", DynamoOptions::default());
    let new = fx::new_job();
    for error in [run(records.create(&new)).unwrap_err(), run(records.load(&new.job_id)).unwrap_err()] {
        assert!(matches!(error, RecordsError::Unusable(_)), "{error:?}");
        assert_eq!(error.retry(), Retry::Never);
    }
}

#[test]
fn a_claim_that_meets_another_transaction_waits_for_it_and_then_says_busy() {
    let met = "TransactionConflictException";
    let busy = stage(move |r| if operation(r) == "UpdateItem" { Fate::Answer(400, met) } else { Fate::Pass });
    let Some(busy) = busy else { return };
    let error = run(busy.records().create(&fx::new_job())).unwrap_err();
    assert!(matches!(error, RecordsError::Busy(_)), "{error:?}");
    let twice = script(|r| operation(r) == "UpdateItem", [Fate::Answer(400, met), Fate::Answer(400, met)]);
    let Some(stage) = stage(twice) else { return };
    assert_eq!(run(stage.records().create(&fx::new_job())), Ok(CreateAnswer::Created));
    assert_eq!(stage.proxy.seen(writes).len(), 3);
}

#[test]
fn a_caller_without_a_runtime_is_served() {
    let Some(store) = Store::at(Where::Ministack) else { return };
    let records = DynamoRecords::new(client(&store.endpoint), &store.prefix, DynamoOptions::default());
    let new = fx::new_job();
    assert_eq!(pollster::block_on(records.create(&new)), Ok(CreateAnswer::Created));
    let other = records.clone();
    let id = new.job_id.clone();
    let loaded = std::thread::spawn(move || pollster::block_on(other.load(&id))).join().unwrap();
    assert_eq!(loaded.unwrap().unwrap().job.desired, fx::desired(&new));
}

#[test]
fn a_load_that_a_claim_comes_between_is_of_one_moment() {
    let Some(store) = Store::at(Where::Ministack) else { return };
    let direct = DynamoRecords::new(store.client.clone(), &store.prefix, DynamoOptions::default());
    let (new, token) = (fx::new_job(), fresh_token());
    let (id, control) = (new.job_id.clone(), fx::launching(1, &token));
    assert_eq!(run(direct.create(&new)), Ok(CreateAnswer::Created));
    let (claimed, seen, mut queries) = (control.clone(), fx::desired(&new), 0);
    let rule = move |request: &Request| {
        queries += u32::from(operation(request) == "Query");
        match (operation(request), queries) {
            // The job is read meanwhile.
            ("Query", 1) => Fate::Answer(500, "InternalServerError"),
            ("Query", 2) => {
                let answer = run(direct.claim(&id, &token, &fx::claim(1), None, &seen, &claimed));
                assert_eq!(answer, Ok(WriteAnswer::Written));
                Fate::Pass
            }
            _ => Fate::Pass,
        }
    };
    let proxy = Proxy::start(&store.endpoint, rule);
    let records = DynamoRecords::new(client(&proxy.endpoint()), &store.prefix, DynamoOptions::default());
    let loaded = run(records.load(&new.job_id)).unwrap().unwrap();
    assert_eq!((loaded.job.control, loaded.attempts.len()), (Some(Raw::of(&control)), 1));
}
