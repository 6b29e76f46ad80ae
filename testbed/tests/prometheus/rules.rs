//! The alert rules in a running server.

use crate::server::Prometheus;
use crate::{compose, names};

#[test]
fn rules_ask_only_for_metrics_that_exist() {
    let rules = std::fs::read_to_string(compose().join("prometheus/alerts.yml")).expect("the rules");
    let known: Vec<String> = names::ALL.iter().map(names::Name::sample).collect();
    let asked = rules.split("agent_runner_").skip(1);
    let mut count = 0;
    for rest in asked {
        let end = rest.find(|c: char| !c.is_ascii_lowercase() && c != '_').unwrap_or(rest.len());
        let name = format!("agent_runner_{}", &rest[..end]);
        assert!(known.contains(&name), "{name} is no metric of ours");
        count += 1;
    }
    assert!(count >= 14, "{count}");
}

/// All rules were evaluated without an error, and none is pending or firing.
pub(crate) fn all_are_loaded_and_inactive(prometheus: &Prometheus) {
    // The first evaluation may come before the first scrape and finds nothing up.
    prometheus.wait("rules that are all inactive", || {
        let alerts = prometheus.alerts();
        alerts.len() == 14 && alerts.iter().all(|(_, state, health)| state == "inactive" && health == "ok")
    });
}

/// This alert becomes pending or firing, and no other is either.
pub(crate) fn only_becomes_active(prometheus: &Prometheus, name: &str) {
    let active = || {
        let alerts = prometheus.alerts().into_iter();
        alerts.filter(|(_, state, _)| state != "inactive").map(|(name, ..)| name).collect::<Vec<_>>()
    };
    prometheus.wait(name, || active().iter().any(|active| active == name));
    assert_eq!(active(), [name]);
}
