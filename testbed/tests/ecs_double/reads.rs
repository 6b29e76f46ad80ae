//! What DescribeTasks and ListTasks see, and when.

use crate::rig::{Rig, quiet, run, with};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;
use testbed::ecs::{Lag, Options};

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn a_new_task_is_missing_for_a_while_and_listed_later_still() {
    let lag = Lag { describe: seconds(2), list: seconds(5) };
    let rig = Rig::start(Options { lag, ..quiet() });
    let arn = rig.launched(&run("t"));
    let stop = json!({"cluster": "agent-runner", "task": arn});
    let missing = json!([{"arn": arn, "reason": "MISSING"}]);
    rig.advance(1.9);
    assert_eq!(rig.describe(&arn)["failures"], missing);
    assert_eq!(rig.describe(&arn)["tasks"], json!([]));
    assert_eq!(rig.refused("StopTask", &stop).1, "The referenced task was not found.");
    rig.advance(0.1);
    assert_eq!(rig.task(&arn)["taskArn"], arn);
    rig.advance(2.9);
    assert_eq!(rig.list(json!({})), Vec::<String>::new());
    assert_eq!(rig.list(json!({"startedBy": "t/1"})), Vec::<String>::new());
    rig.advance(0.1);
    assert_eq!(rig.list(json!({})), std::slice::from_ref(&arn));
    assert_eq!(rig.list(json!({"startedBy": "t/1"})), [arn]);
}

#[test]
fn a_task_that_was_stopped_is_listed_as_running_for_a_while() {
    let lag = Lag { describe: seconds(0), list: seconds(5) };
    let rig = Rig::start(Options { lag, ..quiet() });
    let arn = rig.launched(&run("t"));
    rig.advance(10.0);
    rig.stop(&arn);
    rig.advance(4.9);
    assert_eq!(rig.task(&arn)["lastStatus"], "STOPPED");
    assert_eq!(rig.list(json!({})), std::slice::from_ref(&arn));
    assert_eq!(rig.list(json!({"desiredStatus": "STOPPED"})), Vec::<String>::new());
    rig.advance(0.1);
    assert_eq!(rig.list(json!({})), Vec::<String>::new());
    assert_eq!(rig.list(json!({"desiredStatus": "STOPPED"})), [arn]);
}

#[test]
fn a_stopped_task_is_remembered_for_an_hour() {
    let rig = Rig::start(quiet());
    let arn = rig.launched(&run("t"));
    rig.stop(&arn);
    rig.advance(3599.0);
    assert_eq!(rig.task(&arn)["lastStatus"], "STOPPED");
    assert_eq!(rig.list(json!({"desiredStatus": "STOPPED"})), std::slice::from_ref(&arn));
    rig.advance(1.0);
    assert_eq!(rig.describe(&arn)["failures"], json!([{"arn": arn, "reason": "MISSING"}]));
    assert_eq!(rig.list(json!({"desiredStatus": "STOPPED"})), Vec::<String>::new());
    let stop = json!({"cluster": "agent-runner", "task": arn});
    assert_eq!(rig.refused("StopTask", &stop).1, "The referenced task was not found.");
}

#[test]
fn a_stopped_task_cannot_be_found_by_started_by() {
    let rig = Rig::start(quiet());
    let arn = rig.launched(&run("t"));
    let other = rig.launched(&run("u"));
    assert_eq!(rig.list(json!({"startedBy": "t/1"})), std::slice::from_ref(&arn));
    rig.stop(&arn);
    assert_eq!(rig.list(json!({"startedBy": "t/1"})), Vec::<String>::new());
    assert_eq!(rig.list(json!({})), [other], "the default is the desired status RUNNING");
    assert_eq!(rig.list(json!({"desiredStatus": "PENDING"})), Vec::<String>::new());
    assert_eq!(rig.list(json!({"family": "other"})), Vec::<String>::new());
    assert_eq!(rig.list(json!({"family": "worker", "desiredStatus": "STOPPED"})), [arn]);
}

#[test]
fn lists_come_in_pages_of_at_most_a_hundred_without_gap_or_repetition() {
    let rig = Rig::start(quiet());
    let mut all = BTreeSet::new();
    for at in 0..25 {
        let answer = rig.ok("RunTask", &with(run(&format!("t{at}")), json!({"count": 10, "startedBy": "j"})));
        for task in answer["tasks"].as_array().expect("tasks") {
            all.insert(task["taskArn"].as_str().expect("an ARN").to_owned());
        }
    }
    for filters in [json!({}), json!({"startedBy": "j"}), json!({"maxResults": 7})] {
        let most = filters["maxResults"].as_u64().unwrap_or(100);
        assert_eq!(pages(&rig, &filters, most), all, "{filters}");
    }
}

fn pages(rig: &Rig, filters: &Value, most: u64) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut body = with(json!({"cluster": "agent-runner"}), filters.clone());
    loop {
        let page = rig.ok("ListTasks", &body);
        let arns = page["taskArns"].as_array().expect("ARNs");
        assert!(arns.len() as u64 <= most, "{} on a page", arns.len());
        for arn in arns {
            assert!(found.insert(arn.as_str().expect("an ARN").to_owned()), "{arn} twice");
        }
        let Some(next) = page.get("nextToken") else { return found };
        assert!(!arns.is_empty());
        body["nextToken"] = next.clone();
    }
}

#[test]
fn pages_may_be_shorter_than_asked_for() {
    let rig = Rig::start(Options { short_pages: true, ..quiet() });
    rig.ok("RunTask", &with(run("t"), json!({"count": 10})));
    let page = rig.ok("ListTasks", &json!({"cluster": "agent-runner", "maxResults": 10}));
    assert_eq!(page["taskArns"].as_array().map(Vec::len), Some(5));
    assert!(page["nextToken"].is_string());
    assert_eq!(pages(&rig, &json!({"maxResults": 10}), 10).len(), 10);
}

#[test]
fn a_hundred_tasks_are_described_at_once_and_tags_only_when_asked_for() {
    let rig = Rig::start(quiet());
    let tagged = json!({"count": 10, "tags": [{"key": "k", "value": "v"}]});
    let mut arns = Vec::new();
    for at in 0..10 {
        let answer = rig.ok("RunTask", &with(run(&format!("t{at}")), tagged.clone()));
        arns.extend(answer["tasks"].as_array().expect("tasks").iter().map(|task| task["taskArn"].clone()));
    }
    arns[50] = json!("0".repeat(32));
    let answer = rig.ok("DescribeTasks", &json!({"cluster": "agent-runner", "tasks": arns}));
    assert_eq!(answer["tasks"].as_array().map(Vec::len), Some(99));
    assert_eq!(answer["failures"].as_array().map(Vec::len), Some(1));
    assert!(answer["tasks"].as_array().expect("tasks").iter().all(|task| task["tags"] == json!([])));
    let arn = arns[0].as_str().expect("an ARN");
    assert_eq!(rig.task(arn)["tags"], json!([{"key": "k", "value": "v"}]));
    let id = arn.rsplit('/').next().expect("an id");
    assert_eq!(rig.task(id)["taskArn"], arn, "an id will do");
}

#[test]
fn stop_task_deletes_the_tags_and_leaves_started_by() {
    let rig = Rig::start(quiet());
    let arn = rig.launched(&with(run("t"), json!({"tags": [{"key": "k", "value": "v"}]})));
    rig.stop(&arn);
    let task = rig.task(&arn);
    assert_eq!((&task["tags"], &task["startedBy"]), (&json!([]), &json!("t/1")));
    let other = rig.launched(&with(run("u"), json!({"tags": [{"key": "k", "value": "v"}]})));
    rig.advance(60.0);
    let task = rig.task(&other);
    assert_eq!(task["lastStatus"], "STOPPED");
    assert_eq!(task["tags"], json!([{"key": "k", "value": "v"}]), "only StopTask deletes them");
}
