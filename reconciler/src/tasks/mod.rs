//! Tasks: what executes attempts. The port, and its implementations.

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
#[cfg(feature = "aws")]
pub mod ecs;
#[cfg(feature = "redis")]
pub mod pool;
#[cfg(feature = "process")]
pub mod process;

use async_trait::async_trait;
use contract::desired::Capacity;
use contract::{
    Desired, Evidence, JobId, LaunchRequest, LaunchToken, Price, Refusal, Supports, TaskId, Timestamp,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// Something that was asked of the outside: known, or not known now. A failed or partial listing is
/// `Unknown`, and unknown is never taken for absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observed<T> {
    /// The answer is complete.
    Known(T),
    /// No answer, or not a complete one; the reason, for logs.
    Unknown(String),
}

/// What a task is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskState {
    /// Worker or agent may be alive.
    Alive,
    /// Worker **and** agent are gone for certain.
    Stopped(Box<Evidence>),
}

/// A task that the runtime knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskView {
    /// The runtime's name for it.
    pub task: TaskId,
    /// The attempt that it was launched for.
    pub token: LaunchToken,
    /// The job that it was launched for.
    pub job_id: JobId,
    /// What it is doing.
    pub state: TaskState,
    /// The worker is gone for certain, so that no outcome can come any more, although something of the task
    /// may be alive. False where nobody can tell.
    pub worker_gone: bool,
    /// How long ago it was launched, as far as known, or forgotten while it lived; the orphan sweep leaves young
    /// tasks alone.
    pub age: Duration,
}

/// A launch, taken from a stored claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// For which job.
    pub job_id: JobId,
    /// For which attempt; also the idempotency token of the call.
    pub token: LaunchToken,
    /// Seconds between SIGTERM and SIGKILL.
    pub stop_grace: Duration,
    /// The stored request, byte for byte.
    pub request: LaunchRequest,
}

/// What a launch takes of the room that the runtime has for tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Demand {
    /// `on_demand` or `spot`: there may be room on the one and none on the other.
    pub capacity: Capacity,
    /// 1024 units are one vCPU.
    pub cpu: u32,
    /// MiB.
    pub memory: u32,
}

impl Demand {
    /// Whether there can be no room for this as long as there is none for `other`: it is of the same capacity, and in
    /// nothing smaller.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.capacity == other.capacity && self.cpu >= other.cpu && self.memory >= other.memory
    }
}

/// The answer to a launch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LaunchAnswer {
    /// A task exists for this token (by this call or an earlier one).
    Launched(TaskId),
    /// Certainly no task exists for this token.
    Refused(Refusal),
    /// Nobody knows; call again with the same token.
    Uncertain(String),
}

/// A task runtime.
#[async_trait]
pub trait Tasks: Send + Sync + 'static {
    /// What it can honour.
    fn supports(&self) -> Supports;

    /// The complete launch request for a job, to be stored in the claim. `desired.capacity` is `on_demand` or
    /// `spot`: which of the two a job that wants both gets is decided already.
    fn request(&self, desired: &Desired) -> LaunchRequest;

    /// Launches, idempotent by token.
    async fn launch(&self, launch: &Launch) -> LaunchAnswer;

    /// The tasks of one attempt: those that carry its token, and `started`, the one that passed the gate, by
    /// its own id. `Known` without a task: the runtime knows of none *now*; whether that proves anything is for
    /// [`Tasks::absence_is_proof`] to say.
    async fn observe(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        started: Option<&TaskId>,
    ) -> Observed<Vec<TaskView>>;

    /// Whether a known absence proves that no task exists. False where listings lag: absence must then be
    /// seen twice, [`ABSENCE_GRACE`] apart and that long after the last launch call.
    fn absence_is_proof(&self) -> bool;

    /// Every task with our mark.
    async fn list(&self) -> Observed<Vec<TaskView>>;

    /// Asks the task to stop; `grace` after the first call it is killed. Idempotent, and "already gone" is
    /// a success. Returns before the task is gone: observe it. Calling again escalates when due.
    ///
    /// # Errors
    /// The runtime's words; call again.
    async fn stop(&self, task: &TaskId, grace: Duration) -> Result<(), String>;

    /// What a task of this request costs; `None` where tasks cost nothing.
    fn price(&self, _request: &LaunchRequest) -> Option<Price> {
        None
    }

    /// What a task of this request takes of the room for tasks; `None` where no launch is refused for want of room.
    fn demand(&self, _request: &LaunchRequest) -> Option<Demand> {
        None
    }

    /// Times of the launch phases of a task, as far as they are known without asking; see
    /// [`contract::attempt::phase`].
    fn phases(&self, _task: &TaskId) -> BTreeMap<String, Timestamp> {
        BTreeMap::new()
    }

    /// A hint named this job: what is kept about its tasks may be old.
    fn heard_of(&self, _job_id: &JobId) {}

    /// How many tasks can execute at once now, where that is not only a matter of settings. No more jobs are
    /// given an attempt.
    fn slots(&self) -> Option<u32> {
        None
    }

    /// For how long the runtime has not answered, where it is asked every few seconds whatever there is to do.
    fn silent_for(&self) -> Option<Duration> {
        None
    }

    /// How many passes are made at once; more than [`PASSES`] where many of them wait for the runtime.
    fn passes(&self) -> usize {
        PASSES
    }

    /// Whether a hint follows, once, whenever a task was found to have started, ended or gone, at the latest when
    /// [`Tasks::list`] finds it so. A resync then need not look at every job that has a task; a pass to which the
    /// runtime has shown nothing certain looks again by itself.
    fn tells(&self) -> bool {
        false
    }

    /// Whether the runtime says why a task stopped ([`Evidence::stop_code`]), and [tells](Tasks::tells) that it did.
    /// An attempt whose worker was told to stop then waits a while for that.
    fn explains_stops(&self) -> bool {
        false
    }

    /// The attempt is closed: forget what is kept about its task. After an outcome its worker may still be about to
    /// end; one that does not is to be listed until it is gone, because nobody else would stop it.
    async fn forget(&self, token: &LaunchToken);
}

/// Passes at once. A pass spends most of its time waiting for a commit that it shares with others.
pub const PASSES: usize = 64;

/// How long absence must last, and how long after the last launch call, where listings lag. AWS advises to
/// poll DescribeTasks after RunTask because ECS is eventually consistent (RunTask, API reference).
pub const ABSENCE_GRACE: Duration = Duration::from_secs(60);
