//! `/openapi.json`, made of the routes' descriptions.

use crate::problem::{FieldProblem, ProblemBody};
use crate::routes::{
    artifacts, attempts, create, events, explain, health, job, list, logs, patch, result, verbs,
};
use crate::schema::{
    ArtifactList, AttemptList, DryRun, EventList, Explanation, HealthDocument, JobDocument, JobList,
    JobRequest, JobSummary, RetryRequest,
};
use std::sync::LazyLock;
use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Document;

/// The document as JSON, with a newline at its end.
pub(crate) static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
    let mut text = document().to_json().expect("the document holds strings and lists only");
    text.push('\n');
    text
});

/// The OpenAPI document of the API.
#[must_use]
pub fn document() -> Document {
    Api::openapi()
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "agent-runner",
        description = "Submit jobs, watch and change them.",
        license(name = "Apache-2.0")
    ),
    paths(
        create::create,
        list::list,
        job::get,
        patch::patch,
        verbs::cancel,
        verbs::retry,
        verbs::suspend,
        verbs::resume,
        explain::get,
        attempts::list,
        events::list,
        logs::get,
        result::get,
        artifacts::list,
        artifacts::get,
        health::health,
        health::livez,
        health::readyz,
        health::metrics,
        health::openapi,
    ),
    components(schemas(
        ProblemBody,
        FieldProblem,
        JobRequest,
        JobDocument,
        JobSummary,
        JobList,
        DryRun,
        RetryRequest,
        Explanation,
        AttemptList,
        EventList,
        ArtifactList,
        HealthDocument,
    ))
)]
struct Api;
