//! What RunTask remembers.

use crate::rig::{Rig, quiet, run, with};
use serde_json::{Value, json};
use testbed::ecs::Options;

const HOUR: f64 = 3600.0;

fn executions(rig: &Rig, token: &str) -> u64 {
    rig.double.state()["executions"][token].as_u64().unwrap_or(0)
}

#[test]
fn a_repeated_call_gets_the_first_answer_and_launches_nothing() {
    let rig = Rig::start(quiet());
    let first = rig.launched(&run("t"));
    let again = rig.ok("RunTask", &run("t"));
    assert_eq!(again["tasks"][0]["taskArn"], first);
    assert_eq!(again["tasks"][0]["startedBy"], "t/1", "a task that lives is returned whole");
    assert_eq!(again["failures"], json!([]));
    assert_eq!((rig.double.state()["launched"].clone(), executions(&rig, "t")), (json!(1), 1));
}

#[test]
fn the_order_of_members_is_no_difference_and_the_cluster_s_arn_is_its_name() {
    let rig = Rig::start(quiet());
    let first = rig.launched(&run("t"));
    let Value::Object(members) = run("t") else { unreachable!() };
    let pairs: Vec<String> = members.iter().rev().map(|(name, value)| format!("{name:?}:{value}")).collect();
    let turned = rig.try_raw("RunTask", &format!("{{{}}}", pairs.join(", "))).expect("an answer");
    assert_eq!(turned.body["tasks"][0]["taskArn"], first);
    let named = json!({"cluster": "arn:aws:ecs:us-east-1:111122223333:cluster/agent-runner"});
    assert_eq!(rig.launched(&with(run("t"), named)), first);
}

#[test]
fn other_parameters_with_a_known_token_are_a_conflict_that_names_the_task() {
    let rig = Rig::start(quiet());
    let first = rig.launched(&run("t"));
    for other in [json!({"count": 2}), json!({"startedBy": "x"}), json!({"taskDefinition": "worker"})] {
        let answer = rig.call("RunTask", &with(run("t"), other));
        assert_eq!((answer.status, &answer.body["__type"]), (400, &json!("ConflictException")));
        assert_eq!(answer.body["resourceIds"], json!([first]));
    }
    assert_eq!(rig.double.state()["launched"], 1);
}

#[test]
fn tokens_are_case_sensitive_and_belong_to_a_cluster() {
    let clusters = vec!["agent-runner".to_owned(), "other".to_owned()];
    let rig = Rig::start(Options { clusters, ..quiet() });
    let first = rig.launched(&run("token"));
    let upper = rig.launched(&with(run("token"), json!({"clientToken": "TOKEN"})));
    let other = rig.launched(&with(run("token"), json!({"cluster": "other"})));
    assert!(first != upper && first != other);
    assert!(other.contains(":task/other/"), "{other}");
}

#[test]
fn failures_are_replayed_with_the_same_token_and_a_new_one_gets_a_task() {
    let rig = Rig::start(quiet());
    rig.fault(json!({"fault": "NoCapacity"}));
    let first = rig.ok("RunTask", &run("t"));
    assert_eq!(first["tasks"], json!([]));
    assert_eq!(
        rig.ok("RunTask", &run("t")),
        first,
        "there is capacity by now, and the answer is the old one"
    );
    rig.launched(&run("u"));
    rig.advance(24.0 * HOUR - 1.0);
    assert_eq!(rig.ok("RunTask", &run("t")), first);
    rig.advance(1.0);
    rig.launched(&run("t"));
}

#[test]
fn a_token_is_forgotten_an_hour_after_its_task_stopped() {
    let rig = Rig::start(quiet());
    let first = rig.launched(&run("t"));
    rig.advance(60.0);
    assert_eq!(rig.task(&first)["lastStatus"], "STOPPED");
    rig.advance(HOUR - 1.0);
    let again = rig.ok("RunTask", &run("t"));
    let only = json!([{"taskArn": first, "lastStatus": "STOPPED", "desiredStatus": "STOPPED"}]);
    assert_eq!(again["tasks"], only, "of a stopped task three members are returned");
    rig.advance(1.0);
    assert_ne!(rig.launched(&run("t")), first);
    assert_eq!(executions(&rig, "t"), 2, "the trap that the start gate is for");
}

#[test]
fn the_last_of_several_tasks_decides_how_long_a_token_is_known() {
    let rig = Rig::start(quiet());
    let answer = rig.ok("RunTask", &with(run("t"), json!({"count": 2})));
    let arns: Vec<&str> = [0, 1].map(|n| answer["tasks"][n]["taskArn"].as_str().expect("an ARN")).into();
    rig.stop(arns[0]);
    rig.advance(30.0);
    rig.stop(arns[1]);
    rig.advance(HOUR - 1.0);
    assert_eq!(rig.describe(arns[0])["failures"][0]["reason"], "MISSING");
    assert_eq!(rig.ok("RunTask", &with(run("t"), json!({"count": 2})))["tasks"][0]["taskArn"], arns[0]);
    rig.advance(1.0);
    assert_ne!(rig.ok("RunTask", &with(run("t"), json!({"count": 2})))["tasks"][0]["taskArn"], arns[0]);
}

#[test]
fn a_token_is_forgotten_after_a_day_also_when_its_task_runs() {
    let mut options = quiet();
    options.execution = testbed::ecs::Execution::Simulated {
        lasts: std::time::Duration::from_secs(7 * 86_400),
        exit_code: 0,
    };
    let rig = Rig::start(options);
    let first = rig.launched(&run("t"));
    rig.advance(24.0 * HOUR - 1.0);
    assert_eq!(rig.launched(&run("t")), first);
    rig.advance(1.0);
    assert_ne!(rig.launched(&run("t")), first);
    assert_eq!(rig.double.state()["overlaps"], 1, "two of one startedBy at once are counted");
}

#[test]
fn a_refused_call_leaves_no_token_behind() {
    let rig = Rig::start(quiet());
    rig.refused("RunTask", &with(run("t"), json!({"count": 11})));
    rig.fault(json!({"fault": "Throttle"}));
    rig.refused("RunTask", &with(run("t"), json!({"count": 3})));
    rig.fault(json!({"fault": "Error500"}));
    assert_eq!(rig.call("RunTask", &with(run("t"), json!({"count": 4}))).status, 500);
    rig.launched(&run("t"));
}

#[test]
fn a_repetition_is_answered_although_the_definition_was_deregistered_since() {
    let rig = Rig::start(quiet());
    let first = rig.launched(&run("t"));
    rig.ok("DeregisterTaskDefinition", &json!({"taskDefinition": "worker:1"}));
    assert_eq!(rig.launched(&run("t")), first);
    assert_eq!(rig.refused("RunTask", &run("u")).1, "TaskDefinition is inactive");
}
