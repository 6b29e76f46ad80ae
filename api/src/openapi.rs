//! `/openapi.json`, made of the routes' descriptions.

mod precise;

use crate::problem::{FieldProblem, ProblemBody};
use crate::routes::{
    artifacts, attempts, batch, create, events, explain, health, job, list, logs, patch, result, verbs,
};
use crate::schema::{
    ArtifactList, AttemptList, BatchAnswer, BatchRequest, DryRun, EventList, Explanation, HealthDocument,
    JobDocument, JobList, JobRequest, JobSummary, RetryRequest,
};
use precise::Precise;
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

/// Bearer tokens, which are needed where the API was started with a file of them.
struct Bearer;

impl utoipa::Modify for Bearer {
    fn modify(&self, document: &mut Document) {
        use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("Needed where AGENT_RUNNER_TOKENS_FILE is set."));
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(scheme.build()));
        // The empty requirement: without a file of tokens nothing is asked for.
        let none = SecurityRequirement::default();
        document.security = Some(vec![SecurityRequirement::new("bearer", Vec::<String>::new()), none]);
    }
}

#[derive(OpenApi)]
#[openapi(
    modifiers(&Bearer, &Precise),
    info(
        title = "agent-runner",
        description = "Submit jobs, watch and change them.",
        license(name = "Apache-2.0")
    ),
    paths(
        create::create,
        batch::create,
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
        BatchRequest,
        BatchAnswer,
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
