//! What an echo job costs as on AWS, counted where its requests pass: the real API, reconciler and workers.

use super::prices::{self, Use};
use crate::aws::gate::Traffic;
use crate::aws::{AwsStack, Missing, Options};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

/// Far longer than it takes.
const SOON: Duration = Duration::from_secs(180);

/// A line of the bill of one job: what, how much, and the budget, which is what was asked for.
pub type Item = (&'static str, f64, f64);

/// What all jobs took, without what is done whether there are jobs or not: the lease, listings of the resync.
struct Counted {
    dynamodb: Traffic,
    sqs: Traffic,
    s3: Traffic,
    run_task: u64,
}

impl Counted {
    fn now(stack: &AwsStack) -> Self {
        let mut dynamodb = stack.gates.dynamodb.traffic();
        let lasting = |name: &str| ["leases", "active", "expiring"].iter().any(|end| name.ends_with(end));
        dynamodb.requests.retain(|name, _| !lasting(name));
        dynamodb.write_units.retain(|name, _| !lasting(name));
        dynamodb.read_units.retain(|name, _| !lasting(name));
        let run_task = stack.double().state()["calls"]["RunTask"]["total"].as_u64().unwrap_or(0);
        Self { dynamodb, sqs: stack.gates.sqs.traffic(), s3: stack.gates.s3.traffic(), run_task }
    }
}

/// The bill of one of `jobs` echo jobs, and dollars for a million of them. The double runs `scale` times as fast as
/// Fargate: in real time, with 1, a job also pays for the resyncs that it lives through.
///
/// # Errors
/// MiniStack is not installed.
///
/// # Panics
/// When a job does not end.
pub fn measure(agent: &str, jobs: usize, scale: u32) -> Result<(Vec<Item>, f64), Missing> {
    // Slots for all of them: a wait for one is written down.
    let slots = u32::try_from(jobs).unwrap_or(u32::MAX).max(64);
    let options = Options { slots, scale, ..Options::with_agent(agent) };
    let options = if scale == 1 { Options { snapshot_seconds: 60, ..options } } else { options };
    let stack = AwsStack::start(options)?;
    let client = stack.client();
    stack.expect_ended(&[client.echo(&json!({"message": "the first"}))], SOON);
    let before = Counted::now(&stack);
    let ids: Vec<String> = (0..jobs).map(|n| client.echo(&json!({"n": n}))).collect();
    stack.expect_ended(&ids, SOON);
    stack.expect_no_task_left(SOON);
    Ok(bill(&before, &Counted::now(&stack), jobs))
}

fn bill(before: &Counted, after: &Counted, jobs: usize) -> (Vec<Item>, f64) {
    let dynamodb = after.dynamodb.since(&before.dynamodb);
    let (sqs, s3) = (after.sqs.since(&before.sqs), after.s3.since(&before.s3));
    let jobs = jobs as f64;
    let each = |n: u64| n as f64 / jobs;
    let write = |name: &str| name.starts_with("UpdateItem") || name.starts_with("TransactWrite");
    let sum = |units: &BTreeMap<String, f64>| units.values().sum::<f64>() / jobs;
    crate::say(&format!("{jobs} echo jobs: {dynamodb:?} {sqs:?} {s3:?}"));
    let used = Use {
        write_units: sum(&dynamodb.write_units),
        read_units: sum(&dynamodb.read_units),
        // Every message that is received has come through a pipe or a rule; ten are deleted at once.
        sqs_requests: each(sqs.count(|_| true)),
        s3_puts: each(s3.count(|name| name == "PUT" || name == "POST")),
        s3_gets: each(s3.count(|name| name == "GET" || name == "HEAD")),
    };
    let items = vec![
        ("RunTask", each(after.run_task - before.run_task), 1.0),
        ("writes to DynamoDB", each(dynamodb.count(write)), 10.0),
        ("write units", used.write_units, 25.0),
        ("read units", used.read_units, 8.0),
        ("requests to SQS", used.sqs_requests, 4.0),
        ("puts to S3", used.s3_puts, 4.0),
    ];
    (items, prices::of_a_million(&used))
}
