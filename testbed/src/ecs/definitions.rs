//! Task definitions: as much of them as running tasks needs.

use super::sizes;
use super::wire::{Answer, Refused};
use super::world::World;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// One revision.
#[derive(Debug)]
pub(crate) struct Definition {
    pub(crate) family: String,
    pub(crate) revision: u32,
    pub(crate) arn: String,
    /// As it was registered.
    pub(crate) body: Value,
    pub(crate) cpu: u32,
    pub(crate) memory: u32,
}

/// Seconds between SIGTERM and SIGKILL.
// Amazon ECS API reference, ContainerDefinition, `stopTimeout`: 30 s by default, at most 120 s on Fargate.
const STOP_TIMEOUT: (u64, u64) = (30, 120);

/// Containers in a task definition.
// Amazon ECS developer guide, service quotas.
const CONTAINERS: usize = 10;

impl Definition {
    pub(crate) fn containers(&self) -> &[Value] {
        self.body["containerDefinitions"].as_array().map_or(&[], Vec::as_slice)
    }

    pub(crate) fn container(&self, name: &str) -> Option<&Value> {
        self.containers().iter().find(|container| container["name"] == name)
    }

    /// The container that the double executes: the first essential one.
    pub(crate) fn main(&self) -> &Value {
        let essential = |container: &&Value| container["essential"].as_bool().unwrap_or(true);
        self.containers().iter().find(essential).unwrap_or(&self.containers()[0])
    }

    pub(crate) fn stop_timeout(&self) -> Duration {
        Duration::from_secs(self.main()["stopTimeout"].as_u64().unwrap_or(STOP_TIMEOUT.0))
    }

    pub(crate) fn on_fargate(&self) -> bool {
        let fits = self.body["requiresCompatibilities"].as_array();
        fits.is_some_and(|all| all.contains(&json!("FARGATE")))
    }

    /// X86_64 or ARM64.
    // Amazon ECS API reference, RuntimePlatform, `cpuArchitecture`.
    pub(crate) fn architecture(&self) -> &str {
        let given = self.body.pointer("/runtimePlatform/cpuArchitecture");
        given.and_then(Value::as_str).unwrap_or("X86_64")
    }

    fn view(&self, active: bool) -> Value {
        let mut view = self.body.clone();
        view["taskDefinitionArn"] = json!(self.arn);
        view["revision"] = json!(self.revision);
        view["status"] = json!(if active { "ACTIVE" } else { "INACTIVE" });
        view["compatibilities"] = json!(["EC2", "FARGATE"]);
        view
    }
}

/// All revisions, with whether they are ACTIVE.
pub(crate) type Definitions = BTreeMap<(String, u32), (Arc<Definition>, bool)>;

/// Family and revision of `family`, `family:revision` or an ARN.
pub(crate) fn parse(name: &str) -> (String, Option<u32>) {
    let name = name.rsplit_once("task-definition/").map_or(name, |(_, name)| name);
    match name.rsplit_once(':') {
        Some((family, revision)) => (family.to_owned(), Some(revision.parse().unwrap_or(0))),
        None => (name.to_owned(), None),
    }
}

impl World {
    /// The named revision, or "the latest ACTIVE revision" (Amazon ECS API reference, RunTask,
    /// `taskDefinition`); with whether it is ACTIVE.
    pub(crate) fn definition(&self, name: &str) -> Option<(Arc<Definition>, bool)> {
        match parse(name) {
            (family, Some(revision)) => self.definitions.get(&(family, revision)).cloned(),
            (family, None) => {
                let all = self.definitions.range((family.clone(), 0)..=(family, u32::MAX));
                all.map(|(_, found)| found).rfind(|(_, active)| *active).cloned()
            }
        }
    }

    // Amazon ECS API reference, RegisterTaskDefinition.
    pub(crate) fn register(&mut self, request: &Value) -> Answer {
        let family = request["family"].as_str().unwrap_or_default();
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        if family.is_empty() || family.len() > 255 || !family.chars().all(fits) {
            // Words: ours.
            return Err(Refused::client(
                "Family must be 1 to 255 letters, numbers, hyphens and underscores.",
            ));
        }
        let containers = request["containerDefinitions"].as_array().map_or(0, Vec::len);
        if containers == 0 || containers > CONTAINERS {
            // Words: ours.
            return Err(Refused::client("Task definition must have 1 to 10 container definitions."));
        }
        let (cpu, memory) = size(request)?;
        check_containers(request)?;
        let last = self.definitions.range((family.to_owned(), 0)..=(family.to_owned(), u32::MAX));
        // A revision number is never used again, also when all of them are INACTIVE.
        let revision = last.last().map_or(1, |((_, revision), _)| revision + 1);
        let arn = format!("{}:task-definition/{family}:{revision}", self.arn_prefix());
        let mut body = request.clone();
        body.as_object_mut().map(|body| body.remove("tags"));
        let definition = Arc::new(Definition { family: family.to_owned(), revision, arn, body, cpu, memory });
        let view = definition.view(true);
        self.definitions.insert((family.to_owned(), revision), (definition, true));
        Ok(json!({"taskDefinition": view, "tags": request.get("tags").cloned().unwrap_or(json!([]))}))
    }

    // Amazon ECS API reference, DescribeTaskDefinition: INACTIVE revisions stay discoverable.
    pub(crate) fn describe_definition(&mut self, request: &Value) -> Answer {
        let name = request["taskDefinition"].as_str().unwrap_or_default();
        let Some((found, active)) = self.definition(name) else {
            // Words: sil-org/ecs-deploy issue 145.
            return Err(Refused::client("Unable to describe task definition."));
        };
        let mut answer = json!({"taskDefinition": found.view(active)});
        if request["include"].as_array().is_some_and(|all| all.contains(&json!("TAGS"))) {
            answer["tags"] = json!([]);
        }
        Ok(answer)
    }

    // Amazon ECS API reference, DeregisterTaskDefinition: family and revision are needed; INACTIVE revisions
    // run no new tasks, running ones go on.
    pub(crate) fn deregister(&mut self, request: &Value) -> Answer {
        let (family, revision) = parse(request["taskDefinition"].as_str().unwrap_or_default());
        let found = revision.and_then(|revision| self.definitions.get_mut(&(family, revision)));
        let Some((definition, active)) = found else {
            // Words: ours.
            return Err(Refused::client("The specified task definition does not exist."));
        };
        *active = false;
        Ok(json!({"taskDefinition": definition.view(false)}))
    }
}

fn size(request: &Value) -> Result<(u32, u32), Refused> {
    let fargate = request["requiresCompatibilities"].as_array();
    let fargate = fargate.is_some_and(|all| all.contains(&json!("FARGATE")));
    let cpu = request["cpu"].as_str().map(|text| sizes::cpu(text).unwrap_or(0));
    let memory = request["memory"].as_str().map(|text| sizes::memory(text).unwrap_or(0));
    let (cpu, memory) = (cpu.unwrap_or(0), memory.unwrap_or(0));
    if fargate && !sizes::exists(cpu, memory) {
        return Err(no_such_size(cpu, memory));
    }
    // Amazon ECS API reference, RegisterTaskDefinition, `networkMode`: awsvpc is required on Fargate.
    if fargate && request["networkMode"] != "awsvpc" {
        // Words: ours.
        return Err(Refused::client("Fargate only supports network mode ‘awsvpc’."));
    }
    Ok((cpu, memory))
}

/// No such size on Fargate.
// Words: aws-games/cloud-game-development-toolkit issue 737 (RegisterTaskDefinition).
pub(crate) fn no_such_size(cpu: u32, memory: u32) -> Refused {
    Refused::client(format!(
        "No Fargate configuration exists for given values: {cpu} CPU, {memory} memory. See the Amazon ECS \
         documentation for the valid values."
    ))
}

fn check_containers(request: &Value) -> Result<(), Refused> {
    for container in request["containerDefinitions"].as_array().into_iter().flatten() {
        if container["name"].as_str().unwrap_or_default().is_empty()
            || container["image"].as_str().unwrap_or_default().is_empty()
        {
            // Amazon ECS API reference, ContainerDefinition, `name` and `image`. Words: ours.
            return Err(Refused::client("Container.name and Container.image must not be empty."));
        }
        if container["stopTimeout"].as_u64().is_some_and(|seconds| seconds > STOP_TIMEOUT.1) {
            // Words: ours.
            return Err(Refused::client("stopTimeout must be at most 120 seconds on Fargate."));
        }
    }
    Ok(())
}
