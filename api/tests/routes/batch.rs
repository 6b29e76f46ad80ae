//! `POST /jobs/batch`.

use crate::rig::{JSON, Rig};
use contract::JobId;

#[tokio::test]
async fn each_job_of_a_batch_is_stored_or_refused_by_itself() {
    let rig = Rig::new();
    let body = r#"{"jobs":[{"job_type":"echo","payload":{"n":1.50}},{"job_type":"ehco"},{"job_type":"echo","priority":"x"},{"job_type":"echo"}]}"#;
    let answer = rig.send("POST", "/jobs/batch", &[JSON], body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let results = answer.json()["results"].as_array().unwrap().clone();
    let statuses: Vec<u64> = results.iter().map(|r| r["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [201, 422, 422, 201]);
    assert!(answer.text.contains(r#""payload":{"n":1.50}"#), "{answer:?}");
    assert_eq!(results[1]["problem"]["errors"][0]["pointer"], "/job_type");
    assert_eq!(results[2]["problem"]["errors"][0]["pointer"], "/priority");
    for at in [0, 3] {
        let job_id = JobId::new(results[at]["job_id"].as_str().unwrap()).unwrap();
        assert_eq!(results[at]["job"]["status"], "QUEUED");
        assert_eq!(rig.job(&job_id).await.desired().unwrap().job_type, "echo");
    }
}

#[tokio::test]
async fn a_repeated_batch_with_its_key_meets_its_first_jobs() {
    let rig = Rig::new();
    let headers = [JSON, ("idempotency-key", "nightly")];
    let body = r#"{"jobs":[{"job_type":"echo"},{"job_type":"echo"}]}"#;
    let first = rig.send("POST", "/jobs/batch", &headers, body).await.json();
    let again = rig.send("POST", "/jobs/batch", &headers, body).await.json();
    assert_ne!(first["results"][0]["job_id"], first["results"][1]["job_id"]);
    for at in [0, 1] {
        assert_eq!(first["results"][at]["status"], 201);
        assert_eq!(again["results"][at]["status"], 200);
        assert_eq!(first["results"][at]["job_id"], again["results"][at]["job_id"]);
    }
}

#[tokio::test]
async fn what_is_no_list_of_one_to_five_hundred_jobs_is_refused() {
    let rig = Rig::new();
    let many = format!("{{\"jobs\":[{}{{}}]}}", "{},".repeat(500));
    for (body, status) in [
        ("{", 400),
        ("[]", 422),
        ("{}", 422),
        (r#"{"jobs":[]}"#, 422),
        (r#"{"jobs":[{}],"more":1}"#, 422),
        (many.as_str(), 422),
    ] {
        let answer = rig.send("POST", "/jobs/batch", &[JSON], body.to_owned()).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
    assert_eq!(rig.get("/jobs").await.json()["jobs"].as_array().unwrap().len(), 0);
    let large = format!(r#"{{"jobs":["{}"]}}"#, "x".repeat(8 * 1024 * 1024));
    assert_eq!(rig.send("POST", "/jobs/batch", &[JSON], large).await.status, 413);
}
