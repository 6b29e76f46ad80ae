//! What the gauges show: the last seen status and reason of every active job.

use crate::metrics::Metrics;
use contract::{JobId, Reason, Status};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// See the module.
#[derive(Default)]
pub(crate) struct Board(Mutex<HashMap<JobId, (Status, Option<Reason>)>>);

impl Board {
    /// Shows `now` for the job; `None` takes it off the board.
    pub(crate) fn show(&self, metrics: &Metrics, job_id: &JobId, now: Option<(Status, Option<Reason>)>) {
        let before = {
            let mut jobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match now {
                Some(shown) => jobs.insert(job_id.clone(), shown),
                None => jobs.remove(job_id),
            }
        };
        if before != now {
            count(metrics, before, -1);
            count(metrics, now, 1);
        }
    }

    /// Takes everything off the board.
    pub(crate) fn clear(&self, metrics: &Metrics) {
        let jobs = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for shown in jobs.into_values() {
            count(metrics, Some(shown), -1);
        }
    }
}

fn count(metrics: &Metrics, shown: Option<(Status, Option<Reason>)>, by: i64) {
    let Some((status, reason)) = shown else { return };
    if !status.is_terminal() {
        metrics.jobs.with_label_values(&[status.as_str()]).add(by);
    }
    if let Some(reason) = reason.filter(|_| !status.is_terminal()) {
        metrics.waiting.with_label_values(&[reason.as_str()]).add(by);
    }
    if reason == Some(Reason::InvalidRecord) {
        metrics.invalid.add(by);
    }
}
