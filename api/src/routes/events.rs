//! `GET /jobs/{id}/events`: what happened to a job, told from the times that its records hold. Nothing is
//! stored for this, so there is exactly what the records remember.

use super::attempts::{Told, load, told};
use crate::Shared;
use crate::answer::json;
use crate::problem::{Problem, ProblemBody};
use crate::query::{Id, Params};
use crate::schema::EventList;
use crate::view::{Seen, without_tokens};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use contract::{Timestamp, Updated, Verdict};
use serde::Serialize;
use std::sync::Arc;

/// Something that happened.
#[derive(Serialize)]
struct Event {
    at: Timestamp,
    /// `created`, `edited`, `claimed`, `started`, `finished`, `closed` or `ended`.
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    message: String,
}

#[derive(Serialize)]
struct Page<'a> {
    job_id: &'a str,
    events: Vec<Event>,
}

/// What happened to a job, oldest first: `created`, `edited` (the last change of `desired` by the API, with who and
/// why), for each attempt `claimed`, `started`, `finished` (its worker reported an outcome) and `closed`, and `ended`.
///
/// Times of different machines' clocks stand side by side: `started` and `finished` are the worker's.
#[utoipa::path(get, path = "/jobs/{id}/events", operation_id = "list_events", tag = "history",
    params(("id" = String, Path, description = "The job"), ("pretty" = Option<bool>, Query, description = "Indented")),
    responses(
        (status = 200, description = "The events", body = EventList),
        (status = 404, description = "No such job", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "The store is not available", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn list(
    State(shared): State<Arc<Shared>>,
    Id(job_id): Id,
    params: Params,
) -> Result<Response, Problem> {
    params.finish()?;
    let loaded = load(&shared, &job_id).await?;
    let seen = Seen::of(&loaded.job);
    let mut events = Vec::new();
    if let Ok(created) = &seen.created {
        let message = format!("submitted by {}", created.actor);
        events.push(Event { at: created.at, event: "created", attempt: None, message });
    }
    if let Some(Updated { by, at, cause, .. }) = seen.desired.as_ref().ok().and_then(|d| d.updated.as_ref()) {
        let cause = cause.as_ref().map(|cause| format!(": {cause}")).unwrap_or_default();
        let message = without_tokens(&format!("by {by}{cause}")).into_owned();
        events.push(Event { at: *at, event: "edited", attempt: None, message });
    }
    for attempt in &told(&loaded) {
        of_attempt(attempt, &mut events);
    }
    if let Some(at) = seen.view.finished_at {
        let reason = seen.view.reason.map(|r| format!(" ({r})")).unwrap_or_default();
        let colon = if seen.view.message.is_empty() { "" } else { ": " };
        let message = format!("{}{reason}{colon}{}", seen.view.status, seen.view.message);
        events.push(Event {
            at,
            event: "ended",
            attempt: None,
            message: without_tokens(&message).into_owned(),
        });
    }
    // Stable: what happened within a millisecond stays in the order of the protocol.
    events.sort_by_key(|e| e.at);
    json(StatusCode::OK, &Page { job_id: job_id.as_str(), events })
}

fn of_attempt(told: &Told<'_>, events: &mut Vec<Event>) {
    let attempt = (told.number > 0).then_some(told.number);
    let mut note = |at, event, message: String| {
        events.push(Event { at, event, attempt, message: without_tokens(&message).into_owned() });
    };
    if let Some(claim) = &told.claim {
        note(claim.claimed_at, "claimed", format!("attempt {} of run {}", claim.number, claim.run));
    }
    if let Some(report) = &told.report {
        note(report.started_at, "started", "the worker passed the start gate".to_owned());
        if let Some(outcome) = &report.outcome {
            let message = match &outcome.failure {
                None => "the worker reported success".to_owned(),
                Some(failure) => format!("the worker reported {}: {}", failure.class, failure.message),
            };
            note(outcome.finished_at, "finished", message);
        }
    }
    if let Some(closing) = &told.closing {
        let message = match &closing.verdict {
            Verdict::Succeeded => "succeeded".to_owned(),
            Verdict::Failed { class, message } => format!("failed ({class}): {message}"),
            Verdict::Left { why } => format!("left ({why})"),
        };
        note(closing.closed_at, "closed", message);
    }
}
