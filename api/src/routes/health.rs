//! `/health`, `/livez`, `/readyz`, `/metrics` and `/openapi.json`.

use crate::Shared;
use crate::answer::json;
use crate::openapi::DOCUMENT;
use crate::problem::{Problem, ProblemBody};
use crate::query::Params;
use crate::schema::HealthDocument;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use contract::JobId;
use prometheus::TextEncoder;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;

/// How long a store may take to answer before it counts as not answering. Shorter than the usual probe
/// timeouts, so that the probe gets our words and not its own.
const PATIENCE: Duration = Duration::from_secs(2);
/// A key that no job has; reading it costs the store one index look-up.
const PROBE: &str = "health";

#[derive(Serialize)]
struct Health<'a> {
    service: &'static str,
    version: &'static str,
    /// `ok` or `unavailable`.
    status: &'static str,
    store: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    reconciler: Option<Holder>,
}

#[derive(Serialize)]
struct Holder {
    holder: String,
    epoch: u64,
    /// Milliseconds since the last renewal, by the wall clocks of both.
    lease_age_ms: i64,
    released: bool,
}

/// Whether the store answers and takes what is written, and who reconciles.
///
/// 200 says that requests can be answered. A store that refused the last write is asked for another one, which changes
/// nothing, until one succeeds. Whether a reconciler is alive is told by the age of its lease.
#[utoipa::path(get, path = "/health", operation_id = "health", tag = "operations",
    params(("pretty" = Option<bool>, Query, description = "Indented")),
    responses(
        (status = 200, description = "The store answers", body = HealthDocument),
        (status = 503, description = "It does not", body = HealthDocument),
    ))]
pub(crate) async fn health(State(shared): State<Arc<Shared>>, params: Params) -> Result<Response, Problem> {
    params.finish()?;
    let (store, lease) = tokio::join!(probe(&shared), holder(&shared));
    let (code, status) = match store {
        Ok(()) => (StatusCode::OK, "ok"),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
    };
    let body = Health {
        service: "agent-runner",
        version: env!("CARGO_PKG_VERSION"),
        status,
        store: &shared.app.store,
        error: store.err(),
        reconciler: lease,
    };
    json(code, &body)
}

async fn probe(shared: &Shared) -> Result<(), String> {
    let key = JobId::new(PROBE).map_err(|e| e.to_string())?;
    let records = &shared.app.records;
    let asked = async {
        records.job(&key).await.map_err(|e| e.to_string())?;
        records.writable().await.map_err(|e| format!("nothing can be written: {e}"))
    };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("the record store did not answer within {} s", PATIENCE.as_secs())),
    }
}

async fn holder(shared: &Shared) -> Option<Holder> {
    let view = tokio::time::timeout(PATIENCE, shared.app.lease.view()).await.ok()?.ok()??;
    Some(Holder {
        holder: view.holder,
        epoch: view.epoch,
        lease_age_ms: shared.app.clock.now().millis_since(view.renewed_at),
        released: view.released,
    })
}

/// The process is alive.
#[utoipa::path(get, path = "/livez", operation_id = "livez", tag = "operations",
    responses((status = 200, description = "Always", body = String, content_type = "text/plain")))]
pub(crate) async fn livez() -> &'static str {
    "ok\n"
}

/// Requests can be answered: the store does, and takes what is written.
#[utoipa::path(get, path = "/readyz", operation_id = "readyz", tag = "operations",
    responses(
        (status = 200, description = "The store answers", body = String, content_type = "text/plain"),
        (status = 503, description = "It does not", body = String, content_type = "text/plain"),
    ))]
pub(crate) async fn readyz(State(shared): State<Arc<Shared>>) -> Response {
    match probe(&shared).await {
        Ok(()) => "ok\n".into_response(),
        Err(e) => (StatusCode::SERVICE_UNAVAILABLE, format!("{e}\n")).into_response(),
    }
}

/// Metrics in the Prometheus text format.
#[utoipa::path(get, path = "/metrics", operation_id = "metrics", tag = "operations",
    responses(
        (status = 200, description = "Every registry of this process", body = String, content_type = "text/plain"),
        (status = 500, description = "They cannot be written", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn metrics(State(shared): State<Arc<Shared>>) -> Result<Response, Problem> {
    let encoder = TextEncoder::new();
    let mut text = String::new();
    for registry in &shared.app.registries {
        encoder
            .encode_utf8(&registry.gather(), &mut text)
            .map_err(|e| Problem::Internal(format!("metrics cannot be written: {e}")))?;
    }
    Ok(([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response())
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", operation_id = "openapi", tag = "operations",
    params(("pretty" = Option<bool>, Query, description = "Indented")),
    responses((status = 200, description = "OpenAPI", body = Object)))]
pub(crate) async fn openapi() -> Response {
    let kind = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, kind)], DOCUMENT.as_str()).into_response()
}
