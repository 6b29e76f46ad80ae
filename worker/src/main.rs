//! The worker as a program of its own; `agent-runner` carries the same worker inside.

use std::process::ExitCode;

fn main() -> ExitCode {
    worker::main()
}
