//! What the decision core says about a job whose `desired` would be changed: the answer to a dry run. The
//! core is asked and never obeyed here; this crate has no way to act.

use crate::App;
use crate::routes::attempts::{Told, told};
use crate::view::{Seen, without_tokens};
use backends::Loaded;
use contract::{Desired, Gate, Reason, Status, Timestamp};
use plan::{AttemptView, ControlView, Decision, LaunchSaid, Policy, Slot, Snapshot, TasksSeen};
use serde::Serialize;

/// The first step that a reconciler would take. It supposes a free slot and knows nothing of running tasks,
/// which the API cannot see.
#[derive(Serialize)]
pub(crate) struct DecisionView {
    /// `write`, `do` or `wait`.
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    effect: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
}

/// What a reconciler would do first if `desired` were stored now.
pub(crate) fn decide(app: &App, loaded: &Loaded, desired: &Desired) -> DecisionView {
    let now = app.clock.now();
    let snapshot = snapshot(app, loaded, desired, now);
    let decision = plan::plan(&snapshot, now, &Policy::default(), Slot::Granted);
    let mut view = DecisionView {
        kind: "wait",
        effect: None,
        why: None,
        status: None,
        reason: None,
        message: None,
        until: None,
    };
    match decision {
        Decision::Write { control, why, .. } => {
            view.kind = "write";
            view.why = Some(why);
            view.status = Some(control.status());
            view.reason = control.reason;
            view.message = Some(without_tokens(&control.message).into_owned());
        }
        Decision::Do { effect, why } => {
            view.kind = "do";
            view.effect = Some(effect.name());
            view.why = Some(why);
        }
        Decision::Wait { reason, until, .. } => {
            view.reason = reason;
            view.until = until;
        }
    }
    view
}

fn snapshot(app: &App, loaded: &Loaded, desired: &Desired, now: Timestamp) -> Snapshot {
    let seen = Seen::of(&loaded.job);
    let attempts = told(loaded);
    let broken = attempts.iter().find(|a| !a.is_whole());
    Snapshot {
        job_id: loaded.job.job_id.clone(),
        created_at: seen.created.map_or(now, |c| c.at),
        desired: Ok(desired.clone()),
        control: match seen.control {
            None => ControlView::Absent,
            Some(Err(_)) => ControlView::Broken,
            Some(Ok(control)) => ControlView::Valid(Box::new(control)),
        },
        active: true,
        broken_attempt: broken.map(|a| format!("attempt {} cannot be decoded", a.number)),
        misconfigured: app.job_types.check(desired, app.supports).err().map(|e| e.to_string()),
        // The reconciler knows, and has written it down.
        scarce: std::collections::BTreeMap::new(),
        attempts: attempts.into_iter().filter_map(attempt).collect(),
    }
}

fn attempt(told: Told<'_>) -> Option<AttemptView> {
    let claim = told.claim?;
    Some(AttemptView {
        token: told.token.clone(),
        number: claim.number,
        run: claim.run,
        retry: claim.retry,
        claimed_at: claim.claimed_at,
        attempt_timeout_seconds: claim.attempt_timeout_seconds,
        start_timeout_seconds: claim.start_timeout_seconds,
        stop_grace_seconds: claim.stop_grace_seconds,
        started_at: told.report.as_ref().map(|r| r.started_at),
        // An outcome counts once the gate says so; both are one write, and a hand edit is not.
        outcome: told
            .report
            .and_then(|r| r.outcome)
            .filter(|_| matches!(told.gate, Some(Gate::Finished { .. }))),
        gate: told.gate,
        closing: told.closing,
        mine_for_ms: None,
        launch: LaunchSaid::Nothing,
        tasks: TasksSeen::default(),
        stop_asked: false,
        stops_explained: false,
        published: None,
        price: None,
        phases: std::collections::BTreeMap::new(),
    })
}
