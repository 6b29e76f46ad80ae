//! How long to pause before the next try.

use contract::desired::Backoff;
use contract::{JobId, Timestamp};

/// The pause after the `failures`-th failure in a row: `initial · factor^(failures-1)`, at most `max`, then
/// ± 10 % by a hash of the job's id and the count, so that jobs that failed together do not return together
/// and planning twice gives the same answer. All in milliseconds.
fn pause_ms(initial: u64, factor: u64, max: u64, failures: u32, job_id: &JobId) -> u64 {
    let mut pause = initial.min(max);
    for _ in 1..failures.min(64) {
        pause = pause.saturating_mul(factor).min(max);
    }
    let spread = pause / 5;
    let offset = if spread == 0 { 0 } else { hash(job_id, failures) % (spread + 1) };
    pause - spread / 2 + offset
}

/// FNV-1a (Fowler, Noll, Vo), 64 bits: spreads ids evenly, needs no state and never changes.
fn hash(job_id: &JobId, failures: u32) -> u64 {
    let bytes = job_id.as_str().bytes().chain(failures.to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

/// The time of the next try after a failure that used up a try.
pub(crate) fn after_failure(backoff: &Backoff, tries: u32, job_id: &JobId, from: Timestamp) -> Timestamp {
    let initial = backoff.initial_seconds.saturating_mul(1000);
    let max = backoff.max_seconds.saturating_mul(1000);
    later(from, pause_ms(initial, backoff.factor.into(), max, tries.max(1), job_id))
}

/// The time of the next try after `count` failures that double the pause.
pub(crate) fn doubling(initial: u64, max: u64, count: u32, job_id: &JobId, from: Timestamp) -> Timestamp {
    later(from, pause_ms(initial, 2, max, count.max(1), job_id))
}

pub(crate) fn later(from: Timestamp, millis: u64) -> Timestamp {
    from.plus_millis(i64::try_from(millis).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u32) -> JobId {
        JobId::new(format!("job-{n}")).unwrap()
    }

    #[test]
    fn the_pause_grows_by_the_factor_up_to_the_limit_and_stays_within_ten_percent() {
        for n in 0..200 {
            for (failures, ideal) in [(1, 10_000), (2, 20_000), (3, 40_000), (6, 300_000), (60, 300_000)] {
                let pause = pause_ms(10_000, 2, 300_000, failures, &id(n));
                assert!((ideal * 9 / 10..=ideal * 11 / 10).contains(&pause), "{failures}: {pause}");
            }
        }
    }

    #[test]
    fn jobs_that_failed_together_do_not_return_together() {
        let mut pauses: Vec<u64> = (0..100).map(|n| pause_ms(10_000, 2, 300_000, 1, &id(n))).collect();
        pauses.sort_unstable();
        pauses.dedup();
        assert!(pauses.len() > 80, "only {} different pauses", pauses.len());
    }

    #[test]
    fn the_pause_of_a_job_never_changes() {
        assert_eq!([1, 3].map(|n| pause_ms(10_000, 2, 300_000, n, &id(1))), [9207, 43_248]);
    }

    #[test]
    fn no_pause_stays_no_pause() {
        assert_eq!(pause_ms(0, 2, 300_000, 9, &id(1)), 0);
        assert_eq!(pause_ms(5_000, 2, 0, 1, &id(1)), 0);
    }
}
