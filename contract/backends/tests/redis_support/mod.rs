//! A real redis-server for one test: on loopback, on a free port, in a folder of its own; it ends with the test
//! however that ends.
#![allow(dead_code, unused_imports, reason = "each test binary uses some of this")]

mod cut;

pub(crate) use cut::Cut;

use rustix::process::{Pid, Signal, kill_process};
use std::future::Future;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long a server may take to start, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
});

/// Drives a future on the runtime that all tests of the binary share; the client's tasks live there.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    RUNTIME.block_on(future)
}

/// A port that nothing listens on, and that is given to no outgoing connection while its server is down: below
/// the range from which the system takes those (32768, `net.ipv4.ip_local_port_range`).
fn free_port() -> u16 {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    loop {
        let n = std::process::id().wrapping_mul(61) + TAKEN.fetch_add(1, Ordering::Relaxed);
        let port = 20_000 + (n % 12_000) as u16;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// Runs in a shell that waits for the end of its input, which is the end of the test process at the latest, and
/// then for the end of the server: on a busy machine one that was killed keeps its port until it is given time to
/// die, and the next one on this port would end at once.
const WATCH: &str =
    r#""$@" </dev/null >/dev/null 2>&1 & echo $!; read -r end; kill -9 $! 2>/dev/null; wait $! 2>/dev/null"#;

/// What a server says, in its folder.
const LOG: &str = "redis.log";

/// A server.
pub(crate) struct RedisServer {
    pub(crate) port: u16,
    folder: tempfile::TempDir,
    settings: Vec<String>,
    running: Option<(Child, Pid)>,
}

impl RedisServer {
    /// Starts a server that loses nothing when it is killed. `None`, after a word about it, where no
    /// redis-server is installed.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    /// As [`RedisServer::start`], for a binary of which no check can do without: where none is installed the
    /// whole binary ends, because a check of a suite cannot be left out by its fixture.
    pub(crate) fn start_or_end() -> Self {
        Self::start().unwrap_or_else(|| std::process::exit(0))
    }

    /// As [`RedisServer::start`], with more settings.
    pub(crate) fn start_with(settings: &[&str]) -> Option<Self> {
        if Command::new("redis-server").arg("--version").output().is_err() {
            assert!(
                std::env::var_os("TEST_EVERYTHING").is_none(),
                "redis-server is not installed; type: make deps"
            );
            // Past the capture of the test harness on purpose.
            let _ = writeln!(std::io::stderr(), "left out: no redis-server on this machine");
            return None;
        }
        let settings = settings.iter().map(|&s| s.to_owned()).collect();
        let mut server = Self {
            port: free_port(),
            folder: tempfile::tempdir().expect("a folder"),
            settings,
            running: None,
        };
        server.run();
        Some(server)
    }

    /// Starts the server again, in the same folder.
    pub(crate) fn run(&mut self) {
        let (port, folder) = (self.port.to_string(), self.folder.path().display().to_string());
        let always =
            ["--appendonly", "yes", "--appendfsync", "always", "--save", "", "--loglevel", "warning"];
        let mut shell = Command::new("sh")
            .args(["-c", WATCH, "sh", "redis-server", "--bind", "127.0.0.1", "--port", &port])
            .args(["--dir", &folder, "--logfile", LOG])
            .args(always)
            .args(&self.settings)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let mut line = String::new();
        BufReader::new(shell.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
        let pid = line.trim().parse().ok().and_then(Pid::from_raw).expect("a process id");
        self.running = Some((shell, pid));
        let deadline = Instant::now() + PATIENCE;
        // Not any server that may have come to this port before ours.
        let ours = format!("process_id:{}\r", pid.as_raw_nonzero());
        while !self.cli(&["INFO", "server"]).contains(&ours) || self.cli(&["PING"]).trim() != "PONG" {
            let log = || std::fs::read_to_string(self.folder.path().join(LOG)).unwrap_or_default();
            assert!(Instant::now() < deadline, "redis-server does not answer\n{}", log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// `kill -9`; its port is free on return.
    pub(crate) fn kill(&mut self) {
        let (mut shell, pid) = self.running.take().expect("a running server");
        kill_process(pid, Signal::KILL).expect("the server was there");
        drop(shell.stdin.take());
        let _ = shell.wait();
    }

    /// Stops the server where it is, or lets it go on.
    pub(crate) fn stand_still(&self, still: bool) {
        let (_, pid) = self.running.as_ref().expect("a running server");
        kill_process(*pid, if still { Signal::STOP } else { Signal::CONT }).expect("the server was there");
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// What redis-cli says, as an operator would type it.
    pub(crate) fn cli(&self, arguments: &[&str]) -> String {
        let port = self.port.to_string();
        let mut command = Command::new("redis-cli");
        if let Some(at) = self.settings.iter().position(|s| s == "--requirepass") {
            command.env("REDISCLI_AUTH", &self.settings[at + 1]);
        }
        let output = command.args(["-p", &port]).args(arguments).output().expect("redis-cli");
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        if let Some((mut shell, _)) = self.running.take() {
            drop(shell.stdin.take());
            let _ = shell.wait();
        }
    }
}
