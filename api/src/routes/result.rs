//! `GET /jobs/{id}/result`.

use super::download::artifact;
use super::job::result_key;
use crate::Shared;
use crate::edit::read;
use crate::problem::{Problem, ProblemBody};
use crate::query::{Id, Params};
use crate::view::Seen;
use axum::extract::State;
use axum::response::Response;
use std::sync::Arc;

/// The result of the accepted attempt: any JSON value.
#[utoipa::path(get, path = "/jobs/{id}/result", operation_id = "get_result", tag = "outputs",
    params(("id" = String, Path, description = "The job"), ("pretty" = Option<bool>, Query, description = "Indented, up to 256 KiB")),
    responses(
        (status = 200, description = "The result", body = Object),
        (status = 404, description = "No such job, or no result (yet)", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "A store is not available", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn get(
    State(shared): State<Arc<Shared>>,
    Id(job_id): Id,
    params: Params,
) -> Result<Response, Problem> {
    params.finish()?;
    let job = read(&shared, &job_id).await?;
    let seen = Seen::of(&job);
    let status = seen.view.status;
    let why = match seen.view.reason {
        Some(reason) => format!("the job is {status} ({reason})"),
        None => format!("the job is {status}"),
    };
    let Some(key) = result_key(&job_id, &seen).filter(|_| seen.is_finished()) else {
        let when =
            if seen.is_finished() { "it has no result" } else { "a result is there once it has SUCCEEDED" };
        return Err(Problem::Absent(format!("{why}; {when}")));
    };
    let found = artifact(&shared, &key, 0, "application/json").await?;
    found.ok_or_else(|| Problem::Absent(format!("{why}, but its stored result is gone")))
}
