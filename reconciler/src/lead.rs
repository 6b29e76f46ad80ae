//! Leadership, and what runs while it lasts.
//!
//! Two leaders at once are harmless (the launch protocol does not depend on the lease); the lease only keeps
//! them from wasting work. Everything in memory is dropped when leadership ends and built again from the
//! records when it begins.

use crate::admission::Admission;
use crate::board::Board;
use crate::echo::{Echoes, PUT_OFF};
use crate::facts::Facts;
use crate::metrics::{Metrics, RESULTS};
use crate::pace::{Pace, Paces, Told};
use crate::queue::Queue;
use crate::resync::Seen;
use crate::scan::scans;
use crate::work::{Next, PassError, Work};
use crate::{BoxedHints, Parts};
use backends::{Hint, HintsError};
use contract::JobId;
use futures_util::FutureExt;
use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Between two attempts to take the lease.
const ACQUIRE_EVERY: Duration = Duration::from_secs(1);
/// Between two renewals.
const RENEW_EVERY: Duration = Duration::from_secs(5);
/// How long a look that nobody waits for is put off. Long enough for a task of milliseconds to end, so that one
/// pass sees its start and its end; too short for anybody who watches the status to notice.
const UNHURRIED: Duration = Duration::from_millis(10);
/// How long passes may take to end at shutdown; they are safe to abandon.
const LAST_PASSES: Duration = Duration::from_secs(1);

/// Runs until `shutdown` completes: takes the lease, reconciles while it is held, gives it back. Tasks that
/// run live on.
pub async fn run(parts: Parts, mut hints: BoxedHints, metrics: Metrics, shutdown: impl Future<Output = ()>) {
    let mut shutdown = pin!(shutdown);
    loop {
        let epoch = tokio::select! {
            // In order everywhere: with the same ports two runs do the same.
            biased;
            () = &mut shutdown => return,
            epoch = acquire(&parts, &metrics) => epoch,
        };
        tracing::info!(epoch, holder = %parts.holder, "leading");
        metrics.leader.set(1);
        metrics.epoch.set(i64::try_from(epoch).unwrap_or(i64::MAX));
        let ended = lead(&parts, &mut hints, &metrics, epoch, &mut shutdown).await;
        metrics.leader.set(0);
        if let Err(error) = metrics.stored("lease", parts.lease.release().await) {
            tracing::warn!(%error, "the lease was not given back");
        }
        match ended {
            Ended::Shutdown => return,
            Ended::Lost => tracing::warn!(epoch, "leadership lost"),
        }
    }
}

enum Ended {
    Shutdown,
    Lost,
}

async fn acquire(parts: &Parts, metrics: &Metrics) -> u64 {
    let mut waiting = false;
    loop {
        match metrics.stored("lease", parts.lease.acquire(&parts.holder).await) {
            Ok(Some(held)) => return held.epoch,
            Ok(None) if !waiting => {
                waiting = true;
                tracing::info!("another reconciler leads; standing by");
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "the lease could not be asked for"),
        }
        tokio::time::sleep(ACQUIRE_EVERY).await;
    }
}

async fn lead(
    parts: &Parts,
    hints: &mut BoxedHints,
    metrics: &Metrics,
    epoch: u64,
    shutdown: &mut (impl Future<Output = ()> + Unpin),
) -> Ended {
    let work = Arc::new(Work {
        parts: parts.clone(),
        epoch,
        metrics: metrics.clone(),
        queue: Queue::default(),
        admission: Admission::new(parts.limits()),
        facts: Facts::default(),
        paces: Paces::new(metrics.failing.clone()),
        told: Told::default(),
        board: Board::default(),
        echoes: Echoes::default(),
    });
    let (deposed, mut lost) = watch::channel(false);
    let deposed = Arc::new(deposed);
    let resync_now = Arc::new(Notify::new());
    let mut passes = JoinSet::new();
    for _ in 0..parts.tasks.passes() {
        passes.spawn(passes_of(work.clone(), deposed.clone()));
    }
    let mut others = JoinSet::new();
    others.spawn(keep_time(work.clone()));
    others.spawn(resyncs(work.clone(), resync_now.clone()));
    others.spawn(scans(work.clone()));
    others.spawn(room(work.clone()));
    others.spawn(renewals(work.clone(), deposed));
    let ended = tokio::select! {
        biased;
        () = shutdown => Ended::Shutdown,
        _ = lost.wait_for(|lost| *lost) => Ended::Lost,
        () = take_hints(hints, &work, &resync_now) => Ended::Lost,
    };
    others.abort_all();
    work.queue.close();
    let rest = async { while passes.join_next().await.is_some() {} };
    if tokio::time::timeout(LAST_PASSES, rest).await.is_err() {
        passes.abort_all();
    }
    work.board.clear(metrics);
    ended
}

async fn keep_time(work: Arc<Work>) {
    work.queue.keep_time().await;
}

/// Takes one key after the other.
async fn passes_of(work: Arc<Work>, deposed: Arc<watch::Sender<bool>>) {
    while let Some(key) = work.queue.next().await {
        let timer = work.metrics.pass_seconds.start_timer();
        // A panic ends this pass and nothing else: what passes share is whole between any two of their steps.
        let ended = AssertUnwindSafe(work.pass(&key)).catch_unwind().await;
        timer.observe_duration();
        let result = match &ended {
            Ok(Ok(Next::Now)) => RESULTS[1],
            Ok(Ok(Next::Settled | Next::At(_))) => RESULTS[0],
            Ok(Err(_)) => RESULTS[2],
            Err(_) => RESULTS[3],
        };
        work.metrics.passes.with_label_values(&[result]).inc();
        work.queue.done(&key);
        match ended {
            Ok(Ok(next)) => again(&work, key, next),
            Ok(Err(PassError::Deposed { ours, theirs })) => {
                tracing::warn!(ours, theirs, "a later epoch has written");
                deposed.send_replace(true);
            }
            Ok(Err(error)) => delay(&work, key, &error),
            Err(panic) => {
                work.metrics.panics.inc();
                tracing::error!(job_id = %key, panic = said(&*panic), "a pass panicked");
                work.grant(work.admission.looked_at(&key));
                let at = Instant::now() + work.paces.pause(&key, &*work.parts.random);
                work.queue.push_at(key, at);
            }
        }
    }
}

/// What was said at a panic.
fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("")
}

fn again(work: &Work, key: JobId, next: Next) {
    work.paces.reset(&key);
    match next {
        Next::Settled => {}
        Next::Now => work.queue.push(key),
        Next::At(time) => {
            let wait = time.millis_since(work.parts.clock.now());
            // One millisecond more: wall-clock times are cut to milliseconds, and a pass that comes a moment
            // too early would only wait again.
            let at = Instant::now() + Duration::from_millis(wait.unsigned_abs() + 1);
            work.queue.push_at(key, at);
        }
    }
}

/// An error delays the key, longer each time.
fn delay(work: &Work, key: JobId, error: &PassError) {
    // A job that cannot be looked at must not keep others from their slots.
    work.grant(work.admission.looked_at(&key));
    let pause = work.paces.pause(&key, &*work.parts.random);
    let pause_ms = crate::observe::millis(pause);
    match work.told.now() {
        Some(0) => tracing::warn!(job_id = %key, %error, pause_ms, "pass failed"),
        Some(untold) => tracing::warn!(job_id = %key, %error, pause_ms, untold, "passes failed"),
        None => tracing::debug!(job_id = %key, %error, pause_ms, "pass failed"),
    }
    work.queue.push_at(key, Instant::now() + pause);
}

async fn take_hints(hints: &mut BoxedHints, work: &Work, resync_now: &Notify) {
    let mut pace = Pace::default();
    loop {
        match hints.next().await {
            Ok(batch) => {
                pace = Pace::default();
                for hint in batch {
                    match hint {
                        Hint::Control(key, version) if work.echoes.is_own(&version) => {
                            work.queue.push_at(key, Instant::now() + PUT_OFF);
                        }
                        Hint::Job(key) | Hint::Control(key, _) => {
                            work.parts.tasks.heard_of(&key);
                            work.queue.push(key);
                        }
                        Hint::Unhurried(key) => {
                            work.parts.tasks.heard_of(&key);
                            work.queue.push_at(key, Instant::now() + UNHURRIED);
                        }
                        Hint::Resync => resync_now.notify_one(),
                    }
                }
            }
            Err(HintsError::Unavailable(why)) => {
                tracing::warn!(%why, "hints are not reachable; the resync goes on");
                tokio::time::sleep(pace.pause(&*work.parts.random)).await;
            }
            // The resync alone is enough to be right, only slower.
            Err(HintsError::Ended) => std::future::pending::<()>().await,
        }
    }
}

async fn resyncs(work: Arc<Work>, now: Arc<Notify>) {
    let mut seen = Seen::default();
    let mut pace = Pace::default();
    loop {
        let pause = match work.resync(&mut seen).await {
            Ok(()) => {
                pace = Pace::default();
                work.parts.resync_interval
            }
            Err(error) => {
                tracing::warn!(%error, "resync failed");
                pace.pause(&*work.parts.random)
            }
        };
        let (ready, delayed, running) = work.queue.depth();
        for (state, count) in [("ready", ready), ("delayed", delayed), ("running", running)] {
            work.metrics.queue.with_label_values(&[state]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        tokio::select! {
            biased;
            () = now.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Lets jobs try whether the task runtime has room again.
async fn room(work: Arc<Work>) {
    loop {
        work.admission.room_due().await;
        work.grant(work.admission.look_for_room());
    }
}

async fn renewals(work: Arc<Work>, deposed: Arc<watch::Sender<bool>>) {
    loop {
        tokio::time::sleep(RENEW_EVERY).await;
        match work.metrics.stored("lease", work.parts.lease.renew().await) {
            Ok(true) => {}
            Ok(false) => {
                deposed.send_replace(true);
                return;
            }
            Err(error) => tracing::warn!(%error, "the lease could not be renewed"),
        }
    }
}
