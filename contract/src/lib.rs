//! The shared vocabulary of agent-runner: what a record holds, who may write which part of it, what is
//! valid, how failures are classed and which statements must hold at any time.
//!
//! Everything here is plain data and pure functions. No clock, no random source, no I/O and no async
//! runtime: the same types are used by the API, the reconciler, the workers, the stores, the model checker
//! and the simulation, and all of them must see the same thing.
//!
//! * [`id`], [`time`] - the scalar types;
//! * [`status`] - the public words `QUEUED → RUNNING → SUCCEEDED | FAILED` and the finer [`Reason`]s;
//! * [`desired`] - what is wanted of a job, with its validation;
//! * [`updated`] - who changed it last;
//! * [`job_type`] - the job-types file: commands, defaults and limits;
//! * [`job`] and [`attempt`] - the two kinds of record and their sections;
//! * [`class`] - why an attempt failed;
//! * [`cost`] - what tasks are estimated to cost;
//! * [`own`] - which role may write which section;
//! * [`invariants`] - named statements that tests, the model and production counters all evaluate.

pub mod attempt;
pub mod class;
pub mod cost;
pub mod decode;
pub mod desired;
pub mod id;
pub mod invariants;
pub mod job;
pub mod job_type;
pub mod json;
pub mod live_log;
pub mod own;
pub mod status;
pub mod time;
pub mod updated;

pub use attempt::{
    Attempt, Budget, Claim, Closing, Evidence, Failure, Gate, LaunchRequest, LeaveReason, Manifest,
    ManifestEntry, Outcome, PayloadRef, Program, Refusal, RefusalKind, Report, Verdict,
};
pub use class::FailureClass;
pub use cost::Price;
pub use decode::{FieldError, Invalid};
pub use desired::{Desired, check_label};
pub use id::{JobId, LaunchToken, TaskId, WriteId};
pub use job::{Accepted, Control, Created, Job, Phase, StatusView};
pub use job_type::{JobType, JobTypes, Supports};
pub use json::{JsonText, Raw};
pub use status::{Reason, Status};
pub use time::Timestamp;
pub use updated::Updated;
