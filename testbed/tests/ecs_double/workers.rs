//! Workers as real processes.

use crate::rig::{Rig, quiet, run, shell, with};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};
use testbed::ecs::{Execution, Options, Phases, Worker, definition};
use testbed::procfs::{is_alive, signal};

fn file(folder: &Path, name: &str) -> String {
    folder.join(name).to_str().expect("a path").to_owned()
}

/// A number that a worker wrote.
fn number(rig: &Rig, path: &str) -> i32 {
    rig.until(path, |_| std::fs::read_to_string(path).ok()?.strip_suffix('\n')?.parse().ok())
}

fn exit_code(task: &Value) -> &Value {
    &task["containers"][0]["exitCode"]
}

#[test]
fn a_worker_gets_the_environment_of_the_image_the_definition_and_the_override_and_no_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut options = shell(&format!("exec env > {}", file(folder.path(), "$AGENT_RUNNER_JOB_ID")));
    if let Execution::Process(worker) = &mut options.execution {
        worker.env.push(("AWS_ENDPOINT_URL_S3".to_owned(), "http://127.0.0.1:1".to_owned()));
    }
    let mut worker = definition("worker", "worker");
    let variables = [("FROM", "definition"), ("AGENT_RUNNER_JOB_ID", "nobody")];
    worker["containerDefinitions"][0]["environment"] =
        variables.map(|(name, value)| json!({"name": name, "value": value})).into();
    options.definitions = vec![worker];
    let rig = Rig::start(options);
    let arn = rig.launched(&run("job-1"));
    rig.status(&arn, "STOPPED");
    let text = std::fs::read_to_string(folder.path().join("job-1")).expect("the environment");
    let mut env: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once('=')).collect();
    let id = arn.rsplit('/').next().expect("an id");
    let metadata = format!("{}/v4/{id}", rig.double.url());
    let expected = [
        ("AGENT_RUNNER_JOB_ID", "job-1"),
        ("FROM", "definition"),
        ("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1"),
        ("PATH", "/usr/bin:/bin"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_EXECUTION_ENV", "AWS_ECS_FARGATE"),
        ("ECS_CONTAINER_METADATA_URI_V4", &metadata),
    ];
    // Of the shell itself.
    env.retain(|name, _| !matches!(*name, "PWD" | "_" | "OLDPWD" | "SHLVL"));
    assert_eq!(env, BTreeMap::from(expected));
}

#[test]
fn exit_codes_are_those_of_the_process_or_of_its_signal() {
    for (script, code) in [("exit 0", 0), ("exit 42", 42), ("kill -SEGV $$", 139), ("kill -KILL $$", 137)] {
        let rig = Rig::start(shell(script));
        let arn = rig.launched(&run("t"));
        let task = rig.status(&arn, "STOPPED");
        assert_eq!(exit_code(&task), code, "{script}");
        assert_eq!(task["stopCode"], "EssentialContainerExited", "{script}");
    }
}

#[test]
fn an_executable_that_is_not_there_ends_its_task() {
    let worker = Worker { command: vec!["/none".to_owned()], ..Worker::default() };
    let rig = Rig::start(Options { execution: Execution::Process(worker), ..quiet() });
    let task = rig.status(&rig.launched(&run("t")), "STOPPED");
    assert_eq!(exit_code(&task), 127, "{task:#}");
}

#[test]
fn the_command_of_the_override_stands_behind_the_entry_point() {
    let mut options = quiet();
    let command = vec!["/bin/sh".to_owned(), "-c".to_owned()];
    options.execution = Execution::Process(Worker { command, ..Worker::default() });
    let rig = Rig::start(options);
    let over = json!({"overrides": {"containerOverrides": [{"name": "worker", "command": ["exit 7"]}]}});
    let arn = rig.launched(&with(run("t"), over));
    assert_eq!(exit_code(&rig.status(&arn, "STOPPED")), 7);
}

#[test]
fn sigterm_comes_first_and_sigkill_after_the_stop_timeout() {
    let folder = tempfile::tempdir().expect("a folder");
    let (ready, told) = (file(folder.path(), "ready"), file(folder.path(), "told"));
    let rig = Rig::start(shell(&format!(
        "trap 'echo 1 > {told}' TERM; echo $$ > {ready}; while :; do sleep 0.01; done"
    )));
    let arn = rig.launched(&run("t"));
    let worker = number(&rig, &ready);
    rig.stop(&arn);
    number(&rig, &told);
    rig.advance(29.9);
    assert_eq!(rig.task(&arn)["lastStatus"], "STOPPING");
    assert!(is_alive(worker), "it has 30 s by default");
    rig.advance(0.2);
    let task = rig.status(&arn, "STOPPED");
    assert_eq!((exit_code(&task), &task["stopCode"]), (&json!(137), &json!("UserInitiated")));
    assert!(!is_alive(worker));
}

#[test]
fn a_longer_stop_timeout_of_the_definition_counts() {
    let folder = tempfile::tempdir().expect("a folder");
    let ready = file(folder.path(), "ready");
    let mut options = shell(&format!("trap '' TERM; echo $$ > {ready}; while :; do sleep 0.01; done"));
    options.definitions[0]["containerDefinitions"][0]["stopTimeout"] = json!(120);
    let rig = Rig::start(options);
    let arn = rig.launched(&run("t"));
    let worker = number(&rig, &ready);
    rig.fault(json!({"fault": "SpotInterrupt", "task": arn}));
    rig.advance(119.0);
    let warned = rig.task(&arn);
    assert_eq!((&warned["lastStatus"], &warned["desiredStatus"]), (&json!("RUNNING"), &json!("STOPPED")));
    assert!(is_alive(worker), "two minutes of warning");
    rig.advance(1.0);
    let task = rig.status(&arn, "STOPPED");
    assert_eq!((exit_code(&task), &task["stopCode"]), (&json!(137), &json!("SpotInterruption")));
}

#[test]
fn a_worker_that_traps_sigterm_of_spot_and_exits_0_looks_successful_but_for_the_stop_code() {
    let folder = tempfile::tempdir().expect("a folder");
    let ready = file(folder.path(), "ready");
    let rig =
        Rig::start(shell(&format!("trap 'exit 0' TERM; echo $$ > {ready}; while :; do sleep 0.01; done")));
    let arn = rig.launched(&run("t"));
    number(&rig, &ready);
    rig.fault(json!({"fault": "SpotInterrupt", "task": arn}));
    rig.advance(0.0);
    let task = rig.status(&arn, "STOPPED");
    assert_eq!((exit_code(&task), &task["stopCode"]), (&json!(0), &json!("SpotInterruption")));
}

/// A worker with a child in a group and one in a session of its own.
fn with_children(folder: &Path) -> (String, [String; 3]) {
    let [worker, child, escaped] = ["worker", "child", "escaped"].map(|name| file(folder, name));
    let script = format!(
        "sleep 300 & echo $! > {child}; setsid sh -c 'echo $$ > {escaped}; exec sleep 300' & \
         echo $$ > {worker}; while :; do sleep 0.01; done"
    );
    (script, [worker, child, escaped])
}

#[test]
fn a_killed_task_takes_its_children_with_it_also_those_in_a_session_of_their_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let (script, files) = with_children(folder.path());
    let rig = Rig::start(shell(&script));
    let arn = rig.launched(&run("t"));
    let pids = files.map(|file| number(&rig, &file));
    assert!(pids.iter().all(|pid| is_alive(*pid)));
    rig.fault(json!({"fault": "KillTask", "task": arn}));
    rig.advance(0.0);
    let task = rig.status(&arn, "STOPPED");
    assert_eq!(exit_code(&task), 137);
    assert!(pids.iter().all(|pid| !is_alive(*pid)), "{pids:?}");
}

#[test]
fn children_of_a_worker_that_ended_are_gone_when_its_end_is_reported() {
    let folder = tempfile::tempdir().expect("a folder");
    let (script, files) = with_children(folder.path());
    let rig = Rig::start(shell(&script));
    let arn = rig.launched(&run("t"));
    let [worker, child, escaped] = files.map(|file| number(&rig, &file));
    // Not by the double: as when the worker crashes.
    signal(worker, Signal::KILL);
    rig.status(&arn, "STOPPED");
    assert!(!is_alive(child), "it was in the worker's session");
    // The one that left the session and lost its parent gets away, as the module says.
    signal(escaped, Signal::KILL);
}

#[test]
fn a_dropped_double_leaves_no_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let (script, files) = with_children(folder.path());
    let rig = Rig::start(shell(&script));
    rig.launched(&run("t"));
    let pids = files.map(|file| number(&rig, &file));
    drop(rig);
    assert!(pids.iter().all(|pid| !is_alive(*pid)), "{pids:?}");
}

#[test]
fn a_worker_may_be_through_before_its_launch_is_answered() {
    let rig = Rig::start(Options { phases: Phases::default(), ..shell("sleep 0.2; exit 5") });
    rig.fault(json!({"fault": "LaunchAndFinishBeforeAnswer"}));
    let arn = rig.launched(&run("t"));
    let task = rig.task(&arn);
    assert_eq!((&task["lastStatus"], exit_code(&task)), (&json!("STOPPED"), &json!(5)));
}

#[test]
fn two_executions_of_one_token_are_counted() {
    let rig = Rig::start(shell("exit 0"));
    let arn = rig.launched(&run("t"));
    rig.status(&arn, "STOPPED");
    rig.advance(3600.0);
    let arn = rig.launched(&run("t"));
    rig.status(&arn, "STOPPED");
    let state = rig.double.state();
    assert_eq!((&state["executions"]["t"], &state["overlaps"]), (&json!(2), &json!(0)));
}

#[test]
fn time_may_run_faster() {
    let mut options = shell("trap '' TERM; while :; do sleep 0.01; done");
    options.time_scale = 2000;
    let rig = Rig::start(options);
    let arn = rig.launched(&run("t"));
    rig.status(&arn, "RUNNING");
    let since = Instant::now();
    rig.stop(&arn);
    rig.status(&arn, "STOPPED");
    rig.until("forgotten", |rig| rig.describe(&arn)["failures"].get(0).map(|_| ()));
    let took = since.elapsed();
    assert!(took >= Duration::from_millis(1800), "half a minute and an hour are 1.8 s, not {took:?}");
    assert!(took < Duration::from_secs(15), "{took:?}");
}
