//! Machines that run a reconciler: they crash between any two calls to a port, stand still while another
//! one takes the lease over, and their clocks are wrong.

use super::artifacts::SimArtifacts;
use super::chaos::Fault;
use super::fleet::SimTasks;
use super::lease::SimLease;
use super::records::SimRecords;
use super::world::{World, wall};
use crate::Dice;
use async_trait::async_trait;
use backends::records::ReconcilerRecords;
use backends::{ChannelHints, Clock, Hint, Hints, HintsError, Random};
use contract::{JobTypes, Timestamp};
use plan::Policy;
use reconciler::{Metrics, Parts};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// One life of one reconciler.
pub(super) struct Host {
    world: Arc<World>,
    name: String,
    skew: i64,
    start: Instant,
    random: Mutex<Dice>,
    state: Mutex<Life>,
    died: Notify,
}

#[derive(Default)]
struct Life {
    dead: bool,
    still_until: Option<Instant>,
}

/// What a host does before its next call.
enum Next {
    Go,
    Wait(Instant),
    Never,
}

impl Host {
    fn new(world: Arc<World>, name: String) -> Arc<Self> {
        let (skew, seed) = {
            let mut s = world.lock();
            (s.skew(), s.dice.number())
        };
        Arc::new(Self {
            world,
            name,
            skew,
            start: Instant::now(),
            random: Mutex::new(Dice::seeded(seed)),
            state: Mutex::default(),
            died: Notify::new(),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn next(&self) -> Next {
        let mut life = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut s = self.world.lock();
        if life.dead {
            return Next::Never;
        }
        if let Some(until) = life.still_until.filter(|at| *at > Instant::now()) {
            return Next::Wait(until);
        }
        if s.chance(Fault::Crash) {
            life.dead = true;
            s.note(&self.name, "crashes");
            self.died.notify_one();
            return Next::Never;
        }
        if s.chance(Fault::Stall) {
            // A pause is a fault and ends with the others.
            let pause = s.dice.millis(1000..=7_200_000).min(s.chaos.until.saturating_sub(s.now()));
            s.note(&self.name, &format!("stands still for {} s", pause.as_secs()));
            let until = Instant::now() + pause;
            life.still_until = Some(until);
            return Next::Wait(until);
        }
        Next::Go
    }

    /// Returns when the host may do something; never, when it is dead.
    pub(super) async fn goes_on(&self) {
        loop {
            match self.next() {
                Next::Go => return,
                Next::Wait(until) => tokio::time::sleep_until(until).await,
                Next::Never => std::future::pending::<()>().await,
            }
        }
    }
}

impl Clock for Host {
    fn now(&self) -> Timestamp {
        let since = self.world.lock().now();
        wall(since, self.skew)
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

impl Random for Host {
    fn bits(&self) -> u128 {
        let mut dice = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        u128::from(dice.number()) << 64 | u128::from(dice.number())
    }
}

struct SimHints {
    host: Arc<Host>,
    inner: ChannelHints,
}

#[async_trait]
impl Hints for SimHints {
    async fn next(&mut self) -> Result<Vec<Hint>, HintsError> {
        let batch = self.inner.next().await;
        self.host.goes_on().await;
        batch
    }
}

/// What all reconcilers of a run are configured with.
#[derive(Clone)]
pub(super) struct Config {
    pub(super) job_types: Arc<JobTypes>,
    pub(super) max_concurrent_tasks: u32,
    pub(super) resync_interval: Duration,
    pub(super) policy: Policy,
}

/// Keeps one reconciler alive: starts the next one some time after the last one died.
pub(super) async fn keep_running(world: Arc<World>, slot: u64, config: Config) {
    for life in 0_u64.. {
        let host = Host::new(world.clone(), format!("host-{slot}.{life}"));
        let (sender, inner) = ChannelHints::new();
        world.lock().listen(sender.clone());
        world.lock().note(host.name(), "starts");
        let parts = Parts {
            records: ReconcilerRecords::new(Arc::new(SimRecords {
                world: world.clone(),
                host: Some(host.clone()),
            })),
            artifacts: Arc::new(SimArtifacts { world: world.clone(), host: Some(host.clone()) }),
            tasks: Arc::new(SimTasks::new(world.clone(), host.clone(), sender)),
            lease: Arc::new(SimLease::new(world.clone(), host.clone())),
            clock: host.clone(),
            random: host.clone(),
            job_types: config.job_types.clone(),
            policy: config.policy.clone(),
            max_concurrent_tasks: config.max_concurrent_tasks,
            resync_interval: config.resync_interval,
            // The simulated store hears of every edit.
            scan_interval: std::time::Duration::from_secs(600),
            holder: host.name().to_owned(),
        };
        let registry = prometheus::Registry::new();
        let metrics = Metrics::new(&registry).expect("a fresh registry");
        let hints = Box::new(SimHints { host: host.clone(), inner });
        let running = tokio::spawn(reconciler::run(parts, hints, metrics, std::future::pending()));
        host.died.notified().await;
        running.abort();
        look_at_metrics(&world, &host, &registry);
        let pause = world.lock().seconds(0..=120);
        tokio::time::sleep(pause).await;
    }
}

/// Panics and broken invariants that the reconciler itself has counted.
fn look_at_metrics(world: &World, host: &Host, registry: &prometheus::Registry) {
    for family in registry.gather() {
        let name = family.name().to_owned();
        if !name.ends_with("_panics_total") && !name.ends_with("_invariant_broken_total") {
            continue;
        }
        let count: f64 = family.get_metric().iter().map(|m| m.get_counter().get_value()).sum();
        if count > 0.0 {
            world.lock().wrong(&format!("{}: {name} is {count}", host.name()));
        }
    }
}
