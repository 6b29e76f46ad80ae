//! Workers that are killed, paused or cut off. Whatever happens, the agent is dead before the reconciler says so.

use crate::cable::Cable;
use crate::world::{GRACE, LEASE, PATIENCE, World, children_of, eventually, lives, send};
use contract::Gate;
use reconciler::tasks::{Launch, TaskState};
use rustix::process::Signal;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Writes who it is, leaves a child in a session of its own, hears no SIGTERM, and lasts.
const AGENT: &str = "trap '' TERM; setsid sh -c 'trap \"\" TERM; echo $$ > $SCRATCH/stray; exec sleep 600' & \
    echo $$ > $SCRATCH/agent; wait; exec sleep 600";

impl World {
    /// With a worker whose lease is short.
    fn in_a_hurry() -> Option<Self> {
        let mut world = Self::new()?;
        world.hurry();
        world.start_worker(1);
        Some(world)
    }

    /// Launches an agent that clings to life, and waits until it lives.
    async fn clinging(&mut self) -> Launch {
        let launch = self.shell(AGENT);
        self.launched(&launch).await;
        self.wait_for("agent");
        self.wait_for("stray");
        launch
    }

    fn agents(&self) -> Vec<String> {
        ["agent", "stray"].iter().filter_map(|name| self.read(name)).filter(|pid| lives(pid)).collect()
    }

    /// Waits until the task is seen stopped; at every look until then it was alive, and at that one no agent is.
    async fn gone(&self, launch: &Launch) -> String {
        let start = Instant::now();
        loop {
            let state = self.state(launch).await;
            if let TaskState::Stopped(evidence) = state {
                assert_eq!(
                    self.agents(),
                    Vec::<String>::new(),
                    "called gone while an agent lived: {}",
                    self.log()
                );
                return evidence.stop_code.unwrap();
            }
            assert!(start.elapsed() < PATIENCE, "still alive: {}", self.log());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    fn agents_die(&self) {
        eventually("the agents are killed", || self.agents().is_empty().then_some(()), || self.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_paused_is_killed_with_its_agents_before_it_counts_as_gone() {
    let Some(mut world) = World::in_a_hurry() else { return };
    let launch = world.clinging().await;
    let member = world.workers[0].member();
    send(member, Signal::STOP);
    let start = Instant::now();
    world.agents_die();
    assert!(!lives(&member.to_string()));
    assert!(start.elapsed() < Duration::from_secs(LEASE), "{:?}", start.elapsed());
    assert!(matches!(world.gone(&launch).await.as_str(), "WorkerGone" | "WorkerVanished"));
    assert_eq!(world.outcome(&launch), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_killed_leaves_no_agent_and_the_next_one_says_so_at_once() {
    let Some(mut world) = World::in_a_hurry() else { return };
    let launch = world.clinging().await;
    let start = Instant::now();
    send(world.workers[0].member(), Signal::KILL);
    assert_eq!(world.gone(&launch).await, "WorkerGone");
    assert!(start.elapsed() < Duration::from_secs(LEASE), "{:?}: found out by silence", start.elapsed());
    let next = world.shell("true");
    world.launched(&next).await;
    world.stopped(&next).await;
    assert_eq!(world.outcome(&next).unwrap().failure, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watchdog_that_is_killed_takes_everything_with_it() {
    let Some(mut world) = World::in_a_hurry() else { return };
    let launch = world.clinging().await;
    let member = world.workers[0].member().to_string();
    world.workers[0].signal(Signal::KILL);
    world.agents_die();
    eventually("the member ends", || (!lives(&member)).then_some(()), || world.log());
    assert_eq!(world.gone(&launch).await, "WorkerVanished");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_of_an_attempt_that_is_killed_leaves_no_agent() {
    let Some(mut world) = World::with_worker(1) else { return };
    let launch = world.clinging().await;
    let workers = children_of(world.workers[0].member());
    assert_eq!(workers.len(), 1);
    send(workers[0], Signal::KILL);
    assert_eq!(world.gone(&launch).await, "WorkerSignaled");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_paused_as_a_whole_is_killed_when_it_goes_on_and_reports_nothing() {
    let Some(mut world) = World::in_a_hurry() else { return };
    let launch = world.clinging().await;
    let member = world.workers[0].member();
    let mut all = vec![world.workers[0].pid(), member];
    all.extend(children_of(member));
    all.extend(world.agents().iter().map(|pid| pid.trim().parse::<i32>().unwrap()));
    assert_eq!(all.len(), 5);
    all.iter().for_each(|pid| send(*pid, Signal::STOP));
    // Nobody can kill a worker whose watchdog is paused too; the gate is what holds.
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(LEASE) + GRACE + Duration::from_secs(1) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(matches!(world.state(&launch).await, TaskState::Stopped(_)));
    all.iter().for_each(|pid| send(*pid, Signal::CONT));
    let resumed = Instant::now();
    world.agents_die();
    assert!(resumed.elapsed() < Duration::from_secs(LEASE) / 2, "{:?}: waited again", resumed.elapsed());
    assert_eq!(world.outcome(&launch), None);
    assert!(matches!(world.gate(&launch), Some(Gate::Started { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_cut_off_kills_its_agents_before_it_counts_as_gone_and_comes_back() {
    let Some(mut world) = World::new() else { return };
    world.hurry();
    let cable = Cable::to(world.redis.port);
    world.env.insert("AGENT_RUNNER_POOL".to_owned(), cable.url());
    world.start_worker(1);
    let launch = world.clinging().await;
    cable.cut.store(true, Ordering::SeqCst);
    assert_eq!(world.gone(&launch).await, "WorkerVanished");
    cable.cut.store(false, Ordering::SeqCst);
    let next = world.shell("true");
    world.launched(&next).await;
    world.stopped(&next).await;
    assert_eq!(world.outcome(&next).unwrap().failure, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_whose_watchdog_is_paused_watches_itself() {
    let Some(mut world) = World::new() else { return };
    world.hurry();
    let cable = Cable::to(world.redis.port);
    world.env.insert("AGENT_RUNNER_POOL".to_owned(), cable.url());
    world.start_worker(1);
    let launch = world.clinging().await;
    let watchdog = world.workers[0].pid();
    send(watchdog, Signal::STOP);
    tokio::time::sleep(Duration::from_secs(LEASE) + 2 * GRACE).await;
    assert_eq!(world.state(&launch).await, TaskState::Alive);
    assert_eq!(world.agents().len(), 2, "a pause of the watchdog alone harms nobody");
    cable.cut.store(true, Ordering::SeqCst);
    assert_eq!(world.gone(&launch).await, "WorkerVanished");
    send(watchdog, Signal::CONT);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_joins_and_has_no_room_for_its_threads_dies_and_does_not_go_on_by_halves() {
    let Some(mut world) = World::new() else { return };
    world.start_cramped_worker(256, 300_000);
    let words = "the pool was joined, and cannot be worked in";
    eventually("it gives up", || world.log().contains(words).then_some(()), || world.log());
    assert!(!world.log().contains("the pool cannot be joined"), "{}", world.log());
}
