//! Executing one attempt for a slot: in this process, or in one of its own.

use super::crew::{Crew, Ears};
use super::settings::of_attempt;
use crate::attempt::Means;
use crate::signals::Signals;
use crate::{Exit, attempt, drive, log, stores};
use backends::RecordsError;
use backends::records::WorkerRecords;
use backends::redis::pool::Assigned;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Child, ExitStatus};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// `stop_code`: what executed the attempt ended by itself; `exit_code` says how.
const WORKER_EXITED: &str = "WorkerExited";
/// `stop_code`: a signal ended what executed the attempt; `signal` says which.
const WORKER_SIGNALED: &str = "WorkerSignaled";
/// `stop_code`: there was nothing to execute it with.
const NEVER_STARTED: &str = "NeverStarted";
/// Where there is no descriptor of a process (a kernel before 5.3, or none left).
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// A wait that something else ends.
const LONG: Duration = Duration::from_secs(3600);

/// How an attempt's task ended. Nothing of it is alive.
#[derive(Debug)]
pub(super) struct TaskEnd {
    pub(super) code: Option<i32>,
    pub(super) signal: Option<i32>,
    pub(super) stop_code: &'static str,
    pub(super) reason: String,
}

impl TaskEnd {
    pub(super) fn never_started(why: &str) -> Self {
        Self { code: None, signal: None, stop_code: NEVER_STARTED, reason: why.to_owned() }
    }

    fn exited(code: i32) -> Self {
        let reason = format!("the worker ended with exit status: {code}");
        Self { code: Some(code), signal: None, stop_code: WORKER_EXITED, reason }
    }

    fn of(status: ExitStatus) -> Self {
        let stop_code = if status.signal().is_some() { WORKER_SIGNALED } else { WORKER_EXITED };
        let reason = format!("the worker ended with {status}");
        Self { code: status.code(), signal: status.signal(), stop_code, reason }
    }
}

/// No task can have a folder here, and nothing was started.
#[derive(Debug)]
pub(super) struct NoFolder;

/// Executes `assigned`, and returns when nothing of it is alive.
pub(super) fn execute(crew: &Crew, slot: u32, assigned: &Assigned, ears: &Ears) -> Result<TaskEnd, NoFolder> {
    if assigned.inside { Ok(inside(crew, assigned, ears)) } else { outside(crew, slot, assigned, ears) }
}

/// By this thread.
fn inside(crew: &Crew, assigned: &Assigned, ears: &Ears) -> TaskEnd {
    let Assigned { token, job_id, .. } = assigned;
    // Named, and neither made nor used.
    let folder = crew.folder();
    let settings = match of_attempt(|name| std::env::var_os(name), &folder, job_id, token) {
        Ok(settings) => settings,
        Err(mistakes) => return TaskEnd::never_started(&mistakes.join("; ")),
    };
    if let Err(e) = drive::prepare(&settings) {
        return TaskEnd::never_started(&format!("the stores' runtime cannot be made: {e}"));
    }
    let records = || shared_records(crew, &settings);
    let artifacts = || stores::artifacts(&settings);
    let signals = || Ok(Signals::told_by(ears.wakes.try_clone()?, ears.stop.clone()));
    let means = Means { records: &records, artifacts: &artifacts, signals: &signals, commands: false };
    let exit = catch_unwind(AssertUnwindSafe(|| attempt::execute(&settings, means)));
    TaskEnd::exited(exit.unwrap_or(Exit::Internal).code().into())
}

/// One connection for all attempts that this process executes.
fn shared_records(crew: &Crew, settings: &crate::settings::Settings) -> Result<WorkerRecords, RecordsError> {
    let mut shared = crew.records.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(records) = &*shared {
        return Ok(records.clone());
    }
    let records = stores::records(settings)?;
    *shared = Some(records.clone());
    Ok(records)
}

/// By a worker of its own.
fn outside(crew: &Crew, slot: u32, assigned: &Assigned, ears: &Ears) -> Result<TaskEnd, NoFolder> {
    let Assigned { token, job_id, .. } = assigned;
    let folder = crew.folder();
    if let Err(e) = std::fs::create_dir_all(&folder) {
        if !crew.look_at_folder() {
            return Err(NoFolder);
        }
        return Ok(TaskEnd::never_started(&format!("the folder of the task cannot be made: {e}")));
    }
    let mut command = crew.invocation.worker(&crew.settings, &folder, job_id, token);
    let end = match crew.children.start(&mut command) {
        Ok(child) => ended(crew, slot, child, ears),
        Err(e) => TaskEnd::never_started(&format!("the worker could not be started: {e}")),
    };
    if let Err(e) = backends::remove_tree(&folder) {
        log::line(job_id.as_str(), &format!("the folder of the task cannot be removed: {e}"));
    }
    Ok(end)
}

/// Waits for the worker, and for whatever it left if it did not end as it should.
fn ended(crew: &Crew, slot: u32, mut child: Child, ears: &Ears) -> TaskEnd {
    let status = wait(crew, slot, &mut child, ears);
    crew.children.reaped(&child);
    if !matches!(&status, Ok(status) if status.success()) {
        crew.children.end_orphans();
    }
    match status {
        Ok(status) => TaskEnd::of(status),
        Err(e) => TaskEnd {
            code: None,
            signal: None,
            stop_code: WORKER_EXITED,
            reason: format!("the worker ended, and how cannot be learned: {e}"),
        },
    }
}

fn wait(crew: &Crew, slot: u32, child: &mut Child, ears: &Ears) -> io::Result<ExitStatus> {
    let pid = Pid::from_child(child);
    let descriptor = pidfd_open(pid, PidfdFlags::empty());
    let signals = Signals::told_by(ears.wakes.try_clone()?, ears.stop.clone());
    let (mut terminated, mut killed) = (false, false);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        // Not reaped, so the number means this child.
        if signals.told_to_stop() && !terminated {
            terminated = true;
            let _ = kill_process(pid, Signal::TERM);
        }
        let kill_at = crew.kill_at(slot).filter(|_| !killed);
        if kill_at.is_some_and(|at| Instant::now() >= at) {
            killed = true;
            // Its agent becomes a child of this process, and is killed as one that nobody here started.
            let _ = kill_process(pid, Signal::KILL);
            continue;
        }
        let now = Instant::now();
        match &descriptor {
            Ok(descriptor) => signals.wait_beside(&[descriptor.as_fd()], kill_at.unwrap_or(now + LONG)),
            Err(_) => signals.wait(kill_at.unwrap_or(now + LOOK_AGAIN).min(now + LOOK_AGAIN)),
        }
    }
}
