//! Where a job stands among those that wait for the same limit, by the order in which the reconciler admits.

use crate::Shared;
use crate::problem::Problem;
use contract::{Desired, Job, JobId, Phase, Reason, Timestamp};
use futures_util::stream::{self, StreamExt};
use plan::Rank;
use serde::Serialize;
use std::cmp::Reverse;
use std::sync::Arc;

/// The most active jobs that are read to tell a position. With more of them waiting, a place in the line says
/// little, and a reader who asks every second must not be a load.
const MOST: usize = 1000;
/// Reads at once.
const AT_ONCE: usize = 32;

/// A place in a line.
#[derive(Serialize)]
pub(super) struct Position {
    /// 1 is next.
    place: usize,
    /// How many wait, this one included.
    of: usize,
    /// `total` (AGENT_RUNNER_MAX_CONCURRENT_TASKS), or the name of the queue.
    limit: String,
    /// How many jobs hold a slot of this limit.
    running: usize,
}

/// What of an active job says whether it is in the line.
struct Active {
    rank: Rank,
    queue: Option<String>,
    waits: bool,
    /// The reconciler has written that it waits, so there was no slot for it.
    denied: bool,
    holds: bool,
}

impl Active {
    fn of(job: &Job) -> Option<Self> {
        let desired = job.desired().ok()?;
        let control = job.control.as_ref().and_then(|raw| raw.parse().ok());
        let created_at = job.created.parse().ok()?.at;
        let rank = rank(&job.job_id, &desired, created_at);
        let (waits, denied, holds) = control.map_or((true, false, false), |c| {
            let holds = matches!(c.phase, Phase::Launching | Phase::Running);
            let denied = c.reason == Some(Reason::WaitingForQuota);
            (denied, denied, holds)
        });
        Some(Self { rank, queue: desired.queue, waits, denied, holds })
    }
}

fn rank(job_id: &JobId, desired: &Desired, created_at: Timestamp) -> Rank {
    Rank { priority: Reverse(desired.priority), created_at, job_id: job_id.clone() }
}

/// The position of a job that waits for a slot. `None`: more jobs are active than are read for this, or it does
/// not wait any more.
pub(super) async fn position(shared: &Arc<Shared>, job_id: &JobId) -> Result<Option<Position>, Problem> {
    let all = active(shared).await?;
    Ok(all.and_then(|all| among(&all, job_id, |queue| shared.app.job_types.queues.get(queue).copied())))
}

/// Which limit, in words, a job would wait for that is kept from starting by something else. It is no part of what the
/// reconciler decides, for only who wants a slot competes for one.
pub(super) async fn would_wait(shared: &Arc<Shared>, job_id: &JobId) -> Result<Option<String>, Problem> {
    let all = active(shared).await?;
    Ok(all.and_then(|all| reached(&all, job_id, |queue| shared.app.job_types.queues.get(queue).copied())))
}

/// The active jobs; `None` when there are more of them than are read.
async fn active(shared: &Arc<Shared>) -> Result<Option<Vec<Active>>, Problem> {
    let records = &shared.app.records;
    let active = records.list_active().await?;
    if active.len() > MOST {
        return Ok(None);
    }
    let read = stream::iter(active).map(|(job_id, _)| async move { records.job(&job_id).await });
    let read: Vec<_> = read.buffer_unordered(AT_ONCE).collect().await;
    let mut all = Vec::with_capacity(read.len());
    for job in read {
        all.extend(job?.as_ref().and_then(Active::of));
    }
    Ok(Some(all))
}

/// How many jobs hold a slot of a queue, or one at all.
fn holders(all: &[Active], queue: Option<&String>) -> usize {
    all.iter().filter(|a| a.holds && (queue.is_none() || a.queue.as_ref() == queue)).count()
}

/// The job's queue if its own limit is reached.
fn full_queue<'a>(all: &[Active], job: &'a Active, size: impl Fn(&str) -> Option<u32>) -> Option<&'a String> {
    job.queue.as_ref().filter(|queue| {
        let size = size(queue).map(|size| usize::try_from(size).unwrap_or(usize::MAX));
        size.is_some_and(|size| holders(all, Some(queue)) >= size)
    })
}

fn reached(all: &[Active], job_id: &JobId, size: impl Fn(&str) -> Option<u32>) -> Option<String> {
    let mine = all.iter().find(|active| active.rank.job_id == *job_id)?;
    if let Some(queue) = full_queue(all, mine, &size) {
        return Some(format!(
            "every slot of queue {queue:?} is taken; {} running",
            holders(all, Some(queue))
        ));
    }
    // How many slots there are in all is the reconciler's to know: they are taken if it lets somebody wait for one.
    let taken = all.iter().any(|a| a.denied && full_queue(all, a, &size).is_none());
    taken.then(|| format!("every slot of the global limit is taken; {} running", holders(all, None)))
}

fn among(all: &[Active], job_id: &JobId, size: impl Fn(&str) -> Option<u32>) -> Option<Position> {
    let mine = all.iter().find(|active| active.rank.job_id == *job_id).filter(|active| active.waits)?;
    // The queue's own limit is what keeps it if that is reached; else it is the limit on all jobs.
    let full = full_queue(all, mine, size);
    let line: Vec<&Rank> = all
        .iter()
        .filter(|a| a.waits && (full.is_none() || a.queue.as_ref() == full))
        .map(|a| &a.rank)
        .collect();
    Some(Position {
        place: 1 + line.iter().filter(|rank| ***rank < mine.rank).count(),
        of: line.len(),
        limit: full.map_or_else(|| "total".to_owned(), |queue| format!("queue {queue}")),
        running: holders(all, full),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn active(name: &str, priority: i32, at: i64, queue: Option<&str>, holds: bool) -> Active {
        let desired = Desired { priority, ..Desired::new("echo") };
        let rank = rank(&JobId::new(name).unwrap(), &desired, Timestamp::from_millis(at));
        Active { rank, queue: queue.map(str::to_owned), waits: !holds, denied: !holds, holds }
    }

    fn told(all: &[Active], name: &str) -> Option<(usize, usize, String, usize)> {
        let size = |queue: &str| (queue == "gpu").then_some(1);
        let found = among(all, &JobId::new(name).unwrap(), size)?;
        Some((found.place, found.of, found.limit, found.running))
    }

    #[test]
    fn a_place_is_counted_among_those_who_wait_for_the_same_limit() {
        let all = [
            active("a", 0, 1, None, true),
            active("b", 0, 2, Some("gpu"), true),
            active("c", 0, 3, Some("gpu"), false),
            active("d", 9, 4, Some("gpu"), false),
            active("e", 0, 5, None, false),
        ];
        assert_eq!(told(&all, "d"), Some((1, 2, "queue gpu".into(), 1)), "priority goes first");
        assert_eq!(told(&all, "c"), Some((2, 2, "queue gpu".into(), 1)));
        assert_eq!(told(&all, "e"), Some((3, 3, "total".into(), 2)));
        assert_eq!(told(&all, "a"), None, "it runs");
        assert_eq!(told(&all, "gone"), None);
    }

    #[test]
    fn a_job_that_is_held_would_wait_where_others_do() {
        let held =
            |name: &str, queue| Active { waits: false, denied: false, ..active(name, 0, 9, queue, false) };
        let reached = |all: &[Active], name: &str| {
            reached(all, &JobId::new(name).unwrap(), |queue: &str| (queue == "gpu").then_some(1))
        };
        let mut all = vec![
            active("a", 0, 1, Some("gpu"), true),
            active("b", 0, 2, Some("gpu"), false),
            held("c", Some("gpu")),
            held("d", None),
        ];
        assert_eq!(reached(&all, "c").unwrap(), "every slot of queue \"gpu\" is taken; 1 running");
        assert_eq!(reached(&all, "d"), None, "only the queue is full");
        all.push(active("e", 0, 3, None, false));
        assert_eq!(reached(&all, "d").unwrap(), "every slot of the global limit is taken; 1 running");
        all[4].denied = false;
        assert_eq!(reached(&all, "d"), None, "nobody has looked at the one that waits");
    }
}
