//! Decodes inputs that a mutator makes from good ones, over all cores, and says how many.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;
use testbed::fuzz::{self, Counts};

const USAGE: &str = "usage: fuzz [--decodes N] [--seed N]";
/// Inputs of one seed: what has to be decoded again to see a failure once more.
const INPUTS: u64 = 20_000;

fn flags() -> Result<(u64, u64), String> {
    let (mut decodes, mut seed) = (10_000_000, 0);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let text = args.next().ok_or_else(|| format!("{arg} needs a number"))?;
        let number = text.parse::<u64>().map_err(|e| format!("{arg} {text}: {e}"))?;
        match arg.as_str() {
            "--decodes" => decodes = number,
            "--seed" => seed = number,
            _ => return Err(format!("{arg} is not known")),
        }
    }
    Ok((decodes, seed))
}

fn main() -> ExitCode {
    let (decodes, first) = match flags() {
        Ok(flags) => flags,
        Err(mistake) => {
            testbed::say(&format!("{mistake}\n{USAGE}"));
            return ExitCode::from(2);
        }
    };
    let start = Instant::now();
    let (next, end) = (AtomicU64::new(first), first.saturating_add(decodes.div_ceil(INPUTS)));
    let (broken, total) = (AtomicBool::new(false), Mutex::new(Counts::default()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end || broken.load(Ordering::Relaxed) {
                        return;
                    }
                    match std::panic::catch_unwind(|| fuzz::run(seed, INPUTS)) {
                        Ok(counts) => {
                            let mut total = total.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                            *total = total.plus(&counts);
                        }
                        Err(_) => broken.store(true, Ordering::Relaxed),
                    }
                }
            });
        }
    });
    let total = total.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let rate = total.inputs as f64 / start.elapsed().as_secs_f64();
    let verdict = if broken.into_inner() { "BROKEN, see above" } else { "0 panics, 0 values that changed" };
    testbed::say(&format!("{} decodes, {rate:.0} per second: {verdict}\n{}", total.inputs, total.table()));
    if verdict.starts_with('B') { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
