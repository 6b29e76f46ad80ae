//! What the API checks, as a table of requests and answers.

use crate::rig::{Rig, quiet, run, with};
use serde_json::{Value, json};
use testbed::ecs::{Options, definition};

const NETWORK: &str = "networkConfiguration";

fn rig() -> Rig {
    let mut on_ec2 = definition("ec2", "worker");
    on_ec2["requiresCompatibilities"] = json!(["EC2"]);
    let mut without_role = definition("bare", "worker");
    without_role.as_object_mut().expect("an object").remove("taskRoleArn");
    let mut on_arm = definition("arm", "worker");
    on_arm["runtimePlatform"] = json!({"cpuArchitecture": "ARM64", "operatingSystemFamily": "LINUX"});
    let plain = [definition("worker", "worker"), definition("old", "worker")];
    let definitions = plain.into_iter().chain([on_ec2, without_role, on_arm]).collect();
    let subnets = Some((1..=17).map(|n| format!("subnet-{n}")).collect());
    let rig = Rig::start(Options { definitions, subnets, ..quiet() });
    rig.ok("DeregisterTaskDefinition", &json!({"taskDefinition": "old:1"}));
    rig
}

fn subnets(n: u32) -> Value {
    json!({"awsvpcConfiguration": {"subnets": (1..=n).map(|n| format!("subnet-{n}")).collect::<Vec<_>>()}})
}

fn environment(size: usize) -> Value {
    let variable = json!({"name": "V", "value": "x".repeat(size)});
    json!({"containerOverrides": [{"name": "worker", "environment": [variable]}]})
}

fn tags(n: u32) -> Value {
    (0..n).map(|n| json!({"key": format!("k{n}"), "value": "v"})).collect()
}

/// Why, what is other than in a good request, the code of the refusal ("" when it is accepted), some words.
type Row = (&'static str, Value, &'static str, &'static str);

fn identity() -> Vec<Row> {
    let (invalid, client) = ("InvalidParameterException", "ClientException");
    vec![
        ("a good request", json!({}), "", ""),
        ("a bare family is the latest revision", json!({"taskDefinition": "worker"}), "", ""),
        ("an unknown cluster", json!({"cluster": "other"}), "ClusterNotFoundException", "Cluster not found."),
        ("the default cluster is not there", json!({"cluster": null}), "ClusterNotFoundException", ""),
        ("no task definition", json!({"taskDefinition": null}), client, "can not be blank"),
        ("an unknown family", json!({"taskDefinition": "other"}), client, "TaskDefinition not found."),
        ("an unknown revision", json!({"taskDefinition": "worker:2"}), client, "TaskDefinition not found."),
        ("an inactive revision", json!({"taskDefinition": "old:1"}), invalid, "TaskDefinition is inactive"),
        ("a family with no active revision", json!({"taskDefinition": "old"}), client, "not found"),
        ("a definition for EC2", json!({"taskDefinition": "ec2:1"}), invalid, "does not support launch_type"),
        ("ten tasks", json!({"count": 10}), "", ""),
        ("eleven tasks", json!({"count": 11}), invalid, "between 1 and 10"),
        ("no task", json!({"count": 0}), invalid, "between 1 and 10"),
        ("a count that is no number", json!({"count": "1"}), "SerializationException", ""),
        ("a token of 64", json!({"clientToken": "t".repeat(64)}), "", ""),
        ("a token of 65", json!({"clientToken": "t".repeat(65)}), invalid, "clientToken"),
        ("an empty token", json!({"clientToken": ""}), invalid, "clientToken"),
        ("a blank in the token", json!({"clientToken": "a b"}), invalid, "clientToken"),
        ("a token beyond ASCII", json!({"clientToken": "\u{e9}"}), invalid, "clientToken"),
        ("startedBy of 128", json!({"startedBy": "j".repeat(128)}), "", ""),
        ("startedBy of 129", json!({"startedBy": "j".repeat(129)}), invalid, "startedBy"),
        ("startedBy with all it may have", json!({"startedBy": "aZ09-_/"}), "", ""),
        ("startedBy with a colon", json!({"startedBy": "job:1"}), invalid, "startedBy"),
        ("50 tags", json!({"tags": tags(50)}), "", ""),
        ("51 tags", json!({"tags": tags(51)}), invalid, "50"),
        ("a key of 129", json!({"tags": [{"key": "k".repeat(129)}]}), invalid, "128"),
        ("a value of 257", json!({"tags": [{"key": "k", "value": "v".repeat(257)}]}), invalid, "256"),
        ("a reserved key", json!({"tags": [{"key": "AWS:x"}]}), invalid, "aws:"),
        ("a key twice", json!({"tags": [{"key": "k"}, {"key": "k"}]}), invalid, "unique"),
        ("tags of a service", json!({"propagateTags": "SERVICE"}), invalid, "SERVICE"),
        ("tags of the definition", json!({"propagateTags": "TASK_DEFINITION"}), "", ""),
    ]
}

fn placement() -> Vec<Row> {
    let invalid = "InvalidParameterException";
    let by = |items: Value| json!({"launchType": null, "capacityProviderStrategy": items});
    let item = |name: &str, weight: i64| json!({"capacityProvider": name, "weight": weight});
    let both = json!({"capacityProviderStrategy": [item("FARGATE", 1)]});
    let bases = json!([
        {"capacityProvider": "FARGATE", "weight": 1, "base": 1},
        {"capacityProvider": "FARGATE_SPOT", "weight": 1, "base": 1},
    ]);
    let many = |n: usize| Value::from(vec![item("FARGATE", 1); n]);
    vec![
        ("a strategy and a launch type", both, invalid, "both a launch type and capacity provider strategy"),
        ("Spot", by(json!([item("FARGATE_SPOT", 1)])), "", ""),
        ("a strategy without weights", by(json!([{"capacityProvider": "FARGATE"}])), invalid, "weight"),
        ("a weight of 1001", by(json!([item("FARGATE", 1001)])), invalid, "1000"),
        ("a negative weight", by(json!([item("FARGATE", -1)])), invalid, "0 to 1000"),
        ("two bases", by(bases), invalid, "base"),
        ("an unknown provider", by(json!([item("mine", 1)])), invalid, "not associated with the cluster"),
        ("20 providers", by(many(20)), "", ""),
        ("21 providers", by(many(21)), invalid, "at most 20"),
        ("EC2", json!({"launchType": "EC2"}), invalid, "No Container Instances were found"),
        ("no such launch type", json!({"launchType": "MOON"}), invalid, "MOON"),
        ("platform 1.4.0", json!({"platformVersion": "1.4.0"}), "", ""),
        ("platform LATEST", json!({"platformVersion": "LATEST"}), "", ""),
        ("platform 9.9.9", json!({"platformVersion": "9.9.9"}), "PlatformUnknownException", ""),
        ("platform 1.3.0", json!({"platformVersion": "1.3.0"}), "", ""),
        ("ARM64 on platform LATEST", json!({"taskDefinition": "arm:1"}), "", ""),
        (
            "ARM64 on platform 1.3.0",
            json!({"taskDefinition": "arm:1", "platformVersion": "1.3.0"}),
            "PlatformTaskDefinitionIncompatibilityException",
            "",
        ),
        (
            "storage on platform 1.3.0",
            json!({"platformVersion": "1.3.0", "overrides": {"ephemeralStorage": {"sizeInGiB": 21}}}),
            "PlatformTaskDefinitionIncompatibilityException",
            "",
        ),
        (
            "Exec without a role",
            json!({"taskDefinition": "bare:1", "enableExecuteCommand": true}),
            invalid,
            "Role",
        ),
        ("Exec with a role", json!({"enableExecuteCommand": true}), "", ""),
    ]
}

fn network() -> Vec<Row> {
    let invalid = "InvalidParameterException";
    let vpc = |members: Value| json!({NETWORK: {"awsvpcConfiguration": members}});
    let groups = |n: usize| vpc(json!({"subnets": ["subnet-1"], "securityGroups": vec!["sg-1"; n]}));
    vec![
        ("no network", json!({NETWORK: null}), invalid, "Network Configuration must be provided"),
        ("an empty network", json!({NETWORK: {}}), invalid, "Network Configuration must be provided"),
        ("no subnet", vpc(json!({"subnets": []})), invalid, "subnets can not be empty."),
        ("16 subnets", json!({NETWORK: subnets(16)}), "", ""),
        ("17 subnets", json!({NETWORK: subnets(17)}), invalid, "subnets can have at most 16 items."),
        ("an unknown subnet", vpc(json!({"subnets": ["subnet-x"]})), invalid, "InvalidSubnetID.NotFound"),
        ("5 security groups", groups(5), "", ""),
        ("6 security groups", groups(6), invalid, "securityGroups can have at most 5 items."),
        (
            "a group that is none",
            vpc(json!({"subnets": ["subnet-1"], "securityGroups": ["x"]})),
            invalid,
            "InvalidGroup",
        ),
        ("a public IP", vpc(json!({"subnets": ["subnet-1"], "assignPublicIp": "ENABLED"})), "", ""),
        ("a public IP?", vpc(json!({"subnets": ["subnet-1"], "assignPublicIp": "yes"})), invalid, "yes"),
    ]
}

fn overrides() -> Vec<Row> {
    let (invalid, client) = ("InvalidParameterException", "ClientException");
    let punctuation = environment(0).to_string().len();
    let over = |all: Value| json!({"overrides": all});
    let unnamed = json!({"containerOverrides": [{"command": ["x"]}]});
    let unknown = json!({"containerOverrides": [{"name": "other"}]});
    let number =
        json!({"containerOverrides": [{"name": "worker", "environment": [{"name": "N", "value": 1}]}]});
    vec![
        ("overrides of 8192", over(environment(8192 - punctuation)), "", ""),
        (
            "overrides of 8193",
            over(environment(8193 - punctuation)),
            invalid,
            "Container Overrides length must be at most 8192",
        ),
        ("an override without a name", over(unnamed), invalid, "name"),
        (
            "an override of no container",
            over(unknown),
            invalid,
            "Override for container named other is not a container in the TaskDefinition.",
        ),
        ("a number in the environment", over(number), "SerializationException", ""),
        ("a size of Fargate", over(json!({"cpu": "1024", "memory": "8192"})), "", ""),
        ("a size in words", over(json!({"cpu": "1 vCPU", "memory": "8 GB"})), "", ""),
        (
            "no size of Fargate",
            over(json!({"cpu": "1024", "memory": "9216"})),
            client,
            "No Fargate configuration exists for given values: 1024 CPU, 9216 memory.",
        ),
        ("a size that does not fit the definition's", over(json!({"cpu": "4096"})), client, "512 memory"),
        (
            "a container larger than its task",
            over(json!({"containerOverrides": [{"name": "worker", "memory": 513}]})),
            invalid,
            "'memory' setting for container 'worker' is greater than for task.",
        ),
        ("no number", over(json!({"cpu": "much"})), client, "No Fargate configuration"),
        ("21 GiB", over(json!({"ephemeralStorage": {"sizeInGiB": 21}})), "", ""),
        ("20 GiB", over(json!({"ephemeralStorage": {"sizeInGiB": 20}})), invalid, "21 and 200"),
        ("201 GiB", over(json!({"ephemeralStorage": {"sizeInGiB": 201}})), invalid, "21 and 200"),
    ]
}

#[test]
fn run_task_checks_what_aws_documents() {
    let rig = rig();
    let rows = [identity(), placement(), network(), overrides()].concat();
    for (at, (why, members, code, words)) in rows.into_iter().enumerate() {
        let launched = rig.double.state()["launched"].as_u64().expect("a number");
        let body = with(run(&format!("t{at}")), members);
        if code.is_empty() {
            let answer = rig.ok("RunTask", &body);
            let count = usize::try_from(body["count"].as_u64().expect("a count")).expect("a count");
            assert_eq!(answer["tasks"].as_array().map(Vec::len), Some(count), "{why}: {answer}");
        } else {
            let (found, message) = rig.refused("RunTask", &body);
            assert_eq!(found, code, "{why}: {message}");
            assert!(message.contains(words), "{why}: {message}");
            assert_eq!(rig.double.state()["launched"], launched, "{why}");
        }
    }
}

/// Action, request, the code of the refusal, some words.
type Refusal = (&'static str, Value, &'static str, &'static str);

fn of_tasks() -> Vec<Refusal> {
    let invalid = "InvalidParameterException";
    let id = "0".repeat(32);
    let elsewhere = format!("arn:aws:ecs:us-east-1:111122223333:task/other/{id}");
    let ids = vec![id.clone(); 101];
    let cluster = |members: Value| with(json!({"cluster": "agent-runner"}), members);
    vec![
        ("DescribeTasks", json!({"tasks": [id]}), "ClusterNotFoundException", "Cluster not found."),
        ("DescribeTasks", cluster(json!({"tasks": []})), invalid, "Tasks cannot be empty."),
        ("DescribeTasks", cluster(json!({"tasks": ids})), invalid, "100"),
        (
            "DescribeTasks",
            cluster(json!({"tasks": ["short"]})),
            invalid,
            "taskId length should be one of [32,36]",
        ),
        (
            "DescribeTasks",
            cluster(json!({"tasks": [elsewhere]})),
            invalid,
            "Identifier is for cluster other.",
        ),
        ("StopTask", cluster(json!({"task": id})), invalid, "The referenced task was not found."),
        ("StopTask", cluster(json!({})), invalid, "blank"),
        ("StopTask", json!({"task": id}), "ClusterNotFoundException", ""),
        ("ListTasks", json!({}), "ClusterNotFoundException", ""),
        ("ListTasks", cluster(json!({"maxResults": 0})), invalid, "maxResults"),
        ("ListTasks", cluster(json!({"maxResults": 101})), invalid, "maxResults"),
        ("ListTasks", cluster(json!({"desiredStatus": "GONE"})), invalid, "desiredStatus"),
        ("ListTasks", cluster(json!({"nextToken": "x"})), invalid, "Invalid token"),
        ("ListTasks", cluster(json!({"serviceName": "s"})), "ServiceNotFoundException", ""),
        ("ListTasks", cluster(json!({"startedBy": "j", "family": "worker"})), invalid, "only filter"),
        ("ListTasks", cluster(json!({"startedBy": "j", "desiredStatus": "STOPPED"})), invalid, "only filter"),
        ("ListTasks", cluster(json!({"startedBy": "j", "launchType": "FARGATE"})), invalid, "only filter"),
        ("CreateCluster", json!({}), "UnknownOperationException", ""),
        ("", json!({}), "UnknownOperationException", ""),
        ("RunTask", json!([]), "SerializationException", ""),
    ]
}

fn of_definitions() -> Vec<Refusal> {
    let client = "ClientException";
    let one = json!([{"name": "c", "image": "i"}]);
    let fargate = |members: Value| {
        let good = json!({"family": "f", "cpu": "256", "memory": "512", "networkMode": "awsvpc",
            "requiresCompatibilities": ["FARGATE"], "containerDefinitions": one});
        with(good, members)
    };
    let slow = json!([{"name": "c", "image": "i", "stopTimeout": 121}]);
    vec![
        (
            "DescribeTaskDefinition",
            json!({"taskDefinition": "no"}),
            client,
            "Unable to describe task definition.",
        ),
        ("DeregisterTaskDefinition", json!({"taskDefinition": "worker"}), client, ""),
        ("RegisterTaskDefinition", fargate(json!({"family": "a b"})), client, "Family"),
        ("RegisterTaskDefinition", fargate(json!({"memory": "1536"})), client, "256 CPU, 1536 memory"),
        ("RegisterTaskDefinition", fargate(json!({"networkMode": "bridge"})), client, "network mode"),
        (
            "RegisterTaskDefinition",
            fargate(json!({"containerDefinitions": []})),
            client,
            "container definitions",
        ),
        ("RegisterTaskDefinition", fargate(json!({"containerDefinitions": slow})), client, "120"),
        (
            "RegisterTaskDefinition",
            fargate(json!({"containerDefinitions": [{"name": "c"}]})),
            client,
            "image",
        ),
    ]
}

#[test]
fn the_other_actions_check_what_aws_documents() {
    let rig = rig();
    for (action, body, code, words) in [of_tasks(), of_definitions()].concat() {
        let (found, message) = rig.refused(action, &body);
        assert_eq!(found, code, "{action} {body}: {message}");
        assert!(message.contains(words), "{action} {body}: {message}");
    }
}

#[test]
fn revisions_count_up_and_stay_pinned_and_inactive_ones_can_be_described() {
    let rig = rig();
    let register = |rig: &Rig| rig.ok("RegisterTaskDefinition", &definition("worker", "worker"));
    assert_eq!(register(&rig)["taskDefinition"]["revision"], 2);
    let arn = register(&rig)["taskDefinition"]["taskDefinitionArn"].clone();
    assert_eq!(arn, "arn:aws:ecs:us-east-1:111122223333:task-definition/worker:3");
    rig.ok("DeregisterTaskDefinition", &json!({"taskDefinition": arn}));
    let status = |name: &Value| {
        let found = rig.ok("DescribeTaskDefinition", &json!({"taskDefinition": name}));
        let found = &found["taskDefinition"];
        (found["revision"].clone(), found["status"].clone())
    };
    assert_eq!(status(&arn), (json!(3), json!("INACTIVE")));
    assert_eq!(status(&json!("worker")), (json!(2), json!("ACTIVE")));
    assert_eq!(register(&rig)["taskDefinition"]["revision"], 4, "a number is never used again");
    let pinned = rig.launched(&run("t"));
    assert!(rig.task(&pinned)["taskDefinitionArn"].as_str().is_some_and(|arn| arn.ends_with("worker:1")));
}
