//! The orchestrator's side of the pool.

use super::PoolError;
use super::scripts::Scripts;
use crate::redis::link::Link;
use crate::redis::subscription::{Heard, Subscription};
use contract::{JobId, LaunchToken, Timestamp};
use redis::{PushInfo, PushKind, Value};
use std::sync::Arc;
use std::time::Duration;

/// The pool, for whoever launches. Cheap to clone.
#[derive(Clone)]
pub struct Pool {
    link: Arc<Link>,
    scripts: Arc<Scripts>,
}

/// Whether a launch was the first with its token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Launched {
    /// It waits for a slot now.
    Now,
    /// It was launched before.
    Before,
}

/// A task as the pool has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskRecord {
    /// For which job.
    pub job_id: JobId,
    /// How long ago it was launched, or forgotten while a worker had it, by the clock of Redis alone.
    pub age: Duration,
    /// By the clock of Redis, in the order in which they happened: `created`, `started`, `stopped`.
    pub phases: Vec<(&'static str, Timestamp)>,
    /// Where it stands.
    pub state: TaskRecordState,
}

/// Where a task stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskRecordState {
    /// No slot has taken it.
    Waiting,
    /// A worker has it.
    Taken {
        /// Which.
        worker: String,
        /// What that worker said last, and its lease. `None`: there is no record of this worker.
        beat: Option<(String, Duration)>,
    },
    /// Nothing of it is alive.
    Ended {
        /// How the process that executed it ended, as far as it was seen.
        code: Option<i32>,
        /// By which signal.
        signal: Option<i32>,
        /// A word.
        stop_code: String,
        /// In words.
        reason: String,
    },
}

/// A worker as the pool has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerRecord {
    /// Drawn by the worker for one life.
    pub id: String,
    /// Changes with each heartbeat.
    pub beat: String,
    /// How long the worker may be silent; it kills what it runs after half of it.
    pub lease: Duration,
    /// How many tasks it executes at once; 0 while it takes none.
    pub slots: u32,
}

/// What is taken for the lease of a worker whose record does not say: the longest that a worker accepts.
const LONGEST_LEASE: Duration = Duration::from_secs(60);

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn lease(millis: &str) -> Duration {
    millis.parse().map_or(LONGEST_LEASE, Duration::from_millis)
}

impl Pool {
    /// Names the server; connecting is left to the first call. To be called within a tokio runtime.
    ///
    /// # Errors
    /// [`PoolError::Url`].
    pub fn open(url: &str) -> Result<Self, PoolError> {
        let link = Link::new(url).map_err(|e| PoolError::Url(e.to_string()))?;
        let scripts = Arc::new(Scripts::of(link.db()));
        Ok(Self { link, scripts })
    }

    /// Lets an attempt wait for a slot. `inside`: the worker's own process may execute it. `grace`: between
    /// SIGTERM and SIGKILL, for a worker that has to end before the attempt.
    ///
    /// # Errors
    /// [`PoolError`].
    pub async fn launch(
        &self,
        token: &LaunchToken,
        job_id: &JobId,
        inside: bool,
        grace: Duration,
    ) -> Result<Launched, PoolError> {
        let mut call = self.scripts.launch.arg(token.as_str());
        call.arg(job_id.as_str()).arg(u8::from(inside)).arg(millis(grace));
        let made: u8 = self.link.invoke(&call).await?;
        Ok(if made == 1 { Launched::Now } else { Launched::Before })
    }

    /// What the pool knows of each token, all at one instant.
    ///
    /// # Errors
    /// [`PoolError`].
    pub async fn observe(&self, tokens: &[LaunchToken]) -> Result<Vec<Option<TaskRecord>>, PoolError> {
        let mut call = self.scripts.observe.prepare_invoke();
        for token in tokens {
            call.arg(token.as_str());
        }
        let found: Vec<Vec<String>> = self.link.invoke(&call).await?;
        if found.len() != tokens.len() {
            return Err(PoolError::Unavailable("it answered for fewer tasks than were asked for".into()));
        }
        found.iter().map(|fields| record(fields)).collect()
    }

    /// Every task that is not forgotten.
    ///
    /// # Errors
    /// [`PoolError`].
    pub async fn tokens(&self) -> Result<Vec<LaunchToken>, PoolError> {
        let found: Vec<String> = self.link.invoke(&self.scripts.list.prepare_invoke()).await?;
        found.into_iter().map(|text| LaunchToken::new(text).map_err(broken)).collect()
    }

    /// Asks for a task to be stopped: at once if it waits, else by its worker, which kills it `grace` after it
    /// first heard of it. The shortest grace counts.
    ///
    /// # Errors
    /// [`PoolError`].
    pub async fn stop(&self, token: &LaunchToken, grace: Duration) -> Result<(), PoolError> {
        let mut call = self.scripts.stop.arg(token.as_str());
        call.arg(millis(grace));
        Ok(self.link.invoke(&call).await?)
    }

    /// Forgets tasks. One that waits is never handed out; one that a worker still has is known until it ends.
    /// Answers with how many were taken, and launched no longer ago than `quick`.
    ///
    /// # Errors
    /// [`PoolError`].
    pub async fn forget(&self, tokens: &[LaunchToken], quick: Duration) -> Result<u32, PoolError> {
        let mut call = self.scripts.forget.arg(millis(quick));
        for token in tokens {
            call.arg(token.as_str());
        }
        Ok(self.link.invoke(&call).await?)
    }

    /// Every worker.
    ///
    /// # Errors
    /// [`PoolError`].
    pub async fn workers(&self) -> Result<Vec<WorkerRecord>, PoolError> {
        let found: Vec<(String, String, String, String)> =
            self.link.invoke(&self.scripts.workers.prepare_invoke()).await?;
        let record = |(id, beat, millis, slots): (String, String, String, String)| WorkerRecord {
            id,
            beat,
            lease: lease(&millis),
            slots: slots.parse().unwrap_or(0),
        };
        Ok(found.into_iter().map(record).collect())
    }

    /// Strikes a worker off whose `beat` has not changed for too long. `false`: it has changed.
    ///
    /// # Errors
    /// [`PoolError`].
    pub async fn bury(&self, worker: &str, beat: &str, reason: &str) -> Result<bool, PoolError> {
        let mut call = self.scripts.bury.arg(worker);
        call.arg(beat).arg(reason);
        Ok(self.link.invoke(&call).await?)
    }

    /// Ends a task whose worker has no record. `false`: it has one.
    ///
    /// # Errors
    /// [`PoolError`].
    pub async fn abandon(&self, token: &LaunchToken, worker: &str) -> Result<bool, PoolError> {
        let mut call = self.scripts.abandon.arg(token.as_str());
        call.arg(worker);
        Ok(self.link.invoke(&call).await?)
    }

    /// Changes from now on.
    ///
    /// # Errors
    /// [`PoolError`].
    pub async fn changes(&self) -> Result<Changes, PoolError> {
        let mut subscription = Subscription::open(&self.link).await?;
        subscription.listen_to(&self.scripts.channel).await?;
        Ok(Changes(subscription))
    }
}

/// What is told of the pool while somebody listens.
pub struct Changes(Subscription);

impl Changes {
    /// The next change: the job whose task ended, or `Some(None)` when workers came or went. `None`: the
    /// connection broke, and something may have been missed.
    pub async fn next(&mut self) -> Option<Option<JobId>> {
        loop {
            match self.0.next().await {
                Heard::Push(push) if push.kind == PushKind::Message => return Some(job_of(&push)),
                Heard::Push(_) | Heard::Nothing => {}
                Heard::Broken => return None,
            }
        }
    }
}

/// The job that a message names: `[channel, text]`.
fn job_of(message: &PushInfo) -> Option<JobId> {
    let Some(Value::BulkString(text)) = message.data.get(1) else { return None };
    JobId::new(String::from_utf8_lossy(text)).ok()
}

fn broken(why: impl std::fmt::Display) -> PoolError {
    PoolError::Unavailable(format!("a record of it cannot be read: {why}"))
}

/// Reads the answer of the script `observe`.
fn record(fields: &[String]) -> Result<Option<TaskRecord>, PoolError> {
    if fields.is_empty() {
        return Ok(None);
    }
    let [
        job_id,
        state,
        worker,
        launched,
        taken,
        ended,
        code,
        signal,
        stop_code,
        reason,
        beat,
        lease_ms,
        now,
        forgotten,
    ] = fields
    else {
        return Err(broken("fields are missing"));
    };
    let time = |text: &str| text.parse().ok().map(Timestamp::from_millis);
    let launched_at = time(launched);
    let now = time(now).unwrap_or_default();
    let since = time(forgotten).or(launched_at);
    let age = since.map_or(0, |at| now.millis_since(at).max(0)).unsigned_abs();
    let times = [("created", launched_at), ("started", time(taken)), ("stopped", time(ended))];
    let state = match state.as_str() {
        "waiting" => TaskRecordState::Waiting,
        "taken" => TaskRecordState::Taken {
            worker: worker.clone(),
            beat: (!beat.is_empty()).then(|| (beat.clone(), lease(lease_ms))),
        },
        "ended" => TaskRecordState::Ended {
            code: code.parse().ok(),
            signal: signal.parse().ok(),
            stop_code: stop_code.clone(),
            reason: reason.clone(),
        },
        other => return Err(broken(format!("the state {other:?}"))),
    };
    Ok(Some(TaskRecord {
        job_id: JobId::new(job_id.as_str()).map_err(broken)?,
        age: Duration::from_millis(age),
        phases: times.into_iter().filter_map(|(name, at)| Some((name, at?))).collect(),
        state,
    }))
}
