//! Runs seeds of the simulation: one with its trace, or many over all cores.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;
use testbed::sim;

const USAGE: &str = "usage: simulate [--seeds N] [--from SEED] | --seed N [--trace]";
/// After so many broken seeds the rest is not looked at.
const ENOUGH: usize = 10;

struct Flags {
    from: u64,
    seeds: u64,
    trace: bool,
}

fn flags() -> Result<Flags, String> {
    let mut flags = Flags { from: 0, seeds: 1000, trace: false };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut number = || {
            let text = args.next().ok_or_else(|| format!("{arg} needs a number"))?;
            text.parse::<u64>().map_err(|e| format!("{arg} {text}: {e}"))
        };
        match arg.as_str() {
            "--seeds" => flags.seeds = number()?,
            "--from" => flags.from = number()?,
            "--seed" => (flags.from, flags.seeds) = (number()?, 1),
            "--trace" => flags.trace = true,
            _ => return Err(format!("{arg} is not known")),
        }
    }
    Ok(flags)
}

fn main() -> ExitCode {
    let flags = match flags() {
        Ok(flags) => flags,
        Err(mistake) => {
            testbed::say(&format!("{mistake}\n{USAGE}"));
            return ExitCode::from(2);
        }
    };
    let start = Instant::now();
    let (next, broken) = (AtomicU64::new(flags.from), AtomicUsize::new(0));
    let end = flags.from.saturating_add(flags.seeds);
    let totals: [AtomicU64; 4] = Default::default();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end || broken.load(Ordering::Relaxed) >= ENOUGH {
                        return;
                    }
                    let report = sim::run(seed, None, flags.trace);
                    for (total, count) in totals.iter().zip(report.counts) {
                        total.fetch_add(count, Ordering::Relaxed);
                    }
                    if !report.broken.is_empty() {
                        broken.fetch_add(1, Ordering::Relaxed);
                        testbed::say(&sim::story(seed, &report));
                    }
                }
            });
        }
    });
    let done = next.load(Ordering::Relaxed).min(end) - flags.from;
    let [jobs, tasks, agents, seconds] = totals.map(AtomicU64::into_inner);
    let broken = broken.into_inner();
    testbed::say(&format!(
        "{done} seeds: {jobs} jobs, {tasks} tasks, {agents} executions, {} virtual hours, {broken} broken, in {:.1} s",
        seconds / 3600,
        start.elapsed().as_secs_f64()
    ));
    ExitCode::from(u8::from(broken > 0))
}
