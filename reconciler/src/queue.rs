//! The work queue of keys: no duplicates, the earliest wish wins, and never two passes on one key at once.
//!
//! A key that is asked for while its pass runs is queued again when the pass ends, because the pass may have
//! read before whatever the new wish is about. Everything here may be lost at any time: the resync fills the
//! queue again.

use contract::JobId;
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tokio::time::Instant;

#[derive(Default)]
struct State {
    ready: VecDeque<JobId>,
    queued: HashSet<JobId>,
    delayed: BTreeSet<(Instant, JobId)>,
    due: HashMap<JobId, Instant>,
    running: HashSet<JobId>,
    /// Asked for during the pass.
    again: HashSet<JobId>,
    closed: bool,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    /// One permit for each key that became ready.
    ready: Notify,
    /// The earliest delayed key changed.
    timer: Notify,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while holding the lock cannot leave the sets half-changed: no method calls out.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a pass now.
    pub(crate) fn push(&self, key: JobId) {
        let mut s = self.lock();
        if s.running.contains(&key) {
            s.again.insert(key);
            return;
        }
        if let Some(at) = s.due.remove(&key) {
            s.delayed.remove(&(at, key.clone()));
        }
        if s.queued.insert(key.clone()) {
            s.ready.push_back(key);
            drop(s);
            self.ready.notify_one();
        }
    }

    /// Asks for a pass at `at`, unless an earlier one is asked for already.
    pub(crate) fn push_at(&self, key: JobId, at: Instant) {
        if at <= Instant::now() {
            return self.push(key);
        }
        let mut s = self.lock();
        if s.queued.contains(&key) || s.due.get(&key).is_some_and(|due| *due <= at) {
            return;
        }
        if let Some(later) = s.due.insert(key.clone(), at) {
            s.delayed.remove(&(later, key.clone()));
        }
        s.delayed.insert((at, key));
        drop(s);
        self.timer.notify_one();
    }

    /// The next key; it counts as running until [`Queue::done`]. `None`: the queue is closed.
    pub(crate) async fn next(&self) -> Option<JobId> {
        loop {
            {
                let mut s = self.lock();
                if s.closed {
                    drop(s);
                    // Whoever came between the check and the wait gets the wake-up from the one before.
                    self.ready.notify_one();
                    return None;
                }
                if let Some(key) = s.ready.pop_front() {
                    s.queued.remove(&key);
                    s.running.insert(key.clone());
                    let more = !s.ready.is_empty();
                    drop(s);
                    // A permit may have been merged with another one; pass the wake-up on.
                    if more {
                        self.ready.notify_one();
                    }
                    return Some(key);
                }
            }
            self.ready.notified().await;
        }
    }

    /// The pass on `key` has ended.
    pub(crate) fn done(&self, key: &JobId) {
        let mut s = self.lock();
        s.running.remove(key);
        let again = s.again.remove(key);
        drop(s);
        if again {
            self.push(key.clone());
        }
    }

    /// Moves delayed keys to the ready ones when their time comes; runs until the queue is closed.
    pub(crate) async fn keep_time(&self) {
        loop {
            let (due, next) = {
                let mut s = self.lock();
                if s.closed {
                    return;
                }
                let now = Instant::now();
                let mut due = Vec::new();
                while s.delayed.first().is_some_and(|(at, _)| *at <= now) {
                    if let Some((_, key)) = s.delayed.pop_first() {
                        s.due.remove(&key);
                        due.push(key);
                    }
                }
                (due, s.delayed.first().map(|(at, _)| *at))
            };
            for key in due {
                self.push(key);
            }
            match next {
                Some(at) => {
                    tokio::select! {
                        biased;
                        () = tokio::time::sleep_until(at) => {}
                        () = self.timer.notified() => {}
                    }
                }
                None => self.timer.notified().await,
            }
        }
    }

    /// Ready and delayed keys, and those in a pass.
    pub(crate) fn depth(&self) -> (usize, usize, usize) {
        let s = self.lock();
        (s.ready.len(), s.delayed.len(), s.running.len())
    }

    /// Ends every waiter; passes that run are not touched.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.ready.notify_waiters();
        self.ready.notify_one();
        self.timer.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn key(name: &str) -> JobId {
        JobId::new(name).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_queued_once_and_the_earliest_time_wins() {
        let q = Queue::default();
        let start = Instant::now();
        q.push_at(key("a"), start + Duration::from_secs(9));
        q.push_at(key("a"), start + Duration::from_secs(3));
        q.push_at(key("a"), start + Duration::from_secs(5));
        q.push(key("b"));
        q.push(key("b"));
        assert_eq!(q.next().await, Some(key("b")));
        assert_eq!(q.depth(), (0, 1, 1));
        tokio::select! {
            () = q.keep_time() => unreachable!("runs for ever"),
            next = q.next() => assert_eq!(next, Some(key("a"))),
        }
        assert_eq!(start.elapsed(), Duration::from_secs(3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_asked_for_during_its_pass_runs_again_after_it_and_not_beside_it() {
        let q = Queue::default();
        q.push(key("a"));
        assert_eq!(q.next().await, Some(key("a")));
        q.push(key("a"));
        q.push(key("a"));
        assert_eq!(q.depth(), (0, 0, 1), "not ready while its pass runs");
        q.done(&key("a"));
        assert_eq!(q.next().await, Some(key("a")));
        q.done(&key("a"));
        assert_eq!(q.depth(), (0, 0, 0));
    }

    #[tokio::test]
    async fn closing_ends_the_waiters() {
        let q = Queue::default();
        let (next, ()) = tokio::join!(q.next(), async { q.close() });
        assert_eq!(next, None);
        q.keep_time().await;
    }
}
