//! What the verbs that act print and send, held by snapshots against a scripted API.

mod lab;
mod records;

use insta::assert_snapshot;
use lab::double::{Double, refused, told};
use lab::{Lab, shot};
use records::{FAILED, RUNNING, WAITING, failed, list, running};

#[test]
fn wait_says_what_became_of_each_job_and_its_exit_code_of_the_first_that_is_not_so() {
    let lab = Lab::new();
    let get = |id: &str, until: &str| format!("GET /jobs/{id}?wait={until}");
    let mut done = running();
    done["status"] = "SUCCEEDED".into();
    let api = Double::of(vec![
        told(&get(RUNNING, "30000ms&until=finished"), 200, done.to_string()),
        told(&get(FAILED, "30000ms&until=finished"), 200, failed().to_string()),
        told(&get(RUNNING, "500ms&until=changed"), 200, running().to_string()),
        told(&get(FAILED, "500ms&until=changed"), 200, failed().to_string()),
        told("GET /jobs?limit=500&label=team%3Dnone", 200, r#"{"jobs":[],"next_cursor":null}"#),
    ]);
    assert_snapshot!("wait_finished", shot(&lab, &api.url, &["wait", RUNNING, FAILED]));
    assert_snapshot!("wait_succeeded", shot(&lab, &api.url, &["wait", FAILED, RUNNING, "--for=succeeded"]));
    assert_snapshot!("wait_failed", shot(&lab, &api.url, &["wait", RUNNING, FAILED, "--for=failed"]));
    assert_snapshot!("wait_status", shot(&lab, &api.url, &["wait", RUNNING, FAILED, "--for=status=running"]));
    let late = ["wait", RUNNING, "--for=status=queued", "--timeout", "0"];
    let api_late = Double::of(vec![told(&get(RUNNING, "0ms&until=changed"), 200, running().to_string())]);
    assert_snapshot!("wait_timeout", shot(&lab, &api_late.url, &late));
    assert_snapshot!("wait_nobody", shot(&lab, &api.url, &["wait", "-l", "team=none"]));
}

#[test]
fn each_line_of_a_file_is_answered_separately() {
    let lab = Lab::new();
    lab.write(
        "jobs.ndjson",
        "{\"job_type\":\"echo\",\"payload\":1.50}\n\nnot json\n{\"job_type\":\"ehco\"}\n[1]\n",
    );
    let answers = r#"{"results":[{"status":201,"job_id":"a","job":{"job_id":"a","b":1}},
        {"status":422,"problem":{"detail":"1 field is not acceptable: /job_type: \"ehco\u001b[2J\" is not allowed"}}]}"#;
    let api = Double::of(vec![told("POST /jobs/batch", 200, answers)]);
    assert_snapshot!("submit_file", shot(&lab, &api.url, &["submit", "-f", "jobs.ndjson"]));
    let asked = api.asked();
    assert_eq!(asked[0].body, r#"{"jobs":[{"job_type":"echo","payload":1.50},{"job_type":"ehco"}]}"#);
    assert!(asked[0].header("idempotency-key").is_some_and(|key| key.len() == 32));
    assert_snapshot!(
        "submit_file_json",
        shot(&lab, &api.url, &["submit", "-f", "jobs.ndjson", "-o", "json"])
    );
    let old = Double::of(vec![refused("POST /jobs/batch", 405, "method-not-allowed", "no such method here")]);
    assert_snapshot!("submit_file_old", shot(&lab, &old.url, &["submit", "-f", "jobs.ndjson"]));
    assert_snapshot!("submit_file_gone", shot(&lab, &api.url, &["submit", "-f", "gone"]));
}

#[test]
fn a_lost_answer_to_a_batch_is_asked_for_again_with_the_same_key() {
    let lab = Lab::new();
    lab.write("jobs.ndjson", "{\"job_type\":\"echo\"}\n");
    let lost = told("POST /jobs/batch", 200, "{").with("transfer-encoding: chunked");
    let api =
        Double::of(vec![lost, told("POST /jobs/batch", 200, r#"{"results":[{"status":201,"job_id":"a"}]}"#)]);
    let text = shot(&lab, &api.url, &["submit", "-f", "jobs.ndjson", "-o", "name"]);
    assert!(text.contains("exit 0\n--- stdout\na\n"), "{text}");
    let keys: Vec<_> = api.asked().iter().map(|a| a.header("idempotency-key").unwrap().to_owned()).collect();
    assert_eq!((keys.len(), keys[0] == keys[1]), (2, true));
}

#[test]
fn a_job_is_submitted_again_with_overrides_and_its_payload_byte_for_byte() {
    let lab = Lab::new();
    let job = failed().to_string().replace(r#"{"text":"Hello"}"#, r#"{"text": "Hello", "n": 1.50}"#);
    let api = Double::of(vec![
        told(&format!("GET /jobs/{FAILED}"), 200, job),
        told("POST /jobs", 201, running().to_string()),
    ]);
    let words =
        ["resubmit", FAILED, "--set", "max_attempts=5", "--set", "labels.again=yes", "--type", "other"];
    assert_snapshot!("resubmit", shot(&lab, &api.url, &words));
    assert_snapshot!("resubmit_body", api.asked()[1].body);
}

#[test]
fn what_a_filter_finds_is_listed_and_never_changed_without_agreement() {
    let lab = Lab::new();
    let api = Double::of(vec![
        told("GET /jobs?limit=500&label=team%3Dsearch", 200, list().to_string()),
        told(&format!("POST /jobs/{RUNNING}/cancel"), 200, running().to_string()),
        refused(&format!("POST /jobs/{FAILED}/cancel"), 409, "conflict", "the job has ended (FAILED)"),
        told(&format!("POST /jobs/{WAITING}/cancel"), 200, running().to_string()),
        refused(
            &format!("POST /jobs/{RUNNING}/retry"),
            409,
            "conflict",
            "the job is RUNNING and has not ended",
        ),
    ]);
    assert_snapshot!("cancel_refused", shot(&lab, &api.url, &["cancel", "-l", "team=search"]));
    assert_eq!(api.lines(), ["GET /jobs?limit=500&label=team%3Dsearch"], "nothing but the listing");
    assert_snapshot!("cancel_yes", shot(&lab, &api.url, &["cancel", "-l", "team=search", "--yes"]));
    assert_snapshot!("retry_running", shot(&lab, &api.url, &["retry", RUNNING]));
}

#[test]
fn a_cause_is_sent_with_each_change() {
    let lab = Lab::new();
    let path = format!("/jobs/{RUNNING}");
    let api = Double::of(vec![
        told(&format!("POST {path}/suspend?change_cause=a%20%26%20b"), 200, running().to_string()),
        told(&format!("POST {path}/retry?force=true&change_cause=again"), 200, running().to_string()),
        told(&format!("PATCH {path}?change_cause=urgent"), 200, running().to_string()),
    ]);
    for words in [
        &["suspend", RUNNING, "--cause", "a & b"][..],
        &["retry", "--force", RUNNING, "--cause", "again"],
        &["set", RUNNING, "priority=5", "--cause", "urgent"],
    ] {
        let text = shot(&lab, &api.url, words);
        assert!(text.contains("exit 0"), "{text}");
    }
    assert_eq!(api.lines().len(), 3);
    assert_snapshot!("cause_refused", shot(&lab, &api.url, &["cancel", RUNNING, "--cause", "a\nb"]));
    assert_eq!(api.lines().len(), 3, "nothing more was asked");
}

#[test]
fn a_token_that_may_not_act_ends_the_verb_at_the_first_job() {
    let lab = Lab::new();
    let api =
        Double::of(vec![refused(&format!("POST /jobs/{RUNNING}/suspend"), 403, "forbidden", "no scope")]);
    assert_snapshot!("suspend_forbidden", shot(&lab, &api.url, &["suspend", RUNNING, WAITING]));
    assert_eq!(api.lines().len(), 1);
}

#[test]
fn set_sends_a_merge_patch_and_shows_what_would_come_of_it() {
    let lab = Lab::new();
    let path = format!("PATCH /jobs/{RUNNING}");
    let preview = r#"{"dry_run":true,"job_id":"x","etag":"\"1\"","desired":{"priority":5},
        "changes":[{"pointer":"/priority","before":0,"after":5},{"pointer":"/env/KEY","after":"v"}],
        "decision":{"kind":"do","effect":"seal","why":"leave the attempt: first close its gate"}}"#;
    let problem = r#"{"type":"urn:agent-runner:problem:invalid-fields","status":422,"detail":"2 fields are not acceptable",
        "errors":[{"pointer":"/priority","value":"5000","message":"-1000 to 1000"},{"pointer":"/prio","value":"","message":"is not known; did you mean priority?"}]}"#;
    let api = Double::of(vec![
        told(&path, 200, running().to_string()),
        told(&path, 422, problem),
        told(&format!("{path}?dry_run=true"), 200, preview),
    ]);
    assert_snapshot!(
        "set",
        shot(&lab, &api.url, &["set", RUNNING, "priority=5", "env.KEY=7", "--unset", "queue"])
    );
    let asked = api.asked();
    assert_eq!(asked[0].body, r#"{"env":{"KEY":"7"},"priority":5,"queue":null}"#);
    assert_eq!(asked[0].header("content-type"), Some("application/merge-patch+json"));
    assert_snapshot!("set_invalid", shot(&lab, &api.url, &["set", RUNNING, "priority=5000", "prio=1"]));
    assert_snapshot!("set_dry_run", shot(&lab, &api.url, &["set", RUNNING, "priority=5", "--dry-run"]));
    assert_snapshot!("set_nothing", shot(&lab, &api.url, &["set", RUNNING]));
    assert_snapshot!("set_nobody", shot(&lab, &api.url, &["set", "priority=5"]));
}

#[test]
fn run_shows_what_the_agent_writes_on_stderr_and_the_result_on_stdout() {
    let lab = Lab::new();
    let mut ended = running();
    ended["status"] = "SUCCEEDED".into();
    let api = Double::of(vec![
        told("GET /health", 200, r#"{"service":"agent-runner"}"#),
        told("POST /jobs", 201, running().to_string()),
        told(&format!("GET /jobs/{RUNNING}?wait=500ms&until=changed"), 200, ended.to_string()),
        told(&format!("GET /jobs/{RUNNING}/logs?stream=stdout&follow=true"), 200, "\u{1b}[2Jhello\n")
            .with("agent-runner-attempt: 1"),
        told(&format!("GET /jobs/{RUNNING}/logs?stream=stderr&follow=true"), 200, "no line feed")
            .with("agent-runner-attempt: 1"),
        told(&format!("GET /jobs/{RUNNING}"), 200, ended.to_string()),
        told(&format!("GET /jobs/{RUNNING}/result"), 200, r#"{"n":1.50}"#),
    ]);
    let text = shot(&lab, &api.url, &["run", "--follow", "echo"]);
    let (out, err) = text.split_once("--- stderr\n").unwrap();
    assert!(out.ends_with("exit 0\n--- stdout\n{\"n\":1.50}\n"), "{text}");
    assert!(
        err.contains("^[[2Jhello\n") && err.contains("no line feed\n") && err.contains("SUCCEEDED"),
        "{text}"
    );
}
