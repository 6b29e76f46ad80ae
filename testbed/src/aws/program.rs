//! A program of ours as a child process.

use crate::procfs;
use rustix::process::Signal;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Started or not.
#[derive(Debug)]
pub(super) struct Program {
    executable: PathBuf,
    pub(super) log: PathBuf,
    child: Option<Child>,
}

impl Program {
    pub(super) fn at(executable: PathBuf, log: PathBuf) -> Self {
        Self { executable, log, child: None }
    }

    /// Starts it with this environment and no other.
    pub(super) fn start(&mut self, folder: &Path, environment: &[(String, String)]) {
        assert!(self.child.is_none(), "{} runs already", self.executable.display());
        let log = File::options().append(true).create(true).open(&self.log).expect("a log");
        let child = Command::new(&self.executable)
            .env_clear()
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn();
        self.child = Some(child.expect("it can be started"));
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid() {
            procfs::signal(pid.cast_signed(), signal);
        }
    }

    pub(super) fn pause(&self) {
        self.signal(Signal::STOP);
    }

    pub(super) fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// It ended although nobody here ended it.
    pub(super) fn has_ended(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| !matches!(child.try_wait(), Ok(None)))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The last lines of a log.
pub(super) fn end_of(path: &Path) -> String {
    let text = String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    let last = lines.iter().skip(lines.len().saturating_sub(40));
    last.fold(format!("--- {}\n", path.display()), |text, line| format!("{text}{line}\n"))
}
