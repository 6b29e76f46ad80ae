//! Every metric: its name, its type, its labels. Dashboards, alerts and people's own queries lean on them.

use crate::server::{Prometheus, Series};
use contract::invariants::Invariant;
use contract::{FailureClass, Reason};
use std::collections::BTreeSet;
use testbed::client::word;

/// A metric. `series` is how many label values exist from the start on, or `None` where they come with use.
pub(crate) struct Name {
    pub(crate) name: &'static str,
    kind: &'static str,
    labels: &'static [&'static str],
    series: Option<usize>,
}

const fn of(name: &'static str, kind: &'static str) -> Name {
    Name { name, kind, labels: &[], series: Some(1) }
}

const fn by(
    name: &'static str,
    kind: &'static str,
    labels: &'static [&'static str],
    series: Option<usize>,
) -> Name {
    Name { name, kind, labels, series }
}

/// All of them. Label values are closed sets that exist at zero, but for those of requests.
pub(crate) const ALL: [Name; 32] = [
    by("agent_runner_reconcile_total", "counter", &["result"], Some(4)),
    of("agent_runner_reconcile_duration_seconds", "histogram"),
    by("agent_runner_workqueue_depth", "gauge", &["state"], Some(3)),
    by("agent_runner_jobs", "gauge", &["status"], Some(2)),
    by("agent_runner_jobs_waiting", "gauge", &["reason"], Some(Reason::ALL.len())),
    by("agent_runner_jobs_finished_total", "counter", &["status"], Some(2)),
    by("agent_runner_effects_total", "counter", &["effect"], Some(plan::Effect::NAMES.len())),
    by("agent_runner_launches_total", "counter", &["answer"], Some(3)),
    by("agent_runner_attempts_failed_total", "counter", &["class"], Some(FailureClass::ALL.len())),
    of("agent_runner_forced_retries_total", "counter"),
    of("agent_runner_job_start_duration_seconds", "histogram"),
    of("agent_runner_job_run_duration_seconds", "histogram"),
    of("agent_runner_orphan_tasks_total", "counter"),
    of("agent_runner_duplicate_tasks_total", "counter"),
    of("agent_runner_invalid_records", "gauge"),
    of("agent_runner_jobs_failing_passes", "gauge"),
    by("agent_runner_invariant_broken_total", "counter", &["invariant"], Some(Invariant::ALL.len())),
    of("agent_runner_panics_total", "counter"),
    by("agent_runner_store_calls_total", "counter", &["call", "result"], Some(20)),
    by("agent_runner_store_errors_total", "counter", &["call"], Some(10)),
    by("agent_runner_runtime_calls_total", "counter", &["call", "result"], Some(8)),
    by("agent_runner_runtime_errors_total", "counter", &["call"], Some(4)),
    of("agent_runner_cost_usd_total", "counter"),
    of("agent_runner_last_resync_timestamp_seconds", "gauge"),
    of("agent_runner_resync_duration_seconds", "histogram"),
    of("agent_runner_leader", "gauge"),
    of("agent_runner_lease_epoch", "gauge"),
    by("agent_runner_http_requests_total", "counter", &["code", "method", "route"], None),
    by("agent_runner_http_request_duration_seconds", "histogram", &["route"], None),
    of("agent_runner_http_in_flight", "gauge"),
    of("agent_runner_jobs_created_total", "counter"),
    by("agent_runner_desired_writes_total", "counter", &["verb"], Some(5)),
];

impl Name {
    /// Whether the API counts it.
    pub(crate) fn of_the_api(&self) -> bool {
        let short = self.name.trim_start_matches("agent_runner_");
        short.starts_with("http_") || matches!(short, "jobs_created_total" | "desired_writes_total")
    }

    /// One series for each combination of its labels.
    pub(crate) fn sample(&self) -> String {
        let suffix = if self.kind == "histogram" { "_count" } else { "" };
        format!("{}{suffix}", self.name)
    }
}

/// Prometheus has each with its type and its labels, and none of ours besides.
pub(crate) fn all_are_there(prometheus: &Prometheus) {
    let metadata = prometheus.get("/api/v1/metadata");
    for Name { name, kind, labels, series } in &ALL {
        assert_eq!(word(&metadata[name][0], "type"), *kind, "{name}");
        assert!(!word(&metadata[name][0], "help").is_empty(), "{name} has no help");
        let suffix = if *kind == "histogram" { "_count" } else { "" };
        let found = prometheus.query(&format!("{name}{suffix}"));
        assert!(!found.is_empty(), "{name} has no series");
        for one in &found {
            assert_eq!(own_labels(one), *labels, "{name}");
        }
        assert!(series.is_none_or(|count| count == found.len()), "{name}: {found:?}");
    }
    let documented: BTreeSet<&str> = ALL.iter().map(|name| name.name).collect();
    let ours =
        metadata.as_object().expect("metadata").keys().filter(|name| name.starts_with("agent_runner_"));
    let unknown: Vec<&String> = ours.filter(|name| !documented.contains(name.as_str())).collect();
    assert!(unknown.is_empty(), "{unknown:?} are not in the list of this test");
}

/// The labels without those that the scrape adds.
fn own_labels(series: &Series) -> Vec<&str> {
    let all = series.labels.as_object().expect("labels").keys().map(String::as_str);
    all.filter(|label| !matches!(*label, "__name__" | "job" | "instance")).collect()
}

/// No label is the id of a job.
pub(crate) fn none_is_a_job(prometheus: &Prometheus, jobs: &[String]) {
    for series in prometheus.query(r#"{__name__=~"agent_runner_.*"}"#) {
        let text = series.labels.to_string();
        assert!(!jobs.iter().any(|job_id| text.contains(job_id.as_str())), "{text}");
    }
}

/// What the mixed run and the poisoned record leave behind.
pub(crate) fn values_tell_of_the_run(prometheus: &Prometheus) {
    let counted = [
        (r#"agent_runner_jobs_finished_total{status="SUCCEEDED"}"#, 7.0),
        (r#"agent_runner_jobs_finished_total{status="FAILED"}"#, 2.0),
        (r#"agent_runner_attempts_failed_total{class="NonZeroExitCode"}"#, 2.0),
        (r#"agent_runner_launches_total{answer="launched"}"#, 9.0),
        (r#"agent_runner_runtime_calls_total{call="launch",result="ok"}"#, 9.0),
        (r#"agent_runner_effects_total{effect="claim"}"#, 9.0),
        (r#"agent_runner_store_calls_total{call="claim",result="ok"}"#, 9.0),
        (r#"agent_runner_store_calls_total{call="close",result="ok"}"#, 9.0),
        ("agent_runner_forced_retries_total", 1.0),
        ("agent_runner_jobs_created_total", 10.0),
        (r#"agent_runner_desired_writes_total{verb="retry"}"#, 1.0),
        (r#"agent_runner_desired_writes_total{verb="cancel"}"#, 1.0),
        (r#"agent_runner_jobs_waiting{reason="InvalidRecord"}"#, 1.0),
        (r#"agent_runner_jobs_waiting{reason="Suspended"}"#, 1.0),
        (r#"agent_runner_jobs{status="QUEUED"}"#, 2.0),
        ("sum(agent_runner_store_errors_total)", 0.0),
        ("sum(agent_runner_runtime_errors_total)", 0.0),
        ("sum(agent_runner_invariant_broken_total)", 0.0),
        ("agent_runner_panics_total", 0.0),
        ("agent_runner_leader", 1.0),
    ];
    for (query, value) in counted {
        prometheus.until(query, &format!("{query} = {value}"), |found| found == value);
    }
}
