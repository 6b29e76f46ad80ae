//! Hints: wake-ups that carry a key and never a fact. Each may come late, twice, out of order or not at
//! all; the resync finds what no hint announced.

use async_trait::async_trait;
use contract::{JobId, WriteId};
use futures_channel::mpsc;

/// A wake-up.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hint {
    /// Look at this job.
    Job(JobId),
    /// Look at this job, some milliseconds sooner or later: an attempt has started, of which nothing follows but
    /// what its status says. The end of a short task overtakes it.
    Unhurried(JobId),
    /// Look at this job: its `control` became this version. Whoever wrote that version may take its time.
    Control(JobId, WriteId),
    /// Hints may have been lost: compare everything.
    Resync,
}

/// Why hints could not be read. The reader slows down and asks again.
#[derive(Debug, thiserror::Error)]
pub enum HintsError {
    /// The source is not reachable now.
    #[error("hints are not reachable: {0}")]
    Unavailable(String),
    /// The source has ended for good; no more hints will come.
    #[error("the source of hints has ended")]
    Ended,
}

/// A source of hints.
#[async_trait]
pub trait Hints: Send {
    /// Waits for at least one hint and returns all that are there.
    ///
    /// # Errors
    /// [`HintsError`]; only `Ended` is final.
    async fn next(&mut self) -> Result<Vec<Hint>, HintsError>;
}

#[async_trait]
impl Hints for Box<dyn Hints> {
    async fn next(&mut self) -> Result<Vec<Hint>, HintsError> {
        (**self).next().await
    }
}

/// What a subscriber of a store's change feed wants to hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// A job was created, its `desired` was written, a gate moved, or anything of the job was edited by hand
    /// or deleted; by any process. Not heartbeats, and not the reconciler's own `control`.
    Reconcile,
    /// The `status` of a job was written, or the job was deleted; at least by this process.
    Status,
}

/// The change feed of a store of records.
#[async_trait]
pub trait ChangeFeed: Send + Sync + 'static {
    /// Changes from now on. `None`: this store has no such feed; read again from time to time.
    ///
    /// # Errors
    /// [`HintsError::Unavailable`].
    async fn subscribe(&self, interest: Interest) -> Result<Option<Box<dyn Hints>>, HintsError>;
}

/// Sends hints within the process. Cheap to clone; sending never blocks.
#[derive(Debug, Clone)]
pub struct HintSender(mpsc::UnboundedSender<Hint>);

impl HintSender {
    /// Sends; a receiver that has gone away is not an error, since a hint may always be lost.
    pub fn send(&self, hint: Hint) {
        let _ = self.0.unbounded_send(hint);
    }

    /// Whether the receiver has gone away.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

/// Hints within the process.
#[derive(Debug)]
pub struct ChannelHints(mpsc::UnboundedReceiver<Hint>);

impl ChannelHints {
    /// A sender and its receiver. The queue is unbounded but holds keys only; the receiver drains it into a
    /// set.
    #[must_use]
    pub fn new() -> (HintSender, Self) {
        let (sender, receiver) = mpsc::unbounded();
        (HintSender(sender), Self(receiver))
    }
}

/// The most hints handed over at once.
const BATCH: usize = 1024;

#[async_trait]
impl Hints for ChannelHints {
    async fn next(&mut self) -> Result<Vec<Hint>, HintsError> {
        let first = self.0.recv().await.map_err(|_| HintsError::Ended)?;
        let mut batch = vec![first];
        while batch.len() < BATCH {
            match self.0.try_recv() {
                Ok(hint) => batch.push(hint),
                Err(_) => break,
            }
        }
        Ok(batch)
    }
}
