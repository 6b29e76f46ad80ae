//! DescribeTasks, ListTasks and StopTask.

use super::clock::millis;
use super::task::{Status, Task};
use super::wire::{Answer, Refused};
use super::world::World;
use serde::Deserialize;
use serde_json::{Value, json};
use std::ops::Bound;

/// Tasks in one DescribeTasks, and ARNs on a page of ListTasks.
// Amazon ECS API reference, DescribeTasks, `tasks`: "up to 100"; ListTasks, `maxResults`: "between 1 and
// 100".
const PAGE: usize = 100;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct List {
    cluster: Option<String>,
    container_instance: Option<String>,
    family: Option<String>,
    next_token: Option<String>,
    max_results: Option<i64>,
    started_by: Option<String>,
    service_name: Option<String>,
    desired_status: Option<String>,
    launch_type: Option<String>,
    daemon_name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Describe {
    cluster: Option<String>,
    tasks: Vec<String>,
    include: Vec<String>,
}

fn read<T: for<'a> Deserialize<'a>>(body: &Value) -> Result<T, Refused> {
    serde_json::from_value(body.clone()).map_err(|e| Refused::new("SerializationException", e.to_string()))
}

impl World {
    pub(crate) fn describe_tasks(&mut self, body: &Value) -> Answer {
        let request: Describe = read(body)?;
        let cluster = self.cluster(request.cluster.as_deref())?;
        if request.tasks.is_empty() {
            // Amazon ECS API reference, DescribeTasks: `tasks` is required.
            return Err(Refused::parameter("Tasks cannot be empty."));
        }
        if request.tasks.len() > PAGE {
            // Words: ours.
            return Err(Refused::parameter("Tasks cannot have more than 100 items."));
        }
        // Amazon ECS API reference, DescribeTasks, `include`: "If this field is omitted, tags aren't
        // included".
        let with_tags = request.include.iter().any(|what| what == "TAGS");
        let (mut tasks, mut failures) = (Vec::new(), Vec::new());
        for name in &request.tasks {
            let id = self.task_id(&cluster, name)?;
            match self.seen(&cluster, &id, self.options.lag.describe) {
                Some(task) => tasks.push(task.described(with_tags)),
                // Amazon ECS developer guide, "API failure reasons", DescribeTasks.
                None => {
                    let arn = format!("{}:task/{cluster}/{id}", self.arn_prefix());
                    failures.push(json!({"arn": arn, "reason": "MISSING"}));
                }
            }
        }
        Ok(json!({"tasks": tasks, "failures": failures}))
    }

    /// The id in an ARN or an id.
    // Words: as AWS writes them.
    fn task_id(&self, cluster: &str, name: &str) -> Result<String, Refused> {
        let id = match name.split_once(":task/") {
            None => name,
            Some((_, rest)) => match rest.split_once('/') {
                Some((named, id)) if named == cluster => id,
                Some((named, _)) => {
                    return Err(Refused::parameter(format!(
                        "Invalid identifier: Identifier is for cluster {named}. Your cluster is {cluster}"
                    )));
                }
                None => rest,
            },
        };
        if !matches!(id.len(), 32 | 36) {
            return Err(Refused::parameter("taskId length should be one of [32,36]"));
        }
        Ok(id.to_owned())
    }

    /// A task that a read finds.
    fn seen(&self, cluster: &str, id: &str, lag: std::time::Duration) -> Option<&Task> {
        let task = self.tasks.get(id).filter(|task| task.cluster == cluster)?;
        let visible = task.times.created + millis(lag);
        (self.now >= visible && self.now >= task.hidden_until).then_some(task)
    }

    // Amazon ECS API reference, StopTask.
    pub(crate) fn stop_task(&mut self, body: &Value) -> Answer {
        let cluster = self.cluster(body["cluster"].as_str())?;
        let name = body["task"].as_str().filter(|name| !name.is_empty());
        // Words: ours.
        let name = name.ok_or_else(|| Refused::parameter("Task can not be blank."))?;
        let id = self.task_id(&cluster, name)?;
        if self.seen(&cluster, &id, self.options.lag.describe).is_none() {
            return Err(Refused::parameter("The referenced task was not found."));
        }
        // "Any tags associated with the task are deleted."
        if let Some(task) = self.tasks.get_mut(&id) {
            task.tags.clear();
        }
        // What the reason is when none is given is not documented.
        let reason = body["reason"].as_str().unwrap_or("Task stopped by user");
        // A task that is stopping already, or has stopped, is simply returned: not documented, and nothing
        // contradicts it.
        self.stop(&id, "UserInitiated", reason);
        let task = self.tasks.get(&id).map(|task| task.described(false));
        Ok(json!({"task": task}))
    }

    pub(crate) fn list_tasks(&mut self, body: &Value) -> Answer {
        let request: List = read(body)?;
        let cluster = self.cluster(request.cluster.as_deref())?;
        request.check()?;
        let most = request.max_results.and_then(|n| usize::try_from(n).ok()).unwrap_or(PAGE);
        let most = if self.options.short_pages { most.div_ceil(2) } else { most };
        let after = request.next_token.as_deref().map(decode).transpose()?;
        if self.options.short_pages && request.started_by.is_some() && after.is_none() {
            // As short as a page can be; the next one begins at the first task.
            return Ok(json!({"taskArns": [], "nextToken": encode(&"0".repeat(32))}));
        }
        let matching = self.matching(&cluster, &request, after.as_deref(), most + 1);
        let page: Vec<&Task> = matching.iter().copied().take(most).collect();
        let mut answer = json!({"taskArns": page.iter().map(|task| &task.arn).collect::<Vec<_>>()});
        if matching.len() > most
            && let Some(last) = page.last()
        {
            answer["nextToken"] = json!(encode(&last.id));
        }
        Ok(answer)
    }

    fn matching(&self, cluster: &str, request: &List, after: Option<&str>, most: usize) -> Vec<&Task> {
        // "The default status filter is RUNNING"; PENDING "doesn't return any results".
        let desired = request.desired_status.as_deref().unwrap_or("RUNNING");
        let fits = |task: &&Task| {
            self.listed_as(task) == desired
                && request.family.as_ref().is_none_or(|family| *family == task.definition.family)
                && request.launch_type.as_deref().is_none_or(|kind| kind == "FARGATE")
                && request.container_instance.is_none()
                && self.seen(cluster, &task.id, self.options.lag.list).is_some()
        };
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        match &request.started_by {
            Some(started_by) => {
                let ids = self.by_started.get(started_by).into_iter();
                let ids = ids.flat_map(|ids| ids.range::<str, _>((from, Bound::Unbounded)));
                ids.filter_map(|id| self.tasks.get(id)).filter(fits).take(most).collect()
            }
            None => {
                let all = self.tasks.range::<str, _>((from, Bound::Unbounded));
                all.map(|(_, task)| task).filter(fits).take(most).collect()
            }
        }
    }

    /// The desired status that a list goes by.
    // Amazon ECS API reference, ListTasks: "Recently stopped tasks might appear in the returned results."
    fn listed_as(&self, task: &Task) -> &'static str {
        let recently = task.times.stopping.is_some_and(|at| self.now < at + millis(self.options.lag.list));
        if recently { "RUNNING" } else { task.desired() }
    }

    /// The task has stopped or is not known.
    pub(crate) fn is_over(&self, id: &str) -> bool {
        self.tasks.get(id).is_none_or(|task| task.last == Status::Stopped)
    }
}

impl List {
    // Amazon ECS API reference, ListTasks.
    fn check(&self) -> Result<(), Refused> {
        if self.max_results.is_some_and(|n| !(1..=100).contains(&n)) {
            // Words: ours.
            return Err(Refused::parameter("maxResults must be between 1 and 100."));
        }
        match self.desired_status.as_deref() {
            None | Some("RUNNING" | "PENDING" | "STOPPED") => {}
            Some(other) => return Err(Refused::parameter(format!("desiredStatus has no value {other}."))),
        }
        // "When you specify startedBy as the filter, it must be the only filter that you use." Taken at its
        // word: `desiredStatus` is a filter as well.
        let others = [
            &self.container_instance,
            &self.family,
            &self.service_name,
            &self.desired_status,
            &self.launch_type,
            &self.daemon_name,
        ];
        if self.started_by.is_some() && others.iter().any(|filter| filter.is_some()) {
            // Words: ours.
            return Err(Refused::parameter("startedBy must be the only filter."));
        }
        if self.service_name.is_some() {
            // The double has no services.
            return Err(Refused::new("ServiceNotFoundException", "Service not found."));
        }
        Ok(())
    }
}

/// "This token should be treated as an opaque identifier": so it does not look like an id.
fn encode(id: &str) -> String {
    id.bytes().rev().map(|byte| format!("{:02x}", byte ^ 0x5a)).collect()
}

fn decode(token: &str) -> Result<String, Refused> {
    let bytes: Option<Vec<u8>> = (0..token.len().div_ceil(2))
        .rev()
        .map(|at| u8::from_str_radix(token.get(2 * at..2 * at + 2)?, 16).ok().map(|byte| byte ^ 0x5a))
        .collect();
    let id = bytes.and_then(|bytes| String::from_utf8(bytes).ok()).filter(|id| id.len() == 32);
    // Words: ours.
    id.ok_or_else(|| Refused::parameter("Invalid token"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_token_leads_back_to_its_task_and_nothing_else_is_one() {
        let id = "0123456789abcdef0123456789abcdef";
        assert_eq!(decode(&encode(id)).unwrap(), id);
        assert_ne!(encode(id), id);
        for wrong in ["", "zz", "5a5", id, "é"] {
            assert_eq!(decode(wrong).unwrap_err().message, "Invalid token", "{wrong}");
        }
    }
}
