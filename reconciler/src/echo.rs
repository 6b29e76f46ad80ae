//! Own writes of `control`, which a store's stream announces to their writer, too.
//!
//! A pass that has written goes on with what it wrote, so there is nothing to see; on DynamoDB a look costs two read
//! units, and each job has two such writes. It is put off, not left out: a hint says what it says, and only a look
//! at the record knows what stands there.

use contract::WriteId;
use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How late the look may be. A task on Fargate runs, and most have ended, by then; what happens to it is another
/// hint, and the look that follows does for both.
pub(crate) const PUT_OFF: Duration = Duration::from_secs(60);
/// So many versions are remembered: at 20 jobs a second those of five minutes, the life of a hint in its queue. An
/// echo of a forgotten one is looked at at once.
const REMEMBERED: usize = 20_000;

/// The versions that this process wrote last.
#[derive(Debug, Default)]
pub(crate) struct Echoes(Mutex<Last>);

#[derive(Debug, Default)]
struct Last {
    written: HashSet<WriteId>,
    order: VecDeque<WriteId>,
}

impl Echoes {
    fn lock(&self) -> MutexGuard<'_, Last> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This version is about to be written. Before the call: the echo may be faster than the answer.
    pub(crate) fn expect(&self, version: &WriteId) {
        let mut last = self.lock();
        if last.written.insert(version.clone()) {
            last.order.push_back(version.clone());
        }
        if last.order.len() > REMEMBERED
            && let Some(oldest) = last.order.pop_front()
        {
            last.written.remove(&oldest);
        }
    }

    /// Whether this process wrote this version.
    pub(crate) fn is_own(&self, version: &WriteId) -> bool {
        self.lock().written.contains(version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_versions_are_known_and_no_other() {
        let echoes = Echoes::default();
        let id = |n: usize| WriteId::from_bits(n as u64);
        for n in 0..=REMEMBERED {
            echoes.expect(&id(n));
        }
        assert!(!echoes.is_own(&id(0)) && echoes.is_own(&id(1)) && echoes.is_own(&id(REMEMBERED)));
        assert!(!echoes.is_own(&id(REMEMBERED + 1)));
    }
}
