//! Tasks as processes, with shell scripts as workers.
#![cfg(target_os = "linux")]

#[path = "process_tasks/stage.rs"]
mod stage;

reconciler::tasks_conformance!(stage::Machine::new);
