//! Tasks as assignments to long-lived workers, which take them from Redis (see [`backends::redis::pool`]).
//!
//! | what | where | if lost |
//! |---|---|---|
//! | that a task exists, who has it, how it ended | Redis | see [`PoolTasks::absence_is_proof`] |
//! | since when a worker's heartbeat has not changed | memory | the wait begins anew |
//! | ended tasks | the channel of the pool | the next resync sees them |
//! | what is to be forgotten, how many may wait ahead | memory | the sweep finds it; it is counted anew |
//!
//! # The timing assumption
//! A process runtime sees with its own eyes that a worker is gone. Here only silence tells, and silence may be
//! a cable. So both sides count from the same heartbeat, each on its own clock, which never has to agree with
//! the other's:
//!
//! * the worker, from when it *sent* the last heartbeat that was acknowledged: after **half the lease** its
//!   watchdog kills the agents, the processes that report for them, and the worker itself;
//! * the reconciler, from when it first *saw* that heartbeat: after **the lease and a grace** without another
//!   one it strikes the worker off, in a script that compares the heartbeat once more, and only then is a task
//!   of that worker gone.
//!
//! It was sent before it was seen. So the assumption is: *within half a lease and the grace after it was due,
//! the watchdog has run and its kills have worked*, on clocks whose rates differ by less than that. The
//! watchdog is a process of its own that does nothing else, and counts on `CLOCK_BOOTTIME`, which goes on while
//! a machine sleeps; the worker watches too, and either suffices. A container or machine that was paused as a
//! whole runs the watchdog when it goes on, whose timer is due by then. From that instant until its kills, as a
//! rule for less than a millisecond, an agent can go on beside the next one; it can report nothing, because its
//! gate is sealed. A virtual machine whose clock does not learn of a pause is outside the assumption.

mod ahead;
mod forgetting;
mod requests;
mod watch;

use super::{Launch, LaunchAnswer, Observed, TaskState, TaskView, Tasks};
use ahead::Ahead;
use async_trait::async_trait;
use backends::HintSender;
use backends::redis::pool::{Pool, PoolError, TaskRecord, TaskRecordState};
use contract::{
    Desired, Evidence, JobId, LaunchRequest, LaunchToken, Refusal, RefusalKind, Supports, TaskId,
};
use forgetting::Forgetting;
use std::sync::Arc;
use std::time::{Duration, Instant};
use watch::{Silence, Watch};

const TASK_PREFIX: &str = "pool:";
/// Tokens looked at by one script: an answer of some hundred kilobytes, and no pause that others notice.
const BATCH: usize = 500;
/// How much longer than its lease a worker has to be silent: the time for the kills to work, and for clocks of
/// different rates. Half the lease comes on top of it.
const GRACE: Duration = Duration::from_secs(10);
/// Between two looks at the workers.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Where the pool is, and when to give a worker up.
#[derive(Debug)]
pub struct PoolOptions {
    /// The Redis server.
    pub url: String,
    /// Gets a hint when a task ends.
    pub hints: HintSender,
    /// See [`PoolOptions::new`].
    pub grace: Duration,
    /// Between two looks at the workers.
    pub look_every: Duration,
}

impl PoolOptions {
    /// A worker is gone 10 seconds after its lease, and its slots are counted each second.
    #[must_use]
    pub fn new(url: String, hints: HintSender) -> Self {
        Self { url, hints, grace: GRACE, look_every: LOOK_EVERY }
    }
}

/// Tasks on a pool of workers. Dropping it ends no task.
pub struct PoolTasks {
    pool: Pool,
    watch: Arc<Watch>,
    forgetting: Arc<Forgetting>,
    ahead: Arc<Ahead>,
    beside: Vec<tokio::task::JoinHandle<()>>,
}

impl PoolTasks {
    /// Starts to watch the workers. To be called within a tokio runtime; the server need not be there yet.
    ///
    /// # Errors
    /// The URL is not usable.
    pub fn new(options: PoolOptions) -> Result<Self, PoolError> {
        let PoolOptions { url, hints, grace, look_every } = options;
        let pool = Pool::open(&url)?;
        let watch = Arc::new(Watch::new(pool.clone(), hints, grace, look_every));
        let (forgetting, ahead) = (Arc::new(Forgetting::default()), Arc::new(Ahead::default()));
        let beside = vec![
            tokio::spawn(watch.clone().workers()),
            tokio::spawn(watch.clone().changes()),
            tokio::spawn(forgetting.clone().run(pool.clone(), ahead.clone())),
        ];
        Ok(Self { pool, watch, forgetting, ahead, beside })
    }

    /// What is known of each token; `None` for one that the pool does not know.
    async fn look(&self, tokens: &[LaunchToken]) -> Result<Vec<Option<TaskRecord>>, PoolError> {
        let asked = Instant::now();
        let mut found = self.pool.observe(tokens).await?;
        for (token, record) in tokens.iter().zip(&mut found) {
            let Some(TaskRecord { state: TaskRecordState::Taken { worker, beat }, .. }) = record else {
                continue;
            };
            // The record of a worker ends its tasks when it goes. Without that, the same wait.
            if beat.is_none() && self.watch.silence(worker, None, asked) == Silence::Gone {
                self.pool.abandon(token, worker).await?;
                if let Some(again) = self.pool.observe(std::slice::from_ref(token)).await?.pop() {
                    *record = again;
                }
            }
        }
        Ok(found)
    }
}

impl Drop for PoolTasks {
    fn drop(&mut self) {
        self.beside.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

fn task_id(token: &LaunchToken) -> TaskId {
    TaskId::new(format!("{TASK_PREFIX}{token}")).expect("a token is printable ASCII")
}

fn token_of(task: &TaskId) -> Option<LaunchToken> {
    LaunchToken::new(task.as_str().strip_prefix(TASK_PREFIX)?).ok()
}

fn view(token: &LaunchToken, record: TaskRecord) -> TaskView {
    let TaskRecord { job_id, age, phases, state } = record;
    let task = task_id(token);
    let state = match state {
        TaskRecordState::Waiting | TaskRecordState::Taken { .. } => TaskState::Alive,
        TaskRecordState::Ended { code, signal, stop_code, reason } => {
            TaskState::Stopped(Box::new(Evidence {
                task: Some(task.clone()),
                exit_code: code,
                signal,
                stop_code: Some(stop_code),
                stopped_reason: Some(reason),
                phases: phases.into_iter().map(|(name, at)| (name.into(), at)).collect(),
                ..Evidence::default()
            }))
        }
    };
    let worker_gone = state != TaskState::Alive;
    TaskView { task, token: token.clone(), job_id, state, worker_gone, age }
}

#[async_trait]
impl Tasks for PoolTasks {
    fn supports(&self) -> Supports {
        Supports { spot: false, cost: false }
    }

    fn request(&self, desired: &Desired) -> LaunchRequest {
        requests::request(desired)
    }

    /// The assignment waits for a slot if none is free: its task exists from now on, and is alive.
    async fn launch(&self, launch: &Launch) -> LaunchAnswer {
        let Some(inside) = requests::inside(&launch.request) else {
            let message = "the claim was made for another task runtime than a pool of workers";
            let kind = RefusalKind::Misconfigured;
            return LaunchAnswer::Refused(Refusal { kind, message: message.into() });
        };
        match self.pool.launch(&launch.token, &launch.job_id, inside, launch.stop_grace).await {
            Ok(_) => LaunchAnswer::Launched(task_id(&launch.token)),
            Err(error) => LaunchAnswer::Uncertain(error.to_string()),
        }
    }

    async fn observe(
        &self,
        _job_id: &JobId,
        token: &LaunchToken,
        started: Option<&TaskId>,
    ) -> Observed<Vec<TaskView>> {
        if let Some(other) = started.filter(|&task| token_of(task).as_ref() != Some(token)) {
            return Observed::Unknown(format!("{other} is not the task of this attempt in this runtime"));
        }
        match self.look(std::slice::from_ref(token)).await {
            Ok(found) => {
                Observed::Known(found.into_iter().flatten().map(|record| view(token, record)).collect())
            }
            Err(error) => Observed::Unknown(error.to_string()),
        }
    }

    /// False. A token is never absent between its launch and [`Tasks::forget`], as long as Redis keeps what it
    /// acknowledged. One that lost its last second would otherwise make a task seem never to have been; with
    /// the pauses its worker has found out by then, and killed it.
    fn absence_is_proof(&self) -> bool {
        false
    }

    async fn list(&self) -> Observed<Vec<TaskView>> {
        let listing = async {
            // Before: what has been forgotten by the time of the answer is not in it.
            let forgotten = self.forgetting.tokens();
            let mut tokens = self.pool.tokens().await?;
            tokens.retain(|token| !forgotten.contains(token));
            let mut views = Vec::with_capacity(tokens.len());
            for batch in tokens.chunks(BATCH) {
                let found = self.look(batch).await?;
                // `None`: forgotten since the tokens were listed.
                views
                    .extend(batch.iter().zip(found).filter_map(|(token, record)| Some(view(token, record?))));
            }
            Ok::<_, PoolError>(views)
        };
        match listing.await {
            Ok(views) => Observed::Known(views),
            Err(error) => Observed::Unknown(error.to_string()),
        }
    }

    async fn stop(&self, task: &TaskId, grace: Duration) -> Result<(), String> {
        let token = token_of(task).ok_or_else(|| format!("{task} is not a task of this runtime"))?;
        self.pool.stop(&token, grace).await.map_err(|error| error.to_string())
    }

    /// Returns at once; nobody has to wait for it. From here on [`Tasks::list`] names the task only if a worker still
    /// has it.
    async fn forget(&self, token: &LaunchToken) {
        self.forgetting.push(token.clone());
    }

    /// The slots of the workers that beat, and what may wait beyond them.
    fn slots(&self) -> Option<u32> {
        let slots = self.watch.slots();
        Some(slots.saturating_add(self.ahead.of(slots, Instant::now())))
    }

    /// By the looks at the workers.
    fn silent_for(&self) -> Option<Duration> {
        Some(self.watch.silent_for())
    }
}
