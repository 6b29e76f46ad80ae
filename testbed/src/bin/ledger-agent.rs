//! The agent of the end-to-end tests. It knows what any agent knows, its job and its attempt, and writes
//! down outside of the system when it started and ended; see `testbed::ledger` for the lines.
//!
//! | member of the payload | meaning |
//! |---|---|
//! | `ledger` | the file to write to; needed |
//! | `sleep_ms` | how long to work |
//! | `first_sleep_ms` | how long to work in attempt 1, when that is another time |
//! | `until` | work until this file exists instead |
//! | `exit` | the exit code |
//! | `fail_times` | end with `exit` (or 1) while the attempt's number is at most this |
//! | `abort` | end by SIGABRT |
//! | `ignore_sigterm` | go on when told to stop |
//! | `child_ms` | leave a child behind that lives so long |
//! | `child_escapes` | that child leaves the process group |
//! | `files` | so many files of 1 KiB for the artifacts folder |
//! | `say` | so many bytes on stdout |

use rustix::fs::{FlockOperation, flock};
use rustix::time::{ClockId, clock_gettime};
use serde::Deserialize;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[derive(Deserialize)]
struct Payload {
    ledger: PathBuf,
    #[serde(default)]
    sleep_ms: u64,
    #[serde(default)]
    first_sleep_ms: Option<u64>,
    #[serde(default)]
    until: Option<PathBuf>,
    #[serde(default)]
    exit: u8,
    #[serde(default)]
    fail_times: Option<u32>,
    #[serde(default)]
    abort: bool,
    #[serde(default)]
    ignore_sigterm: bool,
    #[serde(default)]
    child_ms: u64,
    #[serde(default)]
    child_escapes: bool,
    #[serde(default)]
    files: u32,
    #[serde(default)]
    say: usize,
}

struct Agent {
    payload: Payload,
    job: String,
    attempt: u32,
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|e| panic!("{name}: {e}"))
}

impl Agent {
    fn new() -> Self {
        let text = std::fs::read_to_string(variable("AGENT_RUNNER_PAYLOAD")).expect("a payload");
        let payload = serde_json::from_str(&text).expect("a payload of this agent");
        let attempt = variable("AGENT_RUNNER_ATTEMPT").parse().expect("a number");
        Self { payload, job: variable("AGENT_RUNNER_JOB_ID"), attempt }
    }

    /// One line in one write at the end of the file, which the kernel does not mix with others.
    fn note(&self, event: &str) {
        let now = clock_gettime(ClockId::Monotonic);
        let pid = std::process::id();
        let line = format!("{event} {} {} {pid} {}{:09}\n", self.job, self.attempt, now.tv_sec, now.tv_nsec);
        let mut file =
            OpenOptions::new().append(true).create(true).open(&self.payload.ledger).expect("the ledger");
        let written = file.write(line.as_bytes()).expect("the ledger takes a line");
        assert_eq!(written, line.len(), "the ledger took a part of a line");
    }

    /// The lock of the job. Whoever finds it taken has met another agent of the job alive.
    fn lock(&self) -> File {
        let path = self.payload.ledger.with_extension(&self.job);
        let file = OpenOptions::new().append(true).create(true).open(path).expect("a lock file");
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            self.note("overlap");
        }
        file
    }

    /// Works until the time is over; false when told to stop.
    fn work(&self, told: &AtomicBool) -> bool {
        let first = self.payload.first_sleep_ms.filter(|_| self.attempt == 1);
        let until = Instant::now() + Duration::from_millis(first.unwrap_or(self.payload.sleep_ms));
        let mut noted = false;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if told.load(Ordering::SeqCst) && !noted {
                self.note("told");
                noted = true;
                if !self.payload.ignore_sigterm {
                    return false;
                }
            }
            let over = self.payload.until.as_ref().map_or(left.is_zero(), |file| file.exists());
            if over {
                return true;
            }
            // A signal does not end the sleep of a thread; 5 ms is how late the agent may notice it.
            let pause = Duration::from_millis(5);
            std::thread::sleep(if self.payload.until.is_some() { pause } else { left.min(pause) });
        }
    }

    #[expect(clippy::zombie_processes, reason = "the child is to outlive its parent")]
    fn leave_a_child(&self, lock: &File) {
        if self.payload.child_ms == 0 {
            return;
        }
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.arg("child").arg(self.payload.child_ms.to_string());
        if self.payload.child_escapes {
            command.arg("escape");
        }
        let lock = lock.try_clone().expect("a second handle of the lock");
        command.stdin(lock).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("a child");
    }

    fn leave_files(&self) {
        std::fs::write(
            variable("AGENT_RUNNER_RESULT"),
            format!("{{\"job_id\":\"{}\",\"attempt\":{}}}", self.job, self.attempt),
        )
        .expect("a result");
        let folder = variable("AGENT_RUNNER_ARTIFACTS");
        for n in 0..self.payload.files {
            let byte = b'a' + u8::try_from(n % 26).unwrap_or(0);
            std::fs::write(Path::new(&folder).join(format!("{n}.txt")), [byte; 1024]).expect("a file");
        }
    }

    fn exit_code(&self) -> u8 {
        match self.payload.fail_times {
            Some(times) if self.attempt <= times => self.payload.exit.max(1),
            Some(_) => 0,
            None => self.payload.exit,
        }
    }
}

/// The child that an agent leaves behind: it holds the lock of the job as its stdin.
fn child(mut arguments: impl Iterator<Item = String>) -> ExitCode {
    let millis = arguments.next().and_then(|text| text.parse().ok()).expect("milliseconds");
    if arguments.next().is_some() {
        rustix::process::setsid().expect("a session of its own");
    }
    std::thread::sleep(Duration::from_millis(millis));
    ExitCode::SUCCESS
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("child") {
        return child(arguments);
    }
    // Before the first line, so that nobody can stop an agent that has started without its notice.
    let told = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGTERM, Arc::clone(&told)).expect("a signal handler");
    let agent = Agent::new();
    let lock = agent.lock();
    agent.note("start");
    agent.leave_a_child(&lock);
    if agent.payload.say > 0 {
        let text = vec![b'x'; agent.payload.say];
        std::io::stdout().write_all(&text).expect("a reader of stdout");
    }
    if !agent.work(&told) {
        return ExitCode::from(143);
    }
    if agent.payload.abort {
        std::process::abort();
    }
    agent.leave_files();
    agent.note("end");
    agent.exit_code().into()
}
