//! Throttles and quotas.

use crate::rig::{Rig, quiet, run, with};
use serde_json::{Value, json};
use std::time::Duration;
use testbed::ecs::{Execution, Options, Quotas, Rate};

const APOSTROPHE: &str = "You\u{2019}ve reached the limit on the number of vCPUs you can run concurrently";

/// How many of `n` calls pass.
fn passing(rig: &Rig, action: &str, n: usize, body: impl Fn(usize) -> Value) -> usize {
    let mut passed = 0;
    for at in 0..n {
        let answer = rig.call(action, &body(at));
        if answer.status == 200 {
            passed += 1;
        } else {
            assert_eq!(answer.status, 400);
            assert_eq!(answer.body, json!({"__type": "ThrottlingException", "message": "Rate exceeded"}));
        }
    }
    passed
}

fn at_default() -> Rig {
    Rig::start(Options { quotas: Quotas::default(), ..quiet() })
}

#[test]
fn run_task_passes_twenty_times_at_once_and_twenty_times_a_second() {
    let rig = at_default();
    let launch = |from: usize, n: usize| passing(&rig, "RunTask", n, |at| run(&format!("t{}", from + at)));
    assert_eq!(launch(0, 30), 20);
    rig.advance(0.5);
    assert_eq!(launch(100, 15), 10);
    rig.advance(60.0);
    assert_eq!(launch(200, 30), 20, "the burst does not grow");
    let calls = &rig.double.state()["calls"]["RunTask"];
    assert_eq!((&calls["total"], &calls["ok"], &calls["throttled"]), (&json!(75), &json!(50), &json!(25)));
}

#[test]
fn run_task_and_stop_task_share_the_bucket_of_modify_actions() {
    let modify = Rate { burst: 10, per_second: 4 };
    let rig = Rig::start(Options { quotas: Quotas { modify, ..Quotas::none() }, ..quiet() });
    let arn = rig.launched(&run("t"));
    let stop = json!({"cluster": "agent-runner", "task": arn});
    assert_eq!(passing(&rig, "StopTask", 20, |_| stop.clone()), 9);
    assert_eq!(passing(&rig, "RunTask", 1, |_| run("u")), 0);
    let describe = json!({"cluster": "agent-runner", "tasks": [arn]});
    assert_eq!(passing(&rig, "DescribeTasks", 20, |_| describe.clone()), 20, "reads have another bucket");
    rig.advance(1.0);
    assert_eq!(passing(&rig, "RunTask", 9, |at| run(&format!("v{at}"))), 4);
}

#[test]
fn describe_and_list_share_the_bucket_of_reads() {
    let rig = at_default();
    let list = json!({"cluster": "agent-runner"});
    let describe = json!({"cluster": "agent-runner", "tasks": ["0".repeat(32)]});
    assert_eq!(passing(&rig, "ListTasks", 60, |_| list.clone()), 60);
    assert_eq!(passing(&rig, "DescribeTasks", 60, |_| describe.clone()), 40);
    rig.advance(1.0);
    assert_eq!(passing(&rig, "ListTasks", 30, |_| list.clone()), 20);
}

#[test]
fn launched_tasks_have_a_bucket_and_spot_has_its_own() {
    let rate = Rate { burst: 20, per_second: 5 };
    let rig = Rig::start(Options {
        quotas: Quotas { launches: rate, spot_launches: rate, ..Quotas::none() },
        ..quiet()
    });
    let ten = |at: usize| with(run(&format!("t{at}")), json!({"count": 10}));
    assert_eq!(passing(&rig, "RunTask", 5, ten), 2);
    let strategy = json!([{"capacityProvider": "FARGATE_SPOT", "weight": 1}]);
    let spot = json!({"launchType": null, "capacityProviderStrategy": strategy});
    assert_eq!(passing(&rig, "RunTask", 5, |at| with(ten(at + 10), spot.clone())), 2);
    rig.advance(2.0);
    assert_eq!(passing(&rig, "RunTask", 5, |at| ten(at + 20)), 1);
    rig.ok("RunTask", &ten(0));
}

#[test]
fn a_full_vcpu_quota_is_a_failure_in_a_good_answer() {
    let quotas = Quotas { vcpus: Some(1), spot_vcpus: Some(6), ..Quotas::none() };
    let rig = Rig::start(Options { quotas, ..quiet() });
    let answer = rig.ok("RunTask", &with(run("t"), json!({"count": 6})));
    assert_eq!(answer["tasks"].as_array().map(Vec::len), Some(4), "four of 0.25 vCPU");
    assert_eq!(answer["failures"], json!([{"reason": APOSTROPHE}, {"reason": APOSTROPHE}]));
    let full = rig.ok("RunTask", &run("u"));
    assert_eq!((&full["tasks"], &full["failures"]), (&json!([]), &json!([{"reason": APOSTROPHE}])));
    let strategy = json!([{"capacityProvider": "FARGATE_SPOT", "weight": 1}]);
    rig.launched(&with(run("v"), json!({"launchType": null, "capacityProviderStrategy": strategy})));
    rig.stop(answer["tasks"][0]["taskArn"].as_str().expect("an ARN"));
    rig.launched(&run("w"));
}

#[test]
fn a_thousand_tasks_at_the_quota_take_fifty_virtual_seconds() {
    let execution = Execution::Simulated { lasts: Duration::from_secs(30), exit_code: 0 };
    let rig = Rig::start(Options { quotas: Quotas::default(), execution, ..quiet() });
    let mut launched = passing(&rig, "RunTask", 20, |at| run(&format!("t{at}")));
    for step in 1..50 {
        rig.advance(1.0);
        launched += passing(&rig, "RunTask", 20, |at| run(&format!("t{step}-{at}")));
    }
    assert_eq!(launched, 1000);
    rig.advance(30.0);
    assert_eq!(rig.double.state()["by_status"], json!({"STOPPED": 1000}));
}
