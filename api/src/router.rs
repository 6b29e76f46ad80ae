//! Which path leads where.

use crate::body::{BATCH_LIMIT, BODY_LIMIT};
use crate::edge::edge;
use crate::problem::Problem;
use crate::routes::{
    artifacts, attempts, batch, create, events, explain, health, job, list, logs, patch, result, verbs,
};
use crate::{App, Shared};
use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath};
use axum::http::Method;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, get, post};
use std::sync::Arc;

/// Every path with its methods.
pub(crate) fn routes() -> Vec<(&'static str, MethodRouter<Arc<Shared>>)> {
    vec![
        ("/jobs", get(list::list).post(create::create)),
        ("/jobs/batch", post(batch::create).layer(DefaultBodyLimit::max(BATCH_LIMIT))),
        ("/jobs/{id}", get(job::get).patch(patch::patch)),
        ("/jobs/{id}/cancel", post(verbs::cancel)),
        ("/jobs/{id}/retry", post(verbs::retry)),
        ("/jobs/{id}/suspend", post(verbs::suspend)),
        ("/jobs/{id}/resume", post(verbs::resume)),
        ("/jobs/{id}/explain", get(explain::get)),
        ("/jobs/{id}/attempts", get(attempts::list)),
        ("/jobs/{id}/events", get(events::list)),
        ("/jobs/{id}/logs", get(logs::get)),
        ("/jobs/{id}/result", get(result::get)),
        ("/jobs/{id}/artifacts", get(artifacts::list)),
        ("/jobs/{id}/artifacts/{*path}", get(artifacts::get)),
        ("/health", get(health::health)),
        ("/livez", get(health::livez)),
        ("/readyz", get(health::readyz)),
        ("/metrics", get(health::metrics)),
        ("/openapi.json", get(health::openapi)),
    ]
}

/// Every path as a template, `{name}` standing for a part and `{*name}` for the rest.
#[must_use]
pub fn paths() -> Vec<&'static str> {
    routes().into_iter().map(|(path, _)| path).collect()
}

/// The API as a router.
pub fn router(app: App) -> Router {
    let shared = Arc::new(Shared { requests: tokio::sync::Semaphore::new(app.limits.requests), app });
    let mut router = Router::new();
    for (path, methods) in routes() {
        shared.app.metrics.duration.with_label_values(&[path]);
        router = router.route(path, methods);
    }
    router
        .fallback(async || Problem::NoRoute)
        .method_not_allowed_fallback(async |method: Method, path: Option<MatchedPath>| {
            let job = path.is_some_and(|path| path.as_str() == "/jobs/{id}");
            if job && method == Method::DELETE { Problem::NoDelete } else { Problem::NoMethod }
        })
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(from_fn_with_state(shared.clone(), edge))
        .with_state(shared)
}
