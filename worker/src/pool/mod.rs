//! `--pool [--slots N]`: a worker that stays up and takes its work from a pool (see
//! [`backends::redis::pool`]).
//!
//! Two processes, and more while there is work:
//!
//! ```text
//! watchdog (--pool)              no connection, no thread; a clock, one child, signals
//! └─ member (--pool-member)      connections; N slots, one attempt at a time in each
//!    ├─ worker                   a single-shot worker for each command, exactly as elsewhere
//!    │  └─ agent
//!    └─ …
//! ```
//!
//! **The watchdog** is told by the member when the last heartbeat that was acknowledged had been sent. When half
//! the lease has passed since then it kills the member and everything below it, whatever the member is doing:
//! stopped, blocked on a disk, cut off. It does the same when the member ends. Then nothing of what the member
//! ran is alive, and it starts the next member, which strikes its predecessor off the pool. Both are subreapers,
//! so whatever outlives its parents becomes the child of one of them and is found by that. The clock is
//! `CLOCK_BOOTTIME`, as a timer in the kernel: a machine that slept, or a container that was paused, goes on with
//! a timer that is due.
//!
//! **The member** watches as well: without an acknowledged heartbeat for half the lease, and when the watchdog
//! ends, it kills everything below it and itself. So an agent outlives its time only if both are kept from
//! running while the agent is not; that, and nothing else, is assumed (`reconciler/plan/PROTOCOL.md`).
//!
//! **The built-in `echo`** starts no process, so it is executed in a thread of the member, by the same code. An
//! echo that does not end within its grace ends the member.
//!
//! | variable | meaning |
//! |---|---|
//! | `AGENT_RUNNER_RECORDS`, `_ARTIFACTS`, … | as for a single-shot worker, which inherits them |
//! | `AGENT_RUNNER_POOL` | the Redis where the pool meets; default: that of `AGENT_RUNNER_RECORDS` |
//! | `AGENT_RUNNER_POOL_LEASE_SECONDS` | 2 to 60, default 30: silence after which others may take over |
//! | `AGENT_RUNNER_DRAIN_SECONDS` | 0 to 3600, default 20: how long attempts may go on after SIGTERM; then they are stopped, each with its grace |
//! | `AGENT_RUNNER_TASKS_DIR` | where tasks have their folders, default `agent-runner-tasks` in the folder for temporary files |
//! | `AGENT_RUNNER_POOL_PROGRAM` | what is started for an attempt; default: this very program |
//!
//! `healthcheck` ends with 0 while heartbeats of the worker with the same settings are acknowledged (see [`health`])
//! and tasks can have their folders. While they cannot, the worker offers no slots (see [`folder`]).
//!
//! SIGTERM and SIGINT drain: nothing more is taken, what was taken and not started goes back, the rest may
//! finish. Exit code 0 follows.

mod attempt;
mod boot_clock;
mod children;
mod crew;
mod folder;
mod health;
mod member;
mod settings;
mod slot;
mod watchdog;

use crate::{Exit, log};
use settings::{Invocation, PoolSettings};
use std::ffi::OsString;

/// Starts the watchdog.
const POOL: &str = "--pool";
/// Starts the member; for the watchdog only.
const MEMBER: &str = "--pool-member";
const SLOTS: &str = "--slots";
/// Asks whether the worker of this container is in touch with its pool.
const HEALTHCHECK: &str = "healthcheck";

/// Works for a pool, or says whether the worker here does, if the arguments ask for it.
pub(crate) fn asked(args: impl Iterator<Item = OsString>) -> Option<Exit> {
    let args: Vec<OsString> = args.collect();
    if args.len() == 2 && args[1] == HEALTHCHECK {
        return Some(match PoolSettings::read(|name| std::env::var_os(name)) {
            Ok(settings) => health::check(&settings),
            Err(mistakes) => refused(mistakes),
        });
    }
    let at = args.iter().position(|arg| arg == POOL || arg == MEMBER)?;
    let is_member = args[at] == MEMBER;
    // What stands before it selects the worker within another program.
    let before = args.get(1..at).unwrap_or_default().to_vec();
    let read = slots(&args[at + 1..])
        .and_then(|slots| Invocation::this(before, slots).map_err(|e| vec![e.to_string()]))
        .and_then(|invocation| Ok((PoolSettings::read(|name| std::env::var_os(name))?, invocation)));
    let (settings, invocation) = match read {
        Ok(read) => read,
        Err(mistakes) => return Some(refused(mistakes)),
    };
    Some(if is_member { member::run(settings, invocation) } else { watchdog::run(&settings, &invocation) })
}

fn refused(mistakes: Vec<String>) -> Exit {
    mistakes.iter().for_each(|mistake| log::line("-", mistake));
    Exit::Internal
}

/// The most slots of one worker: each is a thread and a connection.
const MOST_SLOTS: u32 = 1000;

fn slots(args: &[OsString]) -> Result<u32, Vec<String>> {
    let words: Vec<&str> = args.iter().map(|arg| arg.to_str().unwrap_or_default()).collect();
    let number = match words[..] {
        [] => return Ok(1),
        [SLOTS, number] => Some(number),
        [one] => one.strip_prefix("--slots="),
        _ => None,
    };
    let slots = number.and_then(|n| n.parse().ok()).filter(|n| (1..=MOST_SLOTS).contains(n));
    slots.ok_or_else(|| vec![format!("{words:?} is not understood; --pool [--slots 1 to {MOST_SLOTS}]")])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_one_if_nothing_is_said_and_never_none() {
        let read = |words: &[&str]| slots(&words.iter().map(OsString::from).collect::<Vec<_>>()).ok();
        assert_eq!(read(&[]), Some(1));
        assert_eq!(read(&["--slots", "4"]), Some(4));
        assert_eq!(read(&["--slots=12"]), Some(12));
        for bad in [&["--slots"][..], &["--slots", "0"], &["--slots", "x"], &["--slots", "1", "2"], &["4"]] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }
}
