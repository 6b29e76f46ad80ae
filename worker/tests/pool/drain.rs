//! The way out of a worker that was told to stop.

use crate::world::{World, eventually};
use contract::FailureClass;
use reconciler::tasks::TaskState;
use rustix::process::Signal;
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_drains_finishes_what_runs_and_takes_nothing_more() {
    let Some(mut world) = World::with_worker(1) else { return };
    let runs = world.shell("echo > $SCRATCH/up; while ! [ -e $SCRATCH/go ]; do sleep 0.02; done");
    let waits = world.shell("true");
    world.launched(&runs).await;
    world.wait_for("up");
    world.launched(&waits).await;
    world.workers[0].signal(Signal::TERM);
    let draining = || world.log().contains("nothing more is taken").then_some(());
    eventually("the worker drains", draining, || world.log());
    std::fs::write(world.path("go"), "").unwrap();
    assert_eq!(world.workers[0].wait().code(), Some(0), "{}", world.log());
    assert_eq!(world.outcome(&runs).unwrap().failure, None);
    assert_eq!(world.state(&waits).await, TaskState::Alive);
    assert_eq!(world.gate(&waits), None);
    world.start_worker(1);
    world.stopped(&waits).await;
    assert_eq!(world.outcome(&waits).unwrap().failure, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_finish_in_time_is_stopped_and_reports_that() {
    let Some(mut world) = World::new() else { return };
    world.env.insert("AGENT_RUNNER_DRAIN_SECONDS".to_owned(), "0".to_owned());
    world.start_worker(2);
    let command = world.shell("echo > $SCRATCH/up; exec sleep 600");
    let echo = world.echo(r#"{"sleep_seconds":600}"#);
    for launch in [&command, &echo] {
        world.launched(launch).await;
    }
    world.wait_for("up");
    eventually("the echo starts", || world.gate(&echo), || world.log());
    let start = Instant::now();
    world.workers[0].signal(Signal::TERM);
    assert_eq!(world.workers[0].wait().code(), Some(0), "{}", world.log());
    // The grace of the attempts is 20 s, and so is the time to drain unless told otherwise.
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    for launch in [&command, &echo] {
        assert_eq!(world.outcome(launch).unwrap().failure.unwrap().class, FailureClass::Interrupted);
        assert!(matches!(world.state(launch).await, TaskState::Stopped(_)));
    }
}
