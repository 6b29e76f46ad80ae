//! What is answered when a request cannot be: one enum, one way to become a response (RFC 9457,
//! `application/problem+json`), logged once by [`crate::edge`].

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use backends::{ArtifactsError, RecordsError, Retry};
use contract::decode::{FieldError, Invalid};
use serde::Serialize;
use utoipa::ToSchema;

/// Seconds after which a client that found the service busy should ask again.
const RETRY_AFTER_SECONDS: u16 = 1;

/// Why a request is not answered as asked.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The body is not JSON.
    #[error("the body is not valid JSON: {0}")]
    Syntax(String),
    /// Query parameters that are unknown or out of range.
    #[error("{}", count(.0, "query parameter", "query parameters"))]
    Query(Invalid),
    /// Headers that cannot be read.
    #[error("{0}")]
    Header(String),
    /// The `Host` header names somebody else.
    #[error(
        "this API does not answer for host {0:?}; AGENT_RUNNER_ALLOWED_HOSTS lists the names that it answers to"
    )]
    Misdirected(String),
    /// The page of another place sends it.
    #[error(
        "this write comes from a page of {0:?}; without tokens (AGENT_RUNNER_TOKENS_FILE) only pages of this API's own address may write"
    )]
    CrossSite(String),
    /// Who asks is not known.
    #[error("{0}")]
    Unauthenticated(&'static str),
    /// Who asks may not.
    #[error("the token {actor:?} does not have the scope {scope:?}, which this needs")]
    Forbidden {
        /// Who asked.
        actor: String,
        /// What is missing.
        scope: &'static str,
    },
    /// Fields that are unknown, missing or out of range; all of them.
    #[error("{}", count(.0, "field", "fields"))]
    Invalid(Invalid),
    /// The same `Idempotency-Key` came with another body.
    #[error(
        "Idempotency-Key {key:?} was used for job {job_id} with another body; repeat that body, or choose a new key"
    )]
    KeyReused {
        /// The key.
        key: String,
        /// The job that it made.
        job_id: String,
    },
    /// No such job.
    #[error("there is no job {0:?}")]
    NoJob(String),
    /// No such route.
    #[error("there is nothing at this path; /openapi.json lists what there is")]
    NoRoute,
    /// The route has other methods.
    #[error("this path does not have this method; the Allow header lists those it has")]
    NoMethod,
    /// Jobs have no DELETE.
    #[error(
        "a job is not deleted by a request: POST /jobs/{{id}}/cancel ends it, and ttl_seconds_after_finished, which \
         PATCH /jobs/{{id}} sets, says how long job and artifacts stay after the end"
    )]
    NoDelete,
    /// Something of a job is not there, or not there yet.
    #[error("{0}")]
    Absent(String),
    /// The job is not in a state for this.
    #[error("{0}")]
    Conflict(String),
    /// The stored `desired` cannot be decoded, so nothing would act on the change.
    #[error(
        "the job's desired section holds what cannot be decoded, and nothing is done for it until that is fixed; \
         PATCH the fields below"
    )]
    Undecodable(Invalid),
    /// `If-Match` names another version of `desired`.
    #[error("desired is at version {current} now, not the one that If-Match names; read it again")]
    Changed {
        /// The current entity tag.
        current: String,
    },
    /// Too large a body.
    #[error("the body is larger than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// Not JSON by its content type.
    #[error("the body must be sent as {wanted}; with curl: -H 'Content-Type: application/json'")]
    MediaType {
        /// What is accepted.
        wanted: &'static str,
    },
    /// Not answered in time; a write may have happened.
    #[error("no answer within {seconds} s; a write may have happened, so read before repeating it")]
    TimedOut {
        /// The limit.
        seconds: u64,
    },
    /// More requests at once than are allowed.
    #[error("{0}")]
    Busy(&'static str),
    /// The record store.
    #[error("{0}")]
    Records(#[from] RecordsError),
    /// The artifact store.
    #[error("{0}")]
    Artifacts(#[from] ArtifactsError),
    /// A mistake in this program.
    #[error("{0}")]
    Internal(String),
}

fn count(invalid: &Invalid, one: &str, many: &str) -> String {
    match invalid.errors.as_slice() {
        [only] => format!("1 {one} is not acceptable: {only}"),
        all => format!("{} {many} are not acceptable", all.len()),
    }
}

impl Problem {
    /// Status, token of the problem type, title. Tokens are a stable API.
    fn kind(&self) -> (StatusCode, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            Self::Syntax(_) => (S::BAD_REQUEST, "invalid-json", "The body is not JSON"),
            Self::Query(_) => (S::BAD_REQUEST, "invalid-query", "Query parameters are not acceptable"),
            Self::Header(_) => (S::BAD_REQUEST, "invalid-header", "A header is not acceptable"),
            Self::Misdirected(_) => (S::MISDIRECTED_REQUEST, "misdirected", "Another host was meant"),
            Self::CrossSite(_) => (S::FORBIDDEN, "cross-site", "Another site's page asks"),
            Self::Unauthenticated(_) => (S::UNAUTHORIZED, "unauthenticated", "A valid token is needed"),
            Self::Forbidden { .. } => (S::FORBIDDEN, "forbidden", "The token does not allow this"),
            Self::Invalid(_) => (S::UNPROCESSABLE_ENTITY, "invalid-fields", "Fields are not acceptable"),
            Self::KeyReused { .. } => {
                (S::UNPROCESSABLE_ENTITY, "idempotency-key-reused", "The Idempotency-Key was used before")
            }
            Self::NoJob(_) => (S::NOT_FOUND, "job-not-found", "No such job"),
            Self::NoRoute => (S::NOT_FOUND, "path-not-found", "No such path"),
            Self::NoMethod | Self::NoDelete => {
                (S::METHOD_NOT_ALLOWED, "method-not-allowed", "No such method here")
            }
            Self::Absent(_) => (S::NOT_FOUND, "not-there", "Not there, or not yet"),
            Self::Conflict(_) => (S::CONFLICT, "conflict", "The job is not in a state for this"),
            Self::Undecodable(_) => (S::CONFLICT, "invalid-record", "The record cannot be decoded"),
            Self::Changed { .. } => {
                (S::PRECONDITION_FAILED, "desired-changed", "The desired state has changed")
            }
            Self::TooLarge { .. } => (S::PAYLOAD_TOO_LARGE, "body-too-large", "The body is too large"),
            Self::MediaType { .. } => {
                (S::UNSUPPORTED_MEDIA_TYPE, "media-type", "The content type is not accepted")
            }
            Self::TimedOut { .. } => (S::GATEWAY_TIMEOUT, "timeout", "Not answered in time"),
            Self::Busy(_) => (S::SERVICE_UNAVAILABLE, "busy", "Too busy"),
            Self::Records(e) => match e.retry() {
                Retry::Now | Retry::Later => {
                    (S::SERVICE_UNAVAILABLE, "store-unavailable", "The record store is not available")
                }
                Retry::Uncertain => {
                    (S::SERVICE_UNAVAILABLE, "store-uncertain", "The record store did not answer")
                }
                Retry::Never => (S::INTERNAL_SERVER_ERROR, "store-refused", "The record store refused"),
            },
            Self::Artifacts(ArtifactsError::Key(_)) => {
                (S::NOT_FOUND, "not-there", "No artifact can have this name")
            }
            Self::Artifacts(_) => {
                (S::SERVICE_UNAVAILABLE, "artifacts-unavailable", "The artifact store is not available")
            }
            Self::Internal(_) => (S::INTERNAL_SERVER_ERROR, "internal", "A mistake in this program"),
        }
    }

    fn into_errors(self) -> Vec<FieldError> {
        match self {
            Self::Query(invalid) | Self::Invalid(invalid) | Self::Undecodable(invalid) => invalid.errors,
            _ => Vec::new(),
        }
    }
}

/// The body of an error answer (RFC 9457).
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemBody {
    /// `urn:agent-runner:problem:<token>`; the token is stable.
    #[schema(example = "urn:agent-runner:problem:job-not-found")]
    pub(crate) r#type: String,
    /// The problem type in words.
    pub(crate) title: &'static str,
    /// The HTTP status.
    pub(crate) status: u16,
    /// This occurrence in words.
    pub(crate) detail: String,
    /// The path of the request.
    pub(crate) instance: String,
    /// Every field or parameter that is not acceptable.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<FieldProblem>)]
    pub(crate) errors: Vec<FieldError>,
}

/// One unacceptable field.
#[derive(ToSchema)]
#[allow(dead_code, reason = "describes contract::FieldError in the OpenAPI document")]
pub(crate) struct FieldProblem {
    /// JSON pointer (RFC 6901) into the body; `?name` for a query parameter.
    pointer: String,
    /// What was sent, cut to 120 characters.
    value: String,
    /// What is allowed, or what is wrong.
    message: String,
}

impl ProblemBody {
    /// As a response; [`crate::edge`] does this again once it has filled in `instance`.
    pub(crate) fn render(&self, mut response: Response) -> Response {
        let mut text = serde_json::to_string(self).unwrap_or_default();
        text.push('\n');
        *response.body_mut() = text.into();
        let headers = response.headers_mut();
        headers.remove(header::CONTENT_LENGTH);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, token, title) = self.kind();
        let detail = self.to_string();
        let etag = match &self {
            Self::Changed { current } => HeaderValue::from_str(current).ok(),
            _ => None,
        };
        let body = ProblemBody {
            r#type: format!("urn:agent-runner:problem:{token}"),
            title,
            status: status.as_u16(),
            detail,
            instance: String::new(),
            errors: self.into_errors(),
        };
        let mut response = body.render(status.into_response());
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS.into());
        }
        if status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"agent-runner\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        if let Some(etag) = etag {
            response.headers_mut().insert(header::ETAG, etag);
        }
        response.extensions_mut().insert(std::sync::Arc::new(body));
        response
    }
}
