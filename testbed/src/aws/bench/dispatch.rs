//! How long the reconciler takes from a hint to the launch: from the moment in which SQS's answer with the hint is
//! given until RunTask has come in, seen by gates before both, in real time. In between are two reads, the claim and
//! the read after it, in an emulator on the same machine, and the wait for the bucket, which is not empty: jobs come
//! evenly and at a quarter of the quota. Tasks do nothing, so that no worker takes the processor away.

use crate::aws::{AwsStack, Missing, Options};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two jobs.
const EVERY: Duration = Duration::from_millis(200);
/// How long a launch may take.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
struct Seen {
    hinted: HashMap<String, Instant>,
    launched: HashMap<String, Instant>,
}

/// Milliseconds from the first hint of each of `jobs` jobs to its RunTask.
///
/// # Errors
/// MiniStack is not installed.
///
/// # Panics
/// When a job is not launched.
pub fn measure(agent: &str, jobs: usize) -> Result<Vec<f64>, Missing> {
    let slots = u32::try_from(jobs).unwrap_or(u32::MAX).max(64);
    let options = Options {
        slots,
        scale: 1,
        snapshot_seconds: 60,
        without_workers: true,
        ..Options::with_agent(agent)
    };
    let stack = AwsStack::start(options)?;
    let seen = Arc::new(Mutex::new(Seen::default()));
    observe(&stack, &seen);
    let client = stack.client();
    let mut ids = Vec::with_capacity(jobs);
    let began = Instant::now();
    for n in 0..jobs {
        let due = EVERY * u32::try_from(n).unwrap_or(u32::MAX);
        std::thread::sleep(due.saturating_sub(began.elapsed()));
        ids.push(client.echo(&json!({"n": n})));
    }
    let until = Instant::now() + PATIENCE;
    while seen.lock().unwrap_or_else(PoisonError::into_inner).launched.len() < jobs {
        assert!(Instant::now() < until, "not every job was launched\n{}", stack.logs());
        std::thread::sleep(Duration::from_millis(50));
    }
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    // A job that the resync found before its hint came has nothing to measure.
    let times =
        ids.iter().filter_map(|id| seen.launched.get(id)?.checked_duration_since(*seen.hinted.get(id)?));
    Ok(times.map(|time| time.as_secs_f64() * 1e3).collect())
}

fn observe(stack: &AwsStack, seen: &Arc<Mutex<Seen>>) {
    let ours = Arc::clone(seen);
    stack.gates.sqs.observe(move |passed| {
        if passed.kind != "ReceiveMessage" {
            return;
        }
        let answer: Value = serde_json::from_slice(passed.answer).unwrap_or_default();
        for message in answer["Messages"].as_array().into_iter().flatten() {
            let body: Value =
                serde_json::from_str(message["Body"].as_str().unwrap_or_default()).unwrap_or_default();
            if let Some(job_id) = body["dynamodb"]["Keys"]["job_id"]["S"].as_str() {
                let mut seen = ours.lock().unwrap_or_else(PoisonError::into_inner);
                seen.hinted.entry(job_id.to_owned()).or_insert(passed.answered);
            }
        }
    });
    let ours = Arc::clone(seen);
    stack.gates.ecs.observe(move |passed| {
        let request: Value = serde_json::from_slice(passed.request).unwrap_or_default();
        if let Some((job_id, _)) = request["startedBy"].as_str().and_then(|by| by.split_once('/')) {
            let mut seen = ours.lock().unwrap_or_else(PoisonError::into_inner);
            seen.launched.entry(job_id.to_owned()).or_insert(passed.asked);
        }
    });
}
