//! The jobs of a seed: what each asks for, what its agent does, and what operators do to it. The same with
//! and without faults, so that the ends of both runs can be compared.

use crate::Dice;
use contract::attempt::Failure;
use contract::desired::{FailureAction, FailureRule};
use contract::{Desired, FailureClass, JobId, JobTypes};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What a job's agent does. Outcomes are counted, not attempts: an execution that the infrastructure
/// interrupted is repeated and ends as it would have, so the job's end does not depend on faults.
#[derive(Debug, Clone, Default)]
pub(super) struct Script {
    /// The first so many outcomes are failures.
    fails: u32,
    exit_code: i32,
    /// How long it executes; `None`: until it is stopped.
    pub(super) takes: Option<Duration>,
    /// How long it takes to end when it is told to stop; at the end of the grace it is killed.
    pub(super) stops_in: Duration,
}

impl Script {
    /// How the execution after so many outcomes ends; `None`: well.
    pub(super) fn failure(&self, turn: u32) -> Option<Failure> {
        (turn < self.fails).then(|| Failure {
            class: FailureClass::NonZeroExitCode,
            exit_code: Some(self.exit_code),
            message: format!("simulated: outcome {turn}"),
        })
    }
}

/// What an operator does over the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Cancel,
    Suspend,
    Resume,
    Retry,
    /// Another priority, which changes nothing but the record.
    Priority(i32),
    /// Names a queue that exists.
    FixQueue,
}

/// What of a job's end does not depend on faults, the strictest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Compare {
    /// Status and tries.
    All,
    /// The status.
    Status,
    /// Nothing but that there is one.
    Nothing,
}

/// One job.
pub(super) struct JobPlan {
    pub(super) job_id: JobId,
    pub(super) at: Duration,
    pub(super) desired: Desired,
    pub(super) script: Script,
    pub(super) actions: Vec<(Duration, Action)>,
    pub(super) compare: Compare,
}

/// The jobs and limits of a seed.
pub(super) struct Workload {
    pub(super) jobs: Vec<JobPlan>,
    pub(super) job_types: JobTypes,
    pub(super) max_concurrent_tasks: u32,
    pub(super) resync: Duration,
}

/// Longer than any run.
const EVER: u64 = 13 * 86_400;

impl Workload {
    pub(super) fn of(dice: &mut Dice) -> Self {
        let queues = BTreeMap::from([("narrow".to_owned(), small(dice, 1, 3)), ("wide".to_owned(), 8)]);
        let jobs = (0..dice.within(10..=40)).map(|n| job(dice, n)).collect();
        Self {
            jobs,
            job_types: JobTypes { queues, ..JobTypes::default() },
            max_concurrent_tasks: small(dice, 2, 24),
            resync: Duration::from_secs(dice.within(15..=180)),
        }
    }
}

fn small(dice: &mut Dice, least: u64, most: u64) -> u32 {
    u32::try_from(dice.within(least..=most)).unwrap_or(u32::MAX)
}

fn seconds(dice: &mut Dice, least: u64, most: u64) -> Duration {
    dice.millis(least * 1000..=most * 1000)
}

fn job(dice: &mut Dice, number: u64) -> JobPlan {
    let mut desired = Desired::new("echo");
    desired.max_attempts = small(dice, 1, 4);
    desired.priority = i32::try_from(dice.within(0..=6)).unwrap_or(0) - 3;
    desired.start_timeout_seconds = dice.within(120..=1200);
    desired.attempt_timeout_seconds = 6 * 3600;
    desired.queue = match dice.within(0..=3) {
        0 => Some("narrow".to_owned()),
        1 => Some("wide".to_owned()),
        _ => None,
    };
    let script = Script {
        fails: 0,
        exit_code: 1,
        takes: Some(if dice.once_in(4) { seconds(dice, 0, 1) } else { seconds(dice, 1, 600) }),
        stops_in: seconds(dice, 0, 15),
    };
    let mut plan = JobPlan {
        job_id: JobId::new(format!("job-{number:02}")).expect("a good id"),
        at: if dice.once_in(2) { Duration::ZERO } else { seconds(dice, 0, 1800) },
        desired,
        script,
        actions: Vec::new(),
        compare: Compare::All,
    };
    character(dice, &mut plan);
    if dice.once_in(6) {
        plan.actions.push((seconds(dice, 0, 3600), Action::Priority(7)));
    }
    plan.actions.sort_by_key(|(at, _)| *at);
    plan
}

/// Makes the job one of a kind.
fn character(dice: &mut Dice, plan: &mut JobPlan) {
    match dice.within(0..=16) {
        // Fails sometimes or always.
        0 | 1 => plan.script.fails = plan.desired.max_attempts - 1,
        2 => plan.script.fails = u32::MAX,
        3 => rule(dice, plan, FailureAction::Fail),
        4 => rule(dice, plan, FailureAction::Ignore),
        5 => {
            plan.script.takes = None;
            plan.desired.max_attempts = small(dice, 1, 2);
            plan.desired.attempt_timeout_seconds = dice.within(300..=1200);
        }
        6 => {
            plan.script.takes = None;
            plan.desired.attempt_timeout_seconds = EVER;
            plan.desired.active_deadline_seconds = dice.within(900..=3600);
        }
        7 => {
            plan.script.takes = None;
            plan.desired.attempt_timeout_seconds = EVER;
            plan.actions.push((seconds(dice, 0, 3600), Action::Cancel));
        }
        8 => {
            let (from, span) = (seconds(dice, 0, 900), seconds(dice, 0, 1800));
            plan.actions.extend([(from, Action::Suspend), (from + span, Action::Resume)]);
        }
        9 => retried(dice, plan),
        10 => {
            plan.script.fails = u32::MAX;
            retried(dice, plan);
        }
        11 => {
            plan.actions.push((seconds(dice, 0, 900), Action::Cancel));
            plan.compare = Compare::Nothing;
        }
        12 => {
            plan.desired.queue = Some("nowhere".to_owned());
            plan.actions.push((seconds(dice, 0, 1800), Action::FixQueue));
        }
        13 => plan.desired.ttl_seconds_after_finished = dice.within(0..=1800),
        _ => {}
    }
}

fn rule(dice: &mut Dice, plan: &mut JobPlan, action: FailureAction) {
    plan.script.exit_code = 3;
    plan.script.fails = small(dice, 1, 3);
    plan.desired.failure_policy.rules.push(FailureRule {
        exit_codes: BTreeSet::from([3]),
        classes: BTreeSet::new(),
        stop_codes: BTreeSet::new(),
        action,
    });
}

/// Forced retries: how many outcomes fall into which run depends on when they come.
fn retried(dice: &mut Dice, plan: &mut JobPlan) {
    for _ in 0..dice.within(1..=2) {
        plan.actions.push((seconds(dice, 0, 3600), Action::Retry));
    }
    plan.compare = Compare::Status;
}
