//! The lease as an item of `<prefix>-leases`.
//!
//! The holder writes a fresh `beat` every few seconds. A contender compares no clocks: it reads the item, waits
//! the stored duration on its own monotonic clock, and takes over if the beat is still the same, on the
//! condition that it is. Each take-over counts the epoch up.

use super::client::{Item, Tables, Write, Written, failed_read, string, string_in, write};
use crate::aws::{self, Limits, within};
use crate::clock::{Clock, SystemClock, fresh_write_id};
use crate::lease::{Lease, LeaseError, LeaseHeld, LeaseView};
use crate::records::RecordsError;
use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryPartition;
use aws_sdk_dynamodb::types::AttributeValue;
use contract::Timestamp;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a contender waits. The reconciler renews every 5 s, so three renewals may be lost.
pub const DURATION: Duration = Duration::from_secs(20);
/// A renewal that takes longer has to leave time for another.
const LIMITS: Limits = Limits { attempt: Duration::from_secs(1), operation: Duration::from_secs(4) };
/// The key of the item.
const NAME: &str = "reconciler";

/// The lease of the reconciler that works on the tables of one prefix.
#[derive(Debug)]
pub struct DynamoLease {
    client: Client,
    table: String,
    duration: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    held: Option<u64>,
    /// The beat that somebody else's lease had, and since when it has not changed.
    watched: Option<(String, Instant)>,
}

/// The item.
#[derive(Debug)]
struct Stored {
    beat: Option<AttributeValue>,
    epoch: u64,
    duration: Duration,
    released: bool,
}

impl Stored {
    /// What is missing or broken by hand counts as what makes a contender wait longest.
    fn of(item: &Item, ours: Duration) -> Self {
        let number =
            |name: &str| item.get(name).and_then(|n| n.as_n().ok()).and_then(|n| n.parse::<u64>().ok());
        Self {
            beat: item.get("beat").cloned(),
            epoch: number("epoch").unwrap_or(0),
            duration: number("duration_millis").map_or(ours, Duration::from_millis),
            released: item.get("released").and_then(|r| r.as_bool().ok()).copied().unwrap_or(false),
        }
    }
}

fn number(n: u64) -> AttributeValue {
    AttributeValue::N(n.to_string())
}

fn unavailable(error: RecordsError) -> LeaseError {
    LeaseError::Unavailable(error.to_string())
}

impl DynamoLease {
    /// The lease in `<prefix>-leases`, given to the next one after `duration` without a sign of life.
    ///
    /// The client had better be one of its own: a storm of throttled writes uses up the retries of its client.
    #[must_use]
    pub fn new(client: Client, prefix: &str, duration: Duration) -> Self {
        Self { client, table: Tables::of(prefix).leases, duration, state: Mutex::default() }
    }

    /// The lease of `prefix` in the account and region of the environment, with a client and retries of its
    /// own.
    pub async fn open(prefix: &str) -> Self {
        let shared = aws::config(LIMITS).await;
        let config =
            aws_sdk_dynamodb::config::Builder::from(&shared).retry_partition(RetryPartition::new("lease"));
        Self::new(Client::from_conf(config.build()), prefix, DURATION)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read(&self) -> Result<Option<Item>, LeaseError> {
        let call =
            self.client.get_item().table_name(&self.table).key("name", string(NAME)).consistent_read(true);
        within(call.send()).await.map(|answer| answer.item).map_err(|e| unavailable(failed_read(&e)))
    }

    /// A sign of life, and the fresh beat by which a write whose answer was lost is recognised.
    fn change(&self) -> (Write, AttributeValue) {
        let beat = string(fresh_write_id().as_str());
        let write = Write::to(&self.table, [("name", NAME)])
            .set("beat", beat.clone())
            .set("renewed_at", string(SystemClock::default().now().to_string()))
            .set("duration_millis", number(u64::try_from(self.duration.as_millis()).unwrap_or(u64::MAX)));
        (write, beat)
    }

    /// Takes the lease with `epoch`, if it still is what `stored` says. A take-over whose answer was lost is
    /// found by its epoch and holder's beat, which nobody else writes.
    async fn take(
        &self,
        holder: &str,
        stored: Option<&Stored>,
        epoch: u64,
    ) -> Result<Option<LeaseHeld>, LeaseError> {
        let (change, ours) = self.change();
        let change = change
            .set("holder", string(holder))
            .set("epoch", number(epoch))
            .set("released", AttributeValue::Bool(false));
        let change = match stored {
            None => change.if_is("name", None),
            Some(stored) => change.if_there("name").if_is("beat", stored.beat.as_ref()),
        };
        let taken = match write(&self.client, &change).await.map_err(unavailable)? {
            Written::Done => true,
            Written::Refused(item) => item.is_some_and(|item| item.get("beat") == Some(&ours)),
        };
        if taken {
            *self.state() = State { held: Some(epoch), watched: None };
        }
        Ok(taken.then_some(LeaseHeld { epoch }))
    }

    /// Whether the lease has not been renewed for as long as it is stored to last.
    fn has_run_out(&self, stored: &Stored) -> bool {
        let beat = format!("{:?}", stored.beat);
        let mut state = self.state();
        match &state.watched {
            Some((seen, since)) if *seen == beat => since.elapsed() >= stored.duration,
            _ => {
                state.watched = Some((beat, Instant::now()));
                false
            }
        }
    }

    /// Changes the item while it is ours. `false`: it is not.
    async fn change_ours(&self, epoch: u64, released: bool) -> Result<bool, LeaseError> {
        let (change, ours) = self.change();
        let change = if released { change.set("released", AttributeValue::Bool(true)) } else { change };
        let change = change.if_is("epoch", Some(&number(epoch)));
        let change = change.if_is("released", Some(&AttributeValue::Bool(false)));
        match write(&self.client, &change).await.map_err(unavailable)? {
            Written::Done => Ok(true),
            Written::Refused(item) => Ok(item.is_some_and(|item| item.get("beat") == Some(&ours))),
        }
    }
}

#[async_trait]
impl Lease for DynamoLease {
    async fn acquire(&self, holder: &str) -> Result<Option<LeaseHeld>, LeaseError> {
        let held = self.state().held;
        if let Some(epoch) = held
            && self.renew().await?
        {
            return Ok(Some(LeaseHeld { epoch }));
        }
        let Some(item) = self.read().await? else { return self.take(holder, None, 1).await };
        let stored = Stored::of(&item, self.duration);
        if !stored.released && !self.has_run_out(&stored) {
            return Ok(None);
        }
        self.take(holder, Some(&stored), stored.epoch + 1).await
    }

    async fn renew(&self) -> Result<bool, LeaseError> {
        let Some(epoch) = self.state().held else { return Ok(false) };
        let renewed = self.change_ours(epoch, false).await?;
        if !renewed {
            self.state().held = None;
        }
        Ok(renewed)
    }

    async fn release(&self) -> Result<(), LeaseError> {
        let Some(epoch) = self.state().held.take() else { return Ok(()) };
        self.change_ours(epoch, true).await.map(drop)
    }

    async fn view(&self) -> Result<Option<LeaseView>, LeaseError> {
        let Some(item) = self.read().await? else { return Ok(None) };
        let stored = Stored::of(&item, self.duration);
        let renewed_at = string_in(&item, "renewed_at").and_then(|at| at.parse().ok());
        Ok(Some(LeaseView {
            holder: string_in(&item, "holder").unwrap_or_default().to_owned(),
            epoch: stored.epoch,
            renewed_at: renewed_at.unwrap_or(Timestamp::from_millis(0)),
            released: stored.released,
        }))
    }
}
