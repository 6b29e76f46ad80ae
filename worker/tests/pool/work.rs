//! What a pool does while nothing fails.

use crate::conformance::scripted;
use crate::world::{BEAT, LONG, PATIENCE, World, children_of, eventually, lives, send};
use backends::RecordsBackend;
use contract::{FailureClass, Gate, LeaveReason};
use pollster::block_on;
use reconciler::tasks::{Observed, TaskState, Tasks};
use rustix::process::Signal;
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn an_echo_is_executed_by_the_member_itself_and_reports_like_any_attempt() {
    let Some(mut world) = World::with_worker(1) else { return };
    for text in [r#"{"message":"Hello"}"#, r#"{"message":"again"}"#] {
        let launch = world.echo(text);
        let task = world.launched(&launch).await;
        let evidence = world.stopped(&launch).await;
        assert_eq!((evidence.exit_code, evidence.signal), (Some(0), None), "{}", world.log());
        assert_eq!(world.gate(&launch), Some(Gate::Finished { task }));
        assert_eq!(world.outcome(&launch).unwrap().failure, None);
        assert!(world.result(&launch).unwrap().contains(text));
    }
    // The member notes there until when it is healthy, in a file.
    let mut left = std::fs::read_dir(world.path("tasks")).into_iter().flatten().flatten();
    assert!(left.all(|entry| entry.path().is_file()), "an echo needs no folder");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_has_a_worker_of_its_own_and_leaves_nothing() {
    let Some(mut world) = World::with_worker(1) else { return };
    let script = "echo $PPID > $SCRATCH/worker; env > $SCRATCH/env; echo 42 > $AGENT_RUNNER_RESULT";
    let launch = world.shell(script);
    world.launched(&launch).await;
    world.stopped(&launch).await;
    assert_eq!(world.outcome(&launch).unwrap().failure, None, "{}", world.log());
    assert_eq!(world.result(&launch).unwrap(), "42\n");
    let worker = world.read("worker").unwrap();
    assert_ne!(worker.trim(), world.workers[0].member().to_string(), "the member was its worker");
    let env = world.read("env").unwrap();
    assert!(!env.contains(launch.token.as_str()) && !env.contains("REDIS"), "{env}");
    assert_eq!(children_of(world.workers[0].member()), Vec::<i32>::new());
    let left = std::fs::read_dir(world.path("tasks")).unwrap().flatten();
    assert!(left.flat_map(|life| std::fs::read_dir(life.path())).flatten().next().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_was_sealed_is_taken_and_not_executed() {
    let Some(mut world) = World::new() else { return };
    let sealed = [world.echo("{}"), world.shell("touch $SCRATCH/ran")];
    for launch in &sealed {
        block_on(world.records.seal(&launch.job_id, &launch.token, LeaveReason::Cancelled)).unwrap();
        world.launched(launch).await;
    }
    world.start_worker(1);
    for launch in &sealed {
        assert_eq!(world.stopped(launch).await.exit_code, Some(0));
        assert_eq!(world.outcome(launch), None);
    }
    assert_eq!(world.read("ran"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_an_echo_that_sleeps_and_a_command_at_once() {
    let Some(mut world) = World::with_worker(2) else { return };
    let echo = world.echo(r#"{"sleep_seconds":600}"#);
    let command =
        world.shell("trap 'echo told > $SCRATCH/told; exit 3' TERM; echo > $SCRATCH/up; sleep 600 & wait");
    for launch in [&echo, &command] {
        world.launched(launch).await;
    }
    world.wait_for("up");
    eventually("the echo starts", || world.gate(&echo), || world.log());
    for launch in [&echo, &command] {
        let start = Instant::now();
        let task = world.view(launch).await.unwrap().task;
        world.tasks.stop(&task, LONG).await.unwrap();
        world.hinted(launch).await;
        world.stopped(launch).await;
        assert!(start.elapsed() < BEAT / 2, "{:?}: it was heard by a heartbeat", start.elapsed());
        assert_eq!(world.outcome(launch).unwrap().failure.unwrap().class, FailureClass::Interrupted);
    }
    assert_eq!(world.read("told").unwrap(), "told\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_taken_in_the_order_of_launches_and_a_stop_takes_it_out() {
    let Some(mut world) = World::with_worker(1) else { return };
    let blocks = world.shell("echo > $SCRATCH/up; sleep 600");
    let blocker = world.launched(&blocks).await;
    world.wait_for("up");
    let waiting: Vec<_> = (1..=3).map(|n| world.shell(&format!("echo {n} >> $SCRATCH/order"))).collect();
    for launch in &waiting {
        world.launched(launch).await;
        assert_eq!(world.state(launch).await, TaskState::Alive);
    }
    let second = world.view(&waiting[1]).await.unwrap().task;
    world.tasks.stop(&second, LONG).await.unwrap();
    let TaskState::Stopped(evidence) = world.state(&waiting[1]).await else { panic!("it waits still") };
    assert_eq!(evidence.stop_code.as_deref(), Some("NeverTaken"));
    world.tasks.stop(&blocker, LONG).await.unwrap();
    world.stopped(&waiting[2]).await;
    assert_eq!(world.read("order").unwrap(), "1\n3\n");
    assert_eq!(world.gate(&waiting[1]), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_was_forgotten_while_it_waited_is_never_taken() {
    let Some(mut world) = World::new() else { return };
    let (forgotten, other) = (world.shell("touch $SCRATCH/ran"), world.shell("true"));
    world.launched(&forgotten).await;
    world.launched(&other).await;
    world.tasks.forget(&forgotten.token).await;
    let Observed::Known(listed) = world.tasks.list().await else { panic!("there is no list") };
    assert_eq!(listed.iter().map(|view| &view.token).collect::<Vec<_>>(), [&other.token]);
    while world.view(&forgotten).await.is_some() {
        tokio::task::yield_now().await;
    }
    world.start_worker(1);
    world.stopped(&other).await;
    assert_eq!(world.read("ran"), None);
}

/// A worker of an attempt that hangs after its outcome was accepted: nobody waits for it, and its slot is needed.
#[tokio::test(flavor = "multi_thread")]
async fn what_hangs_after_it_was_forgotten_can_be_stopped_and_its_slot_is_free_again() {
    let Some(mut world) = World::with_worker(1) else { return };
    let hangs = world.shell("echo up > $SCRATCH/up; exec sleep 600");
    world.launched(&hangs).await;
    let start = Instant::now();
    world.wait_for("up");
    let worker = children_of(world.workers[0].member());
    send(worker[0], Signal::STOP);
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.tasks.forget(&hangs.token).await;
    world.forgotten(&hangs, start).await;
    let Observed::Known(listed) = world.tasks.list().await else { panic!("there is no list") };
    assert_eq!(listed.iter().map(|view| &view.token).collect::<Vec<_>>(), [&hangs.token]);
    let next = world.shell("true");
    world.launched(&next).await;
    world.tasks.stop(&listed[0].task, Duration::from_millis(100)).await.unwrap();
    world.stopped(&next).await;
    assert_eq!(world.outcome(&next).unwrap().failure, None);
    assert!(!lives(&worker[0].to_string()));
    assert_eq!(world.view(&hangs).await, None, "nobody asks how it ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_is_executed_twice_whoever_asks_and_however_often() {
    let Some(mut world) = World::new() else { return };
    scripted(&mut world);
    for _ in 0..3 {
        world.start_worker(2);
    }
    let launches: Vec<_> = (0..40).map(|_| world.launch_of("once", false)).collect();
    for _ in 0..2 {
        for launch in &launches {
            world.launched(launch).await;
        }
    }
    for launch in &launches {
        assert_eq!(world.stopped(launch).await.exit_code, Some(0));
        assert!(world.path(&format!("ran-{}", launch.token)).exists());
        world.launched(launch).await;
        assert!(matches!(world.state(launch).await, TaskState::Stopped(_)), "it was launched again");
    }
    assert_eq!(world.read("ran-twice"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_are_counted_as_workers_come_and_go() {
    let Some(mut world) = World::new() else { return };
    let slots = async |world: &World, expected| {
        let start = Instant::now();
        while world.tasks.slots() != Some(expected) {
            assert!(start.elapsed() < PATIENCE, "{:?} and not {expected}", world.tasks.slots());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    slots(&world, 0).await;
    world.start_worker(2);
    world.start_worker(3);
    slots(&world, 5).await;
    world.workers[0].signal(Signal::TERM);
    assert_eq!(world.workers[0].wait().code(), Some(0), "{}", world.log());
    slots(&world, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_cannot_find_its_program_says_so_in_the_evidence() {
    let Some(mut world) = World::new() else { return };
    world.env.insert("AGENT_RUNNER_POOL_PROGRAM".to_owned(), "/nowhere/worker".to_owned());
    world.start_worker(1);
    let launch = world.shell("true");
    world.launched(&launch).await;
    world.hinted(&launch).await;
    let evidence = world.stopped(&launch).await;
    assert_eq!((evidence.exit_code, evidence.stop_code.as_deref()), (None, Some("NeverStarted")));
    assert!(evidence.stopped_reason.unwrap().contains("No such file"));
    assert!(lives(&world.workers[0].member().to_string()));
}
