//! The lease: a row that its holder renews. A contender that has seen it unchanged for [`DURATION`] on its
//! own monotonic clock takes over.

use super::chaos::Fault;
use super::host::Host;
use super::world::{World, wall};
use async_trait::async_trait;
use backends::{Lease, LeaseError, LeaseHeld, LeaseView};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long a lease outlives its last renewal.
const DURATION: Duration = Duration::from_secs(15);

/// What is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    holder: String,
    epoch: u64,
    beat: u64,
    released: bool,
}

/// The lease as one host sees it.
pub(super) struct SimLease {
    pub(super) world: Arc<World>,
    pub(super) host: Arc<Host>,
    seen: Mutex<Option<(Row, Instant)>>,
}

impl SimLease {
    pub(super) fn new(world: Arc<World>, host: Arc<Host>) -> Self {
        Self { world, host, seen: Mutex::default() }
    }

    async fn call<T>(&self, op: impl FnOnce(&mut Option<Row>) -> T + Send) -> Result<T, LeaseError> {
        self.host.goes_on().await;
        self.world.way().await;
        let answer = {
            let mut s = self.world.lock();
            if s.chance(Fault::Lease) {
                Err(LeaseError::Unavailable("simulated".to_owned()))
            } else {
                Ok(op(&mut s.lease))
            }
        };
        self.host.goes_on().await;
        answer
    }

    /// Whether the row was the same for long enough.
    fn expired(&self, row: &Row) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match &*seen {
            Some((before, since)) if before == row => since.elapsed() >= DURATION,
            _ => {
                *seen = Some((row.clone(), Instant::now()));
                false
            }
        }
    }
}

#[async_trait]
impl Lease for SimLease {
    async fn acquire(&self, holder: &str) -> Result<Option<LeaseHeld>, LeaseError> {
        let held = self
            .call(|stored| {
                let epoch = match stored {
                    None => 1,
                    Some(row) if row.released || self.expired(row) => row.epoch + 1,
                    Some(row) if row.holder == holder => return Some(LeaseHeld { epoch: row.epoch }),
                    Some(_) => return None,
                };
                *stored = Some(Row { holder: holder.to_owned(), epoch, beat: 0, released: false });
                Some(LeaseHeld { epoch })
            })
            .await?;
        if let Some(held) = &held {
            self.world.lock().note(holder, &format!("leads in epoch {}", held.epoch));
        }
        Ok(held)
    }

    async fn renew(&self) -> Result<bool, LeaseError> {
        let holder = self.host.name();
        self.call(|stored| match stored {
            Some(row) if row.holder == holder && !row.released => {
                row.beat += 1;
                true
            }
            _ => false,
        })
        .await
    }

    async fn release(&self) -> Result<(), LeaseError> {
        let holder = self.host.name();
        self.call(|stored| {
            if let Some(row) = stored.as_mut().filter(|row| row.holder == holder) {
                row.released = true;
            }
        })
        .await
    }

    async fn view(&self) -> Result<Option<LeaseView>, LeaseError> {
        self.call(|stored| {
            stored.as_ref().map(|row| LeaseView {
                holder: row.holder.clone(),
                epoch: row.epoch,
                renewed_at: wall(Duration::ZERO, 0),
                released: row.released,
            })
        })
        .await
    }
}
