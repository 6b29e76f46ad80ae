//! Scripted faults.

use crate::rig::{Rig, quiet, run, with};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use testbed::ecs::{Execution, Options, Phases};

fn lasting(seconds: u64) -> Options {
    Options {
        execution: Execution::Simulated { lasts: Duration::from_secs(seconds), exit_code: 0 },
        ..quiet()
    }
}

fn reason(answer: &Value) -> &str {
    answer["failures"][0]["reason"].as_str().expect("a reason")
}

#[test]
fn refusals_inside_a_good_answer_have_the_words_of_aws() {
    let rig = Rig::start(quiet());
    rig.fault(json!({"fault": "NoCapacity", "times": 2}));
    let words =
        "Capacity is unavailable at this time. Please try again later or in a different availability zone";
    assert_eq!(reason(&rig.ok("RunTask", &run("a"))), words);
    let several = rig.ok("RunTask", &with(run("b"), json!({"count": 3})));
    assert_eq!(several["failures"].as_array().map(Vec::len), Some(3));
    rig.fault(json!({"fault": "QuotaExhausted"}));
    let words = reason(&rig.ok("RunTask", &run("c"))).to_owned();
    assert_eq!(words, "You\u{2019}ve reached the limit on the number of vCPUs you can run concurrently");
    rig.launched(&run("d"));
    assert_eq!(rig.double.state()["launched"], 1);
}

#[test]
fn errors_are_answered_and_nothing_is_done() {
    let rig = Rig::start(quiet());
    let refuse =
        json!({"fault": "Refuse", "code": "BlockedException", "message": "Your account is blocked."});
    let rows = [
        (json!({"fault": "Throttle"}), 400, "ThrottlingException", "Rate exceeded"),
        (refuse, 400, "BlockedException", "Your account is blocked."),
        (json!({"fault": "Error500"}), 500, "ServerException", ""),
    ];
    for (fault, status, code, words) in rows {
        rig.fault(fault);
        let answer = rig.call("RunTask", &run("t"));
        assert_eq!((answer.status, &answer.body["__type"]), (status, &json!(code)));
        assert!(answer.body["message"].as_str().is_some_and(|message| message.contains(words)));
        assert_eq!(rig.double.state()["launched"], 0);
    }
    rig.launched(&run("t"));
}

#[test]
fn a_dropped_answer_was_applied_and_a_dropped_request_was_not() {
    let rig = Rig::start(quiet());
    rig.fault(json!({"fault": "DropAnswerAfterApplying"}));
    rig.try_call("RunTask", &run("t")).expect_err("no answer");
    assert_eq!(rig.double.state()["launched"], 1);
    rig.launched(&run("t"));
    assert_eq!(rig.double.state()["launched"], 1, "the repetition found it");
    rig.fault(json!({"fault": "DropRequest"}));
    rig.try_call("RunTask", &run("u")).expect_err("no answer");
    assert_eq!(rig.double.state()["launched"], 1);
    assert_eq!(rig.double.state()["calls"]["RunTask"]["dropped"], 2);
    rig.fault(json!({"fault": "DropAnswerAfterApplying", "action": "StopTask"}));
    let arn = rig.launched(&run("u"));
    rig.try_call("StopTask", &json!({"cluster": "agent-runner", "task": arn})).expect_err("no answer");
    assert_eq!(rig.task(&arn)["desiredStatus"], "STOPPED");
}

#[test]
fn faults_strike_only_the_calls_that_they_name() {
    let rig = Rig::start(quiet());
    rig.fault(json!({"fault": "Throttle", "token": "b"}));
    rig.fault(json!({"fault": "NoCapacity", "started_by": "c/"}));
    rig.launched(&run("a"));
    assert_eq!(rig.refused("RunTask", &run("b")).0, "ThrottlingException");
    rig.launched(&run("b"));
    assert_eq!(rig.ok("RunTask", &run("c"))["tasks"], json!([]));
    let (first, second) = (rig.launched(&run("d")), rig.launched(&run("e")));
    rig.fault(json!({"fault": "Throttle", "action": "StopTask", "task": second}));
    rig.stop(&first);
    let stop = json!({"cluster": "agent-runner", "task": second});
    assert_eq!(rig.refused("StopTask", &stop).0, "ThrottlingException");
    rig.fault(json!({"fault": "Error500", "action": "*"}));
    assert_eq!(rig.call("ListTasks", &json!({"cluster": "agent-runner"})).status, 500);
}

#[test]
fn a_repetition_from_memory_uses_up_no_fault_of_launches() {
    let rig = Rig::start(quiet());
    let first = rig.launched(&run("t"));
    rig.fault(json!({"fault": "NoCapacity"}));
    assert_eq!(rig.launched(&run("t")), first);
    assert_eq!(rig.ok("RunTask", &run("u"))["tasks"], json!([]));
}

#[test]
fn one_in_so_many_calls_is_struck() {
    let rig = Rig::start(quiet());
    rig.fault(json!({"fault": "Throttle", "times": 1000, "one_in": 3}));
    let struck = (0..90).filter(|at| rig.call("RunTask", &run(&format!("t{at}"))).status == 400).count();
    assert!((10..60).contains(&struck), "a third, about: {struck} of 90");
}

#[test]
fn a_late_answer_was_applied_at_once_and_a_late_request_is_applied_late() {
    let rig = Rig::start(Options { time_scale: 1, ..lasting(600) });
    rig.fault(json!({"fault": "Delay", "seconds": 0.3}));
    let since = Instant::now();
    std::thread::scope(|scope| {
        let call = scope.spawn(|| rig.launched(&run("t")));
        rig.until("the launch", |rig| (rig.double.state()["launched"] == 1).then_some(()));
        assert!(!call.is_finished(), "it is there before the answer");
    });
    assert!(since.elapsed() >= Duration::from_millis(300));
    rig.fault(json!({"fault": "DelayRequest", "seconds": 0.3}));
    let since = Instant::now();
    let config = ureq::Agent::config_builder().timeout_global(Some(Duration::from_millis(50)));
    let hasty: ureq::Agent = config.build().into();
    let target = "AmazonEC2ContainerServiceV20141113.RunTask";
    let request = hasty.post(rig.double.url()).header("x-amz-target", target);
    request.send(run("u").to_string()).expect_err("too late");
    assert_eq!(rig.double.state()["launched"], 1);
    rig.until("the launch", |rig| (rig.double.state()["launched"] == 2).then_some(()));
    assert!(since.elapsed() >= Duration::from_millis(300), "its caller had gone away long before");
}

#[test]
fn a_task_may_vanish_and_its_token_with_it_an_hour_later() {
    let rig = Rig::start(quiet());
    rig.fault(json!({"fault": "Vanish"}));
    let arn = rig.launched(&run("t"));
    rig.advance(3599.0);
    assert_eq!(rig.describe(&arn)["failures"], json!([{"arn": arn, "reason": "MISSING"}]));
    assert_eq!(rig.list(json!({"startedBy": "t/1"})), Vec::<String>::new());
    assert_eq!(rig.launched(&run("t")), arn);
    rig.advance(1.0);
    assert_ne!(rig.launched(&run("t")), arn);
    assert_eq!(rig.double.state()["executions"]["t"], 1, "the first never ran");
}

#[test]
fn a_launch_may_be_late_or_over_before_it_is_answered() {
    let rig = Rig::start(Options { phases: Phases::default(), ..quiet() });
    rig.fault(json!({"fault": "LaunchAfter", "seconds": 120, "token": "late"}));
    rig.fault(json!({"fault": "LaunchAndFinishBeforeAnswer", "token": "early"}));
    let late = rig.launched(&run("late"));
    let answer = rig.ok("RunTask", &run("early"));
    let early = answer["tasks"][0]["taskArn"].as_str().expect("an ARN");
    assert_eq!(answer["tasks"][0]["lastStatus"], "PROVISIONING", "the answer is as old as the task");
    assert_eq!(rig.task(early)["lastStatus"], "STOPPED");
    rig.advance(120.0);
    assert_eq!(rig.task(&late)["lastStatus"], "PROVISIONING");
    rig.advance(30.0);
    assert_eq!(rig.task(&late)["lastStatus"], "RUNNING");
}

#[test]
fn a_task_that_does_not_start_says_why_at_the_task_and_at_the_container() {
    let rig = Rig::start(quiet());
    let words = "Timeout waiting for network interface provisioning to complete.";
    rig.fault(json!({"fault": "FailToStart"}));
    rig.fault(json!({"fault": "FailToStart", "reason": words, "token": "b"}));
    for (token, reason) in [("a", "CannotPullContainerError"), ("b", words)] {
        let arn = rig.launched(&run(token));
        let task = rig.task(&arn);
        assert_eq!(
            (&task["lastStatus"], &task["stopCode"]),
            (&json!("STOPPED"), &json!("TaskFailedToStart"))
        );
        for text in [&task["stoppedReason"], &task["containers"][0]["reason"]] {
            assert!(text.as_str().is_some_and(|text| text.starts_with(reason)), "{text}");
        }
        assert!(task["containers"][0].get("exitCode").is_none());
        assert!(task.get("startedAt").is_none());
    }
    assert_eq!(rig.double.state()["executions"], json!({}));
}

#[test]
fn spot_takes_a_task_back_with_its_own_stop_code() {
    let rig = Rig::start(lasting(600));
    rig.fault(json!({"fault": "SpotInterrupt", "seconds": 30}));
    let (first, second) = (rig.launched(&run("a")), rig.launched(&run("b")));
    rig.advance(29.0);
    assert_eq!(rig.task(&first)["desiredStatus"], "RUNNING");
    rig.advance(1.0);
    rig.fault(json!({"fault": "SpotInterrupt", "task": second}));
    rig.advance(0.0);
    for arn in [first, second] {
        let task = rig.task(&arn);
        assert_eq!((&task["lastStatus"], &task["stopCode"]), (&json!("STOPPED"), &json!("SpotInterruption")));
        assert_eq!(task["stoppedReason"], "Your Spot Task was interrupted.");
        assert_eq!(task["containers"][0]["exitCode"], 143);
    }
}

#[test]
fn a_task_may_be_missing_for_a_while_and_a_token_or_a_stopped_task_forgotten() {
    let rig = Rig::start(lasting(600));
    let arn = rig.launched(&run("t"));
    rig.fault(json!({"fault": "Missing", "task": arn, "seconds": 40}));
    assert_eq!(rig.describe(&arn)["failures"][0]["reason"], "MISSING");
    assert_eq!(rig.list(json!({})), Vec::<String>::new());
    rig.advance(40.0);
    assert_eq!(rig.list(json!({})), std::slice::from_ref(&arn));
    let forget = json!({"faults": [{"fault": "Forget", "task": arn}]});
    assert_eq!(rig.admin("faults", forget.clone()).status, 400, "it has not stopped");
    rig.stop(&arn);
    assert_eq!(rig.admin("faults", forget).status, 200);
    assert_eq!(rig.describe(&arn)["failures"][0]["reason"], "MISSING");
    rig.advance(3590.0);
    assert_eq!(rig.launched(&run("t")), arn, "the token outlives the task for an hour after its stop");
    rig.fault(json!({"fault": "Forget", "token": "t"}));
    assert_ne!(rig.launched(&run("t")), arn);
}

#[test]
fn a_killed_container_is_reported_as_out_of_memory() {
    let rig = Rig::start(lasting(600));
    let arn = rig.launched(&run("t"));
    rig.fault(json!({"fault": "KillTask", "task": arn, "seconds": 5}));
    rig.advance(5.0);
    let task = rig.task(&arn);
    assert_eq!(
        (&task["lastStatus"], &task["stopCode"]),
        (&json!("STOPPED"), &json!("EssentialContainerExited"))
    );
    assert_eq!(task["containers"][0]["exitCode"], 137);
    assert_eq!(task["containers"][0]["reason"], "OutOfMemoryError: Container killed due to memory usage");
    rig.fault(json!({"fault": "KillTask", "reason": ""}));
    let task = rig.task(&rig.launched(&run("u")));
    assert_eq!(task["containers"][0]["exitCode"], 137);
    assert!(task["containers"][0].get("reason").is_none(), "killed, and nobody says why");
}

#[test]
fn a_script_with_a_mistake_is_refused_as_a_whole() {
    let rig = Rig::start(quiet());
    let good = json!({"fault": "Throttle"});
    let wrong = [
        json!({"fault": "Trottle"}),
        json!({"fault": "Throttle", "tokn": "x"}),
        json!({"fault": "Refuse"}),
        json!({"fault": "NoCapacity", "action": "StopTask"}),
        json!({"fault": "Forget"}),
        json!({"fault": "Delay", "seconds": -1}),
        json!({"fault": "KillTask", "task": "none"}),
    ];
    for fault in wrong {
        let answer = rig.admin("faults", json!({"faults": [good, fault]}));
        assert_eq!(answer.status, 400, "{fault}");
        assert!(answer.body["error"].is_string());
    }
    assert_eq!(rig.double.state()["faults"], json!([]));
    rig.fault(good);
    assert_eq!(rig.admin("faults", json!({"faults": [], "clear": true})).body["waiting"], json!([]));
    assert_eq!(rig.admin("advance", json!({"seconds": "much"})).status, 400);
    rig.launched(&run("t"));
}
