//! `GET /jobs`.

use crate::rig::{JSON, Rig};
use contract::Reason;
use serde_json::Value;

async fn ids(rig: &Rig, query: &str) -> (Vec<String>, usize) {
    let (mut found, mut pages, mut cursor) = (Vec::new(), 0, String::new());
    loop {
        let page = rig.get(&format!("/jobs?{query}{cursor}")).await;
        assert_eq!(page.status, 200, "{page:?}");
        let page = page.json();
        pages += 1;
        found.extend(
            page["jobs"].as_array().unwrap().iter().map(|j| j["job_id"].as_str().unwrap().to_owned()),
        );
        match &page["next_cursor"] {
            Value::String(next) => cursor = format!("&cursor={next}"),
            _ => return (found, pages),
        }
    }
}

#[tokio::test]
async fn a_thousand_jobs_are_listed_once_each_newest_first_by_any_page_size_and_filter() {
    let rig = Rig::new();
    let (mut all, mut marked) = (Vec::new(), Vec::new());
    for n in 0..1000 {
        let label = if n % 40 == 3 { r#","labels":{"mark":"yes"}"# } else { "" };
        let id = rig.submit(&format!(r#"{{"job_type":"echo","payload":{n}{label}}}"#)).await.to_string();
        if !label.is_empty() {
            marked.push(id.clone());
        }
        all.push(id);
    }
    all.reverse();
    marked.reverse();
    assert_eq!(ids(&rig, "limit=500").await, (all.clone(), 2));
    assert_eq!(ids(&rig, "limit=7").await.0, all);
    // 25 jobs match, ten a page: the page ends between two rows of what the store handed over at once.
    assert_eq!(ids(&rig, "limit=10&label=mark%3Dyes").await, (marked.clone(), 3));
    assert_eq!(ids(&rig, "limit=1&label=mark").await.0, marked);
    assert!(ids(&rig, "label=mark%3Dno").await.0.is_empty());
    assert_eq!(rig.get("/jobs").await.json()["jobs"].as_array().unwrap().len(), 50, "the default");
}

#[tokio::test]
async fn filters_are_all_to_match_and_a_page_shows_what_they_speak_of() {
    let rig = Rig::new();
    let a = rig.submit(r#"{"job_type":"echo","labels":{"team":"x","tier":"1"}}"#).await;
    let b = rig.submit(r#"{"job_type":"agent","labels":{"team":"x"}}"#).await;
    rig.end(&a, Reason::Completed).await;
    for (query, wanted) in [
        ("status=SUCCEEDED", vec![&a]),
        ("status=queued", vec![&b]),
        ("status=QUEUED,SUCCEEDED", vec![&b, &a]),
        ("status=QUEUED&status=SUCCEEDED", vec![&b, &a]),
        ("status=RUNNING", vec![]),
        ("job_type=agent", vec![&b]),
        ("label=team%3Dx", vec![&b, &a]),
        ("label=team%3Dx&label=tier", vec![&a]),
        ("label=team%3Dx&status=QUEUED", vec![&b]),
    ] {
        let wanted: Vec<_> = wanted.iter().map(ToString::to_string).collect();
        assert_eq!(ids(&rig, query).await.0, wanted, "{query}");
    }
    let page = rig.get("/jobs?job_type=echo").await.json();
    let job = &page["jobs"][0];
    assert_eq!((&job["status"], &job["labels"]["tier"]), (&"SUCCEEDED".into(), &"1".into()), "{page}");
    assert!(job["payload"].is_null() && job["created_at"].is_string() && job["finished_at"].is_string());
}

#[tokio::test]
async fn a_filter_that_matches_nothing_ends_a_page_early_and_says_where_to_go_on() {
    let rig = Rig::new();
    for _ in 0..5100 {
        rig.submit(r#"{"job_type":"echo"}"#).await;
    }
    let page = rig.get("/jobs?job_type=agent").await.json();
    assert_eq!(page["jobs"], Value::Array(Vec::new()));
    let next = page["next_cursor"].as_str().expect("more follow").to_owned();
    let rest = rig.get(&format!("/jobs?job_type=agent&cursor={next}")).await.json();
    assert!(rest["jobs"].as_array().unwrap().is_empty() && rest["next_cursor"].is_null(), "{rest}");
}

#[tokio::test]
async fn every_unacceptable_parameter_is_named_at_once() {
    let rig = Rig::new();
    let answer = rig.get("/jobs?limit=0&staus=FAILED&status=done&label=%3Dx&job_type=a&job_type=b").await;
    let problem = answer.problem(400, "invalid-query");
    let mut places: Vec<_> =
        problem["errors"].as_array().unwrap().iter().map(|e| e["pointer"].as_str().unwrap()).collect();
    places.sort_unstable();
    assert_eq!(places, ["?job_type", "?label", "?limit", "?status", "?staus"]);
    assert!(answer.text.contains(r#"did you mean \"status\""#), "{answer:?}");
    for selector in ["team%21%3Dx", "team%20in%20%28x%29", "%21team"] {
        let answer = rig.get(&format!("/jobs?label={selector}")).await;
        let problem = answer.problem(400, "invalid-query");
        assert_eq!(problem["errors"][0]["pointer"], "?label", "no job can have such a label: {problem}");
    }
    rig.get("/jobs?limit=501").await.problem(400, "invalid-query");
    let stale = rig.get("/jobs?cursor=nonsense").await.problem(400, "invalid-query");
    assert_eq!(stale["errors"][0]["pointer"], "?cursor");
    let other = rig.send("POST", "/jobs?dryrun", &[JSON], r#"{"job_type":"echo"}"#).await;
    other.problem(400, "invalid-query");
}
