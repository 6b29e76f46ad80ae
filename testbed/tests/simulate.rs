//! The reconciler against simulated stores, tasks, clocks and people; see [`testbed::sim`]. `SIMULATE_SEEDS`
//! sets how many seeds are run.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use testbed::sim::{self, Mutation};

/// Seeds of a usual run.
const SEEDS: u64 = 1000;
/// Seeds within which a broken protocol must be noticed.
const ENOUGH: u64 = 400;

/// Runs seeds on all cores until one makes `stop` true.
fn every(seeds: u64, stop: impl Fn(u64) -> bool + Sync) {
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    if stop(seed) {
                        next.store(seeds, Ordering::Relaxed);
                    }
                }
            });
        }
    });
}

#[test]
fn with_every_seed_all_invariants_hold_and_every_job_ends_as_without_faults() {
    let seeds =
        std::env::var("SIMULATE_SEEDS").map_or(SEEDS, |n| n.parse().expect("SIMULATE_SEEDS is a number"));
    let (broken, totals) = (Mutex::new(Vec::new()), Mutex::new([0_u64; 4]));
    every(seeds, |seed| {
        let report = sim::run(seed, None, false);
        for (total, count) in totals.lock().expect("no panic").iter_mut().zip(report.counts) {
            *total += count;
        }
        if !report.broken.is_empty() {
            broken.lock().expect("no panic").push(sim::story(seed, &report));
        }
        !report.broken.is_empty()
    });
    let [jobs, tasks, agents, seconds] = *totals.lock().expect("no panic");
    let hours = seconds / 3600;
    testbed::say(&format!(
        "{seeds} seeds: {jobs} jobs, {tasks} tasks, {agents} executions, {hours} virtual hours"
    ));
    let broken = broken.into_inner().expect("no panic");
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn a_seed_repeats_everything_that_happened() {
    for seed in [1, 7, 11] {
        let (one, two) = (sim::run(seed, None, false), sim::run(seed, None, false));
        assert_eq!(one, two, "seed {seed}");
        assert_ne!(one.trace, sim::run(seed + 1, None, false).trace);
    }
}

#[test]
fn every_broken_protocol_is_noticed() {
    for mutation in Mutation::ALL {
        let found = Mutex::new(None);
        every(ENOUGH, |seed| {
            let report = sim::run(seed, Some(mutation), false);
            let first = report.broken.first().cloned();
            let noticed = first.is_some();
            if let Some(first) = first {
                found.lock().expect("no panic").get_or_insert((seed, first));
            }
            noticed
        });
        let found = found.into_inner().expect("no panic");
        let Some((seed, what)) = found else { panic!("{mutation:?} was not noticed within {ENOUGH} seeds") };
        let what: String = what.chars().take(160).collect();
        testbed::say(&format!("{mutation:?}: seed {seed}, {what}"));
    }
}
