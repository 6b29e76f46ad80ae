//! The agent's processes: the one that was started, its process group and whatever left that group.
//!
//! The outcome may be reported only when all of them are gone. The group is killed while its leader is
//! still to be reaped, which keeps the number of the group from meaning anybody else. On Linux the worker
//! is the subreaper of its descendants: those that outlive their parents become its children, also the ones
//! that made sessions of their own, and are killed and reaped until none is left. Elsewhere those that left
//! the group escape; the lock that they inherited still tells that they live.

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitOptions, WaitStatus};
use std::fmt;
use std::io;
use std::process::Command;
use std::time::{Duration, Instant};

/// How soon to look again for what was killed but is not gone. SIGCHLD comes first as a rule.
const AGAIN: Duration = Duration::from_millis(20);

/// How the agent's main process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// With this exit code.
    Exited(i32),
    /// By this signal.
    Signalled(i32),
}

impl End {
    /// The exit code; 128 + n for a signal n, as shells count.
    pub(crate) fn exit_code(self) -> i32 {
        match self {
            Self::Exited(code) => code,
            Self::Signalled(signal) => 128 + signal,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "ended with exit code {code}"),
            Self::Signalled(signal) => {
                let name = signal_hook::low_level::signal_name(*signal).unwrap_or("an unnamed signal");
                write!(f, "was ended by {name} ({signal})")
            }
        }
    }
}

impl From<WaitStatus> for End {
    fn from(status: WaitStatus) -> Self {
        match status.terminating_signal() {
            Some(signal) => Self::Signalled(signal),
            // A status that is neither cannot come from a wait that asks for ended processes only.
            None => Self::Exited(status.exit_status().unwrap_or(-1)),
        }
    }
}

/// The agent's processes.
#[derive(Debug)]
pub(crate) struct Family {
    leader: Pid,
    /// Set when the leader is reaped.
    end: Option<End>,
    gone: bool,
}

impl Family {
    /// Starts the agent; `command` makes it the leader of a group.
    pub(crate) fn start(command: &mut Command) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        let child = command.spawn()?;
        Ok(Self { leader: Pid::from_child(&child), end: None, gone: false })
    }

    /// The agent's process.
    pub(crate) fn pid(&self) -> u32 {
        self.leader.as_raw_nonzero().get().unsigned_abs()
    }

    /// Whether the main process is gone.
    pub(crate) fn has_ended(&self) -> bool {
        self.end.is_some()
    }

    /// Signals the group. Nobody left to signal is fine.
    pub(crate) fn signal(&self, signal: Signal) {
        if !self.has_ended() {
            let _ = rustix::process::kill_process_group(self.leader, signal);
        }
    }

    /// Kills the group.
    pub(crate) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Goes one step towards the end: notices that the main process has ended, then kills and reaps the
    /// rest. Never waits. How the main process ended, once nothing is left.
    pub(crate) fn gone(&mut self) -> Option<End> {
        if !self.has_ended() {
            // Looking without reaping: the number of the group must stay taken until it is killed.
            let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
            if matches!(rustix::process::waitid(WaitId::Pid(self.leader), look), Ok(None)) {
                return None;
            }
            self.kill();
            let reaped = rustix::process::waitpid(Some(self.leader), WaitOptions::empty());
            // Nobody else reaps our children, so there always is a status.
            self.end = Some(reaped.ok().flatten().map_or(End::Exited(-1), |(_, status)| status.into()));
        }
        self.gone = self.gone || self.rest_is_gone();
        self.end.filter(|_| self.gone)
    }

    /// When to call [`Family::gone`] again without having been told of an ended child.
    pub(crate) fn look_again(&self) -> Option<Instant> {
        self.has_ended().then(|| Instant::now() + AGAIN)
    }

    /// Kills and reaps what the leader left to us.
    #[cfg(target_os = "linux")]
    fn rest_is_gone(&self) -> bool {
        let mut killed = false;
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                // Reaping one may have made its children ours.
                Ok(Some(_)) => killed = false,
                Ok(None) if killed => return false,
                Ok(None) => {
                    // Our own children, not reaped: their numbers mean nobody else.
                    for child in crate::proc::children() {
                        let _ = rustix::process::kill_process(child, Signal::KILL);
                    }
                    killed = true;
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return true,
            }
        }
    }

    /// The members of the group are somebody else's children now; their group is gone when it cannot be
    /// signalled any more.
    #[cfg(not(target_os = "linux"))]
    fn rest_is_gone(&self) -> bool {
        rustix::process::test_kill_process_group(self.leader).is_err()
    }
}

impl Drop for Family {
    /// Whoever forgets an agent must not leave it running: a panic on the way.
    fn drop(&mut self) {
        while self.gone().is_none() {
            self.kill();
            std::thread::sleep(AGAIN);
        }
    }
}
