//! Who holds a slot. In memory only: rebuilt from the records at every start, before the first grant.
//!
//! Jobs whose launch the task runtime has no [`room`](crate::room) for keep their places in lines of their own, by
//! what they demand: without an attempt, and without a look at them until it is their turn.

use crate::room::{Became, Room};
use crate::tasks::Demand;
use contract::{Desired, JobId, Timestamp};
use plan::{Limits, Rank, Running, Scarcity, Waiting, admit};
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tokio::time::Instant;

/// See the module.
pub(crate) struct Admission {
    limits: Limits,
    state: Mutex<State>,
    /// When there may be room has changed.
    due: Notify,
}

#[derive(Default)]
struct State {
    /// How many slots there are now, of those that the settings allow.
    slots: Option<u32>,
    room: Room,
    waiting: Waiting,
    /// Those for whom there is no room, by what they demand.
    held: BTreeMap<Demand, Waiting>,
    places: HashMap<JobId, Place>,
    running: Running,
    /// Holders with the queue that they count for.
    holding: HashMap<JobId, Option<String>>,
    start: Start,
}

/// Where a job waits.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    queue: Option<String>,
    rank: Rank,
    demand: Option<Demand>,
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
        Self { limits, state: Mutex::default(), due: Notify::new() }
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

    /// The job lacks nothing but a slot, for a launch that demands so much. Answers with grants; the job may be
    /// among them.
    pub(crate) fn wait(
        &self,
        job_id: &JobId,
        desired: &Desired,
        created_at: Timestamp,
        demand: Option<Demand>,
    ) -> Vec<JobId> {
        let mut s = self.lock();
        s.give_back(job_id);
        let rank = Rank { priority: Reverse(desired.priority), created_at, job_id: job_id.clone() };
        let place = Place { queue: desired.queue.clone(), rank, demand };
        if s.places.get(job_id) != Some(&place) {
            s.leave_line(job_id);
            s.join_line(&place);
            s.places.insert(job_id.clone(), place);
        }
        self.seen(&mut s, job_id)
    }

    /// Whether the job, which holds a slot, may make a launch that demands so much. If not it may have been granted
    /// before it was known that there is no room.
    pub(crate) fn may_launch(&self, job_id: &JobId, demand: Option<Demand>) -> bool {
        demand.is_none_or(|demand| self.lock().room.lets(job_id, demand))
    }

    /// What became of a launch that demanded so much. Answers with grants.
    pub(crate) fn launched(
        &self,
        job_id: &JobId,
        demand: Demand,
        became: Became<'_>,
        wall: Timestamp,
    ) -> Vec<JobId> {
        let mut s = self.lock();
        let before = s.room.holds();
        s.room.answered(job_id, demand, became, Instant::now(), wall);
        if s.room.holds() > before {
            s.hold_back();
        }
        self.due.notify_one();
        self.grant(&mut s)
    }

    /// Whether any launch is kept waiting for room.
    pub(crate) fn is_scarce(&self) -> bool {
        !self.lock().room.is_free()
    }

    /// What keeps launches that demand so much waiting.
    pub(crate) fn scarcity(&self, demand: Demand) -> Option<Scarcity> {
        self.lock().room.scarcity(demand).cloned()
    }

    /// Comes back when there may be room for somebody who waits; then [`Admission::look_for_room`].
    pub(crate) async fn room_due(&self) {
        let next = self.lock().room.next(Instant::now());
        let later = async {
            match next {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.due.notified() => {}
            () = later => {}
        }
    }

    /// Answers with grants to jobs for whom there may be room by now.
    pub(crate) fn look_for_room(&self) -> Vec<JobId> {
        let mut s = self.lock();
        self.grant(&mut s)
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
        if !matches!(s.start, Start::Over) || s.places.is_empty() {
            return Vec::new();
        }
        let total = self.limits.total.min(s.slots.unwrap_or(u32::MAX));
        let mut granted = self.let_some_through(s, total);
        if s.running.total < total {
            let admitted = if total == self.limits.total {
                admit(&s.waiting, &s.running, &self.limits)
            } else {
                admit(&s.waiting, &s.running, &Limits { total, queues: self.limits.queues.clone() })
            };
            for job_id in &admitted {
                s.grant(job_id);
            }
            granted.extend(admitted);
        }
        granted
    }

    /// Grants slots to those who may try whether there is room, the best rank first.
    fn let_some_through(&self, s: &mut State, total: u32) -> Vec<JobId> {
        let mut granted = Vec::new();
        if s.room.is_free() && s.held.is_empty() {
            return granted;
        }
        let now = Instant::now();
        s.room.tidy(now);
        s.set_free(now);
        while s.running.total < total {
            let one_more = Limits { total: s.running.total + 1, queues: self.limits.queues.clone() };
            let may_try = s.held.iter().filter(|(demand, _)| s.room.for_more(**demand, now) != Some(0));
            let first = may_try.filter_map(|(demand, line)| {
                let job_id = admit(line, &s.running, &one_more).pop()?;
                Some((s.places.get(&job_id)?.rank.clone(), *demand))
            });
            let Some((rank, demand)) = first.min() else { break };
            s.grant(&rank.job_id);
            s.room.let_through(&rank.job_id, demand, now);
            granted.push(rank.job_id);
        }
        granted
    }
}

impl State {
    fn line_of(&mut self, place: &Place) -> &mut Waiting {
        let now = Instant::now();
        match place.demand.filter(|demand| self.room.for_more(*demand, now).is_some()) {
            Some(demand) => self.held.entry(demand).or_default(),
            None => &mut self.waiting,
        }
    }

    fn join_line(&mut self, place: &Place) {
        let (queue, rank) = (place.queue.clone(), place.rank.clone());
        self.line_of(place).entry(queue).or_default().insert(rank);
    }

    /// Everybody for whom there is no room any more changes lines. A look at all of them, so only for a new hold.
    fn hold_back(&mut self) {
        let now = Instant::now();
        let no_room =
            |place: &&Place| place.demand.is_some_and(|demand| self.room.for_more(demand, now).is_some());
        let stuck: Vec<Place> = self.places.values().filter(no_room).cloned().collect();
        for place in stuck {
            if remove(&mut self.waiting, &place) {
                self.join_line(&place);
            }
        }
    }

    /// Whoever demands what is not held any more waits for a slot like everybody.
    fn set_free(&mut self, now: Instant) {
        let free: Vec<Demand> =
            self.held.keys().copied().filter(|demand| self.room.for_more(*demand, now).is_none()).collect();
        for demand in free {
            for (queue, ranks) in self.held.remove(&demand).unwrap_or_default() {
                self.waiting.entry(queue).or_default().extend(ranks);
            }
        }
    }

    fn leave_line(&mut self, job_id: &JobId) {
        let Some(place) = self.places.remove(job_id) else { return };
        if remove(&mut self.waiting, &place) {
            return;
        }
        if let Some(demand) = place.demand
            && let Some(line) = self.held.get_mut(&demand)
        {
            remove(line, &place);
            if line.is_empty() {
                self.held.remove(&demand);
            }
        }
    }

    /// Gives a slot to a job that waits.
    fn grant(&mut self, job_id: &JobId) {
        let queue = self.places.get(job_id).and_then(|place| place.queue.clone());
        self.leave_line(job_id);
        self.take(job_id, queue);
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
        self.room.give_up(job_id);
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

fn remove(line: &mut Waiting, place: &Place) -> bool {
    let Some(ranks) = line.get_mut(&place.queue) else { return false };
    let was_there = ranks.remove(&place.rank);
    if ranks.is_empty() {
        line.remove(&place.queue);
    }
    was_there
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
        a.wait(&id(name), &desired, Timestamp::from_millis(1), None)
    }

    fn demand(size: u32) -> Demand {
        Demand { capacity: contract::desired::Capacity::OnDemand, cpu: size, memory: 512 }
    }

    fn wait_for(a: &Admission, name: &str, size: u32, priority: i32) -> Vec<JobId> {
        let desired = Desired { priority, ..Desired::new("echo") };
        a.wait(&id(name), &desired, Timestamp::from_millis(1), Some(demand(size)))
    }

    fn refuse(a: &Admission, name: &str, size: u32) -> Vec<JobId> {
        let refusal = contract::Refusal { kind: contract::RefusalKind::Quota, message: "full".to_owned() };
        a.launched(&id(name), demand(size), Became::NoRoom(&refusal), Timestamp::from_millis(1))
    }

    #[tokio::test(start_paused = true)]
    async fn without_room_jobs_wait_and_the_best_of_them_tries_when_it_is_time() {
        let a = admission(100);
        a.expect(HashSet::new());
        assert_eq!(wait_for(&a, "a", 256, 0), [id("a")]);
        assert_eq!(wait_for(&a, "b", 256, 0), [id("b")]);
        assert_eq!(refuse(&a, "a", 256), []);
        a.release(&id("a"));
        assert!(!a.may_launch(&id("b"), Some(demand(256))), "it was granted before");
        assert_eq!(a.release(&id("b")), []);
        assert_eq!(wait_for(&a, "c", 256, 0), []);
        assert_eq!(wait_for(&a, "d", 256, 7), []);
        assert_eq!(wait_for(&a, "small", 128, 0), [id("small")], "there may be room for it");
        assert_eq!(wait(&a, "other", None), [id("other")], "it takes no room");
        a.room_due().await;
        assert_eq!(a.look_for_room(), [], "the refusal was heard");
        let before = Instant::now();
        a.room_due().await;
        assert!(before.elapsed() >= std::time::Duration::from_secs(2));
        assert_eq!(a.look_for_room(), [id("d")]);
        assert!(a.may_launch(&id("d"), Some(demand(256))));
        assert_eq!(a.look_for_room(), [], "one at a time");
        assert_eq!(a.release(&id("d")), [id("c")], "d was cancelled");
        let accepted = a.launched(&id("c"), demand(256), Became::Task, Timestamp::from_millis(1));
        assert_eq!(accepted, []);
        for name in ["e", "f"] {
            assert_eq!(wait_for(&a, name, 256, 0), [id(name)]);
        }
        assert_eq!(wait_for(&a, "g", 256, 0), [], "two at a time");
        assert_eq!(a.lock().places.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hold_takes_nobody_out_of_its_queue_and_ends_for_all() {
        let a = admission(1);
        a.expect(HashSet::new());
        a.hold(&id("x"), None);
        for name in ["a", "b", "c"] {
            assert_eq!(wait_for(&a, name, 256, 0), []);
        }
        assert_eq!(refuse(&a, "x", 256), []);
        assert_eq!(a.lock().held.len(), 1);
        tokio::time::advance(std::time::Duration::from_secs(2)).await;
        assert_eq!(a.look_for_room(), [], "the slot is taken");
        assert_eq!(a.release(&id("x")), [id("a")]);
        a.release(&id("a"));
        assert_eq!(a.release(&id("b")), [id("c")]);
        a.release(&id("c"));
        assert_eq!(wait_for(&a, "d", 256, 0), [id("d")]);
        assert_eq!(wait_for(&a, "e", 256, 0), []);
        tokio::time::advance(std::time::Duration::from_secs(121)).await;
        assert_eq!(a.look_for_room(), []);
        assert!(a.lock().held.is_empty(), "nobody has been refused for long");
        assert_eq!(a.release(&id("d")), [id("e")]);
        let s = a.lock();
        assert!(s.held.is_empty() && s.waiting.is_empty() && s.places.is_empty());
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
