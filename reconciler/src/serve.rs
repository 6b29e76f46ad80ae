//! The reconciler's own listener: `/metrics`, `/livez`, `/readyz`.

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::{Registry, TextEncoder};
use std::future::Future;
use std::io;
use tokio::net::TcpListener;

/// The three routes over `registry`.
pub fn router(registry: Registry) -> Router {
    let ready = registry.clone();
    Router::new()
        .route("/metrics", get(move || async move { metrics(&registry) }))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(move || async move { readiness(&ready) }))
}

/// Serves the listener until `shutdown` completes.
///
/// # Errors
/// The listener broke.
pub async fn serve(
    listener: TcpListener,
    registry: Registry,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    axum::serve(listener, router(registry)).with_graceful_shutdown(shutdown).await
}

fn metrics(registry: &Registry) -> Response {
    match TextEncoder::new().encode_to_string(&registry.gather()) {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// Ready: leading, or standing by after having asked for the lease. Both are how a healthy process looks; what
/// is not is a process whose metrics do not exist.
fn readiness(registry: &Registry) -> Response {
    let leads = registry
        .gather()
        .iter()
        .find(|family| family.name() == "agent_runner_leader")
        .and_then(|family| family.get_metric().first().map(|m| m.get_gauge().get_value() > 0.0));
    match leads {
        Some(true) => "ok: leading\n".into_response(),
        Some(false) => "ok: standing by\n".into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "starting\n").into_response(),
    }
}
