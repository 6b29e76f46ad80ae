//! Which waiting jobs get a free slot.

use contract::{JobId, Timestamp};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// A waiting job's place: higher priority first, then the older one, then by id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rank {
    /// Higher goes first.
    pub priority: Reverse<i32>,
    /// Older goes first.
    pub created_at: Timestamp,
    /// Makes the order total.
    pub job_id: JobId,
}

/// The jobs that wait for nothing but a slot, by queue (`None`: no named limit) and rank.
pub type Waiting = BTreeMap<Option<String>, BTreeSet<Rank>>;

/// How many jobs hold a slot.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Running {
    /// In all.
    pub total: u32,
    /// By named queue.
    pub by_queue: BTreeMap<String, u32>,
}

/// How many jobs may hold a slot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Limits {
    /// In all.
    pub total: u32,
    /// By named queue; a queue that is not named has no limit of its own.
    pub queues: BTreeMap<String, u32>,
}

/// The jobs that may start now, best rank first. A full queue holds back its own jobs only. Costs as much as
/// there are jobs admitted times queues, however many wait.
#[must_use]
pub fn admit(waiting: &Waiting, running: &Running, limits: &Limits) -> Vec<JobId> {
    let mut free = limits.total.saturating_sub(running.total);
    let mut lines: Vec<_> = waiting
        .iter()
        .map(|(queue, ranks)| {
            let room = queue.as_ref().and_then(|name| {
                let most = limits.queues.get(name)?;
                Some(most.saturating_sub(running.by_queue.get(name).copied().unwrap_or(0)))
            });
            (room.unwrap_or(u32::MAX), ranks.iter().peekable())
        })
        .collect();
    let mut admitted = Vec::new();
    while free > 0 {
        let best = lines
            .iter_mut()
            .filter(|(room, _)| *room > 0)
            .filter_map(|line| line.1.peek().copied().map(|rank| (rank, line)))
            .min_by(|a, b| a.0.cmp(b.0));
        let Some((rank, line)) = best else { break };
        line.0 -= 1;
        line.1.next();
        free -= 1;
        admitted.push(rank.job_id.clone());
    }
    admitted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(jobs: &[(&str, i32, i64, Option<&str>)]) -> Waiting {
        let mut all = Waiting::new();
        for (id, priority, at, queue) in jobs {
            let rank = Rank {
                priority: Reverse(*priority),
                created_at: Timestamp::from_millis(*at),
                job_id: JobId::new(*id).unwrap(),
            };
            all.entry(queue.map(str::to_owned)).or_default().insert(rank);
        }
        all
    }

    fn names(found: &[JobId]) -> Vec<&str> {
        found.iter().map(JobId::as_str).collect()
    }

    #[test]
    fn higher_priority_goes_first_then_the_older_job() {
        let jobs = waiting(&[("a", 0, 1, None), ("b", 5, 9, None), ("c", 0, 0, None)]);
        let limits = Limits { total: 2, queues: BTreeMap::new() };
        assert_eq!(names(&admit(&jobs, &Running::default(), &limits)), ["b", "c"]);
    }

    #[test]
    fn a_full_queue_holds_back_only_its_own_jobs() {
        let jobs = waiting(&[("a", 9, 1, Some("gpu")), ("b", 9, 2, Some("gpu")), ("c", 0, 3, None)]);
        let limits = Limits { total: 10, queues: BTreeMap::from([("gpu".to_owned(), 2)]) };
        let running = Running { total: 1, by_queue: BTreeMap::from([("gpu".to_owned(), 1)]) };
        assert_eq!(names(&admit(&jobs, &running, &limits)), ["a", "c"]);
    }

    #[test]
    fn more_running_than_a_lowered_limit_allows_admits_nobody() {
        let jobs = waiting(&[("a", 0, 1, None)]);
        let limits = Limits { total: 2, queues: BTreeMap::new() };
        let running = Running { total: 7, by_queue: BTreeMap::new() };
        assert_eq!(admit(&jobs, &running, &limits), []);
    }
}
