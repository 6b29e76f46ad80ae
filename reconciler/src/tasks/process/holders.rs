//! Which processes are a task's: those that hold its lock, and those that closed it (as Python's `subprocess` does
//! by default) and still have its working directory or its environment. Found through /proc, at the price of looking
//! at every open file of this user's processes. Only for what nothing else can tell: what a worker that was killed has
//! left behind, and folders whose lock file was deleted by hand.

use super::recorded::Target;
use contract::LaunchToken;
use std::io;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

/// Held for reading during every spawn, for writing while holders are looked for: between its fork and its
/// exec a child has a copy of every file of this process, and would be taken for a holder of the locks of
/// other tasks. One for the process, as its files are.
static SPAWNING: RwLock<()> = RwLock::new(());

/// To be kept during a spawn.
pub(super) fn spawning() -> RwLockReadGuard<'static, ()> {
    SPAWNING.read().unwrap_or_else(PoisonError::into_inner)
}

/// The processes of the task of `token`, other than this one. Processes of other users that cannot be looked into
/// are passed over.
#[cfg(target_os = "linux")]
pub(super) fn holders(token: &LaunchToken) -> io::Result<Vec<Target>> {
    use rustix::process::{Pid, getpid};
    let _no_spawn = SPAWNING.write().unwrap_or_else(PoisonError::into_inner);
    let names = Names::of(token);
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|n| n.parse().ok()).and_then(Pid::from_raw) else { continue };
        // This process has the file open while it waits or probes, but never as the task's lock.
        if pid == getpid() || !names.are_of(pid) {
            continue;
        }
        if let Some(target) = Target::open(pid) {
            // Again, now that the number cannot pass to another process unnoticed.
            if names.are_of(pid) {
                found.push(target);
            }
        }
    }
    Ok(found)
}

/// Without /proc only recorded processes are known.
#[cfg(not(target_os = "linux"))]
pub(super) fn holders(_: &LaunchToken) -> io::Result<Vec<Target>> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "this system does not tell who holds a lock"))
}

/// How the lock file ends in a link below /proc, and what stands in every path below the task's folder. A token is
/// unguessable, so nothing else has it; the folders before it may have been moved.
#[cfg(target_os = "linux")]
struct Names {
    present: String,
    deleted: String,
    folder: String,
}

#[cfg(target_os = "linux")]
impl Names {
    fn of(token: &LaunchToken) -> Self {
        let present = format!("/{token}/{}", super::folder::LOCK);
        let deleted = format!("{present} (deleted)");
        Self { present, deleted, folder: format!("/{token}/") }
    }

    /// Whether the process is the task's.
    fn are_of(&self, pid: rustix::process::Pid) -> bool {
        self.held_by(pid) || self.surround(pid)
    }

    /// Whether the process was given the task's working directory or environment. A process that has ended has neither.
    fn surround(&self, pid: rustix::process::Pid) -> bool {
        use std::os::unix::ffi::OsStrExt;
        let named =
            |bytes: &[u8]| bytes.windows(self.folder.len()).any(|part| part == self.folder.as_bytes());
        std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|path| named(path.as_os_str().as_bytes()))
            || std::fs::read(format!("/proc/{pid}/environ")).is_ok_and(|variables| named(&variables))
    }

    /// Whether the process has the file open through the open file description that holds the exclusive
    /// lock. Somebody who merely looks into the file holds nothing, and is nothing of ours.
    fn held_by(&self, pid: rustix::process::Pid) -> bool {
        use std::os::unix::ffi::OsStrExt;
        let Ok(files) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
        files.flatten().any(|file| {
            let Ok(link) = std::fs::read_link(file.path()) else { return false };
            let link = link.as_os_str().as_bytes();
            if !link.ends_with(self.present.as_bytes()) && !link.ends_with(self.deleted.as_bytes()) {
                return false;
            }
            let info = format!("/proc/{pid}/fdinfo/{}", file.file_name().to_string_lossy());
            // `lock:   1: FLOCK  ADVISORY  WRITE <pid> <device>:<inode> 0 EOF` (proc_pid_fdinfo(5))
            let info = std::fs::read_to_string(info).unwrap_or_default();
            info.lines().any(|line| line.contains("FLOCK") && line.contains("WRITE"))
        })
    }
}
