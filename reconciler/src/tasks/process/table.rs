//! What this process knows about tasks without asking the disk. Everything here can be lost: the folders
//! are the truth, and this table spares reading them while a task certainly lives.

use contract::{JobId, LaunchToken, Timestamp};
use std::collections::HashMap;
use std::process::{Child, ExitStatus};
use std::time::Instant;

pub(super) type Table = HashMap<LaunchToken, Entry>;

/// A task that this process launched, or found alive.
#[derive(Debug)]
pub(super) struct Entry {
    /// Absent when its lock file did not say.
    pub(super) job_id: Option<JobId>,
    pub(super) launched_at: Instant,
    pub(super) worker: Worker,
    /// A thread waits for the lock to become free, so it is held.
    pub(super) watched: bool,
    /// The folder goes when the lock is free.
    pub(super) forgotten: bool,
    /// When it was first asked to stop.
    pub(super) stopping: Option<Instant>,
}

/// What is known about the worker.
#[derive(Debug)]
pub(super) enum Worker {
    /// Between the decision to launch and the spawn.
    Launching,
    /// Our child, not reaped: its number belongs to nobody else.
    Child(Child),
    /// Our child, reaped.
    Ended(Exit),
    /// Not our child: launched by an orchestrator before this one.
    Adopted,
}

/// How a worker ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Exit {
    /// Unknown when somebody else reaped the child.
    pub(super) status: Option<ExitStatus>,
    pub(super) at: Timestamp,
}

impl Exit {
    pub(super) fn is_success(self) -> bool {
        self.status.is_some_and(|status| status.success())
    }
}

impl Entry {
    pub(super) fn new(job_id: Option<JobId>, launched_at: Instant, worker: Worker) -> Self {
        Self { job_id, launched_at, worker, watched: false, forgotten: false, stopping: None }
    }

    /// Whether something of the task certainly lives, or is being reaped this instant.
    pub(super) fn lives(&mut self) -> bool {
        self.watched || self.worker_lives()
    }

    /// Whether the worker is ours and not seen ended.
    pub(super) fn worker_lives(&mut self) -> bool {
        self.reap();
        matches!(self.worker, Worker::Launching | Worker::Child(_))
    }

    /// Reaps the worker if it ended. All waiting for a child is done here, under the table's lock: whoever
    /// holds that lock and sees a child can signal it without meeting another process.
    fn reap(&mut self) {
        let Worker::Child(child) = &mut self.worker else { return };
        let status = match child.try_wait() {
            Ok(None) => return,
            Ok(Some(status)) => Some(status),
            // Somebody reaped it in our place: SIGCHLD is ignored, or a library waits for every child.
            Err(_) => None,
        };
        self.worker = Worker::Ended(Exit { status, at: std::time::SystemTime::now().into() });
    }

    /// How the worker ended, if it did.
    pub(super) fn exit(&mut self) -> Option<Exit> {
        self.reap();
        match self.worker {
            Worker::Ended(exit) => Some(exit),
            Worker::Launching | Worker::Child(_) | Worker::Adopted => None,
        }
    }
}
