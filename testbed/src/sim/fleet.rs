//! Tasks: what exists, and the port that shows it late, old, or not at all.
//!
//! The ECS kind behaves as its documentation says: a client token protects until one hour after its task
//! stopped, then it makes another task; a refusal is replayed for the same token; throttling answers nobody
//! knows about; listings lag by minutes and a task is `MISSING` for a while after it was created; stopped
//! tasks are forgotten after an hour. A task is invisible by its own id for less than a minute, which is
//! what the reconciler's patience rests on. The process kind is exact, and forgets nothing.

use super::Mutation;
use super::chaos::Fault;
use super::host::Host;
use super::worker;
use super::world::{Kind, State, World};
use async_trait::async_trait;
use backends::{Hint, HintSender};
use contract::attempt::{Evidence, LaunchRequest, Refusal, RefusalKind};
use contract::desired::Capacity;
use contract::{Desired, JobId, JsonText, LaunchToken, Supports, TaskId};
use reconciler::tasks::{Demand, Launch, LaunchAnswer, Observed, TaskState, TaskView, Tasks};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// ECS: stopped tasks can be described for an hour, and a client token lives an hour longer than its task.
const MEMORY: Duration = Duration::from_secs(3600);
/// ECS: RunTask calls in a burst, and per second after it (on-demand tasks of Fargate).
const BUCKET: f64 = 20.0;

/// What a worker is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Signal {
    /// Nothing.
    None,
    /// SIGTERM.
    Term,
    /// SIGKILL.
    Kill,
}

/// One task.
pub(super) struct Task {
    token: LaunchToken,
    job_id: JobId,
    created: Duration,
    /// When listings show it.
    listed: Duration,
    /// When it cannot be found by its id although it exists.
    missing: (Duration, Duration),
    pub(super) stopped: Option<(Duration, Evidence)>,
    pub(super) worker_gone: bool,
    pub(super) signal: watch::Sender<Signal>,
    grace: Duration,
    told: Option<Duration>,
    pub(super) stop_code: Option<&'static str>,
}

/// All tasks.
#[derive(Default)]
pub(super) struct Fleet {
    pub(super) tasks: BTreeMap<TaskId, Task>,
    by_token: BTreeMap<LaunchToken, Vec<TaskId>>,
    requests: BTreeMap<LaunchToken, LaunchRequest>,
    refused: BTreeMap<LaunchToken, (Duration, Refusal)>,
    tokens_left: f64,
    filled: Duration,
    /// Tasks so far.
    pub(super) count: u64,
}

impl State {
    /// How many tasks have not stopped.
    pub(super) fn alive(&self) -> usize {
        self.fleet.tasks.values().filter(|t| t.stopped.is_none()).count()
    }

    /// Carries out a launch: the answer that a call to the runtime gives.
    fn run_task(&mut self, world: &Arc<World>, launch: &Launch) -> LaunchAnswer {
        let (now, token, kind) = (self.now(), &launch.token, world.kind);
        let request = self.fleet.requests.entry(token.clone()).or_insert_with(|| launch.request.clone());
        if *request != launch.request {
            self.wrong(&format!("job {}: the request of a token has changed", launch.job_id));
        }
        let known = self.fleet.by_token.get(token).and_then(|all| all.last()).filter(|task| {
            let stopped = self.fleet.tasks.get(*task).and_then(|t| t.stopped.as_ref());
            kind == Kind::Process || stopped.is_none_or(|(at, _)| now < *at + MEMORY)
        });
        if let Some(task) = known {
            return LaunchAnswer::Launched(task.clone());
        }
        if let Some((at, refusal)) = self.fleet.refused.get(token)
            && now < *at + MEMORY
        {
            return LaunchAnswer::Refused(refusal.clone());
        }
        if kind == Kind::Ecs && !self.take_from_bucket() {
            return LaunchAnswer::Uncertain("ThrottlingException: Rate exceeded".to_owned());
        }
        if self.chance(Fault::LaunchRefused) {
            let kinds = [
                RefusalKind::Capacity,
                RefusalKind::Quota,
                RefusalKind::Throttled,
                RefusalKind::Misconfigured,
            ];
            let kind = self.dice.one_of(&kinds).copied().unwrap_or(RefusalKind::Capacity);
            let refusal = Refusal { kind, message: format!("simulated: {kind}") };
            self.fleet.refused.insert(token.clone(), (now, refusal.clone()));
            return LaunchAnswer::Refused(refusal);
        }
        LaunchAnswer::Launched(self.new_task(world, launch))
    }

    fn take_from_bucket(&mut self) -> bool {
        let now = self.now();
        let f = &mut self.fleet;
        let gained = now.saturating_sub(f.filled).as_secs_f64() * BUCKET;
        // The first call finds a full bucket.
        f.tokens_left = if f.count == 0 { BUCKET } else { (f.tokens_left + gained).min(BUCKET) };
        f.filled = now;
        let ok = f.tokens_left >= 1.0;
        if ok {
            f.tokens_left -= 1.0;
        }
        ok
    }

    fn new_task(&mut self, world: &Arc<World>, launch: &Launch) -> TaskId {
        let now = self.now();
        self.fleet.count += 1;
        let number = self.fleet.count;
        let task = TaskId::new(format!("task:{number}")).expect("a good id");
        let faulty = self.faulty() && world.kind == Kind::Ecs;
        let lag = if faulty { self.dice.millis(0..=300_000) } else { Duration::ZERO };
        let missing_from = if self.dice.once_in(2) { Duration::ZERO } else { self.seconds(0..=600) };
        let missing_for = if faulty { self.seconds(0..=40) } else { Duration::ZERO };
        let (signal, signals) = watch::channel(Signal::None);
        let entry = Task {
            token: launch.token.clone(),
            job_id: launch.job_id.clone(),
            created: now,
            listed: now + lag,
            missing: (now + missing_from, now + missing_from + missing_for),
            stopped: None,
            worker_gone: false,
            signal,
            grace: launch.stop_grace,
            told: None,
            stop_code: None,
        };
        self.note("runtime", &format!("{task} for {} {}", launch.job_id, launch.token.prefix()));
        self.fleet.tasks.insert(task.clone(), entry);
        self.fleet.by_token.entry(launch.token.clone()).or_default().push(task.clone());
        let start = worker::Start {
            world: world.clone(),
            task: task.clone(),
            job_id: launch.job_id.clone(),
            token: launch.token.clone(),
            signals,
        };
        tokio::spawn(worker::live(start));
        task
    }

    /// The task, as it was at `at`; `None`: it was not to be seen.
    fn view(&self, task: &TaskId, by_id: bool, at: Duration, mutation: Option<Mutation>) -> Option<TaskView> {
        let (now, t) = (self.now(), self.fleet.tasks.get(task)?);
        let hidden = if by_id { (t.missing.0..t.missing.1).contains(&at) } else { at < t.listed };
        let forgotten = t.stopped.as_ref().is_some_and(|(since, _)| now >= *since + MEMORY);
        if at < t.created || hidden || forgotten {
            return None;
        }
        let gone = t.worker_gone && mutation == Some(Mutation::WorkerIsAll);
        let told = t.told.is_some() && mutation == Some(Mutation::StoppedTooEarly);
        let evidence = match &t.stopped {
            Some((since, evidence)) if *since <= at => Some(evidence.clone()),
            _ if gone || told => Some(Evidence { task: Some(task.clone()), ..Evidence::default() }),
            _ => None,
        };
        let state = evidence.map_or(TaskState::Alive, |e| TaskState::Stopped(Box::new(e)));
        Some(TaskView {
            task: task.clone(),
            token: t.token.clone(),
            job_id: t.job_id.clone(),
            worker_gone: state == TaskState::Alive && t.worker_gone,
            state,
            age: now.saturating_sub(t.created),
        })
    }

    fn observe(
        &mut self,
        world: &World,
        token: &LaunchToken,
        started: Option<&TaskId>,
    ) -> Observed<Vec<TaskView>> {
        if self.chance(Fault::TasksUnknown) {
            if world.is(Mutation::UnknownIsAbsent) {
                return Observed::Known(Vec::new());
            }
            return Observed::Unknown("simulated".to_owned());
        }
        let now = self.now();
        let old = world.kind == Kind::Ecs && self.chance(Fault::TasksOld);
        let (by_token_at, by_id_at) = if old {
            let (long, short) = (self.seconds(0..=300), self.seconds(0..=15));
            (now.saturating_sub(long), now.saturating_sub(short))
        } else {
            (now, now)
        };
        let mut views = BTreeMap::new();
        for task in self.fleet.by_token.get(token).cloned().unwrap_or_default() {
            let view = self.view(&task, false, by_token_at, world.mutation);
            // Stopped tasks may or may not appear among the running ones.
            let shown = view.filter(|v| {
                world.kind == Kind::Process || v.state == TaskState::Alive || self.dice.once_in(2)
            });
            if let Some(view) = shown {
                views.insert(task, view);
            }
        }
        if let Some(task) = started
            && let Some(view) = self.view(task, true, by_id_at, world.mutation)
        {
            views.insert(task.clone(), view);
        } else if let Some(task) = started {
            views.remove(task);
        }
        Observed::Known(views.into_values().collect())
    }

    fn stop(&mut self, world: &Arc<World>, task: &TaskId) {
        let now = self.now();
        let Some(t) = self.fleet.tasks.get_mut(task).filter(|t| t.stopped.is_none()) else { return };
        let (since, first) = (*t.told.get_or_insert(now), t.told.is_none());
        let due = now.saturating_sub(since) >= t.grace;
        t.stop_code.get_or_insert("UserInitiated");
        raise(&t.signal, if due { Signal::Kill } else { Signal::Term });
        self.note("runtime", &format!("{task} is told to stop{}", if due { " at once" } else { "" }));
        if first && world.kind == Kind::Ecs {
            self.kill_later(world, task);
        }
    }

    /// SIGKILL follows when the grace is over.
    fn kill_later(&mut self, world: &Arc<World>, task: &TaskId) {
        let Some(grace) = self.fleet.tasks.get(task).map(|t| t.grace) else { return };
        let (world, task) = (world.clone(), task.clone());
        tokio::spawn(async move {
            tokio::time::sleep(grace).await;
            if let Some(t) = world.lock().fleet.tasks.get(&task) {
                raise(&t.signal, Signal::Kill);
            }
        });
    }

    /// Spot capacity is taken back: two minutes' notice, then SIGKILL.
    pub(super) fn take_back(&mut self, world: &Arc<World>, task: &TaskId) {
        let Some(t) = self.fleet.tasks.get_mut(task).filter(|t| t.stopped.is_none()) else { return };
        t.stop_code.get_or_insert("SpotInterruption");
        raise(&t.signal, Signal::Term);
        self.note("runtime", &format!("{task} is interrupted"));
        self.kill_later(world, task);
    }
}

fn raise(signal: &watch::Sender<Signal>, to: Signal) {
    signal.send_if_modified(|now| {
        let more = *now < to;
        if more {
            *now = to;
        }
        more
    });
}

/// The tasks as one host sees them.
pub(super) struct SimTasks {
    world: Arc<World>,
    host: Arc<Host>,
    news: HintSender,
    /// Each task that this host has heard of, and whether it was alive when it was last looked for.
    known: Mutex<BTreeMap<TaskId, bool>>,
}

impl SimTasks {
    pub(super) fn new(world: Arc<World>, host: Arc<Host>, news: HintSender) -> Self {
        Self { world, host, news, known: Mutex::default() }
    }

    /// A task was looked for; that it has stopped or is missing is told once.
    fn looked(&self, s: &State, task: &TaskId, view: Option<&TaskView>) {
        let alive = view.is_some_and(|view| view.state == TaskState::Alive && !view.worker_gone);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let before = known.insert(task.clone(), alive);
        if before.unwrap_or(true)
            && !alive
            && let Some(t) = s.fleet.tasks.get(task)
        {
            self.news.send(Hint::Job(t.job_id.clone()));
        }
    }

    /// As of ECS: a listing shows what runs, and what was known to run and is not in it is asked for by its id.
    fn tell(&self, s: &State, listed: &[TaskView]) {
        for view in listed {
            self.looked(s, &view.task, Some(view));
        }
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let left_out =
            known.iter().filter(|(task, alive)| **alive && listed.iter().all(|v| v.task != **task));
        for (task, _) in left_out {
            self.looked(s, task, s.view(task, true, s.now(), self.world.mutation).as_ref());
        }
    }

    /// Answers that got lost on the way there or back.
    fn call_runtime(&self, launch: &Launch) -> LaunchAnswer {
        let lost = || LaunchAnswer::Uncertain("simulated: no answer".to_owned());
        let world = &self.world;
        let mut s = world.lock();
        if s.chance(Fault::LaunchNot) {
            return lost();
        }
        if s.chance(Fault::LaunchLate) {
            let (after, world, launch) = (s.seconds(1..=300), world.clone(), launch.clone());
            tokio::spawn(async move {
                tokio::time::sleep(after).await;
                world.lock().run_task(&world, &launch);
            });
            return lost();
        }
        let answer = s.run_task(world, launch);
        if s.chance(Fault::LaunchLost) { lost() } else { answer }
    }
}

#[async_trait]
impl Tasks for SimTasks {
    fn supports(&self) -> Supports {
        Supports { spot: true, cost: false }
    }

    fn request(&self, desired: &Desired) -> LaunchRequest {
        LaunchRequest(JsonText::of(&serde_json::json!({ "capacity": desired.capacity.as_str() })))
    }

    fn demand(&self, request: &LaunchRequest) -> Option<Demand> {
        let spot = request.0.as_str().contains("spot");
        let capacity = if spot { Capacity::Spot } else { Capacity::OnDemand };
        (self.world.kind == Kind::Ecs).then_some(Demand { capacity, cpu: 1, memory: 1 })
    }

    async fn launch(&self, launch: &Launch) -> LaunchAnswer {
        self.host.goes_on().await;
        self.world.way().await;
        let answer = self.call_runtime(launch);
        if let LaunchAnswer::Launched(task) = &answer {
            self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(task.clone(), true);
        }
        let line = format!("launch {} {}: {answer:?}", launch.job_id, launch.token.prefix());
        self.world.lock().note(self.host.name(), &line);
        self.world.way().await;
        self.host.goes_on().await;
        answer
    }

    async fn observe(
        &self,
        _job_id: &JobId,
        token: &LaunchToken,
        started: Option<&TaskId>,
    ) -> Observed<Vec<TaskView>> {
        self.host.goes_on().await;
        self.world.way().await;
        let seen = {
            let mut s = self.world.lock();
            let seen = s.observe(&self.world, token, started);
            if let Observed::Known(views) = &seen {
                for task in views.iter().map(|v| &v.task).chain(started) {
                    self.looked(&s, task, views.iter().find(|v| v.task == *task));
                }
            }
            seen
        };
        self.world.way().await;
        self.host.goes_on().await;
        seen
    }

    fn absence_is_proof(&self) -> bool {
        self.world.kind == Kind::Process || self.world.is(Mutation::BlindAbsence)
    }

    /// As ECS does. Processes are looked at by every resync.
    fn tells(&self) -> bool {
        self.world.kind == Kind::Ecs
    }

    fn explains_stops(&self) -> bool {
        self.world.kind == Kind::Ecs
    }

    async fn list(&self) -> Observed<Vec<TaskView>> {
        self.host.goes_on().await;
        self.world.way().await;
        let seen = {
            let mut s = self.world.lock();
            if s.chance(Fault::TasksUnknown) {
                Observed::Unknown("simulated".to_owned())
            } else {
                let at = s.now();
                let views =
                    s.fleet.tasks.keys().filter_map(|task| s.view(task, false, at, self.world.mutation));
                let views: Vec<TaskView> = views.collect();
                self.tell(&s, &views);
                Observed::Known(views)
            }
        };
        self.host.goes_on().await;
        seen
    }

    async fn stop(&self, task: &TaskId, _grace: Duration) -> Result<(), String> {
        self.host.goes_on().await;
        self.world.way().await;
        let answer = {
            let mut s = self.world.lock();
            if s.chance(Fault::StopFails) {
                Err("simulated".to_owned())
            } else {
                s.stop(&self.world, task);
                Ok(())
            }
        };
        self.host.goes_on().await;
        answer
    }

    async fn forget(&self, token: &LaunchToken) {
        self.host.goes_on().await;
        let mut s = self.world.lock();
        if self.world.kind == Kind::Process {
            s.fleet.by_token.remove(token);
            s.fleet.tasks.retain(|_, t| t.token != *token || t.stopped.is_none());
        }
    }
}
