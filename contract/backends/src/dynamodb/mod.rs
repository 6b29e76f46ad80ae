//! Records and the lease in DynamoDB.
//!
//! Three tables ([`schema`]); each section of a record is a top-level map of its item, which is what IAM can
//! tell apart: the worker's role may name `gate` and `report` only, the API's `desired`. Conditions therefore
//! mention keys, `gate` and the writer's own section (the reconciler's also `desired`, which every decision
//! depends on), and items are written with `UpdateItem` alone, which leaves other sections as they are.
//!
//! * **Lost answers.** The SDK repeats a write that was not answered, and the repetition fails its own
//!   condition. Every refusal brings the item along (`ALL_OLD`, no read is billed), in which a write finds its
//!   own id. When the last try is refused for another reason although an earlier one may have been carried out,
//!   the error is [`Uncertain`](crate::RecordsError::Uncertain).
//! * **Claim.** Draft and claim are one transaction. Two writes would be cheaper (3 units instead of 6), but
//!   the drafts of those who lost would be open attempts, and of several claims at once none would stand. The
//!   other attempts of the job are read after it, consistently.
//! * **Deletion** is one transaction over the job and its attempts, each of which has to be closed.
//! * **Reads** that a decision follows are strongly consistent; listings come from indexes and lag.
//!
//! Payloads stand inside `desired`, at most 256 KiB, so that an operator sees and edits one record; claims
//! carry small ones and name larger ones by artifact, so that an attempt's many writes are not billed for it.

mod attempt_writes;
mod client;
#[cfg(feature = "conformance")]
mod hostile;
mod job_writes;
mod lease;
mod listing;
mod number;
mod order;
mod read;
mod records;
mod scan;
pub mod schema;
mod section;
#[cfg(test)]
mod section_tests;
mod transaction;

#[cfg(feature = "conformance")]
pub use hostile::read_item;
pub use lease::{DURATION as LEASE_DURATION, DynamoLease};
pub use records::{DynamoOptions, DynamoRecords};
