//! The processes below a member. Those that it started are known; any other child of it has outlived a worker
//! that ended before its agent, and is killed.

use crate::proc;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait, waitpid};
use std::collections::BTreeSet;
use std::io;
use std::process::{Child, Command};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How soon to look again for what was killed and is not gone.
const AGAIN: Duration = Duration::from_millis(2);

/// The children that the member started.
#[derive(Debug, Default)]
pub(super) struct Children(Mutex<BTreeSet<i32>>);

impl Children {
    fn known(&self) -> MutexGuard<'_, BTreeSet<i32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a process. No child exists that is not known, whoever looks.
    pub(super) fn start(&self, command: &mut Command) -> io::Result<Child> {
        let mut known = self.known();
        let child = command.spawn()?;
        known.insert(Pid::from_child(&child).as_raw_nonzero().get());
        Ok(child)
    }

    /// A child that was started here was reaped.
    pub(super) fn reaped(&self, child: &Child) {
        self.known().remove(&Pid::from_child(child).as_raw_nonzero().get());
    }

    /// Kills those that were not started here, and theirs, until none is left.
    pub(super) fn end_orphans(&self) {
        loop {
            {
                let known = self.known();
                let children = proc::children();
                let orphans = children.iter().filter(|pid| !known.contains(&pid.as_raw_nonzero().get()));
                let mut none = true;
                for orphan in orphans {
                    none = false;
                    // Ours and not reaped, so the number means nobody else.
                    let _ = kill_process(*orphan, Signal::KILL);
                    let _ = waitpid(Some(*orphan), WaitOptions::NOHANG);
                }
                if none {
                    return;
                }
            }
            std::thread::sleep(AGAIN);
        }
    }

    /// Kills every process below this one, until none is left; none can be started any more.
    pub(super) fn end_all(&self) {
        let _never_given_back = std::mem::ManuallyDrop::new(self.known());
        loop {
            for child in proc::children() {
                let _ = kill_process(child, Signal::KILL);
            }
            loop {
                match wait(WaitOptions::NOHANG) {
                    Ok(Some(_)) | Err(Errno::INTR) => {}
                    Ok(None) => break,
                    // No child is left.
                    Err(_) => return,
                }
            }
            std::thread::sleep(AGAIN);
        }
    }
}
