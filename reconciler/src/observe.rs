//! From stored records and the task runtime to the [`Snapshot`] that the plan looks at.

use crate::facts::{Absent, Fact};
use crate::room::CAPACITIES;
use crate::tasks::{Observed, TaskState};
use crate::work::Work;
use backends::Loaded;
use contract::attempt::phase;
use contract::desired::Capacity;
use contract::{
    Attempt, Closing, Control, Created, Desired, FailureClass, Gate, Invalid, LaunchRequest, LaunchToken,
    Raw, Report, TaskId, Timestamp,
};
use plan::{AttemptView, ControlView, LaunchSaid, Scarcity, Seen, Snapshot, TasksSeen};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// The part of a claim that decisions look at; reading it skips the payload.
#[derive(Deserialize)]
struct ClaimHead {
    number: u32,
    run: u32,
    retry: u64,
    claimed_at: Timestamp,
    attempt_timeout_seconds: u64,
    start_timeout_seconds: u64,
    stop_grace_seconds: u64,
    request: LaunchRequest,
}

impl Work {
    /// Everything that is known about a job now. `just_launched` was launched within this pass and is not
    /// asked about again.
    pub(crate) async fn snapshot(&self, loaded: &Loaded, just_launched: Option<&LaunchToken>) -> Snapshot {
        let job = &loaded.job;
        let desired = job.desired();
        let misconfigured = desired
            .as_ref()
            .ok()
            .and_then(|d| self.parts.job_types.check(d, self.parts.tasks.supports()).err())
            .map(|invalid| invalid.to_string());
        let mut attempts = Vec::with_capacity(loaded.attempts.len());
        let mut broken_attempt = None;
        for attempt in &loaded.attempts {
            match self.attempt_view(attempt, just_launched).await {
                Ok(view) => attempts.push(view),
                Err((section, invalid)) => {
                    broken_attempt =
                        Some(format!("attempt {}: {section}: {invalid}", attempt.token.prefix()));
                }
            }
        }
        let scarce = desired.as_ref().map(|desired| self.scarce(desired)).unwrap_or_default();
        Snapshot {
            job_id: job.job_id.clone(),
            created_at: created_at(&job.created, &self.parts.clock.now()),
            desired,
            control: control_view(job.control.as_ref()),
            active: job.active,
            attempts,
            broken_attempt,
            misconfigured,
            scarce,
        }
    }

    /// What keeps launches of the job waiting, by the capacities that it may run on.
    fn scarce(&self, desired: &Desired) -> BTreeMap<Capacity, Scarcity> {
        if !self.admission.is_scarce() {
            return BTreeMap::new();
        }
        let of = |capacity| {
            let demand = self.demand(desired, capacity)?;
            Some((capacity, self.admission.scarcity(demand)?))
        };
        CAPACITIES.into_iter().filter_map(of).collect()
    }

    async fn attempt_view(
        &self,
        attempt: &Attempt,
        just_launched: Option<&LaunchToken>,
    ) -> Result<AttemptView, (&'static str, Invalid)> {
        let head: ClaimHead = parse(attempt.claim.text()).map_err(|e| ("claim", e))?;
        let gate: Option<Gate> = optional(attempt.gate.as_ref()).map_err(|e| ("gate", e))?;
        let closing: Option<Closing> = optional(attempt.closing.as_ref()).map_err(|e| ("closing", e))?;
        // A report that somebody broke is worth as much as none: the plan knows what to do about that.
        let report: Option<Report> = optional(attempt.report.as_ref()).unwrap_or_default();
        let price = self.parts.tasks.price(&head.request);
        let phases = match price {
            Some(_) => self.phases(gate.as_ref(), report.as_ref()),
            None => BTreeMap::new(),
        };
        let mut view = AttemptView {
            token: attempt.token.clone(),
            number: head.number,
            run: head.run,
            retry: head.retry,
            claimed_at: head.claimed_at,
            attempt_timeout_seconds: head.attempt_timeout_seconds,
            start_timeout_seconds: head.start_timeout_seconds,
            stop_grace_seconds: head.stop_grace_seconds,
            gate,
            started_at: report.as_ref().map(|r| r.started_at),
            outcome: report.and_then(|r| r.outcome),
            closing,
            mine_for_ms: None,
            launch: LaunchSaid::Nothing,
            tasks: TasksSeen::default(),
            stop_asked: false,
            stops_explained: self.parts.tasks.explains_stops(),
            published: None,
            price,
            phases,
        };
        match view.closing {
            None => self.add_what_is_known(&mut view, attempt, just_launched).await,
            // Closed by somebody else, or by a call whose answer was lost.
            Some(_) => self.facts.forget(&attempt.token),
        }
        Ok(view)
    }

    /// Whether something of the job's open attempts may be alive, those that cannot be decoded included: of them
    /// the runtime knows more than the record.
    pub(crate) async fn may_run(&self, loaded: &Loaded, snapshot: &Snapshot) -> bool {
        for attempt in &loaded.attempts {
            let closed = matches!(optional(attempt.closing.as_ref()), Ok(Some(_)));
            let gate = optional(attempt.gate.as_ref()).unwrap_or_default();
            let fact = self.facts.of(&attempt.token);
            let never_launched = gate.is_none() && fact.claimed.is_some() && fact.launch_called.is_none();
            // With an outcome, its worker had reaped the agent before it wrote it.
            if closed || never_launched || matches!(gate, Some(Gate::Finished { .. })) {
                continue;
            }
            let tasks = match snapshot.attempts.iter().find(|a| a.token == attempt.token) {
                Some(view) => view.tasks.clone(),
                None => self.tasks_seen(attempt, gate.as_ref(), &fact, self.parts.clock.monotonic()).await,
            };
            let gone = match gate.as_ref().and_then(started_task) {
                Some(task) => tasks.stopped(task).is_some(),
                None => {
                    let stopped = |seen: &Seen| matches!(seen, Seen::Stopped(_));
                    tasks.seen.values().all(stopped) && (tasks.absence_proven || !tasks.seen.is_empty())
                }
            };
            if !gone {
                return true;
            }
        }
        false
    }

    /// The launch phases as far as worker and task runtime have told them already.
    fn phases(&self, gate: Option<&Gate>, report: Option<&Report>) -> BTreeMap<String, Timestamp> {
        let mut phases =
            gate.and_then(started_task).map_or_else(BTreeMap::new, |t| self.parts.tasks.phases(t));
        let Some(report) = report else { return phases };
        for (name, at) in &report.phases {
            phases.entry(name.clone()).or_insert(*at);
        }
        phases.insert(phase::GATE_PASSED.to_owned(), report.started_at);
        if let Some(outcome) = &report.outcome {
            phases.insert(phase::FINISHED.to_owned(), outcome.finished_at);
        }
        phases
    }

    async fn add_what_is_known(
        &self,
        view: &mut AttemptView,
        attempt: &Attempt,
        just_launched: Option<&LaunchToken>,
    ) {
        let fact = self.facts.of(&attempt.token);
        let now = self.parts.clock.monotonic();
        let within = |at: Duration, span: u64| millis(now.saturating_sub(at)) < span;
        view.mine_for_ms = fact.claimed.map(|at| millis(now.saturating_sub(at)));
        view.stop_asked = fact.stop_asked.is_some_and(|at| within(at, self.parts.policy.look_again_ms));
        view.published = fact.published.clone();
        view.launch = fact.launch.clone();
        let never_launched = fact.claimed.is_some() && fact.launch_called.is_none();
        let nothing_to_see = match view.gate {
            // The outcome says all, unless somebody told the worker to stop: who, is for the runtime to say.
            Some(Gate::Finished { .. }) => !(view.stops_explained && was_interrupted(view)),
            Some(Gate::Started { .. } | Gate::Sealed { started: Some(_), .. }) => false,
            Some(Gate::Sealed { started: None, .. }) | None => {
                never_launched || just_launched == Some(&attempt.token)
            }
        };
        if nothing_to_see {
            self.remember_to_look(&attempt.token, &fact, None);
        } else {
            view.tasks = self.tasks_seen(attempt, view.gate.as_ref(), &fact, now).await;
        }
        if matches!(view.gate, Some(Gate::Finished { .. })) && !nothing_to_see {
            // Its end is near, and what is kept about the task may be from long before.
            self.parts.tasks.heard_of(&attempt.job_id);
        }
    }

    async fn tasks_seen(
        &self,
        attempt: &Attempt,
        gate: Option<&Gate>,
        fact: &Fact,
        now: Duration,
    ) -> TasksSeen {
        let started = gate.and_then(started_task);
        let observed = self.parts.tasks.observe(&attempt.job_id, &attempt.token, started).await;
        self.metrics.asked_runtime("observe", matches!(observed, Observed::Known(_)));
        let views = match observed {
            Observed::Known(views) => views,
            Observed::Unknown(why) => {
                tracing::warn!(job_id = %attempt.job_id, %why, "tasks are not known now");
                let look_at = self.parts.clock.monotonic() + self.parts.resync_interval;
                self.remember_to_look(&attempt.token, fact, Some(look_at));
                return TasksSeen::default();
            }
        };
        // What matters is the task that passed the gate, or any task while none has.
        let present = match started {
            Some(task) => views.iter().any(|v| v.task == *task),
            None => !views.is_empty(),
        };
        let absent = if present { None } else { Some(self.absent(&attempt.token, started, now)) };
        if present && fact.absence.is_some() {
            self.facts.note(&attempt.token, |f| f.absence = None);
        }
        let look_at = match absent {
            Some(Absent::Perhaps { look_at }) => Some(look_at),
            Some(Absent::Certain) | None => None,
        };
        self.remember_to_look(&attempt.token, fact, look_at);
        let seen = views.into_iter().map(|v| {
            let seen = match v.state {
                TaskState::Alive if v.worker_gone => Seen::WorkerGone,
                TaskState::Alive => Seen::Alive,
                TaskState::Stopped(evidence) => Seen::Stopped(evidence),
            };
            (v.task, seen)
        });
        TasksSeen { seen: seen.collect(), absence_proven: absent == Some(Absent::Certain) }
    }

    /// Absence is believed at once where it is proof, else as [`Fact::absent`] says.
    fn absent(&self, token: &LaunchToken, started: Option<&TaskId>, began: Duration) -> Absent {
        if self.parts.tasks.absence_is_proof() {
            return Absent::Certain;
        }
        let ended = self.parts.clock.monotonic();
        let mut absent = Absent::Certain;
        self.facts.note(token, |f| absent = f.absent(started, began, ended));
        absent
    }

    /// No hint may follow a look that has shown nothing certain: whoever wants to know looks again.
    fn remember_to_look(&self, token: &LaunchToken, fact: &Fact, at: Option<Duration>) {
        if fact.look_again != at {
            self.facts.note(token, |f| f.look_again = at);
        }
    }

    /// When to look at the job again because of such looks in a pass that began then.
    pub(crate) fn look_again(&self, loaded: &Loaded, began: Duration) -> Option<Timestamp> {
        let tokens = loaded.attempts.iter().map(|attempt| &attempt.token);
        let at = self.facts.look_again(tokens, began)?;
        let wait = at.saturating_sub(self.parts.clock.monotonic());
        // Rounded up: a look a moment too early would be followed by the next one at once.
        let wait = i64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(i64::MAX);
        Some(self.parts.clock.now().plus_millis(wait))
    }
}

fn was_interrupted(view: &AttemptView) -> bool {
    let failure = view.outcome.as_ref().and_then(|outcome| outcome.failure.as_ref());
    failure.is_some_and(|failure| failure.class == FailureClass::Interrupted)
}

/// The task that passed the gate.
fn started_task(gate: &Gate) -> Option<&TaskId> {
    match gate {
        Gate::Started { task } | Gate::Finished { task } | Gate::Sealed { started: Some(task), .. } => {
            Some(task)
        }
        Gate::Sealed { started: None, .. } => None,
    }
}

pub(crate) fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

/// When the job was accepted. A broken `created` cannot be mended by anybody and must not stop the job: it
/// counts as accepted now.
pub(crate) fn created_at(created: &Raw<Created>, now: &Timestamp) -> Timestamp {
    created.parse().map_or(*now, |c| c.at)
}

fn control_view(control: Option<&Raw<Control>>) -> ControlView {
    match control.map(Raw::parse) {
        None => ControlView::Absent,
        Some(Ok(control)) => ControlView::Valid(Box::new(control)),
        Some(Err(_)) => ControlView::Broken,
    }
}

fn parse<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, Invalid> {
    Raw::<T>::stored(text).parse()
}

fn optional<T: serde::de::DeserializeOwned>(raw: Option<&Raw<T>>) -> Result<Option<T>, Invalid> {
    raw.map(Raw::parse).transpose()
}
