//! `POST /jobs/batch`: many submissions in one request, each stored or refused by itself.

use super::create::{idempotency_key, submit};
use crate::Shared;
use crate::access::Actor;
use crate::answer::json;
use crate::body::BatchBody;
use crate::problem::{Problem, ProblemBody};
use crate::query::Params;
use crate::schema::{BatchAnswer, BatchRequest};
use axum::Extension;
use axum::body::to_bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use contract::decode::Invalid;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::sync::Arc;

/// The most jobs of one request. Their commits are shared, so a larger batch would hardly be faster, and its
/// answer comes only when all are stored.
const MOST: usize = 500;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch<'a> {
    #[serde(borrow)]
    jobs: Vec<&'a RawValue>,
}

#[derive(Serialize)]
struct Results {
    results: Vec<One>,
}

#[derive(Serialize)]
struct One {
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    job_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Box<RawValue>>,
}

/// Submits up to 500 jobs.
///
/// The answer has one result for each job, in their order, with the status that `POST /jobs` would have had: one
/// bad job keeps no other from being stored. With an `Idempotency-Key` a repetition of the same request meets the
/// jobs of the first.
#[utoipa::path(post, path = "/jobs/batch", operation_id = "create_jobs", tag = "jobs",
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 printable ASCII characters")),
    request_body(content = BatchRequest, content_type = "application/json"),
    responses(
        (status = 200, description = "What became of each job", body = BatchAnswer),
        (status = 400, description = "Not JSON", body = ProblemBody, content_type = "application/problem+json"),
        (status = 413, description = "More than 8 MiB", body = ProblemBody, content_type = "application/problem+json"),
        (status = 415, description = "Not sent as JSON", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "Not a list of 1 to 500 jobs", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "Busy", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn create(
    State(shared): State<Arc<Shared>>,
    params: Params,
    headers: HeaderMap,
    Extension(actor): Extension<Actor>,
    BatchBody(body): BatchBody,
) -> Result<Response, Problem> {
    params.finish()?;
    let key = idempotency_key(&headers)?;
    let jobs = read(&body)?;
    let submissions = jobs.iter().enumerate().map(|(at, job)| {
        let key = key.as_ref().map(|key| format!("{key}/{at}"));
        let (shared, actor) = (&shared, &actor);
        async move { one(submit(shared, actor, key, job.get()).await).await }
    });
    let results = join_all(submissions).await.into_iter().collect::<Result<Vec<_>, _>>()?;
    json(StatusCode::OK, &Results { results })
}

fn read(body: &str) -> Result<Vec<&RawValue>, Problem> {
    if let Some(problem) = crate::body::syntax(body) {
        return Err(problem);
    }
    let refused = |value: String, message: String| Problem::Invalid(Invalid::one("/jobs", value, message));
    let batch: Batch<'_> = serde_json::from_str(body).map_err(|e| {
        refused(String::new(), format!("an object with the list \"jobs\" and nothing else ({e})"))
    })?;
    match batch.jobs.len() {
        1..=MOST => Ok(batch.jobs),
        n => Err(refused(format!("{n} jobs"), format!("1 to {MOST} jobs"))),
    }
}

/// The result of one submission: its answer, inside the answer to all.
async fn one(answer: Result<Response, Problem>) -> Result<One, Problem> {
    let internal = |e: String| Problem::Internal(format!("an answer could not be read back: {e}"));
    let (parts, body) = answer.into_response().into_parts();
    let bytes = to_bytes(body, usize::MAX).await.map_err(|e| internal(e.to_string()))?;
    let text = String::from_utf8(bytes.into()).map_err(|e| internal(e.to_string()))?;
    let raw = RawValue::from_string(text.trim_end().to_owned()).map_err(|e| internal(e.to_string()))?;
    let place = parts.headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
    let job_id = place.and_then(|place| place.rsplit('/').next()).map(str::to_owned);
    let (job, problem) = if parts.status.is_success() { (Some(raw), None) } else { (None, Some(raw)) };
    Ok(One { status: parts.status.as_u16(), job_id, job, problem })
}
