//! Watching the workers: who is silent, on this process's monotonic clock; who may be given work; what ended.

use backends::redis::pool::{Pool, PoolError, WorkerRecord};
use backends::{Hint, HintSender};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// The longest lease that a worker accepts; taken for one whose record is lost.
const LONGEST_LEASE: Duration = Duration::from_secs(60);
/// After a connection broke, before it is opened anew.
const AGAIN: Duration = Duration::from_millis(500);

/// What is known of the workers. It can be lost: then the waits begin anew.
pub(super) struct Watch {
    pool: Pool,
    hints: HintSender,
    grace: Duration,
    look_every: Duration,
    heard: Mutex<HashMap<String, Heard>>,
    slots: AtomicU32,
    /// When the pool answered last, or this began.
    answered: Mutex<Instant>,
}

/// What was heard of a worker last.
struct Heard {
    /// `None`: its record is gone.
    beat: Option<String>,
    /// When it was first seen, after the answer that showed it.
    since: Instant,
    /// The longest that it ever named: a record edited by hand must not shorten the wait.
    lease: Duration,
}

/// How long a worker has been silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Silence {
    /// It beats.
    None,
    /// Longer than it should be; it is given nothing.
    Suspect,
    /// Longer than the lease and the grace.
    Gone,
}

impl Watch {
    pub(super) fn new(pool: Pool, hints: HintSender, grace: Duration, look_every: Duration) -> Self {
        let (slots, answered) = (AtomicU32::new(0), Mutex::new(Instant::now()));
        Self { pool, hints, grace, look_every, heard: Mutex::default(), slots, answered }
    }

    fn heard(&self) -> MutexGuard<'_, HashMap<String, Heard>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For how long no look at the workers has been answered.
    pub(super) fn silent_for(&self) -> Duration {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// How many slots the workers that beat have together.
    pub(super) fn slots(&self) -> u32 {
        self.slots.load(Ordering::Relaxed)
    }

    /// Notes what was read of a worker by a call that began at `asked`, and how long it has been silent. Silence
    /// is counted from the answer that first showed this heartbeat to the question that showed it last.
    pub(super) fn silence(&self, worker: &str, beat: Option<(&str, Duration)>, asked: Instant) -> Silence {
        let mut heard = self.heard();
        let entry = heard.entry(worker.to_owned()).or_insert_with(|| Heard {
            beat: beat.map(|(beat, _)| beat.to_owned()),
            since: Instant::now(),
            lease: beat.map_or(LONGEST_LEASE, |(_, lease)| lease),
        });
        entry.lease = entry.lease.max(beat.map_or(Duration::ZERO, |(_, lease)| lease));
        if entry.beat.as_deref() != beat.map(|(beat, _)| beat) {
            entry.beat = beat.map(|(beat, _)| beat.to_owned());
            entry.since = Instant::now();
            return Silence::None;
        }
        let silent = asked.saturating_duration_since(entry.since);
        if silent > entry.lease + self.grace {
            Silence::Gone
        } else if silent > entry.lease / 2 {
            Silence::Suspect
        } else {
            Silence::None
        }
    }

    /// Looks at the workers again and again.
    pub(super) async fn workers(self: std::sync::Arc<Self>) {
        let mut failing = false;
        loop {
            match self.look().await {
                Ok(()) => failing = false,
                Err(error) if !failing => {
                    failing = true;
                    warn!(%error, "the workers of the pool are not known now");
                }
                Err(_) => {}
            }
            tokio::time::sleep(self.look_every).await;
        }
    }

    async fn look(&self) -> Result<(), PoolError> {
        let asked = Instant::now();
        let workers = self.pool.workers().await?;
        *self.answered.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        let mut slots = 0;
        for WorkerRecord { id, beat, lease, slots: has } in &workers {
            match self.silence(id, Some((beat, *lease)), asked) {
                Silence::None => slots += has,
                Silence::Suspect => {}
                Silence::Gone => {
                    let reason = "the worker that had taken it was silent for longer than its lease";
                    if self.pool.bury(id, beat, reason).await? {
                        warn!(worker = %id, "a worker of the pool is gone");
                    }
                }
            }
        }
        // Those without a record are kept while a task may still name them.
        self.heard().retain(|id, heard| {
            workers.iter().any(|w| w.id == *id) || heard.since.elapsed() < 4 * (heard.lease + self.grace)
        });
        if self.slots.swap(slots, Ordering::Relaxed) != slots {
            info!(slots, workers = workers.len(), "slots of the pool");
            self.hints.send(Hint::Resync);
        }
        Ok(())
    }

    /// Passes on what is told of the pool.
    pub(super) async fn changes(self: std::sync::Arc<Self>) {
        loop {
            if let Ok(mut changes) = self.pool.changes().await {
                // Something may have been missed.
                self.hints.send(Hint::Resync);
                while let Some(change) = changes.next().await {
                    match change {
                        Some(job_id) => self.hints.send(Hint::Job(job_id)),
                        None => {
                            if let Err(error) = self.look().await {
                                warn!(%error, "the workers of the pool are not known now");
                            }
                        }
                    }
                }
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}
