//! The pool: where the reconciler puts assignments and workers take them.
//!
//! Redis holds the one truth; both sides change it by Lua scripts only, each of which is one step that happens
//! whole or not at all and may be repeated. Keys begin with `agent-runner:pool:`.
//!
//! | key | holds |
//! |---|---|
//! | `task:<token>` | hash: the job, `state` (`waiting`, `taken`, `ended`), the worker that took it, whether it is to stop, since when it is forgotten, how it ended |
//! | `tasks` | set of every token that was launched and is not forgotten |
//! | `waiting` | list of the tokens that no slot has taken, in the order of their launches |
//! | `wake` | list with at most as many entries as `waiting`, for idle slots to block on; it says nothing |
//! | `workers` | set of their ids |
//! | `worker:<id>` | hash: `slots`, `lease_ms`, `beat` (changes with each heartbeat), `slot:<n>` = token, `draining`, `withdrawn` |
//! | `orders:<id>` | list: what the worker is to stop, for it to block on; `stop_ms` of the task is the truth |
//!
//! The channel `changed@<db>` carries the id of a job whose task ended, or nothing when workers came or went.
//!
//! **One token, one worker.** A token leaves `waiting` and comes to a slot in one script, and nothing brings it
//! back but the worker that has it and has not started it. A worker that was struck off can take, end and
//! prolong nothing: each of its scripts asks for its record first. It is struck off by a script that compares
//! its `beat` with the one that has not changed, so a heartbeat that was accepted is proof that nobody had
//! called the worker gone.
//!
//! If any of this is lost (a Redis without `appendfsync always` that fails), workers that are not known any
//! more kill what they run at their next heartbeat, and an absent task counts as gone only after the pauses of
//! `Tasks::absence_is_proof`.

mod member;
mod orchestrator;
mod scripts;

use super::link::Fault;

pub use member::{Assigned, Done, Member, StopOrder, Taken};
pub use orchestrator::{Changes, Launched, Pool, TaskRecord, TaskRecordState, WorkerRecord};

/// Why the pool could not be asked. Repeating any call is right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// The URL is not usable.
    #[error("the pool's Redis cannot be used: {0}")]
    Url(String),
    /// No answer, or not one of this project's scripts; nobody knows whether it was done.
    #[error("the pool's Redis does not answer: {0}")]
    Unavailable(String),
}

impl From<redis::RedisError> for PoolError {
    fn from(error: redis::RedisError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<Fault> for PoolError {
    /// Every call may be repeated, so it does not matter whether this one was sent.
    fn from(fault: Fault) -> Self {
        Self::Unavailable(match fault {
            Fault::NotSent(text) | Fault::NoAnswer(text) => text,
            Fault::Answered(error) => error.to_string(),
        })
    }
}
