//! Records, hints and lease on one Redis server.
//!
//! # What is stored
//! | key | type | holds |
//! |---|---|---|
//! | `agent-runner:job:<job id>` | hash | the sections `created`, `desired`, `control`, `status`; `settled`: the SHA-1 of the `desired` that the reconciler was done with |
//! | `agent-runner:attempt:<job id>:<token>` | hash | the sections `claim`, `gate`, `report`, `closing` |
//! | `agent-runner:attempts:<job id>` | sorted set | the tokens of a job's attempts by their numbers: the ledger of what may be alive |
//! | `agent-runner:active:<0-f>` | sets | the `active` marks, by the first digit of the SHA-1 of the job id |
//! | `agent-runner:expiring` | sorted set | finished jobs by `control.expires_at` in milliseconds |
//! | `agent-runner:created`, `agent-runner:seq` | sorted set, counter | the order of creation |
//! | `agent-runner:lease`, `agent-runner:epoch` | hash, counter | leadership |
//!
//! Every conditional write is one script (`lua/`), so it happens whole or not at all, and each recognises
//! what an earlier call with the same write id has stored. Whatever a promise rests on is therefore as
//! durable as the server: `appendonly yes`, `appendfsync always`, `maxmemory-policy noeviction`, and no
//! failover to a replica that lags ([`RedisRecords::open`] warns of other settings).
//!
//! # How changes are heard
//! The scripts publish what they wrote. Edits by hand publish nothing; the server itself tells of them
//! (`CLIENT TRACKING … BCAST`, part of every Redis from 6.0 on, without the settings and the traffic that
//! keyspace notifications need), and a key that no script spoke of was edited by hand. What is lost
//! meanwhile is found by the resync: its revisions are digests of the sections themselves.

mod feed;
mod lease;
mod link;
pub mod pool;
mod read;
mod records;
mod scripts;
mod server;
mod subscription;

pub use lease::RedisLease;
pub use records::RedisRecords;

/// What is said of a URL with `rediss://`.
pub const NO_TLS: &str =
    "TLS to Redis is not built in: use redis:// on a private network or through a TLS tunnel";

/// For tests: the records that the answer of a script is read as.
///
/// # Errors
/// No script answers so.
#[cfg(feature = "conformance")]
pub fn loaded(
    job_id: &contract::JobId,
    answer: ::redis::Value,
) -> Result<Option<crate::Loaded>, crate::RecordsError> {
    read::loaded(job_id, answer)
}
