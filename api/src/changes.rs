//! Long polls: who waits for a change of which job, and who wakes them.
//!
//! Nothing here is stored or decides anything. A wake-up says "read again"; one that is lost costs at most
//! [`REREAD`], because every waiter reads again that often on its own. That is also how long polls work
//! when the reconciler is another process whose writes this one does not hear of.

use crate::problem::Problem;
use backends::{Hint, Hints, HintsError};
use contract::JobId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// How often a waiter reads its job although nothing woke it.
pub(crate) const REREAD: Duration = Duration::from_secs(1);
/// The most requests that wait at once. Each holds a connection and a few KB.
pub const MOST_WAITERS: usize = 4096;

/// Wakes requests that wait for a job to change.
#[derive(Debug)]
pub struct Changes {
    /// One sender per job that somebody waits for; the last waiter removes it.
    jobs: Mutex<HashMap<JobId, watch::Sender<()>>>,
    waiters: tokio::sync::Semaphore,
    ended: watch::Sender<bool>,
}

impl Default for Changes {
    fn default() -> Self {
        Self::new(MOST_WAITERS)
    }
}

impl Changes {
    /// For at most `most_waiters` waiting requests.
    #[must_use]
    pub fn new(most_waiters: usize) -> Self {
        Self {
            jobs: Mutex::new(HashMap::new()),
            waiters: tokio::sync::Semaphore::new(most_waiters),
            ended: watch::Sender::new(false),
        }
    }

    /// Passes on the hints of a store until it ends; spawn this beside the server.
    pub async fn follow(self: Arc<Self>, mut hints: impl Hints) {
        loop {
            match hints.next().await {
                Ok(batch) => batch.iter().for_each(|hint| self.announce(hint)),
                Err(HintsError::Ended) => return,
                Err(HintsError::Unavailable(e)) => {
                    tracing::warn!(error = %e, "status hints are not readable, long polls re-read instead");
                    tokio::time::sleep(REREAD).await;
                }
            }
        }
    }

    /// Wakes whoever waits for the hinted job.
    pub fn announce(&self, hint: &Hint) {
        let jobs = self.lock();
        match hint {
            Hint::Job(job_id) | Hint::Unhurried(job_id) | Hint::Control(job_id, _) => {
                if let Some(waiting) = jobs.get(job_id) {
                    waiting.send_replace(());
                }
            }
            Hint::Resync => jobs.values().for_each(|waiting| waiting.send_replace(())),
        }
    }

    /// Ends all waits: every waiting request is answered with what is there now. For the shutdown.
    pub fn end(&self) {
        self.ended.send_replace(true);
    }

    /// Jobs that somebody waits for.
    #[must_use]
    pub fn waited_for(&self) -> usize {
        self.lock().len()
    }

    /// Starts to watch a job. Call this before reading it, and no change in between is lost.
    pub(crate) fn watch(&self, job_id: &JobId) -> Result<Waiter<'_>, Problem> {
        let permit = self
            .waiters
            .try_acquire()
            .map_err(|_| Problem::Busy("too many requests wait for a change; ask again without wait"))?;
        let changed = self.lock().entry(job_id.clone()).or_insert_with(|| watch::Sender::new(())).subscribe();
        Ok(Waiter {
            changes: self,
            job_id: job_id.clone(),
            changed: Some(changed),
            ended: self.ended.subscribe(),
            _permit: permit,
        })
    }

    /// The map is only ever changed by whole operations, so a panic elsewhere leaves it usable.
    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, watch::Sender<()>>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody waits for a job.
pub(crate) struct Waiter<'a> {
    changes: &'a Changes,
    job_id: JobId,
    changed: Option<watch::Receiver<()>>,
    ended: watch::Receiver<bool>,
    _permit: tokio::sync::SemaphorePermit<'a>,
}

impl Waiter<'_> {
    /// Returns when the job should be read again, or at `deadline`. `false`: it makes no sense to wait any
    /// longer.
    pub(crate) async fn again(&mut self, deadline: tokio::time::Instant) -> bool {
        let Some(changed) = self.changed.as_mut() else { return false };
        let reread = tokio::time::Instant::now() + REREAD;
        tokio::select! {
            biased;
            _ = self.ended.wait_for(|ended| *ended) => false,
            _ = changed.changed() => true,
            () = tokio::time::sleep_until(reread.min(deadline)) => deadline > reread,
        }
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut jobs = self.changes.lock();
        self.changed = None;
        if jobs.get(&self.job_id).is_some_and(|waiting| waiting.receiver_count() == 0) {
            jobs.remove(&self.job_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn id(text: &str) -> JobId {
        JobId::new(text).unwrap()
    }

    fn in_30_s() -> tokio::time::Instant {
        tokio::time::Instant::now() + Duration::from_secs(30)
    }

    #[tokio::test]
    async fn a_change_between_registration_and_waiting_is_not_lost() {
        let changes = Changes::default();
        let mut waiter = changes.watch(&id("a")).unwrap();
        changes.announce(&Hint::Job(id("a")));
        let start = Instant::now();
        assert!(waiter.again(in_30_s()).await);
        assert!(start.elapsed() < REREAD / 2, "woken by the fallback only");
    }

    #[tokio::test(start_paused = true)]
    async fn without_any_hint_a_waiter_reads_again_after_a_second() {
        let changes = Changes::default();
        let mut waiter = changes.watch(&id("a")).unwrap();
        changes.announce(&Hint::Job(id("b")));
        let start = tokio::time::Instant::now();
        assert!(waiter.again(in_30_s()).await);
        assert_eq!(start.elapsed(), REREAD);
        assert!(!waiter.again(tokio::time::Instant::now()).await, "the deadline ends it");
    }

    #[tokio::test]
    async fn nothing_is_kept_of_jobs_that_nobody_waits_for() {
        let changes = Changes::new(2);
        let (first, second) = (changes.watch(&id("a")).unwrap(), changes.watch(&id("a")).unwrap());
        assert!(changes.watch(&id("b")).is_err(), "the limit of waiters");
        drop(first);
        assert_eq!(changes.waited_for(), 1);
        drop(second);
        assert_eq!(changes.waited_for(), 0);
        assert!(changes.watch(&id("b")).is_ok(), "places are given back");
    }

    #[tokio::test]
    async fn the_shutdown_and_lost_hints_wake_everybody() {
        let changes = Changes::default();
        let mut waiter = changes.watch(&id("a")).unwrap();
        changes.announce(&Hint::Resync);
        let start = Instant::now();
        assert!(waiter.again(in_30_s()).await);
        changes.end();
        assert!(!waiter.again(in_30_s()).await);
        assert!(!changes.watch(&id("c")).unwrap().again(in_30_s()).await, "also those that come later");
        assert!(start.elapsed() < REREAD / 2);
    }
}
