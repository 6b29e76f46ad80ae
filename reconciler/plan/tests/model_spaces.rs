//! The large spaces of the model: minutes to hours and gigabytes each, so they run only when asked for:
//!
//! ```text
//! cargo test -p agent-runner-plan --test model_spaces -- 1,1,1
//! ```
//!
//! The arguments are spaces, as attempts, edits and take-overs; `all` is all of them.
#![allow(clippy::print_stdout, reason = "the sizes are what this program is for")]

#[path = "model/protocol/mod.rs"]
#[allow(dead_code, reason = "the mistakes are for the other target")]
mod protocol;

use protocol::Bounds;
use protocol::spaces::{LARGE, holds};

fn main() {
    let asked: Vec<String> = std::env::args().skip(1).collect();
    let chosen: Vec<&(&str, Bounds)> =
        LARGE.iter().filter(|(name, _)| asked.iter().any(|a| a == "all" || a == name)).collect();
    if chosen.is_empty() {
        let names: Vec<&str> = LARGE.iter().map(|(name, _)| *name).collect();
        println!("left out: the large spaces of the model, {} (make model)", names.join(" "));
    }
    for (name, bounds) in chosen {
        let found = holds(name, *bounds);
        println!("  never seen: {:?}", found.missing);
        // Without a wasted draft or a failure there may be no second task; without an agent there is no point.
        for needed in ["an agent executes", "a job succeeds"] {
            assert!(!found.missing.contains(&needed), "{name}: no state shows that {needed}");
        }
    }
}
