//! `GET /jobs/{id}/logs`.

use super::attempts::{Told, current, load, told};
use super::download::{artifact, tail_start};
use crate::Shared;
use crate::problem::{Problem, ProblemBody};
use crate::query::{Id, Params};
use crate::view::Seen;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use backends::Loaded;
use contract::{Attempt, Gate, JobId};
use std::sync::Arc;

/// What an agent wrote to stdout or stderr.
///
/// Logs are stored when an attempt ends; a running one has none yet. The header `agent-runner-attempt` names
/// the attempt whose log it is.
#[utoipa::path(get, path = "/jobs/{id}/logs", operation_id = "get_logs", tag = "outputs",
    params(
        ("id" = String, Path, description = "The job"),
        ("stream" = Option<String>, Query, description = "`stdout` (default) or `stderr`"),
        ("attempt" = Option<u32>, Query, description = "The attempt's number; default: the last one"),
        ("tail" = Option<u32>, Query, description = "Only the last so many lines"),
    ),
    responses(
        (status = 200, description = "The log", body = String, content_type = "text/plain"),
        (status = 400, description = "Unacceptable query", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "No such job or attempt, or no log (yet)", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "A store is not available", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn get(
    State(shared): State<Arc<Shared>>,
    Id(job_id): Id,
    mut params: Params,
) -> Result<Response, Problem> {
    let file = params.read("stream", |text| match text {
        "stdout" => Ok("stdout.log"),
        "stderr" => Ok("stderr.log"),
        _ => Err("stdout or stderr".to_owned()),
    });
    let number = params.number("attempt", 1..=u32::MAX);
    let lines = params.number("tail", 0..=1_000_000);
    params.finish()?;
    let file = file.unwrap_or("stdout.log");
    let loaded = load(&shared, &job_id).await?;
    let attempts = told(&loaded);
    let attempt = match number {
        Some(number) => numbered(&loaded, &attempts, number)?,
        None => {
            let control = Seen::of(&loaded.job).control.and_then(Result::ok);
            let none =
                || Problem::Absent(format!("job {job_id} has had no attempt yet, so there are no logs"));
            current(control.as_ref(), &attempts).ok_or_else(none)?
        }
    };
    let key = format!("{}/{file}", Attempt::folder(&job_id, attempt.number, attempt.token));
    let artifacts = shared.app.artifacts.as_ref();
    let from = match (lines, artifacts.size(&key).await?) {
        (_, None) => return Err(Problem::Absent(why_absent(&job_id, attempt, file))),
        (None, Some(_)) => 0,
        (Some(0), Some(size)) => size,
        (Some(lines), Some(size)) => tail_start(artifacts, &key, size, lines).await?,
    };
    let found = artifact(&shared, &key, from, "text/plain; charset=utf-8").await?;
    let mut response = found.ok_or_else(|| Problem::Absent(why_absent(&job_id, attempt, file)))?;
    let name = HeaderName::from_static("agent-runner-attempt");
    response.headers_mut().insert(name, HeaderValue::from(attempt.number));
    Ok(response)
}

/// The attempt of that number; of several drafts with one number the claimed one.
fn numbered<'a, 'b>(loaded: &Loaded, all: &'a [Told<'b>], number: u32) -> Result<&'a Told<'b>, Problem> {
    let job_id = &loaded.job.job_id;
    let claimed = |a: &&Told<'_>| a.gate.is_some() || a.report.is_some();
    let with_number = || all.iter().filter(|a| a.number == number);
    with_number().find(claimed).or(with_number().next()).ok_or_else(|| {
        let last = all.last().map_or(0, |a| a.number);
        Problem::Absent(format!("job {job_id} has no attempt {number}; the last one is {last}"))
    })
}

fn why_absent(job_id: &JobId, attempt: &Told<'_>, file: &str) -> String {
    let number = attempt.number;
    if attempt.closing.is_some() {
        return format!("attempt {number} of job {job_id} left no {file}");
    }
    match &attempt.gate {
        None => format!("attempt {number} of job {job_id} has not started yet; logs are stored when it ends"),
        Some(Gate::Started { .. }) => {
            format!("attempt {number} of job {job_id} is running; logs are stored when it ends")
        }
        Some(Gate::Finished { .. }) => format!("attempt {number} of job {job_id} left no {file}"),
        Some(Gate::Sealed { .. }) => {
            format!(
                "attempt {number} of job {job_id} is being stopped; logs are stored when it ends, if it can"
            )
        }
    }
}
