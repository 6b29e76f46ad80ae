//! What the lines of a lock file say, and whether the processes that they name still exist.
//!
//! | line | writer | members |
//! |---|---|---|
//! | first | orchestrator, before the spawn | `job_id`, `store`, `boot_id`, `launched_at` |
//! | next | worker, as its first act | `boot_id`, `pid`, `start_time` |
//! | last | worker, when the agent runs | `agent_pid`, `agent_start_time` |
//!
//! Lines are told apart by their members. Of each member the first one counts, since an agent inherits the
//! file and could write into it; a line that is cut off or no such JSON is passed over. A number is never
//! taken for a process without its start time (clock ticks since boot, field 22 of `/proc/<pid>/stat`) and
//! its boot: numbers are used again.

use super::folder;
use contract::{JobId, Timestamp};
use rustix::process::{Pid, Signal};
use serde::Deserialize;
use std::fs::File;
use std::io;

/// Which process, and which of those that ever had its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    pid: Pid,
    /// 0 where the system does not tell.
    start_time: u64,
}

/// What a lock file says.
#[derive(Debug, Default)]
pub(super) struct Recorded {
    pub(super) job_id: Option<JobId>,
    /// Whose job that is; absent where a version before this one launched it.
    pub(super) store: Option<String>,
    pub(super) launched_at: Option<Timestamp>,
    pub(super) boot_id: Option<String>,
    pub(super) worker: Option<Identity>,
    pub(super) agent: Option<Identity>,
}

#[derive(Deserialize)]
struct Line {
    job_id: Option<JobId>,
    store: Option<String>,
    launched_at: Option<Timestamp>,
    boot_id: Option<String>,
    pid: Option<i32>,
    #[serde(default)]
    start_time: u64,
    agent_pid: Option<i32>,
    #[serde(default)]
    agent_start_time: u64,
}

impl Recorded {
    /// Whether the worker that is named here certainly ended. Of one that is not named nothing is known.
    pub(super) fn worker_gone(&self, boot_id: &str) -> bool {
        self.boot_id.as_deref() == Some(boot_id) && self.worker.is_some_and(Identity::is_gone)
    }

    /// Reads a lock file.
    pub(super) fn read(file: &File) -> io::Result<Self> {
        Ok(Self::parse(&folder::read_lines(file)?))
    }

    fn parse(bytes: &[u8]) -> Self {
        let mut found = Self::default();
        for line in bytes.split_inclusive(|&b| b == b'\n').filter(|line| line.ends_with(b"\n")) {
            let Ok(line) = serde_json::from_slice::<Line>(line) else { continue };
            found.job_id = found.job_id.or(line.job_id);
            found.store = found.store.or(line.store);
            found.launched_at = found.launched_at.or(line.launched_at);
            found.boot_id = found.boot_id.or(line.boot_id);
            found.worker = found.worker.or(Identity::new(line.pid, line.start_time));
            found.agent = found.agent.or(Identity::new(line.agent_pid, line.agent_start_time));
        }
        found
    }
}

impl Identity {
    /// Numbers below 2 are refused: as the name of a group, 1 means every process and 0 our own group.
    fn new(pid: Option<i32>, start_time: u64) -> Option<Self> {
        let pid = Pid::from_raw(pid.filter(|&pid| pid > 1)?)?;
        Some(Self { pid, start_time })
    }

    /// The process of this identity, if it is there and not merely waiting to be reaped.
    pub(super) fn open(self) -> Option<Target> {
        // Opened before the check: from here on the handle means this process and no later one.
        let target = Target::open(self.pid)?;
        self.is_running().then_some(target)
    }

    /// Its number.
    #[cfg(target_os = "linux")]
    pub(super) fn pid(self) -> Pid {
        self.pid
    }

    /// Whether the process certainly ended; an answer that cannot be had is no proof.
    #[cfg(target_os = "linux")]
    pub(super) fn is_gone(self) -> bool {
        use rustix::process::test_kill_process;
        match start_time(self.pid) {
            Some(start_time) => start_time != self.start_time,
            // A zombie, which has a number still, or nothing of that number.
            None => is_zombie(self.pid) || test_kill_process(self.pid) == Err(rustix::io::Errno::SRCH),
        }
    }

    /// Without /proc only a number that nobody has is proof.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn is_gone(self) -> bool {
        rustix::process::test_kill_process(self.pid) == Err(rustix::io::Errno::SRCH)
    }

    #[cfg(target_os = "linux")]
    fn is_running(self) -> bool {
        start_time(self.pid) == Some(self.start_time)
    }

    /// Without /proc nobody can tell; callers know that the task's lock is held, so that its processes
    /// cannot be long gone.
    #[cfg(not(target_os = "linux"))]
    fn is_running(self) -> bool {
        true
    }
}

/// The start time of a process that has not ended.
#[cfg(target_os = "linux")]
fn start_time(pid: Pid) -> Option<u64> {
    state_and_start(pid).filter(|(ended, _)| !ended).map(|(_, start_time)| start_time)
}

#[cfg(target_os = "linux")]
fn is_zombie(pid: Pid) -> bool {
    state_and_start(pid).is_some_and(|(ended, _)| ended)
}

/// Whether a process has ended without being reaped, and its start time.
#[cfg(target_os = "linux")]
fn state_and_start(pid: Pid) -> Option<(bool, u64)> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses, which may itself hold spaces and parentheses.
    let end = stat.iter().rposition(|&b| b == b')')?;
    let mut fields = std::str::from_utf8(&stat[end + 1..]).ok()?.split_ascii_whitespace();
    let ended = matches!(fields.next()?, "Z" | "X");
    Some((ended, fields.nth(18)?.parse().ok()?))
}

/// A process to be signalled.
#[derive(Debug)]
pub(super) struct Target {
    pid: Pid,
    #[cfg(target_os = "linux")]
    handle: Option<std::os::fd::OwnedFd>,
}

impl Target {
    /// `None`: no process has this number.
    #[cfg(target_os = "linux")]
    pub(super) fn open(pid: Pid) -> Option<Self> {
        use rustix::process::{PidfdFlags, pidfd_open};
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(handle) => Some(Self { pid, handle: Some(handle) }),
            Err(rustix::io::Errno::SRCH) => None,
            // No descriptor left, or a kernel before 5.3: the number has to do.
            Err(_) => Some(Self { pid, handle: None }),
        }
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn open(pid: Pid) -> Option<Self> {
        rustix::process::test_kill_process(pid).is_ok().then_some(Self { pid })
    }

    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// Signals the process. Already gone is a success.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        if let Some(handle) = &self.handle {
            return gone_is_fine(rustix::process::pidfd_send_signal(handle, signal));
        }
        gone_is_fine(rustix::process::kill_process(self.pid, signal))
    }

    /// Signals every process of the group that this process leads, or the process alone as long as it
    /// leads none.
    ///
    /// The number of a group stays taken while the group has a member or its leader is not reaped, so only
    /// a leader that ends *and* all of whose group ends between the check and this call could be mistaken,
    /// and only after every other number was used once.
    pub(super) fn signal_group(&self, signal: Signal) -> io::Result<()> {
        match rustix::process::kill_process_group(self.pid, signal) {
            Err(rustix::io::Errno::SRCH) => self.signal(signal),
            answer => Ok(answer?),
        }
    }
}

/// Signals every process of group `pid`. No such group is a success.
pub(super) fn signal_group(pid: Pid, signal: Signal) -> io::Result<()> {
    gone_is_fine(rustix::process::kill_process_group(pid, signal))
}

/// Signals the process `pid`. Already gone is a success.
pub(super) fn signal(pid: Pid, signal: Signal) -> io::Result<()> {
    gone_is_fine(rustix::process::kill_process(pid, signal))
}

fn gone_is_fine(answer: Result<(), rustix::io::Errno>) -> io::Result<()> {
    match answer {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Names this boot of the machine; empty where the system does not tell.
pub(super) fn boot_id() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_apart_by_their_members_and_the_first_of_each_counts() {
        let text = "{\"job_id\":\"j\",\"boot_id\":\"b\",\"launched_at\":\"2026-11-22T10:05:12.975Z\"}\n\
            no json\n{\"agent_pid\":77,\"agent_start_time\":8}\n{\"boot_id\":\"x\",\"pid\":5,\"start_time\":6}\n\
            {\"pid\":9,\"start_time\":9,\"job_id\":\"k\"}\n";
        let found = Recorded::parse(text.as_bytes());
        assert_eq!(found.job_id.unwrap().as_str(), "j");
        assert_eq!(found.boot_id.unwrap(), "b");
        assert_eq!(found.worker, Identity::new(Some(5), 6));
        assert_eq!(found.agent, Identity::new(Some(77), 8));
        assert!(found.launched_at.is_some());
    }

    #[test]
    fn a_line_that_was_cut_off_is_passed_over() {
        let found = Recorded::parse(b"{\"job_id\":\"j\"}\n{\"pid\":512,\"start_time\":6}");
        assert!(found.job_id.is_some() && found.worker.is_none());
    }

    #[test]
    fn numbers_that_mean_many_processes_are_never_an_identity() {
        for pid in [-1, 0, 1] {
            let text = format!("{{\"pid\":{pid},\"start_time\":0,\"agent_pid\":{pid}}}\n");
            let found = Recorded::parse(text.as_bytes());
            assert!(found.worker.is_none() && found.agent.is_none(), "{pid} was accepted");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_is_known_by_its_start_time_too() {
        let pid = rustix::process::getpid();
        let start_time = start_time(pid).unwrap();
        assert!(Identity { pid, start_time }.open().is_some());
        assert!(!Identity { pid, start_time }.is_gone());
        let another = Identity { pid, start_time: start_time + 1 };
        assert!(another.open().is_none() && another.is_gone());
    }
}
