//! `POST /jobs`.

use super::job::show;
use crate::Shared;
use crate::access::Actor;
use crate::answer::{etag, hex, json};
use crate::author::digest;
use crate::body::{JsonBody, repeated, syntax};
use crate::problem::{Problem, ProblemBody};
use crate::query::Params;
use crate::schema::{JobDocument, JobRequest};
use crate::view::{JobView, Seen, Shown};
use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use backends::{CreateAnswer, NewJob, Retry, clock::fresh_write_id};
use contract::{Created, Desired, Invalid, Job, JobId, Raw, StatusView};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// The longest `Idempotency-Key` in bytes, as at Stripe.
pub(crate) const KEY_LIMIT: usize = 255;
/// How often a creation is repeated whose answer was lost. It carries a write id, so it happens once.
const TRIES: usize = 3;

/// Submits a job.
///
/// With an `Idempotency-Key` the job's id is derived from the key: the same key with the same body (byte for
/// byte) answers 200 with the job that is there already, with another body 422.
#[utoipa::path(post, path = "/jobs", operation_id = "create_job", tag = "jobs",
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 printable ASCII characters")),
    request_body(content = JobRequest, content_type = "application/json"),
    responses(
        (status = 201, description = "Stored; Location names it, ETag guards later edits", body = JobDocument),
        (status = 200, description = "The same request was stored before", body = JobDocument),
        (status = 400, description = "Not JSON", body = ProblemBody, content_type = "application/problem+json"),
        (status = 413, description = "More than 1 MiB", body = ProblemBody, content_type = "application/problem+json"),
        (status = 415, description = "Not sent as JSON", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "Unacceptable fields, or a key that was used with another body",
            body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "Busy, or the store is not available", body = ProblemBody,
            content_type = "application/problem+json"),
    ))]
pub(crate) async fn create(
    State(shared): State<Arc<Shared>>,
    params: Params,
    headers: HeaderMap,
    Extension(actor): Extension<Actor>,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    params.finish()?;
    submit(&shared, &actor, idempotency_key(&headers)?, &body).await
}

/// Stores the job that `body` asks for.
pub(super) async fn submit(
    shared: &Shared,
    actor: &Actor,
    key: Option<String>,
    body: &str,
) -> Result<Response, Problem> {
    let app = &shared.app;
    let mut errors = repeated(body);
    let desired = match app.job_types.request(body, app.supports) {
        Ok(desired) if errors.is_empty() => desired,
        Ok(_) => return Err(Problem::Invalid(Invalid { errors })),
        Err(invalid) => {
            errors.extend(invalid.errors);
            return Err(syntax(body).unwrap_or(Problem::Invalid(Invalid { errors })));
        }
    };
    let created = Created {
        write: fresh_write_id(),
        at: app.clock.now(),
        actor: actor.0.to_string(),
        // Without a key nobody compares bodies.
        body_digest: key.is_some().then(|| hex(&Sha256::digest(body))),
        desired_digest: Some(digest(&desired.to_text())),
        idempotency_key: key,
    };
    let new = NewJob { job_id: id(&created)?, created, desired };
    match store(shared, &new).await? {
        CreateAnswer::Created => {
            app.metrics.jobs_created.inc();
            tracing::debug!(job_id = %new.job_id, job_type = new.desired.job_type, "job created");
            fresh(new)
        }
        CreateAnswer::Exists(job) => same(shared, new, *job).await,
    }
}

async fn store(shared: &Shared, new: &NewJob) -> Result<CreateAnswer, Problem> {
    let mut tries = 1;
    loop {
        match shared.app.records.create(new).await {
            Err(e) if e.retry() == Retry::Uncertain && tries < TRIES => tries += 1,
            answer => return Ok(answer?),
        }
    }
}

/// The answer for a job that was made just now. Nothing was read back: it is what was written.
fn fresh(new: NewJob) -> Result<Response, Problem> {
    let job = Job {
        created: Raw::of(&new.created),
        desired: Raw::of(&new.desired),
        job_id: new.job_id,
        control: None,
        status: None,
        active: true,
    };
    let seen =
        Seen { desired: Ok(new.desired), control: None, created: Ok(new.created), view: StatusView::fresh() };
    let mut response = json(StatusCode::CREATED, &JobView::new(&job, &seen, Shown::default()))?;
    tag(&mut response, &job.desired)?;
    location(&mut response, &job.job_id)?;
    Ok(response)
}

/// The answer for an id that is taken, which only a repeated key can lead to.
async fn same(shared: &Shared, new: NewJob, job: Job) -> Result<Response, Problem> {
    let seen = Seen::of(&job);
    let made_by = match &seen.created {
        Ok(created) => created,
        Err(e) => {
            let message = format!("this key's job exists, but its created section cannot be decoded: {e}");
            return Err(Problem::Conflict(message));
        }
    };
    if made_by.body_digest.is_none() || made_by.body_digest != new.created.body_digest {
        let key = new.created.idempotency_key.unwrap_or_default();
        return Err(Problem::KeyReused { key, job_id: job.job_id.to_string() });
    }
    let mut response = show(shared, &job, &seen).await?;
    location(&mut response, &job.job_id)?;
    Ok(response)
}

pub(crate) fn tag(response: &mut Response, desired: &Raw<Desired>) -> Result<(), Problem> {
    let value = HeaderValue::try_from(etag(desired.text())).map_err(|e| Problem::Internal(e.to_string()))?;
    response.headers_mut().insert(header::ETAG, value);
    Ok(())
}

fn location(response: &mut Response, job_id: &JobId) -> Result<(), Problem> {
    let value = HeaderValue::try_from(format!("/jobs/{job_id}"));
    response.headers_mut().insert(header::LOCATION, value.map_err(|e| Problem::Internal(e.to_string()))?);
    Ok(())
}

pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    // `to_str` lets a tab pass.
    let key = value.to_str().unwrap_or_default();
    if key.is_empty() || key.len() > KEY_LIMIT || key.contains('\t') {
        let allowed = format!("Idempotency-Key must have 1 to {KEY_LIMIT} printable ASCII characters");
        return Err(Problem::Header(allowed));
    }
    Ok(Some(key.to_owned()))
}

/// With a key: a UUIDv8 made of SHA-256 over actor and key, so that a repeated request meets its first job
/// in any process and without an index. Without: a UUIDv7, so that ids sort by age.
fn id(created: &Created) -> Result<JobId, Problem> {
    let uuid = match &created.idempotency_key {
        None => uuid::Uuid::now_v7(),
        Some(key) => {
            let mut hash = Sha256::new();
            // The length keeps ("ab", "c") and ("a", "bc") apart.
            hash.update((created.actor.len() as u64).to_le_bytes());
            hash.update(created.actor.as_bytes());
            hash.update(key.as_bytes());
            let mut bytes = [0; 16];
            bytes.copy_from_slice(&hash.finalize()[..16]);
            uuid::Uuid::new_v8(bytes)
        }
    };
    JobId::new(uuid.to_string()).map_err(|e| Problem::Internal(e.to_string()))
}
