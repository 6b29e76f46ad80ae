//! A, S, W and xargs: the same thousand echoes through the orchestrator and without one.

use super::node::Setup;
use super::{Failed, Programs, new_folder};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The job that everybody runs.
pub const ECHO: &str = r#"{"job_type":"echo","payload":{"message":"Hello, World!"}}"#;
/// How many at once.
pub const SLOTS: usize = 4;
/// Connections of the load generator.
pub const CONNECTIONS: usize = 8;

/// A: jobs per second over HTTP, from the first request until all are durably SUCCEEDED; their results are
/// checked after the clock has stopped.
///
/// # Errors
/// A job was refused, failed, or is lost.
pub fn orchestrated(
    programs: &Programs,
    work: &Path,
    durability: &'static str,
    jobs: usize,
) -> Result<f64, Failed> {
    let setup = Setup { durability, ..Setup::fresh(work, "load", SLOTS)? };
    let node = setup.start(programs)?;
    let look = setup.look()?;
    look.active()?;
    let start = Instant::now();
    post(&node, ECHO, jobs)?;
    look.wait_until_settled(Duration::from_secs(120))?;
    let rate = jobs as f64 / start.elapsed().as_secs_f64();
    look.check_succeeded(jobs, &setup.artifacts())?;
    node.end()?;
    Ok(rate)
}

/// Posts `jobs` times `body` over [`CONNECTIONS`] connections.
///
/// # Errors
/// A job was refused.
pub fn post(node: &super::node::Node, body: &str, jobs: usize) -> Result<(), Failed> {
    let next = AtomicUsize::new(0);
    on_threads(CONNECTIONS, || {
        let mut http = node.http()?;
        while next.fetch_add(1, Ordering::Relaxed) < jobs {
            http.create(body)?;
        }
        Ok(())
    })
}

/// Runs `work` on `threads` threads and returns the first error.
///
/// # Errors
/// That of `work`.
pub fn on_threads(threads: usize, work: impl Fn() -> Result<(), Failed> + Sync) -> Result<(), Failed> {
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(&work)).collect();
        running
            .into_iter()
            .try_for_each(|t| t.join().unwrap_or_else(|_| Err(Failed::new("a thread panicked"))))
    })
}

/// S: spawns and waits for the C program, [`SLOTS`] at a time.
///
/// # Errors
/// One failed.
pub fn c_program(programs: &Programs, work: &Path, jobs: usize) -> Result<f64, Failed> {
    let folder = new_folder(work, "plain")?;
    spawned(jobs, |n| {
        let mut command = Command::new(&programs.echo);
        command.arg(&folder).arg(format!("job-{n}"));
        command
    })
}

/// W: spawns and waits for our worker, which does the same and reports nothing.
///
/// # Errors
/// One failed.
pub fn worker(programs: &Programs, work: &Path, jobs: usize) -> Result<f64, Failed> {
    let folder = new_folder(work, "plain")?;
    spawned(jobs, |n| {
        let mut command = Command::new(&programs.agent_runner);
        command.args(["__worker", "__bench-echo"]).arg(&folder).arg(format!("job-{n}"));
        command
    })
}

/// Jobs per second of processes started one after the other in each slot, from one process, with
/// `posix_spawn`.
fn spawned(jobs: usize, command: impl Fn(usize) -> Command + Sync) -> Result<f64, Failed> {
    let next = AtomicUsize::new(0);
    let start = Instant::now();
    on_threads(SLOTS, || {
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= jobs {
                return Ok(());
            }
            let status = command(n).stdin(Stdio::null()).stdout(Stdio::null()).status()?;
            if !status.success() {
                return Err(Failed::new(format!("a program ended with {status}")));
            }
        }
    })?;
    Ok(jobs as f64 / start.elapsed().as_secs_f64())
}

/// `xargs -P` with the C program: what a shell user would do, and nothing is kept.
///
/// # Errors
/// It is not installed, or a program failed.
pub fn xargs(programs: &Programs, work: &Path, jobs: usize) -> Result<f64, Failed> {
    let folder = new_folder(work, "plain")?;
    let ids: String = (0..jobs).map(|n| format!("job-{n}\n")).collect();
    let start = Instant::now();
    let mut xargs = Command::new("xargs")
        .args(["-P", &SLOTS.to_string(), "-n", "1"])
        .arg(&programs.echo)
        .arg(&folder)
        .stdin(Stdio::piped())
        .spawn()?;
    xargs.stdin.take().ok_or_else(|| Failed::new("no pipe"))?.write_all(ids.as_bytes())?;
    let status = xargs.wait()?;
    let rate = jobs as f64 / start.elapsed().as_secs_f64();
    if status.success() { Ok(rate) } else { Err(Failed::new(format!("xargs ended with {status}"))) }
}
