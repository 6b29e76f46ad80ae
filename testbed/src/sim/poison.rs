//! Good jobs among records that nobody can decode: how often the loop looks at each, and when the last good job
//! has ended.
//!
//! A pass reads one job, so what a poisoned record can cost others is passes, and slots: fewer tasks may run at
//! once than there are poisoned attempts. Counted is every read of a job by the reconciler.

use super::chaos::Chaos;
use super::fleet::Signal;
use super::host::{self, Config};
use super::jobs::Script;
use super::memory::Row;
use super::world::{Kind, World};
use crate::Dice;
use crate::fuzz::{self, seeds};
use backends::NewJob;
use contract::{Claim, Created, Desired, JobId, JobTypes, LaunchToken, Raw, WriteId};
use plan::Policy;
use std::sync::Arc;
use std::time::Duration;

/// Good jobs of a run.
const GOOD: u64 = 100;
/// Tasks at once: fewer than poisoned attempts. A report that cannot be read counts as none, so the ten jobs with
/// such a one go on and take slots as good ones do: there is room for them beside the last good ones.
const SLOTS: u32 = 60;
/// Every good job has ended long before.
const PATIENCE: Duration = Duration::from_secs(3600);

/// What a run has cost the good jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Looks at good jobs.
    pub passes: u64,
    /// Looks at poisoned jobs.
    pub poisoned_passes: u64,
    /// When the last good job had ended.
    pub ended: Duration,
}

/// How a record is poisoned.
type Poison = fn(&mut Row);

fn attempt(row: &mut Row, poison: fn(&mut super::memory::AttemptRow)) {
    row.attempts.values_mut().for_each(poison);
}

/// Every section of both items, and every way in which one cannot be read: no JSON, another type, an unknown word,
/// nothing, 400 KB.
const POISONS: [Poison; 10] = [
    |row| row.desired = Raw::stored("{\"job_type\": 7}"),
    |row| row.desired = Raw::stored("\u{fffd}\0"),
    |row| row.desired = Raw::stored(format!("{{\"job_type\":\"echo\",\"{}\":1}}", "x".repeat(400 * 1024))),
    |row| row.desired = Raw::stored(""),
    |row| {
        row.desired = Raw::stored("[");
        row.control = Some(Raw::stored("{\"phase\":\"Asleep\""));
        row.status = Some(Raw::stored("\"DONE\""));
        row.created = Raw::stored("null");
    },
    |row| attempt(row, |a| a.claim = Raw::stored("{\"number\":-1}")),
    |row| attempt(row, |a| a.gate = Some(Raw::stored("{\"state\":\"open\"}"))),
    |row| attempt(row, |a| a.report = Some(Raw::stored("{\"started_at\":\"yesterday\"}"))),
    |row| attempt(row, |a| a.closing = Some(Raw::stored("{}"))),
    |row| attempt(row, |a| (a.claim, a.gate) = (Raw::stored(""), Some(Raw::stored("[".repeat(400 * 1024))))),
];

/// Runs good jobs, and among them so many poisoned ones.
#[must_use]
pub fn cost(seed: u64, poisoned: u64) -> Cost {
    in_virtual_time(live(seed, poisoned))
}

/// When, of two jobs of which one may run at a time, the first's task had stopped and the second one's was there.
/// The first executes for a minute, and after ten seconds its record is poisoned in the way of this number.
///
/// # Panics
/// When both tasks were alive at once.
#[must_use]
pub fn behind_a_running_task(seed: u64, poison: usize) -> (Duration, Duration) {
    in_virtual_time(follow(seed, POISONS[poison % POISONS.len()]))
}

/// How many ways there are to poison a record.
#[must_use]
pub fn ways() -> usize {
    POISONS.len()
}

/// When the agent of a job has ended that outlives its worker (none, where it does not), if the job's record is
/// deleted by hand: a worker would notice.
#[must_use]
pub fn of_a_deleted_record(seed: u64) -> Option<Duration> {
    in_virtual_time(async move {
        let world = World::new(Kind::Process, None, Dice::seeded(seed), Chaos::none(), false);
        let job = ids("deleted", 1);
        reconcile(&world, 1);
        submit(&world, &job, Duration::from_secs(3600));
        tokio::time::sleep(Duration::from_secs(10)).await;
        {
            let mut s = world.lock();
            assert_eq!(s.agents(), 1, "it executes");
            s.memory.jobs.remove(&job[0]);
            for task in s.fleet.tasks.values() {
                task.signal.send_replace(Signal::Kill);
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        let outlives = world.lock().agents() == 1;
        while world.lock().agents() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        outlives.then(|| world.lock().now())
    })
}

/// When the second of two jobs of which one may run at a time has ended, if the store refuses every claim of the first.
#[must_use]
pub fn behind_an_unclaimable_job(seed: u64) -> Duration {
    in_virtual_time(async move {
        let world = World::new(Kind::Process, None, Dice::seeded(seed), Chaos::none(), false);
        let (first, second) = (ids("first", 1), ids("second", 1));
        world.lock().unclaimable = first.first().cloned();
        reconcile(&world, 1);
        submit(&world, &first, Duration::from_secs(5));
        tokio::time::sleep(Duration::from_secs(10)).await;
        submit(&world, &second, Duration::from_secs(5));
        while !ended(&world, &second) {
            assert!(world.lock().now() < PATIENCE, "the second job waits for ever");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(!ended(&world, &first), "nothing was refused");
        world.lock().now()
    })
}

fn in_virtual_time<T>(run: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime of one thread");
    runtime.block_on(run)
}

fn reconcile(world: &Arc<World>, slots: u32) {
    let config = Config {
        job_types: Arc::new(JobTypes::default()),
        max_concurrent_tasks: slots,
        resync_interval: Duration::from_secs(30),
        policy: Policy::default(),
    };
    tokio::spawn(host::keep_running(world.clone(), 1, config));
}

async fn follow(seed: u64, poison: Poison) -> (Duration, Duration) {
    let world = World::new(Kind::Process, None, Dice::seeded(seed), Chaos::none(), false);
    let (first, second) = (ids("first", 1), ids("second", 1));
    reconcile(&world, 1);
    submit(&world, &first, Duration::from_secs(60));
    tokio::time::sleep(Duration::from_secs(10)).await;
    submit(&world, &second, Duration::from_secs(5));
    {
        let mut s = world.lock();
        assert_eq!(s.alive(), 1, "the first runs");
        s.memory.jobs.get_mut(&first[0]).map(poison).expect("it was submitted");
        s.touch(&first[0]);
    }
    let mut stopped = None;
    loop {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let s = world.lock();
        assert!(s.alive() <= 1, "two tasks at once");
        assert!(s.now() < PATIENCE, "the second job waits for ever");
        if s.alive() == 0 && stopped.is_none() {
            stopped = Some(s.now());
        }
        if s.fleet.count > 1 {
            assert!(s.broken.is_empty(), "{:?}", s.broken);
            return (stopped.unwrap_or_default(), s.now());
        }
    }
}

fn ids(what: &str, count: u64) -> Vec<JobId> {
    (0..count).map(|n| JobId::new(format!("{what}-{n:03}")).expect("a good id")).collect()
}

async fn live(seed: u64, poisoned: u64) -> Cost {
    let world = World::new(Kind::Process, None, Dice::seeded(seed), Chaos::none(), false);
    let (good, bad) = (ids("good", GOOD), ids("bad", poisoned));
    submit(&world, &good, Duration::from_secs(5));
    submit(&world, &bad, Duration::from_secs(5));
    for (job_id, poison) in bad.iter().zip(POISONS.iter().cycle()) {
        let claim = Raw::<Claim>::stored(seeds::of(fuzz::Kind::Claim)[0]).parse().expect("the seed is good");
        let mut s = world.lock();
        let token = LaunchToken::from_bits(s.dice.number().into());
        let _ = s.draft(job_id, &token, &claim);
        s.memory.jobs.get_mut(job_id).map(poison).expect("it was submitted");
        s.touch(job_id);
    }
    reconcile(&world, SLOTS);
    while !ended(&world, &good) {
        assert!(world.lock().now() < PATIENCE, "good jobs have not ended");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let s = world.lock();
    assert!(s.broken.is_empty(), "{:?}", s.broken);
    let passes = |ids: &[JobId]| ids.iter().filter_map(|id| s.looks.get(id)).sum();
    Cost { passes: passes(&good), poisoned_passes: passes(&bad), ended: s.now() }
}

fn submit(world: &World, ids: &[JobId], takes: Duration) {
    for job_id in ids {
        let mut script = Script::default();
        script.takes = Some(takes);
        let mut s = world.lock();
        let write = WriteId::from_bits(s.dice.number());
        let created = Created {
            write,
            at: s.wall(),
            actor: "sim".to_owned(),
            idempotency_key: None,
            body_digest: None,
            desired_digest: None,
        };
        s.scripts.insert(job_id.clone(), script);
        let _ = s.create(&NewJob { job_id: job_id.clone(), created, desired: Desired::new("echo") });
    }
}

fn ended(world: &World, ids: &[JobId]) -> bool {
    let s = world.lock();
    ids.iter().all(|id| {
        let control = s.row(id).and_then(|row| row.control.as_ref());
        control.and_then(|control| control.parse().ok()).is_some_and(|c| c.status().is_terminal())
    })
}
