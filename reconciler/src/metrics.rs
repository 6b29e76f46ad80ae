//! The reconciler's metrics, registered on a given registry. Labels are closed sets and are created at zero,
//! so that a rate is defined from the first scrape on. A job id is never a label.

use contract::cost::Usd;
use contract::invariants::Invariant;
use contract::{FailureClass, Reason, Status};
use plan::Effect;
use prometheus::{
    Counter, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

/// Every metric of the reconciler.
#[derive(Clone)]
pub struct Metrics {
    /// Passes by result.
    pub(crate) passes: IntCounterVec,
    /// Seconds of a pass.
    pub(crate) pass_seconds: Histogram,
    /// Keys in the work queue, by state.
    pub(crate) queue: IntGaugeVec,
    /// Unfinished jobs.
    pub(crate) jobs: IntGaugeVec,
    /// Waiting jobs by reason.
    pub(crate) waiting: IntGaugeVec,
    /// Ended runs by status.
    pub(crate) finished: IntCounterVec,
    /// Effects by name.
    pub(crate) effects: IntCounterVec,
    /// Launch calls by answer.
    pub(crate) launches: IntCounterVec,
    /// Failed attempts by class.
    pub(crate) failures: IntCounterVec,
    /// Forced retries.
    pub(crate) retries: IntCounter,
    /// Seconds from acceptance (or the start of the run) to passing the start gate.
    pub(crate) start_seconds: Histogram,
    /// Seconds from passing the start gate to the end of the run.
    pub(crate) run_seconds: Histogram,
    /// Stopped tasks that had no open attempt.
    pub(crate) orphans: IntCounter,
    /// Tasks of an attempt beyond its first.
    pub(crate) duplicates: IntCounter,
    /// Records that cannot be decoded, now.
    pub(crate) invalid: IntGauge,
    /// Jobs whose last pass failed.
    pub(crate) failing: IntGauge,
    /// Broken invariants.
    pub(crate) invariants: IntCounterVec,
    /// Passes that panicked.
    pub(crate) panics: IntCounter,
    /// Calls to the stores, by what was done and whether it worked.
    store_calls: IntCounterVec,
    /// Errors of the store, by what was done.
    store_errors: IntCounterVec,
    /// Calls to the task runtime, by what was done and whether it worked.
    runtime_calls: IntCounterVec,
    /// Errors of the task runtime, by what was done.
    runtime_errors: IntCounterVec,
    /// What closed attempts are estimated to have cost, in US dollars.
    cost: Counter,
    /// When the last complete comparison ended.
    pub(crate) resync_at: IntGauge,
    /// Seconds of a resync.
    pub(crate) resync_seconds: Histogram,
    /// Whether this process leads.
    pub(crate) leader: IntGauge,
    /// The lease epoch.
    pub(crate) epoch: IntGauge,
}

/// How a pass can end, as the label `result`.
pub(crate) const RESULTS: [&str; 4] = ["settled", "again", "error", "panic"];
const LAUNCH_ANSWERS: [&str; 3] = ["launched", "refused", "uncertain"];
const STORE_CALLS: [&str; 10] =
    ["load", "list", "scan", "write", "claim", "seal", "close", "delete", "artifacts", "lease"];
const RUNTIME_CALLS: [&str; 4] = ["launch", "observe", "list", "stop"];
/// Whether a call worked, as the label `result`.
const CALL_RESULTS: [&str; 2] = ["ok", "error"];

impl Metrics {
    /// Registers everything on `registry`.
    ///
    /// # Errors
    /// A name is registered already.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let r = registry;
        let reasons: Vec<&str> = Reason::ALL.iter().map(|x| x.as_str()).collect();
        let classes: Vec<&str> = FailureClass::ALL.iter().map(|x| x.as_str()).collect();
        let invariants: Vec<&str> = Invariant::ALL.iter().map(|x| x.as_str()).collect();
        let open = [Status::Queued.as_str(), Status::Running.as_str()];
        let ended = [Status::Succeeded.as_str(), Status::Failed.as_str()];
        Ok(Self {
            passes: counters(r, "reconcile_total", "Passes over a job, by result.", "result", &RESULTS)?,
            pass_seconds: histogram(r, "reconcile_duration_seconds", "Duration of a pass.", &FAST)?,
            queue: gauges(
                r,
                "workqueue_depth",
                "Keys in the work queue.",
                "state",
                &["ready", "delayed", "running"],
            )?,
            jobs: gauges(r, "jobs", "Jobs that have not ended.", "status", &open)?,
            waiting: gauges(r, "jobs_waiting", "Waiting jobs, by their reason.", "reason", &reasons)?,
            finished: counters(r, "jobs_finished_total", "Runs that ended.", "status", &ended)?,
            effects: counters(r, "effects_total", "Effects carried out.", "effect", &Effect::NAMES)?,
            launches: counters(r, "launches_total", "Launch calls.", "answer", &LAUNCH_ANSWERS)?,
            failures: counters(r, "attempts_failed_total", "Failed attempts.", "class", &classes)?,
            retries: counter(r, "forced_retries_total", "Runs started by a forced retry.")?,
            start_seconds: histogram(
                r,
                "job_start_duration_seconds",
                "From acceptance to the start gate.",
                &SLOW,
            )?,
            run_seconds: histogram(r, "job_run_duration_seconds", "From the start gate to the end.", &SLOW)?,
            orphans: counter(r, "orphan_tasks_total", "Tasks without an open attempt that were stopped.")?,
            duplicates: counter(
                r,
                "duplicate_tasks_total",
                "Further tasks of one attempt; the gate let none in.",
            )?,
            invalid: gauge(r, "invalid_records", "Records that cannot be decoded.")?,
            failing: gauge(r, "jobs_failing_passes", "Jobs whose last pass failed and is repeated.")?,
            invariants: counters(
                r,
                "invariant_broken_total",
                "Broken invariants.",
                "invariant",
                &invariants,
            )?,
            panics: counter(r, "panics_total", "Passes that panicked.")?,
            store_calls: calls(r, "store_calls_total", "Calls to the stores.", &STORE_CALLS)?,
            store_errors: counters(
                r,
                "store_errors_total",
                "Failed calls to the stores.",
                "call",
                &STORE_CALLS,
            )?,
            runtime_calls: calls(r, "runtime_calls_total", "Task calls.", &RUNTIME_CALLS)?,
            runtime_errors: counters(
                r,
                "runtime_errors_total",
                "Failed task calls.",
                "call",
                &RUNTIME_CALLS,
            )?,
            cost: dollars(r, "cost_usd_total", "What closed attempts are estimated to have cost.")?,
            resync_at: gauge(r, "last_resync_timestamp_seconds", "When the last full comparison ended.")?,
            resync_seconds: histogram(r, "resync_duration_seconds", "Duration of a full comparison.", &FAST)?,
            leader: gauge(r, "leader", "1 while this process holds the lease.")?,
            epoch: gauge(r, "lease_epoch", "Epoch of the lease this process holds or held last.")?,
        })
    }

    /// Counts a call to the stores and hands its answer on.
    pub(crate) fn stored<T, E>(&self, call: &str, answer: Result<T, E>) -> Result<T, E> {
        note(&self.store_calls, &self.store_errors, call, answer.is_ok());
        answer
    }

    /// Counts a call to the task runtime.
    pub(crate) fn asked_runtime(&self, call: &str, worked: bool) {
        note(&self.runtime_calls, &self.runtime_errors, call, worked);
    }

    /// Counts what a closed attempt is estimated to have cost.
    pub(crate) fn spend(&self, cost: Option<Usd>) {
        let Some(Usd(millionths)) = cost else { return };
        #[allow(clippy::cast_precision_loss, reason = "amounts are far below 2^53 millionths")]
        self.cost.inc_by(millionths as f64 / 1e6);
    }
}

fn note(calls: &IntCounterVec, errors: &IntCounterVec, call: &str, worked: bool) {
    calls.with_label_values(&[call, CALL_RESULTS[usize::from(!worked)]]).inc();
    if !worked {
        errors.with_label_values(&[call]).inc();
    }
}

/// Buckets for what takes microseconds to seconds.
const FAST: [f64; 10] = [0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.01, 0.05, 0.25, 1.0, 10.0];
/// Buckets for what takes milliseconds (processes) to a day (a long agent).
const SLOW: [f64; 12] = [0.002, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0, 30.0, 120.0, 600.0, 3600.0, 86_400.0];

fn name(short: &str) -> String {
    format!("agent_runner_{short}")
}

fn counter(r: &Registry, short: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
    let c = IntCounter::new(name(short), help)?;
    r.register(Box::new(c.clone()))?;
    Ok(c)
}

fn dollars(r: &Registry, short: &str, help: &str) -> Result<Counter, prometheus::Error> {
    let c = Counter::new(name(short), help)?;
    r.register(Box::new(c.clone()))?;
    Ok(c)
}

fn calls(r: &Registry, short: &str, help: &str, values: &[&str]) -> Result<IntCounterVec, prometheus::Error> {
    let c = IntCounterVec::new(Opts::new(name(short), help), &["call", "result"])?;
    for value in values {
        for result in CALL_RESULTS {
            c.with_label_values(&[*value, result]);
        }
    }
    r.register(Box::new(c.clone()))?;
    Ok(c)
}

fn gauge(r: &Registry, short: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
    let g = IntGauge::new(name(short), help)?;
    r.register(Box::new(g.clone()))?;
    Ok(g)
}

fn counters(
    r: &Registry,
    short: &str,
    help: &str,
    label: &str,
    values: &[&str],
) -> Result<IntCounterVec, prometheus::Error> {
    let c = IntCounterVec::new(Opts::new(name(short), help), &[label])?;
    for value in values {
        c.with_label_values(&[value]);
    }
    r.register(Box::new(c.clone()))?;
    Ok(c)
}

fn gauges(
    r: &Registry,
    short: &str,
    help: &str,
    label: &str,
    values: &[&str],
) -> Result<IntGaugeVec, prometheus::Error> {
    let g = IntGaugeVec::new(Opts::new(name(short), help), &[label])?;
    for value in values {
        g.with_label_values(&[value]);
    }
    r.register(Box::new(g.clone()))?;
    Ok(g)
}

fn histogram(r: &Registry, short: &str, help: &str, buckets: &[f64]) -> Result<Histogram, prometheus::Error> {
    let h = Histogram::with_opts(HistogramOpts::new(name(short), help).buckets(buckets.to_vec()))?;
    r.register(Box::new(h.clone()))?;
    Ok(h)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_label_exists_at_zero_before_anything_happened() {
        let registry = Registry::new();
        let _metrics = Metrics::new(&registry).unwrap();
        let families = registry.gather();
        let of = |name: &str| families.iter().find(|f| f.name() == name).map_or(0, |f| f.get_metric().len());
        assert_eq!(of("agent_runner_reconcile_total"), RESULTS.len());
        assert_eq!(of("agent_runner_jobs_waiting"), Reason::ALL.len());
        assert_eq!(of("agent_runner_invariant_broken_total"), Invariant::ALL.len());
        assert_eq!(of("agent_runner_store_calls_total"), STORE_CALLS.len() * CALL_RESULTS.len());
        assert_eq!(of("agent_runner_runtime_calls_total"), RUNTIME_CALLS.len() * CALL_RESULTS.len());
        assert_eq!(of("agent_runner_cost_usd_total"), 1);
    }

    #[test]
    fn a_failed_call_is_a_call_and_an_error_and_a_good_one_is_a_call_only() {
        let metrics = Metrics::new(&Registry::new()).unwrap();
        let _ = metrics.stored("load", Ok::<(), ()>(()));
        let _ = metrics.stored("load", Err::<(), ()>(()));
        metrics.asked_runtime("stop", false);
        let calls = |result| metrics.store_calls.with_label_values(&["load", result]).get();
        assert_eq!((calls("ok"), calls("error")), (1, 1));
        assert_eq!(metrics.store_errors.with_label_values(&["load"]).get(), 1);
        assert_eq!(metrics.runtime_errors.with_label_values(&["stop"]).get(), 1);
    }

    #[test]
    fn costs_add_up_in_dollars() {
        let metrics = Metrics::new(&Registry::new()).unwrap();
        metrics.spend(None);
        metrics.spend(Some(Usd(1_250_000)));
        metrics.spend(Some(Usd(206)));
        assert!((metrics.cost.get() - 1.250_206).abs() < 1e-9, "{}", metrics.cost.get());
    }
}
