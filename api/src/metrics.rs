//! What is counted. Labels come from closed sets (route templates, methods, status codes, verbs), never
//! from a request.

use prometheus::{HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// Buckets in seconds: an answer from SQLite takes a fraction of a millisecond, a long poll up to a minute.
const BUCKETS: [f64; 12] = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.0, 10.0, 60.0];
/// The label of requests to paths that are no route.
pub(crate) const NO_ROUTE: &str = "none";

/// The writes of `desired` after creation.
pub(crate) const VERBS: [&str; 5] = ["patch", "cancel", "retry", "suspend", "resume"];

/// The API's metrics.
#[derive(Debug, Clone)]
pub struct Metrics {
    pub(crate) requests: IntCounterVec,
    pub(crate) duration: HistogramVec,
    pub(crate) in_flight: IntGauge,
    pub(crate) jobs_created: IntCounter,
    pub(crate) desired_writes: IntCounterVec,
}

impl Metrics {
    /// Registers the metrics on `registry`, label values that are known at zero.
    ///
    /// # Errors
    /// When a metric of the same name is registered already.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let found = Self {
            requests: IntCounterVec::new(
                Opts::new(
                    "agent_runner_http_requests_total",
                    "Requests answered, by route, method and status.",
                ),
                &["route", "method", "code"],
            )?,
            duration: HistogramVec::new(
                HistogramOpts::new(
                    "agent_runner_http_request_duration_seconds",
                    "Seconds from a request's header to its answer; long polls wait on purpose.",
                )
                .buckets(BUCKETS.to_vec()),
                &["route"],
            )?,
            in_flight: IntGauge::new("agent_runner_http_in_flight", "Requests being answered now.")?,
            jobs_created: IntCounter::new("agent_runner_jobs_created_total", "Jobs created.")?,
            desired_writes: IntCounterVec::new(
                Opts::new("agent_runner_desired_writes_total", "Changes of desired that were stored."),
                &["verb"],
            )?,
        };
        registry.register(Box::new(found.requests.clone()))?;
        registry.register(Box::new(found.duration.clone()))?;
        registry.register(Box::new(found.in_flight.clone()))?;
        registry.register(Box::new(found.jobs_created.clone()))?;
        registry.register(Box::new(found.desired_writes.clone()))?;
        for verb in VERBS {
            found.desired_writes.with_label_values(&[verb]);
        }
        found.duration.with_label_values(&[NO_ROUTE]);
        Ok(found)
    }
}

/// The label for a method; anything unusual is one word, because clients choose it.
pub(crate) fn method_label(method: &axum::http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PATCH" => "PATCH",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}
