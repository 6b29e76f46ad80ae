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
use contract::{Reason, Timestamp, Updated, Verdict};
use serde::Serialize;
use std::borrow::Cow;
use std::sync::Arc;

/// The most events of an answer that are told one by one. A job that was retried for weeks has more; its older ones are
/// told together, each kind once with how many there were.
const SINGLE: usize = 500;

/// Something that happened.
#[derive(Serialize)]
struct Event {
    at: Timestamp,
    /// `created`, `edited`, `claimed`, `started`, `finished`, `closed` or `ended`.
    event: &'static str,
    #[serde(rename = "type")]
    kind: Kind,
    /// One word: a [`contract::Reason`], a [`contract::FailureClass`], a [`contract::LeaveReason`], or the event itself.
    reason: Cow<'static, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    message: String,
    /// How many are told together; the time, the attempt and the message are those of the last.
    count: usize,
}

/// Whether somebody may want to look.
#[derive(Serialize, Clone, Copy)]
enum Kind {
    Normal,
    Warning,
}

impl Event {
    fn normal(at: Timestamp, event: &'static str, reason: impl Into<Cow<'static, str>>, said: &str) -> Self {
        let message = without_tokens(said).into_owned();
        Self { at, event, kind: Kind::Normal, reason: reason.into(), attempt: None, message, count: 1 }
    }
}

#[derive(Serialize)]
struct Page<'a> {
    job_id: &'a str,
    events: Vec<Event>,
}

/// What happened to a job, oldest first: `created`, `edited` (the last change of `desired` by the API, with who and
/// why), for each attempt `claimed`, `started`, `finished` (its worker reported an outcome) and `closed`, and `ended`.
///
/// Of a job with more than 500 of them the older ones are told together: the last of each kind, with its `count`.
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
        let said = format!("submitted by {}", created.actor);
        events.push(Event::normal(created.at, "created", "Created", &said));
    }
    if let Some(Updated { by, at, cause, .. }) = seen.desired.as_ref().ok().and_then(|d| d.updated.as_ref()) {
        let cause = cause.as_ref().map(|cause| format!(": {cause}")).unwrap_or_default();
        events.push(Event::normal(*at, "edited", "Edited", &format!("by {by}{cause}")));
    }
    for attempt in &told(&loaded) {
        of_attempt(attempt, &mut events);
    }
    if let Some(at) = seen.view.finished_at {
        events.push(ended(&seen, at));
    }
    // Stable: what happened within a millisecond stays in the order of the protocol.
    events.sort_by_key(|e| e.at);
    json(StatusCode::OK, &Page { job_id: job_id.as_str(), events: bounded(events) })
}

/// The older ones beyond [`SINGLE`] told together, each kind once.
fn bounded(mut events: Vec<Event>) -> Vec<Event> {
    let recent = events.split_off(events.len().saturating_sub(SINGLE));
    let mut older: Vec<Event> = Vec::new();
    for event in events {
        let same = older.iter().position(|o| (o.event, &o.reason) == (event.event, &event.reason));
        let count = same.map_or(0, |at| older.remove(at).count);
        older.push(Event { count: event.count + count, ..event });
    }
    older.into_iter().chain(recent).collect()
}

fn ended(seen: &Seen, at: Timestamp) -> Event {
    let view = &seen.view;
    let reason = view.reason.map(|r| format!(" ({r})")).unwrap_or_default();
    let colon = if view.message.is_empty() { "" } else { ": " };
    let said = format!("{}{reason}{colon}{}", view.status, view.message);
    let word = view.reason.map_or("Ended", Reason::as_str);
    let wanted = matches!(view.reason, Some(Reason::Completed | Reason::Cancelled));
    let kind = if wanted { Kind::Normal } else { Kind::Warning };
    Event { kind, ..Event::normal(at, "ended", word, &said) }
}

fn of_attempt(told: &Told<'_>, events: &mut Vec<Event>) {
    let attempt = (told.number > 0).then_some(told.number);
    let mut note = |event: Event| events.push(Event { attempt, ..event });
    if let Some(claim) = &told.claim {
        let said = format!("attempt {} of run {}", claim.number, claim.run);
        note(Event::normal(claim.claimed_at, "claimed", "Claimed", &said));
    }
    if let Some(report) = &told.report {
        note(Event::normal(report.started_at, "started", "Started", "the worker passed the start gate"));
        if let Some(outcome) = &report.outcome {
            let at = outcome.finished_at;
            note(match &outcome.failure {
                None => Event::normal(at, "finished", "Succeeded", "the worker reported success"),
                Some(failure) => {
                    let said = format!("the worker reported {}: {}", failure.class, failure.message);
                    let event = Event::normal(at, "finished", failure.class.as_str(), &said);
                    Event { kind: Kind::Warning, ..event }
                }
            });
        }
    }
    if let Some(closing) = &told.closing {
        let at = closing.closed_at;
        note(match &closing.verdict {
            Verdict::Succeeded => Event::normal(at, "closed", "Succeeded", "succeeded"),
            Verdict::Failed { class, message } => {
                let event =
                    Event::normal(at, "closed", class.as_str(), &format!("failed ({class}): {message}"));
                Event { kind: Kind::Warning, ..event }
            }
            Verdict::Left { why } => Event::normal(at, "closed", why.to_string(), &format!("left ({why})")),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_events_of_a_job_that_was_retried_for_weeks_are_bounded_and_none_is_uncounted() {
        let at = |n: i64| Timestamp::from_millis(n);
        let mut events = vec![Event::normal(at(0), "created", "Created", "submitted by a")];
        for n in 1..=2_000_i64 {
            let reason = if n % 3 == 0 { "OutOfMemory" } else { "NonZeroExitCode" };
            events.push(Event::normal(at(n), "closed", reason, &format!("attempt {n}")));
        }
        let told = bounded(events);
        assert_eq!(told.len(), 3 + SINGLE);
        assert_eq!(told.iter().map(|e| e.count).sum::<usize>(), 2_001);
        assert!(told.is_sorted_by_key(|e| e.at));
        let older: Vec<_> = told[..3].iter().map(|e| (&*e.reason, e.count, e.message.as_str())).collect();
        let expected = [
            ("Created", 1, "submitted by a"),
            ("NonZeroExitCode", 1_000, "attempt 1499"),
            ("OutOfMemory", 500, "attempt 1500"),
        ];
        assert_eq!(older, expected);
        assert_eq!((told[3].count, told[3].message.as_str()), (1, "attempt 1501"));
    }
}
