//! What the pool is compared with: installed by `make bench-peers`, started for each round.

use super::{Failed, Remains, post, wait_until};
use crate::bench::load;
use crate::stack::free_port;
use crate::team::RedisServer;
use redis::{Commands, Connection};
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// The first line that a program prints.
pub(super) fn first_line(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).lines().next()?.trim().to_owned())
}

/// Whether what `testbed/peers/install` notes is there; and the files of the peer are put beside it.
fn place(folder: &Path, files: &[(&str, &str)]) -> Result<(), Failed> {
    if !folder.join("installed").exists() {
        return Err(Failed::new(format!("{} is not installed; type: make bench-peers", folder.display())));
    }
    for (name, text) in files {
        std::fs::write(folder.join(name), text)?;
    }
    Ok(())
}

/// At least so many results were written.
fn check_results(folder: &TempDir, jobs: usize) -> Result<(), Failed> {
    let found = std::fs::read_dir(folder.path())?.count();
    if found >= jobs { Ok(()) } else { Err(Failed::new(format!("{found} results of {jobs} jobs"))) }
}

/// Killed when dropped.
struct Running(Vec<Child>);

impl Drop for Running {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // Celery's processes end with their parent only when it ends by itself.
            crate::procfs::signal(child.id().cast_signed(), rustix::process::Signal::TERM);
        }
        for child in &mut self.0 {
            let _ = child.wait();
        }
    }
}

/// BullMQ behind a small HTTP server.
pub(super) struct BullMq {
    folder: PathBuf,
    pub(super) version: String,
    pub(super) node: String,
}

impl BullMq {
    pub(super) fn installed(peers: &Path) -> Result<Self, Failed> {
        let folder = peers.join("bullmq");
        let files = [
            ("front.js", include_str!("../../../peers/bullmq/front.js")),
            ("worker.js", include_str!("../../../peers/bullmq/worker.js")),
        ];
        place(&folder, &files)?;
        let text = std::fs::read_to_string(folder.join("node_modules/bullmq/package.json"))?;
        let package: serde_json::Value = serde_json::from_str(&text)?;
        let version = package["version"].as_str().unwrap_or("unknown").to_owned();
        let node = first_line("node", &["--version"]).ok_or_else(|| Failed::new("node is not installed"))?;
        Ok(Self { folder, version, node })
    }

    /// Jobs per second with `workers` processes of `slots` jobs at once.
    pub(super) fn rate(
        &self,
        fsync: &'static str,
        workers: usize,
        slots: u32,
        jobs: usize,
        remains: &mut Remains,
    ) -> Result<f64, Failed> {
        let (results, data) = (remains.folder()?, remains.folder()?);
        let server = RedisServer::start(data.path().to_owned(), fsync);
        let (redis, http) = (server.port().to_string(), free_port());
        let node = |arguments: &[&str]| {
            let mut command = Command::new("node");
            command.args(arguments).current_dir(&self.folder).stdin(Stdio::null()).spawn()
        };
        let folder = results.path().to_string_lossy().into_owned();
        let mut running = Running(vec![node(&["front.js", &redis, &http.to_string()])?]);
        for _ in 0..workers {
            running.0.push(node(&["worker.js", &redis, &slots.to_string(), &folder])?);
        }
        let address = SocketAddr::from(([127, 0, 0, 1], http));
        wait_until("BullMQ's front listens", || Ok(TcpStream::connect(address).is_ok()))?;
        let mut look = server.connect();
        // Warm: every process has executed some.
        post(address, load::ECHO, super::WARM_UP)?;
        wait_until("BullMQ is warm", || Ok(completed(&mut look)? >= super::WARM_UP))?;
        let start = std::time::Instant::now();
        post(address, load::ECHO, jobs)?;
        wait_until("BullMQ's jobs are completed", || Ok(completed(&mut look)? >= super::WARM_UP + jobs))?;
        let rate = jobs as f64 / start.elapsed().as_secs_f64();
        check_results(&results, jobs)?;
        drop(running);
        Ok(rate)
    }
}

fn completed(redis: &mut Connection) -> Result<usize, Failed> {
    Ok(redis.zcard("bull:echo:completed")?)
}

/// Celery with Redis as broker and store of results.
pub(super) struct Celery {
    folder: PathBuf,
    pub(super) version: String,
}

impl Celery {
    pub(super) fn installed(peers: &Path) -> Result<Self, Failed> {
        let folder = peers.join("celery");
        place(&folder, &[("echo.py", include_str!("../../../peers/celery/echo.py"))])?;
        let celery = folder.join("bin/celery").to_string_lossy().into_owned();
        let version =
            first_line(&celery, &["--version"]).ok_or_else(|| Failed::new("celery does not run"))?;
        Ok(Self { folder, version })
    }

    fn command(&self, program: &str, redis: u16, results: &Path) -> Command {
        let mut command = Command::new(self.folder.join("bin").join(program));
        command.current_dir(&self.folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.env("PEER_REDIS_PORT", redis.to_string()).env("PEER_FOLDER", results);
        command
    }

    /// Jobs per second with `workers` programs of `slots` processes each.
    pub(super) fn rate(
        &self,
        fsync: &'static str,
        workers: usize,
        slots: u32,
        jobs: usize,
        remains: &mut Remains,
    ) -> Result<f64, Failed> {
        let (results, data) = (remains.folder()?, remains.folder()?);
        let server = RedisServer::start(data.path().to_owned(), fsync);
        let mut running = Running(Vec::new());
        for n in 0..workers {
            let mut command = self.command("celery", server.port(), results.path());
            command.args(["-A", "echo", "worker", "--concurrency", &slots.to_string()]);
            command.args(["--loglevel", "ERROR", "--hostname", &format!("worker{n}@bench")]);
            running.0.push(command.spawn()?);
        }
        let mut look = server.connect();
        self.submitter(server.port(), results.path(), super::WARM_UP)?.go()?;
        wait_until("Celery is warm", || are_finished(&mut look, super::WARM_UP))?;
        let submitter = self.submitter(server.port(), results.path(), jobs)?;
        let start = std::time::Instant::now();
        submitter.go()?;
        wait_until("Celery's tasks have results", || are_finished(&mut look, super::WARM_UP + jobs))?;
        let rate = jobs as f64 / start.elapsed().as_secs_f64();
        check_results(&results, jobs)?;
        drop(running);
        Ok(rate)
    }

    fn submitter(&self, redis: u16, results: &Path, jobs: usize) -> Result<Submitter, Failed> {
        let mut command = self.command("python", redis, results);
        command.arg("echo.py").arg(jobs.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or_else(|| Failed::new("no pipe"))?).read_line(&mut line)?;
        if line == "ready\n" { Ok(Submitter(child)) } else { Err(Failed::new("echo.py does not start")) }
    }
}

/// A program that is up and submits when it is told to.
struct Submitter(Child);

impl Submitter {
    fn go(mut self) -> Result<(), Failed> {
        // The end of its input tells it as well.
        drop(self.0.stdin.take());
        let status = self.0.wait()?;
        if status.success() { Ok(()) } else { Err(Failed::new(format!("echo.py ended with {status}"))) }
    }
}

/// Whether so many results are stored. The keys, of which there are some beside the results, are listed only when
/// there are enough of them.
fn are_finished(redis: &mut Connection, results: usize) -> Result<bool, Failed> {
    let keys: usize = redis::cmd("DBSIZE").query(redis)?;
    Ok(keys >= results && redis.keys::<_, Vec<String>>("celery-task-meta-*")?.len() >= results)
}
