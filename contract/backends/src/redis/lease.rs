//! The lease: a record that names holder, epoch and how long a contender has to watch it.
//!
//! A contender takes the lease over when the record did not change while it watched for the stored duration
//! by its own monotonic clock; wall clocks are never compared. Each take-over counts the epoch up.

use super::link::{Fault, Link};
use super::records::RedisRecords;
use crate::clock::{Clock, Random, SystemClock, SystemRandom, fresh_write_id};
use crate::lease::{Lease, LeaseError, LeaseHeld, LeaseView};
use async_trait::async_trait;
use contract::Timestamp;
use redis::Value;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Three renewals by the reconciler, which renews every 5 s: one that comes late costs nothing.
const DURATION: Duration = Duration::from_secs(15);

/// The lease of the reconciler that works on one Redis database.
#[derive(Debug)]
pub struct RedisLease {
    link: Arc<Link>,
    /// Tells this contender from all others, and from an earlier life of its process.
    instance: String,
    duration: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    held: Option<u64>,
    watched: Option<Watched>,
}

/// Somebody else's record, and since when it is unchanged.
#[derive(Debug, Clone)]
struct Watched {
    epoch: String,
    beat: String,
    since: Instant,
    duration: Duration,
}

impl RedisLease {
    /// The lease on the database of `records`, over the same connection.
    #[must_use]
    pub fn of(records: &RedisRecords) -> Self {
        Self::with_duration(records, DURATION)
    }

    /// As [`RedisLease::of`]; others may take the lease over when it was not renewed for `duration`.
    #[must_use]
    pub fn with_duration(records: &RedisRecords, duration: Duration) -> Self {
        let instance = format!("{:032x}", SystemRandom.bits());
        Self { link: records.link.clone(), instance, duration, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn call(&self, arguments: &[&str]) -> Result<Value, LeaseError> {
        let arguments: Vec<&[u8]> = arguments.iter().map(|text| text.as_bytes()).collect();
        self.link
            .call(|s| &s.lease, &arguments)
            .await
            .map_err(Fault::of_read)
            .map_err(|e| LeaseError::Unavailable(e.to_string()))
    }

    /// The record that was unchanged for long enough, if there is one.
    fn ripe(&self) -> Option<Watched> {
        self.state().watched.clone().filter(|w| w.since.elapsed() >= w.duration)
    }

    fn watch(&self, epoch: String, beat: String, duration: Duration) {
        let mut state = self.state();
        state.held = None;
        let same = |w: &Watched| w.epoch == epoch && w.beat == beat;
        if !state.watched.as_ref().is_some_and(same) {
            state.watched = Some(Watched { epoch, beat, since: Instant::now(), duration });
        }
    }
}

fn now() -> String {
    SystemClock::default().now().millis().to_string()
}

fn texts(answer: Value) -> Result<Vec<String>, LeaseError> {
    let values = super::read::array(answer).map_err(|e| LeaseError::Unavailable(e.to_string()))?;
    Ok(values.iter().map(|value| super::read::text(value).unwrap_or_default()).collect())
}

#[async_trait]
impl Lease for RedisLease {
    async fn acquire(&self, holder: &str) -> Result<Option<LeaseHeld>, LeaseError> {
        let duration = self.duration.as_millis().to_string();
        let ripe = self.ripe();
        // A record never has an empty beat.
        let (epoch, beat) = ripe.as_ref().map_or(("", ""), |w| (&w.epoch, &w.beat));
        let fresh = fresh_write_id();
        let answer = self
            .call(&["acquire", &self.instance, holder, &duration, &now(), epoch, beat, fresh.as_str()])
            .await?;
        match texts(answer)?.as_slice() {
            [taken, epoch] if taken == "1" => {
                let epoch = epoch.parse().map_err(|_| LeaseError::Unavailable(format!("epoch {epoch}")))?;
                *self.state() = State { held: Some(epoch), watched: None };
                Ok(Some(LeaseHeld { epoch }))
            }
            [_, epoch, beat, duration] => {
                let stored = duration.parse().map_or(self.duration, Duration::from_millis);
                self.watch(epoch.clone(), beat.clone(), stored);
                Ok(None)
            }
            other => Err(LeaseError::Unavailable(format!("a script answered {other:?}"))),
        }
    }

    async fn renew(&self) -> Result<bool, LeaseError> {
        let Some(epoch) = self.state().held else { return Ok(false) };
        let fresh = fresh_write_id();
        let renewed =
            self.call(&["renew", &self.instance, &epoch.to_string(), &now(), fresh.as_str()]).await?;
        let renewed = renewed == Value::Int(1);
        if !renewed {
            self.state().held = None;
        }
        Ok(renewed)
    }

    async fn release(&self) -> Result<(), LeaseError> {
        let Some(epoch) = self.state().held.take() else { return Ok(()) };
        self.call(&["release", &self.instance, &epoch.to_string()]).await.map(drop)
    }

    async fn view(&self) -> Result<Option<LeaseView>, LeaseError> {
        let unavailable = |e: Fault| LeaseError::Unavailable(e.of_read().to_string());
        let mut ask = redis::cmd("HMGET");
        ask.arg("agent-runner:lease").arg(&["holder", "epoch", "renewed_at", "released"]);
        let found: [Option<String>; 4] = self.link.query(&ask).await.map_err(unavailable)?;
        let [Some(holder), Some(epoch), renewed_at, released] = found else { return Ok(None) };
        Ok(Some(LeaseView {
            holder,
            epoch: epoch.parse().unwrap_or_default(),
            renewed_at: Timestamp::from_millis(renewed_at.and_then(|at| at.parse().ok()).unwrap_or_default()),
            released: released.as_deref() == Some("1"),
        }))
    }
}
