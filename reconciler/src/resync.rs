//! The periodic full comparison, which finds what no hint announced.
//!
//! It lists active records (keys and revisions; only differences are looked at), looks at every job that
//! holds an attempt, finds tasks without an open attempt, and finished jobs whose time has come. Its cost
//! follows the number of active jobs, never history.

use crate::tasks::{Observed, TaskState, TaskView};
use crate::work::{PassError, Work};
use backends::Revision;
use contract::JobId;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// A task without an open attempt is left alone until it is this old: its attempt may have been closed a
/// moment ago by an outcome whose worker is about to end.
pub(crate) const ORPHAN_GRACE: Duration = Duration::from_secs(60);
/// Jobs collected per resync; the rest waits for the next one.
const COLLECT_BATCH: usize = 1000;

/// What the last resync saw.
#[derive(Default)]
pub(crate) struct Seen {
    revisions: HashMap<JobId, Revision>,
    complete: bool,
}

impl Work {
    /// One full comparison.
    pub(crate) async fn resync(&self, seen: &mut Seen) -> Result<(), PassError> {
        let started = self.parts.clock.monotonic();
        let active = self.stored("list", self.parts.records.list_active().await)?;
        if let Some(slots) = self.parts.tasks.slots() {
            self.grant(self.admission.allow(slots));
        }
        let first = !seen.complete;
        if first {
            let keys: HashSet<JobId> = active.iter().map(|(key, _)| key.clone()).collect();
            self.grant(self.admission.expect(keys));
        }
        let mut now_active = HashMap::with_capacity(active.len());
        for (key, revision) in active {
            if seen.revisions.get(&key) != Some(&revision) {
                self.queue.push(key.clone());
            }
            now_active.insert(key, revision);
        }
        seen.revisions = now_active;
        seen.complete = true;
        // Their records may be unchanged while their tasks are not.
        if !self.parts.tasks.tells() {
            for key in self.admission.holders() {
                self.queue.push(key);
            }
        }
        self.sweep_orphans(&seen.revisions).await?;
        let now = self.parts.clock.now();
        let expired = self.stored("list", self.parts.records.list_expired(now, COLLECT_BATCH).await)?;
        for key in expired {
            self.queue.push(key);
        }
        let took = self.parts.clock.monotonic().saturating_sub(started);
        self.metrics.resync_seconds.observe(took.as_secs_f64());
        self.metrics.resync_at.set(now.millis() / 1000);
        tracing::debug!(active = seen.revisions.len(), took_ms = crate::observe::millis(took), "resync");
        Ok(())
    }

    /// Stops tasks that have no open attempt. A task of an open attempt is the business of its job's pass. An
    /// attempt that is known was open when this process last worked on it: its record may have been deleted by
    /// hand since, and its job is then not among the active ones.
    async fn sweep_orphans(&self, active: &HashMap<JobId, Revision>) -> Result<(), PassError> {
        let listed = self.parts.tasks.list().await;
        self.metrics.asked_runtime("list", matches!(listed, Observed::Known(_)));
        let tasks = match listed {
            Observed::Known(tasks) => tasks,
            Observed::Unknown(why) => {
                tracing::warn!(%why, "tasks are not known now; no orphan is looked for");
                return Ok(());
            }
        };
        for view in tasks {
            if !(active.contains_key(&view.job_id) && self.facts.knows(&view.token)) {
                self.sweep(&view).await?;
            }
        }
        Ok(())
    }

    async fn sweep(&self, view: &TaskView) -> Result<(), PassError> {
        let loaded = self.stored("load", self.parts.records.load(&view.job_id).await)?;
        let attempt = loaded.as_ref().and_then(|l| l.attempts.iter().find(|a| a.token == view.token));
        match attempt {
            Some(attempt) if attempt.closing.is_none() => {
                // Open, and nobody here has worked on it: make sure that somebody does.
                self.queue.push(view.job_id.clone());
            }
            Some(_) | None if view.state != TaskState::Alive => self.parts.tasks.forget(&view.token).await,
            Some(_) | None if view.age < ORPHAN_GRACE => {}
            Some(_) | None => {
                tracing::warn!(job_id = %view.job_id, token = view.token.prefix(), "task without an open attempt: stop");
                self.metrics.orphans.inc();
                let stopped = self.parts.tasks.stop(&view.task, Duration::from_secs(10)).await;
                self.metrics.asked_runtime("stop", stopped.is_ok());
                if let Err(why) = stopped {
                    tracing::warn!(token = view.token.prefix(), %why, "the orphan could not be stopped");
                }
            }
        }
        Ok(())
    }
}
