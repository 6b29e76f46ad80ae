//! `GET /jobs/{id}/attempts`.

use crate::Shared;
use crate::answer::json;
use crate::problem::{Problem, ProblemBody};
use crate::query::{Id, Params};
use crate::schema::AttemptList;
use crate::view::{Section, without_tokens};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use backends::Loaded;
use contract::decode::FieldError;
use contract::{Attempt, Claim, Closing, Control, Gate, Invalid, JobId, LaunchToken, Raw, Report, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// What an attempt's record says, as far as it can be read.
pub(crate) struct Told<'a> {
    pub(crate) token: &'a LaunchToken,
    /// From the claim; 0 when that cannot be decoded.
    pub(crate) number: u32,
    pub(crate) claim: Option<Claim>,
    pub(crate) gate: Option<Gate>,
    pub(crate) report: Option<Report>,
    pub(crate) closing: Option<Closing>,
    broken: Vec<BrokenSection>,
    raw: &'a Attempt,
}

#[derive(Serialize)]
struct BrokenSection {
    section: &'static str,
    errors: Vec<FieldError>,
}

impl<'a> Told<'a> {
    pub(crate) fn of(raw: &'a Attempt) -> Self {
        let mut broken = Vec::new();
        let claim = readable("claim", Some(&raw.claim), &mut broken);
        Self {
            token: &raw.token,
            number: claim.as_ref().map_or(0, |c: &Claim| c.number),
            claim,
            gate: readable("gate", raw.gate.as_ref(), &mut broken),
            report: readable("report", raw.report.as_ref(), &mut broken),
            closing: readable("closing", raw.closing.as_ref(), &mut broken),
            broken,
            raw,
        }
    }

    /// Whether every section could be decoded.
    pub(crate) fn is_whole(&self) -> bool {
        self.broken.is_empty()
    }

    /// One word for people: where the attempt is.
    fn state(&self) -> &'static str {
        match (&self.closing, &self.gate) {
            (Some(_), _) => "closed",
            (None, None) => "launching",
            (None, Some(Gate::Started { .. })) => "running",
            (None, Some(Gate::Finished { .. })) => "finished",
            (None, Some(Gate::Sealed { .. })) => "stopping",
        }
    }
}

fn readable<T: DeserializeOwned>(
    section: &'static str,
    raw: Option<&Raw<T>>,
    broken: &mut Vec<BrokenSection>,
) -> Option<T> {
    match raw?.parse() {
        Ok(value) => Some(value),
        Err(Invalid { mut errors }) => {
            errors.iter_mut().for_each(|e| e.value = without_tokens(&e.value).into_owned());
            broken.push(BrokenSection { section, errors });
            None
        }
    }
}

/// A job with what its attempts say, oldest first.
pub(crate) async fn load(shared: &Shared, job_id: &JobId) -> Result<Loaded, Problem> {
    shared.app.records.load(job_id).await?.ok_or_else(|| Problem::NoJob(job_id.to_string()))
}

/// What the attempts of a job say, in the order of their numbers.
pub(crate) fn told(loaded: &Loaded) -> Vec<Told<'_>> {
    let mut all: Vec<_> = loaded.attempts.iter().map(Told::of).collect();
    all.sort_by_key(|told| told.number);
    all
}

/// The attempt that `control` speaks of, or the last one. A draft whose claim lost is not it.
pub(crate) fn current<'a, 'b>(control: Option<&Control>, attempts: &'a [Told<'b>]) -> Option<&'a Told<'b>> {
    let token = control.and_then(|c| c.token.as_ref());
    attempts.iter().find(|a| Some(a.token) == token).or(attempts.last())
}

#[derive(Serialize)]
struct AttemptView<'a> {
    number: Option<u32>,
    run: Option<u32>,
    /// The first digits of the launch token, as in the folder's name.
    token: &'a str,
    state: &'static str,
    claimed_at: Option<Timestamp>,
    started_at: Option<Timestamp>,
    heartbeat_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    closed_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    invalid: &'a [BrokenSection],
    gate: Option<Section<'a>>,
    report: Option<Section<'a>>,
    closing: Option<Section<'a>>,
}

impl<'a> AttemptView<'a> {
    fn of(told: &'a Told<'a>) -> Self {
        let report = told.report.as_ref();
        let raw = told.raw;
        Self {
            number: told.claim.as_ref().map(|c| c.number),
            run: told.claim.as_ref().map(|c| c.run),
            token: told.token.prefix(),
            state: told.state(),
            claimed_at: told.claim.as_ref().map(|c| c.claimed_at),
            started_at: report.map(|r| r.started_at),
            heartbeat_at: report.map(|r| r.heartbeat_at),
            finished_at: report.and_then(|r| r.outcome.as_ref()).map(|o| o.finished_at),
            closed_at: told.closing.as_ref().map(|c| c.closed_at),
            invalid: &told.broken,
            gate: raw.gate.as_ref().map(|raw| Section::without_tokens(raw.text())),
            report: raw.report.as_ref().map(|raw| Section::without_tokens(raw.text())),
            closing: raw.closing.as_ref().map(|raw| Section::without_tokens(raw.text())),
        }
    }
}

#[derive(Serialize)]
struct Page<'a> {
    job_id: &'a str,
    attempts: Vec<AttemptView<'a>>,
}

/// Every attempt of a job, oldest first, with what its worker reported and how it was closed.
///
/// `state` is `launching`, `running`, `finished` (an outcome is reported), `stopping` (sealed) or `closed`.
#[utoipa::path(get, path = "/jobs/{id}/attempts", operation_id = "list_attempts", tag = "history",
    params(("id" = String, Path, description = "The job"), ("pretty" = Option<bool>, Query, description = "Indented")),
    responses(
        (status = 200, description = "The attempts", body = AttemptList),
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
    let attempts = told(&loaded);
    let attempts = attempts.iter().map(AttemptView::of).collect();
    json(StatusCode::OK, &Page { job_id: job_id.as_str(), attempts })
}
