//! A server that is killed, full, read-only, or whose answers get lost: slower, and nothing is lost.

#![cfg(all(feature = "conformance", feature = "redis"))]

mod redis_support;

use backends::clock::fresh_token;
use backends::conformance::{fixtures as fx, wait::within};
use backends::{
    ChangeFeed, CreateAnswer, GateAnswer, Hint, Interest, Lease, NewJob, RecordsBackend, RecordsError,
    RedisLease, RedisRecords, Retry, StartAnswer, WriteAnswer,
};
use contract::{LeaveReason, Raw};
use redis_support::{Cut, RedisServer, block_on};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

// A loaded machine takes its time to start a server again.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks again until the answer is no error, as every caller of the port does.
async fn patiently<T, F: Future<Output = Result<T, RecordsError>>>(mut ask: impl FnMut() -> F) -> T {
    let start = Instant::now();
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(e) => {
                assert_ne!(e.retry(), Retry::Never, "{e}");
                assert!(start.elapsed() < PATIENCE, "{e}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
}

#[test]
fn a_server_that_is_killed_again_and_again_loses_no_acknowledged_write() {
    let Some(mut server) = RedisServer::start() else { return };
    let records = block_on(RedisRecords::open(&server.url())).unwrap();
    let acknowledged: Arc<Mutex<Vec<NewJob>>> = Arc::default();
    let over = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..8)
        .map(|_| {
            let (records, acknowledged, over) = (records.clone(), acknowledged.clone(), over.clone());
            std::thread::spawn(move || {
                block_on(async {
                    while !over.load(Ordering::SeqCst) {
                        let new = fx::new_job();
                        // The same write id each time: a creation whose answer was lost knows itself.
                        let answer = patiently(|| records.create(&new)).await;
                        assert_eq!(answer, CreateAnswer::Created);
                        acknowledged.lock().unwrap().push(new);
                    }
                });
            })
        })
        .collect();
    for round in 1..=3 {
        let wanted = round * 100;
        let start = Instant::now();
        while acknowledged.lock().unwrap().len() < wanted {
            assert!(start.elapsed() < PATIENCE, "no progress in round {round}");
            std::thread::yield_now();
        }
        server.kill();
        server.run();
    }
    over.store(true, Ordering::SeqCst);
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    let jobs = acknowledged.lock().unwrap();
    block_on(async {
        let active = records.list_active().await.unwrap();
        assert!(active.len() >= jobs.len());
        for new in jobs.iter() {
            let job = records.job(&new.job_id).await.unwrap().expect("an acknowledged job");
            assert_eq!((job.desired, job.active), (fx::desired(new), true));
        }
    });
}

#[test]
fn the_feed_comes_back_after_a_restart_and_says_that_something_may_have_been_missed() {
    let Some(mut server) = RedisServer::start() else { return };
    let records = RedisRecords::lazy(&server.url()).unwrap();
    let mut hints = block_on(records.subscribe(Interest::Reconcile)).unwrap().unwrap();
    server.kill();
    server.run();
    block_on(async {
        let heard = within(PATIENCE, hints.next()).await.expect("a hint").unwrap();
        assert_eq!(heard, [Hint::Resync]);
        let new = fx::new_job();
        patiently(|| records.create(&new)).await;
        let heard = within(PATIENCE, hints.next()).await.expect("a hint").unwrap();
        assert_eq!(heard, [Hint::Job(new.job_id)]);
    });
}

#[test]
fn a_lease_outlives_a_restart_of_the_server() {
    let Some(mut server) = RedisServer::start() else { return };
    let records = RedisRecords::lazy(&server.url()).unwrap();
    let lease = RedisLease::of(&records);
    let held = block_on(lease.acquire("one")).unwrap().unwrap();
    server.kill();
    assert!(block_on(lease.renew()).is_err(), "an error, not a loss");
    server.run();
    block_on(async {
        let start = Instant::now();
        while lease.renew().await.is_err() {
            assert!(start.elapsed() < PATIENCE);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(lease.renew().await.unwrap());
        assert_eq!(lease.acquire("one").await.unwrap(), Some(held));
    });
}

#[test]
fn a_server_that_is_away_says_for_certain_that_nothing_was_written() {
    let Some(mut server) = RedisServer::start() else { return };
    let records = RedisRecords::lazy(&server.url()).unwrap();
    server.kill();
    let away = block_on(records.create(&fx::new_job())).unwrap_err();
    assert!(matches!(away, RecordsError::Unavailable(_)), "{away:?}");
    let opened = block_on(RedisRecords::open(&server.url()));
    assert_eq!(opened.unwrap_err().retry(), Retry::Later);
    server.run();
    assert_eq!(block_on(patiently(|| records.list_active())), []);
}

#[test]
fn records_of_a_newer_version_are_left_alone() {
    let Some(server) = RedisServer::start() else { return };
    block_on(RedisRecords::open(&server.url())).unwrap();
    assert_eq!(server.cli(&["GET", "agent-runner:version"]).trim(), "1");
    block_on(RedisRecords::open(&server.url())).unwrap();
    server.cli(&["SET", "agent-runner:version", "2"]);
    let refused = block_on(RedisRecords::open(&server.url())).unwrap_err();
    assert!(
        matches!(&refused, RecordsError::Unusable(text) if text.contains("use a newer program")),
        "{refused:?}"
    );
}

#[test]
fn credentials_that_are_refused_are_no_reason_to_try_again() {
    let Some(server) = RedisServer::start_with(&["--requirepass", "secret"]) else { return };
    let refused = block_on(RedisRecords::open(&server.url())).unwrap_err();
    assert_eq!(refused.retry(), Retry::Never, "{refused}");
    let url = |password: &str| format!("redis://:{password}@127.0.0.1:{}/0", server.port);
    let refused = block_on(RedisRecords::open(&url("wrong"))).unwrap_err();
    assert_eq!(refused.retry(), Retry::Never, "{refused}");
    assert!(block_on(RedisRecords::open(&url("secret"))).is_ok());
}

#[test]
fn a_server_that_stands_still_is_given_up_after_a_while_and_the_write_knows_itself() {
    let Some(server) = RedisServer::start() else { return };
    let records = RedisRecords::lazy(&server.url()).unwrap();
    block_on(async {
        let new = fx::new_job();
        records.list_active().await.unwrap();
        server.stand_still(true);
        let start = Instant::now();
        let error = records.create(&new).await.unwrap_err();
        assert_eq!(error.retry(), Retry::Uncertain, "{error}");
        assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
        server.stand_still(false);
        assert_eq!(patiently(|| records.create(&new)).await, CreateAnswer::Created);
        assert_eq!(server.cli(&["ZCARD", "agent-runner:created"]).trim(), "1");
    });
}

#[test]
fn a_full_server_refuses_writes_and_takes_them_when_it_has_room_again() {
    let Some(server) = RedisServer::start() else { return };
    let records = RedisRecords::lazy(&server.url()).unwrap();
    let (new, other, token) = (fx::new_job(), fx::new_job(), fresh_token());
    block_on(async {
        records.create(&new).await.unwrap();
        server.cli(&["CONFIG", "SET", "maxmemory", "1"]);
        let full = |error: RecordsError| {
            assert!(matches!(&error, RecordsError::Unavailable(text) if text.contains("OOM")), "{error:?}");
        };
        full(records.create(&other).await.unwrap_err());
        let (seen, next) = (fx::desired(&new), fx::launching(1, &token));
        let claim = fx::claim(1);
        let claim_now = || records.claim(&new.job_id, &token, &claim, None, &seen, &next);
        full(claim_now().await.unwrap_err());
        full(records.write_control(&new.job_id, fx::write(None, &seen, &next, true)).await.unwrap_err());
        // Nothing of it was written, and reading goes on.
        assert_eq!(records.job(&other.job_id).await, Ok(None));
        let loaded = records.load(&new.job_id).await.unwrap().unwrap();
        assert_eq!((loaded.job.control, loaded.attempts.len(), loaded.job.active), (None, 0, true));
        assert_eq!(server.cli(&["ZCARD", "agent-runner:created"]).trim(), "1");
        server.cli(&["CONFIG", "SET", "maxmemory", "0"]);
        assert_eq!(records.create(&other).await, Ok(CreateAnswer::Created));
        assert_eq!(claim_now().await, Ok(WriteAnswer::Written));
    });
}

#[test]
fn on_a_full_server_what_runs_goes_on_and_ends() {
    let Some(server) = RedisServer::start() else { return };
    let records = RedisRecords::lazy(&server.url()).unwrap();
    let lease = RedisLease::of(&records);
    let (new, one, two, task) = (fx::new_job(), fresh_token(), fresh_token(), fx::task("a"));
    block_on(async {
        let (r, id) = (&records, &new.job_id);
        r.create(&new).await.unwrap();
        r.draft(id, &one, &fx::claim(1)).await.unwrap();
        r.draft(id, &two, &fx::claim(2)).await.unwrap();
        let (seen, begun) = (fx::desired(&new), fx::launching(2, &two));
        assert_eq!(
            r.write_control(id, fx::write(None, &seen, &begun, false)).await,
            Ok(WriteAnswer::Written)
        );
        server.cli(&["CONFIG", "SET", "maxmemory", "1"]);
        let held = lease.acquire("one").await.unwrap();
        assert!(held.is_some() && lease.renew().await.unwrap(), "somebody leads");
        lease.release().await.unwrap();
        assert!(lease.acquire("one").await.unwrap().is_some(), "and somebody else after that");
        assert_eq!(r.writable().await, Ok(()), "nobody was refused yet");
        for _ in 0..2 {
            assert!(matches!(r.create(&fx::new_job()).await, Err(RecordsError::Unavailable(_))));
            assert!(matches!(r.writable().await, Err(RecordsError::Unavailable(_))));
        }
        assert!(matches!(r.start(id, &one, &task, &fx::report(1)).await, Ok(StartAnswer::Started(_))));
        assert_eq!(r.heartbeat(id, &one, &task, &fx::report(2)).await, Ok(GateAnswer::Written));
        assert_eq!(r.finish(id, &one, &task, &fx::outcome()).await, Ok(GateAnswer::Written));
        assert_eq!(r.seal(id, &two, LeaveReason::Cancelled).await, Ok(GateAnswer::Written));
        for token in [&one, &two] {
            assert_eq!(r.close(id, token, &fx::closing()).await, Ok(WriteAnswer::Written));
        }
        let (begun, done) = (Raw::of(&begun), fx::finished(2, &two, fx::at(9)));
        assert_eq!(
            r.write_control(id, fx::write(Some(&begun), &seen, &done, true)).await,
            Ok(WriteAnswer::Written)
        );
        assert_eq!(r.list_active().await, Ok(Vec::new()));
        // An edit that no hint announced, found by a resync.
        server.cli(&["CONFIG", "SET", "maxmemory", "0"]);
        assert_eq!(r.writable().await, Ok(()));
        assert_eq!(server.cli(&["EXISTS", "agent-runner:nothing"]).trim(), "0");
        server.cli(&["HSET", &format!("agent-runner:job:{id}"), "desired", "{}"]);
        server.cli(&["CONFIG", "SET", "maxmemory", "1"]);
        assert_eq!(r.list_active().await.unwrap().len(), 1);
        // What makes room.
        assert_eq!(r.delete(id, &Raw::of(&done), &Raw::stored("{}")).await, Ok(WriteAnswer::Written));
    });
}

/// As with a failover behind one address: the old primary is a replica now, and new connections reach the new one.
#[test]
fn a_connection_to_a_server_that_became_a_replica_is_given_up() {
    let (Some(old), Some(new)) = (RedisServer::start(), RedisServer::start()) else { return };
    let cut = Cut::to(old.port);
    let records = RedisRecords::lazy(&cut.url()).unwrap();
    block_on(async {
        assert_eq!(records.create(&fx::new_job()).await, Ok(CreateAnswer::Created));
        old.cli(&["REPLICAOF", "127.0.0.1", &new.port.to_string()]);
        cut.lead_to(new.port);
        let job = fx::new_job();
        let refused = records.create(&job).await.unwrap_err();
        assert!(matches!(&refused, RecordsError::Unavailable(_)), "{refused:?}");
        assert_eq!(records.create(&job).await, Ok(CreateAnswer::Created));
        assert_eq!(new.cli(&["ZCARD", "agent-runner:created"]).trim(), "1");
    });
}

#[test]
fn a_replica_refuses_writes_and_takes_them_once_it_is_promoted() {
    let (Some(primary), Some(replica)) = (RedisServer::start(), RedisServer::start()) else { return };
    let (first, second) =
        (RedisRecords::lazy(&primary.url()).unwrap(), RedisRecords::lazy(&replica.url()).unwrap());
    let (new, other) = (fx::new_job(), fx::new_job());
    block_on(async {
        first.create(&new).await.unwrap();
        replica.cli(&["REPLICAOF", "127.0.0.1", &primary.port.to_string()]);
        let start = Instant::now();
        while !matches!(second.job(&new.job_id).await, Ok(Some(_))) {
            assert!(start.elapsed() < PATIENCE, "never replicated");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let refused = second.create(&other).await.unwrap_err();
        assert!(
            matches!(&refused, RecordsError::Unavailable(text) if text.to_lowercase().contains("read")),
            "{refused:?}"
        );
        replica.cli(&["REPLICAOF", "NO", "ONE"]);
        assert_eq!(patiently(|| second.create(&other)).await, CreateAnswer::Created);
    });
}

/// A store whose answers can be lost, with one job whose attempt is claimed.
struct Lossy {
    /// By way of the proxy.
    records: Arc<RedisRecords>,
    cut: Cut,
    _server: RedisServer,
}

impl Lossy {
    fn start() -> Option<Self> {
        let server = RedisServer::start()?;
        let cut = Cut::to(server.port);
        let records = RedisRecords::lazy(&cut.url()).unwrap();
        Some(Self { records, cut, _server: server })
    }

    /// Calls twice; the answer to the first call is lost, although the call was carried out.
    async fn twice<T: std::fmt::Debug, F: Future<Output = Result<T, RecordsError>>>(
        &self,
        call: impl Fn() -> F,
    ) -> T {
        // The connection is open and the script is known to the server: the next answer is the call's.
        let lost = self.cut.lost();
        self.records.list_active().await.unwrap();
        self.cut.lose_one();
        let error = call().await.unwrap_err();
        assert_eq!((error.retry(), self.cut.lost()), (Retry::Uncertain, lost + 1), "{error}");
        call().await.unwrap()
    }
}

#[test]
fn every_write_whose_answer_was_lost_knows_itself() {
    let Some(lossy) = Lossy::start() else { return };
    let r = &lossy.records;
    block_on(async {
        // Makes every script known: a script that has to be loaded first is answered once more.
        let (first, one) = (fx::new_job(), fresh_token());
        whole_life(&lossy, &first, &one, false).await;
        let (second, two) = (fx::new_job(), fresh_token());
        whole_life(&lossy, &second, &two, true).await;
        assert_eq!(lossy.cut.lost(), 8);
        assert_eq!(r.job(&second.job_id).await, Ok(None));
    });
}

/// Creation, edit, claim, start, heartbeat, outcome, closing, end and deletion of a job.
async fn whole_life(lossy: &Lossy, new: &NewJob, token: &contract::LaunchToken, lossily: bool) {
    macro_rules! done {
        ($call:expr, $answer:pat) => {
            let answer = if lossily { lossy.twice(|| $call).await } else { $call.await.unwrap() };
            assert!(matches!(answer, $answer), "{answer:?}");
        };
    }
    let (r, id, task) = (&lossy.records, &new.job_id, fx::task("a"));
    let (seen, next) = (fx::desired(new), fx::edited(&fx::desired(new), 1));
    let (launching, claim, closing) = (fx::launching(1, token), fx::claim(1), fx::closing());
    let done = fx::finished(1, token, fx::at(9));
    let (report, outcome) = (fx::report(1), fx::outcome());
    done!(r.create(new), CreateAnswer::Created);
    done!(r.write_desired(id, &seen, &next), WriteAnswer::Written);
    done!(r.claim(id, token, &claim, None, &next, &launching), WriteAnswer::Written);
    done!(r.start(id, token, &task, &report), StartAnswer::Started(_));
    done!(r.heartbeat(id, token, &task, &report), GateAnswer::Written);
    done!(r.finish(id, token, &task, &outcome), GateAnswer::Written);
    done!(r.close(id, token, &closing), WriteAnswer::Written);
    let expected = Raw::of(&launching);
    done!(r.write_control(id, fx::write(Some(&expected), &next, &done, true)), WriteAnswer::Written);
    let loaded = r.load(id).await.unwrap().unwrap();
    assert_eq!((loaded.attempts.len(), loaded.job.control), (1, Some(Raw::of(&done))));
    assert_eq!(r.delete(id, &Raw::of(&done), &next).await, Ok(WriteAnswer::Written));
}

#[test]
fn a_seal_whose_answer_was_lost_is_one_seal() {
    let Some(lossy) = Lossy::start() else { return };
    let (r, token, new) = (&lossy.records, fresh_token(), fx::new_job());
    block_on(async {
        r.create(&new).await.unwrap();
        r.draft(&new.job_id, &token, &fx::claim(1)).await.unwrap();
        // Makes the script known.
        r.seal(&new.job_id, &fresh_token(), LeaveReason::Cancelled).await.unwrap();
        let answer = lossy.twice(|| r.seal(&new.job_id, &token, LeaveReason::Cancelled)).await;
        assert_eq!(answer, GateAnswer::Written);
    });
}

#[test]
fn a_take_over_whose_answer_was_lost_counts_one_epoch() {
    let Some(lossy) = Lossy::start() else { return };
    let lease = RedisLease::of(&lossy.records);
    block_on(async {
        let first = lease.acquire("one").await.unwrap().unwrap();
        lease.release().await.unwrap();
        lossy.cut.lose_one();
        assert!(lease.acquire("one").await.is_err());
        let second = lease.acquire("one").await.unwrap().unwrap();
        assert_eq!(second.epoch, first.epoch + 1);
    });
}
