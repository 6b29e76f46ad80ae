//! What the verbs that look print, held by snapshots against a scripted API whose clock stands still.

mod lab;
mod records;

use insta::assert_snapshot;
use lab::double::{Double, refused, told};
use lab::{Lab, Said, shot, shot_with};
use records::{FAILED, RUNNING, WAITING, attempts, events, explained, failed, list, running, waiting};

#[test]
fn get_prints_tables_names_json_and_yaml() {
    let lab = Lab::new();
    let api = Double::of(vec![
        told("GET /jobs?limit=50", 200, list().to_string()),
        told(
            "GET /jobs?limit=50&status=QUEUED&status=FAILED&label=team%3Dsearch&label=a&job_type=echo",
            200,
            r#"{"jobs":[],"next_cursor":null}"#,
        ),
        told(&format!("GET /jobs/{RUNNING}"), 200, running().to_string()),
    ]);
    assert_snapshot!("get", shot(&lab, &api.url, &["get"]));
    assert_snapshot!("get_wide", shot(&lab, &api.url, &["get", "-o", "wide"]));
    assert_snapshot!("get_name", shot(&lab, &api.url, &["get", "-o", "name"]));
    assert_snapshot!("get_yaml", shot(&lab, &api.url, &["get", RUNNING, "-o", "yaml"]));
    assert_snapshot!("get_json", shot(&lab, &api.url, &["get", RUNNING, "-o", "json"]));
    let filtered = ["get", "--status", "queued,failed", "-l", "team=search,a", "--type", "echo"];
    assert_snapshot!("get_nothing", shot(&lab, &api.url, &filtered));
    let table = lab.command(&["get"]).env("AGENT_RUNNER_URL", &api.url).output().unwrap();
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
}

#[test]
fn jobs_are_named_as_kubectl_names_them_and_its_other_verbs_say_what_to_type_instead() {
    let lab = Lab::new();
    let api = Double::of(vec![
        told("GET /jobs?limit=50&label=team%3Dsearch", 200, list().to_string()),
        told("GET /jobs?limit=50", 200, list().to_string()),
        told(&format!("GET /jobs/{RUNNING}"), 200, running().to_string()),
    ]);
    let plain = |arguments: &[&str]| {
        let ran = lab.command(arguments).env("AGENT_RUNNER_URL", &api.url).output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        ran.stdout
    };
    assert_eq!(plain(&["get", "jobs", "-l", "team=search"]), plain(&["get", "-l", "team=search"]));
    assert_eq!(plain(&["get", "-l", "team==search"]), plain(&["get", "-l", "team=search"]));
    assert_eq!(plain(&["--url", &api.url, "get", "-o", "yaml", "jobs"]), plain(&["get", "-o", "yaml"]));
    let one = plain(&["get", RUNNING]);
    for arguments in [&["get", "job", RUNNING][..], &["get", &format!("job/{RUNNING}")]] {
        assert_eq!(plain(arguments), one, "{arguments:?}");
    }
    assert_snapshot!("delete", shot(&lab, &api.url, &["delete", RUNNING]));
    assert_snapshot!("apply", shot(&lab, &api.url, &["apply", "-f", "job.yaml"]));
}

#[test]
fn watching_prints_each_change_once_and_ends_with_the_job() {
    let lab = Lab::new();
    let path = format!("GET /jobs/{RUNNING}");
    let mut ended = running();
    ended["status"] = "SUCCEEDED".into();
    ended["reason"] = "Completed".into();
    let answers = [running(), running(), ended].map(|job| told(&path, 200, job.to_string()));
    let api = Double::of(answers.into());
    assert_snapshot!("get_watch", shot(&lab, &api.url, &["get", "-w", RUNNING]));
    let api = Double::of(vec![told(&path, 200, running().to_string())]);
    assert_snapshot!(
        "get_watch_timeout",
        shot(&lab, &api.url, &["get", "-w", RUNNING, "--timeout", "100ms", "-o", "name"])
    );
}

#[test]
fn describe_shows_the_evidence_of_each_attempt_and_what_to_type() {
    let lab = Lab::new();
    let of = |id: &str, rest: &str| format!("GET /jobs/{id}{rest}");
    let none = r#"{"attempts":[],"events":[]}"#;
    let ended = r#"{"status":"FAILED","reason":"MaxAttemptsExceeded","message":"2 of 2 tries failed","blockers":[],
        "since":"2026-11-22T11:58:00.000Z","next":{"what":"POST /jobs/{id}/retry starts it again","who":"you"},
        "conditions":[
            {"type":"Accepted","status":"True","since":"2026-11-22T11:51:00.000Z","reason":null,"message":""},
            {"type":"Suspended","status":"False","since":null,"reason":null,"message":""},
            {"type":"Running","status":"False","since":"2026-11-22T11:58:00.000Z","reason":"MaxAttemptsExceeded",
             "message":"2 of 2 tries failed"},
            {"type":"Finished","status":"True","since":"2026-11-22T11:58:00.000Z","reason":"MaxAttemptsExceeded",
             "message":"it says \u001b[2J more, on a line that is longer than what a terminal of 80 columns shows on it"}]}"#;
    let broken = r#"{"status":"QUEUED","reason":"InvalidRecord","message":"","since":null,"act":"owner",
        "next":{"what":"nothing until the fields are fixed: PATCH the job"},"blockers":[],
        "errors":[{"pointer":"/max_attempts","value":"0","message":"1 to 100"}]}"#;
    let api = Double::of(vec![
        told(&of(FAILED, ""), 200, failed().to_string()),
        told(&of(FAILED, "/attempts"), 200, attempts().to_string()),
        told(&of(FAILED, "/events"), 200, events().to_string()),
        told(&of(FAILED, "/explain"), 200, ended),
        told(&of(WAITING, ""), 200, waiting().to_string()),
        told(&of(WAITING, "/attempts"), 200, none),
        told(&of(WAITING, "/events"), 200, none),
        told(&of(WAITING, "/explain"), 200, broken),
    ]);
    let text = shot(&lab, &api.url, &["describe", FAILED, WAITING, "--events", "3"]);
    assert!(text.lines().skip(1).all(|line| line.chars().count() <= 80), "{text}");
    assert_snapshot!("describe", text);
}

#[test]
fn explain_says_why_since_when_what_next_and_who_acts() {
    let lab = Lab::new();
    let old = r#"{"status":"QUEUED","reason":"Suspended","message":"suspend is set","blockers":["BackingOff"],
        "since":"2026-11-22T11:58:00.000Z","next":{"what":"nothing until it is resumed: POST /jobs/{id}/resume","who":"you"}}"#;
    let api = Double::of(vec![
        told(&format!("GET /jobs/{WAITING}/explain"), 200, explained().to_string()),
        told(&format!("GET /jobs/{RUNNING}/explain"), 200, old),
    ]);
    assert_snapshot!("explain", shot(&lab, &api.url, &["explain", WAITING, RUNNING]));
    assert_snapshot!("explain_json", shot(&lab, &api.url, &["explain", WAITING, "-o", "json"]));
}

#[test]
fn logs_are_safe_for_terminals_unless_they_are_asked_for_raw() {
    let lab = Lab::new();
    let path = |rest: &str| format!("GET /jobs/{FAILED}/logs?stream={rest}");
    let text = "\u{1b}[31mred\u{1b}[0m\r\n\u{1b}[2Jgone \u{202e}back\n";
    let absent = "attempt 1 of job x left no stdout.log";
    let api = Double::of(vec![
        told(&path("stdout"), 200, text).with("agent-runner-attempt: 2"),
        told(&path("stderr"), 200, "an error\n"),
        told(&path("stderr&attempt=1&tail=5&since=10m"), 200, "early\n"),
        refused(&path("stdout&attempt=1"), 404, "not-there", absent),
        told(&format!("GET /jobs/{FAILED}/attempts"), 200, attempts().to_string()),
        told(&format!("GET /jobs/{RUNNING}/attempts"), 200, r#"{"attempts":[{"number":1}]}"#),
    ]);
    assert_snapshot!("logs", shot(&lab, &api.url, &["logs", FAILED]));
    assert_snapshot!("logs_raw", shot(&lab, &api.url, &["logs", "--raw", "--stream", "stdout", FAILED]));
    let previous = ["logs", "-p", "--stream", "stderr", "--tail", "5", "--since", "10m", FAILED];
    assert_snapshot!("logs_previous", shot(&lab, &api.url, &previous));
    assert_snapshot!("logs_none", shot(&lab, &api.url, &["logs", "-p", "--stream", "stdout", FAILED]));
    assert_snapshot!("logs_no_previous", shot(&lab, &api.url, &["logs", "-p", RUNNING]));
}

#[test]
fn following_goes_on_over_attempts_until_the_job_has_ended() {
    let lab = Lab::new();
    let path = |rest: &str| format!("GET /jobs/{RUNNING}/logs?stream=stdout{rest}&follow=true");
    let job = |status: &str, attempt: u32| {
        let mut job = running();
        job["status"] = status.into();
        job["attempt"] = attempt.into();
        told(&format!("GET /jobs/{RUNNING}"), 200, job.to_string())
    };
    let api = Double::of(vec![
        refused(&path(""), 404, "not-there", "job x has had no attempt yet, so there are no logs"),
        told(&path(""), 200, "first\n").with("agent-runner-attempt: 1"),
        told(&path("&attempt=2"), 200, "second\n").with("agent-runner-attempt: 2"),
        refused(&path("&attempt=3"), 404, "not-there", "attempt 3 of job x left no log"),
        job("QUEUED", 0),
        job("QUEUED", 1),
        job("RUNNING", 2),
        job("FAILED", 3),
    ]);
    assert_snapshot!("logs_follow", shot(&lab, &api.url, &["logs", "-f", RUNNING, "--stream", "stdout"]));
    let old = r#"{"type":"urn:agent-runner:problem:invalid-query","status":400,"detail":"x",
        "errors":[{"pointer":"?follow","value":"","message":"is not known"}]}"#;
    let api = Double::of(vec![told(&path(""), 400, old)]);
    assert_snapshot!("logs_follow_old", shot(&lab, &api.url, &["logs", "-f", RUNNING, "--stream", "stdout"]));
    let broken = told(&path(""), 200, "first\n").with("transfer-encoding: chunked");
    let api = Double::of(vec![broken]);
    let text = shot(&lab, &api.url, &["logs", "-f", RUNNING, "--stream", "stdout"]);
    assert!(text.contains("exit 1") && text.contains("go on with: agent-runner logs -f --tail 20"), "{text}");
}

#[test]
fn a_healthcheck_ends_with_0_or_1_and_nothing_else() {
    let lab = Lab::new();
    let api =
        Double::of(vec![told("GET /readyz", 200, "ok\n"), told("GET /readyz", 503, "the store is away\n")]);
    assert_snapshot!("healthcheck", shot(&lab, &api.url, &["healthcheck"]));
    assert_snapshot!("healthcheck_unready", shot(&lab, &api.url, &["healthcheck"]));
    assert!(shot(&lab, "http://127.0.0.1:1", &["healthcheck"]).contains("\nexit 1\n"));
    assert!(shot(&lab, "https://no", &["healthcheck"]).contains("\nexit 1\n"));
}

const METRICS: &str = "agent_runner_last_resync_timestamp_seconds 1795348700\nagent_runner_invalid_records 1\n\
    agent_runner_jobs_failing_passes 4\nagent_runner_orphan_tasks_total 2\nagent_runner_invariant_broken_total{invariant=\"I1\"} 1\n";

#[test]
fn a_doctor_names_what_is_wrong_and_what_to_do() {
    let lab = Lab::new();
    let health = r#"{"service":"agent-runner","version":"0.0.9","status":"unavailable","store":"redis://h",
        "error":"connection refused","reconciler":{"holder":"pid 7 on h","epoch":1,"lease_age_ms":90000,"released":false}}"#;
    let api = Double::of(vec![
        told("GET /health", 503, health),
        refused("GET /jobs?limit=1", 401, "unauthenticated", "a token is needed"),
        told("GET /jobs?limit=1", 200, list().to_string()),
        told("GET /jobs?limit=500&status=QUEUED", 200, list().to_string()),
        told("GET /metrics", 200, METRICS),
        refused("POST /jobs/batch", 403, "forbidden", "the token does not have the scope"),
        refused("PATCH /jobs/doctor?dry_run=true", 404, "job-not-found", "there is no job"),
    ]);
    lab.write("token", "s3cret\n");
    let text = shot(&lab, &api.url, &["doctor", "--token-file", "token"]);
    // How far the double's clock is off depends on the day.
    let text = text.lines().map(|line| match line.starts_with("fail  clock") {
        true => "fail  clock      <skew>".to_owned(),
        false => line.to_owned(),
    });
    assert_snapshot!("doctor", text.collect::<Vec<_>>().join("\n"));
    let asked = api.asked();
    let tokens: Vec<_> =
        asked.iter().filter(|a| a.line.contains("limit=1")).map(|a| a.header("authorization")).collect();
    assert_eq!(tokens, [None, Some("Bearer s3cret")], "once without a token, once with it");
    assert_snapshot!("doctor_nobody", shot(&lab, "http://127.0.0.1:1", &["doctor", "-o", "json"]));
}

#[test]
fn a_token_goes_with_every_request_and_is_never_shown() {
    let lab = Lab::new();
    let api = Double::of(vec![
        told("GET /jobs?limit=50", 200, list().to_string()),
        refused("GET /jobs?limit=50", 401, "unauthenticated", "the token is not known"),
        refused(
            "GET /jobs?limit=50",
            403,
            "forbidden",
            "the token \"ci\" does not have the scope \"read\", which this needs",
        ),
    ]);
    let with = [("AGENT_RUNNER_TOKEN", "s3cret")];
    assert!(shot_with(&lab, &api.url, &["get"], &with).contains("\nexit 0\n"));
    assert_eq!(api.asked()[0].header("authorization"), Some("Bearer s3cret"));
    assert_snapshot!("token_unknown", shot_with(&lab, &api.url, &["get"], &with));
    assert_snapshot!("token_under_scoped", shot_with(&lab, &api.url, &["get"], &with));
    lab.write("token", "two words");
    assert_snapshot!("token_file", shot(&lab, &api.url, &["get", "--token-file", "token"]));
    assert!(shot(&lab, &api.url, &["get", "--token-file", "gone"]).contains("\nexit 2\n"));
    let config = shot_with(&lab, &api.url, &["config"], &with);
    assert!(config.contains("AGENT_RUNNER_TOKEN") && !config.contains("s3cret"), "{config}");
}

#[test]
fn completion_knows_the_verbs_in_each_shell() {
    let lab = Lab::new();
    for shell in ["bash", "zsh", "fish"] {
        let said = lab.output(&["completion", shell]);
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
        for word in ["describe", "healthcheck", "dry-run"] {
            assert!(said.out.contains(word), "{word} is not completed in {shell}");
        }
        assert!(!said.out.contains("__worker") && !said.out.contains("__reference"), "{shell}");
    }
}

/// Loads the script as a shell does, and asks for what would complete a line that ends with `$*`.
const ASK: &str = r#"
source "./$1"; shift
COMP_WORDS=(agent-runner "$@")
COMP_CWORD=$(($# > 0 ? $# : 1))
function=$(complete -p agent-runner | sed 's/.* -F \([^ ]*\) .*/\1/')
"$function" agent-runner "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\n' "${COMPREPLY[@]}"
"#;

#[test]
fn bash_completes_verbs_and_behind_a_verb_its_options_and_their_values() {
    let lab = Lab::new();
    lab.write("script", &lab.output(&["completion", "bash"]).out);
    for (line, wanted) in [
        (&["des"][..], &["describe"][..]),
        (&["get", "--st"], &["--status"]),
        (&["get", "--status", "F"], &["FAILED"]),
        (&["get", "-o", "y"], &["yaml"]),
        (&["logs", "--s"], &["--since", "--stream"]),
        (&["completion", ""], &["bash", "fish", "zsh"]),
        (&["--url", "u", "edit", "--d"], &["--dry-run"]),
    ] {
        let mut bash = std::process::Command::new("bash");
        bash.args(["-c", ASK, "bash", "script"]).args(line).current_dir(lab.path(""));
        let said = Said::of(bash.output().expect("bash is there"));
        let mut found: Vec<&str> = said.out.lines().collect();
        // An argument may be an option as well.
        found.retain(|word| line.last() != Some(&"") || !word.starts_with('-'));
        found.sort_unstable();
        assert_eq!(found, wanted, "{line:?}: {said:?}");
    }
}
