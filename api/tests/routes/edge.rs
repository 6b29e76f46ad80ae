//! What every request passes: limits, timeouts, errors of no route, metrics, layout.

use crate::rig::{JSON, Rig};
use api::Limits;
use axum::body::Body;
use backends::RecordsError;
use std::time::Duration;

#[tokio::test]
async fn unknown_paths_and_methods_are_problems_too() {
    let rig = Rig::new();
    let problem = rig.get("/nothing/here").await.problem(404, "path-not-found");
    assert_eq!(problem["instance"], "/nothing/here");
    rig.get("/jobs/").await;
    for (method, path, allow) in [
        ("DELETE", "/jobs", "GET,HEAD,POST"),
        ("PUT", "/jobs/a", "GET,HEAD,PATCH"),
        ("GET", "/jobs/a/cancel", "POST"),
    ] {
        let answer = rig.send(method, path, &[], Body::empty()).await;
        answer.problem(405, "method-not-allowed");
        let mut found: Vec<_> = answer.header("allow").split(',').collect();
        found.sort_unstable();
        assert_eq!(found.join(","), allow);
    }
}

#[tokio::test]
async fn head_answers_as_get_without_a_body() {
    let rig = Rig::new();
    let id = rig.submit(r#"{"job_type":"echo"}"#).await;
    for path in ["/jobs", "/health", "/livez", "/openapi.json", &format!("/jobs/{id}")] {
        let (head, get) = (rig.send("HEAD", path, &[], Body::empty()).await, rig.get(path).await);
        assert_eq!((head.status, head.text.as_str()), (get.status, ""), "{path}");
        assert_eq!(head.headers.get("etag"), get.headers.get("etag"));
    }
    assert_eq!(rig.send("HEAD", "/jobs/nobody", &[], Body::empty()).await.status, 404);
}

#[tokio::test]
async fn pretty_indents_answers_and_problems() {
    let rig = Rig::new();
    let made = rig.send("POST", "/jobs?pretty", &[JSON], r#"{"job_type":"echo"}"#).await;
    assert!(made.text.starts_with("{\n  \"job_id\": \"") && made.text.ends_with("\n}\n"), "{made:?}");
    let id = made.json()["job_id"].as_str().unwrap().to_owned();
    assert_eq!(made.json(), rig.get(&format!("/jobs/{id}")).await.json());
    let missing = rig.get("/jobs/nobody?pretty=true").await;
    missing.problem(404, "job-not-found");
    assert!(missing.text.contains("\n  \"status\": 404"), "{missing:?}");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_never_answers_is_waited_for_ten_seconds() {
    let rig = Rig::new();
    rig.reads_hang();
    let start = tokio::time::Instant::now();
    rig.get("/jobs/a").await.problem(504, "timeout");
    assert_eq!(start.elapsed(), Duration::from_secs(10));
    let health = rig.get("/health").await;
    assert_eq!((health.status.as_u16(), health.json()["status"].as_str()), (503, Some("unavailable")));
    assert_eq!(start.elapsed(), Duration::from_secs(12));
}

#[tokio::test(start_paused = true)]
async fn more_requests_than_allowed_are_refused_at_once() {
    let rig = Rig::with(Limits { requests: 2, ..Limits::default() });
    rig.reads_hang();
    let (first, second, third) = tokio::join!(rig.get("/jobs/a"), rig.get("/jobs/a"), rig.get("/jobs/a"));
    first.problem(504, "timeout");
    second.problem(504, "timeout");
    third.problem(503, "busy");
    assert_eq!(third.header("retry-after"), "1");
    assert_eq!(rig.get("/livez").await.text, "ok\n", "places are given back");
}

#[tokio::test]
async fn health_tells_the_store_and_the_reconciler() {
    let rig = Rig::new();
    let health = rig.get("/health").await;
    assert_eq!(health.status, 200);
    let body = health.json();
    assert_eq!((&body["service"], &body["status"]), (&"agent-runner".into(), &"ok".into()));
    assert_eq!(
        (&body["store"], &body["version"]),
        (&"sqlite:records.db".into(), &env!("CARGO_PKG_VERSION").into())
    );
    assert_eq!((&body["reconciler"]["holder"], &body["reconciler"]["epoch"]), (&"test".into(), &3.into()));
    assert!(
        body["reconciler"]["lease_age_ms"].as_i64().is_some_and(|age| (0..60_000).contains(&age)),
        "{body}"
    );
    assert_eq!(rig.get("/readyz").await.text, "ok\n");

    *rig.lease.lock().unwrap() = None;
    assert!(rig.get("/health").await.json()["reconciler"].is_null());
    rig.reads_fail(Some(RecordsError::Unavailable("disk on fire".to_owned())));
    let down = rig.get("/health").await;
    assert_eq!(down.status, 503);
    assert!(down.json()["error"].as_str().unwrap().contains("disk on fire"));
    let ready = rig.get("/readyz").await;
    assert_eq!((ready.status.as_u16(), ready.text.contains("disk on fire")), (503, true));
    assert_eq!(rig.get("/livez").await.status, 200, "alive all the same");
    rig.get("/jobs").await.problem(503, "store-unavailable");
    rig.reads_fail(None);
    assert_eq!(rig.get("/readyz").await.status, 200);
}

#[tokio::test]
async fn requests_are_counted_by_route_template_and_never_by_id() {
    let rig = Rig::new();
    let id = rig.submit(r#"{"job_type":"echo"}"#).await;
    rig.get(&format!("/jobs/{id}")).await;
    rig.get("/jobs/nobody").await;
    rig.get("/unheard/of").await;
    rig.send("BREW", "/jobs", &[], Body::empty()).await;
    let metrics = rig.get("/metrics").await;
    assert_eq!(metrics.header("content-type"), "text/plain; version=0.0.4");
    for line in [
        r#"agent_runner_http_requests_total{code="201",method="POST",route="/jobs"} 1"#,
        r#"agent_runner_http_requests_total{code="200",method="GET",route="/jobs/{id}"} 1"#,
        r#"agent_runner_http_requests_total{code="404",method="GET",route="/jobs/{id}"} 1"#,
        r#"agent_runner_http_requests_total{code="404",method="GET",route="none"} 1"#,
        r#"agent_runner_http_requests_total{code="405",method="other",route="/jobs"} 1"#,
        r#"agent_runner_http_request_duration_seconds_count{route="/jobs/{id}"} 2"#,
        r#"agent_runner_http_request_duration_seconds_count{route="/jobs/{id}/logs"} 0"#,
        "agent_runner_jobs_created_total 1",
        "agent_runner_http_in_flight 1",
    ] {
        assert!(metrics.text.contains(line), "{line} is not in {}", metrics.text);
    }
    assert!(!metrics.text.contains(id.as_str()) && !metrics.text.contains("unheard"));
}

#[tokio::test]
async fn answers_are_not_kept_by_caches_or_guessed_at_by_browsers() {
    let rig = Rig::new();
    let answer = rig.get("/jobs").await;
    assert_eq!(
        (answer.header("cache-control"), answer.header("x-content-type-options")),
        ("no-store", "nosniff")
    );
}

#[tokio::test]
async fn pretty_can_be_declined_and_is_checked_like_every_parameter() {
    // schemathesis: any text was taken, and `false` indented.
    let rig = Rig::new();
    let plain = rig.get("/health?pretty=false").await;
    assert!(!plain.text.trim_end().contains('\n'), "{}", plain.text);
    for query in ["pretty=null", "pretty=true&pretty=true"] {
        rig.get(&format!("/health?{query}")).await.problem(400, "invalid-query");
    }
}
