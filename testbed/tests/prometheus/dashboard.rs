//! The dashboard: its form, and its queries asked of a real Prometheus.

use crate::compose;
use crate::server::Prometheus;
use serde_json::Value;
use std::collections::BTreeSet;
use testbed::client::word;

/// What stays at zero in a run without mistakes, without costs and, most of the time, without a queue.
const QUIET: [&str; 7] = [
    "Panics, broken invariants",
    "Failed store calls",
    "Calls that failed",
    "Orphans",
    "Duplicates",
    "Work queue",
    "Cost per hour",
];

fn dashboard() -> Value {
    let path = compose().join("grafana/dashboards/agent-runner.json");
    let text = std::fs::read_to_string(path).expect("the dashboard");
    serde_json::from_str(&text).expect("the dashboard is JSON")
}

fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    let all = dashboard["panels"].as_array().expect("panels");
    all.iter().filter(|panel| panel["type"] != "row")
}

/// The queries of a panel.
fn queries(panel: &Value) -> impl Iterator<Item = &str> {
    let targets = panel["targets"].as_array().expect("targets");
    targets.iter().map(|target| word(target, "expr"))
}

#[test]
fn the_dashboard_answers_five_questions_from_the_datasource_that_is_provisioned() {
    let dashboard = dashboard();
    assert!(dashboard["schemaVersion"].as_u64().is_some_and(|version| version >= 41), "not of Grafana 12");
    let rows = dashboard["panels"].as_array().expect("panels").iter().filter(|panel| panel["type"] == "row");
    let questions: Vec<&str> = rows.map(|row| word(row, "title")).collect();
    let asked = ["Is it working?", "What waits, and why?", "What failed?", "How fast?", "How much?"];
    assert_eq!(questions, asked);
    let provisioned =
        std::fs::read_to_string(compose().join("grafana/provisioning/datasources/prometheus.yml"));
    assert!(provisioned.expect("the datasource").contains("uid: prometheus\n"));
    let (mut ids, mut titles) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels(&dashboard) {
        let title = word(panel, "title");
        assert!(ids.insert(panel["id"].as_u64()) && titles.insert(title), "{title} is there twice");
        assert!(!word(panel, "description").is_empty(), "{title} says not what it shows");
        for source in panel["targets"].as_array().expect("targets").iter().chain([panel]) {
            assert_eq!(source["datasource"]["uid"], "prometheus", "{title}");
        }
        assert!(queries(panel).next().is_some_and(|query| !query.is_empty()), "{title} asks nothing");
    }
    assert!(QUIET.iter().all(|title| titles.contains(title)), "{titles:?}");
}

/// Every query answers with a series; those about what happened in a mixed run with more than zero.
pub(crate) fn every_query_answers(prometheus: &Prometheus) {
    let dashboard = dashboard();
    for panel in panels(&dashboard) {
        let title = word(panel, "title");
        for query in queries(panel) {
            // What Grafana fills in, of the size of this run.
            let query = query.replace("$__rate_interval", "1m").replace("$__range", "10m");
            let found = prometheus.query(&query);
            assert!(!found.is_empty(), "{title}: {query} finds nothing");
            let most = found.iter().map(|series| series.value).filter(|value| value.is_finite());
            let something = most.fold(0.0, f64::max) > 0.0;
            let quiet = QUIET.contains(&title);
            assert!(something || quiet, "{title}: {query} tells of nothing: {found:?}");
        }
    }
    for annotation in dashboard["annotations"]["list"].as_array().expect("annotations") {
        if let Some(query) = annotation["expr"].as_str() {
            prometheus.query(query);
        }
    }
}
