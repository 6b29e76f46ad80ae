//! What the agents of a test wrote down, outside of the system that is tested.
//!
//! Each line is `event job attempt pid nanoseconds`, the time on the machine's monotonic clock. While it
//! lives, an agent (with every process that it starts) holds the lock of its job's file beside the ledger:
//! the kernel frees it when the last of them is dead, so that a second agent of one job is seen for
//! certain, whatever the clocks say. It writes `overlap` then.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What an agent did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// It started.
    Start,
    /// It is about to end by itself.
    End,
    /// It was told to stop.
    Told,
    /// It found another agent of its job alive.
    Overlap,
}

/// A line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What happened.
    pub event: Event,
    /// The job.
    pub job: String,
    /// The attempt's number.
    pub attempt: u32,
    /// The agent's process.
    pub pid: i32,
    /// Nanoseconds of the monotonic clock.
    pub at: u64,
}

/// A ledger file.
#[derive(Debug, Clone)]
pub struct Ledger(PathBuf);

impl Ledger {
    /// The ledger in this file, which need not exist yet.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        Self(path)
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Every line so far.
    ///
    /// # Panics
    /// When a line cannot be read: the judge must not overlook one.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        let text = std::fs::read_to_string(&self.0).unwrap_or_default();
        let line = |text: &str| parse(text).unwrap_or_else(|| panic!("not a line of a ledger: {text:?}"));
        text.lines().map(line).collect()
    }

    /// The lines of one job.
    #[must_use]
    pub fn of(&self, job: &str) -> Vec<Line> {
        self.lines().into_iter().filter(|line| line.job == job).collect()
    }

    /// How often an event happened to a job.
    #[must_use]
    pub fn count(&self, job: &str, event: Event) -> usize {
        self.of(job).iter().filter(|line| line.event == event).count()
    }
}

fn parse(text: &str) -> Option<Line> {
    let mut words = text.split(' ');
    let event = match words.next()? {
        "start" => Event::Start,
        "end" => Event::End,
        "told" => Event::Told,
        "overlap" => Event::Overlap,
        _ => return None,
    };
    let job = words.next()?.to_owned();
    let attempt = words.next()?.parse().ok()?;
    let pid = words.next()?.parse().ok()?;
    let at = words.next()?.parse().ok()?;
    Some(Line { event, job, attempt, pid, at })
}

/// What is wrong with the executions that the ledger shows, a sentence each.
#[must_use]
pub fn mistakes(lines: &[Line]) -> Vec<String> {
    let mut found = Vec::new();
    let mut executions: BTreeMap<(&str, u32), Vec<&Line>> = BTreeMap::new();
    for line in lines {
        executions.entry((&line.job, line.attempt)).or_default().push(line);
        if line.event == Event::Overlap {
            found.push(format!("attempt {} of job {} met another agent alive", line.attempt, line.job));
        }
    }
    let mut ended: BTreeMap<&str, (u32, u64)> = BTreeMap::new();
    for ((job, attempt), lines) in executions {
        let starts: Vec<u64> = lines.iter().filter(|l| l.event == Event::Start).map(|l| l.at).collect();
        if starts.len() != 1 {
            found.push(format!("attempt {attempt} of job {job} was started {} times", starts.len()));
        }
        // Attempts come in the order of their numbers; one without an end ended with its lock.
        let end = lines.iter().filter(|l| l.event != Event::Start).map(|l| l.at).max();
        if let (Some((before, until)), Some(start)) = (ended.get(job), starts.first())
            && start < until
        {
            found.push(format!("attempt {attempt} of job {job} started before attempt {before} ended"));
        }
        if let Some(last) = end.or(starts.first().copied()) {
            ended.insert(job, (attempt, last));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Vec<String> {
        mistakes(&text.lines().map(|l| parse(l).unwrap()).collect::<Vec<_>>())
    }

    #[test]
    fn a_second_execution_and_every_overlap_is_found() {
        assert_eq!(of("start a 1 7 10\nend a 1 7 20\nstart a 2 8 30\nstart b 1 9 5"), [""; 0]);
        assert_eq!(of("start a 1 7 10\nstart a 1 8 30"), ["attempt 1 of job a was started 2 times"]);
        assert_eq!(
            of("start a 1 7 10\nstart a 2 8 15\nend a 1 7 20"),
            ["attempt 2 of job a started before attempt 1 ended"]
        );
        assert_eq!(
            of("start a 1 7 10\nstart a 2 8 30\noverlap a 2 8 31"),
            ["attempt 2 of job a met another agent alive"]
        );
        assert_eq!(of("end a 1 7 10"), ["attempt 1 of job a was started 0 times"]);
    }
}
