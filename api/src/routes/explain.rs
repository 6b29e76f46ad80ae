//! `GET /jobs/{id}/explain`: why a job is where it is, what happens next and who has to act. It says what
//! the reconciler wrote into `control`, in sentences; nothing is decided here.

use super::attempts::{Told, current, load, told};
use super::position::{Position, position, would_wait};
use crate::Shared;
use crate::answer::json;
use crate::conditions::{Condition, conditions};
use crate::problem::{Problem, ProblemBody};
use crate::query::{Id, Params};
use crate::schema::Explanation;
use crate::view::{Seen, without_tokens};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use contract::decode::FieldError;
use contract::{Control, Reason, Status, Timestamp};
use serde::Serialize;
use std::borrow::Cow;
use std::sync::Arc;

/// The lease of a reconciler that has not renewed for this long says that none is running. Several times
/// the renewal interval of every lease, and it only picks words.
const STALE_LEASE_MS: i64 = 60_000;

#[derive(Serialize)]
struct View<'a> {
    job_id: &'a str,
    status: Status,
    reason: Option<Reason>,
    message: Cow<'a, str>,
    /// Everything else that would keep the job from going on.
    blockers: Vec<Blocker>,
    since: Option<Timestamp>,
    next: Next,
    /// Where it stands among those that wait for the same limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<Position>,
    /// Fields of `desired` that cannot be decoded.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
    conditions: Vec<Condition<'a>>,
}

/// What would keep the job from going on if the primary reason were gone.
#[derive(Serialize)]
struct Blocker {
    reason: Reason,
    /// In words, with the facts.
    message: String,
}

/// What comes next.
#[derive(Serialize)]
struct Next {
    /// In words.
    what: Cow<'static, str>,
    /// When at the latest, or not before; absent when nothing is scheduled.
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<Timestamp>,
    /// `nobody`, `you` (whoever submitted the job) or `operator`.
    who: &'static str,
}

/// Why a job is where it is, since when, what happens next and when, and who must act.
#[utoipa::path(get, path = "/jobs/{id}/explain", operation_id = "explain_job", tag = "history",
    params(("id" = String, Path, description = "The job"), ("pretty" = Option<bool>, Query, description = "Indented")),
    responses(
        (status = 200, description = "The explanation", body = Explanation),
        (status = 404, description = "No such job", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "The store is not available", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn get(
    State(shared): State<Arc<Shared>>,
    Id(job_id): Id,
    params: Params,
) -> Result<Response, Problem> {
    params.finish()?;
    let loaded = load(&shared, &job_id).await?;
    let seen = Seen::of(&loaded.job);
    let attempts = told(&loaded);
    let attempt = current(seen.control(), &attempts);
    let errors = seen.desired.as_ref().err().map_or(&[][..], |invalid| &invalid.errors);
    let reason = seen.view.reason;
    let mut next = next(&seen, reason, attempt);
    if !seen.is_finished() && !reconciles(&shared).await {
        next = Next {
            what: "no reconciler is running; nothing happens until one is started".into(),
            at: None,
            who: "operator",
        };
    }
    let position = match reason {
        Some(Reason::WaitingForQuota) => position(&shared, &job_id).await?,
        _ => None,
    };
    let mut blockers = blockers(&shared, &seen);
    if seen.view.status == Status::Queued
        && reason.is_some_and(keeps_from_competing)
        && blockers.iter().all(|b| b.reason != Reason::WaitingForQuota)
        && let Some(message) = would_wait(&shared, &job_id).await?
    {
        blockers.push(Blocker { reason: Reason::WaitingForQuota, message });
    }
    let view = View {
        job_id: job_id.as_str(),
        status: seen.view.status,
        reason,
        message: without_tokens(&seen.view.message),
        blockers,
        since: since(&seen, reason, attempt, shared.app.clock.now()),
        next,
        position,
        errors,
        conditions: conditions(&loaded.job, &seen, reason, attempt),
    };
    json(StatusCode::OK, &view)
}

/// Reasons before that of the limits, with which a job does not ask for a slot.
fn keeps_from_competing(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Misconfigured
            | Reason::Suspended
            | Reason::BackingOff
            | Reason::LaunchThrottled
            | Reason::InsufficientCapacity
    )
}

/// Whether somebody seems to hold the lease. When that cannot be told, yes: a false alarm helps nobody.
async fn reconciles(shared: &Shared) -> bool {
    match shared.app.lease.view().await {
        Ok(Some(view)) => {
            let age = shared.app.clock.now().millis_since(view.renewed_at);
            !view.released && age <= STALE_LEASE_MS
        }
        Ok(None) => false,
        Err(_) => true,
    }
}

fn blockers(shared: &Shared, seen: &Seen) -> Vec<Blocker> {
    let Some(control) = seen.control() else { return Vec::new() };
    let not_before = control.not_before.map(|at| format!("; not before {at}")).unwrap_or_default();
    let message = |reason| match reason {
        Reason::Misconfigured => {
            let check = |d| shared.app.job_types.check(d, shared.app.supports).err();
            let wrong = seen.desired.as_ref().ok().and_then(check);
            wrong.map_or("the configuration does not allow a launch".to_owned(), |e| e.to_string())
        }
        Reason::Suspended => "the job is held until it is resumed: POST /jobs/{id}/resume".to_owned(),
        Reason::BackingOff => format!("it pauses after a failed try{not_before}"),
        Reason::LaunchThrottled => format!("the task runtime asked for fewer launches{not_before}"),
        Reason::InsufficientCapacity => format!("the task runtime has no capacity{not_before}"),
        Reason::WaitingForQuota => format!("a limit on running tasks is reached{not_before}"),
        other => other.to_string(),
    };
    control.blockers.iter().map(|&reason| Blocker { reason, message: message(reason) }).collect()
}

/// Since when the reason that is shown holds. Records of versions that did not store it tell the newest time that they
/// hold for the present state: a hold and a wish that nobody has looked at began with the last change at the latest.
fn since(
    seen: &Seen,
    reason: Option<Reason>,
    attempt: Option<&Told<'_>>,
    now: Timestamp,
) -> Option<Timestamp> {
    let stored = seen.reason_since(reason);
    if seen.desired.is_err() {
        // The reconciler has not got round to it, and a direct edit leaves no time.
        return stored;
    }
    let created = seen.created.as_ref().ok().map(|c| c.at);
    let changed = seen.desired.as_ref().ok().and_then(|d| d.updated.as_ref()).map(|updated| updated.at);
    let paused_until = seen.control().and_then(|c| c.not_before).filter(|at| *at <= now);
    let run = seen.control().map(|c| c.run_started_at);
    let closed = attempt.and_then(|a| a.closing.as_ref()).map(|c| c.closed_at);
    let claimed = attempt.and_then(|a| a.claim.as_ref()).map(|c| c.claimed_at);
    let begun = match seen.view.status {
        Status::Succeeded | Status::Failed => seen.view.finished_at,
        Status::Running => stored.or(seen.view.started_at),
        Status::Queued => stored.or(match reason {
            Some(Reason::Launching) => claimed,
            Some(Reason::Suspended | Reason::PendingEvaluation) => closed.max(run).max(changed),
            _ => closed.max(run).max(paused_until),
        }),
    };
    begun.or(run).or(created)
}

fn next(seen: &Seen, reason: Option<Reason>, attempt: Option<&Told<'_>>) -> Next {
    let claim = attempt.and_then(|a| a.claim.as_ref());
    let control = seen.control();
    let not_before = control.and_then(|c| c.not_before);
    let deadline = control.zip(seen.desired.as_ref().ok());
    let deadline = deadline.map(|(c, d)| c.run_started_at.plus_seconds(d.active_deadline_seconds));
    let say = |what: &'static str, at, who| Next { what: what.into(), at, who };
    match seen.view.status {
        Status::Running if reason == Some(Reason::InvalidRecord) => say(
            "the agent goes on; nothing else happens until the fields are fixed: PATCH the job, or edit the record",
            None,
            "you",
        ),
        _ if reason == Some(Reason::InvalidRecord) => {
            say("nothing until the fields are fixed: PATCH the job, or edit the record", None, "you")
        }
        Status::Succeeded | Status::Failed => ended(control, reason),
        Status::Running if reason.is_some() => {
            say("its attempt is being stopped; only then the job goes on or ends", None, "nobody")
        }
        Status::Running => {
            let ends =
                seen.view.started_at.zip(claim).map(|(at, c)| at.plus_seconds(c.attempt_timeout_seconds));
            say("the agent works; its attempt is stopped at this time at the latest", ends, "nobody")
        }
        Status::Queued => match reason {
            Some(Reason::Suspended) => {
                say("nothing until the job is resumed: POST /jobs/{id}/resume", None, "you")
            }
            Some(Reason::Misconfigured) if control.is_some_and(|c| c.suspended) => say(
                "nothing until the configuration allows a launch and the job is resumed: POST /jobs/{id}/resume",
                None,
                "operator",
            ),
            Some(Reason::Misconfigured) => say(
                "the next try, once the configuration allows it; the job fails at its deadline",
                not_before.or(deadline),
                "operator",
            ),
            Some(Reason::WaitingForQuota) => {
                say("it starts when a slot is free; the job fails at its deadline", deadline, "nobody")
            }
            Some(Reason::BackingOff) => {
                say("the next try starts then, or when a slot is free after it", not_before, "nobody")
            }
            Some(Reason::LaunchThrottled | Reason::InsufficientCapacity) => {
                say("the launch is tried again then", not_before, "nobody")
            }
            Some(Reason::Launching) => {
                let ends = claim.map(|c| c.claimed_at.plus_seconds(c.start_timeout_seconds));
                say("its task starts; at this time at the latest the attempt is given up", ends, "nobody")
            }
            _ => say("the reconciler looks at it", None, "nobody"),
        },
    }
}

fn ended(control: Option<&Control>, reason: Option<Reason>) -> Next {
    let at = control.and_then(|c| c.expires_at);
    let what = match at {
        Some(_) => "job and artifacts are deleted then; POST /jobs/{id}/retry starts it again",
        None => "nothing; POST /jobs/{id}/retry starts it again",
    };
    let who = match reason {
        Some(Reason::Completed | Reason::Cancelled) => "nobody",
        Some(
            Reason::TaskFailedToStart | Reason::Misconfigured | Reason::WorkerLost | Reason::StartTimeout,
        ) => "operator",
        _ => "you",
    };
    Next { what: what.into(), at, who }
}
