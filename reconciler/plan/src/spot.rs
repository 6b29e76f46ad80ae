//! Which capacity the next attempt runs on.

use crate::Job;
use crate::pacing::later;
use contract::attempt::{Closing, RefusalKind, Verdict};
use contract::desired::Capacity;
use contract::{FailureClass, Gate, Timestamp};

/// What ECS says of capacity that it does not have, in a refusal as in the stop reason of a task that it had
/// accepted (Amazon ECS developer guide, "API failure reasons").
const NO_CAPACITY: &str = "Capacity is unavailable";

/// `on_demand` or `spot`. A job that prefers Spot leaves it for the rest of the run after as many interruptions
/// as the policy says, and for the next attempt when none was to be had for as long as it says.
pub(crate) fn capacity(job: &Job<'_>) -> Capacity {
    match job.desired.capacity {
        Capacity::OnDemand => Capacity::OnDemand,
        Capacity::Spot => Capacity::Spot,
        Capacity::SpotThenOnDemand
            if interrupted_too_often(job) || patience_ends(job).is_some_and(|at| job.now >= at) =>
        {
            Capacity::OnDemand
        }
        Capacity::SpotThenOnDemand => Capacity::Spot,
    }
}

/// When to look again whether a job that waits for Spot now goes on on demand. Others may have been turned away by
/// then, of which a job that waits hears nothing.
pub(crate) fn look_again(job: &Job<'_>) -> Option<Timestamp> {
    let may_change = job.desired.capacity == Capacity::SpotThenOnDemand && capacity(job) == Capacity::Spot;
    may_change.then(|| patience_ends(job).unwrap_or_else(|| later(job.now, job.policy.spot_patience_ms)))
}

fn interrupted_too_often(job: &Job<'_>) -> bool {
    let of_run = job.s.attempts.iter().filter(|a| a.run == job.control.run);
    let taken = of_run.filter(|a| a.closing.as_ref().is_some_and(was_taken)).count();
    u32::try_from(taken).unwrap_or(u32::MAX) >= job.policy.spot_interruptions
}

/// Whether the capacity was taken back. A worker that hears of it in time reports `Interrupted`.
fn was_taken(closing: &Closing) -> bool {
    match &closing.verdict {
        Verdict::Failed { class, .. } => {
            matches!(class, FailureClass::SpotInterruption | FailureClass::Interrupted)
        }
        Verdict::Succeeded | Verdict::Left { .. } => false,
    }
}

/// When there has been no Spot capacity for as long as the policy says: for any job of this size as the runtime
/// tells, or for each attempt of this one since the last that started.
fn patience_ends(job: &Job<'_>) -> Option<Timestamp> {
    let of_run = || job.s.attempts.iter().filter(|a| a.run == job.control.run);
    let started = |gate: &Option<Gate>| match gate {
        None | Some(Gate::Sealed { started: None, .. }) => false,
        Some(Gate::Started { .. } | Gate::Finished { .. } | Gate::Sealed { started: Some(_), .. }) => true,
    };
    let last_started = of_run().filter(|a| started(&a.gate)).map(|a| a.number).max().unwrap_or(0);
    let since = of_run().filter(|a| a.number > last_started).filter_map(|a| a.closing.as_ref());
    let own = since.filter(|c| was_scarce(c)).map(|c| c.closed_at).min();
    let of_all = job.s.scarce.get(&Capacity::Spot).map(|scarcity| scarcity.since);
    Some(later(own.into_iter().chain(of_all).min()?, job.policy.spot_patience_ms))
}

fn was_scarce(closing: &Closing) -> bool {
    let evidence = &closing.evidence;
    // Spot and on-demand vCPUs have a quota each (Fargate service quotas): one may be used up while the other is free.
    let none_to_be_had = |kind| matches!(kind, RefusalKind::Capacity | RefusalKind::Quota);
    evidence.refusal.as_ref().is_some_and(|r| none_to_be_had(r.kind))
        || evidence.stopped_reason.as_ref().is_some_and(|words| words.contains(NO_CAPACITY))
}
