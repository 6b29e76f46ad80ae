//! The task metadata endpoint, version 4, as a worker sees it.
//!
//! Shapes: Amazon ECS developer guide, "Task metadata v4 response examples for tasks on Fargate".

use super::clock::iso;
use super::task::Task;
use super::world::World;
use serde_json::{Value, json};

impl World {
    /// What `/v4/<task>` and the paths below it answer.
    pub(crate) fn metadata(&self, path: &str) -> Option<Value> {
        let (id, rest) = path.split_once('/').unwrap_or((path, ""));
        let task = self.tasks.get(id)?;
        match rest {
            "" => Some(container(task)),
            "task" => Some(whole(task)),
            "taskWithTags" => {
                let mut all = whole(task);
                all["TaskTags"] = task.tags.iter().map(|tag| (tag.key.clone(), json!(tag.value))).collect();
                Some(all)
            }
            "stats" => Some(json!({"name": task.definition.main()["name"], "id": task.id})),
            "task/stats" => Some(json!({task.id.clone(): {"name": task.definition.main()["name"]}})),
            _ => None,
        }
    }
}

fn whole(task: &Task) -> Value {
    let mut all = json!({
        "Cluster": task.cluster_arn,
        "TaskARN": task.arn,
        "Family": task.definition.family,
        "Revision": task.definition.revision.to_string(),
        "DesiredStatus": task.desired(),
        // The endpoint knows no finer statuses than the agent's.
        "KnownStatus": if task.is_alive() { "RUNNING" } else { "STOPPED" },
        "Limits": {"CPU": f64::from(task.cpu) / 1024.0, "Memory": task.memory},
        "AvailabilityZone": task.described(false)["availabilityZone"],
        "LaunchType": "FARGATE",
        "Containers": [container(task)],
    });
    if let (Some(started), Some(stopped)) = (task.times.pull_started, task.times.pull_stopped) {
        all["PullStartedAt"] = iso(started);
        all["PullStoppedAt"] = iso(stopped);
    }
    all
}

fn container(task: &Task) -> Value {
    let main = task.definition.main();
    json!({
        "DockerId": format!("{}-{:010}", task.id, task.number),
        "Name": main["name"],
        "DockerName": main["name"],
        "Image": main["image"],
        "Labels": {
            "com.amazonaws.ecs.cluster": task.cluster_arn,
            "com.amazonaws.ecs.container-name": main["name"],
            "com.amazonaws.ecs.task-arn": task.arn,
            "com.amazonaws.ecs.task-definition-family": task.definition.family,
            "com.amazonaws.ecs.task-definition-version": task.definition.revision.to_string(),
        },
        "DesiredStatus": task.desired(),
        "KnownStatus": if task.is_alive() { "RUNNING" } else { "STOPPED" },
        "Limits": {"CPU": task.cpu, "Memory": task.memory},
        "CreatedAt": task.times.pull_stopped.map(iso),
        "StartedAt": task.times.pull_stopped.map(iso),
        "Type": "NORMAL",
        "ContainerARN": format!("{}/{}", task.arn.replacen(":task/", ":container/", 1), task.number),
    })
}
