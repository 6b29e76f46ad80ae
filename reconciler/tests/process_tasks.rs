//! Tasks as processes, with shell scripts as workers.
#![cfg(target_os = "linux")]

#[path = "process_tasks/stage.rs"]
mod stage;

#[path = "process_tasks/ends.rs"]
mod ends;
#[path = "process_tasks/folders.rs"]
mod folders;

reconciler::tasks_conformance!(stage::Machine::new);
