//! Records that a hand edit broke stay readable, and can be healed.

use crate::rig::Rig;
use contract::Raw;
use serde_json::json;

#[tokio::test]
async fn a_job_whose_desired_cannot_be_decoded_is_shown_with_the_reasons_and_healed_by_a_patch() {
    let rig = Rig::new();
    let id = rig.submit(r#"{"job_type":"echo","payload":[1]}"#).await;
    let other = rig.submit(r#"{"job_type":"echo"}"#).await;
    let job = rig.job(&id).await;
    let broken = job.desired.text().replace("\"priority\":0", "\"priority\":5000");
    rig.store.write_raw(&id, &job.desired, &Raw::stored(broken)).await;

    let shown = rig.get(&format!("/jobs/{id}")).await;
    assert_eq!(shown.status, 200);
    let shown = shown.json();
    assert_eq!((&shown["job_type"], &shown["payload"]), (&json!("echo"), &json!([1])));
    assert_eq!(shown["desired"]["priority"], 5000);
    assert_eq!(shown["invalid"][0]["section"], "desired");
    assert_eq!(shown["invalid"][0]["errors"][0]["pointer"], "/priority");
    let explained = rig.get(&format!("/jobs/{id}/explain")).await.json();
    assert_eq!((&explained["reason"], &explained["next"]["who"]), (&json!("InvalidRecord"), &json!("you")));
    assert_eq!(explained["errors"][0]["pointer"], "/priority");
    assert_eq!(rig.get("/jobs").await.json()["jobs"].as_array().unwrap().len(), 2);
    for verb in ["cancel", "retry", "suspend", "resume"] {
        let problem = rig.post(&format!("/jobs/{id}/{verb}")).await.problem(409, "invalid-record");
        assert_eq!(problem["errors"][0]["pointer"], "/priority");
    }
    rig.patch(&format!("/jobs/{id}"), r#"{"suspend":true}"#).await.problem(422, "invalid-fields");
    let healed = rig.patch(&format!("/jobs/{id}"), r#"{"priority":null}"#).await.json();
    assert_eq!((healed.get("invalid"), &healed["desired"]["priority"]), (None, &json!(0)));
    assert_eq!(rig.get(&format!("/jobs/{other}")).await.status, 200);
    // A member of no known name is removed by its name, whatever that is.
    let job = rig.job(&id).await;
    let broken = job.desired.text().replacen(r#""backoff":{"#, r#""backoff":{"initial":5,"#, 1);
    rig.store.write_raw(&id, &job.desired, &Raw::stored(broken)).await;
    let patch = |name: &str| format!(r#"{{"backoff":{{"{name}":null}}}}"#);
    rig.patch(&format!("/jobs/{id}"), &patch("intial")).await.problem(422, "invalid-fields");
    let healed = rig.patch(&format!("/jobs/{id}"), &patch("initial")).await;
    assert_eq!((healed.status.as_u16(), healed.json().get("invalid")), (200, None), "{healed:?}");
}

#[tokio::test]
async fn sections_of_any_content_are_shown_and_no_route_fails() {
    let rig = Rig::new();
    let id = rig.submit(r#"{"job_type":"echo"}"#).await;
    rig.claim(&id).await;
    for text in ["", "not JSON \"at all\"", "[]", "null", "7", "{\"job_type\":7,\"retry\":\"x\"}"] {
        rig.mangle(move |job| {
            job.desired = Raw::stored(text);
            job.created = Raw::stored(text);
            job.control = Some(Raw::stored(text));
            job.status = Some(Raw::stored(text));
        });
        let job = rig.get(&format!("/jobs/{id}")).await;
        assert_eq!(job.status, 200, "{job:?}");
        let shown = job.json();
        assert_eq!((&shown["status"], &shown["created_at"]), (&json!("QUEUED"), &json!(null)), "{shown}");
        let sections: Vec<_> =
            shown["invalid"].as_array().unwrap().iter().map(|i| i["section"].clone()).collect();
        assert_eq!(sections, ["desired", "control", "status", "created"], "{text}");
        for tail in ["", "/attempts", "/events", "/explain", "/artifacts"] {
            assert_eq!(rig.get(&format!("/jobs/{id}{tail}")).await.status, 200, "{text} at {tail}");
        }
        assert_eq!(rig.get("/jobs").await.json()["jobs"].as_array().unwrap().len(), 1);
        rig.get(&format!("/jobs/{id}/result")).await.problem(404, "not-there");
        rig.get(&format!("/jobs/{id}/logs")).await.problem(404, "not-there");
    }
}

#[tokio::test]
async fn a_wiped_status_is_read_from_control() {
    let rig = Rig::new();
    let id = rig.submit(r#"{"job_type":"echo"}"#).await;
    rig.end(&id, contract::Reason::Completed).await;
    rig.mangle(|job| job.status = None);
    assert_eq!(rig.get(&format!("/jobs/{id}")).await.json()["status"], "SUCCEEDED");
}

#[tokio::test]
async fn a_finished_job_whose_desired_cannot_be_decoded_keeps_its_status_and_is_found_by_its_reason() {
    let rig = Rig::new();
    let id = rig.submit(r#"{"job_type":"echo"}"#).await;
    let other = rig.submit(r#"{"job_type":"echo"}"#).await;
    for id in [&id, &other] {
        rig.end(id, contract::Reason::Completed).await;
    }
    let job = rig.job(&id).await;
    let broken = job.desired.text().replace("\"priority\":0", "\"priority\":5000");
    rig.store.write_raw(&id, &job.desired, &Raw::stored(broken)).await;

    let shown = rig.get(&format!("/jobs/{id}")).await.json();
    assert_eq!((&shown["status"], &shown["reason"]), (&json!("SUCCEEDED"), &json!("InvalidRecord")));
    assert!(shown["message"].as_str().unwrap().contains("priority"), "{shown}");
    let explained = rig.get(&format!("/jobs/{id}/explain")).await.json();
    let accepted = &explained["conditions"][0];
    assert_eq!(
        (&accepted["type"], &accepted["status"]),
        (&json!("Accepted"), &json!("False")),
        "{explained}"
    );
    assert_eq!(accepted["reason"], "InvalidRecord");
    let ids = |listed: serde_json::Value| -> Vec<String> {
        let jobs = listed["jobs"].as_array().unwrap().clone();
        jobs.iter().map(|job| job["job_id"].as_str().unwrap().to_owned()).collect()
    };
    for query in ["reason=InvalidRecord", "reason=invalidrecord,Misconfigured&status=SUCCEEDED"] {
        assert_eq!(ids(rig.get(&format!("/jobs?{query}")).await.json()), [id.to_string()], "{query}");
    }
    assert_eq!(ids(rig.get("/jobs?reason=Completed").await.json()), [other.to_string()]);
    let wrong = rig.get("/jobs?reason=Broken").await.problem(400, "invalid-query");
    assert!(wrong["errors"][0]["message"].as_str().unwrap().contains("InvalidRecord"), "{wrong}");
    rig.patch(&format!("/jobs/{id}"), r#"{"priority":null}"#).await;
    assert_eq!(rig.get(&format!("/jobs/{id}")).await.json()["reason"], "Completed");
}

#[tokio::test]
async fn a_retry_beyond_its_range_can_be_taken_back() {
    let rig = Rig::new();
    let id = rig.submit(r#"{"job_type":"echo"}"#).await;
    rig.end(&id, contract::Reason::Completed).await;
    rig.control(&id, |c| c.seen_retry = 3).await;
    // SQLite refuses such an edit; Redis and DynamoDB take what they are given.
    rig.mangle(|job| {
        job.desired = Raw::stored(job.desired.text().replace("\"retry\":0", "\"retry\":2000000000"));
    });
    assert_eq!(rig.get(&format!("/jobs/{id}")).await.json()["invalid"][0]["errors"][0]["pointer"], "/retry");
    let dry = format!("/jobs/{id}?dry_run=true");
    rig.patch(&dry, r#"{"retry":2}"#).await.problem(422, "invalid-fields");
    let healed = rig.patch(&dry, r#"{"retry":3}"#).await.json();
    assert_eq!((healed.get("errors"), &healed["desired"]["retry"]), (None, &json!(3)), "{healed}");
}
