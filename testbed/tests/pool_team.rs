//! The team's stack with its real programs: Redis, the API, the reconciler and workers of a pool.

#[path = "pool_team/chaos.rs"]
mod chaos;
#[path = "pool_team/folder.rs"]
mod folder;

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};
use testbed::client::word;
use testbed::judge::judge;
use testbed::ledger::{Event, Line};
use testbed::team::{Options, Part, Team};
use testbed::{leave_out, ledger_agent};

const SOON: Duration = Duration::from_secs(30);

/// The commands of the README that stand in the block that begins with the health check.
fn readme_commands() -> &'static str {
    let readme = include_str!("../../README.md");
    let from = readme.find("curl http://localhost:8000/health").expect("the README shows the curl commands");
    let to = readme[from..].find("```").expect("the block ends");
    &readme[from..from + to]
}

/// JSON values one after the other, whatever stands between them.
fn values(text: &str) -> Vec<Value> {
    serde_json::Deserializer::from_str(text).into_iter().map(|value| value.expect("JSON")).collect()
}

#[test]
fn the_curl_commands_of_the_readme_work_with_redis_and_a_pool() {
    let Some(team) = Team::start(Options::new(2, 2)) else { return };
    if Command::new("curl").arg("--version").output().is_err() {
        return leave_out("the curl commands", "curl is not installed");
    }
    let commands = readme_commands().replace("http://localhost:8000", team.client().base());
    let output = Command::new("bash").args(["-euc", &commands]).output().expect("a shell");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stderr}");
    let answers = values(&stdout);
    assert_eq!((word(&answers[0], "service"), word(&answers[0], "status")), ("agent-runner", "ok"));
    let jobs = &answers[1..answers.len() - 1];
    assert_eq!(jobs.len(), 21);
    assert_eq!(answers.last().unwrap()["jobs"].as_array().map(Vec::len), Some(5));
    for job in jobs {
        let ended = team.client().ended(word(job, "job_id"), SOON);
        assert_eq!(word(&ended, "status"), "SUCCEEDED", "{ended}");
        assert_eq!((&ended["result"]["payload"], &ended["attempt"]), (&job["payload"], &json!(1)));
    }
    team.expect_nothing_left(SOON);
}

#[test]
fn a_hundred_jobs_are_executed_once_each_and_by_both_workers() {
    let Some(team) = Team::start(Options::new(2, 2).agent(ledger_agent!())) else { return };
    let client = team.client();
    let payload = json!({"ledger": team.ledger().path(), "sleep_ms": 100, "files": 1});
    let desired = json!({"job_type": "ledger", "payload": payload});
    let job_ids: Vec<String> = (0..100).map(|_| client.submit(&desired)).collect();
    for job_id in &job_ids {
        client.ended(job_id, SOON);
    }
    let found = judge(&team, &job_ids, &BTreeMap::new());
    found.accept("100 jobs");
    assert_eq!((found.attempts, found.executions), (100, 100));
    // A worker has two slots: more than two at once need both workers.
    let most = most_at_once(&team.ledger().lines());
    assert!((3..=4).contains(&most), "{most} agents at once");
    team.expect_nothing_left(SOON);
}

fn most_at_once(lines: &[Line]) -> i32 {
    let mut changes: Vec<(u64, i32)> =
        lines.iter().map(|line| (line.at, if line.event == Event::Start { 1 } else { -1 })).collect();
    changes.sort_unstable();
    let running = changes.iter().scan(0, |running, (_, change)| {
        *running += change;
        Some(*running)
    });
    running.max().unwrap_or(0)
}

#[test]
fn a_retry_by_the_script_for_operators_runs_the_job_again() {
    let Some(team) = Team::start(Options::new(1, 1)) else { return };
    let client = team.client();
    let job_id = client.echo(&json!({"n": 1}));
    client.ended(&job_id, SOON);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../runbooks/redis/retry.lua");
    let said = team.redis().cli(&["--eval", script, ",", &job_id]);
    assert!(said.contains("\"retry\":1"), "{said}");
    let job = client.until(&job_id, SOON, "its second attempt", |job| {
        job["attempt"] == 2 && word(job, "status") == "SUCCEEDED"
    });
    assert_eq!(job["control"]["run"], 2, "{job}");
    assert_eq!(client.attempts(&job_id).len(), 2);
    let refused = team.redis().cli(&["--eval", script, ",", "no-such-job"]);
    assert!(refused.contains("there is no job no-such-job"), "{refused}");
    team.expect_nothing_left(SOON);
}

#[test]
fn a_job_waits_for_quota_while_the_pool_has_no_worker_and_runs_when_one_comes() {
    let Some(mut team) = Team::start(Options::new(0, 1)) else { return };
    let client = team.client();
    let before = client.echo(&json!({"n": 1}));
    let job = client.reason(&before, "WaitingForQuota", SOON);
    assert_eq!((word(&job, "status"), &job["attempt"]), ("QUEUED", &json!(0)), "{job}");
    team.launch(Part::Worker(0));
    assert_eq!(word(&client.ended(&before, SOON), "status"), "SUCCEEDED");
    // The same when the last worker has left.
    let status = team.terminate(Part::Worker(0), SOON);
    assert_eq!(status.code(), Some(0), "{}", team.logs());
    // A slot that the reconciler still counts may be given.
    team.until_slots(0, SOON);
    let after = client.echo(&json!({"n": 2}));
    client.reason(&after, "WaitingForQuota", SOON);
    team.launch(Part::Worker(0));
    assert_eq!(word(&client.ended(&after, SOON), "status"), "SUCCEEDED");
    team.expect_nothing_left(SOON);
}

#[test]
fn an_api_without_its_store_is_not_ready_but_alive() {
    let Some(mut team) = Team::start(Options::new(0, 1)) else { return };
    let healthy =
        |team: &Team| [&["healthcheck"][..], &["healthcheck", "--live"]].map(|a| team.api_is_healthy(a));
    assert_eq!(healthy(&team), [true, true]);
    team.kill(Part::Redis);
    assert_eq!(healthy(&team), [false, true], "{}", team.logs());
    team.launch(Part::Redis);
    team.ready();
    assert_eq!(healthy(&team), [true, true]);
    team.kill(Part::Api);
    assert_eq!(healthy(&team), [false, false]);
}

#[test]
fn a_key_of_another_type_is_told_as_an_invalid_record_by_the_api_and_by_the_metrics() {
    let Some(team) = Team::start(Options::new(0, 1)) else { return };
    let _ = team.redis().cli(&["SET", "agent-runner:job:mistyped", "no hash"]);
    let job = team.client().reason("mistyped", "InvalidRecord", SOON);
    assert!(word(&job, "message").contains("a key made by hand"), "{job}");
    let (until, invalid) =
        (Instant::now() + SOON, || team.reconciler().metric("agent_runner_invalid_records"));
    while invalid() < 1.0 {
        assert!(Instant::now() < until, "nobody counts it\n{}", team.logs());
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = team.redis().cli(&["DEL", "agent-runner:job:mistyped"]);
    while invalid() > 0.0 {
        assert!(Instant::now() < until, "it is counted for ever\n{}", team.logs());
        std::thread::sleep(Duration::from_millis(10));
    }
}
