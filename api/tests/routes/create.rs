//! `POST /jobs`.

use crate::rig::{Fault, JSON, Rig};
use backends::RecordsError;
use serde_json::json;

#[tokio::test]
async fn a_submitted_job_is_answered_as_it_is_shown_later() {
    let rig = Rig::new();
    let body = r#"{"job_type":"agent","payload":{"x":1.50,"big":1e400},"labels":{"team":"a"}}"#;
    let made = rig.send("POST", "/jobs", &[JSON], body).await;
    assert_eq!(made.status, 201, "{made:?}");
    let job = serde_json::from_str::<serde_json::Value>(&made.text.replace("1e400", "1")).unwrap();
    let id = job["job_id"].as_str().unwrap();
    assert_eq!(made.header("location"), format!("/jobs/{id}"));
    assert_eq!((&job["status"], &job["reason"]), (&json!("QUEUED"), &json!("PendingEvaluation")));
    assert_eq!(job["desired"]["priority"], 7, "the default of the job type");
    assert!(made.text.contains(r#""payload":{"x":1.50,"big":1e400}"#), "the payload as sent: {made:?}");
    assert!(made.text.ends_with("}\n") && made.text.lines().count() == 1, "one line: {made:?}");

    let shown = rig.get(&format!("/jobs/{id}")).await;
    assert_eq!(shown.text, made.text);
    assert_eq!(shown.header("etag"), made.header("etag"));
    assert!(id.len() == 36 && id.as_bytes()[14] == b'7', "a UUIDv7: {id}");
}

#[tokio::test]
async fn the_same_key_and_body_is_the_same_job_and_another_body_is_refused() {
    let rig = Rig::new();
    let key = ("idempotency-key", "order 66");
    let first = rig.send("POST", "/jobs", &[JSON, key], r#"{"job_type":"echo"}"#).await;
    let again = rig.send("POST", "/jobs", &[JSON, key], r#"{"job_type":"echo"}"#).await;
    assert_eq!((first.status.as_u16(), again.status.as_u16()), (201, 200), "{again:?}");
    assert_eq!(first.json(), again.json());
    assert_eq!(first.header("location"), again.header("location"));
    assert_eq!(first.json()["job_id"].as_str().unwrap().as_bytes()[14], b'8', "a UUIDv8");

    let other = rig.send("POST", "/jobs", &[JSON, key], r#"{"job_type":"echo","payload":1}"#).await;
    other.problem(422, "idempotency-key-reused");
    let third = rig.send("POST", "/jobs", &[JSON, ("idempotency-key", "order 67")], r#"{"job_type":"echo"}"#);
    assert_ne!(third.await.json()["job_id"], first.json()["job_id"]);
    assert_eq!(rig.get("/jobs").await.json()["jobs"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_repeated_key_shows_the_job_as_it_is_now_even_after_an_edit() {
    let rig = Rig::new();
    let headers = [JSON, ("idempotency-key", "k")];
    let first = rig.send("POST", "/jobs", &headers, r#"{"job_type":"echo"}"#).await.json();
    let path = format!("/jobs/{}", first["job_id"].as_str().unwrap());
    assert_eq!(rig.patch(&path, r#"{"priority":3}"#).await.status, 200);
    let again = rig.send("POST", "/jobs", &headers, r#"{"job_type":"echo"}"#).await;
    assert_eq!((again.status.as_u16(), &again.json()["desired"]["priority"]), (200, &json!(3)));
}

#[tokio::test]
async fn a_creation_whose_answer_was_lost_makes_one_job_and_says_so() {
    let rig = Rig::new();
    rig.faults([Fault::LosesAnswer]);
    let made = rig.send("POST", "/jobs", &[JSON], r#"{"job_type":"echo"}"#).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(rig.get("/jobs").await.json()["jobs"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_store_that_never_answers_is_asked_three_times() {
    let uncertain = || Fault::Fails(RecordsError::Uncertain("the line went dead".to_owned()));
    let rig = Rig::new();
    rig.faults([uncertain(), uncertain()]);
    assert_eq!(rig.send("POST", "/jobs", &[JSON], r#"{"job_type":"echo"}"#).await.status, 201);
    rig.faults([uncertain(), uncertain(), uncertain()]);
    rig.send("POST", "/jobs", &[JSON], r#"{"job_type":"echo"}"#).await.problem(503, "store-uncertain");
    assert_eq!(rig.get("/jobs").await.json()["jobs"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_store_that_is_busy_answers_503_and_when_to_come_back() {
    let rig = Rig::new();
    rig.faults([Fault::Fails(RecordsError::Busy("locked".to_owned()))]);
    let refused = rig.send("POST", "/jobs", &[JSON], r#"{"job_type":"echo"}"#).await;
    refused.problem(503, "store-unavailable");
    assert_eq!(refused.header("retry-after"), "1");
}

#[tokio::test]
async fn every_unacceptable_field_is_named_at_once() {
    let rig = Rig::new();
    let body = r#"{"job_type":"echo","max_atempts":2,"priority":"high","backoff":{"factor":0}}"#;
    let problem = rig.send("POST", "/jobs", &[JSON], body).await.problem(422, "invalid-fields");
    let places: Vec<_> = problem["errors"].as_array().unwrap().iter().map(|e| e["pointer"].clone()).collect();
    assert_eq!(places, ["/backoff/factor", "/priority", "/max_atempts"]);
    assert!(problem["errors"][2]["message"].as_str().unwrap().contains("did you mean \"max_attempts\""));
    assert_eq!(problem["errors"][1]["value"], "\"high\"");
    assert_eq!(problem["instance"], "/jobs");

    let body = r#"{"job_type":"ehco","capacity":"spot","max_cost_usd":1}"#;
    let problem = rig.send("POST", "/jobs", &[JSON], body).await.problem(422, "invalid-fields");
    assert_eq!(problem["errors"].as_array().unwrap().len(), 3, "{problem}");
    let one = rig.send("POST", "/jobs", &[JSON], r#"{"job_type":"agent","max_attempts":9}"#).await;
    assert!(one.problem(422, "invalid-fields")["detail"].as_str().unwrap().contains("at most 5"), "{one:?}");
}

#[tokio::test]
async fn a_member_that_is_given_twice_is_refused_by_its_place_beside_everything_else() {
    let rig = Rig::new();
    let id = rig.submit(r#"{"job_type":"echo"}"#).await;
    let places = |problem: serde_json::Value| -> Vec<String> {
        let errors = problem["errors"].as_array().unwrap().iter();
        errors
            .map(|e| format!("{} {}", e["pointer"].as_str().unwrap(), e["message"].as_str().unwrap()))
            .collect()
    };
    let twice = "is given more than once; once is allowed";
    let body = r#"{"job_type":"echo","priority":1,"env":{"A":"1","A":"2"},"priority":2,"max_attempts":0}"#;
    let refused = rig.send("POST", "/jobs", &[JSON], body).await.problem(422, "invalid-fields");
    let expected = [
        format!("/env/A {twice}"),
        format!("/priority {twice}"),
        "/max_attempts a whole number from 1 to 100".to_owned(),
    ];
    assert_eq!(places(refused), expected);
    let rules = r#"{"job_type":"echo","failure_policy":{"rules":[{"action":"Retry"},{"action":"Fail","action":"Retry"}]}}"#;
    let refused = rig.send("POST", "/jobs", &[JSON], rules).await.problem(422, "invalid-fields");
    assert_eq!(places(refused), [format!("/failure_policy/rules/1/action {twice}")]);
    let patch = r#"{"suspend":true,"suspend":false}"#;
    for query in ["", "?dry_run"] {
        let refused = rig.patch(&format!("/jobs/{id}{query}"), patch).await.problem(422, "invalid-fields");
        assert_eq!(places(refused), [format!("/suspend {twice}")]);
    }
    let batch = format!(r#"{{"jobs":[{body},{{"job_type":"echo"}}]}}"#);
    let answers = rig.send("POST", "/jobs/batch", &[JSON], batch).await.json();
    assert_eq!(
        (&answers["results"][0]["status"], &answers["results"][1]["status"]),
        (&422.into(), &201.into())
    );
    rig.send("POST", "/jobs/batch", &[JSON], r#"{"jobs":[],"jobs":[]}"#).await.problem(422, "invalid-fields");
    rig.send("POST", &format!("/jobs/{id}/retry"), &[JSON], r#"{"force":true,"force":false}"#)
        .await
        .problem(422, "invalid-fields");
    // A payload is carried as it is, and what is no JSON at all is said to be that.
    let carried = rig
        .send("POST", "/jobs", &[JSON], r#"{"job_type":"echo","payload":{"a":1,"a":[{"b":1e400,"b":2}]}}"#)
        .await;
    assert!(
        carried.status == 201 && carried.text.contains(r#""payload":{"a":1,"a":[{"b":1e400,"b":2}]}"#),
        "{carried:?}"
    );
    let broken = rig.send("POST", "/jobs", &[JSON], r#"{"priority":1,"priority":2"#).await;
    broken.problem(400, "invalid-json");
}

#[tokio::test]
async fn an_idempotency_key_is_refused_beyond_255_characters_by_every_route_that_takes_one() {
    let rig = Rig::new();
    let bodies = [("/jobs", r#"{"job_type":"echo"}"#), ("/jobs/batch", r#"{"jobs":[{"job_type":"echo"}]}"#)];
    for (path, body) in bodies {
        let longest = "k".repeat(255);
        let taken = rig.send("POST", path, &[JSON, ("idempotency-key", &longest)], body).await;
        assert!(taken.status.is_success(), "{path}: {taken:?}");
        let longer = "k".repeat(256);
        let refused = rig.send("POST", path, &[JSON, ("idempotency-key", &longer)], body).await;
        let problem = refused.problem(400, "invalid-header");
        assert!(problem["detail"].as_str().unwrap().contains("1 to 255"), "{problem}");
        // Found by schemathesis: a tab inside was accepted.
        for bad in ["", "a\tb", "é"] {
            let refused = rig.send("POST", path, &[JSON, ("idempotency-key", bad)], body).await;
            let problem = refused.problem(400, "invalid-header");
            assert!(problem["detail"].as_str().unwrap().contains("printable ASCII"), "{problem}");
        }
    }
    let document = serde_json::to_value(api::document()).unwrap();
    for path in ["/jobs", "/jobs/batch"] {
        let key = &document["paths"][path]["post"]["parameters"][0];
        assert_eq!(
            (&key["name"], &key["schema"]["maxLength"]),
            (&"Idempotency-Key".into(), &255.into()),
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_delete_of_a_job_is_answered_with_what_to_do_instead() {
    let rig = Rig::new();
    let id = rig.submit(r#"{"job_type":"echo"}"#).await;
    let refused = rig.send("DELETE", &format!("/jobs/{id}"), &[], "").await;
    let problem = refused.problem(405, "method-not-allowed");
    let said = problem["detail"].as_str().unwrap();
    assert!(said.contains("/cancel") && said.contains("ttl_seconds_after_finished"), "{said}");
    assert!(refused.header("allow").contains("PATCH"));
    let other = rig.send("DELETE", "/jobs", &[], "").await.problem(405, "method-not-allowed");
    assert!(other["detail"].as_str().unwrap().contains("Allow header"), "{other}");
}

#[tokio::test]
async fn bodies_that_are_no_json_are_refused_with_line_and_column() {
    let rig = Rig::new();
    for (body, wanted) in [
        ("{\"job_type\":\n  echo}", "line 2 column 3"),
        ("", "line 1 column 0"),
        ("{\"job_type\":\"echo\"} x", "line 1 column 21"),
    ] {
        let problem = rig.send("POST", "/jobs", &[JSON], body).await.problem(400, "invalid-json");
        assert!(problem["detail"].as_str().unwrap().contains(wanted), "{problem}");
    }
    let latin = rig.send("POST", "/jobs", &[JSON], vec![b'"', 0xe4, b'"']).await;
    assert!(latin.problem(400, "invalid-json")["detail"].as_str().unwrap().contains("UTF-8"));
    // JSON, but no object: then it is the fields' fault.
    rig.send("POST", "/jobs", &[JSON], "[]").await.problem(422, "invalid-fields");
}

#[tokio::test]
async fn only_json_by_its_content_type_is_read() {
    let rig = Rig::new();
    let form = [("content-type", "application/x-www-form-urlencoded")];
    for headers in [&form[..], &[]] {
        let problem = rig.send("POST", "/jobs", headers, r#"{"job_type":"echo"}"#).await;
        let problem = problem.problem(415, "media-type");
        assert!(problem["detail"].as_str().unwrap().contains("-H 'Content-Type: application/json'"));
    }
    let charset = [("content-type", "Application/JSON; charset=utf-8")];
    assert_eq!(rig.send("POST", "/jobs", &charset, r#"{"job_type":"echo"}"#).await.status, 201);
}

#[tokio::test]
async fn a_body_above_1_mib_and_a_payload_above_256_kib_are_refused() {
    let rig = Rig::new();
    let body = |size: usize| format!(r#"{{"job_type":"echo","payload":"{}"}}"#, "x".repeat(size));
    let fits = 256 * 1024 - 2;
    assert_eq!(rig.send("POST", "/jobs", &[JSON], body(fits)).await.status, 201);
    let problem = rig.send("POST", "/jobs", &[JSON], body(fits + 1)).await.problem(422, "invalid-fields");
    assert_eq!(problem["errors"][0]["pointer"], "/payload");
    let problem = rig.send("POST", "/jobs", &[JSON], body(1024 * 1024)).await.problem(413, "body-too-large");
    assert!(problem["detail"].as_str().unwrap().contains("1048576"));
}

#[tokio::test]
async fn a_key_that_cannot_be_kept_is_refused() {
    let rig = Rig::new();
    let longest = "k".repeat(255);
    let headers = [JSON, ("idempotency-key", longest.as_str())];
    assert_eq!(rig.send("POST", "/jobs", &headers, r#"{"job_type":"echo"}"#).await.status, 201);
    let long = "k".repeat(256);
    for key in ["", &long, "\u{e4}"] {
        let headers = [JSON, ("idempotency-key", key)];
        rig.send("POST", "/jobs", &headers, r#"{"job_type":"echo"}"#).await.problem(400, "invalid-header");
    }
}
