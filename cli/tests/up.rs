//! `up` and the client verbs against it, with the real executable.

mod lab;

use lab::{Lab, Said, Up};
use rustix::process::Signal;
use std::io::{BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

/// A verb against a running `up`.
fn call(lab: &Lab, up: &Up, words: &[&str]) -> Said {
    lab.output(&[&["--url", &up.url], words].concat())
}

#[test]
fn a_job_is_submitted_shown_waited_for_and_retried() {
    let lab = Lab::new();
    let up = lab.up();
    for place in ["data/agent-runner.db", "data/artifacts", "/metrics", "run echo --payload"] {
        assert!(up.banner.contains(place), "{place} is not in {}", up.banner);
    }
    let submitted = call(&lab, &up, &["submit", "echo", "-o", "name"]);
    let id = submitted.out.trim_end();
    assert_eq!((submitted.code, submitted.err.as_str(), id.len()), (Some(0), "", 36), "{submitted:?}");
    let waited = call(&lab, &up, &["wait", id, "--for", "succeeded", "--timeout", "30s"]);
    assert_eq!((waited.code, waited.out), (Some(0), format!("{id} SUCCEEDED\n")));
    let table = call(&lab, &up, &["get"]).out;
    assert!(table.starts_with("JOB ID") && table.contains("SUCCEEDED  Completed"), "{table}");
    assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
    assert_eq!(call(&lab, &up, &["get", "-o", "name"]).out, format!("{id}\n"));
    let json: serde_json::Value =
        serde_json::from_str(&call(&lab, &up, &["get", id, "-o", "json"]).out).unwrap();
    assert_eq!((&json["job_id"], &json["attempt"]), (&id.into(), &1.into()));
    let retried = call(&lab, &up, &["retry", id]);
    assert_eq!(retried.code, Some(0), "{retried:?}");
    assert_eq!(call(&lab, &up, &["wait", id]).out, format!("{id} SUCCEEDED\n"));
    let json: serde_json::Value =
        serde_json::from_str(&call(&lab, &up, &["get", id, "-o", "json"]).out).unwrap();
    assert_eq!(json["attempt"], 2, "{json}");
}

#[test]
fn refusals_say_what_to_type_next() {
    let lab = Lab::new();
    let up = lab.up();
    let id = call(&lab, &up, &["submit", "echo", "-o", "name", "--payload", r#"{"sleep_seconds":600}"#]).out;
    let id = id.trim_end();
    let refused = call(&lab, &up, &["retry", id]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("retry --force"), "{refused:?}");
    let timed_out = call(&lab, &up, &["wait", id, "--timeout", "0"]);
    assert_eq!(timed_out.code, Some(124), "{timed_out:?}");
    let missing = call(&lab, &up, &["cancel", "no-such-job", id]);
    assert_eq!(missing.code, Some(1));
    assert!(missing.err.contains("there is no job \"no-such-job\""), "{missing:?}");
    assert!(missing.out.starts_with(id), "a refusal for one job keeps none of the others: {missing:?}");
    let cancelled = call(&lab, &up, &["wait", id, "--for", "succeeded"]);
    assert_eq!((cancelled.code, cancelled.out), (Some(130), format!("{id} FAILED\n")));
    assert_eq!(call(&lab, &up, &["get", "../x"]).code, Some(2));
    let nobody = lab.output(&["get"]);
    assert_eq!(nobody.code, Some(3));
    assert!(nobody.err.contains("no agent-runner answers at http://127.0.0.1:1"), "{nobody:?}");
}

#[test]
fn a_suspended_job_waits_until_it_is_resumed() {
    let lab = Lab::new();
    let up = lab.up();
    let id = call(&lab, &up, &["submit", "echo", "-o", "name", "--set", "suspend=true"]).out;
    let id = id.trim_end();
    assert_eq!(call(&lab, &up, &["wait", id, "--timeout", "300ms"]).code, Some(124));
    assert!(call(&lab, &up, &["get", id]).out.contains("Suspended"));
    assert_eq!(call(&lab, &up, &["resume", id]).out, format!("{id} may go on\n"));
    assert_eq!(call(&lab, &up, &["wait", id, "--for", "succeeded"]).code, Some(0));
}

#[test]
fn a_port_that_is_taken_is_named_with_what_to_do() {
    let lab = Lab::new();
    let up = lab.up();
    let address = up.url.strip_prefix("http://").unwrap();
    let said = lab.output(&["up", "--listen", address]);
    assert_eq!(said.code, Some(1), "{said:?}");
    let expected = format!("{address} is in use by an agent-runner that is up already");
    assert!(said.err.contains(&expected) && said.err.contains("--listen"), "{said:?}");
}

#[test]
fn a_second_one_on_the_same_records_stands_by_and_takes_over() {
    let lab = Lab::new();
    let mut first = lab.up();
    let mut second = lab.up();
    let who = format!("pid {}", first.child.id());
    // The reconciler says in the log that it stands by, and may do so before this.
    let said = second.read_until(&who);
    assert!(said.contains("standing by"), "{said}");
    // Work submitted to the one that stands by is done by the other.
    let run = call(&lab, &second, &["run", "echo"]);
    assert_eq!(run.code, Some(0), "{run:?}");
    first.signal(Signal::KILL);
    first.wait();
    let run = call(&lab, &second, &["run", "echo"]);
    assert_eq!(run.code, Some(0), "{run:?}");
}

#[test]
fn a_database_in_which_somebody_writes_for_a_while_does_not_keep_it_from_coming_up() {
    if Command::new("sqlite3").arg("-version").output().is_err() {
        assert!(std::env::var_os("TEST_EVERYTHING").is_none(), "sqlite3 is not installed; type: make deps");
        return eprintln!("left out: no sqlite3 command on this machine");
    }
    let lab = Lab::new();
    drop(lab.up());
    let mut writer = Command::new("sqlite3")
        .args(["-batch", "data/agent-runner.db"])
        .current_dir(lab.path("."))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    writer.stdin.as_mut().unwrap().write_all(b"BEGIN IMMEDIATE; SELECT 'writing';\n").unwrap();
    lab::read_until(&mut BufReader::new(writer.stdout.as_mut().unwrap()), "writing");
    let mut up = lab.up();
    up.read_until("the lease could not be asked for");
    // It leads as soon as that is over.
    drop(writer.stdin.take());
    assert!(writer.wait().unwrap().success());
    let run = call(&lab, &up, &["run", "echo"]);
    assert_eq!(run.code, Some(0), "{run:?}");
}

#[test]
fn a_ctrl_c_in_the_terminal_of_the_orchestrator_is_not_for_its_workers() {
    let lab = Lab::new();
    let up = lab.up();
    let words = ["submit", "echo", "-o", "name", "--payload", r#"{"sleep_seconds":600}"#];
    let id = call(&lab, &up, &words).out;
    assert_eq!(call(&lab, &up, &["wait", id.trim_end(), "--for", "status=running"]).code, Some(0));
    let mut tasks = std::fs::read_dir(lab.path("data/tasks")).unwrap().map(|entry| entry.unwrap().path());
    let text = std::fs::read_to_string(tasks.find(|path| path.is_dir()).unwrap().join("lock")).unwrap();
    let mut lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let pid = lines.find_map(|line| line["pid"].as_i64()).unwrap();
    let worker = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
    assert_eq!(rustix::process::getpgid(Some(worker)), Ok(worker), "a process group of its own");
    // Also where the leader of our session cannot be seen.
    assert_eq!(rustix::process::getsid(Some(worker)), Ok(worker), "a session of its own");
    assert_eq!(call(&lab, &up, &["cancel", id.trim_end()]).code, Some(0));
    assert_eq!(call(&lab, &up, &["wait", id.trim_end()]).out, format!("{} FAILED\n", id.trim_end()));
}

#[test]
fn the_end_is_quick_and_running_work_is_taken_over() {
    let lab = Lab::new();
    let mut up = lab.up();
    let id = call(&lab, &up, &["submit", "echo", "-o", "name", "--payload", r#"{"sleep_seconds":1.5}"#]).out;
    let id = id.trim_end();
    // A long poll is open while the end comes.
    let mut waiting = lab
        .command(&["--url", &up.url, "run", "echo", "--payload", r#"{"sleep_seconds":600}"#])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    lab::read_until(&mut std::io::BufReader::new(waiting.stderr.take().unwrap()), "RUNNING");
    up.signal(Signal::TERM);
    let (code, took) = up.wait();
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(2), "the end took {took:?}");
    waiting.kill().unwrap();
    waiting.wait().unwrap();
    let up = lab.up();
    assert_eq!(call(&lab, &up, &["wait", id, "--for", "succeeded", "--timeout", "30s"]).code, Some(0));
    let json: serde_json::Value =
        serde_json::from_str(&call(&lab, &up, &["get", id, "-o", "json"]).out).unwrap();
    assert_eq!(json["attempt"], 1, "taken over, not started again: {json}");
    let others = call(&lab, &up, &["get", "--status", "running", "-o", "name"]).out;
    let cancelled = call(&lab, &up, &["cancel", others.trim_end()]);
    assert_eq!(cancelled.code, Some(0), "{cancelled:?}");
    call(&lab, &up, &["wait", others.trim_end()]);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let lab = Lab::new();
    let up = lab.up();
    call(&lab, &up, &["submit", "echo"]);
    let mut child = lab
        .command(&["--url", &up.url, "get", "-o", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Closed before anything can be written: every write fails.
    drop(child.stdout.take());
    let said = Said::of(child.wait_with_output().unwrap());
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
}

#[test]
fn config_says_where_each_value_comes_from() {
    let lab = Lab::new();
    lab.write(".env", "AGENT_RUNNER_LISTEN=127.0.0.1:2\nAGENT_RUNNER_TASKS_DIR='my tasks'\n");
    let said = lab.output(&["config", "--url", "http://127.0.0.1:3", "-o", "json"]);
    let all: Vec<serde_json::Value> = serde_json::from_str(&said.out).unwrap();
    let of = |name: &str| {
        let row = all.iter().find(|row| row["name"] == name).unwrap();
        (row["value"].as_str().unwrap().to_owned(), row["source"].as_str().unwrap().to_owned())
    };
    let pair = |value: &str, source: &str| (value.to_owned(), source.to_owned());
    assert_eq!(of("AGENT_RUNNER_URL"), pair("http://127.0.0.1:3", "flag"));
    assert_eq!(of("AGENT_RUNNER_LISTEN"), pair("127.0.0.1:1", "environment"));
    assert_eq!(of("AGENT_RUNNER_TASKS_DIR"), pair("my tasks", ".env"));
    assert_eq!(of("AGENT_RUNNER_DURABILITY"), pair("process", "default"));
}
