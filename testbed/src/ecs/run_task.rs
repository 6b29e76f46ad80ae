//! RunTask.

use super::definitions::{Definition, no_such_size};
use super::faults::{Kind, Subject};
use super::request::{Provider, RunTask};
use super::task::{Container, Fate, Status, Task, Times};
use super::wire::{Answer, Refused};
use super::world::{Timer, World};
use super::{clock::millis, sizes};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

// AWS re:Post, "How do I resolve the capacity unavailable error of RunTask on Fargate".
const NO_CAPACITY: &str =
    "Capacity is unavailable at this time. Please try again later or in a different availability zone";
// Amazon ECS developer guide, "API failure reasons", but with the apostrophe that AWS really sends
// (paradisec-archive/nabu issue 1260).
const NO_VCPU: &str = "You\u{2019}ve reached the limit on the number of vCPUs you can run concurrently";

/// What a call is about to launch.
struct Plan {
    request: RunTask,
    cluster: String,
    definition: Arc<Definition>,
    provider: &'static str,
    cpu: u32,
    memory: u32,
}

impl World {
    /// Answers, and names the tasks that must have stopped before the answer is sent.
    pub(crate) fn run_task(&mut self, body: &Value) -> (Answer, Vec<String>) {
        match self.run_task_or_refuse(body) {
            Ok((answer, wait)) => (Ok(answer), wait),
            Err(refused) => (Err(refused), Vec::new()),
        }
    }

    fn run_task_or_refuse(&mut self, body: &Value) -> Result<(Value, Vec<String>), Refused> {
        let request = RunTask::read(body)?;
        let cluster = self.cluster(request.cluster.as_deref())?;
        // Before anything that may have changed since the first call: a repetition gets the first answer.
        if let Some(token) = &request.client_token
            && let Some(answer) = self.replay(&cluster, token, body)
        {
            return answer.map(|answer| (answer, Vec::new()));
        }
        let plan = self.plan(request, cluster)?;
        let (answer, wait) = self.launch(&plan)?;
        if let Some(token) = &plan.request.client_token {
            self.remember(&plan.cluster, token, body, &answer);
        }
        Ok((answer, wait))
    }

    /// Launches one task whatever the throttles say.
    pub(crate) fn launch_unthrottled(&mut self, body: &Value) -> Result<(), String> {
        let checked = RunTask::read(body).and_then(|request| {
            let cluster = self.cluster(request.cluster.as_deref())?;
            self.plan(request, cluster)
        });
        let plan = checked.map_err(|refused| refused.message)?;
        self.create(&plan, &[]);
        Ok(())
    }

    fn plan(&mut self, request: RunTask, cluster: String) -> Result<Plan, Refused> {
        let name = request.task_definition.clone().unwrap_or_default();
        let Some((definition, active)) = self.definition(&name) else {
            // Amazon ECS API reference, RunTask, ClientException: "specifying an identifier that isn't
            // valid".
            return Err(Refused::client("TaskDefinition not found."));
        };
        if !active {
            // Words and class: DefangLabs/defang pull request 775.
            return Err(Refused::parameter("TaskDefinition is inactive"));
        }
        if !definition.on_fargate() {
            // Words: oranmoshai/ecsServiceRestart issue 2.
            return Err(Refused::parameter("Task definition does not support launch_type FARGATE."));
        }
        self.check_subnets(&request)?;
        check_names(&request, &definition)?;
        if request.enable_execute_command && !has_task_role(&request, &definition) {
            // Amazon ECS API reference, RunTask, `enableExecuteCommand`: a task role is needed.
            return Err(Refused::parameter(
                "The task definition does not have a valid taskRoleArn, which is required for execute command.",
            ));
        }
        check_platform(&request, &definition)?;
        let (cpu, memory) = size(&request, &definition)?;
        check_container_sizes(&request, memory)?;
        let provider = self.choose(&request.capacity_provider_strategy);
        Ok(Plan { request, cluster, definition, provider, cpu, memory })
    }

    fn check_subnets(&self, request: &RunTask) -> Result<(), Refused> {
        // Amazon ECS API reference, RunTask, `networkConfiguration`: required for the awsvpc network mode.
        let Some(network) = request.awsvpc() else {
            return Err(Refused::parameter(
                "Network Configuration must be provided when networkMode 'awsvpc' is specified.",
            ));
        };
        let exists = |id: &String| match &self.options.subnets {
            Some(subnets) => subnets.contains(id),
            None => id.starts_with("subnet-"),
        };
        if let Some(id) = network.subnets.iter().find(|id| !exists(id)) {
            // The form in which ECS passes an error of EC2 on: dask/dask-cloudprovider issue 56.
            return Err(Refused::parameter(format!(
                "Error retrieving subnet information for [{id}]: The subnet ID '{id}' does not exist (ErrorCode: \
                 InvalidSubnetID.NotFound)"
            )));
        }
        if let Some(id) = network.security_groups.iter().find(|id| !id.starts_with("sg-")) {
            return Err(Refused::parameter(format!(
                "Error retrieving security group information for [{id}]: The security group '{id}' does not exist \
                 (ErrorCode: InvalidGroup.NotFound)"
            )));
        }
        Ok(())
    }

    /// FARGATE or FARGATE_SPOT, by base and weight; without a strategy FARGATE.
    fn choose(&mut self, strategy: &[Provider]) -> &'static str {
        let total: u64 = strategy.iter().map(|item| u64::try_from(item.weight).unwrap_or(0)).sum();
        if total == 0 {
            return "FARGATE";
        }
        // The base counts per call, so it decides for the first task; the double launches a call's tasks
        // alike.
        let mut at = self.dice.number() % total;
        let based = strategy.iter().find(|item| item.base > 0);
        let chosen = based.or_else(|| {
            strategy.iter().find(|item| {
                let weight = u64::try_from(item.weight).unwrap_or(0);
                let found = at < weight;
                at = at.saturating_sub(weight);
                found
            })
        });
        if chosen.is_some_and(|item| item.capacity_provider == "FARGATE_SPOT") {
            "FARGATE_SPOT"
        } else {
            "FARGATE"
        }
    }

    fn launch(&mut self, plan: &Plan) -> Result<(Value, Vec<String>), Refused> {
        let count = plan.request.count();
        let (spot, now) = (plan.provider == "FARGATE_SPOT", self.now);
        let bucket = if spot { &mut self.buckets.spot_launches } else { &mut self.buckets.launches };
        // Amazon ECS developer guide, "AWS Fargate throttling quotas": tasks launched, On-Demand and Spot
        // apart.
        if !bucket.has(count, now) {
            return Err(Refused::throttled());
        }
        let subject = Subject {
            token: plan.request.client_token.as_deref(),
            started_by: plan.request.started_by.as_deref(),
            task: None,
        };
        let faults = self.faults.of_launch(&subject);
        let refusal = faults.iter().find_map(|fault| match fault.fault {
            Kind::NoCapacity => Some(NO_CAPACITY),
            Kind::QuotaExhausted => Some(NO_VCPU),
            _ => None,
        });
        if let Some(words) = refusal {
            return Ok((json!({"tasks": [], "failures": vec![failure(words); count as usize]}), Vec::new()));
        }
        let fits = self.fitting(plan, count);
        let failures = vec![failure(NO_VCPU); (count - fits) as usize];
        let bucket = if spot { &mut self.buckets.spot_launches } else { &mut self.buckets.launches };
        bucket.take(fits);
        let (mut tasks, mut wait) = (Vec::new(), Vec::new());
        for _ in 0..fits {
            let id = self.create(plan, &faults);
            tasks.push(self.tasks[&id].described(true));
            for fault in &faults {
                self.befall(&id, fault);
            }
            if faults.iter().any(|fault| fault.fault == Kind::LaunchAndFinishBeforeAnswer) {
                wait.push(id);
            }
        }
        Ok((json!({"tasks": tasks, "failures": failures}), wait))
    }

    /// How many of `count` tasks the vCPU quota lets through. Whether PROVISIONING tasks count is not
    /// documented; here every task that is not STOPPED does.
    fn fitting(&self, plan: &Plan, count: u32) -> u32 {
        let spot = plan.provider == "FARGATE_SPOT";
        let quota = if spot { self.options.quotas.spot_vcpus } else { self.options.quotas.vcpus };
        let Some(quota) = quota else { return count };
        let live = self.tasks.values().filter(|task| !task.is_stopped() && task.provider == plan.provider);
        let used: u32 = live.map(|task| task.cpu).sum();
        ((quota * 1024).saturating_sub(used) / plan.cpu.max(1)).min(count)
    }

    fn create(&mut self, plan: &Plan, faults: &[super::faults::Fault]) -> String {
        let id = self.new_id();
        let request = &plan.request;
        self.launched += 1;
        let subnets = request.awsvpc().map_or(&[][..], |network| &network.subnets);
        let at = usize::try_from(self.launched).unwrap_or(0) % subnets.len().max(1);
        let storage = request.overrides.as_ref().and_then(|all| all.pointer("/ephemeralStorage/sizeInGiB"));
        let storage = storage.or(plan.definition.body.pointer("/ephemeralStorage/sizeInGiB"));
        let task = Task {
            arn: format!("{}:task/{}/{id}", self.arn_prefix(), plan.cluster),
            cluster: plan.cluster.clone(),
            cluster_arn: format!("{}:cluster/{}", self.arn_prefix(), plan.cluster),
            definition: Arc::clone(&plan.definition),
            version: 1,
            last: Status::Provisioning,
            wanted: true,
            overrides: overrides(request),
            started_by: request.started_by.clone(),
            // Amazon ECS API reference, RunTask, `group`.
            group: request.group.clone().unwrap_or_else(|| format!("family:{}", plan.definition.family)),
            tags: request.tags.clone(),
            client_token: request.client_token.clone(),
            provider: plan.provider,
            by_strategy: !request.capacity_provider_strategy.is_empty(),
            platform: platform(request.platform_version.as_deref()),
            cpu: plan.cpu,
            memory: plan.memory,
            // Amazon ECS developer guide, "Fargate task ephemeral storage": 20 GiB are included.
            storage: storage.and_then(Value::as_u64).unwrap_or(20),
            execute_command: request.enable_execute_command,
            subnet: subnets.get(at).cloned().unwrap_or_default(),
            number: self.launched,
            times: Times { created: self.now, ..Times::default() },
            stop_code: None,
            stopped_reason: None,
            exit_code: None,
            container_reason: None,
            container: Container::Waiting,
            fate: fate(faults),
            hidden_until: 0,
            generation: 0,
            id: id.clone(),
        };
        if let Some(started_by) = &task.started_by {
            self.by_started.entry(started_by.clone()).or_default().insert(id.clone());
        }
        let delay = task.fate.launch_after + self.phase(&task, self.options.phases.provisioning);
        self.after(delay, Timer::Step { task: id.clone(), generation: 0 });
        self.tasks.insert(id.clone(), task);
        self.emit(&id);
        id
    }

    /// A phase's duration; none for a task that is to be done at once.
    pub(crate) fn phase(&self, task: &Task, duration: Duration) -> Duration {
        if task.fate.at_once { Duration::ZERO } else { duration }
    }

    /// What faults do to a task once it is there.
    pub(crate) fn befall(&mut self, id: &str, fault: &super::faults::Fault) {
        let seconds = fault.delay();
        let task = id.to_owned();
        match fault.fault {
            Kind::SpotInterrupt => self.after(seconds, Timer::Interrupt { task }),
            Kind::KillTask => {
                let reason = fault.kill_reason();
                match self.tasks.get_mut(id) {
                    Some(task) if matches!(task.container, Container::Waiting) => {
                        task.fate.kill = Some((seconds, reason));
                    }
                    _ => self.after(seconds, Timer::HostKill { task, reason }),
                }
            }
            Kind::Missing => {
                let until = self.now + millis(seconds);
                if let Some(task) = self.tasks.get_mut(id) {
                    task.hidden_until = until;
                }
            }
            Kind::Vanish => self.vanish(id),
            Kind::Forget => self.forget(id),
            _ => {}
        }
    }
}

fn failure(reason: &str) -> Value {
    json!({"reason": reason})
}

fn fate(faults: &[super::faults::Fault]) -> Fate {
    let mut fate = Fate::default();
    for fault in faults {
        match fault.fault {
            Kind::LaunchAfter => fate.launch_after = fault.delay(),
            Kind::FailToStart => fate.fail_to_start = Some(fault.start_failure()),
            Kind::LaunchAndFinishBeforeAnswer => fate.at_once = true,
            _ => {}
        }
    }
    fate
}

fn platform(version: Option<&str>) -> String {
    match version {
        None | Some("LATEST") => "1.4.0".to_owned(),
        Some(version) => version.to_owned(),
    }
}

fn overrides(request: &RunTask) -> Value {
    let mut overrides = request.overrides.clone().unwrap_or_else(|| json!({}));
    if overrides.get("containerOverrides").is_none() {
        overrides["containerOverrides"] = json!([]);
    }
    overrides
}

fn has_task_role(request: &RunTask, definition: &Definition) -> bool {
    let given = |all: &Value| all["taskRoleArn"].as_str().is_some_and(|role| !role.is_empty());
    request.overrides.as_ref().is_some_and(given) || given(&definition.body)
}

fn check_names(request: &RunTask, definition: &Definition) -> Result<(), Refused> {
    let Some(overrides) = &request.overrides else { return Ok(()) };
    for container in overrides["containerOverrides"].as_array().into_iter().flatten() {
        let name = container["name"].as_str().unwrap_or_default();
        if definition.container(name).is_none() {
            // Words: azavea/django-ecsmanage issue 21.
            return Err(Refused::parameter(format!(
                "Override for container named {name} is not a container in the TaskDefinition."
            )));
        }
    }
    Ok(())
}

// Amazon ECS API reference, TaskOverride, `ephemeralStorage`, and CapacityProviderStrategyItem: both need
// platform version 1.4.0. Words: ours.
fn check_platform(request: &RunTask, definition: &Definition) -> Result<(), Refused> {
    if request.platform_version.as_deref() != Some("1.3.0") {
        return Ok(());
    }
    let overrides = request.overrides.as_ref().unwrap_or(&Value::Null);
    let storage = [overrides, &definition.body].iter().any(|all| all["ephemeralStorage"].is_object());
    if storage || definition.architecture() == "ARM64" {
        let words = "Ephemeral storage and ARM64 need platform version 1.4.0 or later.";
        return Err(Refused::new("PlatformTaskDefinitionIncompatibilityException", words));
    }
    Ok(())
}

/// Of container overrides.
// Words: artilleryio/artillery issue 591.
fn check_container_sizes(request: &RunTask, memory: u32) -> Result<(), Refused> {
    let overrides = request.overrides.as_ref().unwrap_or(&Value::Null);
    for container in overrides["containerOverrides"].as_array().into_iter().flatten() {
        if container["memory"].as_u64().is_some_and(|mib| mib > u64::from(memory)) {
            let name = container["name"].as_str().unwrap_or_default();
            let words = format!("'memory' setting for container '{name}' is greater than for task.");
            return Err(Refused::parameter(words));
        }
    }
    Ok(())
}

fn size(request: &RunTask, definition: &Definition) -> Result<(u32, u32), Refused> {
    let given = |name: &str| request.overrides.as_ref()?.get(name)?.as_str();
    // A text that is no size at all is as wrong as one that Fargate does not have.
    let cpu = given("cpu").map_or(definition.cpu, |text| sizes::cpu(text).unwrap_or(0));
    let memory = given("memory").map_or(definition.memory, |text| sizes::memory(text).unwrap_or(0));
    if sizes::exists(cpu, memory) { Ok((cpu, memory)) } else { Err(no_such_size(cpu, memory)) }
}
