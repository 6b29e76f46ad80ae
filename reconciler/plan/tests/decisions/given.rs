//! Snapshots for tests, built from a plain one: `Given::waiting().attempt(started("a"))`.

use contract::attempt::{Budget, Failure, Verdict};
use contract::{
    Closing, Control, Desired, Evidence, FailureClass, Gate, JobId, LaunchToken, LeaveReason, Manifest,
    ManifestEntry, Outcome, Phase, Reason, TaskId, Timestamp, WriteId,
};
use plan::{
    AttemptView, ControlView, Decision, Effect, LaunchSaid, Policy, Seen, Slot, Snapshot, TasksSeen, plan,
};

/// Seconds after an arbitrary moment.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_000_000_000 + seconds * 1000)
}

/// The token of the `n`-th attempt.
pub(crate) fn token(n: u32) -> LaunchToken {
    LaunchToken::from_bits(u128::from(n) << 96)
}

/// A task of the `n`-th attempt.
pub(crate) fn task(n: u32) -> TaskId {
    TaskId::new(format!("task:{n}")).expect("a good id")
}

/// Everything that `plan` takes.
#[derive(Debug, Clone)]
pub(crate) struct Given {
    pub(crate) s: Snapshot,
    pub(crate) now: Timestamp,
    pub(crate) policy: Policy,
    pub(crate) slot: Slot,
}

impl Given {
    /// A job that nobody has looked at, accepted at 0 s, a slot free, looked at at 1 s.
    pub(crate) fn fresh() -> Self {
        let s = Snapshot {
            job_id: JobId::new("job").expect("a good id"),
            created_at: at(0),
            desired: Ok(Desired::new("echo")),
            control: ControlView::Absent,
            active: true,
            attempts: Vec::new(),
            broken_attempt: None,
            misconfigured: None,
            scarce: std::collections::BTreeMap::new(),
        };
        Self { s, now: at(1), policy: Policy::default(), slot: Slot::Granted }
    }

    /// Looked at before; waits.
    pub(crate) fn waiting() -> Self {
        Self::fresh().control(|_| ())
    }

    /// Attempt 1 is claimed at 10 s and launched by nobody yet; looked at at 11 s.
    pub(crate) fn launching() -> Self {
        Self::waiting().attempt(claimed(1)).names(1, Phase::Launching).now(11)
    }

    /// Attempt 1 passed its gate at 12 s, and `control` says so; looked at at 13 s.
    pub(crate) fn running() -> Self {
        Self::waiting().attempt(started(1)).names(1, Phase::Running).now(13).control(|c| {
            c.started_at = Some(at(12));
        })
    }

    /// The job ended at 20 s for `reason`, with attempt 1 closed; looked at at 21 s.
    pub(crate) fn finished(reason: Reason) -> Self {
        let last = match reason {
            Reason::Completed => closed(1, Verdict::Succeeded, Budget::Nothing),
            _ => closed(1, failed(FailureClass::NonZeroExitCode), Budget::Try),
        };
        let mut given = Self::waiting().attempt(last).names(1, Phase::Finished).now(21).control(|c| {
            c.reason = Some(reason);
            c.finished_at = Some(at(20));
            c.expires_at = Some(at(20).plus_seconds(7 * 86_400));
            if reason == Reason::Completed {
                c.accepted = Some(contract::Accepted { number: 1, token: token(1) });
            } else {
                c.tries = 1;
            }
        });
        given.s.active = false;
        given
    }

    pub(crate) fn now(mut self, seconds: i64) -> Self {
        self.now = at(seconds);
        self
    }

    pub(crate) fn no_slot(mut self) -> Self {
        self.slot = Slot::Denied;
        self
    }

    pub(crate) fn desired(mut self, change: impl FnOnce(&mut Desired)) -> Self {
        change(self.s.desired.as_mut().expect("valid"));
        self
    }

    /// Stores a `control`, changed from the stored one or from that of a job that waits.
    pub(crate) fn control(mut self, change: impl FnOnce(&mut Control)) -> Self {
        let mut control = match self.s.control {
            ControlView::Valid(control) => *control,
            ControlView::Absent | ControlView::Broken => waiting_control(),
        };
        change(&mut control);
        self.s.control = ControlView::Valid(Box::new(control));
        self
    }

    pub(crate) fn attempt(mut self, view: AttemptView) -> Self {
        self.s.attempts.push(view);
        self
    }

    /// Changes the last attempt.
    pub(crate) fn last(mut self, change: impl FnOnce(&mut AttemptView)) -> Self {
        change(self.s.attempts.last_mut().expect("there is an attempt"));
        self
    }

    /// `control` is in `phase` and names attempt `n`.
    pub(crate) fn names(self, n: u32, phase: Phase) -> Self {
        self.control(|c| {
            c.phase = phase;
            c.attempt = n;
            c.token = Some(token(n));
            c.reason = (phase == Phase::Launching).then_some(Reason::Launching);
        })
    }

    pub(crate) fn plan(&self) -> Decision {
        plan(&self.s, self.now, &self.policy, self.slot)
    }

    /// The effect that is planned.
    pub(crate) fn effect(&self) -> Effect {
        match self.plan() {
            Decision::Do { effect, .. } => effect,
            other => panic!("an effect was expected, not {other:?}"),
        }
    }

    /// The `control` that is written.
    pub(crate) fn written(&self) -> Control {
        match self.plan() {
            Decision::Write { control, .. } => *control,
            other => panic!("a write was expected, not {other:?}"),
        }
    }

    /// Reason and time of the next look of a job that is left alone.
    pub(crate) fn waits(&self) -> (Option<Reason>, Option<Timestamp>) {
        match self.plan() {
            Decision::Wait { reason, until, .. } => (reason, until),
            other => panic!("a wait was expected, not {other:?}"),
        }
    }

    /// Stores what is written until nothing more is; at most `steps` times.
    pub(crate) fn write_all(mut self, steps: usize) -> Self {
        for _ in 0..=steps {
            match self.plan() {
                Decision::Write { control, settled, .. } => {
                    self.s.control = ControlView::Valid(control);
                    self.s.active = !settled;
                }
                Decision::Do { .. } | Decision::Wait { .. } => return self,
            }
        }
        panic!("still writing after {steps} writes: {:?}", self.plan());
    }

    pub(crate) fn stored(&self) -> &Control {
        match &self.s.control {
            ControlView::Valid(control) => control,
            other => panic!("no control is stored: {other:?}"),
        }
    }
}

/// What is stored for a job that waits for its first attempt.
pub(crate) fn waiting_control() -> Control {
    Control {
        version: WriteId::from_bits(7),
        epoch: 1,
        run: 1,
        attempt: 0,
        token: None,
        tries: 0,
        infra_tries: 0,
        refusals: 0,
        phase: Phase::Waiting,
        not_before: None,
        reason: Some(Reason::PendingEvaluation),
        reason_since: None,
        message: String::new(),
        blockers: Vec::new(),
        seen_retry: 0,
        run_started_at: at(0),
        suspended: false,
        started_at: None,
        finished_at: None,
        expires_at: None,
        accepted: None,
        cost: None,
    }
}

/// Attempt `n` of run 1, claimed at 10 s; nobody passed its gate, and its tasks are not known.
pub(crate) fn claimed(n: u32) -> AttemptView {
    AttemptView {
        token: token(n),
        number: n,
        run: 1,
        retry: 0,
        claimed_at: at(10),
        attempt_timeout_seconds: 3600,
        start_timeout_seconds: 600,
        stop_grace_seconds: 30,
        gate: None,
        started_at: None,
        outcome: None,
        closing: None,
        mine_for_ms: None,
        launch: LaunchSaid::Nothing,
        tasks: TasksSeen::default(),
        stop_asked: false,
        stops_explained: false,
        published: None,
        price: None,
        phases: std::collections::BTreeMap::new(),
    }
}

/// Attempt `n`, executing since 12 s.
pub(crate) fn started(n: u32) -> AttemptView {
    let mut view = claimed(n);
    view.gate = Some(Gate::Started { task: task(n) });
    view.started_at = Some(at(12));
    view.tasks.seen.insert(task(n), Seen::Alive);
    view
}

/// Attempt `n`, sealed; `ran` says whether its task had passed the gate.
pub(crate) fn sealed(n: u32, why: LeaveReason, ran: bool) -> AttemptView {
    let mut view = if ran { started(n) } else { claimed(n) };
    view.gate = Some(Gate::Sealed { why, started: ran.then(|| task(n)) });
    view
}

/// Attempt `n` with a success reported.
pub(crate) fn succeeded(n: u32) -> AttemptView {
    let mut view = started(n);
    view.gate = Some(Gate::Finished { task: task(n) });
    let result = ManifestEntry { path: "result.json".to_owned(), size: 2, sha256: "00".repeat(32) };
    let manifest = Manifest { files: vec![result] };
    view.outcome = Some(Outcome { finished_at: at(15), failure: None, manifest });
    view
}

/// Attempt `n` with a failure reported.
pub(crate) fn reported(n: u32, class: FailureClass, exit_code: i32) -> AttemptView {
    let mut view = succeeded(n);
    let failure = Failure { class, exit_code: Some(exit_code), message: "it failed".to_owned() };
    view.outcome =
        Some(Outcome { finished_at: at(15), failure: Some(failure), manifest: Manifest::default() });
    view
}

/// Attempt `n`, closed at 16 s.
pub(crate) fn closed(n: u32, verdict: Verdict, uses: Budget) -> AttemptView {
    let mut view = match verdict {
        Verdict::Succeeded => succeeded(n),
        Verdict::Failed { class, .. } => reported(n, class, 1),
        Verdict::Left { why } => sealed(n, why, false),
    };
    let write = WriteId::from_bits(9);
    view.closing = Some(Closing { write, closed_at: at(16), verdict, uses, evidence: Evidence::default() });
    view
}

pub(crate) fn failed(class: FailureClass) -> Verdict {
    Verdict::Failed { class, message: "it failed".to_owned() }
}

pub(crate) fn left(n: u32, why: LeaveReason) -> AttemptView {
    closed(n, Verdict::Left { why }, Budget::Nothing)
}

/// What the runtime says of a task that is gone.
pub(crate) fn gone(code: &str) -> Seen {
    Seen::Stopped(Box::new(Evidence { stop_code: Some(code.to_owned()), ..Evidence::default() }))
}
