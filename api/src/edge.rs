//! What every request passes: limits, timeout, metrics, the final form of errors. One middleware, because
//! each layer costs an allocation per request.

use crate::access::Actor;
use crate::metrics::{NO_ROUTE, method_label};
use crate::problem::{Problem, ProblemBody};
use crate::{Shared, layout};
use axum::body::{Body, to_bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use prometheus::IntGauge;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::Instrument;

/// Bounds on requests. The defaults suit one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// A request is answered within this, body included; long polls are not counted.
    pub request_timeout: Duration,
    /// The longest wait of a long poll; a longer wish is cut to this.
    pub longest_wait: Duration,
    /// Requests answered at once, long polls apart. More are refused with 503: a queue would only hide it.
    pub requests: usize,
    /// Connections at once; more wait in the listener's backlog. By default half of the descriptors that this process may
    /// have (`ulimit -n`), at most 8192.
    pub connections: usize,
    /// A request's header arrives within this, and an idle connection is closed after it.
    pub header_timeout: Duration,
    /// How long requests may finish after the shutdown has begun.
    pub shutdown_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_timeout: Duration::from_secs(10),
            longest_wait: Duration::from_secs(60),
            requests: 512,
            connections: places(rustix::process::getrlimit(rustix::process::Resource::Nofile).current),
            header_timeout: Duration::from_secs(30),
            shutdown_grace: Duration::from_millis(1500),
        }
    }
}

/// The most connections, where this process may have `descriptors` open (`None`: any number). Stores, and the launches of a
/// reconciler in the same process, need some too: clients that connect and say nothing must not keep jobs waiting.
fn places(descriptors: Option<u64>) -> usize {
    let half = descriptors.and_then(|all| usize::try_from(all / 2).ok()).unwrap_or(MOST_CONNECTIONS);
    half.clamp(1, MOST_CONNECTIONS)
}

/// Connections beyond this are no use to a process that answers 512 requests at once.
const MOST_CONNECTIONS: usize = 8192;

/// Counts a request while it is answered, also when its client goes away.
struct InFlight<'a>(&'a IntGauge);

impl<'a> InFlight<'a> {
    fn new(gauge: &'a IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The middleware.
pub(crate) async fn edge(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let start = Instant::now();
    let metrics = &shared.app.metrics;
    let _in_flight = InFlight::new(&metrics.in_flight);
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let route = matched.as_ref().map_or(NO_ROUTE, MatchedPath::as_str);
    let method = method_label(request.method());
    let query = request.uri().query().unwrap_or_default();
    let pretty = has(query, "pretty")
        && !["pretty=false", "pretty=0"].iter().any(|no| query.split('&').any(|p| p == *no));
    let long = has(query, "wait") && request.method() != Method::POST;
    let path = request.uri().clone();
    let id = request_id(request.headers());

    let checked =
        shared.app.access.check(&request, matched.as_ref().map(MatchedPath::as_str), shared.app.clock.now());
    let who = checked.as_ref().map_or_else(|_| Actor("unknown".into()), Clone::clone);
    let span = tracing::info_span!("request", id, actor = &*who.0);
    let response = async {
        let response = match checked {
            Err(problem) => problem.into_response(),
            Ok(actor) => {
                let mut request = request;
                request.extensions_mut().insert(actor);
                answer(&shared, long, request, next).await
            }
        };
        let response = finish(response, path.path(), method);
        audit(&response, path.path(), method);
        response
    };
    let mut response = response.instrument(span).await;
    if let Ok(id) = HeaderValue::try_from(id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    let response = if pretty { indent(response).await } else { response };

    metrics.requests.with_label_values(&[route, method, response.status().as_str()]).inc();
    metrics.duration.with_label_values(&[route]).observe(start.elapsed().as_secs_f64());
    response
}

/// Names a request in the log of both sides.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The client's name for the request if it is a harmless one, else one of ours.
fn request_id(headers: &HeaderMap) -> String {
    let sent = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let fine = |id: &&str| {
        (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b))
    };
    sent.filter(fine).map_or_else(|| uuid::Uuid::now_v7().simple().to_string(), str::to_owned)
}

/// Who wrote what: one line for each write that was accepted; the span adds who asked.
fn audit(response: &Response, path: &str, method: &'static str) {
    if !matches!(method, "POST" | "PATCH") || !response.status().is_success() {
        return;
    }
    let created = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
    tracing::info!(target: "audit", method, path = created.unwrap_or(path), status = response.status().as_u16(), "write");
}

async fn answer(shared: &Shared, long: bool, request: Request, next: Next) -> Response {
    let limits = &shared.app.limits;
    let (timeout, _permit) = if long {
        (limits.request_timeout + limits.longest_wait, None)
    } else {
        match shared.requests.try_acquire() {
            Ok(permit) => (limits.request_timeout, Some(permit)),
            Err(_) => return Problem::Busy("too many requests at once; ask again").into_response(),
        }
    };
    match tokio::time::timeout(timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::TimedOut { seconds: timeout.as_secs() }.into_response(),
    }
}

/// Whether a query string names a parameter. Exact enough for what is decided by it here.
fn has(query: &str, name: &str) -> bool {
    query.split('&').any(|pair| pair.split('=').next() == Some(name))
}

/// Gives an error its `instance` and logs it, once. Every JSON answer is for this client, now.
fn finish(mut response: Response, path: &str, method: &'static str) -> Response {
    if let Some(problem) = response.extensions_mut().remove::<Arc<ProblemBody>>() {
        let mut problem = Arc::unwrap_or_clone(problem);
        path.clone_into(&mut problem.instance);
        let (status, detail, kind) = (problem.status, &problem.detail, &problem.r#type);
        if response.status().is_server_error() {
            tracing::error!(status, method, path, kind, detail, "request failed");
        } else {
            tracing::debug!(status, method, path, kind, detail, "request refused");
        }
        response = problem.render(response);
    }
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// The most bytes that are indented on request; more is answered as it is.
const INDENTED: u64 = 8 * 1024 * 1024;

async fn indent(response: Response) -> Response {
    let kind = response.headers().get(header::CONTENT_TYPE);
    let json = kind.is_some_and(|k| k == "application/json" || k == "application/problem+json");
    let size = http_body_size(response.body());
    if !json || size.is_none_or(|n| n > INDENTED) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    match to_bytes(body, usize::MAX).await.map(|bytes| String::from_utf8(bytes.into())) {
        Ok(Ok(text)) => {
            let mut text = layout::indented(&text);
            text.push('\n');
            parts.headers.remove(header::CONTENT_LENGTH);
            Response::from_parts(parts, text.into())
        }
        Ok(Err(e)) => Response::from_parts(parts, e.into_bytes().into()),
        Err(e) => Problem::Internal(format!("an answer could not be read back: {e}")).into_response(),
    }
}

/// The exact size of a body that is in memory as a whole.
fn http_body_size(body: &Body) -> Option<u64> {
    axum::body::HttpBody::size_hint(body).exact()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_half_of_the_descriptors_to_others() {
        for (soft, places_of_it) in
            [(Some(1024), 512), (Some(1_048_576), 8192), (None, 8192), (Some(64), 32), (Some(0), 1)]
        {
            assert_eq!(places(soft), places_of_it);
        }
    }
}
