//! From what a reconciler has read to the [`Snapshot`] that the real `plan()` gets, and its answer.

use super::Protocol;
use super::broken::Broken;
use super::intern::{QuickMap, Shared};
use super::state::{
    Attempt, DECISIONS, Doing, Door, LEDGERS, Ledger, MOST, Memory, Record, Reported, Said, State, Task,
    Wanted,
};
use contract::attempt::{Budget, RefusalKind};
use contract::desired::Backoff;
use contract::{
    Desired, Failure, FailureClass, Gate, JobId, LaunchToken, Manifest, ManifestEntry, Outcome, Refusal,
    TaskId, Timestamp,
};
use plan::{
    AttemptView, ControlView, Decision, Effect, LaunchSaid, Policy, Published, Seen as SeenTask, Slot,
    Snapshot, TasksSeen, plan,
};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// The number of an attempt that a read has missed. Only a broken protocol has such reads.
pub(crate) const UNHEARD: u8 = 0;

/// Seconds of one step of the clock: every timeout and every launch window is as long.
pub(crate) const TICK: u64 = 1000;
/// Steps of the clock until the deadline; only states with faults stopped wait so long.
const DEADLINE: u64 = 60;

pub(crate) fn time(ticks: u8) -> Timestamp {
    Timestamp::from_millis(1_000_000_000).plus_seconds(u64::from(ticks) * TICK)
}

/// The step of the clock at which `at` has come.
pub(crate) fn ticks(at: Timestamp) -> u64 {
    at.millis_since(time(0)).unsigned_abs().div_ceil(TICK * 1000)
}

pub(crate) fn token(of: u8) -> LaunchToken {
    LaunchToken::from_bits(u128::from(of) + 1)
}

/// The place of the attempt with this token.
pub(crate) fn place(token: &LaunchToken) -> u8 {
    u8::from_str_radix(&token.as_str()[24..], 16).expect("one of our tokens") - 1
}

pub(crate) fn task_id(task: Task) -> TaskId {
    TaskId::new(format!("task:{}-{}", task.of + 1, task.made + 1)).expect("a good id")
}

pub(crate) fn gate(door: Door) -> Option<Gate> {
    match door {
        Door::Absent => None,
        Door::Started(task) => Some(Gate::Started { task: task_id(task) }),
        Door::Finished(task) => Some(Gate::Finished { task: task_id(task) }),
        Door::Sealed(why, task) => Some(Gate::Sealed { why, started: task.map(task_id) }),
    }
}

/// Small constants: a pause is none, a timeout is one step of the clock.
pub(crate) fn policy() -> Policy {
    Policy {
        infra_budget: 2,
        launch_window_ms: TICK * 1000,
        replay_window_ms: TICK * 1000,
        refusal_initial_ms: 0,
        refusal_max_ms: 0,
        infra_initial_ms: 0,
        infra_max_ms: 0,
        look_again_ms: TICK * 1000,
        evidence_wait_ms: 0,
        quiet_wait_ms: 0,
        spot_interruptions: 2,
        spot_patience_ms: 0,
    }
}

fn desired(wanted: Wanted, max_attempts: u8) -> Desired {
    let mut d = Desired::new("echo");
    d.max_attempts = max_attempts.into();
    d.backoff = Backoff { initial_seconds: 0, factor: 1, max_seconds: 0 };
    d.active_deadline_seconds = if wanted.hurry { 0 } else { DEADLINE * TICK };
    (d.cancel, d.suspend, d.retry) = (wanted.cancel, wanted.suspend, wanted.retry.into());
    d
}

/// Everything that a decision depends on.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Question {
    record: Record,
    ledger: Shared<Ledger>,
    tasks: [[Doing; 2]; MOST],
    complete: bool,
    memory: [Memory; MOST],
    now: u8,
    max_attempts: u8,
    broken: Option<u8>,
}

thread_local! {
    // `plan` is a pure function: the same question has the same answer.
    static ANSWERS: RefCell<QuickMap<Question, Shared<Decision>>> = RefCell::default();
}

/// What `plan()` decides from a record, a ledger and the tasks as they are now. `complete` tells whether the
/// runtime answers; if it does not, or if its listing lags, no task is seen.
pub(crate) fn decide(
    m: &Protocol,
    s: &State,
    of: usize,
    record: Record,
    ledger: Shared<Ledger>,
    complete: bool,
) -> Shared<Decision> {
    let question = Question {
        record,
        ledger,
        tasks: s.tasks,
        complete,
        memory: s.reconcilers[of].memory,
        now: s.now,
        max_attempts: m.bounds.max_attempts,
        broken: m.broken.map(|b| b as u8),
    };
    ANSWERS.with_borrow_mut(|answers| {
        if let Some(known) = answers.get(&question) {
            return *known;
        }
        let snapshot = snapshot(m, &question);
        let mut decision = plan(&snapshot, time(s.now), &policy(), Slot::Granted);
        // No decision depends on it; with it, states would differ in nothing but when something was told.
        if let Decision::Write { control, .. } | Decision::Do { effect: Effect::Claim { control, .. }, .. } =
            &mut decision
        {
            control.reason_since = None;
        }
        let decision = DECISIONS.share(decision);
        answers.insert(question, decision);
        decision
    })
}

pub(crate) fn shared(ledger: &Ledger) -> Shared<Ledger> {
    thread_local! {
        static KNOWN: RefCell<QuickMap<Ledger, Shared<Ledger>>> = RefCell::default();
    }
    KNOWN.with_borrow_mut(|known| *known.entry(*ledger).or_insert_with(|| LEDGERS.share(*ledger)))
}

fn snapshot(m: &Protocol, q: &Question) -> Snapshot {
    let control = match q.record.control {
        None => ControlView::Absent,
        Some(control) => ControlView::Valid(Box::new((*control).clone())),
    };
    let named = q.record.control.and_then(|c| c.token.as_ref().map(place));
    let attempts = (0u8..)
        .zip(q.ledger.iter())
        .filter(|(of, _)| !m.is(Broken::LedgerInControl) || Some(*of) == named)
        .filter(|(_, a)| a.number != UNHEARD)
        .map(|(of, a)| view(m, q, of, a));
    Snapshot {
        job_id: JobId::new("job").expect("a good id"),
        created_at: time(0),
        desired: Ok(desired(q.record.wanted, q.max_attempts)),
        control,
        active: q.record.active,
        attempts: attempts.collect(),
        broken_attempt: None,
        misconfigured: None,
        scarce: std::collections::BTreeMap::new(),
    }
}

fn view(m: &Protocol, q: &Question, of: u8, a: &Attempt) -> AttemptView {
    let memory = q.memory[usize::from(of)];
    let expired = q.now > a.claimed_at;
    let mut closing = a.closing.map(|c| (*c).clone());
    if m.is(Broken::TriesFromObservations)
        && !q.tasks[usize::from(of)].iter().any(|t| t.exists() && *t != Doing::Forgotten)
    {
        closing.iter_mut().for_each(|c| c.uses = Budget::Nothing);
    }
    let door = match a.gate {
        Door::Sealed(why, Some(_)) if m.is(Broken::CloseBeforeStopped) => Door::Sealed(why, None),
        door @ (Door::Absent | Door::Started(_) | Door::Finished(_) | Door::Sealed(..)) => door,
    };
    AttemptView {
        token: token(of),
        number: a.number.into(),
        run: a.run.into(),
        retry: a.retry.into(),
        claimed_at: time(a.claimed_at),
        attempt_timeout_seconds: TICK,
        start_timeout_seconds: TICK,
        stop_grace_seconds: 30,
        gate: gate(door),
        started_at: matches!(a.gate, Door::Started(_) | Door::Finished(_)).then(|| time(a.started_at)),
        outcome: a.outcome.map(outcome),
        tasks: if a.closing.is_some() { TasksSeen::default() } else { tasks(m, q, of, door) },
        closing,
        mine_for_ms: memory.mine.then_some(if expired { TICK * 1000 } else { 0 }),
        launch: match memory.said {
            Said::Nothing => LaunchSaid::Nothing,
            Said::Launched => LaunchSaid::Launched,
            Said::Uncertain => LaunchSaid::Uncertain { again_at: time(a.claimed_at) },
            Said::Refused => {
                let message = "no capacity".to_owned();
                LaunchSaid::Refused(Refusal { kind: RefusalKind::Capacity, message })
            }
        },
        stop_asked: memory.stop_asked,
        stops_explained: false,
        published: memory.published.map(|readable| {
            if readable { Published::Done } else { Published::Unreadable("gone".to_owned()) }
        }),
        price: None,
        phases: std::collections::BTreeMap::new(),
    }
}

fn outcome(reported: Reported) -> Outcome {
    let entry = ManifestEntry { path: "result.json".to_owned(), size: 2, sha256: "00".repeat(32) };
    let failure = Failure {
        class: FailureClass::NonZeroExitCode,
        exit_code: Some(1),
        message: "exit code 1".to_owned(),
    };
    let (failure, files) = match reported {
        Reported::Success | Reported::Unreadable => (None, vec![entry]),
        Reported::Failure => (Some(failure), Vec::new()),
    };
    Outcome { finished_at: time(0), failure, manifest: Manifest { files } }
}

/// What the runtime shows of one attempt's tasks, and whether absence is proof, as the loop's observation
/// finds it: the task that passed the gate counts, or any task while none has.
fn tasks(m: &Protocol, q: &Question, of: u8, door: Door) -> TasksSeen {
    let started = match door {
        Door::Finished(_) => return TasksSeen::default(),
        Door::Started(task) | Door::Sealed(_, Some(task)) => Some(task),
        Door::Absent | Door::Sealed(_, None) => None,
    };
    if !q.complete {
        return TasksSeen { seen: BTreeMap::new(), absence_proven: m.is(Broken::AbsenceIsDeath) };
    }
    let stopped = || SeenTask::Stopped(Box::default());
    let mut seen = BTreeMap::new();
    for (made, doing) in (0u8..).zip(q.tasks[usize::from(of)]) {
        let shown = match doing {
            Doing::Nothing | Doing::Forgotten => continue,
            Doing::Orphaned if m.is(Broken::WorkerSpeaksForAgent) => stopped(),
            Doing::Starting | Doing::Executing | Doing::Orphaned => SeenTask::Alive,
            Doing::Stopped => stopped(),
        };
        seen.insert(task_id(Task { of, made }), shown);
    }
    let over = |t: &Doing| matches!(t, Doing::Stopped | Doing::Forgotten);
    if m.is(Broken::DeathByToken) && q.tasks[usize::from(of)].iter().any(over) {
        seen.extend(started.map(|task| (task_id(task), stopped())));
    }
    let present = match started {
        Some(task) => seen.contains_key(&task_id(task)),
        None => !seen.is_empty(),
    };
    TasksSeen { seen, absence_proven: !present }
}
