//! Jobs that wait for an attempt.

use crate::decision::{ClaimDraft, Decision, Effect};
use crate::ended::{finish, new_run, reason_of_refusal};
use crate::ledger::next_number;
use crate::pacing::later;
use crate::snapshot::Slot;
use crate::{Job, cost, spot};
use contract::desired::Capacity;
use contract::{Control, FailureClass, Phase, Reason, Timestamp};

/// The next step of a job that waits: end it, hold it, keep it waiting for a typed reason, or claim an
/// attempt. The order of the reasons is who has to act first: configuration, operator, pause, quota.
pub(crate) fn wait_or_claim(job: &Job<'_>) -> Decision {
    if job.retry_forced() {
        return new_run(job);
    }
    if job.desired.cancel {
        return finish(job, job.control.clone(), Reason::Cancelled, "cancel was set".to_owned());
    }
    if let Some(step) = held(job) {
        return step;
    }
    if job.now >= job.deadline() {
        return finish(job, job.control.clone(), Reason::DeadlineExceeded, deadline_message(job));
    }
    if let Some((reason, message)) = budget_spent(job, None).or_else(|| cost::used_up(job)) {
        return finish(job, job.control.clone(), reason, message);
    }
    if let Some(message) = &job.s.misconfigured {
        let end = job.deadline();
        return job.wait(
            Reason::Misconfigured,
            message.clone(),
            beside_misconfigured(job),
            Some(job.control.not_before.filter(|at| job.now < *at).map_or(end, |at| at.min(end))),
        );
    }
    if let Some(at) = job.control.not_before.filter(|at| job.now < *at) {
        return pausing(job, at);
    }
    match job.slot {
        Slot::Granted => claim(job),
        Slot::Denied => queued(job),
    }
}

/// Suspended, or resumed just now.
fn held(job: &Job<'_>) -> Option<Decision> {
    match (job.desired.suspend, job.control.suspended) {
        (false, false) => None,
        (false, true) => {
            // Time spent held does not count: the deadline starts again.
            let next = Control {
                suspended: false,
                run_started_at: job.now,
                not_before: None,
                reason: Some(Reason::PendingEvaluation),
                message: String::new(),
                blockers: Vec::new(),
                ..job.control.clone()
            };
            Some(Decision::write(next, false, "the job was resumed"))
        }
        (true, false) => {
            // Resuming starts at once, so a pause does not outlive the hold.
            let (reason, message, blockers) = while_held(job);
            let next = Control {
                suspended: true,
                not_before: None,
                reason: Some(reason),
                message,
                blockers,
                ..job.control.clone()
            };
            Some(Decision::write(next, false, "the job was suspended"))
        }
        (true, true) => {
            let (reason, message, blockers) = while_held(job);
            Some(job.wait(reason, message, blockers, None))
        }
    }
}

/// Which budget of the run is used up, with the reason to end with. `last` is the failure that used it up,
/// when it is at hand.
pub(crate) fn budget_spent(job: &Job<'_>, last: Option<(FailureClass, &str)>) -> Option<(Reason, String)> {
    let (tries, most) = (job.control.tries, job.desired.max_attempts);
    let tail = last.map(|(class, message)| format!("; the last one: {class}: {message}")).unwrap_or_default();
    if tries >= most {
        // With a single try its own reason says more than "too many".
        return Some(match last {
            Some((class, message)) if most == 1 => (class.reason(), message.to_owned()),
            _ => (Reason::MaxAttemptsExceeded, format!("{tries} of {most} tries failed{tail}")),
        });
    }
    let (infra, budget) = (job.control.infra_tries, job.policy.infra_budget);
    if infra >= budget {
        let reason = last.map_or(Reason::WorkerLost, |(class, _)| class.reason());
        return Some((reason, format!("{infra} infrastructure failures, {budget} are tolerated{tail}")));
    }
    None
}

pub(crate) fn deadline_message(job: &Job<'_>) -> String {
    let seconds = job.desired.active_deadline_seconds;
    format!("active_deadline_seconds: {seconds} s have passed since {}", job.control.run_started_at)
}

/// What is shown while a job is held. What is wrong with its configuration comes first: resuming it would not help.
fn while_held(job: &Job<'_>) -> (Reason, String, Vec<Reason>) {
    match &job.s.misconfigured {
        Some(message) => (Reason::Misconfigured, message.clone(), vec![Reason::Suspended]),
        None => (Reason::Suspended, "suspend is set".to_owned(), Vec::new()),
    }
}

/// What else keeps a misconfigured job from starting now.
fn beside_misconfigured(job: &Job<'_>) -> Vec<Reason> {
    let paused = job.control.not_before.is_some_and(|at| job.now < at);
    paused.then(|| pause_reason(job)).filter(|reason| *reason != Reason::Misconfigured).into_iter().collect()
}

/// What the pause is for: the control keeps it, as a blocker while another reason is shown.
fn pause_reason(job: &Job<'_>) -> Reason {
    let shown = job.control.reason.filter(|r| job.s.misconfigured.is_none() || *r != Reason::Misconfigured);
    let known = job.control.blockers.iter().copied().chain(shown);
    let pauses = |reason: &Reason| {
        matches!(
            reason,
            Reason::BackingOff
                | Reason::LaunchThrottled
                | Reason::InsufficientCapacity
                | Reason::WaitingForQuota
                | Reason::Misconfigured
        )
    };
    known.into_iter().find(pauses).unwrap_or(Reason::BackingOff)
}

/// `not_before` is in the future.
fn pausing(job: &Job<'_>, at: Timestamp) -> Decision {
    let reason = pause_reason(job);
    let kept = job.control.reason == Some(reason) && !job.control.message.is_empty();
    let message = if kept { job.control.message.clone() } else { "pausing before the next try".to_owned() };
    job.wait(reason, message, Vec::new(), Some(at.min(job.deadline())))
}

/// No slot. A short wait is not written down.
fn queued(job: &Job<'_>) -> Decision {
    let capacity = spot::capacity(job);
    let end = spot::look_again(job).map_or(job.deadline(), |at| at.min(job.deadline()));
    let since = job.control.not_before.unwrap_or(job.control.run_started_at).max(job.control.run_started_at);
    let shown_from = later(since, job.policy.quiet_wait_ms);
    // A start in the future comes from a clock that is ahead; it must not keep the wait unwritten for ever.
    if (since..shown_from).contains(&job.now) && job.control.reason != Some(Reason::WaitingForQuota) {
        let until = Some(shown_from.min(end));
        let reason = Some(Reason::WaitingForQuota);
        return Decision::Wait { reason, blockers: Vec::new(), until, wants_slot: Some(capacity) };
    }
    let (reason, message) = for_a_slot(job, capacity);
    match job.wait(reason, message, Vec::new(), Some(end)) {
        Decision::Wait { reason, blockers, until, .. } => {
            Decision::Wait { reason, blockers, until, wants_slot: Some(capacity) }
        }
        write @ (Decision::Write { .. } | Decision::Do { .. }) => write,
    }
}

/// What keeps the job from a slot, in words: the runtime's own where it has no room for anybody.
fn for_a_slot(job: &Job<'_>, capacity: Capacity) -> (Reason, String) {
    if let Some(scarcity) = job.s.scarce.get(&capacity) {
        let words = &scarcity.refusal.message;
        let message = format!("waiting until the task runtime accepts tasks of this size again: {words}");
        return (reason_of_refusal(scarcity.refusal.kind), message);
    }
    let message = match &job.desired.queue {
        Some(queue) => format!("waiting for a slot of queue {queue:?} or of the global limit"),
        None => "waiting for a slot of the global limit".to_owned(),
    };
    (Reason::WaitingForQuota, message)
}

/// Everything allows an attempt: claim the next number.
fn claim(job: &Job<'_>) -> Decision {
    let number = next_number(job.s, &job.control);
    let capacity = spot::capacity(job);
    let draft = ClaimDraft { number, run: job.control.run, retry: job.control.seen_retry, capacity };
    let control = Control {
        attempt: number,
        token: None,
        phase: Phase::Launching,
        not_before: None,
        reason: Some(Reason::Launching),
        message: String::new(),
        blockers: Vec::new(),
        started_at: None,
        ..job.control.clone()
    };
    let effect = Effect::Claim { draft, control: Box::new(control) };
    Decision::act(effect, "the job may run and nothing of it is alive")
}
