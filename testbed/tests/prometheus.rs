//! What operators watch: a real Prometheus scrapes the real programs, evaluates the alert rules that are shipped and
//! answers the queries of the dashboard that is shipped.

#[path = "prometheus/dashboard.rs"]
mod dashboard;
#[path = "prometheus/names.rs"]
mod names;
#[path = "prometheus/parts.rs"]
mod parts;
#[path = "prometheus/promtool.rs"]
mod promtool;
#[path = "prometheus/rules.rs"]
mod rules;
#[path = "prometheus/server.rs"]
mod server;

use serde_json::{Value, json};
use server::{Prometheus, Target};
use std::path::{Path, PathBuf};
use std::time::Duration;
use testbed::client::word;
use testbed::{Client, Options, Stack};

const SOON: Duration = Duration::from_secs(30);

/// The folder of the stack that is shipped.
fn compose() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../compose").canonicalize().expect("compose/ is there")
}

/// The address of a client without its scheme, as scrape targets are written.
fn host(client: &Client) -> String {
    client.base().trim_start_matches("http://").to_owned()
}

/// Successes, a failure, a retry, a forced retry, a cancelled and a held job: their ids.
fn mixed_run(client: &Client) -> Vec<String> {
    let mut jobs: Vec<String> =
        (0..5).map(|n| client.echo(&json!({"n": n, "sleep_seconds": 0.01}))).collect();
    let soon = json!({"initial_seconds": 1, "factor": 1, "max_seconds": 1});
    let again = json!({"job_type": "echo", "payload": {"fail_times": 1}, "backoff": soon});
    let failing = json!({"job_type": "echo", "payload": {"fail_with_exit_code": 3}, "max_attempts": 1});
    jobs.extend([client.submit(&again), client.submit(&failing)]);
    for job_id in &jobs {
        client.ended(job_id, SOON);
    }
    let _ = client.post(&format!("/jobs/{}/retry", jobs[0]), &Value::Null).expect(200);
    client.until(&jobs[0], SOON, "its second run", |j| j["attempt"] == 2 && word(j, "status") == "SUCCEEDED");
    let held = json!({"job_type": "echo", "suspend": true});
    let cancelled = client.submit(&held);
    let _ = client.post(&format!("/jobs/{cancelled}/cancel"), &Value::Null).expect(200);
    client.ended(&cancelled, SOON);
    jobs.extend([cancelled, client.submit(&held)]);
    jobs
}

/// A job whose record somebody broke by hand.
fn poison(stack: &Stack) -> String {
    let client = stack.client();
    let job_id = client.submit(&json!({"job_type": "echo", "suspend": true}));
    client.reason(&job_id, "Suspended", SOON);
    let sql = "UPDATE jobs SET desired = json_set(desired, '$.max_attempts', 0) WHERE job_id = ?1";
    assert_eq!(stack.records().execute(sql, [&job_id]).expect("the edit"), 1);
    client.reason(&job_id, "InvalidRecord", SOON);
    job_id
}

#[test]
fn after_a_mixed_run_every_metric_is_there_and_the_alerts_and_the_dashboard_tell_of_it() {
    if !server::installed() {
        return;
    }
    let stack = Stack::start(Options::default().env("AGENT_RUNNER_RESYNC_SECONDS", "1"));
    let client = stack.client();
    let prometheus = Prometheus::start(&[Target { job: "agent-runner", address: host(&client) }]);
    prometheus.until_all_targets_are_up(1);
    rules::all_are_loaded_and_inactive(&prometheus);

    let mut jobs = mixed_run(&client);
    jobs.push(poison(&stack));
    prometheus.until("agent_runner_invalid_records", "the poisoned record", |value| value == 1.0);
    names::all_are_there(&prometheus);
    names::none_is_a_job(&prometheus, &jobs);
    names::values_tell_of_the_run(&prometheus);
    promtool::check_metrics(&client.get("/metrics").expect(200).text);
    rules::only_becomes_active(&prometheus, "AgentRunnerInvalidRecords");
    dashboard::every_query_answers(&prometheus);
}

#[test]
fn api_and_reconciler_are_scraped_each_at_its_own_listener() {
    if !server::installed() {
        return;
    }
    let parts = parts::Parts::start();
    let prometheus = Prometheus::start(&[
        Target { job: "agent-runner-api", address: host(&parts.api()) },
        Target { job: "agent-runner-reconciler", address: host(&parts.metrics()) },
    ]);
    prometheus.until_all_targets_are_up(2);
    let job_id = parts.api().echo(&json!({"n": 1}));
    parts.api().ended(&job_id, SOON);
    let ended = "agent_runner_jobs_finished_total{job=\"agent-runner-reconciler\",status=\"SUCCEEDED\"}";
    prometheus.until(ended, "the end of the job", |value| value == 1.0);
    for name in names::ALL {
        let job = if name.of_the_api() { "agent-runner-api" } else { "agent-runner-reconciler" };
        let found = prometheus.query(&format!("count by (job) ({})", name.sample()));
        let jobs: Vec<&str> = found.iter().map(|series| word(&series.labels, "job")).collect();
        assert_eq!(jobs, [job], "{}", name.name);
    }
    promtool::check_metrics(&parts.api().get("/metrics").expect(200).text);
    promtool::check_metrics(&parts.metrics().get("/metrics").expect(200).text);
    rules::all_are_loaded_and_inactive(&prometheus);
}
