//! `GET /jobs`.

use crate::Shared;
use crate::answer::json;
use crate::problem::{Problem, ProblemBody};
use crate::query::Params;
use crate::schema::JobList;
use crate::view::{Head, Summary, Wants, say_invalid, view};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use backends::{ListQuery, Listed};
use contract::{Invalid, Reason, Status, check_label};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Jobs of a page where the client does not say.
const PAGE: u32 = 50;
/// The most jobs of a page.
const LARGEST_PAGE: u32 = 500;
/// The most jobs that are read for one page. A filter that matches little would otherwise read the whole
/// history in one request.
const EXAMINED: usize = 5000;
/// How many are read at once while a filter is set.
const CHUNK: usize = 250;

#[derive(Serialize)]
struct Page<'a> {
    jobs: &'a [Box<serde_json::value::RawValue>],
    next_cursor: Option<&'a str>,
}

/// What a job must be to be listed.
#[derive(Default)]
struct Filter {
    status: Vec<Status>,
    reason: Vec<Reason>,
    job_type: Option<String>,
    /// Name, and value unless any will do.
    labels: Vec<(String, Option<String>)>,
}

impl Filter {
    fn is_empty(&self) -> bool {
        self.status.is_empty() && self.reason.is_empty() && self.job_type.is_none() && self.labels.is_empty()
    }

    /// The job as it is listed, if it is.
    fn summary(&self, listed: &Listed) -> Result<Option<Box<serde_json::value::RawValue>>, Problem> {
        let job = &listed.job;
        let head = Head::of(job.desired.text());
        if self.job_type.is_some() && self.job_type.as_deref() != head.job_type.as_deref() {
            return Ok(None);
        }
        if !self.labels.is_empty() {
            let labels = head.labels.map_or("{}", |raw| raw.get());
            let labels: BTreeMap<String, String> = serde_json::from_str(labels).unwrap_or_default();
            let matches = |(name, value): &(String, Option<String>)| {
                labels.get(name).is_some_and(|found| value.as_ref().is_none_or(|v| v == found))
            };
            if !self.labels.iter().all(matches) {
                return Ok(None);
            }
        }
        let control = job.control.as_ref().and_then(|raw| raw.parse().ok());
        let mut view = view(job, control.as_ref(), Some(&Wants { retry: head.retry, cancel: head.cancel }));
        if !self.status.is_empty() && !self.status.contains(&view.status) {
            return Ok(None);
        }
        if let Err(invalid) = job.desired() {
            say_invalid(&mut view, &invalid);
        }
        if !self.reason.is_empty() && !view.reason.is_some_and(|reason| self.reason.contains(&reason)) {
            return Ok(None);
        }
        serde_json::value::to_raw_value(&Summary::new(job, head, view))
            .map(Some)
            .map_err(|e| Problem::Internal(e.to_string()))
    }
}

/// Lists jobs, newest first.
///
/// At most 5000 jobs are examined per page, so a page with a filter may hold fewer than `limit` jobs, or
/// none, although more follow: go on while `next_cursor` is not null.
#[utoipa::path(get, path = "/jobs", operation_id = "list_jobs", tag = "jobs",
    params(
        ("status" = Option<String>, Query, description = "QUEUED, RUNNING, SUCCEEDED or FAILED; several: repeat, or separate by commas"),
        ("reason" = Option<String>, Query, description = "A reason as it is shown, such as InvalidRecord; several: repeat, or separate by commas"),
        ("job_type" = Option<String>, Query, description = "Only this job type"),
        ("label" = Option<String>, Query, description = "`name=value`, or `name` for any value; repeat for several, all must match"),
        ("limit" = Option<u32>, Query, description = "1 to 500, default 50"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before; keep the filters"),
        ("pretty" = Option<bool>, Query, description = "Indented"),
    ),
    responses(
        (status = 200, description = "A page", body = JobList),
        (status = 400, description = "Unacceptable query", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "The store is not available", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn list(State(shared): State<Arc<Shared>>, mut params: Params) -> Result<Response, Problem> {
    let limit = params.number("limit", 1..=LARGEST_PAGE).unwrap_or(PAGE) as usize;
    let cursor = params.one("cursor");
    let filter = filter(&mut params);
    params.finish()?;
    let (jobs, next) = page(&shared, &filter, limit, cursor).await?;
    json(StatusCode::OK, &Page { jobs: &jobs, next_cursor: next.as_deref() })
}

fn filter(params: &mut Params) -> Filter {
    let status = params.read_all("status", |text| {
        text.split(',')
            .map(|word| word.trim().to_ascii_uppercase().parse::<Status>())
            .collect::<Result<Vec<_>, _>>()
    });
    let reason = params.read_all("reason", |text| {
        text.split(',').map(|word| named_reason(word.trim())).collect::<Result<Vec<_>, _>>()
    });
    let labels = params.read_all("label", |text| {
        let (name, value) = text.split_once('=').map_or((text, None), |(n, v)| (n, Some(v.to_owned())));
        // What no job can have is a mistake, as the `!=` and `in` of other selectors: found nothing would hide it.
        check_label(name, value.as_deref().unwrap_or_default())
            .map(|()| (name.to_owned(), value))
            .map_err(|allowed| format!("name=value, or name; {allowed}"))
    });
    let (status, reason) = (status.into_iter().flatten().collect(), reason.into_iter().flatten().collect());
    Filter { status, reason, job_type: params.one("job_type"), labels }
}

/// The reason of this name, in whatever case.
fn named_reason(word: &str) -> Result<Reason, String> {
    let named = Reason::ALL.iter().find(|reason| reason.as_str().eq_ignore_ascii_case(word));
    named.copied().ok_or_else(|| {
        let allowed: Vec<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        format!("one of {}", allowed.join(", "))
    })
}

type Summaries = Vec<Box<serde_json::value::RawValue>>;

/// Reads chunks until the page is full, the listing ends or enough was examined. Cursors are the store's
/// own and stand at the end of a chunk; when the page fills up inside one, the chunk is read again only so
/// far, and looked at afresh, because jobs may have gone in between.
async fn page(
    shared: &Shared,
    filter: &Filter,
    limit: usize,
    mut cursor: Option<String>,
) -> Result<(Summaries, Option<String>), Problem> {
    let mut found = Summaries::new();
    let mut examined = 0;
    let wanted = |missing: usize| if filter.is_empty() { missing } else { CHUNK };
    let mut size = wanted(limit);
    loop {
        let query = ListQuery { limit: size, cursor: cursor.clone() };
        let chunk = shared.app.records.list(&query).await.map_err(|e| refused_cursor(e, &cursor))?;
        examined += chunk.jobs.len();
        let (matching, full_at) = take(filter, &chunk.jobs, limit - found.len())?;
        if let Some(rows) = full_at.filter(|rows| *rows < chunk.jobs.len()) {
            size = rows;
            continue;
        }
        found.extend(matching);
        cursor = chunk.next;
        if cursor.is_none() || found.len() >= limit || examined >= EXAMINED {
            return Ok((found, cursor));
        }
        size = wanted(limit - found.len());
    }
}

/// The matching jobs, and after how many rows there were `room` of them.
fn take(filter: &Filter, jobs: &[Listed], room: usize) -> Result<(Summaries, Option<usize>), Problem> {
    let mut matching = Summaries::new();
    for (at, listed) in jobs.iter().enumerate() {
        matching.extend(filter.summary(listed)?);
        if matching.len() == room {
            return Ok((matching, Some(at + 1)));
        }
    }
    Ok((matching, None))
}

/// A store refuses a read only for a cursor that it did not make.
fn refused_cursor(e: backends::RecordsError, cursor: &Option<String>) -> Problem {
    match (e, cursor) {
        (backends::RecordsError::Refused(message), Some(cursor)) => {
            let message = format!("next_cursor of an earlier page ({message})");
            Problem::Query(Invalid::one("?cursor", cursor.chars().take(120).collect::<String>(), message))
        }
        (e, _) => e.into(),
    }
}
