//! How many assignments may wait in the pool beyond its slots.
//!
//! Between the end of an attempt and the launch of the next one lie a pass, an admission and another pass; a slot
//! would be idle for all of it, which is longer than a short job. So while jobs are short, as many are launched
//! ahead as are expected to end soon, and a slot that becomes free finds one waiting. While they are long none is:
//! what is launched waits in the pool, where priorities and quotas do not reach it and its start timeout runs.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What ends so soon after its launch counts as short.
pub(super) const QUICK: Duration = Duration::from_secs(1);
/// What is launched ahead is expected to be taken within this time: as many as ended within it.
const WINDOW: Duration = Duration::from_millis(100);
/// The most for each slot: an attempt takes a slot for three round trips to Redis, and between two attempts lie two
/// passes with several more.
const MOST_PER_SLOT: u32 = 4;

/// See the module. All of it can be lost.
#[derive(Default)]
pub(super) struct Ahead(Mutex<VecDeque<(Instant, u32)>>);

impl Ahead {
    /// So many attempts ended that were launched no longer than [`QUICK`] before.
    pub(super) fn ended(&self, quick: u32, now: Instant) {
        if quick > 0 {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back((now, quick));
        }
    }

    /// How many more than `slots` may be launched.
    pub(super) fn of(&self, slots: u32, now: Instant) -> u32 {
        let mut ended = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while ended.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > WINDOW) {
            ended.pop_front();
        }
        ended.iter().map(|(_, quick)| quick).sum::<u32>().min(slots.saturating_mul(MOST_PER_SLOT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_wait_as_have_ended_lately_and_none_where_there_is_no_slot() {
        let (ahead, start) = (Ahead::default(), Instant::now());
        assert_eq!(ahead.of(2, start), 0, "nothing has ended");
        ahead.ended(3, start);
        ahead.ended(2, start + WINDOW / 2);
        assert_eq!(ahead.of(2, start + WINDOW / 2), 5);
        assert_eq!((ahead.of(1, start + WINDOW), ahead.of(0, start + WINDOW)), (4, 0));
        assert_eq!(ahead.of(2, start + WINDOW + WINDOW / 4), 2, "the first three were too long ago");
        assert_eq!(ahead.of(2, start + 2 * WINDOW), 0);
    }
}
