//! PATCH and the verbs.

use crate::rig::{Fault, JSON, Rig};
use backends::RecordsError;
use contract::{Phase, Reason};
use serde_json::json;

#[tokio::test]
async fn a_merge_patch_changes_what_it_names_and_nothing_else() {
    let rig = Rig::new();
    let id =
        rig.submit(r#"{"job_type":"echo","payload":{"a":1.50,"b":{"c":1}},"env":{"A":"1","B":"2"}}"#).await;
    let path = format!("/jobs/{id}");
    let merge = ("content-type", "application/merge-patch+json");
    let patch = r#"{"payload":{"b":null},"env":{"A":null},"priority":5,"max_attempts":null}"#;
    let answer = rig.send("PATCH", &path, &[merge], patch).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let job = answer.json();
    assert!(answer.text.contains(r#""payload":{"a":1.50}"#), "{answer:?}");
    assert_eq!(job["desired"]["env"], json!({"B": "2"}));
    assert_eq!((&job["desired"]["priority"], &job["desired"]["max_attempts"]), (&json!(5), &json!(3)));
    assert_eq!(rig.get(&path).await.text, answer.text);
    assert!(rig.job(&id).await.active);
}

#[tokio::test]
async fn if_match_guards_desired_and_nothing_else() {
    let rig = Rig::new();
    let id = rig.submit(r#"{"job_type":"echo"}"#).await;
    let path = format!("/jobs/{id}");
    let first = rig.get(&path).await.header("etag").to_owned();
    // The reconciler's writes do not disturb an editor.
    rig.control(&id, |_| {}).await;
    let edited = rig.send("PATCH", &path, &[JSON, ("if-match", &first)], r#"{"priority":1}"#).await;
    assert_eq!(edited.status, 200, "{edited:?}");
    let stale = rig.send("PATCH", &path, &[JSON, ("if-match", &first)], r#"{"priority":2}"#).await;
    stale.problem(412, "desired-changed");
    assert_eq!(stale.header("etag"), edited.header("etag"), "the answer says what is current");
    assert_eq!(rig.get(&path).await.json()["desired"]["priority"], 1);
    let any = format!("\"other\", {}", edited.header("etag"));
    assert_eq!(rig.send("PATCH", &path, &[JSON, ("if-match", &any)], "{}").await.status, 200);
    assert_eq!(rig.send("PATCH", &path, &[JSON, ("if-match", "*")], "{}").await.status, 200);
    for bad in ["abc", "", "\"abc", "abc\"", "W/\"abc"] {
        rig.send("PATCH", &path, &[JSON, ("if-match", bad)], "{}").await.problem(400, "invalid-header");
    }
    rig.send("POST", &format!("{path}/cancel"), &[("if-match", &first)], "")
        .await
        .problem(412, "desired-changed");
    rig.send("PATCH", &format!("{path}?dry_run"), &[JSON, ("if-match", &first)], "{}")
        .await
        .problem(412, "desired-changed");
}

#[tokio::test]
async fn a_dry_run_tells_changes_and_the_first_step_and_stores_nothing() {
    let rig = Rig::new();
    let id = rig.submit(r#"{"job_type":"echo","payload":{"a":[1, 2]}}"#).await;
    let path = format!("/jobs/{id}");
    let before = rig.get(&path).await;
    let preview =
        rig.patch(&format!("{path}?dry_run=true"), r#"{"payload":{"b":1},"cancel":true}"#).await.json();
    assert_eq!(
        preview["changes"],
        json!([
            {"pointer": "/cancel", "before": false, "after": true},
            {"pointer": "/payload/b", "after": 1},
        ])
    );
    assert_eq!((&preview["dry_run"], &preview["desired"]["cancel"]), (&json!(true), &json!(true)));
    assert_eq!(preview["decision"]["kind"], "write", "{preview}");
    assert_eq!(rig.get(&path).await.text, before.text);

    for no in ["false", "0"] {
        let done = rig.patch(&format!("{path}?dry_run={no}"), "{}").await;
        assert_eq!((done.status.as_u16(), &done.json()["dry_run"]), (200, &serde_json::Value::Null), "{no}");
    }
    rig.patch(&format!("{path}?dry_run=no"), "{}").await.problem(400, "invalid-query");

    rig.control(&id, |c| c.seen_retry = 0).await;
    let preview = rig.patch(&format!("{path}?dry_run=true"), r#"{"cancel":true}"#).await.json();
    assert_eq!(
        (&preview["decision"]["status"], &preview["decision"]["reason"]),
        (&json!("FAILED"), &json!("Cancelled")),
        "{preview}"
    );
    rig.patch(&format!("{path}?dry_run=true"), r#"{"priority":"x"}"#).await.problem(422, "invalid-fields");
}

#[tokio::test]
async fn what_never_changes_or_shrinks_or_is_unknown_is_refused_all_at_once() {
    let rig = Rig::new();
    let id = rig.submit(r#"{"job_type":"echo","retry":2}"#).await;
    let path = format!("/jobs/{id}");
    let problem = rig.patch(&path, r#"{"job_type":"agent","retry":1,"priorty":1,"max_attempts":0}"#).await;
    let problem = problem.problem(422, "invalid-fields");
    let mut places: Vec<_> =
        problem["errors"].as_array().unwrap().iter().map(|e| e["pointer"].as_str().unwrap()).collect();
    places.sort_unstable();
    assert_eq!(places, ["/job_type", "/max_attempts", "/priorty", "/retry"], "{problem}");
    assert!(problem.to_string().contains("submit a new one with POST /jobs"), "{problem}");
    rig.patch(&path, r#"{"job_type":null}"#).await.problem(422, "invalid-fields");
    // Found by schemathesis: the name of what is only removed was not looked at.
    for (patch, place) in [
        (r#"{"priorty":null,"priority":null}"#, "/priorty"),
        (r#"{"":null}"#, "/"),
        (r#"{"backoff":{"initial":null}}"#, "/backoff/initial"),
    ] {
        let problem = rig.patch(&path, patch).await.problem(422, "invalid-fields");
        let errors = problem["errors"].as_array().unwrap();
        assert_eq!((errors.len(), &errors[0]["pointer"]), (1, &json!(place)), "{problem}");
        assert!(errors[0]["message"].as_str().unwrap().contains("is not known"), "{problem}");
    }
    let harmless = r#"{"priority":null,"resources":null,"backoff":{"factor":null},"labels":{"a":null}}"#;
    let answer = rig.patch(&path, harmless).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(
        rig.patch(&path, r#"{"job_type":"echo","retry":2}"#).await.status,
        200,
        "no change is no offence"
    );
    rig.patch(&path, "[1]").await.problem(422, "invalid-fields");
    rig.patch(&path, "{").await.problem(400, "invalid-json");
    rig.send("PATCH", &path, &[("content-type", "text/plain")], "{}").await.problem(415, "media-type");
    rig.patch("/jobs/nobody", "{}").await.problem(404, "job-not-found");
}

#[tokio::test]
async fn a_retry_below_what_the_run_stands_for_is_refused_although_a_hand_edit_lowered_it() {
    let rig = Rig::new();
    let id = rig.submit(r#"{"job_type":"echo"}"#).await;
    rig.control(&id, |c| c.seen_retry = 4).await;
    rig.patch(&format!("/jobs/{id}"), r#"{"retry":3}"#).await.problem(422, "invalid-fields");
    assert_eq!(rig.patch(&format!("/jobs/{id}"), r#"{"retry":5}"#).await.status, 200);
}

#[tokio::test]
async fn edits_of_others_in_between_are_kept() {
    let rig = Rig::new();
    let id = rig.submit(r#"{"job_type":"echo"}"#).await;
    rig.faults([Fault::Overtaken(|d| d.priority += 1), Fault::Overtaken(|d| d.priority += 1)]);
    let answer = rig.patch(&format!("/jobs/{id}"), r#"{"max_attempts":9}"#).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let desired = &answer.json()["desired"];
    assert_eq!((&desired["priority"], &desired["max_attempts"]), (&json!(2), &json!(9)));

    rig.faults((0..8).map(|_| Fault::Overtaken(|d| d.priority += 1)));
    rig.patch(&format!("/jobs/{id}"), r#"{"max_attempts":4}"#).await.problem(503, "busy");
    assert_eq!(rig.get(&format!("/jobs/{id}")).await.json()["desired"]["max_attempts"], 9);
}

#[tokio::test]
async fn an_edit_whose_answer_was_lost_counts_once_even_under_if_match() {
    let rig = Rig::new();
    let id = rig.submit(r#"{"job_type":"echo"}"#).await;
    let path = format!("/jobs/{id}");
    let etag = rig.get(&path).await.header("etag").to_owned();
    rig.faults([Fault::LosesAnswer]);
    let answer = rig.send("PATCH", &path, &[JSON, ("if-match", &etag)], r#"{"priority":1}"#).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    rig.end(&id, Reason::Completed).await;
    rig.faults([Fault::LosesAnswer]);
    assert_eq!(rig.post(&format!("{path}/retry")).await.json()["desired"]["retry"], 1);
    rig.faults([Fault::Fails(RecordsError::Unavailable("disk full".to_owned()))]);
    rig.patch(&path, r#"{"priority":2}"#).await.problem(503, "store-unavailable");
}

#[tokio::test]
async fn cancel_is_wanted_once_and_a_job_that_ended_otherwise_is_a_conflict() {
    let rig = Rig::new();
    let id = rig.submit(r#"{"job_type":"echo"}"#).await;
    let cancel = format!("/jobs/{id}/cancel");
    assert_eq!(rig.post(&cancel).await.json()["desired"]["cancel"], true);
    assert_eq!(rig.post(&cancel).await.status, 200);
    rig.end(&id, Reason::Cancelled).await;
    assert_eq!(rig.post(&cancel).await.status, 200, "it is what was wanted");

    let done = rig.submit(r#"{"job_type":"echo"}"#).await;
    rig.end(&done, Reason::Completed).await;
    let problem = rig.post(&format!("/jobs/{done}/cancel")).await.problem(409, "conflict");
    assert!(problem["detail"].as_str().unwrap().contains("SUCCEEDED, Completed"), "{problem}");
    // It was wanted, but came too late.
    let late = rig.submit(r#"{"job_type":"echo"}"#).await;
    assert_eq!(rig.post(&format!("/jobs/{late}/cancel")).await.status, 200);
    rig.end(&late, Reason::Completed).await;
    rig.post(&format!("/jobs/{late}/cancel")).await.problem(409, "conflict");
    rig.post("/jobs/nobody/cancel").await.problem(404, "job-not-found");
    let body = rig.send("POST", &cancel, &[JSON], r#"{"force":true}"#).await;
    body.problem(422, "invalid-fields");
}

#[tokio::test]
async fn a_retry_of_a_finished_job_starts_one_run_however_often_it_is_asked_for() {
    let rig = Rig::new();
    let id = rig.submit(r#"{"job_type":"echo"}"#).await;
    let (path, retry) = (format!("/jobs/{id}"), format!("/jobs/{id}/retry"));
    rig.post(&retry).await.problem(409, "conflict");
    assert_eq!(rig.post(&format!("{path}/cancel")).await.status, 200);
    rig.end(&id, Reason::Cancelled).await;

    let job = rig.post(&retry).await.json();
    assert_eq!((&job["desired"]["retry"], &job["desired"]["cancel"]), (&json!(1), &json!(false)));
    // The stored status is the old run's; nobody who waits for the new one must take it for the end.
    assert_eq!((&job["status"], &job["reason"]), (&json!("QUEUED"), &json!("PendingEvaluation")));
    assert!(job["finished_at"].is_null());
    assert_eq!(rig.get("/jobs?status=FAILED").await.json()["jobs"], json!([]));
    let again = rig.send("POST", &retry, &[JSON], r#"{"force":true}"#).await.json();
    assert_eq!(again["desired"]["retry"], 1, "asked for already");

    rig.control(&id, |c| c.phase = Phase::Running).await;
    rig.post(&retry).await.problem(409, "conflict");
    assert_eq!(rig.post(&format!("{retry}?force=true")).await.json()["desired"]["retry"], 2);
    rig.control(&id, |_| {}).await;
    let forced = rig.send("POST", &retry, &[JSON], r#"{"force":true}"#).await;
    assert_eq!(forced.json()["desired"]["retry"], 3);
    rig.send("POST", &retry, &[JSON], r#"{"forced":true}"#).await.problem(422, "invalid-fields");
    rig.send("POST", &retry, &[JSON], "{").await.problem(400, "invalid-json");
    rig.send("POST", &retry, &[], "{}").await.problem(415, "media-type");
}

#[tokio::test]
async fn two_retries_at_the_same_time_are_one() {
    let rig = Rig::new();
    let id = rig.submit(r#"{"job_type":"echo"}"#).await;
    rig.end(&id, Reason::Completed).await;
    rig.faults([Fault::Overtaken(|d| d.retry += 1)]);
    assert_eq!(rig.post(&format!("/jobs/{id}/retry")).await.json()["desired"]["retry"], 1);
}

#[tokio::test]
async fn a_counter_at_its_end_is_refused_and_not_stored() {
    let rig = Rig::new();
    let id = rig.submit(r#"{"job_type":"echo","retry":1000000000}"#).await;
    rig.end(&id, Reason::Completed).await;
    rig.post(&format!("/jobs/{id}/retry")).await.problem(422, "invalid-fields");
    assert!(rig.job(&id).await.desired().is_ok());
}

#[tokio::test]
async fn suspend_and_resume_may_be_repeated() {
    let rig = Rig::new();
    let id = rig.submit(r#"{"job_type":"echo"}"#).await;
    for (verb, held) in [("suspend", true), ("suspend", true), ("resume", false), ("resume", false)] {
        assert_eq!(rig.post(&format!("/jobs/{id}/{verb}")).await.json()["desired"]["suspend"], held);
    }
    rig.end(&id, Reason::Completed).await;
    rig.post(&format!("/jobs/{id}/suspend")).await.problem(409, "conflict");
    assert_eq!(rig.post(&format!("/jobs/{id}/resume")).await.status, 200);
    let counted = rig.get("/metrics").await.text;
    for line in [r#"desired_writes_total{verb="suspend"} 1"#, r#"{verb="resume"} 1"#, r#"{verb="patch"} 0"#] {
        assert!(counted.contains(line), "{line} is not in {counted}");
    }
}

#[tokio::test]
async fn a_job_type_that_has_gone_does_not_keep_a_job_from_being_cancelled() {
    let rig = Rig::new();
    let id = rig.submit(r#"{"job_type":"agent"}"#).await;
    rig.mangle(|job| {
        let text = job.desired.text().replace("\"agent\"", "\"gone\"");
        job.desired = contract::Raw::stored(text);
    });
    let path = format!("/jobs/{id}?dry_run=true");
    assert_eq!(rig.patch(&path, r#"{"cancel":true}"#).await.status, 200);
    rig.patch(&path, r#"{"queue":"none"}"#).await.problem(422, "invalid-fields");
}
