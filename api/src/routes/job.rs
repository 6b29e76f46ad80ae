//! `GET /jobs/{id}`, with its long poll.

use super::create::tag;
use crate::Shared;
use crate::answer::json;
use crate::edit::read;
use crate::problem::{Problem, ProblemBody};
use crate::query::{Id, Params};
use crate::schema::JobDocument;
use crate::view::{JobView, Seen, Shown};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use contract::attempt::RESULT_FILE;
use contract::{Attempt, Job, JobId, JsonText, Status};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A result up to this many bytes is part of the answer, a larger one is a link.
const INLINE_RESULT: u64 = 1024 * 1024;

/// What a long poll waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    /// Another status than at the start, or the end.
    Changed,
    /// The end.
    Finished,
}

/// Shows a job.
///
/// `ETag` is a digest of the raw `desired`, for `If-Match` of a later PATCH; it does not speak of the status.
/// With `wait` the answer comes when the status is another one than at the start of the request or is
/// terminal, with `until=finished` when it is terminal, and at the end of the wait in any case. Conditions are
/// told by `explain`: they speak of attempts too, and this is one read of the job.
#[utoipa::path(get, path = "/jobs/{id}", operation_id = "get_job", tag = "jobs",
    params(
        ("id" = String, Path, description = "The job"),
        ("wait" = Option<String>, Query, description = "Long poll: `30s`, `500ms`, `1m`; at most 60 s"),
        ("until" = Option<String>, Query, description = "`changed` (default) or `finished`; needs `wait`"),
        ("pretty" = Option<bool>, Query, description = "Indented"),
    ),
    responses(
        (status = 200, description = "The job", body = JobDocument),
        (status = 400, description = "Unacceptable query", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "No such job", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "Too many requests wait, or the store is not available", body = ProblemBody,
            content_type = "application/problem+json"),
    ))]
pub(crate) async fn get(
    State(shared): State<Arc<Shared>>,
    Id(job_id): Id,
    mut params: Params,
) -> Result<Response, Problem> {
    let wait = params.duration("wait");
    let until = params.read("until", |text| match text {
        "changed" => Ok(Until::Changed),
        "finished" => Ok(Until::Finished),
        _ => Err("changed or finished".to_owned()),
    });
    params.finish()?;
    let (job, seen) = match wait {
        Some(wait) => waited(&shared, &job_id, wait, until.unwrap_or(Until::Changed)).await?,
        None => {
            let job = read(&shared, &job_id).await?;
            let seen = Seen::of(&job);
            (job, seen)
        }
    };
    show(&shared, &job, &seen).await
}

async fn waited(
    shared: &Shared,
    job_id: &JobId,
    wait: Duration,
    until: Until,
) -> Result<(Job, Seen), Problem> {
    let deadline = Instant::now() + wait.min(shared.app.limits.longest_wait);
    let mut waiter = shared.app.changes.watch(job_id)?;
    let mut first: Option<Status> = None;
    let mut last_look = false;
    loop {
        let job = read(shared, job_id).await?;
        let seen = Seen::of(&job);
        let status = seen.view.status;
        let changed = *first.get_or_insert(status) != status;
        if last_look || status.is_terminal() || (changed && until == Until::Changed) {
            return Ok((job, seen));
        }
        last_look = !waiter.again(deadline).await;
    }
}

/// The answer that shows a job as it is now.
pub(crate) async fn show(shared: &Shared, job: &Job, seen: &Seen) -> Result<Response, Problem> {
    let shown = result(shared, job, seen).await;
    let mut response = json(StatusCode::OK, &JobView::new(job, seen, shown))?;
    tag(&mut response, &job.desired)?;
    Ok(response)
}

/// The key of the accepted result.
pub(crate) fn result_key(job_id: &JobId, seen: &Seen) -> Option<String> {
    let accepted = seen.control()?.accepted.as_ref()?;
    Some(format!("{}/{RESULT_FILE}", Attempt::folder(job_id, accepted.number, &accepted.token)))
}

/// Results are shown by the attempt that `control` names and not by the plain path, which is a copy. A
/// result that cannot be read now does not keep the rest of the job from being shown.
async fn result(shared: &Shared, job: &Job, seen: &Seen) -> Shown {
    let Some(key) = result_key(&job.job_id, seen).filter(|_| seen.is_finished()) else {
        return Shown::default();
    };
    let url = Some(format!("/jobs/{}/result", job.job_id));
    let problem = match shared.app.artifacts.get(&key, Some(0..INLINE_RESULT + 1)).await {
        Ok(Some(bytes)) if bytes.len() as u64 > INLINE_RESULT => {
            return Shown { result: None, url, problem: None };
        }
        Ok(Some(bytes)) => {
            let text = String::from_utf8(bytes).map_err(|e| e.to_string());
            match text.and_then(|text| JsonText::new(text).map_err(|e| e.to_string())) {
                Ok(result) => return Shown { result: Some(result), url, problem: None },
                Err(e) => format!("the stored result is not JSON any more: {e}"),
            }
        }
        Ok(None) => "the stored result is gone".to_owned(),
        Err(e) => e.to_string(),
    };
    tracing::warn!(job_id = %job.job_id, problem, "result is not readable");
    Shown { result: None, url, problem: Some(problem) }
}
