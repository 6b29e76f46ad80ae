//! What a described task says.

use super::request::{JOB_ID, LAUNCH_TOKEN};
use crate::tasks::TaskState;
use aws_sdk_ecs::primitives::DateTime;
use aws_sdk_ecs::types::{Container, ContainerOverride, Task};
use contract::attempt::phase;
use contract::{Evidence, JobId, LaunchToken, TaskId, Timestamp};
use std::collections::BTreeMap;

/// A task, as described.
#[derive(Debug, Clone)]
pub(super) struct Described {
    pub(super) task: TaskId,
    /// For whom it was launched. `None`: not ours, or an answer that does not tell.
    pub(super) of: Option<(JobId, LaunchToken)>,
    /// Rises with every change.
    pub(super) version: i64,
    pub(super) state: TaskState,
    /// The containers have ended; the network interface may still be there, for some 10 s.
    pub(super) worker_gone: bool,
    /// Somebody wants it to end: we, a person, Spot; or it ended by itself.
    pub(super) ending: bool,
    pub(super) phases: BTreeMap<String, Timestamp>,
}

impl Described {
    /// Reads a task. `None`: it has no usable name.
    pub(super) fn of(task: &Task) -> Option<Self> {
        let id = TaskId::new(task.task_arn()?).ok()?;
        let all = task.overrides().map(|o| o.container_overrides()).unwrap_or_default();
        let ours = all.iter().find_map(|o| Some((o, (variable(o, JOB_ID)?, variable(o, LAUNCH_TOKEN)?))));
        let of =
            ours.and_then(|(_, (job, token))| Some((JobId::new(job).ok()?, LaunchToken::new(token).ok()?)));
        let name = ours.and_then(|(o, _)| o.name());
        let worker = task.containers().iter().find(|c| name.is_some() && c.name() == name);
        let phases = phases(task);
        // A replayed answer names no container and may be of a task that was stopped long ago; its description
        // has the evidence.
        let stopped = task.last_status() == Some("STOPPED") && of.is_some();
        let state = match stopped {
            true => TaskState::Stopped(Box::new(evidence(&id, task, worker, &phases))),
            false => TaskState::Alive,
        };
        let ended = worker.is_some_and(|c| c.last_status() == Some("STOPPED"));
        Some(Self {
            task: id,
            of,
            version: task.version(),
            state,
            worker_gone: ended || task.execution_stopped_at().is_some(),
            ending: task.desired_status() == Some("STOPPED"),
            phases,
        })
    }
}

fn variable<'a>(of: &'a ContainerOverride, name: &str) -> Option<&'a str> {
    of.environment().iter().find(|pair| pair.name() == Some(name)).and_then(|pair| pair.value())
}

fn evidence(
    id: &TaskId,
    task: &Task,
    worker: Option<&Container>,
    phases: &BTreeMap<String, Timestamp>,
) -> Evidence {
    Evidence {
        task: Some(id.clone()),
        exit_code: worker.and_then(Container::exit_code),
        stop_code: task.stop_code().map(|code| code.as_str().to_owned()),
        stopped_reason: task.stopped_reason().map(str::to_owned),
        container_reason: worker.and_then(|c| c.reason()).map(str::to_owned),
        phases: phases.clone(),
        ..Evidence::default()
    }
}

fn phases(task: &Task) -> BTreeMap<String, Timestamp> {
    let all = [
        (phase::CREATED, task.created_at()),
        (phase::CONNECTED, task.connectivity_at()),
        (phase::PULL_STARTED, task.pull_started_at()),
        (phase::PULL_STOPPED, task.pull_stopped_at()),
        (phase::STARTED, task.started_at()),
        (phase::STOPPING, task.stopping_at()),
        (phase::EXECUTION_STOPPED, task.execution_stopped_at()),
        (phase::STOPPED, task.stopped_at()),
    ];
    let time = |at: &DateTime| at.to_millis().ok().map(Timestamp::from_millis);
    all.into_iter().filter_map(|(name, at)| Some((name.to_owned(), time(at?)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_ecs::types::{KeyValuePair, TaskOverride, TaskStopCode};

    const ARN: &str = "arn:aws:ecs:us-east-1:111122223333:task/c/0123456789abcdef";

    fn task(last: &str) -> aws_sdk_ecs::types::builders::TaskBuilder {
        let pair = |name: &str, value: &str| KeyValuePair::builder().name(name).value(value).build();
        let worker = ContainerOverride::builder()
            .name("worker")
            .environment(pair(JOB_ID, "job-1"))
            .environment(pair(LAUNCH_TOKEN, &"0a".repeat(16)));
        Task::builder()
            .task_arn(ARN)
            .last_status(last)
            .overrides(TaskOverride::builder().container_overrides(worker.build()).build())
    }

    #[test]
    fn a_stopped_task_gives_its_evidence_word_for_word() {
        let worker = Container::builder()
            .name("worker")
            .exit_code(137)
            .last_status("STOPPED")
            .reason("OutOfMemoryError: Container killed due to memory usage")
            .build();
        let stopped = task("STOPPED")
            .containers(Container::builder().name("proxy").exit_code(1).build())
            .containers(worker)
            .stop_code(TaskStopCode::from("InfrastructureHealth"))
            .stopped_reason("in AWS\u{2019}s words")
            .pull_started_at(DateTime::from_millis(12_000))
            .build();
        let described = Described::of(&stopped).unwrap();
        let TaskState::Stopped(evidence) = described.state else { panic!("it has stopped") };
        assert_eq!(evidence.exit_code, Some(137), "that of the worker's container");
        assert_eq!(evidence.stop_code.as_deref(), Some("InfrastructureHealth"), "a code that is new");
        assert_eq!(evidence.stopped_reason.as_deref(), Some("in AWS\u{2019}s words"));
        assert!(evidence.container_reason.is_some_and(|words| words.starts_with("OutOfMemoryError")));
        assert_eq!(evidence.phases[phase::PULL_STARTED], Timestamp::from_millis(12_000));
        assert_eq!(described.of.unwrap().0.as_str(), "job-1");
    }

    #[test]
    fn the_worker_is_gone_when_execution_has_stopped_and_the_task_only_later() {
        let ending =
            task("DEPROVISIONING").desired_status("STOPPED").execution_stopped_at(DateTime::from_secs(9));
        let described = Described::of(&ending.build()).unwrap();
        assert!(described.ending);
        assert_eq!((described.state, described.worker_gone), (TaskState::Alive, true));
        let running = Described::of(&task("RUNNING").desired_status("RUNNING").build()).unwrap();
        assert!(!running.ending);
        assert_eq!((running.state, running.worker_gone), (TaskState::Alive, false));
    }

    #[test]
    fn a_replayed_answer_without_overrides_is_no_evidence() {
        let replayed = Task::builder().task_arn(ARN).last_status("STOPPED").build();
        let described = Described::of(&replayed).unwrap();
        assert_eq!((described.of, described.state), (None, TaskState::Alive));
    }
}
