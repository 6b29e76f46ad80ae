//! The system as on AWS: what the README shows, with DynamoDB, SQS, S3 and ECS behind it.

use serde_json::{Value, json};
use std::process::Command;
use std::time::Duration;
use testbed::aws::ministack::installed;
use testbed::aws::{AwsStack, Options};
use testbed::client::word;
use testbed::{leave_out, ledger_agent};

/// A launch takes 1.3 s here, and a worker with the SDK in a debug build 1 s more on a busy machine.
const SOON: Duration = Duration::from_secs(90);

fn start(options: Options) -> Option<AwsStack> {
    AwsStack::start(options).inspect_err(|why| leave_out("the system as on AWS", why)).ok()
}

/// The README's commands.
fn curl(stack: &AwsStack) -> Vec<Value> {
    let script = r#"
        set -eu
        curl -fsS $URL/health
        curl -fsS -X POST $URL/jobs -H "Content-Type: application/json" -d '{"job_type": "echo", "payload": {"message": "Hello, World!"}}'
        for i in $(seq 1 20); do
          curl -fsS -X POST $URL/jobs -H "Content-Type: application/json" -d "{\"job_type\": \"echo\", \"payload\": {\"n\": $i}}"
        done
        curl -fsS "$URL/jobs?limit=5""#;
    let client = stack.client();
    let output = Command::new("sh").args(["-c", script]).env("URL", client.base()).output().expect("a shell");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// What a finished echo job left, by the API and in the bucket.
fn look_at(stack: &AwsStack, job_id: &str) {
    let client = stack.client();
    let get = |path: &str| client.get(&format!("/jobs/{job_id}/{path}")).expect(200);
    let result = get("result").body;
    assert_eq!(result["payload"], json!({"message": "Hello, World!"}));
    let plain = stack.account.server.object(testbed::aws::BUCKET, &format!("jobs/{job_id}/result.json"));
    assert_eq!(plain.map(|bytes| serde_json::from_slice::<Value>(&bytes).expect("JSON")), Some(result));
    let artifacts = get("artifacts").body;
    assert!(artifacts.to_string().contains("result.json"), "{artifacts}");
    assert_eq!(get("logs").status, 200);
    let explained = get("explain").body;
    assert!(explained.to_string().contains("Completed"), "{explained}");
    let attempts = client.attempts(job_id);
    let task = attempts[0].to_string();
    assert!(task.contains("arn:aws:ecs:us-east-1:111122223333:task/agent-runner/"), "{task}");
}

/// `aws dynamodb update-item`, as an operator types it; false if the item is not there.
fn edit(stack: &AwsStack, job_id: &str, retry: u32) -> bool {
    let key = json!({"job_id": {"S": job_id}});
    let Some(aws) = installed("aws") else {
        leave_out("edits with the aws program", "aws is not installed; type: make deps");
        return true;
    };
    let mut command = Command::new(aws);
    command.args(["dynamodb", "update-item", "--endpoint-url", &stack.account.server.endpoint()]);
    command.args(["--table-name", "agent-runner-jobs", "--key", &key.to_string()]);
    command.args(["--update-expression", "SET desired.retry = :n"]);
    command.args(["--condition-expression", "attribute_exists(job_id)"]);
    let values = json!({":n": {"N": retry.to_string()}});
    command.args(["--expression-attribute-values", &values.to_string()]);
    for (name, value) in [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")] {
        command.env(name, value);
    }
    let output = command.env("AWS_DEFAULT_REGION", "us-east-1").output().expect("aws can be started");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() || said.contains("ConditionalCheckFailed"), "{said}");
    output.status.success()
}

#[test]
fn the_commands_of_the_readme_work_as_on_aws() {
    let Some(stack) = start(Options::with_agent(ledger_agent!())) else { return };
    let client = stack.client();
    let answers = curl(&stack);
    assert_eq!((word(&answers[0], "service"), word(&answers[0], "status")), ("agent-runner", "ok"));
    assert_eq!(answers.len(), 23);
    assert_eq!(answers[22]["jobs"].as_array().map(Vec::len), Some(5), "{}", answers[22]);
    for job in &answers[1..22] {
        let ended = client.ended(word(job, "job_id"), SOON);
        assert_eq!(word(&ended, "status"), "SUCCEEDED", "{ended}");
        assert_eq!(ended["result"]["payload"], job["payload"]);
    }
    let job_id = word(&answers[1], "job_id");
    look_at(&stack, job_id);

    assert!(!edit(&stack, "no-such-job", 1), "an edit of a job that is not there makes none");
    assert!(edit(&stack, job_id, 1));
    let again = client.until(job_id, SOON, "the second attempt", |job| {
        job["attempt"] == 2 && word(job, "status") == "SUCCEEDED"
    });
    assert_eq!(again["result"]["attempt"], 2, "{again}");
    stack.expect_no_task_left(SOON);
    assert_eq!(stack.double().state()["launched"], 22);
    assert_eq!(stack.metrics(0).metric("agent_runner_panics_total"), 0.0);
}

#[test]
fn a_rule_for_a_stop_code_matches_an_interruption_that_the_worker_reported() {
    let Some(stack) = start(Options::with_agent(ledger_agent!())) else { return };
    let client = stack.client();
    let job_id = client.submit(&json!({
        "job_type": "ledger", "payload": {"ledger": stack.ledger().path(), "sleep_ms": 600_000}, "capacity": "spot",
        "failure_policy": {"rules": [{"stop_codes": ["SpotInterruption"], "action": "Fail"}]},
    }));
    client.status(&job_id, "RUNNING", SOON);
    let task = stack.double().state()["tasks"][0]["taskArn"].clone();
    assert!(stack.faults(&json!([{"fault": "SpotInterrupt", "task": task}])));
    let job = client.until(&job_id, SOON, "what follows the interruption", |job| {
        word(job, "status") == "FAILED" || job["attempt"] != 1 || word(job, "reason") == "BackingOff"
    });
    let attempt = &client.attempts(&job_id)[0];
    assert_eq!((word(&job, "reason"), &job["attempt"]), ("FailurePolicy", &json!(1)), "{attempt}");
    // Its worker was alive to tell, and ECS says who ended it.
    assert_eq!(attempt["gate"]["state"], "finished", "{attempt}");
    assert_eq!(attempt["report"]["outcome"]["failure"]["class"], "Interrupted", "{attempt}");
    assert_eq!(attempt["closing"]["verdict"]["failed"]["class"], "SpotInterruption", "{attempt}");
    let evidence = &attempt["closing"]["evidence"];
    assert_eq!(evidence["stop_code"], "SpotInterruption", "{attempt}");
    assert_eq!(evidence["stopped_reason"], "Your Spot Task was interrupted.", "{attempt}");
    assert!(evidence["exit_code"].is_i64(), "{attempt}");
    for phase in ["created", "pull_started", "started", "gate_passed", "finished", "stopping", "stopped"] {
        assert!(evidence["phases"][phase].is_string(), "{phase}: {attempt}");
    }
    stack.expect_no_task_left(SOON);
}
