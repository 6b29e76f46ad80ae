//! The task definitions that jobs are launched from. They are asked for once, at the start: what a revision says
//! never changes.

use super::answer::words;
use super::price::{Billed, on_demand, price};
use super::request::{Request, Size};
use super::{EcsError, EcsOptions};
use aws_sdk_ecs::Client;
use aws_sdk_ecs::types::{CpuArchitecture, TaskDefinition};
use backends::settings::EcsSettings;
use contract::Desired;
use contract::desired::Capacity;
use std::collections::BTreeMap;
use std::time::Duration;

/// How often a definition is asked for before the start is given up, and the pause in between.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);

/// What requests are made from.
pub(super) struct Definitions {
    cluster: String,
    settings: EcsSettings,
    /// Of job types that have their own: definition and security groups.
    of_types: BTreeMap<String, (String, Vec<String>)>,
    defaults: BTreeMap<String, Default>,
}

/// What a definition says of its tasks.
#[derive(Debug, Clone, Copy)]
struct Default {
    cpu: u32,
    memory_mib: u32,
    storage_gib: u32,
    arm: bool,
}

impl Definitions {
    /// Asks ECS for every definition that jobs can be launched from.
    pub(super) async fn read(client: &Client, options: &EcsOptions) -> Result<Self, EcsError> {
        let settings = options.settings.clone();
        let mut of_types = BTreeMap::new();
        for (name, of_type) in &options.job_types.types {
            if of_type.task_definition.is_some() || !of_type.security_groups.is_empty() {
                let definition =
                    of_type.task_definition.clone().unwrap_or_else(|| settings.task_definition.clone());
                let mut groups = of_type.security_groups.clone();
                if groups.is_empty() {
                    groups.clone_from(&settings.security_groups);
                }
                groups.sort();
                of_types.insert(name.clone(), (definition, groups));
            }
        }
        let mut defaults = BTreeMap::new();
        let names = of_types.values().map(|(definition, _)| definition).chain([&settings.task_definition]);
        for name in names {
            if !defaults.contains_key(name) {
                let found = ask(client, name, &settings.container).await;
                let found = found.map_err(|why| EcsError { definition: name.clone(), why })?;
                defaults.insert(name.clone(), found);
            }
        }
        Ok(Self { cluster: options.cluster.clone(), settings, of_types, defaults })
    }

    /// CPU units and MiB of a task that asks for no other size. `None`: of a definition that no job is launched from
    /// now.
    pub(super) fn size(&self, definition: &str) -> Option<(u32, u32)> {
        self.defaults.get(definition).map(|default| (default.cpu, default.memory_mib))
    }

    /// The request for a job.
    pub(super) fn request(&self, desired: &Desired) -> Request {
        let s = &self.settings;
        let (definition, groups) = match self.of_types.get(&desired.job_type) {
            Some((definition, groups)) => (definition, groups),
            None => (&s.task_definition, &s.security_groups),
        };
        let default = self.defaults.get(definition);
        let size = desired.resources.as_ref();
        let billed = Billed {
            cpu: size.map_or(default.map_or(0, |d| d.cpu), |r| r.cpu),
            memory_mib: size.map_or(default.map_or(0, |d| d.memory_mib), |r| r.memory_mib),
            storage_gib: size
                .and_then(|r| r.ephemeral_storage_gib)
                .unwrap_or(default.map_or(0, |d| d.storage_gib)),
            public_ip: s.assign_public_ip,
        };
        let prices = match desired.capacity {
            Capacity::OnDemand => on_demand(s.prices, default.is_some_and(|d| d.arm)),
            Capacity::Spot | Capacity::SpotThenOnDemand => s.spot_prices,
        };
        let mut request =
            Request::new(&self.cluster, definition, &s.container, price(billed, prices)).on(desired.capacity);
        request.subnets.clone_from(&s.subnets);
        request.security_groups.clone_from(groups);
        request.public_ip = s.assign_public_ip;
        request.resources = size.map(Size::from);
        request
    }
}

async fn ask(client: &Client, name: &str, container: &str) -> Result<Default, String> {
    let mut why = String::new();
    for attempt in 0..TRIES {
        if attempt > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        match client.describe_task_definition().task_definition(name).send().await {
            Ok(answer) => {
                let found = answer.task_definition.ok_or("ECS described nothing")?;
                return check(&found, container);
            }
            Err(error) => why = words(&error),
        }
    }
    Err(why)
}

fn check(found: &TaskDefinition, container: &str) -> Result<Default, String> {
    let names: Vec<&str> = found.container_definitions().iter().filter_map(|c| c.name()).collect();
    if !names.contains(&container) {
        let names = names.join(", ");
        return Err(format!("it has no container {container:?} (AGENT_RUNNER_ECS_CONTAINER), but {names}"));
    }
    // Written in units and MiB, or with a unit of its own: "1 vCPU", "0.5GB" (RegisterTaskDefinition).
    let (cpu, memory) = (found.cpu().and_then(units), found.memory().and_then(units));
    let (Some(cpu), Some(memory_mib)) = (cpu, memory) else {
        return Err("it names no cpu and memory for the task, which Fargate needs".into());
    };
    let storage = found.ephemeral_storage().and_then(|s| u32::try_from(s.size_in_gib()).ok());
    let platform = found.runtime_platform().and_then(|p| p.cpu_architecture());
    Ok(Default {
        cpu,
        memory_mib,
        storage_gib: storage.unwrap_or(20),
        arm: platform == Some(&CpuArchitecture::Arm64),
    })
}

fn units(text: &str) -> Option<u32> {
    let text = text.trim().to_ascii_lowercase();
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
    if number.len() == text.len() {
        return text.parse().ok();
    }
    let units = number.parse::<f64>().ok().filter(|n| (0.0..1024.0).contains(n))? * 1024.0;
    Some(units.round() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_and_without_a_unit() {
        for (text, found) in
            [("256", Some(256)), ("1 vCPU", Some(1024)), (".25 vcpu", Some(256)), ("0.5GB", Some(512))]
        {
            assert_eq!(units(text), found, "{text}");
        }
        assert_eq!(units("much"), None);
    }
}
