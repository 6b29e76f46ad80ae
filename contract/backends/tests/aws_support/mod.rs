//! Servers that speak AWS, started for one test binary and ended with it.
#![allow(dead_code, unused_imports, reason = "each test binary uses some of this")]

mod dynamodb_local;
mod ministack;
pub(crate) mod proxy;

pub(crate) use dynamodb_local::DynamodbLocal;
pub(crate) use ministack::Ministack;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Credentials that are none: the servers do not check them, and a client refuses to send without.
pub(crate) const ACCESS_KEY: (&str, &str) = ("test", "test");
/// The region in the ARNs of what the servers make.
pub(crate) const REGION: &str = "us-east-1";

/// How long a server may take to answer for the first time. Java needs some 5 s on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why a server cannot be had.
pub(crate) type Missing = String;

/// Says what is left out, and why; with `TEST_EVERYTHING` set that is a failure.
pub(crate) fn leave_out(what: &str, why: &str) {
    let advice = if why.ends_with("is not installed") { "; type: make deps" } else { "" };
    assert!(std::env::var_os("TEST_EVERYTHING").is_none(), "{what} cannot be tried: {why}{advice}");
    // Past the capture of the test harness on purpose.
    let _ = writeln!(std::io::stderr(), "left out: {what} ({why})");
}

/// A port of loopback that was free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// A server, which ends when this is dropped or when the test process is gone, however it went.
struct Server {
    /// The shell that watches over the server.
    shell: Child,
    /// The server.
    pid: u32,
}

/// Waits for the end of its input, which is the end of the test process at the latest. `$!` is the server
/// itself: neither shell nor `unshare` forks when there is only one command left.
const WATCH: &str = r#""$@" >/dev/null 2>&1 </dev/null & echo $!; read -r end; kill -9 $!; wait $!"#;

impl Server {
    fn start(command: &[&str], environment: &[(&str, &str)]) -> std::io::Result<Self> {
        let mut shell = Command::new("sh")
            .args(["-c", WATCH, "sh"])
            .args(command)
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(shell.stdout.take().expect("a pipe")).read_line(&mut line)?;
        let pid = line.trim().parse().map_err(std::io::Error::other)?;
        Ok(Self { shell, pid })
    }

    /// Asks until `answers` is true.
    ///
    /// # Panics
    /// When the server does not answer in time.
    fn ready(self, what: &str, answers: impl Fn() -> bool) -> Self {
        let deadline = Instant::now() + PATIENCE;
        while !answers() {
            assert!(Instant::now() < deadline, "{what} does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        self
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

/// Whether a request is answered with this start.
fn answers(port: u16, request: &str, start: &str) -> bool {
    let ask = || {
        let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        connection.set_read_timeout(Some(Duration::from_secs(5)))?;
        connection.write_all(request.as_bytes())?;
        let mut answer = vec![0; start.len()];
        connection.read_exact(&mut answer)?;
        std::io::Result::Ok(answer == start.as_bytes())
    };
    ask().unwrap_or(false)
}
