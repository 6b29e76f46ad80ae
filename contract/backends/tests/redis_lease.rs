//! `RedisLease` and the hints of Redis against the conformance suites, and what a lease does with time.

#![cfg(all(feature = "conformance", feature = "redis"))]

mod redis_support;

use backends::conformance::{fixtures, hints, lease};
use backends::{ChangeFeed, Interest, Lease, RecordsBackend, RedisLease, RedisRecords};
use redis_support::{RedisServer, block_on};
use std::sync::Arc;
use std::time::{Duration, Instant};

mod on_redis {
    backends::lease_conformance!(super::open_lease);
    backends::hints_conformance!(super::open_feed);
}

fn open_lease() -> lease::Fixture {
    let server = RedisServer::start_or_end();
    let url = server.url();
    lease::Fixture {
        contender: Box::new(move || Arc::new(RedisLease::of(&RedisRecords::lazy(&url).unwrap()))),
        block_on: |future| block_on(future),
        guard: Box::new(server),
    }
}

/// Jobs are created by another process, as far as the server can tell.
fn open_feed() -> hints::Fixture {
    let server = RedisServer::start_or_end();
    let records = RedisRecords::lazy(&server.url()).unwrap();
    let other = RedisRecords::lazy(&server.url()).unwrap();
    let source = block_on(records.subscribe(Interest::Reconcile)).unwrap().unwrap();
    hints::Fixture {
        hints: source,
        announce: Box::new(move |job_id| {
            let other = other.clone();
            Box::pin(async move {
                let mut new = fixtures::new_job();
                new.job_id = job_id;
                other.create(&new).await.unwrap();
            })
        }),
        block_on: |future| block_on(future),
        guard: Box::new(server),
    }
}

fn contender(server: &RedisServer, millis: u64) -> RedisLease {
    let records = RedisRecords::lazy(&server.url()).unwrap();
    RedisLease::with_duration(&records, Duration::from_millis(millis))
}

/// Asks until the lease is had, and says how long that took.
async fn taken(lease: &RedisLease) -> (u64, Duration) {
    let start = Instant::now();
    loop {
        if let Some(held) = lease.acquire("two").await.unwrap() {
            return (held.epoch, start.elapsed());
        }
        assert!(start.elapsed() < Duration::from_secs(20), "never taken over");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[test]
fn a_dead_holders_lease_is_taken_after_the_duration_that_it_stored() {
    let Some(server) = RedisServer::start() else { return };
    block_on(async {
        // The contender's own duration does not matter.
        let (one, two) = (contender(&server, 400), contender(&server, 60_000));
        let first = one.acquire("one").await.unwrap().unwrap();
        let (epoch, waited) = taken(&two).await;
        assert_eq!(epoch, first.epoch + 1);
        assert!(waited >= Duration::from_millis(400), "{waited:?}");
        assert!(!one.renew().await.unwrap(), "the old holder is told");
        assert_eq!(one.acquire("one").await.unwrap(), None);
        assert_eq!(two.acquire("two").await.unwrap().unwrap().epoch, epoch);
    });
}

#[test]
fn a_holder_that_renews_keeps_the_lease_whatever_its_wall_clock_says() {
    let Some(server) = RedisServer::start() else { return };
    block_on(async {
        let (one, two) = (contender(&server, 500), contender(&server, 500));
        one.acquire("one").await.unwrap().unwrap();
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(1500) {
            assert_eq!(two.acquire("two").await.unwrap(), None);
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert!(one.renew().await.unwrap());
            // As a holder whose clock is a year behind writes it.
            server.cli(&["HSET", "agent-runner:lease", "renewed_at", "1"]);
        }
    });
}

#[test]
fn an_epoch_never_comes_again_even_when_the_record_or_the_counter_is_deleted() {
    let Some(server) = RedisServer::start() else { return };
    block_on(async {
        let (one, two) = (contender(&server, 60_000), contender(&server, 60_000));
        let first = one.acquire("one").await.unwrap().unwrap();
        server.cli(&["DEL", "agent-runner:lease"]);
        let second = two.acquire("two").await.unwrap().unwrap();
        assert!(second.epoch > first.epoch);
        assert!(!one.renew().await.unwrap());
        two.release().await.unwrap();
        server.cli(&["DEL", "agent-runner:epoch"]);
        let third = one.acquire("one").await.unwrap().unwrap();
        assert!(third.epoch > second.epoch, "{third:?} after {second:?}");
    });
}
