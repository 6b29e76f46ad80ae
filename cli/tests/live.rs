//! The client verbs against a real orchestrator: live logs, tokens, batches and filters.

mod lab;

use lab::{Lab, Said, read_until};
use std::io::{BufReader, Read};
use std::process::Stdio;

/// An agent that writes, waits until the test has seen it, and writes again. It looks every 20 ms and gives
/// up after 30 s.
const TALK: &str = r#"
[job_types.talk]
command = ["sh", "-c", """
printf '\\033[2Jfirst\\n'; echo problem >&2
n=0; until [ -e "$GO" ] || [ $n -ge 1500 ]; do sleep 0.02; n=$((n + 1)); done
echo second"""]
"#;

fn talk(lab: &Lab) -> Vec<String> {
    lab.write("job-types.toml", TALK);
    let go = format!("env.GO={}", lab.path("go").display());
    ["talk", "--set", &go].map(str::to_owned).into()
}

#[test]
fn a_running_agent_is_followed_and_its_log_is_the_same_when_it_has_ended() {
    let lab = Lab::new();
    let words = talk(&lab);
    let up = lab.up();
    let call = |words: &[&str]| lab.output(&[&["--url", &up.url], words].concat());
    let submit: Vec<&str> =
        ["submit", "-o", "name"].into_iter().chain(words.iter().map(String::as_str)).collect();
    let id = call(&submit).out;
    let id = id.trim_end();
    let mut child = lab
        .command(&["--url", &up.url, "logs", "-f", id])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut shown = read_until(&mut out, "first");
    lab.write("go", "");
    out.read_to_string(&mut shown).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let mut lines: Vec<&str> = shown.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["^[[2Jfirst", "problem", "second"], "two streams, line by line, and safe");
    let stored = call(&["logs", id]);
    assert_eq!(stored.out, "^[[2Jfirst\nsecond\nproblem\n");
    assert_eq!(stored.err, "--- stdout\n--- stderr\n");
    assert_eq!(call(&["logs", id, "--stream", "stdout", "--tail", "1"]).out, "second\n");
    assert_eq!(call(&["logs", id, "--stream", "stdout", "--raw"]).out, "\u{1b}[2Jfirst\nsecond\n");
    let late = call(&["logs", id, "--since", "2100-01-01T00:00:00Z"]);
    assert_eq!((late.code, late.out.as_str()), (Some(0), ""));
    assert_eq!(late.err, "nothing was written since 2100-01-01T00:00:00Z\n");
    let none = call(&["logs", id, "--attempt", "7"]);
    assert!(none.code == Some(1) && none.err.contains("no attempt 7"), "{none:?}");
}

#[test]
fn run_without_a_server_shows_what_its_agent_writes() {
    let lab = Lab::new();
    let words = talk(&lab);
    let words: Vec<&str> = ["run", "--follow"].into_iter().chain(words.iter().map(String::as_str)).collect();
    let mut child = lab.command(&words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut err = BufReader::new(child.stderr.take().unwrap());
    let mut shown = read_until(&mut err, "^[[2Jfirst");
    lab.write("go", "");
    err.read_to_string(&mut shown).unwrap();
    let said = Said::of(child.wait_with_output().unwrap());
    assert_eq!((said.code, said.out.as_str()), (Some(0), "{}\n"), "{shown}");
    for line in ["problem", "second", "SUCCEEDED"] {
        assert!(shown.contains(line), "{line} is not in {shown}");
    }
    let end = shown.lines().last().unwrap_or_default();
    assert!(end.contains("SUCCEEDED"), "what the agent wrote stands before its end: {shown}");
    let count =
        |word: &str| shown.lines().filter(|line| line.split_whitespace().nth(1) == Some(word)).count();
    assert_eq!(["QUEUED", "RUNNING", "SUCCEEDED"].map(count), [1, 1, 1], "nothing is said twice: {shown}");
}

/// SHA-256 of `operator-token-of-a-test-0123456789abcdef` and `reader-token-of-a-test-0123456789abcdef`.
const TOKENS: &str = r#"
[tokens.ops]
sha256 = "23743664f95acee68d1fdb5c254e14fbf0b3313d86abb2c041089c9db0389eb5"
scopes = ["read", "submit", "operate"]
[tokens.viewer]
sha256 = "4b2f4445ffd802e2b4c359f153adab9a058be8f077dc42ea4c7747d84c80b43d"
scopes = ["read"]
"#;

#[test]
fn a_token_lets_do_what_its_scopes_say_and_a_refusal_has_its_own_exit_code() {
    let lab = Lab::new();
    lab.write("tokens.toml", TOKENS);
    lab.write(".env", "AGENT_RUNNER_TOKENS_FILE=tokens.toml\n");
    lab.write("ops", "operator-token-of-a-test-0123456789abcdef\n");
    lab.write("viewer", "reader-token-of-a-test-0123456789abcdef\n");
    let up = lab.up();
    let call = |token: &str, words: &[&str]| {
        let token: &[&str] = if token.is_empty() { &[] } else { &["--token-file", token] };
        lab.output(&[&["--url", &up.url], token, words].concat())
    };
    let none = call("", &["get"]);
    assert!(none.code == Some(4) && none.err.contains("AGENT_RUNNER_TOKEN"), "{none:?}");
    let id = call("ops", &["submit", "echo", "-o", "name", "--set", "suspend=true"]);
    assert_eq!(id.code, Some(0), "{id:?}");
    let id = id.out.trim_end();
    assert_eq!(call("viewer", &["get", "-o", "name"]).out, format!("{id}\n"));
    let refused = call("viewer", &["cancel", id]);
    assert!(refused.code == Some(4) && refused.err.contains("scope"), "{refused:?}");
    assert_eq!(call("ops", &["cancel", id]).code, Some(0));
    assert_eq!(call("", &["healthcheck"]).code, Some(0), "probes need no token");
    let doctor = call("", &["doctor"]);
    assert!(
        doctor.code == Some(1) && doctor.out.contains("the API wants one, and none is given"),
        "{doctor:?}"
    );
    let doctor = call("ops", &["doctor"]);
    assert!(
        doctor.code == Some(0) && doctor.out.contains("the API takes the one that is given"),
        "{doctor:?}"
    );
    assert!(doctor.out.contains("ok    scopes     it may read, may submit and may operate"), "{doctor:?}");
    let doctor = call("viewer", &["doctor"]).out;
    assert!(doctor.contains("warn  scopes     it may read, may not submit and may not operate"), "{doctor}");
    assert_eq!(call("viewer", &["get", "-o", "name"]).out, format!("{id}\n"), "a doctor changes nothing");
}

#[test]
fn a_file_of_jobs_is_found_by_its_labels_explained_and_cancelled() {
    let lab = Lab::new();
    // Nobody reads the log of this orchestrator, and a line for each write would fill the pipe.
    lab.write(".env", "AGENT_RUNNER_LOG=warn\n");
    let up = lab.up();
    let call = |words: &[&str]| lab.output(&[&["--url", &up.url], words].concat());
    let line = |n: u32| {
        format!("{{\"job_type\":\"echo\",\"suspend\":true,\"labels\":{{\"batch\":\"b1\",\"n\":\"{n}\"}}}}\n")
    };
    lab.write("jobs.ndjson", &(0..600).map(line).collect::<String>());
    let submitted = call(&["submit", "-f", "jobs.ndjson"]);
    assert_eq!((submitted.code, submitted.out.lines().count()), (Some(0), 600), "{}", submitted.err);
    let one = call(&["get", "-l", "batch=b1,n=599", "-o", "name"]).out;
    assert_eq!(Some(one.trim_end()), submitted.out.lines().last());
    let one = one.trim_end();
    let status = call(&["wait", one, "--for", "status=queued", "--timeout", "30s"]);
    assert_eq!(status.out, format!("{one} QUEUED\n"));
    let explained = call(&["explain", one]).out;
    assert!(explained.contains("agent-runner resume") && explained.contains("QUEUED"), "{explained}");
    let described = call(&["describe", one]).out;
    assert!(described.contains("labels: {\"batch\":\"b1\",\"n\":\"599\"}"), "{described}");
    let refused = call(&["cancel", "-l", "batch=b1"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    let cancelled = call(&["cancel", "-l", "batch=b1", "--yes"]);
    assert_eq!((cancelled.code, cancelled.out.lines().count()), (Some(0), 600), "{}", cancelled.err);
    let ended = call(&["wait", "-l", "batch=b1", "--for=failed", "--timeout", "60s"]);
    assert_eq!((ended.code, ended.out.lines().count()), (Some(0), 600), "{}", ended.err);
    let again = call(&["resubmit", one, "-o", "name"]);
    assert_eq!(call(&["wait", again.out.trim_end(), "--for", "succeeded", "--timeout", "30s"]).code, Some(0));
}
