//! What a job costs in DynamoDB, and what each part mentions in its requests.

#![cfg(all(feature = "conformance", feature = "dynamodb"))]

mod aws_support;
mod dynamodb_support;

use backends::clock::fresh_token;
use backends::conformance::fixtures as fx;
use backends::{
    CreateAnswer, DynamoOptions, DynamoRecords, GateAnswer, NewJob, RecordsBackend, StartAnswer, WriteAnswer,
};
use contract::{Budget, JsonText, LeaveReason, Phase, Raw, Verdict};
use dynamodb_support::meter::{Count, Meter};
use dynamodb_support::{Store, Where, config, run};
use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;

/// Records whose every call is counted.
fn metered(store: &Store) -> (Arc<DynamoRecords>, Meter) {
    let meter = Meter::default();
    let client =
        aws_sdk_dynamodb::Client::from_conf(config(&store.endpoint).interceptor(meter.clone()).build());
    (DynamoRecords::new(client, &store.prefix, DynamoOptions::default()), meter)
}

/// Adds up the steps of a job's life and prints each.
struct Bill {
    meter: Meter,
    total: Count,
    lines: String,
}

impl Bill {
    fn note(&mut self, step: &str) {
        let count = self.meter.take();
        self.lines.push_str(&format!(
            "  {step:<32} {:>2} writes {:>4} units, {:>2} reads {:>4} units\n",
            count.writes, count.write_units, count.reads, count.read_units
        ));
        self.total.writes += count.writes;
        self.total.reads += count.reads;
        self.total.write_units += count.write_units;
        self.total.read_units += count.read_units;
    }
}

/// A request of the length that ECS needs.
fn run_task(job_id: &str) -> JsonText {
    let environment = ["JOB_ID", "LAUNCH_TOKEN", "RECORDS", "ARTIFACTS", "ATTEMPT"];
    let environment = environment.map(|name| {
        serde_json::json!({"name": format!("AGENT_RUNNER_{name}"), "value": "dynamodb:agent-runner-0123456789"})
    });
    JsonText::of(&serde_json::json!({
        "cluster": "agent-runner", "count": 1, "startedBy": format!("{job_id}/1"),
        "taskDefinition": "arn:aws:ecs:us-east-1:123456789012:task-definition/agent-runner-worker:12",
        "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-0123456789abcdef0",
            "subnet-0123456789abcdef1"], "securityGroups": ["sg-0123456789abcdef0"], "assignPublicIp": "ENABLED"}},
        "overrides": {"containerOverrides": [{"name": "worker", "environment": environment}]}}))
}

/// An echo job as the reconciler and its worker go about it: a pass after the creation that claims and launches,
/// the start and the end of the worker (which is done before its first heartbeat is due), a pass after its
/// outcome that closes and ends the job.
async fn echo(records: &DynamoRecords, bill: &mut Bill) {
    let new = fx::new_job();
    let id = &new.job_id;
    assert_eq!(records.create(&new).await, Ok(CreateAnswer::Created));
    bill.note("api: create");
    let seen = records.load(id).await.unwrap().unwrap().job.desired;
    bill.note("reconciler: load");
    let (token, task) =
        (fresh_token(), fx::task("arn:aws:ecs:us-east-1:123456789012:task/agent-runner/0123456789abcdef"));
    let control = fx::launching(1, &token);
    let request = contract::attempt::LaunchRequest(run_task(id.as_str()));
    let claim = contract::Claim { request, ..fx::claim(1) };
    assert_eq!(records.claim(id, &token, &claim, None, &seen, &control).await, Ok(WriteAnswer::Written));
    bill.note("reconciler: claim");
    let answer = records.start(id, &token, &task, &fx::report(1)).await;
    assert!(matches!(answer, Ok(StartAnswer::Started(_))), "{answer:?}");
    bill.note("worker: start");
    assert_eq!(records.finish(id, &token, &task, &fx::outcome()).await, Ok(GateAnswer::Written));
    bill.note("worker: finish");
    let loaded = records.load(id).await.unwrap().unwrap();
    bill.note("reconciler: load");
    let running = contract::Control {
        version: fx::waiting().version,
        phase: Phase::Running,
        reason: None,
        started_at: Some(fx::at(1)),
        ..control
    };
    let answer =
        records.write_control(id, fx::write(loaded.job.control.as_ref(), &seen, &running, false)).await;
    assert_eq!(answer, Ok(WriteAnswer::Written));
    bill.note("reconciler: control (running)");
    let closing = contract::Closing { verdict: Verdict::Succeeded, uses: Budget::Try, ..fx::closing() };
    assert_eq!(records.close(id, &token, &closing).await, Ok(WriteAnswer::Written));
    bill.note("reconciler: close");
    let done = fx::finished(1, &token, fx::at(100));
    let answer = records.write_control(id, fx::write(Some(&Raw::of(&running)), &seen, &done, true)).await;
    assert_eq!(answer, Ok(WriteAnswer::Written));
    bill.note("reconciler: control (finished)");
}

#[test]
fn an_echo_job_stays_within_its_budget() {
    // AWS's own implementation counts as AWS does, indexes included.
    let Some(store) = Store::at(Where::DynamodbLocal) else { return };
    let (records, meter) = metered(&store);
    let mut bill = Bill { meter, total: Count::default(), lines: String::new() };
    run(echo(&records, &mut bill));
    let total = &bill.total;
    let _ = writeln!(
        std::io::stderr(),
        "DynamoDB requests of an echo job:\n{}  together: {} writes, {} write units, {} reads, {} read units; ${:.2} per million jobs \
         (on demand, us-east-1)",
        bill.lines,
        total.writes,
        total.write_units,
        total.reads,
        total.read_units,
        total.write_units * 0.625 + total.read_units * 0.125
    );
    assert!((1..=10).contains(&total.writes), "{} writes", total.writes);
    assert!(total.write_units > 5.0 && total.write_units <= 25.0, "{} write units", total.write_units);
    assert!(total.read_units > 2.0 && total.read_units <= 8.0, "{} read units", total.read_units);
}

/// The words in brackets behind `start` in a file of `infra/terraform`.
fn policy(file: &str, start: &str) -> BTreeSet<String> {
    let path = format!("{}/../../infra/terraform/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).expect("a file of the module");
    let rest = text.split_once(start).unwrap_or_else(|| panic!("{start} in {file}")).1;
    let list = rest.split_once('[').expect("a list").1.split_once(']').expect("its end").0;
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

fn mentions_only(count: &Count, table: &str, allowed: &BTreeSet<String>) {
    let of_table: Vec<_> = count.mentioned.iter().filter(|(name, _)| name == table).collect();
    assert!(!of_table.is_empty(), "{table}");
    for (_, mentioned) in of_table {
        assert!(mentioned.is_subset(allowed), "{table}: {mentioned:?} and not only {allowed:?}");
    }
}

fn operations(count: &Count) -> Vec<&'static str> {
    count.operations.iter().copied().collect()
}

async fn api(records: &DynamoRecords) -> NewJob {
    let new = fx::new_job();
    let seen = fx::desired(&new);
    assert_eq!(records.create(&new).await, Ok(CreateAnswer::Created));
    assert_eq!(
        records.write_desired(&new.job_id, &seen, &fx::edited(&seen, 1)).await,
        Ok(WriteAnswer::Written)
    );
    assert_eq!(
        records.write_desired(&new.job_id, &seen, &fx::edited(&seen, 2)).await,
        Ok(WriteAnswer::Conflict)
    );
    new
}

#[test]
fn each_part_mentions_only_what_its_role_allows() {
    let Some(store) = Store::at(Where::DynamodbLocal) else { return };
    let (records, meter) = metered(&store);
    run(async {
        let new = api(&records).await;
        let (id, seen, token, task) =
            (&new.job_id, fx::edited(&fx::desired(&new), 1), fresh_token(), fx::task("a"));
        let count = meter.take();
        assert_eq!(operations(&count), ["UpdateItem"]);
        mentions_only(&count, "jobs", &policy("iam_api.tf", "api_attributes = "));

        let (waiting, control) = (fx::waiting(), fx::launching(1, &token));
        assert_eq!(
            records.write_control(id, fx::write(None, &seen, &waiting, false)).await,
            Ok(WriteAnswer::Written)
        );
        let expected = Some(Raw::of(&waiting));
        for _ in 0..2 {
            let answer = records.claim(id, &token, &fx::claim(1), expected.as_ref(), &seen, &control).await;
            assert_eq!(answer, Ok(WriteAnswer::Written));
        }
        let of_reconciler = meter.take();

        for _ in 0..2 {
            let answer = records.start(id, &token, &task, &fx::report(1)).await;
            assert!(matches!(answer, Ok(StartAnswer::Started(_))), "{answer:?}");
        }
        assert_eq!(records.heartbeat(id, &token, &task, &fx::report(2)).await, Ok(GateAnswer::Written));
        assert_eq!(records.finish(id, &token, &task, &fx::outcome()).await, Ok(GateAnswer::Written));
        let count = meter.take();
        assert_eq!(operations(&count), ["GetItem", "UpdateItem"]);
        assert!(count.mentioned.iter().all(|(table, _)| table == "attempts"), "{:?}", count.mentioned);
        mentions_only(&count, "attempts", &policy("iam_worker.tf", "ReadTheClaim"));
        let writes: BTreeSet<_> =
            count.mentioned.iter().filter(|(_, names)| !names.contains("claim")).cloned().collect();
        assert_eq!(writes.len(), 1, "every write mentions the same: {writes:?}");
        let writes = Count { mentioned: writes, ..Count::default() };
        mentions_only(&writes, "attempts", &policy("iam_worker.tf", "PassTheGateAndReport"));

        let refused = records.seal(id, &token, LeaveReason::Cancelled).await;
        assert!(matches!(refused, Ok(GateAnswer::Refused(_))), "{refused:?}");
        assert_eq!(records.close(id, &token, &fx::closing()).await, Ok(WriteAnswer::Written));
        let done = fx::finished(1, &token, fx::at(100));
        let answer = records.write_control(id, fx::write(Some(&Raw::of(&control)), &seen, &done, true)).await;
        assert_eq!(answer, Ok(WriteAnswer::Written));
        for count in [of_reconciler, meter.take()] {
            mentions_only(&count, "jobs", &policy("iam_reconciler.tf", "reconciler_job_attributes "));
            mentions_only(&count, "attempts", &policy("iam_reconciler.tf", "reconciler_attempt_attributes "));
        }
    });
}
