//! The world that the parts of a simulation share: virtual time, the choices of the seed, the trace, what
//! really happens, and what was found broken.

use super::Mutation;
use super::artifacts::Files;
use super::chaos::{Chaos, Fault};
use super::fleet::Fleet;
use super::jobs::Script;
use super::lease::Row;
use super::memory::Memory;
use crate::Dice;
use backends::{Hint, HintSender};
use contract::invariants::{self, Invariant};
use contract::{JobId, LaunchToken, TaskId, Timestamp};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Wall-clock time at the start of a run: 2026-11-22T00:00:00Z.
const WALL: i64 = 1_795_305_600_000;

const MINUTE: Duration = Duration::from_secs(60);
/// More reads of a job than anything can ask for within [`MINUTE`].
const LOOKS_A_MINUTE: u64 = 500;

/// What tasks are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Containers behind an eventually consistent API.
    Ecs,
    /// Processes of this machine: absence is proof, and an agent can outlive its worker.
    Process,
}

/// See the module.
pub(super) struct World {
    pub(super) kind: Kind,
    pub(super) mutation: Option<Mutation>,
    /// A claim is two writes, as in DynamoDB, and not one transaction.
    pub(super) two_writes: bool,
    pub(super) heartbeat: Duration,
    state: Mutex<State>,
}

/// Everything that changes.
pub(super) struct State {
    start: Instant,
    pub(super) dice: Dice,
    pub(super) chaos: Chaos,
    pub(super) trace: Trace,
    /// What was found broken, the first first.
    pub(super) broken: Vec<String>,
    pub(super) memory: Memory,
    pub(super) fleet: Fleet,
    pub(super) files: Files,
    pub(super) lease: Option<Row>,
    pub(super) scripts: BTreeMap<JobId, Script>,
    pub(super) truth: Truth,
    /// How often reconcilers have read each job.
    pub(super) looks: BTreeMap<JobId, u64>,
    /// The same since a moment less than [`MINUTE`] ago.
    lately: BTreeMap<JobId, (Duration, u64)>,
    /// The most open attempts, in all and by queue, where one reconciler without faults has to keep to them.
    pub(super) limits: Option<(u32, BTreeMap<String, u32>)>,
    /// The job whose claims the store refuses.
    pub(super) unclaimable: Option<JobId>,
    hints: Vec<HintSender>,
}

/// What agents really do.
#[derive(Default)]
pub(super) struct Truth {
    executing: BTreeMap<JobId, BTreeMap<TaskId, LaunchToken>>,
    executions: BTreeMap<LaunchToken, usize>,
    /// Executions of agents.
    pub(super) started: u64,
}

/// What happened, as text and as a number that two equal runs share.
pub(super) struct Trace {
    hash: u64,
    print: bool,
}

impl Trace {
    pub(super) fn new(print: bool) -> Self {
        // The offset basis of FNV-1a, 64 bits.
        Self { hash: 0xcbf2_9ce4_8422_2325, print }
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    fn line(&mut self, line: &str) {
        for byte in line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if self.print {
            crate::say(line);
        }
    }
}

impl World {
    pub(super) fn new(
        kind: Kind,
        mutation: Option<Mutation>,
        mut dice: Dice,
        chaos: Chaos,
        print: bool,
    ) -> Arc<Self> {
        let heartbeat = Duration::from_secs(dice.within(10..=60));
        let two_writes = kind == Kind::Ecs && dice.once_in(2);
        let state = State {
            start: Instant::now(),
            dice,
            chaos,
            trace: Trace::new(print),
            broken: Vec::new(),
            memory: Memory::default(),
            fleet: Fleet::default(),
            files: Files::default(),
            lease: None,
            scripts: BTreeMap::new(),
            truth: Truth::default(),
            looks: BTreeMap::new(),
            lately: BTreeMap::new(),
            limits: None,
            unclaimable: None,
            hints: Vec::new(),
        };
        Arc::new(Self { kind, mutation, two_writes, heartbeat, state: Mutex::new(state) })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    /// The way to a store or back.
    pub(super) async fn way(&self) {
        let millis = {
            let mut s = self.lock();
            if s.chance(Fault::Slow) {
                s.dice.within(100..=20_000)
            } else if s.dice.once_in(4) {
                s.dice.within(1..=40)
            } else {
                0
            }
        };
        if millis > 0 {
            tokio::time::sleep(Duration::from_millis(millis)).await;
        }
    }
}

impl State {
    /// Since the start of the run.
    pub(super) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// The true wall-clock time.
    pub(super) fn wall(&self) -> Timestamp {
        wall(self.now(), 0)
    }

    /// Whether the fault happens now.
    pub(super) fn chance(&mut self, fault: Fault) -> bool {
        let rate = self.chaos.rate(fault);
        rate > 0 && self.faulty() && self.dice.within(1..=100_000) <= u64::from(rate)
    }

    /// Whether faults have not ended.
    pub(super) fn faulty(&self) -> bool {
        self.now() < self.chaos.until
    }

    pub(super) fn seconds(&mut self, range: RangeInclusive<u64>) -> Duration {
        self.dice.millis(range.start() * 1000..=range.end() * 1000)
    }

    /// How wrong a clock is, in milliseconds.
    pub(super) fn skew(&mut self) -> i64 {
        let most = self.chaos.skew_ms;
        let shifted = i64::try_from(self.dice.within(0..=2 * most)).unwrap_or(0);
        shifted - i64::try_from(most).unwrap_or(0)
    }

    pub(super) fn note(&mut self, who: &str, what: &str) {
        let now = self.now();
        let mut line = String::with_capacity(80);
        let _ = write!(line, "{:>9}.{:03} {who}: {what}", now.as_secs(), now.subsec_millis());
        self.trace.line(&line);
    }

    pub(super) fn breaks(&mut self, invariant: Invariant, job_id: &JobId, what: &str) {
        self.wrong(&format!("{invariant} broken, job {job_id}: {what}"));
    }

    /// A reconciler reads the job. Whoever does so again and again without anything to do burns its processor and
    /// the store's.
    pub(super) fn looked_at(&mut self, id: &JobId) {
        *self.looks.entry(id.clone()).or_default() += 1;
        let now = self.now();
        let (since, looks) = self.lately.entry(id.clone()).or_insert((now, 0));
        if now.saturating_sub(*since) >= MINUTE {
            (*since, *looks) = (now, 0);
        }
        *looks += 1;
        if *looks == LOOKS_A_MINUTE {
            self.wrong(&format!("{id} is read {LOOKS_A_MINUTE} times within a minute"));
        }
    }

    /// Something is wrong that no invariant has a name for.
    pub(super) fn wrong(&mut self, what: &str) {
        self.note("BROKEN", what);
        let at = self.now().as_secs();
        self.broken.push(format!("after {at} s: {what}"));
    }

    /// From now on hints go there, too.
    pub(super) fn listen(&mut self, sender: HintSender) {
        self.hints.retain(|s| !s.is_closed());
        self.hints.push(sender);
    }

    /// Announces a change of a job, or not, or late, or twice.
    pub(super) fn hint(&mut self, job_id: &JobId) {
        if self.chance(Fault::HintLost) {
            return;
        }
        self.announce(job_id);
        if self.chance(Fault::HintTwice) {
            self.announce(job_id);
        }
    }

    /// Announces a change of a job for certain, if perhaps late.
    pub(super) fn announce(&mut self, job_id: &JobId) {
        let late = if self.chance(Fault::HintLate) { self.dice.within(1..=600_000) } else { 0 };
        for sender in self.hints.clone() {
            let hint = Hint::Job(job_id.clone());
            if late == 0 {
                sender.send(hint);
            } else {
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(late)).await;
                    sender.send(hint);
                });
            }
        }
    }

    /// An agent begins to execute.
    pub(super) fn agent_starts(&mut self, job_id: &JobId, token: &LaunchToken, task: &TaskId) {
        self.note(task.as_str(), &format!("agent of {job_id} starts"));
        self.truth.started += 1;
        let executions = {
            let n = self.truth.executions.entry(token.clone()).or_default();
            *n += 1;
            *n
        };
        let at_once = {
            let now = self.truth.executing.entry(job_id.clone()).or_default();
            now.insert(task.clone(), token.clone());
            now.len()
        };
        if !invariants::one_agent_per_job(at_once) {
            self.breaks(
                Invariant::OneAgentPerJob,
                job_id,
                &format!("{at_once} agents at once, {task} is one"),
            );
        }
        if !invariants::one_execution_per_token(executions) {
            self.breaks(Invariant::OneExecutionPerToken, job_id, &format!("{token} is executed again"));
        }
    }

    /// An agent has ended, with all of its group. Ended already: nothing happens.
    pub(super) fn agent_ends(&mut self, job_id: &JobId, task: &TaskId) {
        let ended = self.truth.executing.get_mut(job_id).is_some_and(|now| now.remove(task).is_some());
        if ended {
            self.note(task.as_str(), &format!("agent of {job_id} has ended"));
        }
    }

    /// Whether the agent of this task executes.
    pub(super) fn executes(&self, job_id: &JobId, task: &TaskId) -> bool {
        self.truth.executing.get(job_id).is_some_and(|now| now.contains_key(task))
    }

    /// The tasks whose agents execute this attempt.
    pub(super) fn executing(&self, job_id: &JobId, token: &LaunchToken) -> Vec<TaskId> {
        let now = self.truth.executing.get(job_id);
        now.into_iter().flatten().filter(|(_, t)| *t == token).map(|(task, _)| task.clone()).collect()
    }

    /// How many agents execute.
    pub(super) fn agents(&self) -> usize {
        self.truth.executing.values().map(BTreeMap::len).sum()
    }
}

/// The time that a clock shows which is wrong by `skew` milliseconds.
pub(super) fn wall(since_start: Duration, skew: i64) -> Timestamp {
    let millis = i64::try_from(since_start.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(WALL + millis + skew)
}
