//! Tasks as real containers: MiniStack's ECS starts them on the Docker engine that `DOCKER_HOST` names, if a client of
//! Docker is installed beside it (testbed/requirements/containers.txt).
//!
//! # Where it deviates from ECS on Fargate
//! Seen with MiniStack 1.5.33; what else its ECS lacks is why there is a double ([`crate::ecs`]).
//! * The network of the request is ignored. Containers share that of the host, for which the definition says `host`,
//!   which Fargate refuses: otherwise they could not reach a server on 127.0.0.1.
//! * StopTask answers with STOPPED, exit code 0 and `executionStoppedAt` at once. Only then does the container get
//!   SIGTERM, and SIGKILL after 5 s whatever `stopTimeout` says; how it really ended is told nowhere.
//! * Environment of the task's role: `AWS_CONTAINER_CREDENTIALS_FULL_URI` where Fargate has
//!   `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI`, and `AWS_ENDPOINT_URL` beside it.
//! * The metadata endpoint tells nothing of the image's pull.
//! * No "ECS Task State Change" events: ends are found by listings.
//! * A repeated client token starts a second task, and no request is refused.

use super::Ministack;
use serde_json::{Value, json};
use std::process::Command;

/// The task definition's family, and the name of its container.
const FAMILY: &str = "agent-runner-worker";
const CONTAINER: &str = "worker";
/// The emulator's account, unless credentials name another.
const ACCOUNT: &str = "000000000000";
/// Where containers' output goes.
const LOG_GROUP: &str = "/agent-runner/worker";

/// Makes the cluster, the log group and revision 1 of the workers' task definition: what infra/terraform/worker.tf has,
/// but for the network.
pub(super) fn prepare(server: &Ministack, image: &str, environment: &[(String, String)]) {
    let _ = ecs(server, "CreateCluster", &json!({"clusterName": "agent-runner"}));
    // The role's credentials come from the emulator, as on Fargate, and not from here.
    let ours = environment.iter().filter(|(name, _)| {
        name.starts_with("AGENT_RUNNER_") || name.starts_with("AWS_ENDPOINT_URL_") || name == "AWS_REGION"
    });
    let _ = server.call("logs", "Logs_20140328.CreateLogGroup", &json!({"logGroupName": LOG_GROUP}));
    let environment: Vec<Value> = ours.map(|(name, value)| json!({"name": name, "value": value})).collect();
    let logs =
        json!({"awslogs-group": LOG_GROUP, "awslogs-region": "us-east-1", "awslogs-stream-prefix": "worker"});
    let container = json!({
        "name": CONTAINER,
        "image": image,
        "essential": true,
        "environment": environment,
        "stopTimeout": 120,
        "logConfiguration": {"logDriver": "awslogs", "options": logs},
    });
    let definition = json!({
        "family": FAMILY,
        "cpu": "256",
        "memory": "512",
        "networkMode": "host",
        "requiresCompatibilities": ["FARGATE"],
        "containerDefinitions": [container],
    });
    let made = ecs(server, "RegisterTaskDefinition", &definition);
    assert_eq!(made["taskDefinition"]["revision"], 1, "{made}");
}

fn ecs(server: &Ministack, action: &str, body: &Value) -> Value {
    server.call("ecs", &format!("AmazonEC2ContainerServiceV20141113.{action}"), body)
}

/// A task, as ECS and the engine show it.
#[derive(Debug, Clone)]
pub struct ContainerTask {
    id: String,
}

impl ContainerTask {
    /// The task of this ARN.
    ///
    /// # Panics
    /// When it is none of this account's.
    #[must_use]
    pub fn new(arn: &str) -> Self {
        let of_cluster = format!("arn:aws:ecs:us-east-1:{ACCOUNT}:task/agent-runner/");
        Self { id: arn.strip_prefix(&of_cluster).unwrap_or_else(|| panic!("no task: {arn:?}")).to_owned() }
    }

    /// The name of its container, as MiniStack makes it.
    fn name(&self) -> String {
        format!("ministack-ecs-{}-{CONTAINER}", &self.id[..8])
    }

    /// What the engine says of its container; null if there is none (any more).
    ///
    /// # Panics
    /// When the engine does not answer.
    #[must_use]
    pub fn inspect(&self) -> Value {
        let all = docker(&["ps", "--all", "--quiet", "--filter", &format!("name=^{}$", self.name())]);
        if all.is_empty() {
            return Value::Null;
        }
        // Between the two it may have been removed.
        let inspected = Command::new("docker").args(["inspect", &self.name()]).output().expect("docker");
        let found: Value = serde_json::from_slice(&inspected.stdout).unwrap_or_default();
        found[0].clone()
    }

    /// Kills what runs in its container.
    ///
    /// # Panics
    /// When nothing does.
    pub fn kill(&self) {
        let _ = docker(&["kill", &self.name()]);
    }

    /// What its container wrote, as the driver `awslogs` has shipped it.
    ///
    /// # Panics
    /// When there is no stream.
    #[must_use]
    pub fn shipped(&self, server: &Ministack) -> String {
        let stream = format!("worker/{CONTAINER}/{}", self.id);
        let body = json!({"logGroupName": LOG_GROUP, "logStreamName": stream, "startFromHead": true});
        let answer = server.call("logs", "Logs_20140328.GetLogEvents", &body);
        let events = answer["events"].as_array().cloned().unwrap_or_default();
        events.iter().fold(String::new(), |text, e| text + e["message"].as_str().unwrap_or_default() + "\n")
    }

    /// What ECS says of it.
    ///
    /// # Panics
    /// When it does not know it.
    #[must_use]
    pub fn described(&self, server: &Ministack) -> Value {
        let answer = ecs(server, "DescribeTasks", &json!({"cluster": "agent-runner", "tasks": [self.id]}));
        assert!(answer["tasks"][0].is_object(), "{answer}");
        answer["tasks"][0].clone()
    }
}

/// Containers of an image, running ones or all.
///
/// # Panics
/// When the engine does not answer.
#[must_use]
pub fn containers_of(image: &str, all: bool) -> Vec<String> {
    let ancestor = format!("ancestor={image}");
    let mut arguments = vec!["ps", "--quiet", "--filter", &ancestor];
    arguments.extend(all.then_some("--all"));
    docker(&arguments).lines().map(str::to_owned).collect()
}

fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output().expect("docker is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "docker {arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
