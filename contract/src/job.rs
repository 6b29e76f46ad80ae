//! The job record.

use crate::cost::Usd;
use crate::id::{JobId, LaunchToken, WriteId};
use crate::json::Raw;
use crate::status::{Reason, Status, words};
use crate::time::Timestamp;
use crate::{Desired, Invalid};
use serde::{Deserialize, Serialize};

/// Who asked for the job, and when. Written once, by the API.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Created {
    /// Names this creation, so that a repeated insert recognises itself.
    pub write: WriteId,
    /// When the API accepted the job.
    pub at: Timestamp,
    /// Who asked.
    pub actor: String,
    /// The client's `Idempotency-Key`, if it sent one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// SHA-256 of the request body: the same key with another body is a mistake of the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_digest: Option<String>,
    /// Of `desired` as it was created, like [`crate::Updated::digest`]; absent in records of versions before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired_digest: Option<String>,
}

words! {
    /// Where the reconciler is with a job. Finer than the status, coarser than the attempt's gate; it never
    /// decides what may be alive: the attempts that are not closed do.
    Phase {
        /// No attempt is claimed.
        Waiting = "Waiting",
        /// The attempt `token` is claimed and has not been seen to pass its gate.
        Launching = "Launching",
        /// The attempt `token` was seen to have passed its gate.
        Running = "Running",
        /// Ended.
        Finished = "Finished",
    }
}

/// The reconciler's memory of a job.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Control {
    /// Names the write that made this value. Random, so that two writers never agree by accident.
    pub version: WriteId,
    /// The lease epoch of the writer. A reconciler never replaces a value of a later epoch.
    pub epoch: u64,
    /// The current run, counted from 1.
    pub run: u32,
    /// The highest attempt number that was claimed, 0 before the first. Never shrinks.
    pub attempt: u32,
    /// The attempt that `phase` speaks of, or the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<LaunchToken>,
    /// Failed tries of this run that used up `max_attempts`.
    pub tries: u32,
    /// Failures of this run that used up the infrastructure budget.
    pub infra_tries: u32,
    /// Refused launches in a row; paces the next launch.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub refusals: u32,
    /// Where the reconciler is.
    pub phase: Phase,
    /// No claim before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// Why the job waits or how it ended; absent while an attempt executes undisturbed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Since when `reason` holds without interruption, by the clock of the reconciler that first stored it. It is part
    /// of the write that changes the reason and never a reason to write, nor does it decide anything. Absent beside
    /// no reason, and in records of versions before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason_since: Option<Timestamp>,
    /// The reason in words, with the facts.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Everything else that would keep the job from starting.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blockers: Vec<Reason>,
    /// The value of `desired.retry` that the current run stands for.
    pub seen_retry: u64,
    /// When the run started, or was last resumed: `active_deadline_seconds` counts from here.
    pub run_started_at: Timestamp,
    /// Set while the job is held, so that resuming is noticed.
    #[serde(default, skip_serializing_if = "is_false")]
    pub suspended: bool,
    /// When the last attempt passed its gate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When the run ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// When the job may be deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// The attempt whose result is the job's result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<Accepted>,
    /// What the closed attempts of all runs are estimated to have cost, in US dollars; absent where tasks cost
    /// nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Usd>,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

fn is_false(b: &bool) -> bool {
    !*b
}

/// The attempt whose result is the job's result.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Accepted {
    /// Its number.
    pub number: u32,
    /// Its token.
    pub token: LaunchToken,
}

impl Control {
    /// The public status that this memory means.
    #[must_use]
    pub fn status(&self) -> Status {
        match (self.phase, self.reason) {
            (Phase::Waiting | Phase::Launching, _) => Status::Queued,
            (Phase::Running, _) => Status::Running,
            (Phase::Finished, Some(Reason::Completed)) => Status::Succeeded,
            (Phase::Finished, _) => Status::Failed,
        }
    }

    /// The projection that is stored beside `control`.
    #[must_use]
    pub fn view(&self) -> StatusView {
        StatusView {
            status: self.status(),
            reason: self.reason,
            message: self.message.clone(),
            attempt: self.attempt,
            started_at: self.started_at,
            finished_at: self.finished_at,
        }
    }
}

/// What people and indexes read: a projection of [`Control`], written with it. A job without one is QUEUED.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StatusView {
    /// One of the four words.
    pub status: Status,
    /// See [`Control::reason`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// See [`Control::message`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// See [`Control::attempt`].
    #[serde(default)]
    pub attempt: u32,
    /// See [`Control::started_at`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// See [`Control::finished_at`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
}

impl StatusView {
    /// What a job looks like that no reconciler has looked at yet.
    #[must_use]
    pub fn fresh() -> Self {
        Self {
            status: Status::Queued,
            reason: Some(Reason::PendingEvaluation),
            message: String::new(),
            attempt: 0,
            started_at: None,
            finished_at: None,
        }
    }
}

/// A job as a store returned it. Sections are raw, because a hand edit can put anything into them and
/// conditions compare them as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// The key.
    pub job_id: JobId,
    /// Never changes.
    pub created: Raw<Created>,
    /// What is wanted; parse it with [`Job::desired`].
    pub desired: Raw<Desired>,
    /// Absent until a reconciler has looked at the job (or after a hand edit wiped it).
    pub control: Option<Raw<Control>>,
    /// Absent until a reconciler has looked at the job.
    pub status: Option<Raw<StatusView>>,
    /// The index mark.
    pub active: bool,
}

impl Job {
    /// The parsed desired state.
    ///
    /// # Errors
    /// Every error of a hand edit.
    pub fn desired(&self) -> Result<Desired, Invalid> {
        Desired::parse(self.desired.text())
    }

    /// The projection for people; a section that a hand edit broke counts as absent.
    #[must_use]
    pub fn view(&self) -> StatusView {
        self.status.as_ref().and_then(|raw| raw.parse().ok()).unwrap_or_else(StatusView::fresh)
    }
}
