//! What writes answer.

use contract::{Claim, Gate, Job, Raw};

/// The answer to a creation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CreateAnswer {
    /// The job is stored.
    Created,
    /// The key exists; here is what it holds.
    Exists(Box<Job>),
}

/// The answer to a conditional write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteAnswer {
    /// Stored (by this call, or by an earlier one with the same write id).
    Written,
    /// The record is not what the condition says; read it again.
    Conflict,
    /// There is no such record.
    NotFound,
}

/// The answer to a worker that wants to pass the gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartAnswer {
    /// The gate is this task's; here is what to execute.
    Started(Box<Raw<Claim>>),
    /// Another task passed, or the attempt was sealed or ended: end without executing.
    Lost(Raw<Gate>),
    /// There is no such attempt.
    NotFound,
}

/// The answer to a write that depends on the gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GateAnswer {
    /// Stored.
    Written,
    /// The gate is not (or no longer) as needed; here is what it holds.
    Refused(Option<Raw<Gate>>),
    /// There is no such attempt.
    NotFound,
}

/// The answer to the end of an attempt and the `control` that follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed {
    /// What became of the end.
    pub closing: WriteAnswer,
    /// What became of `control`; `None`: it was not tried, because the end was not `Written`.
    pub control: Option<WriteAnswer>,
}
