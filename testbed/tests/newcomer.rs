//! What somebody sees who has just cloned the repository.

use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use testbed::client::word;
use testbed::executable::agent_runner;
use testbed::stack::{clean, free_port};
use testbed::{Options, Stack, leave_out};

const SOON: Duration = Duration::from_secs(20);

/// Runs `agent-runner` in a folder without an orchestrator.
fn in_folder(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(agent_runner());
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    clean(&mut command);
    command.env("AGENT_RUNNER_LISTEN", format!("127.0.0.1:{}", free_port()));
    command.output().expect("agent-runner can be started")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn run_in_an_empty_folder_prints_the_result_and_leaves_record_and_files_behind() {
    let folder = TempDir::new().unwrap();
    let output = in_folder(folder.path(), &["run", "echo", "--payload", r#"{"message":"Hello, World!"}"#]);
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    for status in ["QUEUED", "RUNNING", "SUCCEEDED"] {
        let line = stderr.lines().find(|line| line.contains(status));
        let line = line.unwrap_or_else(|| panic!("no {status} in {stderr}"));
        assert!(line.starts_with("20") && line.contains("Z  "), "no time in {line:?}");
    }
    let result: Value = serde_json::from_str(&stdout).expect("the result is JSON");
    assert_eq!(result["payload"], json!({"message": "Hello, World!"}));
    assert_eq!(result["attempt"], 1);
    let job = word(&result, "job_id");
    let root = folder.path().join("data/artifacts/jobs").join(job);
    assert_eq!(std::fs::read_to_string(root.join("result.json")).unwrap().trim(), stdout.trim());
    let attempt = std::fs::read_dir(root.join("attempts")).unwrap().next().unwrap().unwrap().path();
    for file in ["result.json", "stdout.log", "stderr.log"] {
        assert!(attempt.join(file).is_file(), "{file} is missing");
    }
    let records = rusqlite::Connection::open(folder.path().join("data/agent-runner.db")).unwrap();
    let status: String =
        records.query_row("SELECT status ->> 'status' FROM jobs", [], |row| row.get(0)).unwrap();
    assert_eq!(status, "SUCCEEDED");
    assert!(testbed::procfs::belonging_to(folder.path()).is_empty(), "a process is left");
}

#[test]
fn run_ends_with_the_exit_code_of_the_agent() {
    let folder = TempDir::new().unwrap();
    let payload = r#"{"fail_with_exit_code": 7}"#;
    let output = in_folder(folder.path(), &["run", "echo", "--set", "max_attempts=1", "--payload", payload]);
    assert_eq!(output.status.code(), Some(7), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("NonZeroExitCode"), "{}", text(&output.stderr));
    let output = in_folder(folder.path(), &["run", "ehco"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("echo"), "no suggestion: {}", text(&output.stderr));
}

#[test]
fn up_says_where_everything_is_and_ends_within_two_seconds_of_sigterm() {
    let mut stack = Stack::start(Options::default());
    let (status, after) = stack.terminate();
    assert_eq!(status.code(), Some(0), "{}", stack.logs());
    assert!(after < Duration::from_secs(2), "{after:?}");
    let said = std::fs::read_to_string(stack.folder().join("up.log")).unwrap();
    for place in ["http://127.0.0.1:", "/metrics", "data/agent-runner.db", "data/artifacts", "run echo"] {
        assert!(said.contains(place), "{place} is not named in {said}");
    }
    stack.expect_no_process_left(SOON);
}

/// The block of the README that talks to the API with curl, as it stands there.
fn curl_commands(readme: &str) -> &str {
    let blocks = readme.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.into_iter().find(|block| block.starts_with("curl ")).expect("the README shows curl")
}

#[test]
fn curl_works_as_the_readme_shows_it() {
    let stack = Stack::start(Options::default());
    if Command::new("curl").arg("--version").output().is_err() {
        return leave_out("the curl commands", "curl is not installed");
    }
    let script = curl_commands(include_str!("../../README.md"));
    assert_eq!(script.matches("curl ").count(), 4, "{script}");
    let url = stack.client();
    let script = format!("set -eu\n{}", script.replace("http://localhost:8000", url.base()));
    let output = Command::new("sh").args(["-c", &script]).output().expect("a shell");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let answers: Vec<Value> = serde_json::Deserializer::from_slice(&output.stdout)
        .into_iter()
        .collect::<Result<_, _>>()
        .expect("every answer is JSON");
    assert_eq!((word(&answers[0], "service"), word(&answers[0], "status")), ("agent-runner", "ok"));
    assert_eq!(answers.len(), 1 + 1 + 20 + 1);
    assert_eq!(answers[22]["jobs"].as_array().map(Vec::len), Some(5));
    for job in &answers[1..22] {
        let ended = stack.client().ended(word(job, "job_id"), SOON);
        assert_eq!(word(&ended, "status"), "SUCCEEDED", "{ended}");
        assert_eq!(ended["result"]["payload"], job["payload"]);
    }
    stack.expect_no_process_left(SOON);
}

#[test]
fn a_finished_job_shows_every_flat_field_and_its_outputs_can_be_read() {
    let stack = Stack::start(Options::default());
    let client = stack.client();
    let answer = client.post("/jobs", &json!({"job_type": "echo", "payload": {"message": "hi"}})).expect(201);
    let job_id = answer.word("job_id").to_owned();
    assert_eq!(answer.location, Some(format!("/jobs/{job_id}")));
    let job = client.ended(&job_id, SOON);
    let flat = [word(&job, "job_type"), word(&job, "status"), word(&job, "reason")];
    assert_eq!(flat, ["echo", "SUCCEEDED", "Completed"]);
    assert_eq!((&job["attempt"], &job["payload"]), (&json!(1), &json!({"message": "hi"})));
    let times = ["created_at", "started_at", "finished_at"].map(|field| word(&job, field).to_owned());
    assert!(times.iter().all(|time| time.len() == 24 && time.ends_with('Z')), "{times:?}");
    assert!(times.is_sorted(), "{times:?}");
    assert_eq!(job["result"]["payload"], job["payload"]);
    for member in ["job_id", "attempt", "started_at", "finished_at"] {
        assert!(!job["result"][member].is_null(), "no {member} in the result: {}", job["result"]);
    }
    let result = client.get(&format!("/jobs/{job_id}/result")).expect(200);
    assert_eq!(result.body, job["result"]);
    let files = client.get(&format!("/jobs/{job_id}/artifacts")).expect(200).body;
    for file in files["artifacts"].as_array().unwrap() {
        let bytes = client.get(word(file, "url")).expect(200).text;
        assert_eq!(file["size"], bytes.len(), "{file}");
    }
    assert!(client.get(&format!("/jobs/{job_id}/logs")).expect(200).text.contains("echo"));
    let absent = client.get("/jobs/nobody").expect(404);
    assert_eq!(absent.content_type, "application/problem+json");
}

#[test]
fn metrics_have_everything_that_is_promised() {
    let stack = Stack::start(Options::default());
    let client = stack.client();
    let job_id = client.echo(&json!({}));
    client.ended(&job_id, SOON);
    let text = client.get("/metrics").expect(200).text;
    let promised = [
        "agent_runner_reconcile_total{result=\"",
        "agent_runner_reconcile_duration_seconds_bucket",
        "agent_runner_workqueue_depth",
        "agent_runner_jobs{status=\"QUEUED\"}",
        "agent_runner_jobs_waiting{reason=\"WaitingForQuota\"}",
        "agent_runner_launches_total",
        "agent_runner_attempts_failed_total{class=\"WorkerLost\"} 0",
        "agent_runner_job_start_duration_seconds_bucket",
        "agent_runner_job_run_duration_seconds_bucket",
        "agent_runner_orphan_tasks_total",
        "agent_runner_duplicate_tasks_total",
        "agent_runner_invalid_records",
        "agent_runner_invariant_broken_total{invariant=\"I1\"} 0",
        "agent_runner_last_resync_timestamp_seconds",
        "agent_runner_store_",
        "agent_runner_runtime_",
        "agent_runner_http_requests_total{",
    ];
    let missing: Vec<&str> =
        promised.into_iter().filter(|name| !text.lines().any(|line| line.starts_with(name))).collect();
    assert!(missing.is_empty(), "missing: {missing:?} in\n{text}");
    assert!(!text.contains(&job_id), "a job id is a label");
}

#[test]
fn an_idle_orchestrator_uses_next_to_nothing() {
    let stack = Stack::start(Options::default());
    stack.client().ended(&stack.client().echo(&json!({})), SOON);
    let (before, _) = testbed::procfs::usage(stack.pid()).unwrap();
    let since = Instant::now();
    std::thread::sleep(Duration::from_secs(3));
    let (after, resident) = testbed::procfs::usage(stack.pid()).unwrap();
    // Ticks are hundredths of a second.
    let percent = (after - before) as f64 / since.elapsed().as_secs_f64();
    testbed::say(&format!("idle: {percent:.2} % of a processor, {} MiB resident", resident / 1024));
    assert!(percent <= 2.0, "{percent} % of a processor without work");
}
