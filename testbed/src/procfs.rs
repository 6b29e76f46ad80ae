//! Which processes belong to a folder, as `/proc` shows it (Linux).

use rustix::process::{Pid, Signal, kill_process};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A process that has to do with a folder.
#[derive(Debug, Clone)]
pub struct Belonging {
    /// Its id.
    pub pid: i32,
    /// Its parent.
    pub parent: i32,
    /// Its command line, for people.
    pub command: String,
    /// Why it counts.
    pub why: &'static str,
    /// It is a worker: it has a launch token.
    pub worker: bool,
}

impl Belonging {
    /// Sends SIGKILL; a process that is gone already is no error.
    pub fn kill(&self) {
        signal(self.pid, Signal::KILL);
    }
}

/// Sends a signal; a process that is gone already is no error.
pub fn signal(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, signal);
    }
}

/// Every process, but this one, whose environment names the folder, whose working directory is in it or that
/// holds a file of it open. Zombies have none of that and are not found; see [`zombies`].
#[must_use]
pub fn belonging_to(folder: &Path) -> Vec<Belonging> {
    let own = std::process::id().cast_signed();
    let pids = pids().into_iter().filter(|pid| *pid != own);
    pids.filter_map(|pid| belongs(pid, folder)).collect()
}

fn pids() -> Vec<i32> {
    let Ok(all) = std::fs::read_dir("/proc") else { return Vec::new() };
    all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

fn belongs(pid: i32, folder: &Path) -> Option<Belonging> {
    let proc = Path::new("/proc").join(pid.to_string());
    let environment = std::fs::read(proc.join("environ")).unwrap_or_default();
    let needle = folder.as_os_str().as_bytes();
    let named = environment.windows(needle.len()).any(|part| part == needle);
    let inside = |link: &Path| std::fs::read_link(link).is_ok_and(|target| target.starts_with(folder));
    let opened = || {
        let files = std::fs::read_dir(proc.join("fd")).ok()?;
        files.filter_map(Result::ok).any(|file| inside(&file.path())).then_some("has a file of it open")
    };
    let why = if named {
        "its environment names the folder"
    } else if inside(&proc.join("cwd")) {
        "works in the folder"
    } else {
        opened()?
    };
    let command = std::fs::read(proc.join("cmdline")).unwrap_or_default();
    let command = String::from_utf8_lossy(&command).replace('\0', " ").trim_end().to_owned();
    let mark: &[u8] = b"AGENT_RUNNER_LAUNCH_TOKEN=";
    let worker = environment.windows(mark.len()).any(|part| part == mark);
    let parent = stat(pid).map_or(0, |(_, parent)| parent);
    Some(Belonging { pid, parent, command, why, worker })
}

/// State and parent.
fn stat(pid: i32) -> Option<(char, i32)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in brackets and may hold anything.
    let mut words = text.get(text.rfind(')')? + 2..)?.split(' ');
    let state = words.next()?.chars().next()?;
    Some((state, words.next()?.parse().ok()?))
}

/// Whether the process is there and no zombie.
#[must_use]
pub fn is_alive(pid: i32) -> bool {
    stat(pid).is_some_and(|(state, _)| !matches!(state, 'Z' | 'X'))
}

/// Children of a process that ended and that it has not taken note of.
#[must_use]
pub fn zombies(parent: i32) -> Vec<i32> {
    pids().into_iter().filter(|pid| stat(*pid) == Some(('Z', parent))).collect()
}

/// Clock ticks (1/100 s) of processor time that a process has used, and its resident memory in KiB.
#[must_use]
pub fn usage(pid: i32) -> Option<(u64, u64)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let words: Vec<&str> = text.get(text.rfind(')')? + 2..)?.split(' ').collect();
    // Fields 14 and 15 of proc_pid_stat(5); the state, field 3, is the first here.
    let ticks = words.get(11)?.parse::<u64>().ok()? + words.get(12)?.parse::<u64>().ok()?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some((ticks, resident.trim().split(' ').next()?.parse().ok()?))
}
