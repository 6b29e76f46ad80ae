//! The life of a task, from phase to phase.
//!
//! Order of the phases: Amazon ECS developer guide, "Amazon ECS task lifecycle".

use super::clock::Millis;
use super::options::Execution;
use super::process::{Alive, Exit, Launch};
use super::task::{Container, Status, Task};
use super::world::{Timer, World};
use std::time::Duration;

/// Exit code of a process that a signal has ended.
const SIGTERM: i32 = 128 + 15;
const SIGKILL: i32 = 128 + 9;

/// How long ECS remembers a stopped task.
// Amazon ECS API reference, DescribeTasks and StopTask: stopped tasks are "displayed ... for at least one
// hour".
pub(crate) const REMEMBERED: Duration = Duration::from_secs(3600);

// Amazon ECS developer guide, "Stopped tasks error codes".
pub(crate) const ENDED: (&str, &str) = ("EssentialContainerExited", "Essential container in task exited");
const SPOT: (&str, &str) = ("SpotInterruption", "Your Spot Task was interrupted.");
const NOT_STARTED: &str = "TaskFailedToStart";

impl World {
    /// A change that emits an event; the version rises with each.
    // Amazon ECS API reference, Task, `version`.
    fn change(&mut self, id: &str, change: impl FnOnce(&mut Task, Millis)) {
        let now = self.now;
        let Some(task) = self.tasks.get_mut(id) else { return };
        change(task, now);
        task.version += 1;
        self.emit(id);
    }

    /// The next phase, after `duration`.
    fn step_after(&mut self, id: &str, duration: impl FnOnce(&super::options::Phases) -> Duration) {
        let Some(task) = self.tasks.get(id) else { return };
        let delay = self.phase(task, duration(&self.options.phases));
        let timer = Timer::Step { task: id.to_owned(), generation: task.generation };
        self.after(delay, timer);
    }

    pub(crate) fn step(&mut self, id: &str, generation: u32) {
        let Some(task) = self.tasks.get(id).filter(|task| task.generation == generation) else { return };
        match task.last {
            Status::Provisioning => {
                self.change(id, |task, now| {
                    task.last = Status::Pending;
                    task.times.connected = Some(now);
                });
                self.step_after(id, |phases| phases.pending);
            }
            Status::Pending if task.times.pull_started.is_none() => {
                // No event for the start of the pull: it shows in the timestamps of the next one.
                let now = self.now;
                if let Some(task) = self.tasks.get_mut(id) {
                    task.times.pull_started = Some(now);
                }
                self.step_after(id, |phases| phases.pull);
            }
            Status::Pending => self.pulled(id),
            Status::Activating => self.change(id, |task, now| {
                task.last = Status::Running;
                task.times.started = Some(now);
            }),
            Status::Deactivating => self.stopping(id),
            Status::Stopping => self.deprovision(id),
            Status::Deprovisioning => self.stopped(id),
            Status::Running | Status::Stopped => {}
        }
    }

    fn pulled(&mut self, id: &str) {
        let Some(task) = self.tasks.get_mut(id) else { return };
        if let Some(reason) = task.fate.fail_to_start.take() {
            self.fail_to_start(id, reason);
            return;
        }
        task.times.pull_stopped = Some(self.now);
        match self.start_container(id) {
            Ok(container) => {
                self.change(id, |task, _| {
                    task.last = Status::Activating;
                    task.container = container;
                });
                self.step_after(id, |phases| phases.activating);
            }
            Err(e) => self.fail_to_start(id, format!("CannotStartContainerError: {e}")),
        }
    }

    // Amazon ECS developer guide, "Stopped tasks error codes" and "CannotPullContainer task errors": no exit
    // code, the reason stands in `stoppedReason` and at the container.
    fn fail_to_start(&mut self, id: &str, reason: String) {
        self.change(id, |task, now| {
            task.wanted = false;
            task.stop_code = Some(NOT_STARTED);
            task.stopped_reason = Some(reason.clone());
            task.container_reason = Some(reason);
            task.container = Container::Gone;
            task.times.stopping = Some(now);
            task.last = Status::Deprovisioning;
        });
        self.step_after(id, |phases| phases.deprovisioning);
    }

    fn start_container(&mut self, id: &str) -> std::io::Result<Container> {
        let Some(task) = self.tasks.get(id) else { return Ok(Container::Gone) };
        if let Some(started_by) = &task.started_by {
            let same = self.by_started.get(started_by).into_iter().flatten();
            let alive = same.filter(|other| self.tasks.get(*other).is_some_and(Task::is_alive));
            self.overlaps += u64::from(alive.count() > 0);
        }
        let token = task.client_token.clone().unwrap_or_default();
        let container = match &self.options.execution {
            Execution::Simulated { lasts, .. } => {
                let lasts = self.phase(task, *lasts);
                self.after(lasts, Timer::Ends { task: id.to_owned() });
                Container::Simulated
            }
            Execution::Process(worker) => {
                let launch = Launch::new(task, worker, &self.options.region, &self.room);
                Container::Process(Alive::start(launch, self.exits.clone())?)
            }
        };
        *self.executions.entry(token).or_default() += 1;
        if let Some((delay, reason)) = self.tasks.get_mut(id).and_then(|task| task.fate.kill.take()) {
            self.after(delay, Timer::HostKill { task: id.to_owned(), reason });
        }
        Ok(container)
    }

    /// A process has ended.
    pub(crate) fn exited(&mut self, exit: &Exit) {
        self.container_ended(&exit.task, exit.code);
    }

    /// A simulated container ends: by itself, or by a signal.
    pub(crate) fn simulated_end(&mut self, id: &str, signal: Option<i32>) {
        let Execution::Simulated { exit_code, .. } = self.options.execution else { return };
        if matches!(self.tasks.get(id).map(|task| &task.container), Some(Container::Simulated)) {
            self.container_ended(id, signal.unwrap_or(exit_code));
        }
    }

    fn container_ended(&mut self, id: &str, code: i32) {
        let now = self.now;
        let Some(task) = self.tasks.get_mut(id).filter(|task| task.is_alive()) else { return };
        task.container = Container::Gone;
        task.exit_code = Some(code);
        task.times.execution_stopped = Some(now);
        match task.last {
            Status::Stopping => self.deprovision(id),
            Status::Deactivating => {}
            _ => {
                let by_itself = task.wanted;
                task.generation += 1;
                self.change(id, |task, now| {
                    task.last = Status::Deactivating;
                    task.wanted = false;
                    task.times.stopping.get_or_insert(now);
                    if by_itself {
                        task.stop_code = Some(ENDED.0);
                        task.stopped_reason = Some(ENDED.1.to_owned());
                    }
                });
                self.step_after(id, |phases| phases.deactivating);
            }
        }
    }

    /// Somebody wants the task to stop.
    pub(crate) fn stop(&mut self, id: &str, code: &'static str, reason: &str) {
        let Some(task) = self.tasks.get_mut(id).filter(|task| task.wanted) else { return };
        task.generation += 1;
        let started = task.is_alive();
        self.change(id, |task, now| {
            task.wanted = false;
            task.stop_code = Some(code);
            task.stopped_reason = Some(reason.to_owned());
            task.times.stopping = Some(now);
            task.last = if started { Status::Deactivating } else { Status::Deprovisioning };
            if !started {
                task.container = Container::Gone;
            }
        });
        self.step_after(id, |phases| if started { phases.deactivating } else { phases.deprovisioning });
    }

    /// SIGTERM, and SIGKILL after the stop timeout.
    // Amazon ECS API reference, StopTask: "SIGTERM value and a default 30-second timeout, after which the
    // SIGKILL value is sent"; ContainerDefinition, `stopTimeout`.
    fn stopping(&mut self, id: &str) {
        self.change(id, |task, _| task.last = Status::Stopping);
        if self.tasks.get(id).is_some_and(Task::is_alive) {
            self.terminate(id);
        } else {
            self.deprovision(id);
        }
    }

    fn terminate(&mut self, id: &str) {
        let Some(task) = self.tasks.get(id) else { return };
        let grace = task.definition.stop_timeout();
        if let Container::Process(alive) = &task.container {
            alive.terminate();
            self.after(grace, Timer::Kill { task: id.to_owned() });
        } else {
            self.simulated_end(id, Some(SIGTERM));
        }
    }

    pub(crate) fn kill(&mut self, id: &str) {
        match self.tasks.get(id).map(|task| &task.container) {
            Some(Container::Process(alive)) => alive.kill(),
            Some(Container::Simulated) => self.simulated_end(id, Some(SIGKILL)),
            _ => {}
        }
    }

    /// The host kills the container; the reason stands at the container, if there is one.
    pub(crate) fn host_kill(&mut self, id: &str, reason: String) {
        if let Some(task) = self.tasks.get_mut(id).filter(|task| task.is_alive()) {
            task.container_reason = Some(reason).filter(|reason| !reason.is_empty());
            self.kill(id);
        }
    }

    /// Spot takes the capacity back.
    // Amazon ECS developer guide, "Amazon ECS clusters for Fargate", Fargate Spot: a two-minute warning as an
    // event (desired status STOPPED while the task is RUNNING) and as SIGTERM; SIGKILL after the stop
    // timeout, which is at most those two minutes.
    pub(crate) fn interrupt(&mut self, id: &str) {
        let Some(task) = self.tasks.get(id).filter(|task| task.wanted) else { return };
        if !task.is_alive() {
            self.stop(id, SPOT.0, SPOT.1);
            return;
        }
        self.change(id, |task, now| {
            task.wanted = false;
            task.stop_code = Some(SPOT.0);
            task.stopped_reason = Some(SPOT.1.to_owned());
            task.times.stopping = Some(now);
        });
        self.terminate(id);
    }

    fn deprovision(&mut self, id: &str) {
        self.change(id, |task, _| task.last = Status::Deprovisioning);
        self.step_after(id, |phases| phases.deprovisioning);
    }

    fn stopped(&mut self, id: &str) {
        self.change(id, |task, now| {
            task.last = Status::Stopped;
            task.times.stopped = Some(now);
        });
        self.after(REMEMBERED, Timer::Forget { task: id.to_owned() });
    }

    /// ECS forgets a task that has stopped.
    pub(crate) fn forget(&mut self, id: &str) {
        let Some(stopped) = self.tasks.get(id).and_then(|task| task.times.stopped) else { return };
        self.remove(id, stopped);
    }

    /// The task is not there any more, and never ran.
    pub(crate) fn vanish(&mut self, id: &str) {
        let now = self.now;
        self.remove(id, now);
    }

    fn remove(&mut self, id: &str, stopped: Millis) {
        let Some(task) = self.tasks.remove(id) else { return };
        if let Some(ids) = task.started_by.as_ref().and_then(|by| self.by_started.get_mut(by)) {
            ids.remove(id);
            if ids.is_empty() {
                self.by_started.remove(task.started_by.as_deref().unwrap_or_default());
            }
        }
        self.tokens.task_forgotten(&task, stopped);
    }

    /// Kills every worker and waits until they are gone.
    pub(crate) fn end(&mut self) {
        for task in self.tasks.values_mut() {
            if let Container::Process(alive) = std::mem::replace(&mut task.container, Container::Gone) {
                alive.kill();
                alive.wait();
            }
        }
    }

    /// Sends an event.
    pub(crate) fn emit(&mut self, id: &str) {
        if !self.outbox.has_sinks() {
            return;
        }
        let Some(task) = self.tasks.get(id) else { return };
        let event = super::events::event(task, self.now, &self.options);
        for delay in self.outbox.fates() {
            if delay.is_zero() {
                self.outbox.deliver(event.clone());
            } else {
                self.after(delay, Timer::Deliver { event: event.clone() });
            }
        }
    }
}
