//! The launch request: what is stored in a claim, and the RunTask call that it means. Both are pure functions of
//! what is stored, because ECS answers a repeated token with a conflict unless every parameter is the same.

use super::price::PerHour;
use aws_sdk_ecs::operation::run_task::builders::RunTaskInputBuilder;
use aws_sdk_ecs::types::{
    AssignPublicIp, AwsVpcConfiguration, CapacityProviderStrategyItem, ContainerOverride, EphemeralStorage,
    KeyValuePair, LaunchType, NetworkConfiguration, PropagateTags, Tag, TaskOverride,
};
use contract::desired::{Capacity, Resources};
use contract::{JobId, JsonText, LaunchRequest, LaunchToken};
use serde::{Deserialize, Serialize};

/// The name of this runtime in a launch request.
const RUNTIME: &str = "ecs";
/// Names of the override's environment; a task is told from others by them.
pub(super) const JOB_ID: &str = "AGENT_RUNNER_JOB_ID";
pub(super) const LAUNCH_TOKEN: &str = "AGENT_RUNNER_LAUNCH_TOKEN";

/// A stored launch request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    runtime: String,
    /// Name or ARN.
    pub(super) cluster: String,
    /// With its revision.
    pub(super) task_definition: String,
    /// The container that is the worker.
    pub(super) container: String,
    /// Sorted.
    pub(super) subnets: Vec<String>,
    /// Sorted.
    pub(super) security_groups: Vec<String>,
    pub(super) public_ip: bool,
    pub(super) spot: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) resources: Option<Size>,
    /// What a task of this request costs; not sent.
    pub(super) price: PerHour,
}

/// The size of a task that differs from its definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Size {
    pub(super) cpu: u32,
    pub(super) memory_mib: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ephemeral_storage_gib: Option<u32>,
}

impl From<&Resources> for Size {
    fn from(r: &Resources) -> Self {
        Self { cpu: r.cpu, memory_mib: r.memory_mib, ephemeral_storage_gib: r.ephemeral_storage_gib }
    }
}

impl Request {
    /// A request for a task of `task_definition` in `cluster`.
    pub(super) fn new(cluster: &str, task_definition: &str, container: &str, price: PerHour) -> Self {
        Self {
            runtime: RUNTIME.to_owned(),
            cluster: cluster.to_owned(),
            task_definition: task_definition.to_owned(),
            container: container.to_owned(),
            subnets: Vec::new(),
            security_groups: Vec::new(),
            public_ip: false,
            spot: false,
            resources: None,
            price,
        }
    }

    /// On Spot or on demand.
    pub(super) fn on(mut self, capacity: Capacity) -> Self {
        self.spot = capacity != Capacity::OnDemand;
        self
    }

    /// The text to store.
    pub(super) fn stored(&self) -> LaunchRequest {
        let text = serde_json::to_string(self).ok().and_then(|text| JsonText::new(text).ok());
        LaunchRequest(text.expect("a struct of strings and numbers is JSON"))
    }

    /// Reads a stored request. `None`: it was made for another runtime, or by hand.
    pub(super) fn read(stored: &LaunchRequest) -> Option<Self> {
        serde_json::from_str::<Self>(stored.0.as_str()).ok().filter(|request| request.runtime == RUNTIME)
    }

    /// The call.
    pub(super) fn call(&self, job_id: &JobId, token: &LaunchToken) -> RunTaskInputBuilder {
        let network = AwsVpcConfiguration::builder()
            .set_subnets(Some(self.subnets.clone()))
            .set_security_groups(Some(self.security_groups.clone()).filter(|groups| !groups.is_empty()))
            .assign_public_ip(if self.public_ip { AssignPublicIp::Enabled } else { AssignPublicIp::Disabled })
            .build()
            .ok();
        let network = NetworkConfiguration::builder().set_awsvpc_configuration(network).build();
        let call = RunTaskInputBuilder::default()
            .cluster(&self.cluster)
            .task_definition(&self.task_definition)
            .count(1)
            .client_token(token.as_str())
            .started_by(started_by(job_id, token))
            .network_configuration(network)
            .overrides(self.overrides(job_id, token))
            .propagate_tags(PropagateTags::TaskDefinition)
            .tags(tag("agent-runner:job-id", job_id.as_str()))
            .tags(tag("agent-runner:attempt", token.prefix()));
        if self.spot {
            // Spot is reached by a strategy only, and through the API a weight is 0 unless one is given.
            let spot =
                CapacityProviderStrategyItem::builder().capacity_provider("FARGATE_SPOT").weight(1).build();
            call.set_capacity_provider_strategy(spot.ok().map(|item| vec![item]))
        } else {
            call.launch_type(LaunchType::Fargate)
        }
    }

    fn overrides(&self, job_id: &JobId, token: &LaunchToken) -> TaskOverride {
        let pair = |name: &str, value: &str| KeyValuePair::builder().name(name).value(value).build();
        let worker = ContainerOverride::builder()
            .name(&self.container)
            .environment(pair(JOB_ID, job_id.as_str()))
            .environment(pair(LAUNCH_TOKEN, token.as_str()))
            .build();
        let overrides = TaskOverride::builder().container_overrides(worker);
        let Some(size) = self.resources else { return overrides.build() };
        let storage = size.ephemeral_storage_gib.and_then(|gib| i32::try_from(gib).ok());
        overrides
            .cpu(size.cpu.to_string())
            .memory(size.memory_mib.to_string())
            .set_ephemeral_storage(storage.map(|gib| EphemeralStorage::builder().size_in_gib(gib).build()))
            .build()
    }
}

/// The mark of an attempt on its tasks, by which running ones are found: 73 characters at most, of the 128 that
/// ECS allows. The whole token is a capability, so it is not in it.
pub(super) fn started_by(job_id: &JobId, token: &LaunchToken) -> String {
    format!("{job_id}/{}", token.prefix())
}

fn tag(key: &str, value: &str) -> Tag {
    Tag::builder().key(key).value(value).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Request {
        let price = PerHour { micros_per_hour: 12_343, least_seconds: 60 };
        let mut request = Request::new("c", "worker:7", "worker", price).on(Capacity::Spot);
        request.subnets = vec!["subnet-a".into(), "subnet-b".into()];
        request.resources = Some(Size { cpu: 512, memory_mib: 2048, ephemeral_storage_gib: Some(30) });
        request
    }

    #[test]
    fn a_stored_request_is_read_as_it_was_and_makes_the_same_call() {
        let stored = request().stored();
        assert_eq!(Request::read(&stored), Some(request()));
        let (job_id, token) = (JobId::new("j".repeat(64)).unwrap(), LaunchToken::from_bits(7));
        let call = || Request::read(&stored).unwrap().call(&job_id, &token).build().unwrap();
        assert_eq!(call(), call());
        assert_eq!(call().client_token(), Some(token.as_str()));
        assert_eq!(call().started_by(), Some(&*format!("{}/{}", "j".repeat(64), token.prefix())));
        assert_eq!((call().count(), call().launch_type()), (Some(1), None));
        assert_eq!(call().capacity_provider_strategy()[0].weight(), 1);
        let overrides = call().overrides().cloned().unwrap();
        assert_eq!((overrides.cpu(), overrides.memory()), (Some("512"), Some("2048")));
    }

    #[test]
    fn requests_of_other_runtimes_are_not_ours() {
        for text in ["{}", "{\"runtime\":\"process\"}", "7"] {
            assert_eq!(Request::read(&LaunchRequest(JsonText::new(text).unwrap())), None, "{text}");
        }
    }
}
