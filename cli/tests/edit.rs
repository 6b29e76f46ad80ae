//! `edit`, with scripts for editors, against a scripted API and a real one.

mod lab;
mod records;

use insta::assert_snapshot;
use lab::double::{Asked, Double, refused, told};
use lab::{Lab, shot_with};
use records::RUNNING;
use serde_json::{Value, json};

const ETAG: &str = "etag: \"v1\"";

fn job(priority: i64) -> Value {
    let mut job = records::running();
    job["desired"] = json!({"job_type": "echo", "payload": {"n": 1.5, "text": "no"}, "priority": priority, "retry": 0,
            "updated": {"by": "ada", "at": "2026-11-22T11:59:30.000Z", "cause": "tuned", "digest": "0123456789abcdef"}});
    (job["updated_by"], job["change_cause"]) = ("ada".into(), "tuned".into());
    job
}

fn preview(priority: i64) -> String {
    json!({"dry_run": true, "job_id": RUNNING, "etag": "\"v1\"", "desired": job(priority)["desired"],
        "changes": [{"pointer": "/priority", "before": 0, "after": priority}],
        "decision": {"kind": "wait", "reason": "WaitingForQuota", "until": "2026-11-22T12:00:05.000Z"}})
    .to_string()
}

/// Edits with a `sed` script; temporary files of the edit are in the lab's folder.
fn edit(lab: &Lab, api: &Double, script: &str, more: &[&str]) -> String {
    let editor = format!("sed -i -e '{script}'");
    let folder = lab.path("tmp");
    std::fs::create_dir_all(&folder).unwrap();
    let words = [&["edit", RUNNING], more].concat();
    let variables = [("VISUAL", editor.as_str()), ("TMPDIR", folder.to_str().unwrap())];
    let text = shot_with(lab, &api.url, &words, &variables);
    // The names of temporary files are random.
    kept(lab).iter().fold(text, |text, file| text.replace(file.as_str(), "<file>"))
}

/// The texts that were kept.
fn kept(lab: &Lab) -> Vec<String> {
    let all = std::fs::read_dir(lab.path("tmp")).into_iter().flatten();
    let all = all.map(|entry| entry.unwrap().path().display().to_string());
    all.filter(|name| name.ends_with(".yaml")).collect()
}

fn sent(api: &Double, line: &str) -> Vec<Asked> {
    api.asked().into_iter().filter(|asked| asked.line == line).collect()
}

fn get() -> String {
    format!("GET /jobs/{RUNNING}")
}

fn dry() -> String {
    format!("PATCH /jobs/{RUNNING}?dry_run=true")
}

fn write() -> String {
    format!("PATCH /jobs/{RUNNING}")
}

const TO_5: &str = "s/^priority: .*/priority: 5/";

#[test]
fn an_edit_writes_what_was_touched_and_nothing_else_and_only_over_what_was_seen() {
    let lab = Lab::new();
    let api = Double::of(vec![
        told(&get(), 200, job(0).to_string()).with(ETAG),
        told(&dry(), 200, preview(5)),
        told(&format!("{}?change_cause=it%20waits%3A%20too%20low", write()), 200, job(5).to_string()),
    ]);
    assert_snapshot!("edit", edit(&lab, &api, TO_5, &["--yes", "--cause", "it waits: too low"]));
    let written = api.asked().pop().unwrap();
    assert_eq!((written.body.as_str(), written.header("if-match")), (r#"{"priority":5}"#, Some("\"v1\"")));
    assert_eq!(kept(&lab), Vec::<String>::new(), "a text that was written is not kept");
}

#[test]
fn the_text_shows_the_status_as_comments_and_a_word_stays_a_word() {
    let lab = Lab::new();
    let api = Double::of(vec![told(&get(), 200, job(0).to_string()).with(ETAG)]);
    // An editor that keeps a copy and changes nothing.
    let text = edit(&lab, &api, "w copy.yaml", &["--yes"]);
    assert_snapshot!("edit_nothing", text);
    assert_snapshot!("edit_text", std::fs::read_to_string(lab.path("copy.yaml")).unwrap());
    assert!(sent(&api, &dry()).is_empty() && kept(&lab).is_empty());
}

#[test]
fn errors_stand_at_the_top_of_the_users_own_text_which_is_kept() {
    let lab = Lab::new();
    let problem = json!({"type": "urn:agent-runner:problem:invalid-fields", "status": 422, "detail": "no",
        "errors": [{"pointer": "/priority", "value": "5000", "message": "-1000 to 1000"}]});
    let api = Double::of(vec![
        told(&get(), 200, job(0).to_string()).with(ETAG),
        told(&dry(), 422, problem.to_string()),
        told(&dry(), 200, preview(5)),
        told(&write(), 200, job(5).to_string()),
    ]);
    let text = edit(&lab, &api, "s/^priority: .*/priority: 5000 # mine/", &["--yes"]);
    assert_snapshot!("edit_invalid", text);
    let file = kept(&lab).remove(0);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("#! 1 error;") && text.contains("priority: 5000 # mine"), "{text}");
    assert!(sent(&api, &write()).is_empty(), "nothing was written");
    // The next try begins with that text.
    std::fs::write(&file, text.replace("5000 # mine", "5")).unwrap();
    let text = edit(&lab, &api, "p", &["--yes", "--from", &file]);
    assert!(text.contains("exit 0"), "{text}");
    assert_eq!(sent(&api, &write())[0].body, r#"{"priority":5}"#);
    assert!(kept(&lab).is_empty());
}

#[test]
fn what_never_changes_is_refused_with_what_to_do_instead() {
    let lab = Lab::new();
    let problem = json!({"type": "urn:agent-runner:problem:invalid-fields", "status": 422, "detail": "no",
        "errors": [{"pointer": "/priority", "value": "5000", "message": "-1000 to 1000"},
            {"pointer": "/job_type", "value": "other", "message": "never changes; POST /jobs"}]});
    let api = Double::of(vec![
        told(&get(), 200, job(0).to_string()).with(ETAG),
        told(&dry(), 422, problem.to_string()),
    ]);
    let both = "s/^job_type: .*/job_type: other/; s/^priority: .*/priority: 5000/";
    assert_snapshot!("edit_job_type", edit(&lab, &api, both, &["--yes"]));
    assert_eq!(sent(&api, &dry()).len(), 1, "what else is wrong was asked for");
    assert_snapshot!("edit_not_yaml", edit(&lab, &api, "s/^priority: .*/priority: [1/", &["--yes"]));
    assert_eq!((sent(&api, &dry()).len(), sent(&api, &write()).len()), (1, 0));
}

#[test]
fn a_conflict_shows_the_other_change_and_keeps_the_text_for_another_try() {
    let lab = Lab::new();
    let mut theirs = job(0);
    theirs["desired"]["queue"] = "llm".into();
    theirs["desired"]["updated"] = json!({"by": "bob"});
    (theirs["updated_by"], theirs["change_cause"]) = ("bob".into(), Value::Null);
    let now = told(&get(), 200, theirs.to_string()).with("etag: \"v2\"");
    let mut after = theirs.clone();
    after["desired"]["priority"] = 5.into();
    let mut second: Value = serde_json::from_str(&preview(5)).unwrap();
    second["etag"] = "\"v2\"".into();
    second["desired"] = after["desired"].clone();
    let api = Double::of(vec![
        told(&get(), 200, job(0).to_string()).with(ETAG),
        told(&dry(), 200, preview(5)),
        refused(&write(), 412, "desired-changed", "the desired state has changed"),
        now,
        told(&dry(), 200, second.to_string()),
        told(&write(), 200, after.to_string()),
    ]);
    assert_snapshot!("edit_conflict", edit(&lab, &api, TO_5, &["--yes"]));
    let file = kept(&lab).remove(0);
    let text = edit(&lab, &api, "p", &["--yes", "--from", &file]);
    assert!(text.contains("exit 0"), "{text}");
    let writes = sent(&api, &write());
    // What the others wrote is not taken back by a text that is older.
    assert_eq!(
        (writes[1].body.as_str(), writes[1].header("if-match")),
        (r#"{"priority":5}"#, Some("\"v2\""))
    );
}

#[test]
fn a_field_that_both_changed_is_not_overwritten_by_yes() {
    let lab = Lab::new();
    let api = Double::of(vec![
        told(&get(), 200, job(0).to_string()).with(ETAG),
        told(&dry(), 200, preview(5)),
        refused(&write(), 412, "desired-changed", "the desired state has changed"),
        told(&get(), 200, job(7).to_string()).with("etag: \"v2\""),
        told(&dry(), 200, preview(5)),
    ]);
    edit(&lab, &api, TO_5, &["--yes"]);
    let file = kept(&lab).remove(0);
    assert_snapshot!(
        "edit_quarrel",
        edit(&lab, &api, "p", &["--yes", "--from", &file]).replace(&file, "<file>")
    );
    assert_eq!((sent(&api, &write()).len(), kept(&lab)), (1, vec![file]));
}

#[test]
fn a_dry_run_says_what_the_reconciler_would_do_and_writes_nothing() {
    let lab = Lab::new();
    let api =
        Double::of(vec![told(&get(), 200, job(0).to_string()).with(ETAG), told(&dry(), 200, preview(5))]);
    assert_snapshot!("edit_dry_run", edit(&lab, &api, TO_5, &["--dry-run"]));
    assert_eq!((sent(&api, &write()).len(), kept(&lab).len()), (0, 1));
}

#[test]
fn a_lost_answer_is_looked_up_before_the_text_is_given_away() {
    let lab = Lab::new();
    let lost = || told(&write(), 200, "{").with("transfer-encoding: chunked");
    let mut same: Value = serde_json::from_str(&preview(5)).unwrap();
    same["changes"] = json!([]);
    for (then, code, left) in [(same.to_string(), "exit 0", 0), (preview(5), "exit 1", 1)] {
        let lab = Lab::new();
        let answers = vec![
            told(&get(), 200, job(0).to_string()).with(ETAG),
            told(&dry(), 200, preview(5)),
            told(&dry(), 200, then),
            lost(),
        ];
        let api = Double::of(answers);
        let text = edit(&lab, &api, TO_5, &["--yes"]);
        assert!(text.contains(code), "{text}");
        assert_eq!(kept(&lab).len(), left);
    }
    let api = Double::of(vec![told(&get(), 200, job(0).to_string()).with(ETAG)]);
    assert_snapshot!("edit_no_editor", edit(&lab, &api, "", &["--yes"]).replace("sed -i -e ''", "<editor>"));
}

#[test]
fn without_a_terminal_and_without_yes_nothing_is_opened() {
    let lab = Lab::new();
    let api = Double::of(Vec::new());
    assert_snapshot!("edit_no_terminal", edit(&lab, &api, TO_5, &[]));
    assert!(api.lines().is_empty() && kept(&lab).is_empty());
    let api = Double::of(vec![told(&get(), 200, job(0).to_string()).with(ETAG)]);
    let folder = lab.path("tmp");
    let none = [("VISUAL", ""), ("EDITOR", " "), ("TMPDIR", folder.to_str().unwrap())];
    assert_snapshot!("edit_no_terminal_yes", shot_with(&lab, &api.url, &["edit", RUNNING, "--yes"], &none));
    assert!(kept(&lab).is_empty());
}

#[test]
fn a_real_job_is_edited_and_a_broken_editor_loses_nothing() {
    let lab = Lab::new();
    let up = lab.up();
    let run = |words: &[&str], editor: &str| {
        let mut command = lab.command(words);
        command.env("AGENT_RUNNER_URL", &up.url).env("EDITOR", editor).env("TMPDIR", lab.path(""));
        lab::Said::of(command.output().unwrap())
    };
    let payload = r#"{"b": 1.50, "a": "no"}"#;
    let id = run(&["submit", "echo", "-o", "name", "--set", "suspend=true", "--payload", payload], "").out;
    let id = id.trim_end();
    let editor = "sed -i -e 's/^priority: .*/priority: 5/' -e '$ a env: {K: no}'";
    let said = run(&["edit", id, "--yes", "--cause", "too low"], editor);
    assert_eq!(said.code, Some(0), "{said:?}");
    let page = run(&["describe", id], "").out;
    assert!(page.contains("\nChanged    by local: too low, 20"), "{page}");
    let job: Value = serde_json::from_str(&run(&["get", id, "-o", "json"], "").out).unwrap();
    assert_eq!((&job["desired"]["priority"], &job["desired"]["env"]["K"]), (&json!(5), &json!("no")));
    let raw = run(&["get", id, "-o", "json"], "").out;
    assert!(raw.contains(payload), "the payload is byte for byte what it was: {raw}");
    let refused = run(&["edit", id, "--yes"], "sed -i -e 's/^priority: .*/priority: 5000/'");
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("-1000 to 1000") && refused.err.contains("--from"), "{refused:?}");
    let broken = run(&["edit", id, "--yes"], "false");
    assert!(broken.code == Some(1) && broken.err.contains("`false` failed"), "{broken:?}");
    let gone = run(&["edit", id, "--yes"], "/no/such/editor");
    assert!(gone.err.contains("is not there"), "{gone:?}");
}
