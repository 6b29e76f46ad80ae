//! The reconciler in a simulated world: virtual time, faults by seed, and a judge of every step.
//!
//! The loop, the passes, the decisions and the effects are the real ones ([`reconciler::run`] with its
//! `Parts`); what lies behind the ports is simulated:
//!
//! | module | simulates |
//! |---|---|
//! | `memory`, `records`, `oracle` | the record store and its judge: conditions, revisions, hints; calls that are slow, fail before or after they wrote, or write when nobody waits any more |
//! | `fleet` | tasks as ECS has them, or processes: late and old listings, `MISSING`, tokens that expire, refusals that are replayed, throttling, an hour of memory |
//! | `worker` | workers and agents: the gate, heartbeats, SIGTERM, kills, Spot notices, agents that outlive their worker |
//! | `artifacts`, `lease` | the other stores; a lease that is taken over when it expires |
//! | `host` | one or two machines: crashes between any two calls, pauses of up to two hours, clocks that are wrong by up to five minutes |
//! | `operator`, `jobs` | submissions, cancel, suspend, retry, and hand edits of the records |
//!
//! A run ends some time after its faults have ended. It is right when no invariant of
//! [`contract::invariants`] was broken at any step, no attempt was closed while its agent executed, every
//! job has ended, nothing runs, nothing more is written, and every job whose end does not depend on faults
//! has ended as in the run of the same seed without faults, having used up as many tries. The budget for
//! infrastructure failures is larger than usual, because an end that it brings about depends on luck.
//!
//! Found and not judged, because it takes an edit by hand or a store that writes late: a `control` from
//! before its end, restored, starts a job again that a rule of its failure policy had failed; a result that
//! the TTL has deleted is missing while its job, restored in that moment, ends once more; a draft that is
//! written late lies open beside an ended job; a write of `desired` that comes late undoes a later one that
//! restored the old value (here such writes are never late).
//!
//! Not simulated: a store whose reads are older than the call (the ports exclude it), a task that is
//! invisible by its own id for longer than [`reconciler::tasks::ABSENCE_GRACE`], and edits of attempts by
//! hand.
//!
//! [`Mutation`] breaks the world on purpose, to see that the judge notices. Broken by hand in the real code
//! and noticed within 150 seeds: no seal before an attempt is closed; closed before its task has stopped;
//! counts of tries kept in `control`; an unknown listing taken for an empty one; success without a
//! publication.

mod artifacts;
mod chaos;
mod fleet;
mod host;
mod jobs;
mod lease;
mod memory;
mod operator;
mod oracle;
pub mod poison;
mod records;
mod worker;
mod world;

use crate::Dice;
use chaos::Chaos;
use contract::invariants::Invariant;
use contract::{Control, Desired, Gate, JobId};
use host::Config;
use jobs::{Compare, JobPlan, Workload};
use plan::Policy;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use world::{Kind, World};

/// How long after a task has stopped, or the faults have, that may go unnoticed.
const NOTICED: Duration = Duration::from_secs(900);
/// How long after its faults a run may take to settle.
const PATIENCE: Duration = Duration::from_secs(26 * 3600);
/// How long nothing may be written after everything has ended.
const QUIET: Duration = Duration::from_secs(1800);
/// How long after the last fault every edited record has been looked at.
const SCANNED: Duration = Duration::from_secs(1800);
/// In one of so many such times nothing is written.
const WINDOWS: u32 = 4;

/// Ways to break the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// Every task passes the start gate.
    NoGate,
    /// An outcome is stored whatever the gate says.
    ReportWithoutGate,
    /// A failed listing says that there are no tasks.
    UnknownIsAbsent,
    /// A task counts as stopped as soon as it was told to stop.
    StoppedTooEarly,
    /// A task counts as stopped as soon as its worker is gone.
    WorkerIsAll,
    /// Only the attempt that `control` names is open.
    LedgerInControl,
    /// `control` is written whatever is stored.
    NoCompareAndSwap,
    /// One look that finds no task proves that there is none.
    BlindAbsence,
    /// A publication succeeds whatever is stored.
    UnreadableSuccess,
    /// A creation is confirmed and lost.
    LostCreation,
    /// A job that has not ended is not found by the resync.
    LostMark,
}

impl Mutation {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::NoGate,
        Self::ReportWithoutGate,
        Self::UnknownIsAbsent,
        Self::StoppedTooEarly,
        Self::WorkerIsAll,
        Self::LedgerInControl,
        Self::NoCompareAndSwap,
        Self::BlindAbsence,
        Self::UnreadableSuccess,
        Self::LostCreation,
        Self::LostMark,
    ];
}

/// What came out of a seed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// What was found broken, the first first. Empty: all is right.
    pub broken: Vec<String>,
    /// A hash of everything that happened under faults: two runs of a seed have the same.
    pub trace: u64,
    /// Jobs, tasks and executions of agents under faults, and the virtual time in seconds.
    pub counts: [u64; 4],
}

/// Runs a seed without faults and with them, and compares.
#[must_use]
pub fn run(seed: u64, mutation: Option<Mutation>, print: bool) -> Report {
    let calm = simulate(seed, false, None, false);
    let rough = simulate(seed, true, mutation, print);
    let mut broken: Vec<String> = calm.broken.iter().map(|what| format!("without faults: {what}")).collect();
    broken.extend(rough.broken);
    if broken.is_empty() {
        broken.extend(compare(&calm.ends, &rough.ends));
    }
    Report { broken, trace: rough.trace, counts: rough.counts }
}

/// How a run ended.
struct Run {
    broken: Vec<String>,
    trace: u64,
    ends: BTreeMap<JobId, (Compare, Option<Control>)>,
    counts: [u64; 4],
}

type Ends = BTreeMap<JobId, (Compare, Option<Control>)>;

fn compare(calm: &Ends, rough: &Ends) -> Vec<String> {
    let mut different = Vec::new();
    for (job_id, (compare, one)) in calm {
        let Some((weaker, other)) = rough.get(job_id) else { continue };
        let (Some(one), Some(other)) = (one, other) else {
            different.push(format!("job {job_id} has no end"));
            continue;
        };
        let said = |c: &Control| (c.status(), c.tries, c.reason);
        let (a, b) = (said(one), said(other));
        let equal = match compare.max(weaker) {
            Compare::All => a.0 == b.0 && a.1 == b.1,
            Compare::Status => a.0 == b.0,
            Compare::Nothing => true,
        };
        if !equal {
            different.push(format!("job {job_id} ends as {b:?} under faults, as {a:?} without"));
        }
    }
    different
}

fn simulate(seed: u64, faults: bool, mutation: Option<Mutation>, print: bool) -> Run {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime of one thread");
    runtime.block_on(live(seed, faults, mutation, print))
}

async fn live(seed: u64, faults: bool, mutation: Option<Mutation>, print: bool) -> Run {
    let mut dice = Dice::seeded(seed);
    let workload = Workload::of(&mut dice);
    let kind = if dice.once_in(3) { Kind::Process } else { Kind::Ecs };
    let chaos = Chaos::of(&mut dice);
    let chaos = if faults { chaos } else { Chaos::none() };
    let (hosts, until) = (chaos.hosts, chaos.until);
    let world = World::new(kind, mutation, dice, chaos, print);
    let config = Config {
        job_types: Arc::new(workload.job_types),
        max_concurrent_tasks: workload.max_concurrent_tasks,
        resync_interval: workload.resync,
        policy: Policy { infra_budget: 100_000, ..Policy::default() },
    };
    if !faults {
        world.lock().limits = Some((config.max_concurrent_tasks, config.job_types.queues.clone()));
    }
    for slot in 1..=hosts {
        tokio::spawn(host::keep_running(world.clone(), slot, config.clone()));
    }
    tokio::spawn(operator::meddle(world.clone()));
    let plans: Vec<Arc<JobPlan>> = workload.jobs.into_iter().map(Arc::new).collect();
    let mut people = JoinSet::new();
    for plan in &plans {
        world.lock().scripts.insert(plan.job_id.clone(), plan.script.clone());
        people.spawn(operator::accompany(world.clone(), plan.clone()));
    }
    while people.join_next().await.is_some() {}
    settle(&world, &plans, until).await;
    let s = world.lock();
    let ends = plans.iter().map(|p| (p.job_id.clone(), (comparable(&s, p), end(&s, p)))).collect();
    let counts = [plans.len() as u64, s.fleet.count, s.truth.started, s.now().as_secs()];
    Run { broken: s.broken.clone(), trace: s.trace.hash(), ends, counts }
}

/// A job that a rule of its failure policy has failed has tries left, so an operator who restores a `control`
/// from before its end starts it again.
fn comparable(s: &world::State, plan: &JobPlan) -> Compare {
    let rewound = s.row(&plan.job_id).is_some_and(|row| row.rewound);
    if rewound && !plan.desired.failure_policy.rules.is_empty() { Compare::Nothing } else { plan.compare }
}

/// The `control` that a job has ended with.
fn end(s: &world::State, plan: &JobPlan) -> Option<Control> {
    match s.row(&plan.job_id) {
        Some(row) => {
            row.control.as_ref().and_then(|c| c.parse().ok()).filter(|c: &Control| c.status().is_terminal())
        }
        None => s.memory.deleted.get(&plan.job_id).cloned(),
    }
}

/// What is not over yet, of one job.
fn unfinished(s: &world::State, plan: &JobPlan) -> Option<String> {
    let id = &plan.job_id;
    let Some(control) = end(s, plan) else {
        let row = s.row(id);
        let stored = row.and_then(|row| row.control.as_ref()).map_or("no control", |c| c.text());
        return Some(format!("{id} has not ended: {}", if row.is_some() { stored } else { "it is lost" }));
    };
    let row = s.row(id)?;
    let collected = plan.desired.ttl_seconds_after_finished < 7 * 86_400;
    if collected {
        return Some(format!("{id} is not collected, status {}", control.status()));
    }
    row.active.then(|| format!("{id} is still marked as active"))
}

/// An attempt that passed the gate and whose task has long stopped, without an outcome and without anybody having
/// noticed: it would last until its timeout. Twice the grace, a resync, and what stays invisible are well within.
fn unnoticed(s: &world::State) -> Option<String> {
    let jobs = s.memory.jobs.iter().filter(|(_, row)| Desired::parse(row.desired.text()).is_ok());
    let open = jobs.flat_map(|(id, row)| {
        let open = row.attempts.iter().filter(|(_, a)| a.closing.is_none() && a.claim.parse().is_ok());
        open.map(move |(token, attempt)| (id, token, attempt))
    });
    let mut started = open.filter_map(|(id, token, attempt)| match attempt.gate.as_ref()?.parse().ok()? {
        Gate::Started { task } => Some((id, token, task)),
        Gate::Sealed { .. } | Gate::Finished { .. } => None,
    });
    started.find_map(|(id, token, task)| {
        let (since, _) = s.fleet.tasks.get(&task)?.stopped.as_ref()?;
        let ago = s.now().saturating_sub(*since);
        (ago > NOTICED)
            .then(|| format!("{task} of {id} {} has stopped {ago:?} ago, unnoticed", token.prefix()))
    })
}

/// Waits until everything is over, and then for a while that nothing happens.
async fn settle(world: &Arc<World>, plans: &[Arc<JobPlan>], until: Duration) {
    loop {
        tokio::time::sleep(Duration::from_secs(60)).await;
        let mut s = world.lock();
        if !s.broken.is_empty() {
            return;
        }
        if s.now() < until + SCANNED {
            continue;
        }
        if let Some(what) = unnoticed(&s) {
            s.wrong(&format!("{}: {what}", Invariant::Settles));
            return;
        }
        let left: Vec<String> = plans.iter().filter_map(|p| unfinished(&s, p)).collect();
        if left.is_empty() && s.agents() == 0 && s.alive() == 0 {
            break;
        }
        if s.now() > until + PATIENCE {
            let (agents, tasks) = (s.agents(), s.alive());
            let what = format!("{}: {agents} agents, {tasks} tasks; {}", Invariant::Settles, left.join("; "));
            s.wrong(&what);
            return;
        }
    }
    stay_quiet(world).await;
}

/// Nothing is written any more. A leader whose clock is behind puts the ends of jobs right that it looks at,
/// once each and when something announces them, so the quiet may begin a little later.
async fn stay_quiet(world: &Arc<World>) {
    let mut before = written(world);
    for _ in 0..WINDOWS {
        tokio::time::sleep(QUIET).await;
        let after = written(world);
        if before == after {
            return;
        }
        before = after;
    }
    world.lock().wrong(&format!("{} broken: writes go on without faults", Invariant::Settles));
}

fn written(world: &World) -> (u64, u64) {
    let s = world.lock();
    (s.memory.writes, s.fleet.count)
}

/// What to tell about a seed that broke something, with the command that shows how.
#[must_use]
pub fn story(seed: u64, report: &Report) -> String {
    let what = report.broken.join("\n  ");
    format!(
        "seed {seed}: {what}\n  cargo run -p agent-runner-testbed --bin simulate -- --seed {seed} --trace"
    )
}
