//! Who holds a slot. In memory only: rebuilt from the records at every start, before the first grant.

use contract::{Desired, JobId, Timestamp};
use plan::{Limits, Rank, Running, Waiting, admit};
use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// See the module.
pub(crate) struct Admission {
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// How many slots there are now, of those that the settings allow.
    slots: Option<u32>,
    waiting: Waiting,
    ranks: HashMap<JobId, (Option<String>, Rank)>,
    running: Running,
    /// Holders with the queue that they count for.
    holding: HashMap<JobId, Option<String>>,
    start: Start,
}

/// Some job of the last life may hold an attempt, so nothing is granted before each was looked at.
#[derive(Default)]
enum Start {
    /// They are not listed yet.
    #[default]
    Unlisted,
    /// These have not been looked at.
    Unseen(HashSet<JobId>),
    /// All were.
    Over,
}

impl Admission {
    /// Grants nothing until [`Admission::expect`] was called and all its keys were seen.
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The keys to be seen before the first grant. Answers with grants if there are none.
    pub(crate) fn expect(&self, keys: HashSet<JobId>) -> Vec<JobId> {
        let mut s = self.lock();
        s.start = if keys.is_empty() { Start::Over } else { Start::Unseen(keys) };
        self.grant(&mut s)
    }

    /// No more than this can execute at once now. Answers with grants. Nothing is taken away from holders.
    pub(crate) fn allow(&self, slots: u32) -> Vec<JobId> {
        let mut s = self.lock();
        s.slots = Some(slots);
        self.grant(&mut s)
    }

    /// As [`Admission::allow`], for a call that follows at once and answers with the grants: a slot that has
    /// just gone must not be given before the next resync notices.
    pub(crate) fn note_slots(&self, slots: u32) {
        self.lock().slots = Some(slots);
    }

    /// Whether the job holds a slot.
    pub(crate) fn holds(&self, job_id: &JobId) -> bool {
        self.lock().holding.contains_key(job_id)
    }

    /// The jobs that hold a slot, in the order of their ids.
    pub(crate) fn holders(&self) -> Vec<JobId> {
        let mut holders: Vec<JobId> = self.lock().holding.keys().cloned().collect();
        holders.sort_unstable();
        holders
    }

    /// The job has an open attempt: it holds a slot, whether it was granted or not. Answers with grants.
    pub(crate) fn hold(&self, job_id: &JobId, queue: Option<&String>) -> Vec<JobId> {
        let mut s = self.lock();
        s.leave_line(job_id);
        s.take(job_id, queue.cloned());
        self.seen(&mut s, job_id)
    }

    /// As [`Admission::hold`], of a job whose queue cannot be read now: it counts for the one that it counted for.
    pub(crate) fn keep(&self, job_id: &JobId) -> Vec<JobId> {
        let mut s = self.lock();
        s.leave_line(job_id);
        let queue = s.holding.get(job_id).cloned().flatten();
        s.take(job_id, queue);
        self.seen(&mut s, job_id)
    }

    /// The job lacks nothing but a slot. Answers with grants; the job may be among them.
    pub(crate) fn wait(&self, job_id: &JobId, desired: &Desired, created_at: Timestamp) -> Vec<JobId> {
        let mut s = self.lock();
        s.give_back(job_id);
        let rank = Rank { priority: Reverse(desired.priority), created_at, job_id: job_id.clone() };
        let place = (desired.queue.clone(), rank);
        if s.ranks.get(job_id) != Some(&place) {
            s.leave_line(job_id);
            s.waiting.entry(place.0.clone()).or_default().insert(place.1.clone());
            s.ranks.insert(job_id.clone(), place);
        }
        self.seen(&mut s, job_id)
    }

    /// The job neither holds nor wants a slot. Answers with grants for others.
    pub(crate) fn release(&self, job_id: &JobId) -> Vec<JobId> {
        let mut s = self.lock();
        s.leave_line(job_id);
        s.give_back(job_id);
        self.seen(&mut s, job_id)
    }

    /// The job was looked at without success: it keeps its place, and no longer keeps others waiting at the
    /// start. Answers with grants.
    pub(crate) fn looked_at(&self, job_id: &JobId) -> Vec<JobId> {
        let mut s = self.lock();
        self.seen(&mut s, job_id)
    }

    fn seen(&self, s: &mut State, job_id: &JobId) -> Vec<JobId> {
        if let Start::Unseen(unseen) = &mut s.start {
            unseen.remove(job_id);
            if unseen.is_empty() {
                s.start = Start::Over;
            }
        }
        self.grant(s)
    }

    fn grant(&self, s: &mut State) -> Vec<JobId> {
        let over = matches!(s.start, Start::Over);
        let total = self.limits.total.min(s.slots.unwrap_or(u32::MAX));
        if !over || s.running.total >= total || s.ranks.is_empty() {
            return Vec::new();
        }
        let admitted = if total == self.limits.total {
            admit(&s.waiting, &s.running, &self.limits)
        } else {
            admit(&s.waiting, &s.running, &Limits { total, queues: self.limits.queues.clone() })
        };
        for job_id in &admitted {
            let queue = s.ranks.get(job_id).and_then(|(queue, _)| queue.clone());
            s.leave_line(job_id);
            s.take(job_id, queue);
        }
        admitted
    }
}

impl State {
    fn leave_line(&mut self, job_id: &JobId) {
        if let Some((queue, rank)) = self.ranks.remove(job_id)
            && let Some(line) = self.waiting.get_mut(&queue)
        {
            line.remove(&rank);
            if line.is_empty() {
                self.waiting.remove(&queue);
            }
        }
    }

    fn take(&mut self, job_id: &JobId, queue: Option<String>) {
        if self.holding.get(job_id) == Some(&queue) {
            return;
        }
        self.give_back(job_id);
        self.running.total += 1;
        if let Some(name) = &queue {
            *self.running.by_queue.entry(name.clone()).or_default() += 1;
        }
        self.holding.insert(job_id.clone(), queue);
    }

    fn give_back(&mut self, job_id: &JobId) {
        let Some(queue) = self.holding.remove(job_id) else { return };
        self.running.total -= 1;
        if let Some(name) = queue
            && let Some(count) = self.running.by_queue.get_mut(&name)
        {
            *count -= 1;
            if *count == 0 {
                self.running.by_queue.remove(&name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn id(name: &str) -> JobId {
        JobId::new(name).unwrap()
    }

    fn admission(total: u32) -> Admission {
        Admission::new(Limits { total, queues: BTreeMap::from([("q".to_owned(), 1)]) })
    }

    fn wait(a: &Admission, name: &str, queue: Option<&str>) -> Vec<JobId> {
        let desired = Desired { queue: queue.map(str::to_owned), ..Desired::new("echo") };
        a.wait(&id(name), &desired, Timestamp::from_millis(1))
    }

    #[test]
    fn nothing_is_granted_before_every_job_of_the_last_life_was_seen() {
        let a = admission(1);
        assert_eq!(wait(&a, "new", None), []);
        assert_eq!(a.expect(HashSet::from([id("old"), id("new")])), []);
        assert_eq!(wait(&a, "new", None), []);
        assert_eq!(a.hold(&id("old"), None), [], "the old one holds the only slot");
        assert_eq!(a.release(&id("old")), [id("new")]);
        assert!(a.holds(&id("new")));
    }

    #[test]
    fn a_slot_given_back_goes_to_the_next_and_counts_stay_true() {
        let a = admission(2);
        a.expect(HashSet::new());
        assert_eq!(wait(&a, "a", Some("q")), [id("a")]);
        assert_eq!(wait(&a, "b", Some("q")), []);
        assert_eq!(wait(&a, "c", None), [id("c")]);
        assert_eq!(a.hold(&id("a"), Some(&"q".to_owned())), []);
        assert_eq!(a.release(&id("a")), [id("b")]);
        assert_eq!(a.release(&id("a")), [], "released twice");
        a.release(&id("b"));
        a.release(&id("c"));
        assert_eq!(a.lock().running, Running::default());
    }

    #[test]
    fn no_more_slots_are_given_than_there_are_and_new_ones_go_to_those_who_wait() {
        let a = admission(3);
        assert_eq!(a.allow(1), []);
        a.expect(HashSet::new());
        assert_eq!(wait(&a, "a", None), [id("a")]);
        assert_eq!(wait(&a, "b", None), []);
        assert_eq!(a.allow(2), [id("b")]);
        assert_eq!(a.allow(0), []);
        assert!(a.holds(&id("a")) && a.holds(&id("b")), "a slot was taken away");
        for name in ["c", "d"] {
            assert_eq!(wait(&a, name, None), []);
        }
        a.note_slots(1);
        assert_eq!(a.release(&id("a")), [], "two slots have just gone, and another job has the last");
        assert_eq!(a.allow(100), [id("c"), id("d")], "the settings allow three");
    }

    #[test]
    fn a_job_whose_queue_cannot_be_read_any_more_keeps_its_slot_in_it() {
        let a = admission(2);
        a.expect(HashSet::new());
        a.hold(&id("x"), Some(&"q".to_owned()));
        assert_eq!(a.keep(&id("x")), []);
        assert_eq!(wait(&a, "b", Some("q")), []);
        assert_eq!(a.keep(&id("y")), [], "found so at the start: of no queue");
        assert_eq!(wait(&a, "c", None), [], "two hold the two slots");
        assert_eq!(a.release(&id("x")), [id("b")]);
    }

    #[test]
    fn a_job_whose_queue_was_edited_changes_lines() {
        let a = admission(5);
        a.expect(HashSet::new());
        a.hold(&id("x"), Some(&"q".to_owned()));
        assert_eq!(wait(&a, "b", Some("q")), []);
        assert_eq!(wait(&a, "b", None), [id("b")]);
    }
}
