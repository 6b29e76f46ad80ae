//! What a decision is made from. Each part may be older than the others and older than the truth.

use contract::desired::Capacity;
use contract::{
    Closing, Control, Desired, Evidence, Gate, Invalid, JobId, LaunchToken, Outcome, Price, Refusal, TaskId,
    Timestamp,
};
use std::collections::BTreeMap;

/// One job, as far as it is known.
///
/// The parts are read in this order, each as late as one likes: `control` and `desired`, then every attempt,
/// then the tasks. `control` must not be newer than `attempts`: the ledger has to know of everything that
/// was claimed before the claim that `control` names, or a launch could go beside an attempt that the
/// snapshot has never heard of. After a claim this process reads again before it launches.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Snapshot {
    /// The key.
    pub job_id: JobId,
    /// When the job was accepted.
    pub created_at: Timestamp,
    /// What is wanted, or what is wrong with it.
    pub desired: Result<Desired, Invalid>,
    /// What the reconciler remembers.
    pub control: ControlView,
    /// The index mark.
    pub active: bool,
    /// Every attempt of the job, by number, or what is wrong with one of them.
    pub attempts: Vec<AttemptView>,
    /// An attempt that cannot be decoded: its place and what is wrong. Nothing is decided then, because the
    /// ledger is not complete.
    pub broken_attempt: Option<String>,
    /// What keeps this job from being launched with the present configuration (unknown job type, unknown
    /// queue); the message for its operator.
    pub misconfigured: Option<String>,
    /// What the runtime turns away just now for want of room, of tasks of this job's size, by capacity.
    pub scarce: BTreeMap<Capacity, Scarcity>,
}

/// That there is no room for more tasks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scarcity {
    /// The last refusal.
    pub refusal: Refusal,
    /// When the first of them came since a task was last accepted.
    pub since: Timestamp,
}

/// The `control` section as it was found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ControlView {
    /// Nobody has looked at the job yet, or somebody wiped it.
    Absent,
    /// Somebody wrote something that is not a `control`.
    Broken,
    /// As written.
    Valid(Box<Control>),
}

impl ControlView {
    /// Whether a `control` is stored and decodes.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        matches!(self, Self::Valid(_))
    }
}

/// One attempt, with what was seen of its tasks and what this process remembers of its launch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptView {
    /// The key.
    pub token: LaunchToken,
    /// From the claim.
    pub number: u32,
    /// From the claim.
    pub run: u32,
    /// From the claim: the value of `desired.retry` of that run.
    pub retry: u64,
    /// From the claim.
    pub claimed_at: Timestamp,
    /// From the claim.
    pub attempt_timeout_seconds: u64,
    /// From the claim.
    pub start_timeout_seconds: u64,
    /// From the claim.
    pub stop_grace_seconds: u64,
    /// The register.
    pub gate: Option<Gate>,
    /// When the worker says it passed the gate.
    pub started_at: Option<Timestamp>,
    /// The outcome, once reported.
    pub outcome: Option<Outcome>,
    /// The end, once written.
    pub closing: Option<Closing>,
    /// Milliseconds since this process made the claim, on its monotonic clock; `None`: it did not.
    pub mine_for_ms: Option<u64>,
    /// What the last launch call of this process answered.
    pub launch: LaunchSaid,
    /// The tasks of this attempt.
    pub tasks: TasksSeen,
    /// Whether a stop was asked for within the last [`crate::Policy::look_again_ms`].
    pub stop_asked: bool,
    /// The runtime tells why a task stopped, and does so soon after its worker reported that it was told to.
    pub stops_explained: bool,
    /// What became of a publication by this process.
    pub published: Option<Published>,
    /// What its task costs; absent where tasks cost nothing.
    pub price: Option<Price>,
    /// Times of launch phases that are known already, by name; see [`contract::attempt::phase`].
    pub phases: BTreeMap<String, Timestamp>,
}

/// What a launch call answered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LaunchSaid {
    /// Not called by this process.
    Nothing,
    /// A task exists.
    Launched,
    /// Certainly no task exists.
    Refused(Refusal),
    /// Nobody knows; call again with the same token at this time.
    Uncertain {
        /// When.
        again_at: Timestamp,
    },
}

/// What became of a publication.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Published {
    /// The result was readable as described; the plain path holds it or that of a later attempt.
    Done,
    /// It was not readable as described.
    Unreadable(String),
}

/// What is known of the tasks of one attempt. Usually one; a launch token that the runtime forgot can make
/// a second one, and the gate makes it harmless.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TasksSeen {
    /// The tasks that were seen.
    pub seen: BTreeMap<TaskId, Seen>,
    /// Whether a task that is not in `seen` certainly does not exist (any more). For the task that passed the
    /// gate, only looks at that very task count, and only those that began after the gate was read.
    pub absence_proven: bool,
}

/// What was seen of one task.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Seen {
    /// Worker or agent may be alive.
    Alive,
    /// The agent may be alive, the worker is gone for certain: no outcome can come any more.
    WorkerGone,
    /// Both are gone.
    Stopped(Box<Evidence>),
}

impl TasksSeen {
    /// Whether no outcome of `task` can come any more: its worker is gone, or all of it.
    #[must_use]
    pub fn silent(&self, task: &TaskId) -> bool {
        self.seen.get(task) == Some(&Seen::WorkerGone) || self.stopped(task).is_some()
    }

    /// Evidence that `task` has stopped: seen stopped by its id, or proven absent. `None`: it may be alive.
    #[must_use]
    pub fn stopped(&self, task: &TaskId) -> Option<Evidence> {
        match self.seen.get(task) {
            Some(Seen::Alive | Seen::WorkerGone) => None,
            Some(Seen::Stopped(evidence)) => Some((**evidence).clone()),
            None if self.absence_proven => {
                Some(Evidence { task: Some(task.clone()), forgotten: true, ..Evidence::default() })
            }
            None => None,
        }
    }
}

/// Whether the job may hold an attempt now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// A slot of every limit that applies is reserved for it.
    Granted,
    /// It has to wait.
    Denied,
}
