//! Starting a worker: one `posix_spawn`, with everything that does not change prepared once.

use super::folder::Root;
use contract::{JobId, LaunchToken, Refusal, RefusalKind, TaskId};
use rustix::io::Errno;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// Bytes of the workers' log at which the next worker begins a new one.
const LOG_LIMIT: u64 = 16 * 1024 * 1024;

/// Starts workers.
#[derive(Debug)]
pub(super) struct Spawner {
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    cwd: PathBuf,
    null: File,
    log: Mutex<File>,
    /// Whether a worker gets a socket for its reports.
    relay: bool,
    /// Commands that are ready but for the four variables of a launch and the lock: an environment is
    /// copied once per command and not once per launch.
    ready: Mutex<Vec<Command>>,
}

impl Spawner {
    pub(super) fn new(
        root: &Root,
        program: PathBuf,
        args: Vec<OsString>,
        env: Vec<(OsString, OsString)>,
        cwd: PathBuf,
        relay: bool,
    ) -> io::Result<Self> {
        let null = File::options().write(true).open("/dev/null")?;
        let log = Mutex::new(root.worker_log()?);
        Ok(Self { program, args, env, cwd, null, log, relay, ready: Mutex::default() })
    }

    /// Starts a worker whose stdin is `lock`, and answers with our end of the socket of its reports, if it has
    /// one. An error means that no process exists.
    pub(super) fn spawn(
        &self,
        lock: File,
        job_id: &JobId,
        token: &LaunchToken,
        task: &TaskId,
        root: &Root,
    ) -> io::Result<(Child, Option<UnixStream>)> {
        let sockets = if self.relay { Some(UnixStream::pair()?) } else { None };
        self.turn_log(root);
        let ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut command = match ready {
            Some(command) => command,
            None => self.command()?,
        };
        command
            .env("AGENT_RUNNER_JOB_ID", job_id.as_str())
            .env("AGENT_RUNNER_LAUNCH_TOKEN", token.as_str())
            .env("AGENT_RUNNER_TASK_ID", task.as_str())
            .env("AGENT_RUNNER_TASK_FOLDER", root.folder(token))
            .stdin(lock);
        let ours = sockets.map(|(ours, theirs)| {
            command.stdout(OwnedFd::from(theirs));
            ours
        });
        let spawned = command.spawn();
        // Closes our copy of the lock: from here on only the worker and its descendants hold it. The same for
        // the worker's end of the socket, or nobody would learn that it was closed.
        command.stdin(Stdio::null());
        if ours.is_some() {
            command.stdout(Stdio::null());
        }
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).push(command);
        spawned.map(|child| (child, ours))
    }

    /// Begins a new log when the present one is full, so that two of them are the most that there is. Workers that run go on
    /// in theirs. A log that cannot be turned only grows.
    fn turn_log(&self, root: &Root) {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if log.metadata().is_ok_and(|found| found.len() >= LOG_LIMIT)
            && let Ok(next) = root.next_worker_log()
        {
            *log = next;
            self.ready.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }

    /// No user or hook of its own: either would cost the fast path of `Command`. The worker makes its own
    /// session; until it has come so far its own group keeps a Ctrl-C from it that is meant for us.
    fn command(&self) -> io::Result<Command> {
        let mut command = Command::new(&self.program);
        command
            .args(&self.args)
            .env_clear()
            .envs(std::env::vars_os())
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.cwd)
            .process_group(0)
            .stdout(self.null.try_clone()?)
            .stderr(self.log.lock().unwrap_or_else(PoisonError::into_inner).try_clone()?);
        if self.relay {
            command.env("AGENT_RUNNER_REPORTS", "stdout");
        } else {
            command.env_remove("AGENT_RUNNER_REPORTS");
        }
        Ok(command)
    }

    /// What `error` means, in the system's words.
    pub(super) fn refusal(&self, error: &io::Error) -> Refusal {
        let program = self.program.display();
        Refusal { kind: kind(error), message: format!("the worker {program} could not be started: {error}") }
    }
}

/// What kind of refusal an error of the operating system is.
pub(super) fn kind(error: &io::Error) -> RefusalKind {
    match Errno::from_io_error(error) {
        // Processes per user, open files per process and per system, bytes per user.
        Some(Errno::AGAIN | Errno::MFILE | Errno::NFILE | Errno::DQUOT) => RefusalKind::Quota,
        // Memory and disk. A program that is being written, as during an update, is whole again soon.
        Some(Errno::NOMEM | Errno::NOSPC | Errno::TXTBSY | Errno::INTR) => RefusalKind::Capacity,
        // Not there, not executable, read-only, arguments too long: until somebody changes something.
        _ => RefusalKind::Misconfigured,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_time_heals_waits_and_what_somebody_must_mend_is_misconfigured() {
        for (errno, expected) in [
            (Errno::AGAIN, RefusalKind::Quota),
            (Errno::MFILE, RefusalKind::Quota),
            (Errno::DQUOT, RefusalKind::Quota),
            (Errno::NOMEM, RefusalKind::Capacity),
            (Errno::NOSPC, RefusalKind::Capacity),
            (Errno::TXTBSY, RefusalKind::Capacity),
            (Errno::NOENT, RefusalKind::Misconfigured),
            (Errno::ACCESS, RefusalKind::Misconfigured),
            (Errno::ROFS, RefusalKind::Misconfigured),
        ] {
            assert_eq!(kind(&errno.into()), expected, "{errno}");
        }
        assert_eq!(kind(&io::Error::other("no errno")), RefusalKind::Misconfigured);
    }
}
