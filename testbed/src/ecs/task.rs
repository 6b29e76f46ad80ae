//! One task, and how the API shows it.

use super::clock::{Millis, iso, seconds};
use super::definitions::Definition;
use super::process::Alive;
use super::request::Tag;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;

/// `lastStatus`.
// Amazon ECS developer guide, "Amazon ECS task lifecycle".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Status {
    Provisioning,
    Pending,
    Activating,
    Running,
    Deactivating,
    Stopping,
    Deprovisioning,
    Stopped,
}

impl Status {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Provisioning => "PROVISIONING",
            Self::Pending => "PENDING",
            Self::Activating => "ACTIVATING",
            Self::Running => "RUNNING",
            Self::Deactivating => "DEACTIVATING",
            Self::Stopping => "STOPPING",
            Self::Deprovisioning => "DEPROVISIONING",
            Self::Stopped => "STOPPED",
        }
    }

    /// That of the container.
    fn of_container(self, started: bool) -> &'static str {
        match self {
            Self::Provisioning | Self::Pending | Self::Activating => "PENDING",
            Self::Running | Self::Deactivating => "RUNNING",
            Self::Stopping if started => "RUNNING",
            Self::Stopping | Self::Deprovisioning | Self::Stopped => "STOPPED",
        }
    }
}

/// When things happened.
#[derive(Debug, Clone, Default)]
pub(crate) struct Times {
    pub(crate) created: Millis,
    pub(crate) connected: Option<Millis>,
    pub(crate) pull_started: Option<Millis>,
    pub(crate) pull_stopped: Option<Millis>,
    pub(crate) started: Option<Millis>,
    pub(crate) stopping: Option<Millis>,
    pub(crate) execution_stopped: Option<Millis>,
    pub(crate) stopped: Option<Millis>,
}

/// What the container is doing.
#[derive(Debug)]
pub(crate) enum Container {
    /// Not yet started.
    Waiting,
    /// A simulated one runs.
    Simulated,
    /// A process runs.
    Process(Alive),
    /// It never ran, or it ended.
    Gone,
}

/// What a fault does to a task.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fate {
    /// PROVISIONING lasts so much longer.
    pub(crate) launch_after: Duration,
    /// It does not start, for this reason.
    pub(crate) fail_to_start: Option<String>,
    /// No phase takes time.
    pub(crate) at_once: bool,
    /// Its container is killed so long after it was started, for this reason.
    pub(crate) kill: Option<(Duration, String)>,
}

/// A task.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) id: String,
    pub(crate) arn: String,
    pub(crate) cluster: String,
    pub(crate) cluster_arn: String,
    pub(crate) definition: Arc<Definition>,
    pub(crate) version: u64,
    pub(crate) last: Status,
    /// False: the desired status is STOPPED.
    pub(crate) wanted: bool,
    pub(crate) overrides: Value,
    pub(crate) started_by: Option<String>,
    pub(crate) group: String,
    pub(crate) tags: Vec<Tag>,
    pub(crate) client_token: Option<String>,
    /// FARGATE or FARGATE_SPOT.
    pub(crate) provider: &'static str,
    /// It was launched by a strategy.
    pub(crate) by_strategy: bool,
    pub(crate) platform: String,
    pub(crate) cpu: u32,
    pub(crate) memory: u32,
    pub(crate) storage: u64,
    pub(crate) execute_command: bool,
    pub(crate) subnet: String,
    pub(crate) number: u64,
    pub(crate) times: Times,
    pub(crate) stop_code: Option<&'static str>,
    pub(crate) stopped_reason: Option<String>,
    pub(crate) exit_code: Option<i32>,
    pub(crate) container_reason: Option<String>,
    pub(crate) container: Container,
    pub(crate) fate: Fate,
    /// DescribeTasks says MISSING and ListTasks leaves it out until then.
    pub(crate) hidden_until: Millis,
    /// Timers of an older generation are void.
    pub(crate) generation: u32,
}

impl Task {
    pub(crate) fn is_stopped(&self) -> bool {
        self.last == Status::Stopped
    }

    pub(crate) fn desired(&self) -> &'static str {
        if self.wanted { "RUNNING" } else { "STOPPED" }
    }

    pub(crate) fn is_alive(&self) -> bool {
        matches!(self.container, Container::Simulated | Container::Process(_))
    }

    /// The task as DescribeTasks and RunTask show it; `time` writes a timestamp.
    // Amazon ECS API reference, Task.
    fn view(&self, time: fn(Millis) -> Value) -> Value {
        let mut view = json!({
            "taskArn": self.arn,
            "clusterArn": self.cluster_arn,
            "taskDefinitionArn": self.definition.arn,
            "lastStatus": self.last.word(),
            "desiredStatus": self.desired(),
            "version": self.version,
            "createdAt": time(self.times.created),
            "cpu": self.cpu.to_string(),
            "memory": self.memory.to_string(),
            "group": self.group,
            "launchType": "FARGATE",
            "platformVersion": self.platform,
            "platformFamily": "Linux",
            "connectivity": "CONNECTED",
            "enableExecuteCommand": self.execute_command,
            "healthStatus": "UNKNOWN",
            "availabilityZone": self.zone(),
            "ephemeralStorage": {"sizeInGiB": self.storage},
            "overrides": self.overrides,
            "attachments": [self.attachment()],
            "attributes": [{
                "name": "ecs.cpu-architecture", "value": self.definition.architecture().to_lowercase(),
            }],
            "inferenceAccelerators": [],
            "containers": self.containers(),
        });
        let Value::Object(members) = &mut view else { return view };
        self.add_optional(members, time);
        view
    }

    fn add_optional(&self, members: &mut Map<String, Value>, time: fn(Millis) -> Value) {
        let mut add = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                members.insert(name.to_owned(), value);
            }
        };
        add("startedBy", self.started_by.clone().map(Value::from));
        add("capacityProviderName", self.by_strategy.then(|| self.provider.into()));
        add("stopCode", self.stop_code.map(Value::from));
        add("stoppedReason", self.stopped_reason.clone().map(Value::from));
        add("connectivityAt", self.times.connected.map(time));
        add("pullStartedAt", self.times.pull_started.map(time));
        add("pullStoppedAt", self.times.pull_stopped.map(time));
        add("startedAt", self.times.started.map(time));
        add("stoppingAt", self.times.stopping.map(time));
        add("executionStoppedAt", self.times.execution_stopped.map(time));
        add("stoppedAt", self.times.stopped.map(time));
    }

    /// The answer's view.
    pub(crate) fn described(&self, with_tags: bool) -> Value {
        let mut view = self.view(seconds);
        view["tags"] = if with_tags { json!(self.tags) } else { json!([]) };
        view
    }

    /// The `detail` of an event.
    // Amazon ECS developer guide, "Amazon ECS task state change events": the Task object, with ISO 8601 times
    // and `updatedAt`.
    pub(crate) fn detail(&self, now: Millis) -> Value {
        let mut view = self.view(iso);
        view["updatedAt"] = iso(now);
        view
    }

    fn zone(&self) -> String {
        let letter = ["a", "b", "c"][usize::try_from(self.number % 3).unwrap_or(0)];
        let region = self.arn.split(':').nth(3).unwrap_or_default();
        format!("{region}{letter}")
    }

    fn address(&self) -> String {
        format!("10.0.{}.{}", self.number / 250 % 250, self.number % 250 + 4)
    }

    fn attachment(&self) -> Value {
        let status = match self.last {
            Status::Provisioning => "PRECREATED",
            Status::Deprovisioning => "DETACHING",
            Status::Stopped => "DELETED",
            _ => "ATTACHED",
        };
        let detail = |name: &str, value: String| json!({"name": name, "value": value});
        let mut details = vec![detail("subnetId", self.subnet.clone())];
        if self.times.connected.is_some() {
            details.push(detail("networkInterfaceId", format!("eni-{:017x}", self.number)));
            details.push(detail("privateIPv4Address", self.address()));
        }
        json!({
            "id": format!("{:08x}-0000-4000-8000-{:012x}", self.number, self.number),
            "type": "ElasticNetworkInterface",
            "status": status,
            "details": details,
        })
    }

    fn containers(&self) -> Vec<Value> {
        let main = self.definition.main()["name"].clone();
        let all = self.definition.containers().iter().map(|container| {
            let (started, ended) =
                (self.times.pull_stopped.is_some(), self.times.execution_stopped.is_some());
            let mut view = json!({
                "containerArn": format!("{}/{}", self.arn.replacen(":task/", ":container/", 1), self.number),
                "taskArn": self.arn,
                "name": container["name"],
                "image": container["image"],
                "lastStatus": self.last.of_container(started && !ended),
                "networkInterfaces": [],
                "healthStatus": "UNKNOWN",
                "cpu": container["cpu"].as_u64().unwrap_or(0).to_string(),
            });
            if self.times.connected.is_some() {
                view["networkInterfaces"] =
                    json!([{"attachmentId": self.attachment()["id"], "privateIpv4Address": self.address()}]);
            }
            if started {
                view["runtimeId"] = json!(format!("{}-{:010}", self.id, self.number));
            }
            if container["name"] == main {
                // "exitCode is absent when the container never started".
                if let Some(code) = self.exit_code {
                    view["exitCode"] = code.into();
                }
                if let Some(reason) = &self.container_reason {
                    view["reason"] = json!(reason);
                }
            }
            view
        });
        all.collect()
    }
}
