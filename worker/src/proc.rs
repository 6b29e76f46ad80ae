//! Processes as the rest of the machine sees them: who we are, in the task's lock file.
//!
//! The lock file is our stdin, opened for reading and writing and locked by whoever started us. The lock
//! lasts as long as any process has that stdin (or a copy of it) open, so that "the lock can be taken"
//! means that worker and agent are gone. The lines in it say which processes to kill: a pid alone would
//! not do, because numbers are used again, so boot and start time go with it.

use crate::settings::Settings;
use rustix::fs::SeekFrom;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::process::Stdio;

/// The lowest number for the agent's copy of the lock. Shell scripts use 3 to 9 for themselves
/// (`exec 3>file` would close the lock there), and bash looks for its own from 10 and from 255 downwards.
const LOCK_FD: i32 = 100;

/// Makes a session of our own and writes who we are into the lock file, if the task has one.
pub(crate) fn introduce(settings: &Settings) -> io::Result<()> {
    if !settings.has_lock() {
        // Refused to the leader of a process group, as when somebody starts a worker by hand in a shell.
        let _ = rustix::process::setsid();
        return Ok(());
    }
    leave_session();
    let mut buffer = [0; 64];
    let boot_id = read_once("/proc/sys/kernel/random/boot_id", &mut buffer).unwrap_or_default();
    let boot_id = std::str::from_utf8(boot_id).unwrap_or_default().trim_ascii_end();
    let pid = std::process::id();
    let start_time = start_time("self");
    append(&format!("{{\"boot_id\":\"{boot_id}\",\"pid\":{pid},\"start_time\":{start_time}}}\n"))
}

/// Makes a session of our own. The orchestrator has made us the leader of a process group, and such a leader
/// may not: so we go to another group of the old session first, which the session's leader has where there is one.
///
/// In the old session a worker that somebody has stopped would die with the orchestrator: the kernel sends
/// SIGHUP to a stopped process group when the last parent that could continue it is gone (setpgid(2)).
fn leave_session() {
    use rustix::process::{getppid, setpgid, setsid};
    // Where it is our orchestrator that leads the session, as in `docker run -it`, a Ctrl-C is for its group.
    let leader = session_leader().filter(|leader| getppid() != Some(*leader));
    let join = |leader| setpgid(None, Some(leader)).is_ok();
    if setsid().is_err() && (leader.is_some_and(join) || join_a_childs_group().is_ok()) {
        let _ = setsid();
    }
}

/// Joins a process group that was made for this: where the leader of the session cannot be seen, is our parent, or
/// is gone with its group. A machine without cat(1) leaves us where we are.
fn join_a_childs_group() -> io::Result<()> {
    use std::os::unix::process::CommandExt;
    let mut command = std::process::Command::new("cat");
    let command = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.process_group(0).spawn()?;
    // It lasts until its input ends, which is when it is waited for.
    let joined = rustix::process::setpgid(None, Some(rustix::process::Pid::from_child(&child)));
    // Refused where somebody has told us to ignore SIGCHLD: such children vanish by themselves.
    let _ = child.wait();
    Ok(joined?)
}

/// `None` where it is outside of our PID namespace, as for what is executed in a running container: its number is
/// 0 there, which the type of `getsid`'s answer does not allow for.
#[cfg(target_os = "linux")]
fn session_leader() -> Option<rustix::process::Pid> {
    rustix::process::Pid::from_raw(stat_field("self", 6)?.try_into().ok()?)
}

#[cfg(not(target_os = "linux"))]
fn session_leader() -> Option<rustix::process::Pid> {
    rustix::process::getsid(None).ok()
}

/// Adds the agent's process to the lock file.
pub(crate) fn introduce_agent(pid: u32) -> io::Result<()> {
    let start_time = start_time(&pid.to_string());
    append(&format!("{{\"agent_pid\":{pid},\"agent_start_time\":{start_time}}}\n"))
}

/// Another descriptor of the lock, which children inherit.
pub(crate) fn inheritable_lock() -> io::Result<OwnedFd> {
    let lock = rustix::io::fcntl_dupfd_cloexec(io::stdin().as_fd(), LOCK_FD)?;
    rustix::io::fcntl_setfd(&lock, rustix::io::FdFlags::empty())?;
    Ok(lock)
}

fn append(line: &str) -> io::Result<()> {
    let stdin = io::stdin();
    rustix::fs::seek(&stdin, SeekFrom::End(0))?;
    // Half a line would be no line; the caller gives up then.
    match rustix::io::write(&stdin, line.as_bytes())? {
        n if n == line.len() => Ok(()),
        _ => Err(rustix::io::Errno::NOSPC.into()),
    }
}

/// When a process started, in clock ticks since boot: field 22 of `/proc/<pid>/stat` (proc(5)). 0 where
/// there is no such file.
fn start_time(pid: &str) -> u64 {
    stat_field(pid, 22).unwrap_or(0)
}

/// Our children, also those that are only waiting to be reaped.
#[cfg(target_os = "linux")]
pub(crate) fn children() -> Vec<rustix::process::Pid> {
    let me = u64::from(std::process::id());
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            let pid = rustix::process::Pid::from_raw(name.parse().ok()?)?;
            (stat_field(&name, 4)? == me).then_some(pid)
        })
        .collect()
}

/// Reads a file of /proc that fits into `buffer`: such files are made up whole for a single read, and this is
/// on the way of every worker, so the calls that find out a size are saved.
fn read_once<'a>(path: &str, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    let n = std::fs::File::open(path).ok()?.read(buffer).ok()?;
    buffer.get(..n)
}

fn stat_field(pid: &str, field: usize) -> Option<u64> {
    // 52 numbers of at most 20 digits and a name of at most 64 bytes (proc(5)).
    let mut buffer = [0; 52 * 21 + 64];
    let stat = read_once(&format!("/proc/{pid}/stat"), &mut buffer)?;
    // Field 2 is the program's name in parentheses, which may itself hold spaces and parentheses.
    let end = stat.iter().rposition(|&b| b == b')')?;
    let rest = std::str::from_utf8(stat.get(end + 2..)?).ok()?;
    rest.split(' ').nth(field - 3)?.trim().parse().ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_behind_a_name_with_spaces_and_parentheses() {
        let mut child = std::process::Command::new("/bin/sh")
            .args(["-c", "exec 2>&-; printf 'a) (b 1' > /proc/self/comm; echo; read _"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Read::read(child.stdout.as_mut().unwrap(), &mut [0]).unwrap();
        let pid = child.id().to_string();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        assert!(stat.contains("(a) (b 1) "), "{stat}");
        assert_eq!(stat_field(&pid, 4), Some(std::process::id().into()));
        assert!(start_time(&pid) >= start_time("self") && start_time("self") > 0);
        assert!(children().iter().any(|c| c.as_raw_nonzero().get().to_string() == pid));
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
