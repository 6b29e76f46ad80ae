//! Executes one attempt of a job and reports what it observed.
//!
//! The order is the launch protocol's: say who we are in the task's lock file, pass the start gate (whoever
//! loses ends without executing anything), execute, end every process that the agent left, store result
//! and logs, report the outcome. A refused report means that the attempt was taken away: the agent is
//! killed and nothing more is said.
//!
//! There is no runtime and no thread until an agent's output has to be copied, because a worker is started
//! for every attempt and its start-up is the largest part of a short job.
//!
//! | exit code | meaning |
//! |---|---|
//! | 0 | the outcome is stored, or the attempt is not (or no longer) ours |
//! | 70 | the worker itself is at fault or was started wrongly (`EX_SOFTWARE` of sysexits.h) |
//! | 75 | the record store was not reachable for too long (`EX_TEMPFAIL`) |
//!
//! # Environment
//! | variable | meaning |
//! |---|---|
//! | `AGENT_RUNNER_JOB_ID`, `AGENT_RUNNER_LAUNCH_TOKEN`, `AGENT_RUNNER_TASK_ID` | which attempt, as which task |
//! | `AGENT_RUNNER_TASK_FOLDER` | absolute path of an existing folder that belongs to this task |
//! | `ECS_CONTAINER_METADATA_URI_V4` | where to learn the two, where nobody set them: on Fargate |
//! | `AGENT_RUNNER_RECORDS` | `sqlite:<path>`, `redis://<host>:<port>/<db>` |
//! | `AGENT_RUNNER_ARTIFACTS` | `file:<folder>` |
//! | `AGENT_RUNNER_REPORTS` | `stdout`: stdout is a socket, by which the orchestrator takes reports |
//! | `AGENT_RUNNER_DURABILITY` | `process` (default) or `power` |
//! | `AGENT_RUNNER_HEARTBEAT_SECONDS` | between two signs of life, 1 to 3600, default 10 |
//! | `AGENT_RUNNER_REPORT_PATIENCE_SECONDS` | how long to try to report an outcome, default 600 |
//! | `AGENT_RUNNER_LOG_SHIPPING_SECONDS` | between two pieces of a running agent's logs, default 2; 0: none |
//! | `AGENT_RUNNER_GUARD_SECONDS` | how long after its timeout an attempt is stopped from here, default 30 |
//! | `AGENT_RUNNER_ARTIFACTS_PATIENCE_SECONDS` | how long to try to store what an attempt left, default 60 |

mod agent;
mod attempt;
#[cfg(test)]
mod attempt_tests;
mod bench;
mod drive;
mod echo;
mod execution;
mod log;
mod metadata;
mod patience;
mod platform;
#[cfg(all(feature = "redis", target_os = "linux"))]
mod pool;
mod proc;
mod reporter;
mod settings;
mod signals;
mod stores;

use attempt::Means;
use backends::crash::{self, Act};
use settings::Settings;
use signals::Signals;
use std::process::ExitCode;

/// What the worker ends with; see the table of the crate's description.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exit {
    /// Reported, or not ours.
    Done,
    /// Our own fault.
    Internal,
    /// No store.
    NoStore,
}

impl Exit {
    fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Internal => 70,
            Self::NoStore => 75,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Executes the attempt that the environment names. Call it first thing in the process: it makes the
/// process the leader of its own session.
pub fn main() -> ExitCode {
    // A panic is printed by its hook; only the exit code is ours to choose.
    std::panic::catch_unwind(run).unwrap_or(Exit::Internal).into()
}

fn run() -> Exit {
    if let Some(asked) = bench::asked(std::env::args_os()) {
        return bench::echo(asked);
    }
    if let Some(exit) = pool(std::env::args_os()) {
        return exit;
    }
    let told = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let learned = match platform::learn(told) {
        Ok(learned) => learned,
        Err(mistake) => {
            log::line("-", &mistake);
            return Exit::Internal;
        }
    };
    let settings = match Settings::read(|name| told(name).or_else(|| learned.get(name))) {
        Ok(settings) => Settings { phases: learned.phases, ..settings },
        Err(mistakes) => {
            for mistake in mistakes {
                log::line("-", &mistake);
            }
            return Exit::Internal;
        }
    };
    crash::before(Act::Introduce);
    let introduced = proc::introduce(&settings);
    crash::after(Act::Introduce);
    if let Err(e) = introduced {
        log::line(settings.job_id.as_str(), &format!("the task's lock file cannot be written: {e}"));
        return Exit::Internal;
    }
    if let Err(e) = drive::prepare(&settings) {
        log::line(settings.job_id.as_str(), &format!("the stores' runtime cannot be made: {e}"));
        return Exit::Internal;
    }
    let records = || stores::records(&settings);
    let artifacts = || stores::artifacts(&settings);
    let means = Means { records: &records, artifacts: &artifacts, signals: &Signals::watch, commands: true };
    attempt::execute(&settings, means)
}

/// The worker of a pool, if the arguments ask for one.
fn pool(args: impl Iterator<Item = std::ffi::OsString>) -> Option<Exit> {
    #[cfg(all(feature = "redis", target_os = "linux"))]
    return pool::asked(args);
    #[cfg(not(all(feature = "redis", target_os = "linux")))]
    args.into_iter().any(|arg| arg == "--pool").then(|| {
        log::line("-", "--pool needs Linux, and a worker that was built with redis");
        Exit::Internal
    })
}
