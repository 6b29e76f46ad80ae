//! The attempt record: one claimed launch.

use crate::class::FailureClass;
use crate::cost::Usd;
use crate::id::{JobId, LaunchToken, TaskId, WriteId};
use crate::json::{JsonText, Raw};
use crate::status::words;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Payloads up to this many bytes travel inside the claim, larger ones as an artifact named by their
/// SHA-256: a DynamoDB write is billed per KB of the whole item.
pub const INLINE_PAYLOAD: usize = 4096;
/// The most files a manifest names; it is part of a record, and DynamoDB's items end at 400 KB.
pub const MANIFEST_LIMIT: usize = 200;

/// Everything about a launch that is fixed before it: what the worker needs, and the launch request byte
/// for byte. Written by the reconciler, before the job names the attempt.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Claim {
    /// Counted from 1 over the job's whole life; never reused by another claimed attempt.
    pub number: u32,
    /// The run that the attempt belongs to.
    pub run: u32,
    /// The value of `desired.retry` that the run stands for. With `run` it lets the reconciler rebuild a
    /// `control` that somebody wiped.
    pub retry: u64,
    /// The lease epoch of the claimant.
    pub epoch: u64,
    /// When the draft was written.
    pub claimed_at: Timestamp,
    /// For the agent's information.
    pub job_type: String,
    /// What to execute.
    pub program: Program,
    /// What to hand to it.
    pub payload: PayloadRef,
    /// Environment from `desired.env`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Seconds from passing the gate until the attempt is stopped.
    pub attempt_timeout_seconds: u64,
    /// Seconds from the claim until a task must have passed the gate.
    pub start_timeout_seconds: u64,
    /// Seconds between SIGTERM and SIGKILL.
    pub stop_grace_seconds: u64,
    /// The request for the task runtime.
    pub request: LaunchRequest,
}

/// A launch request, opaque to everybody but the task runtime that made it. It is stored before the launch
/// and sent as stored, because a repeated request must equal the first one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LaunchRequest(pub JsonText);

/// What an attempt executes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Program {
    /// The built-in job type `echo`, executed inside the worker.
    Echo,
    /// A command from the job-types file.
    Command {
        /// Program and arguments, no shell.
        argv: Vec<String>,
        /// Names of variables that the agent gets from the worker's environment. Values never enter a record.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pass_env: Vec<String>,
    },
}

/// Where the payload is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PayloadRef {
    /// Here.
    Inline(JsonText),
    /// In the artifact `payloads/<job_id>/<sha256>`; see [`PayloadRef::key`].
    Stored {
        /// Lowercase hex.
        sha256: String,
        /// Bytes.
        size: u64,
    },
}

impl PayloadRef {
    /// The artifact that holds a payload of this job with this SHA-256. Each job has its own, because nobody could tell
    /// when the last of several jobs needs it.
    #[must_use]
    pub fn key(job_id: &JobId, sha256: &str) -> String {
        format!("{}/{sha256}", Self::folder(job_id))
    }

    /// The folder of all payloads of a job.
    #[must_use]
    pub fn folder(job_id: &JobId) -> String {
        format!("payloads/{job_id}")
    }
}

/// The start gate: the only field that two roles write, a register that only moves forward. Absent →
/// started → finished by the worker; absent or started → sealed by the reconciler. Whoever comes second
/// loses, and a losing worker ends without executing the agent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase", deny_unknown_fields)]
pub enum Gate {
    /// This task executes the attempt.
    Started {
        /// The one task that won the gate.
        task: TaskId,
    },
    /// The task reported its outcome.
    Finished {
        /// The task that had started.
        task: TaskId,
    },
    /// No task may start any more, and no report is accepted.
    Sealed {
        /// Why the attempt is left.
        why: LeaveReason,
        /// The task that had started, which must be seen stopped before the attempt is closed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        started: Option<TaskId>,
    },
}

words! {
    /// Why the reconciler leaves an attempt that has no outcome.
    LeaveReason {
        /// `desired.cancel`.
        Cancelled = "Cancelled",
        /// `desired.suspend`.
        Suspended = "Suspended",
        /// A forced retry.
        Retried = "Retried",
        /// `active_deadline_seconds`.
        DeadlineExceeded = "DeadlineExceeded",
        /// `max_cost_usd`.
        CostLimitExceeded = "CostLimitExceeded",
        /// `attempt_timeout_seconds`.
        AttemptTimeout = "AttemptTimeout",
        /// `start_timeout_seconds`.
        StartTimeout = "StartTimeout",
        /// The task was seen stopped, or is forgotten, and left no outcome.
        TaskGone = "TaskGone",
        /// `control` names another attempt: a draft whose claim lost, or a hand edit.
        Superseded = "Superseded",
        /// The task runtime refused the launch for certain.
        LaunchRefused = "LaunchRefused",
        /// The claim is too old to launch it any more.
        LaunchExpired = "LaunchExpired",
    }
}

/// What the worker saw. Only the worker whose task won the gate writes it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Report {
    /// When the worker passed the gate, by its clock.
    pub started_at: Timestamp,
    /// The last sign of life, by its clock.
    pub heartbeat_at: Timestamp,
    /// How the attempt ended; written together with `gate = finished`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Times of launch phases that the worker learned from its platform, by name; see [`phase`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub phases: BTreeMap<String, Timestamp>,
}

/// How an attempt ended, as its worker saw it. When this is written, the agent's process group is gone and
/// the files of the manifest are stored.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Outcome {
    /// When, by the worker's clock.
    pub finished_at: Timestamp,
    /// Absent for success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// What was stored.
    pub manifest: Manifest,
}

/// Why an attempt failed, as its worker saw it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Failure {
    /// The class.
    pub class: FailureClass,
    /// The agent's exit code; 128 + n for a signal n, as shells count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// In words.
    pub message: String,
}

/// The files of an attempt, below its folder.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Manifest {
    /// At most [`MANIFEST_LIMIT`], `result.json` first if there is one.
    pub files: Vec<ManifestEntry>,
}

/// One stored file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ManifestEntry {
    /// Relative to the attempt's folder: `result.json`, `stdout.log`, `artifacts/report.pdf`.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Lowercase hex.
    pub sha256: String,
}

/// The name of the result file below an attempt's folder.
pub const RESULT_FILE: &str = "result.json";

impl Manifest {
    /// The entry of `result.json`.
    #[must_use]
    pub fn result(&self) -> Option<&ManifestEntry> {
        self.files.iter().find(|f| f.path == RESULT_FILE)
    }
}

/// The end of an attempt. Once written the attempt can no longer be alive, and only then may the job go on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Closing {
    /// Names this write.
    pub write: WriteId,
    /// When the reconciler closed the attempt.
    pub closed_at: Timestamp,
    /// How the attempt counts.
    pub verdict: Verdict,
    /// Which budget pays.
    pub uses: Budget,
    /// What was seen of the task before the runtime forgets it.
    #[serde(default)]
    pub evidence: Evidence,
}

/// How a closed attempt counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Its result is the job's result.
    Succeeded,
    /// It failed.
    Failed {
        /// The class that rules match on.
        class: FailureClass,
        /// In words.
        message: String,
    },
    /// It was given up without a judgement.
    Left {
        /// Why.
        why: LeaveReason,
    },
}

words! {
    /// Which budget an attempt used up.
    Budget {
        /// One of `max_attempts`.
        Try = "Try",
        /// The infrastructure budget.
        Infrastructure = "Infrastructure",
        /// None: left on purpose, or refused by the runtime.
        Nothing = "Nothing",
    }
}

/// What was seen of a task. `stop_code` and `stopped_reason` are verbatim.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Evidence {
    /// The task, when one was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskId>,
    /// Exit code of the worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Signal that ended the worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// The runtime's own code for why the task stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_code: Option<String>,
    /// The runtime's own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_reason: Option<String>,
    /// The runtime's own words about the worker's container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_reason: Option<String>,
    /// What the attempt is estimated to have cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Usd>,
    /// The runtime no longer knew the task when it was last asked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forgotten: bool,
    /// The launch was refused for certain: what the runtime said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
    /// Times of the launch phases, by name; see [`phase`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub phases: BTreeMap<String, Timestamp>,
}

/// The names of launch phases: what has happened at the time. Those of one clock are in this order.
pub mod phase {
    /// The job's run began to wait.
    pub const QUEUED: &str = "queued";
    /// The attempt was claimed.
    pub const CLAIMED: &str = "claimed";
    /// The runtime made the task.
    pub const CREATED: &str = "created";
    /// The task was connected to its network.
    pub const CONNECTED: &str = "connected";
    /// The pull of its images began, and with it what is billed.
    pub const PULL_STARTED: &str = "pull_started";
    /// The images are there.
    pub const PULL_STOPPED: &str = "pull_stopped";
    /// The runtime saw the worker running.
    pub const STARTED: &str = "started";
    /// The worker passed the start gate.
    pub const GATE_PASSED: &str = "gate_passed";
    /// The worker had the outcome.
    pub const FINISHED: &str = "finished";
    /// The runtime began to stop the task.
    pub const STOPPING: &str = "stopping";
    /// Worker and agent were gone.
    pub const EXECUTION_STOPPED: &str = "execution_stopped";
    /// Everything of the task was gone.
    pub const STOPPED: &str = "stopped";
}

/// A definite refusal of a launch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Refusal {
    /// What kind.
    pub kind: RefusalKind,
    /// The runtime's own words.
    pub message: String,
}

words! {
    /// What kind of refusal; each maps to a waiting reason.
    RefusalKind {
        /// Slow down.
        Throttled = "Throttled",
        /// No capacity now.
        Capacity = "Capacity",
        /// An account or host limit is reached.
        Quota = "Quota",
        /// The request cannot succeed until somebody changes something.
        Misconfigured = "Misconfigured",
    }
}

/// An attempt as a store returned it. See [`crate::Job`] about raw sections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The job it belongs to.
    pub job_id: JobId,
    /// The key within the job.
    pub token: LaunchToken,
    /// The frozen launch.
    pub claim: Raw<Claim>,
    /// Absent until somebody passes or seals it.
    pub gate: Option<Raw<Gate>>,
    /// Absent until the worker has started.
    pub report: Option<Raw<Report>>,
    /// Absent while the attempt may be alive.
    pub closing: Option<Raw<Closing>>,
}

impl Attempt {
    /// The folder of the attempt's artifacts: `jobs/<job_id>/attempts/<number>-<token prefix>`.
    #[must_use]
    pub fn folder(job_id: &JobId, number: u32, token: &LaunchToken) -> String {
        format!("jobs/{job_id}/attempts/{number}-{}", token.prefix())
    }
}
