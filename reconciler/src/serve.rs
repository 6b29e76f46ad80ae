//! The reconciler's own listener: `/metrics`, `/livez`, `/readyz`.

use crate::tasks::Tasks;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::{Registry, TextEncoder};
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// A task runtime that has not answered for so long is away: several calls have failed, each over a connection of its
/// own.
const SILENT: Duration = Duration::from_secs(30);

/// The three routes over `registry` and `tasks`.
pub fn router(registry: Registry, tasks: Arc<dyn Tasks>) -> Router {
    let ready = registry.clone();
    Router::new()
        .route("/metrics", get(move || async move { metrics(&registry) }))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(move || async move { readiness(&ready, tasks.silent_for()) }))
}

/// Serves the listener until `shutdown` completes.
///
/// # Errors
/// The listener broke.
pub async fn serve(
    listener: TcpListener,
    registry: Registry,
    tasks: Arc<dyn Tasks>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    axum::serve(listener, router(registry, tasks)).with_graceful_shutdown(shutdown).await
}

fn metrics(registry: &Registry) -> Response {
    match TextEncoder::new().encode_to_string(&registry.gather()) {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// Ready: leading, or standing by after having asked for the lease. Both are how a healthy process looks; what
/// is not is a process whose metrics do not exist, and one whose task runtime does not answer.
fn readiness(registry: &Registry, silent: Option<Duration>) -> Response {
    if let Some(silent) = silent.filter(|silent| *silent > SILENT) {
        let text = format!("the task runtime has not answered for {} s\n", silent.as_secs());
        return (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Metrics;

    #[test]
    fn a_process_whose_task_runtime_does_not_answer_is_not_ready() {
        let registry = Registry::new();
        let ready = |silent| readiness(&registry, silent).status();
        assert_eq!(ready(None), StatusCode::SERVICE_UNAVAILABLE, "there are no metrics");
        let _metrics = Metrics::new(&registry).unwrap();
        assert_eq!(ready(None), StatusCode::OK);
        assert_eq!(ready(Some(SILENT)), StatusCode::OK);
        assert_eq!(ready(Some(SILENT + Duration::from_secs(1))), StatusCode::SERVICE_UNAVAILABLE);
    }
}
