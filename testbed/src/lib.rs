//! The real binaries under load and under faults: the harness of the end-to-end tests, and the benchmarks.
//! Never shipped.

#[cfg(feature = "aws")]
pub mod aws;
pub mod bench;
pub mod client;
pub mod dice;
pub mod ecs;
pub mod executable;
pub mod fuzz;
pub mod judge;
pub mod ledger;
pub mod procfs;
pub mod pump;
pub mod sim;
pub mod stack;
#[cfg(feature = "redis")]
pub mod team;

pub use client::Client;
pub use dice::Dice;
pub use stack::{Options, Stack};

use std::io::Write;

/// Says something that a person should see even when the test passes: figures, seeds, what was left out.
/// It goes past the capture of the test harness on purpose.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "testbed: {text}");
}

/// Says what is left out, and why; with `TEST_EVERYTHING` set that is a failure.
///
/// # Panics
/// When `TEST_EVERYTHING` is set.
pub fn leave_out(what: &str, why: &str) {
    assert!(std::env::var_os("TEST_EVERYTHING").is_none(), "{what} cannot be tried: {why}");
    say(&format!("left out: {what} ({why})"));
}

/// The executable of the ledger's agent; cargo names it to the integration tests of this package only.
#[macro_export]
macro_rules! ledger_agent {
    () => {
        env!("CARGO_BIN_EXE_ledger-agent")
    };
}
