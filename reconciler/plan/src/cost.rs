//! What attempts are estimated to cost, and `max_cost_usd`.
//!
//! A task is billed from the start of its image pull until it is gone. As long as nobody knows better, the pull
//! counts from when the worker passed its gate, and a task that never got so far has cost nothing.

use crate::Job;
use crate::pacing::later;
use crate::snapshot::{AttemptView, Snapshot};
use contract::attempt::{Evidence, phase};
use contract::cost::Usd;
use contract::{Reason, Timestamp};
use std::collections::BTreeMap;

/// What the closed attempts of the job have cost, those of earlier runs included: money that is spent stays
/// spent. `None`: nothing is known to cost anything.
pub(crate) fn spent(s: &Snapshot) -> Option<Usd> {
    let closings = s.attempts.iter().filter_map(|a| a.closing.as_ref());
    closings.filter_map(|c| c.evidence.cost).reduce(Usd::plus)
}

/// Adds what is known of the launch phases to the evidence of an attempt that is being closed, and its cost.
pub(crate) fn complete(job: &Job<'_>, a: &AttemptView, mut evidence: Evidence) -> Evidence {
    let Some(price) = a.price else { return evidence };
    for (name, at) in &a.phases {
        evidence.phases.entry(name.clone()).or_insert(*at);
    }
    evidence.phases.entry(phase::QUEUED.to_owned()).or_insert_with(|| queued_at(job, a));
    evidence.phases.entry(phase::CLAIMED.to_owned()).or_insert(a.claimed_at);
    let Some(from) = billed_from(&evidence.phases) else { return evidence };
    let ends = [phase::STOPPED, phase::EXECUTION_STOPPED, phase::FINISHED];
    let until = ends.iter().find_map(|name| evidence.phases.get(*name)).copied().unwrap_or(job.now);
    let (from, until) = (possible(job, a, from), possible(job, a, until));
    evidence.cost = Some(price.cost(until.millis_since(from)));
    evidence
}

/// A time of another clock as far as it can be true: not before the claim, and not in the future.
fn possible(job: &Job<'_>, a: &AttemptView, at: Timestamp) -> Timestamp {
    at.clamp(a.claimed_at, job.now.max(a.claimed_at))
}

/// When the attempt began to wait: with its run, or when the one before it was closed.
fn queued_at(job: &Job<'_>, a: &AttemptView) -> Timestamp {
    let before = job.s.attempts.iter().filter(|b| b.run == a.run && b.number < a.number);
    let closed = before.filter_map(|b| b.closing.as_ref()).map(|c| c.closed_at).max();
    closed.unwrap_or(job.control.run_started_at).min(a.claimed_at)
}

fn billed_from(phases: &BTreeMap<String, Timestamp>) -> Option<Timestamp> {
    [phase::PULL_STARTED, phase::GATE_PASSED].iter().find_map(|name| phases.get(*name)).copied()
}

/// The end of a job that has spent what it may.
pub(crate) fn used_up(job: &Job<'_>) -> Option<(Reason, String)> {
    let (limit, spent) = (job.desired.max_cost_usd?, job.control.cost?);
    let message = || format!("max_cost_usd: an estimated {spent} of {limit} dollars are spent");
    (spent >= limit).then(|| (Reason::CostLimitExceeded, message()))
}

/// When an executing attempt will have cost more than the job may spend; `None`: never.
pub(crate) fn exceeded_at(job: &Job<'_>, a: &AttemptView) -> Option<Timestamp> {
    let (limit, price) = (job.desired.max_cost_usd?, a.price?);
    let from = possible(job, a, billed_from(&a.phases)?);
    let left = limit.less(job.control.cost.unwrap_or(Usd(0)));
    Some(later(from, price.exceeds_after(left)))
}
