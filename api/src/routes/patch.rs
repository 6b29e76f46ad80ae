//! `PATCH /jobs/{id}`.

use super::attempts::load;
use super::job::show;
use crate::access::Actor;
use crate::answer::json;
use crate::body::{PatchBody, repeated};
use crate::decision::{DecisionView, decide};
use crate::edit::edit;
use crate::layout::compact;
use crate::merge::{Unpatchable, differences, members, merge, merge_keeping_nulls};
use crate::problem::{Problem, ProblemBody};
use crate::query::{Id, IfMatch, Params};
use crate::schema::{JobRequest, PatchAnswer};
use crate::view::{Head, Section, Seen};
use crate::{Shared, answer::etag};
use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use backends::Loaded;
use contract::decode::FieldError;
use contract::desired::MAX_RETRY;
use contract::updated::{NAMES, REFUSED};
use contract::{Desired, Invalid, Job};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What a patch would do.
#[derive(Serialize)]
struct Preview<'a> {
    dry_run: bool,
    job_id: &'a str,
    /// Of `desired` as it is now.
    etag: String,
    changes: Vec<crate::merge::Change>,
    desired: Section<'a>,
    decision: DecisionView,
}

/// Changes what is wanted, by a merge patch (RFC 7396) of `desired`.
///
/// `cancel`, `suspend`, `priority` and deadlines act at once, the command, `payload` and `env` at the next
/// attempt, on finished jobs only `retry` and the TTL. `null` gives a field its default again. `job_type` never
/// changes and `retry` never shrinks. A `desired` that a hand edit broke is healed by patching the broken
/// fields; `null` removes a name that is not known, and is refused like any other value when it is not there.
#[utoipa::path(patch, path = "/jobs/{id}", operation_id = "patch_job", tag = "jobs",
    params(
        ("id" = String, Path, description = "The job"),
        ("dry_run" = Option<bool>, Query, description = "Answer what would change, and change nothing"),
        ("change_cause" = Option<String>, Query, description = "Why, in 1 to 256 characters; shown with who asked"),
        ("pretty" = Option<bool>, Query, description = "Indented"),
        ("If-Match" = Option<String>, Header, description = "ETag of the job: refuse when desired has changed since"),
    ),
    request_body(content(
        (JobRequest = "application/merge-patch+json"),
        (JobRequest = "application/json"),
    ), description = "Members of desired; null gives the default"),
    responses(
        (status = 200, description = "The job as it is now; with `dry_run` the changes", body = PatchAnswer),
        (status = 400, description = "Not JSON", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "No such job", body = ProblemBody, content_type = "application/problem+json"),
        (status = 412, description = "desired has changed", body = ProblemBody, content_type = "application/problem+json"),
        (status = 413, description = "More than 1 MiB", body = ProblemBody, content_type = "application/problem+json"),
        (status = 415, description = "Not sent as JSON", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "Unacceptable fields, all of them", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "Busy, or the store is not available", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn patch(
    State(shared): State<Arc<Shared>>,
    Id(job_id): Id,
    Extension(actor): Extension<Actor>,
    mut params: Params,
    condition: IfMatch,
    PatchBody(body): PatchBody,
) -> Result<Response, Problem> {
    let dry_run = params.flag("dry_run");
    let author = shared.author(actor, params.change_cause());
    params.finish()?;
    if dry_run {
        let loaded = load(&shared, &job_id).await?;
        let current = etag(loaded.job.desired.text());
        if !condition.allows(&current) {
            return Err(Problem::Changed { current });
        }
        let desired = patched(&shared, &loaded.job, &Seen::of(&loaded.job), &body)?;
        return preview(&shared, &loaded, current, &desired);
    }
    let edited =
        edit(&shared, &job_id, &condition, &author, |job, seen| patched(&shared, job, seen, &body)).await?;
    if edited.changed {
        shared.app.metrics.desired_writes.with_label_values(&["patch"]).inc();
        tracing::info!(%job_id, verb = "patch", cause = author.cause, "desired changed");
    }
    show(&shared, &edited.job, &Seen::of(&edited.job)).await
}

fn preview(shared: &Shared, loaded: &Loaded, etag: String, desired: &Desired) -> Result<Response, Problem> {
    let (job, after) = (&loaded.job, desired.to_text());
    let preview = Preview {
        dry_run: true,
        job_id: job.job_id.as_str(),
        etag,
        changes: differences(&compact(job.desired.text()), &compact(&after)),
        desired: Section(after.into()),
        decision: decide(&shared.app, loaded, desired),
    };
    json(StatusCode::OK, &preview)
}

/// What the patch makes of the job's `desired`, or every reason why not.
fn patched(shared: &Shared, job: &Job, seen: &Seen, body: &str) -> Result<Desired, Problem> {
    let Some(named) = members(body) else {
        let problem = crate::body::syntax(body);
        let invalid =
            || Invalid::one("", body.chars().take(120).collect::<String>(), "an object is needed here");
        return Err(problem.unwrap_or_else(|| Problem::Invalid(invalid())));
    };
    let named: BTreeSet<String> = named.into_keys().collect();
    let before = Head::of(job.desired.text());
    let authored = authored(body, &before);
    // What a run stands for is remembered, so a hand edit that lowered the counter does not lower this. A counter beyond
    // its range was never looked at, and could not be mended if it might not shrink.
    let asked = Some(before.retry).filter(|retry| *retry <= MAX_RETRY.unsigned_abs()).unwrap_or(0);
    let least = asked.max(seen.control().map_or(0, |c| c.seen_retry));
    let merged = merge(job.desired.text(), body).map_err(|e| match e {
        Unpatchable::Syntax(message) => Problem::Syntax(message),
        Unpatchable::Deep => Problem::Invalid(Invalid::one("", "", e.to_string())),
    })?;
    let (mut errors, desired) = match Desired::parse(&merged) {
        Err(invalid) => (invalid.errors, None),
        // What the patch does not name was accepted before. Whether the job-types file still says so is no
        // reason to refuse, say, a cancellation.
        Ok(desired) => match shared.app.job_types.check(&desired, shared.app.supports) {
            Err(mut invalid) => {
                invalid.errors.retain(|e| named.contains(top(e)));
                (invalid.errors, Some(desired))
            }
            Ok(()) => (Vec::new(), Some(desired)),
        },
    };
    for error in fixed_fields(&before, least, &merged).into_iter().chain(authored) {
        if errors.iter().all(|e| e.pointer != error.pointer) || error.pointer != "/retry" {
            errors.retain(|e| e.pointer != error.pointer);
            errors.push(error);
        }
    }
    for error in slips(job.desired.text(), body) {
        if errors.iter().all(|e| e.pointer != error.pointer) {
            errors.push(error);
        }
    }
    errors.extend(repeated(body));
    match desired {
        Some(desired) if errors.is_empty() => Ok(desired),
        _ => Err(Problem::Invalid(Invalid { errors })),
    }
}

/// Members of `desired` whose own members have any names.
const FREE: [&str; 3] = ["payload", "env", "labels"];

/// Errors of the names that are not known, but only removed: a null that removes nothing is a slip, as in
/// `{"priorty":null}`. Members that a hand edit left behind may be removed by any name.
fn slips(stored: &str, body: &str) -> Vec<FieldError> {
    let kept = if body.contains("null") { merge_keeping_nulls(stored, body).ok() } else { None };
    let mut errors = kept.and_then(|kept| Desired::parse(&kept).err()).map_or_else(Vec::new, |e| e.errors);
    errors.retain(|e| !FREE.contains(&top(e)));
    errors
}

/// The member of `desired` that an error speaks of.
fn top(error: &FieldError) -> &str {
    match error.pointer.trim_start_matches('/').split('/').next().unwrap_or_default() {
        // `JobTypes::check` speaks of the sizes by their own names.
        "cpu" | "memory_mib" => "resources",
        name => name,
    }
}

/// Errors of the members that the API writes. What is stored may be sent back as it is.
fn authored(body: &str, before: &Head<'_>) -> Vec<FieldError> {
    let named = members(body).unwrap_or_default();
    let value = |raw: &RawValue| serde_json::from_str::<Value>(raw.get()).ok();
    let stored = before.updated.and_then(value);
    let sent = NAMES.into_iter().filter_map(|name| Some((name, *named.get(name)?)));
    sent.filter(|(name, raw)| *name != "updated" || value(raw) != stored)
        .map(|(name, raw)| FieldError {
            pointer: format!("/{name}"),
            value: raw.get().chars().take(120).collect(),
            message: REFUSED.to_owned(),
        })
        .collect()
}

/// Errors of the fields that do not move freely.
fn fixed_fields(before: &Head<'_>, least: u64, merged: &str) -> Vec<FieldError> {
    let after = Head::of(merged);
    let mut errors = Vec::new();
    let mut refuse = |name: &str, value: String, message: String| {
        errors.push(FieldError { pointer: format!("/{name}"), value, message });
    };
    if let Some(job_type) = before.job_type.as_ref().filter(|t| after.job_type.as_ref() != Some(t)) {
        let value = after.job_type.as_ref().map_or_else(|| "null".to_owned(), |t| format!("{t:?}"));
        let advice = "never changes; cancel this job and submit a new one with POST /jobs";
        refuse("job_type", value, format!("{job_type:?} {advice}"));
    }
    if after.retry < least {
        let message = format!("never shrinks; at least {least}, and each greater number starts a new run");
        refuse("retry", after.retry.to_string(), message);
    }
    errors
}
