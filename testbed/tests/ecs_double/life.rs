//! The life of a task.

use crate::rig::{Rig, quiet, run, with};
use serde_json::{Value, json};
use std::time::Duration;
use testbed::ecs::{Execution, Options, Phases};

fn options() -> Options {
    let second = |n| Duration::from_secs(n);
    let phases = Phases {
        provisioning: second(4),
        pending: second(14),
        pull: second(3),
        activating: second(2),
        deactivating: second(1),
        deprovisioning: second(11),
    };
    let execution = Execution::Simulated { lasts: second(100), exit_code: 3 };
    Options { phases, execution, ..quiet() }
}

fn status(task: &Value) -> (&str, &str) {
    (task["lastStatus"].as_str().expect("a status"), task["desiredStatus"].as_str().expect("a status"))
}

/// Seconds since the task was created.
fn at(task: &Value, name: &str) -> Option<i64> {
    let time = task.get(name)?.as_f64().expect("seconds");
    #[expect(clippy::cast_possible_truncation, reason = "a few hours")]
    Some((time - task["createdAt"].as_f64().expect("seconds")).round() as i64)
}

#[test]
fn a_task_goes_through_all_statuses_and_every_time_is_kept() {
    let rig = Rig::start(options());
    let arn = rig.launched(&run("t"));
    let steps = [
        (3.9, "PROVISIONING", "RUNNING"),
        (0.2, "PENDING", "RUNNING"),
        (16.8, "PENDING", "RUNNING"),
        (0.2, "ACTIVATING", "RUNNING"),
        (2.0, "RUNNING", "RUNNING"),
        (97.8, "RUNNING", "RUNNING"),
        (0.2, "DEACTIVATING", "STOPPED"),
        (1.0, "DEPROVISIONING", "STOPPED"),
        (10.8, "DEPROVISIONING", "STOPPED"),
        (0.2, "STOPPED", "STOPPED"),
    ];
    let mut version = 0;
    for (seconds, last, desired) in steps {
        rig.advance(seconds);
        let task = rig.task(&arn);
        assert_eq!(status(&task), (last, desired), "{task:#}");
        let next = task["version"].as_u64().expect("a number");
        assert!(next >= version, "{next} after {version}");
        version = next;
    }
    assert!(version >= 8, "every change of status counts: {version}");
    let task = rig.task(&arn);
    let times = ["connectivityAt", "pullStartedAt", "pullStoppedAt", "startedAt", "executionStoppedAt"];
    assert_eq!(times.map(|name| at(&task, name)), [4, 18, 21, 23, 121].map(Some));
    assert_eq!(["stoppingAt", "stoppedAt"].map(|name| at(&task, name)), [121, 133].map(Some));
    assert_eq!(task["stopCode"], "EssentialContainerExited");
    assert_eq!(task["stoppedReason"], "Essential container in task exited");
    assert_eq!(task["containers"][0]["exitCode"], 3);
    assert_eq!(task["containers"][0]["lastStatus"], "STOPPED");
}

#[test]
fn a_task_says_what_it_was_launched_with() {
    let rig = Rig::start(options());
    let body = with(
        run("t"),
        json!({
            "launchType": null,
            "capacityProviderStrategy": [{"capacityProvider": "FARGATE_SPOT", "weight": 1}],
            "group": null,
        }),
    );
    let body = with(body.clone(), {
        let mut overrides = body["overrides"].clone();
        overrides["cpu"] = json!("1024");
        overrides["memory"] = json!("2 GB");
        overrides["ephemeralStorage"] = json!({"sizeInGiB": 30});
        json!({"overrides": overrides})
    });
    let task = rig.task(&rig.launched(&body));
    assert_eq!(task["capacityProviderName"], "FARGATE_SPOT");
    assert_eq!((&task["cpu"], &task["memory"]), (&json!("1024"), &json!("2048")));
    assert_eq!(task["ephemeralStorage"]["sizeInGiB"], 30);
    assert_eq!(task["group"], "family:worker");
    assert_eq!(task["overrides"]["containerOverrides"], body["overrides"]["containerOverrides"]);
    assert_eq!(task["attachments"][0]["type"], "ElasticNetworkInterface");
    assert_eq!(task["platformVersion"], "1.4.0");
    assert!(task["containers"][0].get("exitCode").is_none(), "no exit code before it has run");
    let plain = rig.task(&rig.launched(&run("u")));
    assert!(plain.get("capacityProviderName").is_none(), "a launch type is no strategy");
    assert_eq!((&plain["launchType"], &plain["cpu"]), (&json!("FARGATE"), &json!("256")));
}

#[test]
fn a_strategy_is_followed_by_weight_and_base() {
    let rig = Rig::start(quiet());
    let spot = |strategy: Value, from: u32| {
        let body = json!({"launchType": null, "capacityProviderStrategy": strategy});
        let launched = (from..from + 60).map(|at| rig.launched(&with(run(&format!("t{at}")), body.clone())));
        launched.filter(|arn| rig.task(arn)["capacityProviderName"] == "FARGATE_SPOT").count()
    };
    let item = |name: &str, weight: u32, base: u32| json!({"capacityProvider": name, "weight": weight, "base": base});
    assert_eq!(spot(json!([item("FARGATE_SPOT", 1, 0), item("FARGATE", 0, 0)]), 0), 60);
    assert_eq!(spot(json!([item("FARGATE_SPOT", 1, 0), item("FARGATE", 1, 1)]), 100), 0);
    let some = spot(json!([item("FARGATE_SPOT", 2, 0), item("FARGATE", 1, 0)]), 200);
    assert!((20..60).contains(&some), "two of three, about: {some} of 60");
}

#[test]
fn a_task_that_is_stopped_before_it_started_has_no_exit_code() {
    for (wait, started) in [(0.0, false), (10.0, false), (22.0, true)] {
        let rig = Rig::start(options());
        let arn = rig.launched(&run("t"));
        rig.advance(wait);
        let answer = rig.stop(&arn);
        assert_eq!(answer["task"]["desiredStatus"], "STOPPED");
        rig.advance(10.8);
        assert_eq!(
            status(&rig.task(&arn)).0,
            "DEPROVISIONING",
            "a phase that was cut short ends no other one"
        );
        rig.advance(1.3);
        let task = rig.task(&arn);
        assert_eq!(status(&task), ("STOPPED", "STOPPED"), "after {wait} s: {task:#}");
        assert_eq!(
            (&task["stopCode"], &task["stoppedReason"]),
            (&json!("UserInitiated"), &json!("Cancelled"))
        );
        assert_eq!(task["containers"][0].get("exitCode").is_some(), started, "after {wait} s");
        assert_eq!(task.get("executionStoppedAt").is_some(), started);
        assert_eq!(rig.double.state()["executions"]["t"].is_u64(), started);
    }
}

#[test]
fn a_second_stop_changes_nothing_and_is_answered() {
    let rig = Rig::start(options());
    let arn = rig.launched(&run("t"));
    rig.advance(30.0);
    rig.stop(&arn);
    rig.advance(0.5);
    let again = json!({"cluster": "agent-runner", "task": arn, "reason": "Other"});
    assert_eq!(rig.ok("StopTask", &again)["task"]["stoppedReason"], "Cancelled");
    rig.advance(0.5);
    assert_eq!(status(&rig.task(&arn)).0, "DEPROVISIONING", "the second call has not begun anew");
    rig.advance(20.0);
    let stopped = rig.task(&arn);
    assert_eq!(stopped["containers"][0]["exitCode"], 143);
    assert_eq!(rig.ok("StopTask", &again)["task"]["lastStatus"], "STOPPED");
    assert_eq!(rig.task(&arn)["version"], stopped["version"]);
}

#[test]
fn the_worker_finds_its_task_at_the_metadata_endpoint() {
    let rig = Rig::start(options());
    let arn = rig.launched(&with(run("t"), json!({"tags": [{"key": "k", "value": "v"}]})));
    rig.advance(30.0);
    let base = format!("{}/v4/{}", rig.double.url(), arn.rsplit('/').next().expect("an id"));
    let task = rig.get(&format!("{base}/task")).body;
    assert_eq!(task["TaskARN"], arn);
    assert_eq!(task["Cluster"], "arn:aws:ecs:us-east-1:111122223333:cluster/agent-runner");
    assert_eq!((&task["Family"], &task["Revision"]), (&json!("worker"), &json!("1")));
    assert_eq!(task["Limits"], json!({"CPU": 0.25, "Memory": 512}));
    assert!(task["PullStartedAt"].as_str().is_some_and(|time| time.ends_with('Z')), "{task}");
    assert_eq!(rig.get(&format!("{base}/taskWithTags")).body["TaskTags"], json!({"k": "v"}));
    assert_eq!(rig.get(&base).body["Name"], "worker");
    assert_eq!(rig.get(&format!("{}/v4/other/task", rig.double.url())).status, 404);
}
