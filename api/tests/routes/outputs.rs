//! Attempts, events, explanations, results, logs and files.

use crate::rig::Rig;
use backends::clock::fresh_write_id;
use backends::{Artifacts, Content};
use contract::{
    Accepted, Attempt, Budget, Closing, Evidence, JobId, LaunchToken, Manifest, Outcome, Phase, Reason,
    Report, TaskId, Timestamp, Verdict,
};
use serde_json::json;

fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(4_000_000_000_000 + second * 1000)
}

fn task(token: &LaunchToken) -> TaskId {
    TaskId::new(format!("process:{token}")).unwrap()
}

pub(crate) async fn start(rig: &Rig, id: &JobId, token: &LaunchToken) -> Report {
    let report = Report {
        started_at: at(1),
        heartbeat_at: at(1),
        outcome: None,
        phases: std::collections::BTreeMap::new(),
    };
    rig.worker.start(id, token, &task(token), &report).await.unwrap();
    rig.control(id, |c| {
        c.phase = Phase::Running;
        c.reason = None;
        c.started_at = Some(at(1));
    })
    .await;
    report
}

/// Everything up to SUCCEEDED.
pub(crate) async fn succeed(rig: &Rig, id: &JobId, token: &LaunchToken, result: &[u8], stdout: &[u8]) {
    let folder = Attempt::folder(id, 1, token);
    for (name, content) in [("result.json", result), ("stdout.log", stdout), ("artifacts/a b.txt", b"file")] {
        rig.artifacts.put(&format!("{folder}/{name}"), Content::Bytes(content)).await.unwrap();
    }
    let mut report = start(rig, id, token).await;
    report.outcome = Some(Outcome { finished_at: at(2), failure: None, manifest: Manifest::default() });
    rig.worker.finish(id, token, &task(token), &report).await.unwrap();
    let closing = Closing {
        write: fresh_write_id(),
        closed_at: at(3),
        verdict: Verdict::Succeeded,
        uses: Budget::Try,
        evidence: Evidence { task: Some(task(token)), exit_code: Some(0), ..Evidence::default() },
    };
    rig.reconciler.close(id, token, &closing).await.unwrap();
    let accepted = Some(Accepted { number: 1, token: token.clone() });
    rig.end(id, Reason::Completed).await;
    rig.control(id, |c| {
        c.accepted = accepted;
        c.finished_at = Some(at(4));
        c.expires_at = Some(at(5));
    })
    .await;
}

#[tokio::test]
async fn a_succeeded_job_shows_its_result_its_files_and_its_history() {
    let rig = Rig::new();
    let id = rig.submit(r#"{"job_type":"echo"}"#).await;
    let token = rig.claim(&id).await;
    succeed(&rig, &id, &token, br#"{"n":1.50}"#, b"hello\n").await;

    let job = rig.get(&format!("/jobs/{id}")).await;
    assert!(job.text.contains(r#""result":{"n":1.50}"#), "{job:?}");
    assert_eq!((&job.json()["status"], &job.json()["attempt"]), (&json!("SUCCEEDED"), &json!(1)));
    assert_eq!(job.json()["finished_at"], at(4).to_string());
    let result = rig.get(&format!("/jobs/{id}/result")).await;
    assert_eq!((result.text.as_str(), result.header("content-type")), (r#"{"n":1.50}"#, "application/json"));

    let events = rig.get(&format!("/jobs/{id}/events")).await.json();
    let names: Vec<_> =
        events["events"].as_array().unwrap().iter().map(|e| e["event"].as_str().unwrap()).collect();
    assert_eq!(names, ["created", "claimed", "started", "finished", "closed", "ended"], "{events}");

    let files = rig.get(&format!("/jobs/{id}/artifacts")).await.json();
    let prefix = format!("attempts/1-{}", token.prefix());
    let urls: Vec<_> =
        files["artifacts"].as_array().unwrap().iter().map(|f| f["url"].as_str().unwrap()).collect();
    assert_eq!(urls[0], format!("/jobs/{id}/artifacts/{prefix}/artifacts/a%20b.txt"), "{files}");
    assert_eq!(files["artifacts"][1]["path"], format!("{prefix}/result.json"));
    let file = rig.get(urls[0]).await;
    assert_eq!((file.text.as_str(), file.header("content-disposition")), ("file", "attachment"));
    rig.get(&format!("/jobs/{id}/artifacts/{prefix}/none")).await.problem(404, "not-there");
    for outside in ["../x", "attempts/../../x", "%2e%2e/x", "a%2F..%2F..%2Fx", "a//b"] {
        rig.get(&format!("/jobs/{id}/artifacts/{outside}")).await.problem(404, "not-there");
    }
}

#[tokio::test]
async fn a_launch_token_is_never_shown_whole() {
    let rig = Rig::new();
    let id = rig.submit(r#"{"job_type":"echo"}"#).await;
    let token = rig.claim(&id).await;
    succeed(&rig, &id, &token, b"{}", b"").await;
    rig.control(&id, |c| c.message = format!("task process:{token} ended")).await;
    for tail in ["", "/attempts", "/events", "/explain", "/artifacts"] {
        let answer = rig.get(&format!("/jobs/{id}{tail}")).await;
        assert_eq!(answer.status, 200);
        assert!(!answer.text.contains(token.as_str()), "{tail}: {answer:?}");
    }
    assert!(!rig.get("/jobs").await.text.contains(token.as_str()));
    let attempts = rig.get(&format!("/jobs/{id}/attempts")).await.json();
    let attempt = &attempts["attempts"][0];
    assert_eq!((&attempt["token"], &attempt["state"]), (&json!(token.prefix()), &json!("closed")));
    assert_eq!(attempt["gate"]["task"], format!("process:{}…", token.prefix()));
    assert_eq!((&attempt["number"], &attempt["closed_at"]), (&json!(1), &json!(at(3).to_string())));
}

#[tokio::test]
async fn a_result_above_1_mib_is_a_link_and_is_sent_whole_at_its_place() {
    let rig = Rig::new();
    let id = rig.submit(r#"{"job_type":"echo"}"#).await;
    let token = rig.claim(&id).await;
    let large = format!("\"{}\"", "x".repeat(1024 * 1024));
    succeed(&rig, &id, &token, large.as_bytes(), b"").await;
    let job = rig.get(&format!("/jobs/{id}")).await.json();
    assert!(job.get("result").is_none() && job.get("result_problem").is_none());
    let url = job["result_url"].as_str().unwrap();
    let result = rig.get(url).await;
    assert_eq!(result.header("content-length"), large.len().to_string());
    assert!(result.text == large);
}

#[tokio::test]
async fn a_result_that_has_gone_or_broke_does_not_hide_the_job() {
    let rig = Rig::new();
    let id = rig.submit(r#"{"job_type":"echo"}"#).await;
    let token = rig.claim(&id).await;
    succeed(&rig, &id, &token, b"{oops", b"").await;
    let job = rig.get(&format!("/jobs/{id}")).await.json();
    assert!(job["result_problem"].as_str().unwrap().contains("not JSON"), "{job}");
    rig.artifacts.delete_job(&id).await.unwrap();
    let job = rig.get(&format!("/jobs/{id}")).await.json();
    assert_eq!((&job["status"], job.get("result")), (&json!("SUCCEEDED"), None));
    assert!(job["result_problem"].as_str().unwrap().contains("gone"), "{job}");
    rig.get(&format!("/jobs/{id}/result")).await.problem(404, "not-there");
}

#[tokio::test]
async fn logs_are_chosen_by_stream_attempt_and_number_of_lines() {
    let rig = Rig::new();
    let id = rig.submit(r#"{"job_type":"echo"}"#).await;
    let token = rig.claim(&id).await;
    let long: String = (0..100_000).map(|n| format!("line {n}\n")).collect();
    succeed(&rig, &id, &token, b"{}", long.as_bytes()).await;
    let logs = format!("/jobs/{id}/logs");
    let all = rig.get(&logs).await;
    assert_eq!(
        (all.header("content-type"), all.header("agent-runner-attempt")),
        ("text/plain; charset=utf-8", "1")
    );
    assert!(all.text == long);
    let tail = |n: usize| long.lines().skip(100_000 - n).map(|l| format!("{l}\n")).collect::<String>();
    for n in [1, 2, 3, 40_000, 100_000] {
        assert!(rig.get(&format!("{logs}?tail={n}")).await.text == tail(n), "tail of {n}");
    }
    assert!(rig.get(&format!("{logs}?tail=100001")).await.text == long);
    assert_eq!(rig.get(&format!("{logs}?tail=0")).await.text, "");
    assert_eq!(rig.get(&format!("{logs}?attempt=1&tail=1")).await.text, "line 99999\n");
    rig.get(&format!("{logs}?attempt=2")).await.problem(404, "not-there");
    let none = rig.get(&format!("{logs}?stream=stderr")).await.problem(404, "not-there");
    assert!(none["detail"].as_str().unwrap().contains("left no stderr.log"), "{none}");
    rig.get(&format!("{logs}?stream=both&tail=-1")).await.problem(400, "invalid-query");
}

#[tokio::test]
async fn where_there_is_nothing_yet_the_answer_says_why() {
    let rig = Rig::new();
    let id = rig.submit(r#"{"job_type":"echo"}"#).await;
    let detail = async |tail: &str| {
        let answer = rig.get(&format!("/jobs/{id}/{tail}")).await.problem(404, "not-there");
        answer["detail"].as_str().unwrap().to_owned()
    };
    assert!(detail("logs").await.contains("no attempt yet"));
    assert!(detail("result").await.contains("QUEUED (PendingEvaluation)"));
    let token = rig.claim(&id).await;
    assert!(detail("logs").await.contains("has not started yet"));
    start(&rig, &id, &token).await;
    assert!(detail("logs").await.contains("is running, and nothing of its stdout.log was shipped yet"));
    assert!(detail("result").await.contains("RUNNING"));
    rig.end(&id, Reason::Cancelled).await;
    assert!(detail("result").await.contains("FAILED (Cancelled); it has no result"));
    assert_eq!(rig.get(&format!("/jobs/{id}/artifacts")).await.json()["artifacts"], json!([]));
    for tail in ["", "/explain", "/attempts", "/events", "/logs", "/result", "/artifacts", "/artifacts/x"] {
        rig.get(&format!("/jobs/nobody{tail}")).await.problem(404, "job-not-found");
        rig.get(&format!("/jobs/No%20Body{tail}")).await.problem(404, "job-not-found");
    }
}

#[tokio::test]
async fn an_explanation_says_why_since_when_what_next_and_who() {
    let rig = Rig::new();
    let id = rig.submit(r#"{"job_type":"echo"}"#).await;
    let explain = async || rig.get(&format!("/jobs/{id}/explain")).await.json();
    let fresh = explain().await;
    assert_eq!((&fresh["reason"], &fresh["next"]["who"]), (&json!("PendingEvaluation"), &json!("nobody")));
    assert!(fresh["since"].is_string());

    rig.control(&id, |c| {
        c.reason = Some(Reason::BackingOff);
        c.message = "exit code 1".to_owned();
        c.blockers = vec![Reason::Suspended];
        c.not_before = Some(at(9));
    })
    .await;
    let paused = explain().await;
    assert_eq!(
        (&paused["message"], &paused["blockers"][0]["reason"]),
        (&json!("exit code 1"), &json!("Suspended"))
    );
    assert!(paused["blockers"][0]["message"].as_str().unwrap().contains("/resume"), "{paused}");
    assert_eq!(paused["next"]["at"], at(9).to_string());

    rig.control(&id, |c| c.reason = Some(Reason::Suspended)).await;
    assert_eq!(explain().await["next"]["who"], "you");
    rig.control(&id, |c| c.reason = Some(Reason::Misconfigured)).await;
    assert_eq!(explain().await["next"]["who"], "operator");
    *rig.lease.lock().unwrap() = None;
    assert!(explain().await["next"]["what"].as_str().unwrap().contains("no reconciler is running"));
    rig.end(&id, Reason::MaxAttemptsExceeded).await;
    let ended = explain().await;
    assert!(ended["next"]["what"].as_str().unwrap().contains("/retry"), "{ended}");
    assert!(ended["since"].is_string());
}
