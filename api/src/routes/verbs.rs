//! `POST /jobs/{id}/cancel|retry|suspend|resume`: sugar over the same write of `desired` that PATCH does.
//! Each may be repeated: asking for what is wanted already changes nothing and is a success.

use super::job::show;
use crate::Shared;
use crate::access::Actor;
use crate::author::Author;
use crate::body::{OptionalBody, repeated, syntax};
use crate::edit::edit;
use crate::problem::{Problem, ProblemBody};
use crate::query::{Id, IfMatch, Params};
use crate::schema::{JobDocument, RetryRequest};
use crate::view::Seen;
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use contract::decode::Fields;
use contract::{Desired, Invalid, JobId, Reason};
use std::sync::Arc;

/// Cancels: the job ends as FAILED/Cancelled once its attempt is stopped.
#[utoipa::path(post, path = "/jobs/{id}/cancel", operation_id = "cancel_job", tag = "verbs",
    params(
        ("id" = String, Path, description = "The job"),
        ("change_cause" = Option<String>, Query, description = "Why, in 1 to 256 characters; shown with who asked"),
        ("If-Match" = Option<String>, Header, description = "ETag of the job"),
    ),
    responses(
        (status = 200, description = "Cancellation is wanted (now or already)", body = JobDocument),
        (status = 404, description = "No such job", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "The job has ended otherwise", body = ProblemBody, content_type = "application/problem+json"),
        (status = 412, description = "desired has changed", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn cancel(
    State(shared): State<Arc<Shared>>,
    Id(job_id): Id,
    Extension(actor): Extension<Actor>,
    mut params: Params,
    condition: IfMatch,
    body: OptionalBody,
) -> Result<Response, Problem> {
    let author = shared.author(actor, params.change_cause());
    params.finish()?;
    no_members(&body)?;
    act(&shared, &job_id, "cancel", &condition, &author, |seen, mut desired| {
        let ended_so = desired.cancel && seen.view.reason == Some(Reason::Cancelled);
        if seen.is_finished() && !ended_so {
            return Err(Problem::Conflict(format!("the job has ended ({})", ending(seen))));
        }
        desired.cancel = true;
        Ok(desired)
    })
    .await
}

/// Starts a finished job again, with a fresh retry budget.
///
/// Clears `cancel`. An unfinished job answers 409 unless `force` is given, by query or by body: then its
/// attempt is stopped first. Asking again before the reconciler has begun the retry changes nothing.
#[utoipa::path(post, path = "/jobs/{id}/retry", operation_id = "retry_job", tag = "verbs",
    params(
        ("id" = String, Path, description = "The job"),
        ("force" = Option<bool>, Query, description = "Also when the job has not ended"),
        ("change_cause" = Option<String>, Query, description = "Why, in 1 to 256 characters; shown with who asked"),
        ("If-Match" = Option<String>, Header, description = "ETag of the job"),
    ),
    request_body(content = Option<RetryRequest>, content_type = "application/json"),
    responses(
        (status = 200, description = "A new run is wanted (now or already)", body = JobDocument),
        (status = 400, description = "Not JSON", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "No such job", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "The job has not ended", body = ProblemBody, content_type = "application/problem+json"),
        (status = 412, description = "desired has changed", body = ProblemBody, content_type = "application/problem+json"),
        (status = 415, description = "Not sent as JSON", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "Unknown members", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn retry(
    State(shared): State<Arc<Shared>>,
    Id(job_id): Id,
    Extension(actor): Extension<Actor>,
    mut params: Params,
    condition: IfMatch,
    body: OptionalBody,
) -> Result<Response, Problem> {
    let force = params.flag("force");
    let author = shared.author(actor, params.change_cause());
    params.finish()?;
    let force = force_of(&body)? || force;
    let mut wanted: Option<u64> = None;
    act(&shared, &job_id, "retry", &condition, &author, |seen, mut desired| {
        // Fixed at the first look: a lost round of the write must not count as a second wish.
        let stored = desired.retry.max(seen.control().map_or(0, |c| c.seen_retry));
        let wanted = *wanted.get_or_insert(stored + u64::from(!seen.retry_is_pending()));
        if desired.retry < wanted && !seen.is_finished() && !force {
            let status = seen.view.status;
            let message = format!(
                "the job is {status} and has not ended; cancel it or wait, or use ?force=true to stop its attempt and start again"
            );
            return Err(Problem::Conflict(message));
        }
        desired.retry = desired.retry.max(wanted);
        desired.cancel = false;
        Ok(desired)
    })
    .await
}

/// Holds the job: nothing is launched, and a running attempt is stopped without using up a try.
#[utoipa::path(post, path = "/jobs/{id}/suspend", operation_id = "suspend_job", tag = "verbs",
    params(
        ("id" = String, Path, description = "The job"),
        ("change_cause" = Option<String>, Query, description = "Why, in 1 to 256 characters; shown with who asked"),
        ("If-Match" = Option<String>, Header, description = "ETag of the job"),
    ),
    responses(
        (status = 200, description = "The job is to be held (now or already)", body = JobDocument),
        (status = 404, description = "No such job", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "The job has ended", body = ProblemBody, content_type = "application/problem+json"),
        (status = 412, description = "desired has changed", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn suspend(
    State(shared): State<Arc<Shared>>,
    Id(job_id): Id,
    Extension(actor): Extension<Actor>,
    mut params: Params,
    condition: IfMatch,
    body: OptionalBody,
) -> Result<Response, Problem> {
    let author = shared.author(actor, params.change_cause());
    params.finish()?;
    no_members(&body)?;
    act(&shared, &job_id, "suspend", &condition, &author, |seen, mut desired| {
        if seen.is_finished() && !desired.suspend {
            return Err(Problem::Conflict(format!(
                "the job has ended ({}); there is nothing to hold",
                ending(seen)
            )));
        }
        desired.suspend = true;
        Ok(desired)
    })
    .await
}

/// Lets a suspended job go on.
#[utoipa::path(post, path = "/jobs/{id}/resume", operation_id = "resume_job", tag = "verbs",
    params(
        ("id" = String, Path, description = "The job"),
        ("change_cause" = Option<String>, Query, description = "Why, in 1 to 256 characters; shown with who asked"),
        ("If-Match" = Option<String>, Header, description = "ETag of the job"),
    ),
    responses(
        (status = 200, description = "The job may go on (now or already)", body = JobDocument),
        (status = 404, description = "No such job", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "The record cannot be decoded", body = ProblemBody, content_type = "application/problem+json"),
        (status = 412, description = "desired has changed", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn resume(
    State(shared): State<Arc<Shared>>,
    Id(job_id): Id,
    Extension(actor): Extension<Actor>,
    mut params: Params,
    condition: IfMatch,
    body: OptionalBody,
) -> Result<Response, Problem> {
    let author = shared.author(actor, params.change_cause());
    params.finish()?;
    no_members(&body)?;
    act(&shared, &job_id, "resume", &condition, &author, |_, mut desired| {
        desired.suspend = false;
        Ok(desired)
    })
    .await
}

/// Edits `desired` by a verb and shows the job.
async fn act(
    shared: &Shared,
    job_id: &JobId,
    verb: &'static str,
    condition: &IfMatch,
    author: &Author,
    mut change: impl FnMut(&Seen, Desired) -> Result<Desired, Problem>,
) -> Result<Response, Problem> {
    let edited = edit(shared, job_id, condition, author, |_, seen| match &seen.desired {
        // Checked again, so that a counter at its end is refused and not stored.
        Ok(desired) => {
            let changed = change(seen, desired.clone())?;
            Desired::parse(&changed.to_text()).map_err(Problem::Invalid)
        }
        Err(invalid) => Err(Problem::Undecodable(invalid.clone())),
    })
    .await?;
    if edited.changed {
        shared.app.metrics.desired_writes.with_label_values(&[verb]).inc();
        tracing::info!(%job_id, verb, cause = author.cause, "desired changed");
    }
    show(shared, &edited.job, &Seen::of(&edited.job)).await
}

fn ending(seen: &Seen) -> String {
    let status = seen.view.status;
    seen.view.reason.map_or_else(|| status.to_string(), |reason| format!("{status}, {reason}"))
}

fn force_of(OptionalBody(body): &OptionalBody) -> Result<bool, Problem> {
    let Some(text) = body else { return Ok(false) };
    if let Some(problem) = syntax(text) {
        return Err(problem);
    }
    let mut errors = repeated(text);
    let mut fields = Fields::of(text, "", &mut errors);
    let force = fields.boolean("force").unwrap_or(false);
    fields.finish();
    if errors.is_empty() { Ok(force) } else { Err(Problem::Invalid(Invalid { errors })) }
}

/// A body means nothing to these verbs; one that holds something is a misunderstanding.
fn no_members(OptionalBody(body): &OptionalBody) -> Result<(), Problem> {
    let Some(text) = body else { return Ok(()) };
    if let Some(problem) = syntax(text) {
        return Err(problem);
    }
    let mut errors = Vec::new();
    Fields::of(text, "", &mut errors).finish();
    if errors.is_empty() { Ok(()) } else { Err(Problem::Invalid(Invalid { errors })) }
}
