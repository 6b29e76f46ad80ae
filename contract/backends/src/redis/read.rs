//! What the scripts answer, as records. Sections are handed on as they are stored.

use super::scripts::GHOST;
use crate::records::{Listed, Loaded, RecordsError};
use contract::{Attempt, Job, JobId, LaunchToken, Raw, Reason, StatusView};
use redis::Value;

/// A text as it is stored, or a number of a script. Redis holds bytes; what is not UTF-8 becomes U+FFFD.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        Value::Int(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The elements of an answer.
pub(super) fn array(value: Value) -> Result<Vec<Value>, RecordsError> {
    match value {
        Value::Array(values) => Ok(values),
        other => Err(strange(&other)),
    }
}

/// An answer that no script gives.
pub(super) fn strange(value: &Value) -> RecordsError {
    RecordsError::Unusable(format!("a script answered {value:?}"))
}

fn at(values: &[Value], index: usize) -> Option<String> {
    values.get(index).and_then(text)
}

fn section<T>(values: &[Value], index: usize) -> Option<Raw<T>> {
    at(values, index).map(Raw::stored)
}

/// `[created, desired, control, status, active]`. What has no `created` is no job but was made by hand: its
/// `desired` is replaced by a text that says so and cannot be decoded, and so is a `status` that nobody has written: into
/// a key that is no hash nobody can.
fn job_of(job_id: JobId, values: &[Value]) -> Job {
    let created = section(values, 0);
    let desired = match &created {
        Some(_) => section(values, 1).unwrap_or_else(|| Raw::stored("")),
        None => Raw::stored(GHOST),
    };
    let status = section(values, 3).or_else(|| created.is_none().then(ghost));
    Job {
        job_id,
        created: created.unwrap_or_else(|| Raw::stored("")),
        desired,
        control: section(values, 2),
        status,
        active: matches!(values.get(4), Some(Value::Int(1))),
    }
}

/// The status of a key that was made by hand.
fn ghost() -> Raw<StatusView> {
    let message = GHOST.trim_matches('"').to_owned();
    Raw::of(&StatusView { reason: Some(Reason::InvalidRecord), message, ..StatusView::fresh() })
}

/// A job, if there is one.
pub(super) fn job(job_id: &JobId, answer: Value) -> Result<Option<Job>, RecordsError> {
    match answer {
        Value::Nil => Ok(None),
        Value::Array(values) => Ok(Some(job_of(job_id.clone(), &values))),
        other => Err(strange(&other)),
    }
}

/// A job with its attempts, if there is one.
pub(super) fn loaded(job_id: &JobId, answer: Value) -> Result<Option<Loaded>, RecordsError> {
    let mut values = match answer {
        Value::Nil => return Ok(None),
        other => array(other)?,
    };
    let attempts = match values.pop() {
        Some(attempts) => array(attempts)?,
        None => Vec::new(),
    };
    let job = job_of(job_id.clone(), &values);
    let attempts: Result<Vec<_>, _> =
        attempts.into_iter().map(|values| Ok(attempt(job_id, &array(values)?))).collect();
    Ok(Some(Loaded { job, attempts: attempts?.into_iter().flatten().collect() }))
}

/// `[claim, gate, report, closing, token]`.
fn attempt(job_id: &JobId, values: &[Value]) -> Option<Attempt> {
    match LaunchToken::new(at(values, 4).unwrap_or_default()) {
        Ok(token) => Some(Attempt {
            job_id: job_id.clone(),
            token,
            claim: section(values, 0).unwrap_or_else(|| Raw::stored("")),
            gate: section(values, 1),
            report: section(values, 2),
            closing: section(values, 3),
        }),
        Err(e) => {
            // Added by hand. No launch can have used it, because nothing launches without a token.
            tracing::warn!(%job_id, error = %e, "skipped an attempt without a token");
            None
        }
    }
}

/// `[…, id, place]` as a listed job, and its place.
pub(super) fn listed(values: &[Value]) -> (Option<Listed>, String) {
    let listed = key(&at(values, 5).unwrap_or_default()).map(|id| Listed { job: job_of(id, values) });
    (listed, at(values, 6).unwrap_or_default())
}

/// A job id; a key that was made by hand may hold others.
pub(super) fn key(text: &str) -> Option<JobId> {
    match JobId::new(text) {
        Ok(job_id) => Some(job_id),
        Err(e) => {
            tracing::warn!(error = %e, "skipped a job without a proper id: DEL its key");
            None
        }
    }
}
