//! Records and lease in one SQLite file.
//!
//! The file is open to everybody: workers and operators with the `sqlite3` command write to it while the
//! orchestrator runs. So the schema defends itself (`schema.sql`: constraints and triggers with readable
//! messages), every write is one conditional transaction, and a change feed that triggers fill tells the
//! orchestrator what others did.
//!
//! The orchestrator has one writing thread (group commit), a few connections for reading and a thread that
//! watches for commits of other processes. A worker has one connection and no thread.

mod connect;
mod feed;
mod home;
mod lease;
mod ops;
mod read;
mod records;
mod schema;
mod wake;
mod watch;
mod writer;

pub use crate::hints::Interest;
pub use lease::SqliteLease;
pub use records::{Access, SqliteOptions, SqliteRecords};
