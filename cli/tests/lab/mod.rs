//! A folder of its own for a test, and the executable in it. Whatever was started is ended with the test.

#![allow(dead_code, reason = "each test file uses a part")]

pub(crate) mod double;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A folder.
pub(crate) struct Lab {
    folder: tempfile::TempDir,
}

impl Lab {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    pub(crate) fn write(&self, file: &str, text: &str) {
        std::fs::write(self.path(file), text).unwrap();
    }

    /// The executable, in this folder, with no setting but that nobody listens where it looks: port 1 is
    /// reserved (tcpmux).
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_agent-runner"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("AGENT_RUNNER_") {
                command.env_remove(name);
            }
        }
        command.env("AGENT_RUNNER_LISTEN", "127.0.0.1:1").current_dir(self.folder.path()).args(words);
        command
    }

    pub(crate) fn output(&self, words: &[&str]) -> Said {
        Said::of(self.command(words).output().unwrap())
    }

    /// Starts `up` on a free port and waits until it is up.
    pub(crate) fn up(&self) -> Up {
        let child = self.command(&["up", "--listen", "127.0.0.1:0"]).stderr(Stdio::piped()).spawn().unwrap();
        Up::of(child)
    }
}

/// What a command said and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    pub(crate) fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

/// A running `up`; killed with its test.
pub(crate) struct Up {
    pub(crate) child: Child,
    pub(crate) url: String,
    /// Everything up to the line that ends the banner, and what followed at once.
    pub(crate) banner: String,
    stderr: BufReader<ChildStderr>,
}

impl Up {
    fn of(mut child: Child) -> Self {
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let banner = read_until(&mut stderr, "Ctrl-C ends this");
        let url = banner
            .lines()
            .find_map(|line| line.strip_prefix("API"))
            .map(|rest| rest.trim().to_owned())
            .unwrap_or_else(|| panic!("no URL in {banner}"));
        Self { child, url, banner, stderr }
    }

    /// Reads on until a line contains `word`; returns what was read.
    pub(crate) fn read_until(&mut self, word: &str) -> String {
        read_until(&mut self.stderr, word)
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        signal_to(&self.child, signal);
    }

    /// Waits for the end and returns how long it took.
    pub(crate) fn wait(&mut self) -> (Option<i32>, Duration) {
        let start = Instant::now();
        let status = self.child.wait().unwrap();
        (status.code(), start.elapsed())
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn signal_to(child: &Child, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, signal).unwrap();
}

/// Reads lines until one contains `word`. Ends with the stream, so a test fails rather than hangs.
pub(crate) fn read_until(from: &mut impl BufRead, word: &str) -> String {
    let mut text = String::new();
    let mut line = String::new();
    while from.read_line(&mut line).unwrap() > 0 {
        text.push_str(&line);
        if line.contains(word) {
            return text;
        }
        line.clear();
    }
    panic!("the stream ended before {word:?}:\n{text}");
}

/// The artifacts of a job.
pub(crate) fn job_folder(lab: &Lab, job_id: &str) -> PathBuf {
    lab.path("data/artifacts/jobs").join(job_id)
}

/// The only attempt's folder.
pub(crate) fn attempt_folder(job: &Path) -> PathBuf {
    let mut all: Vec<_> =
        std::fs::read_dir(job.join("attempts")).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

/// Runs a client verb against an API and renders what it said for a snapshot.
pub(crate) fn shot(lab: &Lab, url: &str, words: &[&str]) -> String {
    shot_with(lab, url, words, &[])
}

/// The same with variables of its environment.
pub(crate) fn shot_with(lab: &Lab, url: &str, words: &[&str], variables: &[(&str, &str)]) -> String {
    let mut command = lab.command(words);
    command.env("AGENT_RUNNER_URL", url).envs(variables.iter().copied()).stdin(Stdio::null());
    let said = Said::of(command.output().unwrap());
    let hide = |text: &str| text.replace(url, "http://<api>").replace('\x1b', "<ESC>");
    let code = said.code.map_or("none".to_owned(), |code| code.to_string());
    format!(
        "$ agent-runner {}\nexit {code}\n--- stdout\n{}--- stderr\n{}",
        words.join(" "),
        hide(&said.out),
        hide(&said.err)
    )
}
