//! `GET /jobs/{id}/logs`: one place for the log of a running attempt and of one that has ended.

use super::attempts::{Told, current, load, told};
use super::download::{artifact, tail_start};
use super::live::{Log, follow, tail};
use crate::Shared;
use crate::problem::{Problem, ProblemBody};
use crate::query::{Id, Params};
use crate::view::Seen;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::Response;
use backends::Loaded;
use contract::{Gate, JobId, Timestamp};
use std::sync::Arc;
use std::time::Duration;

const TEXT: &str = "text/plain; charset=utf-8";

/// Which part of a log is wanted.
struct Part {
    lines: Option<u32>,
    since: Option<Timestamp>,
}

/// What an agent wrote to stdout or stderr.
///
/// While an attempt runs its worker ships what was written every two seconds or so; when it ends the whole log is
/// stored. `follow` answers with more as it comes and ends with the attempt. The header `agent-runner-attempt` names
/// the attempt whose log it is. `since` is as exact as the pieces in which the log was shipped.
#[utoipa::path(get, path = "/jobs/{id}/logs", operation_id = "get_logs", tag = "outputs",
    params(
        ("id" = String, Path, description = "The job"),
        ("stream" = Option<String>, Query, description = "`stdout` (default) or `stderr`"),
        ("attempt" = Option<u32>, Query, description = "The attempt's number; default: the last one"),
        ("tail" = Option<u32>, Query, description = "Only the last so many lines"),
        ("since" = Option<String>, Query, description = "A time (RFC 3339) or a time span before now (10m)"),
        ("follow" = Option<bool>, Query, description = "Go on until the attempt has ended"),
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
    let now = shared.app.clock.now();
    let since = params.read("since", |text| moment(text, now));
    let follows = params.flag("follow");
    params.finish()?;
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
    let file = file.unwrap_or("stdout.log");
    let log = Log { job_id, number: attempt.number, token: attempt.token.clone(), file };
    let mut response = answer(&shared, &log, attempt, &Part { lines, since }, follows).await?;
    let name = HeaderName::from_static("agent-runner-attempt");
    response.headers_mut().insert(name, HeaderValue::from(attempt.number));
    Ok(response)
}

/// A time, or how long ago.
fn moment(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if let Ok(at) = text.parse() {
        return Ok(at);
    }
    let ago = match text.parse::<u32>() {
        Ok(seconds) => Duration::from_secs(seconds.into()),
        Err(_) => humantime::parse_duration(text).map_err(|_| {
            "a time such as 2026-11-22T18:00:00Z, or a time span before now such as 10m".to_owned()
        })?,
    };
    Ok(now.plus_millis(-i64::try_from(ago.as_millis()).unwrap_or(i64::MAX)))
}

async fn answer(
    shared: &Arc<Shared>,
    log: &Log,
    attempt: &Told<'_>,
    part: &Part,
    follows: bool,
) -> Result<Response, Problem> {
    let artifacts = shared.app.artifacts.as_ref();
    let (key, stored) = (log.key(), artifacts.size(&log.key()).await?);
    // The pieces are needed while there is no whole log, and for their times.
    let pieces = match (stored, part.since) {
        (Some(_), None) => None,
        _ => Some(log.pieces(artifacts).await?),
    };
    let ended = attempt.report.as_ref().and_then(|r| r.outcome.as_ref()).map(|o| o.finished_at);
    let mut from = match (part.since, &pieces) {
        (Some(since), Some(pieces)) => log.since(pieces, stored, since, ended),
        _ => 0,
    };
    if let Some(lines) = part.lines {
        let tail = match (stored, &pieces) {
            (Some(size), _) if lines == 0 => size,
            (Some(size), _) => tail_start(artifacts, &key, size, lines).await?,
            (None, Some(pieces)) => tail(&pieces.read_all(artifacts, 0).await?, lines) as u64,
            (None, None) => 0,
        };
        from = from.max(tail);
    }
    if follows {
        let mut response = Response::new(Body::from_stream(follow(shared.clone(), log.clone(), from)));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(TEXT));
        return Ok(response);
    }
    let absent = || Problem::Absent(why_absent(&log.job_id, attempt, log.file));
    match (stored, pieces) {
        (Some(_), _) => artifact(shared, &key, from, TEXT).await?.ok_or_else(absent),
        (None, Some(pieces)) if !pieces.is_empty() => {
            let mut response = Response::new(Body::from(pieces.read_all(artifacts, from).await?));
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(TEXT));
            Ok(response)
        }
        (None, _) => Err(absent()),
    }
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
        None => format!("attempt {number} of job {job_id} has not started yet"),
        Some(Gate::Started { .. }) => format!(
            "attempt {number} of job {job_id} is running, and nothing of its {file} was shipped yet; ask again, or \
             with follow=true"
        ),
        Some(Gate::Finished { .. }) => format!("attempt {number} of job {job_id} left no {file}"),
        Some(Gate::Sealed { .. }) => {
            format!(
                "attempt {number} of job {job_id} is being stopped; logs are stored when it ends, if it can"
            )
        }
    }
}
