//! Learning of ends without polling. A child is waited for through its process descriptor; a task that is
//! not our child, or whose agent outlives its worker, by a thread that waits for its lock.

use super::Inner;
use super::folder::{self, Probe};
use super::holders::holders;
use super::recorded::{Identity, Recorded};
use super::table::{Entry, Exit, Worker};
use backends::Hint;
use contract::{JobId, LaunchToken};
use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::warn;

/// How long the hint of a worker that ended with exit code 0 is held back. Such a worker has reported (or
/// lost the gate), its report is a hint of its own, and the task is usually forgotten before this is over.
const SUCCESS_DELAY: Duration = Duration::from_millis(50);
/// Stack of a thread that waits for one lock, in bytes: it makes one system call and sends one message.
/// After a restart there is one such thread for each task that lives.
const WATCH_STACK: usize = 128 * 1024;

impl Inner {
    /// Waits for the worker of `token`, which was just spawned as process `pid`.
    pub(super) fn attend(self: &Arc<Self>, token: LaunchToken, pid: u32) {
        #[cfg(target_os = "linux")]
        match self.descriptor(pid) {
            Ok(descriptor) => {
                self.runtime.spawn(self.clone().await_descriptor(token, descriptor));
                return;
            }
            // No descriptor left, or a kernel before 5.3.
            Err(error) => warn!(%error, pid, "no process descriptor, a thread waits for the worker"),
        }
        let inner = self.clone();
        let waiting =
            std::thread::Builder::new().name("worker-wait".into()).stack_size(WATCH_STACK).spawn(move || {
                wait_for_exit(pid);
                inner.runtime.spawn(inner.clone().ended(token));
            });
        if let Err(error) = waiting {
            // Not lost: every look at the task asks the system whether the child ended.
            warn!(%error, pid, "nobody waits for this worker, its end is seen by the next resync");
        }
    }

    #[cfg(target_os = "linux")]
    #[expect(
        deprecated,
        reason = "its successor is unsafe for types whose descriptor may change; OwnedFd's never does"
    )]
    fn descriptor(&self, pid: u32) -> std::io::Result<tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>> {
        use rustix::process::{Pid, PidfdFlags, pidfd_open};
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(std::io::ErrorKind::InvalidInput)?;
        let descriptor = pidfd_open(pid, PidfdFlags::NONBLOCK)?;
        let _entered = self.runtime.enter();
        tokio::io::unix::AsyncFd::with_interest(descriptor, tokio::io::Interest::READABLE)
    }

    #[cfg(target_os = "linux")]
    async fn await_descriptor(
        self: Arc<Self>,
        token: LaunchToken,
        descriptor: tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>,
    ) {
        // An error means that the runtime ends.
        if descriptor.readable().await.is_ok() {
            drop(descriptor);
            self.ended(token).await;
        }
    }

    /// Waits for the end of a worker that is not our child. Its agent may outlive it and keep the lock, and
    /// must be stopped then. Where there is no descriptor the next resync sees it.
    pub(super) fn attend_adopted(self: &Arc<Self>, job_id: Option<JobId>, worker: Identity) {
        #[cfg(target_os = "linux")]
        if let Ok(descriptor) = self.descriptor(worker.pid().as_raw_nonzero().get().unsigned_abs()) {
            // Looked at after the descriptor was opened: it means this process and no later one.
            if worker.is_gone() {
                return self.hint(job_id);
            }
            let inner = self.clone();
            self.runtime.spawn(async move {
                if descriptor.readable().await.is_ok() {
                    inner.hint(job_id);
                }
            });
        }
        #[cfg(not(target_os = "linux"))]
        let _ = (job_id, worker);
    }

    /// A worker of ours ended.
    async fn ended(self: Arc<Self>, token: LaunchToken) {
        let Some((job_id, exit, forgotten)) = self.end_of(&token) else { return };
        if forgotten {
            return self.discard(&token).await;
        }
        if exit.is_success() {
            tokio::time::sleep(SUCCESS_DELAY).await;
            if self.table().get(&token).is_none_or(|entry| entry.forgotten) {
                return;
            }
        }
        self.hint(job_id);
    }

    /// How the worker of `token` ended, and whether its folder is to be removed now. `None`: there is nothing
    /// left to do about it.
    fn end_of(&self, token: &LaunchToken) -> Option<(Option<JobId>, Exit, bool)> {
        let mut table = self.table();
        // Whoever removed the entry has seen the end.
        let entry = table.get_mut(token)?;
        let ended = (entry.job_id.clone(), entry.exit()?, entry.forgotten);
        if entry.forgotten {
            if entry.watched {
                return None;
            }
            table.remove(token);
        }
        Some(ended)
    }

    pub(super) fn hint(&self, job_id: Option<JobId>) {
        self.hints.send(job_id.map_or(Hint::Resync, Hint::Job));
    }

    /// Lets a thread wait for the lock of `file`, which somebody holds.
    pub(super) fn watch(self: &Arc<Self>, token: &LaunchToken, file: File, entry: impl FnOnce() -> Entry) {
        let mut table = self.table();
        let entry = table.entry(token.clone()).or_insert_with(entry);
        if entry.lives() {
            return;
        }
        let (inner, watched) = (self.clone(), token.clone());
        let waiting =
            std::thread::Builder::new().name("task-watch".into()).stack_size(WATCH_STACK).spawn(move || {
                if let Err(error) = folder::wait_until_free(&file) {
                    warn!(%error, "cannot wait for the lock of a task");
                }
                inner.freed(&watched, file);
            });
        match waiting {
            Ok(_) => entry.watched = true,
            Err(error) => {
                warn!(%error, "nobody waits for this task, its end is seen by the next resync");
            }
        }
    }

    /// The lock that a thread waited for is free.
    fn freed(&self, token: &LaunchToken, file: File) {
        let mut table = self.table();
        let Some(entry) = table.get_mut(token) else { return };
        entry.watched = false;
        let (job_id, forgotten) = (entry.job_id.clone(), entry.forgotten);
        if forgotten || matches!(entry.worker, Worker::Adopted) {
            table.remove(token);
        }
        drop(table);
        if forgotten {
            self.remove_now(token);
        } else {
            // First give up our own lock on it, or the look that follows the hint could meet it.
            drop(file);
            self.hint(job_id);
        }
    }

    /// Removes the folder of `token` as soon as nobody holds its lock, which may be at once.
    pub(super) async fn discard(self: &Arc<Self>, token: &LaunchToken) {
        let free = match self.root.probe(token) {
            Ok(Probe::Absent) => return,
            Ok(Probe::Free(file)) => Some(file),
            Ok(Probe::Lockless) => None,
            Ok(Probe::Held(file)) => {
                return self.watch(token, file, || Entry {
                    forgotten: true,
                    ..Entry::new(None, Instant::now(), Worker::Adopted)
                });
            }
            Err(error) => return warn!(%error, "a task cannot be forgotten"),
        };
        if free.is_some() {
            match self.root.remove(token) {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => return warn!(%error, "the folder of a task cannot be removed"),
            }
        }
        let (inner, token) = (self.clone(), token.clone());
        let removal = self.runtime.spawn_blocking(move || {
            if free.is_some() || holders(&token).is_ok_and(|found| found.is_empty()) {
                inner.remove_now(&token);
            }
        });
        // Fails only when the runtime ends; the folder is found again at the next start.
        let _ = removal.await;
    }

    fn remove_now(&self, token: &LaunchToken) {
        if let Err(error) = self.root.remove_all(token) {
            warn!(%error, "the folder of a task cannot be removed");
        }
    }

    /// What the lock file of `token` says; nothing if there is none.
    pub(super) fn recorded(&self, token: &LaunchToken) -> Recorded {
        let file = self.root.lock_file(token).map_err(std::io::Error::from);
        file.and_then(|file| Recorded::read(&file)).unwrap_or_default()
    }
}

/// Waits until the child `pid` has ended, and leaves it to be reaped.
fn wait_for_exit(pid: u32) {
    use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return };
    let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while matches!(waitid(WaitId::Pid(pid), ended), Err(rustix::io::Errno::INTR)) {}
}
