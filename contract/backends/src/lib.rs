//! Ports and the stores behind them.
//!
//! A port is a noun ([`Records`], [`Artifacts`], [`Hints`], [`Lease`], [`Clock`]); an implementation is a
//! prefix and the noun (`SqliteRecords`, `DirArtifacts`). Ports are asynchronous without naming a runtime,
//! so a worker drives them with a minimal `block_on` and the orchestrator with tokio.
//!
//! [`Records`] is a handle that carries a role: it has the writes of the sections that the role owns
//! (`contract::own`) and no others.

pub mod artifacts;
#[cfg(feature = "aws")]
pub mod aws;
pub mod clock;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod crash;
pub mod dir;
pub mod durability;
#[cfg(feature = "dynamodb")]
pub mod dynamodb;
pub mod healthcheck;
pub mod hints;
pub mod lease;
#[cfg(feature = "log")]
pub mod log;
pub mod records;
#[cfg(feature = "redis")]
pub mod redis;
pub mod relay;
pub mod remove;
#[cfg(feature = "s3")]
pub mod s3;
pub mod settings;
#[cfg(feature = "sqlite")]
pub mod sqlite;
#[cfg(feature = "sqs")]
pub mod sqs;
pub mod stores;

#[cfg(feature = "redis")]
pub use crate::redis::{RedisLease, RedisRecords};
pub use artifacts::{Artifacts, ArtifactsError, Content, Publication, Stored};
pub use clock::{Clock, Random, SystemClock, SystemRandom};
pub use dir::DirArtifacts;
pub use durability::Durability;
#[cfg(feature = "dynamodb")]
pub use dynamodb::{DynamoLease, DynamoOptions, DynamoRecords};
pub use hints::{ChangeFeed, ChannelHints, Hint, HintSender, Hints, HintsError, Interest};
pub use lease::{Lease, LeaseError, LeaseHeld, LeaseView};
pub use records::{
    Closed, ControlWrite, CreateAnswer, GateAnswer, ListQuery, Listed, Loaded, NewJob, Page, Records,
    RecordsBackend, RecordsError, Retry, Revision, ScanPage, StartAnswer, WriteAnswer,
};
pub use remove::remove_tree;
pub use settings::{Layers, Settings};
#[cfg(feature = "sqlite")]
pub use sqlite::{Access, SqliteLease, SqliteOptions, SqliteRecords};
pub use stores::{Stores, StoresError};
