//! kill -9 of the orchestrator with jobs in flight, judged by a ledger that the agents keep outside of it.

use super::node::Setup;
use super::{Failed, Programs, load};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long an agent takes. With four slots, 200 of them need half a second at least.
const AGENT_MS: u64 = 10;

/// What became of the jobs.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Verdict {
    /// Jobs that are SUCCEEDED.
    pub succeeded: usize,
    /// Attempts that started twice.
    pub twice: usize,
    /// Pairs of intervals of one job that overlap.
    pub overlaps: usize,
    /// From the restart of the program until every job had ended, in seconds.
    pub settled_seconds: f64,
}

/// Submits `jobs` jobs, kills the orchestrator when a quarter of them has started, starts it again.
///
/// # Errors
/// A job was refused, or they do not settle within a minute.
pub fn measure(programs: &Programs, work: &Path, jobs: usize) -> Result<Verdict, Failed> {
    let mut setup = Setup::fresh(work, "killed", load::SLOTS)?;
    let ledger = setup.folder.join("ledger");
    let words = serde_json::to_string(&[
        programs.agent.to_string_lossy(),
        "ledger".into(),
        ledger.to_string_lossy(),
        AGENT_MS.to_string().into(),
    ])?;
    setup.job_types = Some(format!("[job_types.ledger]\ncommand = {words}\n"));
    std::fs::write(&ledger, "")?;
    let node = setup.start(programs)?;
    load::post(&node, r#"{"job_type":"ledger"}"#, jobs)?;
    let deadline = Instant::now() + Duration::from_secs(60);
    while starts(&std::fs::read_to_string(&ledger)?) < jobs / 4 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    node.kill()?;
    let restarted = Instant::now();
    let node = setup.start(programs)?;
    let look = setup.look()?;
    look.wait_until_settled(Duration::from_secs(60))?;
    let settled_seconds = restarted.elapsed().as_secs_f64();
    let succeeded =
        look.count("SELECT count(*) FROM jobs WHERE json_extract(status, '$.status') = 'SUCCEEDED'")?;
    node.end()?;
    Ok(Verdict { succeeded, settled_seconds, ..judge(&std::fs::read_to_string(&ledger)?)? })
}

fn starts(ledger: &str) -> usize {
    ledger.lines().filter(|line| line.starts_with("start ")).count()
}

/// Reads the ledger. An interval without an end lasts for ever: its agent was killed, or still runs.
fn judge(ledger: &str) -> Result<Verdict, Failed> {
    let mut started: BTreeSet<(&str, &str)> = BTreeSet::new();
    let mut intervals: BTreeMap<&str, Vec<(u128, u128)>> = BTreeMap::new();
    let mut open: BTreeMap<(&str, &str), u128> = BTreeMap::new();
    let mut verdict = Verdict::default();
    for line in ledger.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [what, at, job, attempt] = words[..] else {
            return Err(Failed::new(format!("not a line of a ledger: {line}")));
        };
        let at: u128 = at.parse()?;
        if what == "start" {
            verdict.twice += usize::from(!started.insert((job, attempt)));
            open.insert((job, attempt), at);
        } else if let Some(start) = open.remove(&(job, attempt)) {
            intervals.entry(job).or_default().push((start, at));
        }
    }
    for ((job, _), start) in open {
        intervals.entry(job).or_default().push((start, u128::MAX));
    }
    for of_job in intervals.values_mut() {
        of_job.sort_unstable();
        verdict.overlaps += of_job.windows(2).filter(|pair| pair[1].0 < pair[0].1).count();
    }
    Ok(verdict)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_with_two_agents_at_once_is_found_out() {
        let verdict =
            judge("start 1 a 1\nstart 2 b 1\nend 3 a 1\nend 4 b 1\nstart 5 a 2\nend 6 a 2\n").unwrap();
        assert_eq!((verdict.twice, verdict.overlaps), (0, 0));
        let verdict = judge("start 1 a 1\nstart 2 a 2\nend 3 a 1\nend 4 a 2\n").unwrap();
        assert_eq!((verdict.twice, verdict.overlaps), (0, 1));
        let verdict = judge("start 1 a 1\nstart 2 a 1\nend 3 a 1\n").unwrap();
        assert_eq!(verdict.twice, 1);
        let verdict = judge("start 1 a 1\nstart 9 a 2\nend 10 a 2\n").unwrap();
        assert_eq!(verdict.overlaps, 1, "the first agent never said that it ended");
    }
}
