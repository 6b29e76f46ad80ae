//! A Redis server with one job, for the blocks that are about Redis. The job lies there as docs/redis.md describes it;
//! that the reconciler follows such edits is tested where Redis is built in.

use crate::page::Block;
use crate::{root, shell};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use testbed::leave_out;
use testbed::stack::free_port;

const JOB: &str = "019ab3f0-0000-7000-8000-000000000000";
const DESIRED: &str =
    r#"{"job_type":"echo","payload":{"empty":[]},"max_attempts":0,"retry":0,"cancel":false}"#;
const ENDED: &str = r#"{"status":"FAILED","reason":"MaxAttemptsExceeded","message":"","attempt":3}"#;
const RUNNING: &str = r#"{"status":"RUNNING","reason":"","message":"","attempt":3}"#;

/// Whether the server is there; says so otherwise.
pub(crate) fn installed() -> bool {
    let there = shell::has("redis-server") && shell::has("redis-cli");
    if !there {
        leave_out("what runbooks say about Redis", "redis-server is not installed; type: make deps");
    }
    there
}

/// See the module. It ends with this value.
pub(crate) struct Server {
    server: Child,
    folder: TempDir,
    url: String,
}

impl Server {
    /// Starts on a free port, with the settings that compose uses, and stores the job.
    ///
    /// `line` is how the documents say that a server is started.
    pub(crate) fn start(line: &str) -> Self {
        let folder = TempDir::with_prefix("agent-runner-redis-").expect("a folder");
        let port = free_port().to_string();
        let server = Command::new("bash")
            .args(["-euc", &format!("exec {} --port {port} --bind 127.0.0.1 --dir .", line.trim())])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server can be started");
        let started = Self { server, folder, url: format!("redis://127.0.0.1:{port}/0") };
        std::os::unix::fs::symlink(root().join("runbooks"), started.folder.path().join("runbooks"))
            .expect("a link");
        let until = Instant::now() + Duration::from_secs(20);
        while started.cli(&["ping"]) != "PONG" {
            assert!(Instant::now() < until, "redis-server does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        let created = r#"{"at":"2026-11-22T12:00:00Z"}"#;
        started.cli(&["hset", &job_key(), "created", created, "desired", DESIRED]);
        started.cli(&["set", "agent-runner:version", "1"]);
        started
    }

    fn cli(&self, arguments: &[&str]) -> String {
        let output = Command::new("redis-cli").args(["-u", &self.url]).args(arguments).output();
        String::from_utf8_lossy(&output.expect("redis-cli").stdout).trim().to_owned()
    }

    /// Types a block in; the job's payload stays as it was, and no key appears that is none of ours.
    pub(crate) fn type_in(&self, page: &str, block: &Block) {
        // No reconciler follows here. The scripts refuse what makes no sense for a job that has ended, or that has not.
        let status = if block.text.contains(" force ") { RUNNING } else { ENDED };
        self.cli(&["hset", &job_key(), "status", status]);
        let mut shell = shell::shell(self.folder.path());
        shell.env("REDIS_URL", &self.url).env("JOB_ID", JOB);
        let said = shell::type_in(page, block, shell);
        // The command line tool ends with 0 when it was refused, too.
        assert!(
            !said.lines().any(|line| line.starts_with("ERR") || line.contains("refused: ")),
            "{page}: {said}"
        );
        let desired = self.cli(&["hget", &job_key(), "desired"]);
        assert!(desired.contains(r#""payload":{"empty":[]}"#), "{page}: {desired}");
        let jobs = self.cli(&["--scan", "--pattern", "agent-runner:job:*"]);
        assert_eq!(jobs, job_key(), "{page}: a ghost was left");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn job_key() -> String {
    format!("agent-runner:job:{JOB}")
}
