//! `agent-runner`: a whole agent-runner on one machine, and the client of a running one.
//!
//! The same executable is the worker: the reconciler starts it with `__worker` as its first argument, once
//! for each attempt. That is looked at before anything else is built, because what is built here is paid for
//! by every job.

mod args;
mod ask;
mod client;
mod embedded;
mod exit;
mod follow;
mod node;
mod output;
mod request;
mod safe;
mod settings;
mod tree;
mod verbs;

use std::process::ExitCode;

/// The first argument that makes this executable a worker.
const WORKER: &str = "__worker";

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|first| first == WORKER) {
        return worker::main();
    }
    verbs::main()
}
