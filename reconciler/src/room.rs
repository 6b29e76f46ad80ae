//! Room for tasks: what the runtime turns away, and when it is asked again.
//!
//! An account has a quota of vCPUs, for on-demand and Spot capacity apart, and either capacity may be used up for
//! everybody. As long as a launch is refused for that, so is the next one like it. So a refusal holds every launch
//! on the same capacity that is at least as large; smaller ones may still fit. Under a hold one launch at a time is
//! tried, after a pause that doubles with each refusal; after an accepted one twice as many as before, until that is
//! as many as there are calls under way at any time. Each size has its own hold, so that what keeps a large task
//! from starting never slows down smaller ones.
//!
//! Nothing here decides what is safe: a hold that is lost, or wrong, costs refused calls or a pause.

use crate::tasks::Demand;
use contract::desired::Capacity;
use contract::{JobId, Refusal, Timestamp};
use plan::Scarcity;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use tokio::time::Instant;

/// The first pause after a refusal; a task that lasts a minute leaves room as often where 30 of them fit.
const FIRST: Duration = Duration::from_secs(2);
/// The longest one: one refused call a minute costs less than room that nobody uses.
const LONGEST: Duration = Duration::from_secs(60);
/// As many launches at once as a launch quota of 20 a second has under way: with them a hold is over.
const FULL: u32 = 32;
/// A job that was let through and has not launched by now does not keep the others waiting any longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Default)]
pub(crate) struct Room {
    holds: BTreeMap<Demand, Hold>,
    /// Jobs that were let through holds, and which these were.
    tried: HashMap<JobId, (Vec<Demand>, Instant)>,
}

struct Hold {
    scarcity: Scarcity,
    pause: Duration,
    /// When the next launch may be tried.
    due: Instant,
    /// How many may be tried at once.
    most: u32,
    trying: u32,
}

/// What became of a launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Became<'a> {
    /// A task.
    Task,
    /// There is no room for it.
    NoRoom(&'a Refusal),
    /// Something that says nothing about room.
    Neither,
}

impl Room {
    /// How many launches like this may be made now; `None`: as many as one likes.
    pub(crate) fn for_more(&self, demand: Demand, now: Instant) -> Option<u32> {
        let free = |hold: &Hold| if now < hold.due { 0 } else { hold.most.saturating_sub(hold.trying) };
        self.holding(demand).map(|(_, hold)| free(hold)).min()
    }

    /// Whether the job may launch this now.
    pub(crate) fn lets(&self, job_id: &JobId, demand: Demand) -> bool {
        self.tried.contains_key(job_id) || self.holding(demand).next().is_none()
    }

    /// The job is let through, if it has to be.
    pub(crate) fn let_through(&mut self, job_id: &JobId, demand: Demand, now: Instant) {
        let through: Vec<Demand> = self.holding(demand).map(|(of, _)| of).collect();
        if through.is_empty() || self.tried.contains_key(job_id) {
            return;
        }
        for of in &through {
            if let Some(hold) = self.holds.get_mut(of) {
                hold.trying += 1;
            }
        }
        self.tried.insert(job_id.clone(), (through, now));
    }

    /// The job's launch was answered. What it was let through to try counts; a call that had set out before the
    /// hold says nothing new.
    pub(crate) fn answered(
        &mut self,
        job_id: &JobId,
        demand: Demand,
        became: Became<'_>,
        now: Instant,
        wall: Timestamp,
    ) {
        let through = self.give_up(job_id);
        match became {
            Became::Task => {
                for of in &through {
                    self.accepted(*of, wall);
                }
            }
            Became::NoRoom(refusal) => self.refused(demand, refusal, now, wall),
            Became::Neither => {
                for of in &through {
                    if let Some(hold) = self.holds.get_mut(of) {
                        hold.due = hold.due.max(now + hold.pause);
                    }
                }
            }
        }
    }

    /// The job does not launch after all. Answers with what it was let through.
    pub(crate) fn give_up(&mut self, job_id: &JobId) -> Vec<Demand> {
        let Some((through, _)) = self.tried.remove(job_id) else { return Vec::new() };
        for of in &through {
            if let Some(hold) = self.holds.get_mut(of) {
                hold.trying = hold.trying.saturating_sub(1);
            }
        }
        through
    }

    /// Forgets what is over: jobs that did not launch, and holds that nobody has asked for in a while.
    pub(crate) fn tidy(&mut self, now: Instant) {
        let late = |at: &Instant| now.saturating_duration_since(*at) >= PATIENCE;
        let gone: Vec<JobId> =
            self.tried.iter().filter(|(_, (_, at))| late(at)).map(|(job_id, _)| job_id.clone()).collect();
        for job_id in gone {
            self.give_up(&job_id);
        }
        self.holds.retain(|_, hold| hold.trying > 0 || now < hold.due + LONGEST);
    }

    /// When there may be room for somebody who waits now; never a time that has come.
    pub(crate) fn next(&self, now: Instant) -> Option<Instant> {
        let late = self.tried.values().map(|(_, at)| *at + PATIENCE);
        self.holds.values().map(|hold| hold.due).chain(late).filter(|at| *at > now).min()
    }

    /// Whether there is no hold.
    pub(crate) fn is_free(&self) -> bool {
        self.holds.is_empty()
    }

    /// How many holds there are.
    pub(crate) fn holds(&self) -> usize {
        self.holds.len()
    }

    /// What keeps a launch like this waiting.
    pub(crate) fn scarcity(&self, demand: Demand) -> Option<&Scarcity> {
        self.holding(demand).map(|(_, hold)| &hold.scarcity).min_by_key(|scarcity| scarcity.since)
    }

    /// The holds for as much as this or less. There are as many as sizes that jobs have, which are few.
    fn holding(&self, demand: Demand) -> impl Iterator<Item = (Demand, &Hold)> {
        self.holds.iter().filter(move |(of, _)| demand.covers(of)).map(|(of, hold)| (*of, hold))
    }

    fn refused(&mut self, demand: Demand, refusal: &Refusal, now: Instant, wall: Timestamp) {
        let Some(hold) = self.holds.get_mut(&demand) else {
            tell(
                demand,
                "no room for tasks of this size or larger; one at a time is tried",
                &refusal.message,
            );
            let scarcity = Scarcity { refusal: refusal.clone(), since: wall };
            let hold = Hold { scarcity, pause: FIRST, due: now + FIRST, most: 1, trying: 0 };
            self.holds.insert(demand, hold);
            return;
        };
        hold.scarcity.refusal = refusal.clone();
        // One of several that were under way together, and the first has been heard.
        if now < hold.due {
            return;
        }
        hold.pause = if hold.most > 1 { FIRST } else { (hold.pause * 2).min(LONGEST) };
        (hold.due, hold.most) = (now + hold.pause, 1);
    }

    fn accepted(&mut self, of: Demand, wall: Timestamp) {
        let Some(hold) = self.holds.get_mut(&of) else { return };
        (hold.most, hold.pause, hold.scarcity.since) = (hold.most * 2, FIRST, wall);
        if hold.most > FULL {
            self.holds.remove(&of);
            tell(of, "there is room for tasks again", "");
        }
    }
}

fn tell(demand: Demand, what: &str, message: &str) {
    tracing::info!(capacity = %demand.capacity, cpu = demand.cpu, memory = demand.memory, message, "{what}");
}

/// The capacities that a task runs on.
pub(crate) const CAPACITIES: [Capacity; 2] = [Capacity::OnDemand, Capacity::Spot];

#[cfg(test)]
mod tests {
    use super::*;
    use contract::RefusalKind;

    fn on_demand(size: u32) -> Demand {
        Demand { capacity: Capacity::OnDemand, cpu: size, memory: 2 * size }
    }

    fn wall(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn id(n: u32) -> JobId {
        JobId::new(format!("job-{n}")).unwrap()
    }

    fn refusal() -> Refusal {
        Refusal { kind: RefusalKind::Quota, message: "full".to_owned() }
    }

    /// Lets a job through and answers its launch.
    fn try_one(room: &mut Room, n: u32, demand: Demand, room_there: bool, now: Instant) {
        assert_ne!(room.for_more(demand, now), Some(0));
        room.let_through(&id(n), demand, now);
        let refusal = refusal();
        let became = if room_there { Became::Task } else { Became::NoRoom(&refusal) };
        room.answered(&id(n), demand, became, now, wall(0));
    }

    #[test]
    fn after_a_refusal_one_at_a_time_is_tried_with_pauses_that_double() {
        let (mut room, begin) = (Room::default(), Instant::now());
        assert_eq!(room.for_more(on_demand(256), begin), None);
        let mut now = begin;
        let mut pauses = Vec::new();
        for n in 0..8 {
            try_one(&mut room, n, on_demand(256), false, now);
            assert_eq!(room.for_more(on_demand(256), now), Some(0));
            let next = room.next(now).expect("a time");
            pauses.push((next - now).as_secs());
            now = next;
            assert_eq!(room.for_more(on_demand(256), now), Some(1));
        }
        assert_eq!(pauses, [2, 4, 8, 16, 32, 60, 60, 60]);
        room.let_through(&id(9), on_demand(256), now);
        assert_eq!(room.for_more(on_demand(256), now), Some(0), "one is under way");
        assert!(room.lets(&id(9), on_demand(256)) && !room.lets(&id(10), on_demand(256)));
    }

    #[test]
    fn refusals_of_launches_that_were_under_way_together_are_one() {
        let (mut room, now) = (Room::default(), Instant::now());
        for n in 0..40 {
            room.answered(&id(n), on_demand(256), Became::NoRoom(&refusal()), now, wall(0));
        }
        assert_eq!(room.next(now), Some(now + FIRST));
        room.answered(&id(41), on_demand(256), Became::Task, now, wall(0));
        assert_eq!(room.for_more(on_demand(256), now), Some(0), "it had set out before the hold");
    }

    #[test]
    fn accepted_launches_double_what_is_tried_until_the_hold_is_over() {
        let (mut room, begin) = (Room::default(), Instant::now());
        try_one(&mut room, 0, on_demand(256), false, begin);
        let now = begin + FIRST;
        let mut most = Vec::new();
        for n in 1..=6 {
            most.push(room.for_more(on_demand(256), now));
            try_one(&mut room, n, on_demand(256), true, now);
        }
        assert_eq!(most, [1, 2, 4, 8, 16, 32].map(Some));
        assert_eq!(room.for_more(on_demand(256), now), None);
        assert!(room.is_free());
        try_one(&mut room, 8, on_demand(256), false, now);
        let now = now + FIRST;
        try_one(&mut room, 9, on_demand(256), true, now);
        try_one(&mut room, 10, on_demand(256), false, now);
        assert_eq!(room.next(now), Some(now + FIRST), "there was room a moment ago");
        assert_eq!(room.for_more(on_demand(256), now + FIRST), Some(1));
    }

    #[test]
    fn neither_smaller_launches_nor_those_on_other_capacity_wait() {
        let (mut room, begin) = (Room::default(), Instant::now());
        try_one(&mut room, 0, on_demand(16_384), false, begin);
        assert_eq!(room.for_more(on_demand(16_384), begin), Some(0));
        assert_eq!(room.for_more(on_demand(32_768), begin), Some(0), "a larger one does");
        assert_eq!(room.for_more(on_demand(8_192), begin), None);
        let leaner = Demand { memory: 30_720, ..on_demand(16_384) };
        assert_eq!(room.for_more(leaner, begin), None, "memory may have been what was too much");
        let spot = Demand { capacity: Capacity::Spot, ..on_demand(16_384) };
        assert_eq!(room.for_more(spot, begin), None);
        // Both sizes are refused; that the large one goes on being so does not put off the small one.
        try_one(&mut room, 1, on_demand(256), false, begin);
        let now = begin + FIRST;
        try_one(&mut room, 2, on_demand(16_384), false, now);
        assert_eq!(room.for_more(on_demand(256), now), Some(1));
        try_one(&mut room, 3, on_demand(256), true, now);
        assert_eq!(room.for_more(on_demand(256), now), Some(2));
        assert_eq!(room.for_more(on_demand(16_384), now), Some(0), "room for a small one says nothing");
    }

    #[test]
    fn who_does_not_launch_keeps_nobody_waiting_and_a_hold_that_nobody_asks_for_ends() {
        let (mut room, begin) = (Room::default(), Instant::now());
        try_one(&mut room, 0, on_demand(256), false, begin);
        let now = begin + FIRST;
        room.let_through(&id(1), on_demand(256), now);
        room.give_up(&id(1));
        assert_eq!(room.for_more(on_demand(256), now), Some(1));
        room.let_through(&id(2), on_demand(256), now);
        room.tidy(now + PATIENCE - Duration::from_millis(1));
        assert_eq!(room.for_more(on_demand(256), now), Some(0));
        assert_eq!(room.next(now), Some(now + PATIENCE));
        assert_eq!(room.next(now + PATIENCE), None);
        room.tidy(now + PATIENCE);
        assert!(room.is_free(), "nobody has asked for a minute");
        room.let_through(&id(3), on_demand(256), now);
        assert_eq!(room.give_up(&id(3)), [], "nothing to be let through");
    }

    #[test]
    fn what_keeps_a_launch_waiting_is_told_since_the_last_one_that_was_accepted() {
        let (mut room, begin) = (Room::default(), Instant::now());
        try_one(&mut room, 0, on_demand(256), false, begin);
        let scarcity = room.scarcity(on_demand(512)).expect("a hold");
        assert_eq!((scarcity.refusal.message.as_str(), scarcity.since), ("full", wall(0)));
        let later = wall(5);
        room.let_through(&id(1), on_demand(256), begin + FIRST);
        room.answered(&id(1), on_demand(256), Became::Task, begin + FIRST, later);
        assert_eq!(room.scarcity(on_demand(256)).map(|s| s.since), Some(later));
        assert_eq!(room.scarcity(on_demand(128)), None);
        // An unclear answer says nothing, and is not asked for again at once.
        let now = begin + FIRST;
        room.let_through(&id(2), on_demand(256), now);
        room.answered(&id(2), on_demand(256), Became::Neither, now, later);
        assert_eq!(room.for_more(on_demand(256), now), Some(0));
        assert_eq!(room.for_more(on_demand(256), now + FIRST), Some(2));
    }
}
