//! The alert rules in a running server.

use crate::server::Prometheus;

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
