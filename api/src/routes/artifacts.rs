//! `GET /jobs/{id}/artifacts` and `GET /jobs/{id}/artifacts/{*path}`.

use super::download::download;
use crate::Shared;
use crate::answer::json;
use crate::edit::read;
use crate::problem::{Problem, ProblemBody};
use crate::query::{Id, Params, Rest};
use crate::schema::{Any, ArtifactList};
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use contract::live_log;
use serde::Serialize;
use std::sync::Arc;

#[derive(Serialize)]
struct Page<'a> {
    job_id: &'a str,
    artifacts: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    /// Below `jobs/<job_id>/`.
    path: &'a str,
    size: u64,
    url: String,
}

/// Every stored file of a job: results, logs and the agent's own files of all attempts.
#[utoipa::path(get, path = "/jobs/{id}/artifacts", operation_id = "list_artifacts", tag = "outputs",
    params(("id" = String, Path, description = "The job"), ("pretty" = Option<bool>, Query, description = "Indented")),
    responses(
        (status = 200, description = "The files, by path", body = ArtifactList),
        (status = 404, description = "No such job", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "A store is not available", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn list(
    State(shared): State<Arc<Shared>>,
    Id(job_id): Id,
    params: Params,
) -> Result<Response, Problem> {
    params.finish()?;
    read(&shared, &job_id).await?;
    let folder = format!("jobs/{job_id}");
    let found = shared.app.artifacts.list(&folder).await?;
    let entry = |(key, size): &'_ (String, u64)| (key.len().min(folder.len() + 1), *size);
    // Pieces of logs are how a log gets here, and no file that anybody left.
    let artifacts = found.iter().filter(|(key, _)| !live_log::is_piece(key)).map(|found| {
        let (start, size) = entry(found);
        let path = &found.0[start..];
        Entry { path, size, url: format!("/jobs/{job_id}/artifacts/{}", escaped(path)) }
    });
    json(StatusCode::OK, &Page { job_id: job_id.as_str(), artifacts: artifacts.collect() })
}

/// Percent-encodes what may not stand in a path as it is (RFC 3986).
fn escaped(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(byte.into());
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// One stored file.
///
/// What the agent wrote is sent as a download and never as a page: it must not act with the rights of this
/// address in somebody's browser.
#[utoipa::path(get, path = "/jobs/{id}/artifacts/{path}", operation_id = "get_artifact", tag = "outputs",
    params(("id" = String, Path, description = "The job"), ("path" = String, Path, description = "As listed; may hold slashes")),
    responses(
        (status = 200, description = "The file; its ending says of which type", content(
            (String = "application/octet-stream"), (String = "text/plain"), (Any = "application/json"))),
        (status = 307, description = "It is large and in S3: a URL that is good for 15 minutes"),
        (status = 404, description = "No such job or file", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "A store is not available", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn get(
    State(shared): State<Arc<Shared>>,
    Id(job_id): Id,
    Rest(path): Rest,
    params: Params,
) -> Result<Response, Problem> {
    params.finish()?;
    read(&shared, &job_id).await?;
    let absent = || Problem::Absent(format!("job {job_id} has no artifact {path:?}"));
    // The store refuses such keys too; here it keeps one job's files apart from another's.
    if path.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        return Err(absent());
    }
    let key = format!("jobs/{job_id}/{path}");
    let mut response = download(&shared, &key, content_type(&path)).await?.ok_or_else(absent)?;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
    Ok(response)
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, ending)| ending) {
        Some("json") => "application/json",
        Some("log" | "txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
