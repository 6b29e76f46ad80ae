//! Leadership. At most one reconciler works at a time, as a rule: two at once are harmless (the launch
//! protocol does not depend on the lease), but they would waste work.

use async_trait::async_trait;
use contract::Timestamp;

/// Why the lease could not be asked for.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The store is not reachable or busy; ask again later.
    #[error("the lease store is not reachable: {0}")]
    Unavailable(String),
}

/// A lease that this process holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseHeld {
    /// Counts take-overs; every `control` names the epoch of its writer.
    pub epoch: u64,
}

/// What others see of the lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseView {
    /// Who holds it or held it last, for people.
    pub holder: String,
    /// Its epoch.
    pub epoch: u64,
    /// The last renewal, by the holder's clock. For people: nobody decides by it.
    pub renewed_at: Timestamp,
    /// Whether it was given back.
    pub released: bool,
}

/// The lease.
#[async_trait]
pub trait Lease: Send + Sync + 'static {
    /// Takes the lease if it is free, or continues to hold it. `None`: somebody else holds it.
    ///
    /// # Errors
    /// [`LeaseError`].
    async fn acquire(&self, holder: &str) -> Result<Option<LeaseHeld>, LeaseError>;

    /// Says that the holder is alive. `false`: the lease was lost, stop deciding.
    ///
    /// # Errors
    /// [`LeaseError`].
    async fn renew(&self) -> Result<bool, LeaseError>;

    /// Gives the lease back, so that the next one need not wait.
    ///
    /// # Errors
    /// [`LeaseError`].
    async fn release(&self) -> Result<(), LeaseError>;

    /// Who holds the lease. `None`: nobody ever did.
    ///
    /// # Errors
    /// [`LeaseError`].
    async fn view(&self) -> Result<Option<LeaseView>, LeaseError>;
}
