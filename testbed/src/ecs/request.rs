//! RunTask: the request, and what can be said about it without looking at anything else.

use super::wire::Refused;
use serde::Deserialize;
use serde_json::Value;

/// The request as far as the double reads it; other members only count for the comparison of two requests.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RunTask {
    pub(crate) cluster: Option<String>,
    pub(crate) task_definition: Option<String>,
    pub(crate) count: Option<i64>,
    pub(crate) client_token: Option<String>,
    pub(crate) started_by: Option<String>,
    pub(crate) group: Option<String>,
    pub(crate) launch_type: Option<String>,
    #[serde(default)]
    pub(crate) capacity_provider_strategy: Vec<Provider>,
    pub(crate) platform_version: Option<String>,
    pub(crate) propagate_tags: Option<String>,
    #[serde(default)]
    pub(crate) tags: Vec<Tag>,
    pub(crate) network_configuration: Option<Network>,
    pub(crate) overrides: Option<Value>,
    #[serde(default)]
    pub(crate) enable_execute_command: bool,
}

/// An item of a capacity provider strategy.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Provider {
    pub(crate) capacity_provider: String,
    // Amazon ECS developer guide, "Amazon ECS clusters for Fargate": through the API the default weight is 0.
    #[serde(default)]
    pub(crate) weight: i64,
    #[serde(default)]
    pub(crate) base: i64,
}

/// A tag.
#[derive(Debug, Clone, Deserialize, serde::Serialize)]
pub(crate) struct Tag {
    pub(crate) key: String,
    #[serde(default)]
    pub(crate) value: String,
}

/// Where the task's network interface is.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Network {
    pub(crate) awsvpc_configuration: Option<AwsVpc>,
}

/// The same.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AwsVpc {
    #[serde(default)]
    pub(crate) subnets: Vec<String>,
    #[serde(default)]
    pub(crate) security_groups: Vec<String>,
    pub(crate) assign_public_ip: Option<String>,
}

/// Platform versions of Linux tasks on Fargate; LATEST is 1.4.0.
// Amazon ECS developer guide, "Fargate Linux platform versions".
const PLATFORMS: [&str; 3] = ["LATEST", "1.4.0", "1.3.0"];

impl RunTask {
    /// Reads and checks the body.
    pub(crate) fn read(body: &Value) -> Result<Self, Refused> {
        // Common error of the JSON protocols for a body that does not have the modelled types.
        let request: Self = serde_json::from_value(body.clone())
            .map_err(|e| Refused::new("SerializationException", e.to_string()))?;
        request.check_identity()?;
        request.check_tags()?;
        request.check_placement()?;
        request.check_network()?;
        request.check_overrides()?;
        Ok(request)
    }

    pub(crate) fn count(&self) -> u32 {
        self.count.and_then(|count| u32::try_from(count).ok()).unwrap_or(1)
    }

    pub(crate) fn awsvpc(&self) -> Option<&AwsVpc> {
        self.network_configuration.as_ref()?.awsvpc_configuration.as_ref()
    }

    fn check_identity(&self) -> Result<(), Refused> {
        if self.task_definition.as_deref().unwrap_or_default().is_empty() {
            // Amazon ECS API reference, RunTask: `taskDefinition` is required. Words: ours.
            return Err(Refused::client("TaskDefinition can not be blank."));
        }
        // Amazon ECS API reference, RunTask, `count`: "up to 10 tasks for each call". Words: ours.
        if self.count.is_some_and(|count| !(1..=10).contains(&count)) {
            return Err(Refused::parameter("Count must be between 1 and 10."));
        }
        // Amazon ECS API reference, RunTask, `clientToken`: up to 64 characters in the range of 33-126.
        // Words: ours.
        if let Some(token) = &self.client_token
            && (token.is_empty() || token.len() > 64 || !token.bytes().all(|byte| (33..=126).contains(&byte)))
        {
            return Err(Refused::parameter("clientToken must be 1 to 64 characters in the range of 33-126."));
        }
        // Amazon ECS API reference, RunTask, `startedBy`: "Up to 128 letters (uppercase and lowercase),
        // numbers, hyphens (-), forward slash (/), and underscores (_) are allowed". Words: ours.
        let fits = |c: char| c.is_ascii_alphanumeric() || "-/_".contains(c);
        if let Some(started_by) = &self.started_by
            && (started_by.len() > 128 || !started_by.chars().all(fits))
        {
            return Err(Refused::parameter(
                "startedBy must be at most 128 letters, numbers, hyphens, slashes and underscores.",
            ));
        }
        Ok(())
    }

    // Amazon ECS API reference, RunTask, `tags` and `propagateTags`. Words: ours.
    fn check_tags(&self) -> Result<(), Refused> {
        if self.tags.len() > 50 {
            return Err(Refused::parameter("Tags can have at most 50 items."));
        }
        for (at, tag) in self.tags.iter().enumerate() {
            let (key, value) = (tag.key.chars().count(), tag.value.chars().count());
            if !(1..=128).contains(&key) || value > 256 {
                return Err(Refused::parameter("Tag keys have 1 to 128 characters and values at most 256."));
            }
            if tag.key.to_ascii_lowercase().starts_with("aws:") {
                return Err(Refused::parameter("Tag keys must not begin with aws:."));
            }
            if self.tags[..at].iter().any(|other| other.key == tag.key) {
                return Err(Refused::parameter("Each tag key must be unique."));
            }
        }
        match self.propagate_tags.as_deref() {
            None | Some("TASK_DEFINITION" | "NONE") => Ok(()),
            Some("SERVICE") => {
                Err(Refused::parameter("propagateTags SERVICE is not supported when running a task."))
            }
            Some(other) => Err(Refused::parameter(format!("propagateTags has no value {other}."))),
        }
    }

    fn check_placement(&self) -> Result<(), Refused> {
        let strategy = &self.capacity_provider_strategy;
        if self.launch_type.is_some() && !strategy.is_empty() {
            // Amazon ECS API reference, RunTask, `launchType`. Words: as AWS writes them.
            return Err(Refused::parameter(
                "Specifying both a launch type and capacity provider strategy is not supported. Remove one and \
                 try again.",
            ));
        }
        if let Some(other) = self.launch_type.as_deref().filter(|kind| *kind != "FARGATE") {
            // Not imitated: EC2 and EXTERNAL. AWS answers so when no container instance is registered.
            let known = matches!(other, "EC2" | "EXTERNAL");
            return Err(Refused::parameter(if known {
                "No Container Instances were found in your cluster.".to_owned()
            } else {
                format!("launchType has no value {other}.")
            }));
        }
        // Amazon ECS API reference, CapacityProviderStrategyItem. Words: ours, but for the association.
        if strategy.len() > 20 {
            return Err(Refused::parameter(
                "A capacity provider strategy has at most 20 capacity providers.",
            ));
        }
        if strategy.iter().any(|item| !matches!(item.capacity_provider.as_str(), "FARGATE" | "FARGATE_SPOT"))
        {
            return Err(Refused::parameter(
                "The specified capacity provider strategy cannot contain a capacity provider that is not \
                 associated with the cluster. Associate the capacity provider with the cluster and try again.",
            ));
        }
        let in_range =
            |item: &Provider| (0..=1000).contains(&item.weight) && (0..=100_000).contains(&item.base);
        if !strategy.iter().all(in_range) {
            return Err(Refused::parameter("Weights are 0 to 1000 and bases 0 to 100000."));
        }
        if strategy.iter().filter(|item| item.base > 0).count() > 1 {
            return Err(Refused::parameter("Only one capacity provider in a strategy can have a base."));
        }
        if !strategy.is_empty() && strategy.iter().all(|item| item.weight == 0) {
            return Err(Refused::parameter(
                "At least one capacity provider must have a weight greater than 0.",
            ));
        }
        match self.platform_version.as_deref() {
            Some(version) if !PLATFORMS.contains(&version) => {
                // Amazon ECS API reference, RunTask, errors: PlatformUnknownException.
                Err(Refused::new(
                    "PlatformUnknownException",
                    "The specified platform version does not exist.",
                ))
            }
            _ => Ok(()),
        }
    }

    // Amazon ECS API reference, AwsVpcConfiguration: 16 subnets, 5 security groups.
    fn check_network(&self) -> Result<(), Refused> {
        let Some(network) = self.awsvpc() else { return Ok(()) };
        if network.subnets.is_empty() {
            return Err(Refused::parameter("subnets can not be empty."));
        }
        if network.subnets.len() > 16 {
            return Err(Refused::parameter("subnets can have at most 16 items."));
        }
        if network.security_groups.len() > 5 {
            return Err(Refused::parameter("securityGroups can have at most 5 items."));
        }
        match network.assign_public_ip.as_deref() {
            None | Some("ENABLED" | "DISABLED") => Ok(()),
            Some(other) => Err(Refused::parameter(format!("assignPublicIp has no value {other}."))),
        }
    }

    fn check_overrides(&self) -> Result<(), Refused> {
        let Some(overrides) = &self.overrides else { return Ok(()) };
        // Amazon ECS API reference, RunTask, `overrides`: "A total of 8192 characters are allowed for
        // overrides. This limit includes the JSON formatting characters". Words: Netflix/metaflow issue 1482.
        if overrides.to_string().chars().count() > 8192 {
            return Err(Refused::parameter("Container Overrides length must be at most 8192"));
        }
        let containers = overrides["containerOverrides"].as_array();
        for container in containers.into_iter().flatten() {
            // Amazon ECS API reference, ContainerOverride: "If a non-empty container override is specified,
            // the name parameter must be included". Words: ours.
            if container["name"].as_str().unwrap_or_default().is_empty() {
                return Err(Refused::parameter("Container override must have a name."));
            }
            let mistyped = container["environment"].as_array().into_iter().flatten();
            if mistyped.into_iter().any(|pair| !pair["name"].is_string() || !pair["value"].is_string()) {
                return Err(Refused::new("SerializationException", "environment has members name and value"));
            }
        }
        // Amazon ECS API reference, EphemeralStorage: "The minimum supported value is 21 GiB and the maximum
        // supported value is 200 GiB". Words: ours.
        match overrides.pointer("/ephemeralStorage/sizeInGiB") {
            Some(size) if !size.as_u64().is_some_and(|size| (21..=200).contains(&size)) => {
                Err(Refused::parameter("Ephemeral storage must be between 21 and 200 GiB."))
            }
            _ => Ok(()),
        }
    }
}
