//! Copying an agent's output into the task's folder.
//!
//! Through pipes and one thread, and not straight into the files, because a log must end somewhere: the
//! rest of a long one is read and thrown away, so that the agent never blocks on it.

use super::folder::TaskFolder;
use crate::signals::poll_until;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The most bytes that are kept of each log, without the mark that says so.
const LOG_LIMIT: u64 = 10 * 1024 * 1024;
/// What a pipe holds on Linux (pipe(7)).
const CHUNK: usize = 64 * 1024;

/// Pipes that nobody uses yet.
pub(super) struct Logs {
    /// For the agent.
    pub(super) stdout: OwnedFd,
    /// For the agent.
    pub(super) stderr: OwnedFd,
    pub(super) reading: Reading,
}

/// Our side of the pipes.
pub(super) struct Reading {
    copies: [Copy; 2],
}

/// A running copy of both logs.
pub(super) struct Capture {
    thread: JoinHandle<Vec<String>>,
    /// Nothing is ever sent. The thread closes the other end when it is done, we close this one when it has
    /// to be done.
    line: UnixStream,
}

impl Capture {
    /// Makes pipes and files.
    pub(super) fn prepare(folder: &TaskFolder) -> io::Result<Logs> {
        let ((out, stdout), (err, stderr)) = (io::pipe()?, io::pipe()?);
        let copies = [Copy::new(out.into(), &folder.stdout)?, Copy::new(err.into(), &folder.stderr)?];
        Ok(Logs { stdout: stdout.into(), stderr: stderr.into(), reading: Reading { copies } })
    }

    /// Waits until both logs ended, at most for `limit`, then ends them. What is remarkable about them.
    pub(super) fn finish(self, limit: Duration) -> Vec<String> {
        poll_until(&mut [PollFd::new(&self.line, PollFlags::empty())], Instant::now() + limit);
        drop(self.line);
        self.thread.join().unwrap_or_else(|_| vec!["the copy of the logs panicked".to_owned()])
    }
}

impl Reading {
    /// Starts copying.
    pub(super) fn start(self) -> io::Result<Capture> {
        let (line, other_end) = UnixStream::pair()?;
        let logs = std::thread::Builder::new().name("logs".to_owned());
        let thread = logs.spawn(move || copy(self.copies, &other_end))?;
        Ok(Capture { thread, line })
    }
}

fn copy(mut copies: [Copy; 2], line: &UnixStream) -> Vec<String> {
    let mut buffer = vec![0; CHUNK];
    while copies.iter().any(|c| c.pipe.is_some()) {
        let mut fds = vec![PollFd::new(line, PollFlags::empty())];
        fds.extend(copies.iter().filter_map(|c| Some(PollFd::new(c.pipe.as_ref()?, PollFlags::IN))));
        if rustix::event::poll(&mut fds, None).is_err() {
            continue;
        }
        let ended = !fds[0].revents().is_empty();
        let mut ready = fds[1..].iter().map(|fd| !fd.revents().is_empty()).collect::<Vec<_>>().into_iter();
        for copy in copies.iter_mut().filter(|c| c.pipe.is_some()) {
            if ready.next() == Some(true) {
                copy.step(&mut buffer);
            }
        }
        if ended {
            break;
        }
    }
    copies.into_iter().flat_map(Copy::finish).collect()
}

/// One log.
struct Copy {
    name: String,
    /// `None` at the end.
    pipe: Option<OwnedFd>,
    file: File,
    /// What was kept so far.
    kept: u64,
    /// What was thrown away so far.
    dropped: u64,
    /// Why the file takes no more.
    broken: Option<io::Error>,
}

impl Copy {
    fn new(pipe: OwnedFd, path: &Path) -> io::Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let file = File::create_new(path)?;
        Ok(Self { name, pipe: Some(pipe), file, kept: 0, dropped: 0, broken: None })
    }

    fn step(&mut self, buffer: &mut [u8]) {
        let Some(pipe) = &self.pipe else { return };
        match rustix::io::read(pipe, &mut *buffer) {
            Ok(0) => self.pipe = None,
            Ok(n) => self.keep(&buffer[..n]),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(e) => {
                self.broken = Some(e.into());
                self.pipe = None;
            }
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = usize::try_from(LOG_LIMIT - self.kept).unwrap_or(usize::MAX);
        let (kept, dropped) = bytes.split_at(bytes.len().min(room));
        self.dropped += dropped.len() as u64;
        if kept.is_empty() {
            return;
        }
        if self.broken.is_some() {
            self.dropped += kept.len() as u64;
            return;
        }
        match self.file.write_all(kept) {
            Ok(()) => self.kept += kept.len() as u64,
            Err(e) => {
                self.broken = Some(e);
                self.dropped += kept.len() as u64;
            }
        }
    }

    /// Marks a log that is not complete, and says what is wrong with it.
    fn finish(mut self) -> Vec<String> {
        let Self { name, kept, dropped, .. } = &self;
        let mut notes = Vec::new();
        if let Some(e) = &self.broken {
            notes.push(format!("{name} is not complete: {e}"));
        }
        if self.pipe.is_some() {
            notes.push(format!("{name} was cut: a process that the agent did not start holds it open"));
        }
        if *dropped > 0 {
            let mark = format!("\n[agent-runner cut this log here: {kept} bytes kept, {dropped} dropped]\n");
            // Where the disk is full this fails too; the note above tells.
            let _ = self.file.write_all(mark.as_bytes());
        }
        notes
    }
}
