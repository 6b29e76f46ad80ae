//! What an `up` without work costs.

use super::node::{Node, Setup};
use super::{Failed, Programs, load};
use std::path::Path;
use std::time::{Duration, Instant};

/// What it costs.
#[derive(Debug, Clone, Copy)]
pub struct Idle {
    /// Percent of one core.
    pub cpu_percent: f64,
    /// Resident memory after the start, in MB.
    pub rss_mb: f64,
    /// The same after some jobs, in MB.
    pub rss_after_mb: f64,
}

/// From the start until the first measurement, so that the start itself is not in it.
const CALM: Duration = Duration::from_secs(2);

/// Measures over `span` with the default settings; a resync every 30 s is part of being idle.
///
/// # Errors
/// The program does not run.
pub fn measure(programs: &Programs, work: &Path, span: Duration, jobs: usize) -> Result<Idle, Failed> {
    let setup = Setup::fresh(work, "idle", load::SLOTS)?;
    let node = setup.start(programs)?;
    std::thread::sleep(CALM);
    let cpu_percent = percent(&node, span)?;
    let rss_mb = node.rss_mb()?;
    load::post(&node, load::ECHO, jobs)?;
    setup.look()?.wait_until_settled(Duration::from_secs(60))?;
    let rss_after_mb = node.rss_mb()?;
    node.end()?;
    Ok(Idle { cpu_percent, rss_mb, rss_after_mb })
}

fn percent(node: &Node, span: Duration) -> Result<f64, Failed> {
    let (start, used) = (Instant::now(), node.cpu()?);
    std::thread::sleep(span);
    let used = node.cpu()?.saturating_sub(used);
    Ok(used.as_secs_f64() / start.elapsed().as_secs_f64() * 100.0)
}
