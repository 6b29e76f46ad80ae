//! One job at a time: how long until it runs, how long until it is SUCCEEDED.
//!
//! The end is seen through a long poll of the API, as a client would see it. The start is the wall-clock
//! time that an agent (a small C program, a command of the job-types file) takes with its first instruction
//! and returns as its result, in nanoseconds: everything in front of the work is in it, the worker's start
//! and the spawn of the agent too. The echo's own `started_at` has milliseconds only.

use super::http::{Http, member};
use super::node::Setup;
use super::{Failed, Programs, load, stats};
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds of one round.
#[derive(Debug, Clone, Copy)]
pub struct Latency {
    /// Submit → first instruction of the agent, median.
    pub started_p50: f64,
    /// The same, 99th percentile.
    pub started_p99: f64,
    /// Submit → SUCCEEDED of an echo, median.
    pub succeeded_p50: f64,
    /// The same, 99th percentile.
    pub succeeded_p99: f64,
}

/// Jobs before the first that counts: connections, statements and pages are warm then.
const WARM_UP: usize = 20;

/// Measures `samples` jobs of each kind, alternating.
///
/// # Errors
/// A job failed.
pub fn measure(programs: &Programs, work: &Path, samples: usize) -> Result<Latency, Failed> {
    let mut setup = Setup::fresh(work, "latency", load::SLOTS)?;
    let agent = serde_json::to_string(&programs.agent)?;
    setup.job_types = Some(format!("[job_types.stamp]\ncommand = [{agent}, \"stamp\"]\n"));
    let node = setup.start(programs)?;
    let mut http = node.http()?;
    let (mut started, mut succeeded) = (Vec::new(), Vec::new());
    for n in 0..WARM_UP + samples {
        let start = Instant::now();
        run(&mut http, load::ECHO)?;
        let echo = start.elapsed();
        let submitted = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let answer = run(&mut http, r#"{"job_type":"stamp"}"#)?;
        if n >= WARM_UP {
            succeeded.push(echo.as_secs_f64() * 1e3);
            started.push((stamp(&answer)? - submitted.as_nanos() as f64) / 1e6);
        }
    }
    node.end()?;
    Ok(Latency {
        started_p50: stats::percentile(&started, 50.0),
        started_p99: stats::percentile(&started, 99.0),
        succeeded_p50: stats::percentile(&succeeded, 50.0),
        succeeded_p99: stats::percentile(&succeeded, 99.0),
    })
}

/// Submits a job and waits for its end.
fn run(http: &mut Http, body: &str) -> Result<String, Failed> {
    let job_id = http.create(body)?;
    let answer = http.get(&format!("/jobs/{job_id}?wait=30s&until=finished"))?;
    match member(answer, "status") {
        Some("SUCCEEDED") => Ok(answer.to_owned()),
        _ => Err(Failed::new(format!("not SUCCEEDED: {answer}"))),
    }
}

/// The stamp's nanoseconds since 1970; a double is exact to 256 ns there.
fn stamp(answer: &str) -> Result<f64, Failed> {
    let answer: serde_json::Value = serde_json::from_str(answer)?;
    answer["result"]["ns"].as_f64().ok_or_else(|| Failed::new(format!("no stamp in {answer}")))
}
