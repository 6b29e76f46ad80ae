//! The scripts of the pool, from a worker's side, without a worker.

use crate::world::{GRACE, World};
use backends::redis::pool::{Assigned, Done, Member, Taken};
use reconciler::tasks::{Observed, TaskState, Tasks};
use std::time::{Duration, Instant};

const DONE: Done<'static> = Done { code: Some(0), signal: None, stop_code: "WorkerExited", reason: "" };

/// Nobody beats here; the lease lasts longer than any of these tests.
fn member(world: &World, id: &str, predecessor: &str) -> Member {
    registered(world, id, predecessor, Duration::from_secs(60))
}

fn registered(world: &World, id: &str, predecessor: &str, lease: Duration) -> Member {
    let mut member = Member::new(&world.redis.url(), id).unwrap();
    member.register(2, lease, "here", 0, predecessor).unwrap();
    member
}

fn assigned(taken: Taken) -> Assigned {
    match taken {
        Taken::Assigned(assigned) => assigned,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_asks_again_gets_the_same_assignment_and_no_other_slot_does() {
    let Some(mut world) = World::new() else { return };
    let launch = world.launch_of("any", false);
    world.launched(&launch).await;
    let (mut first, mut second) = (member(&world, "one", ""), member(&world, "two", ""));
    let got = assigned(first.take(0).unwrap());
    assert_eq!((&got.token, &got.job_id, got.inside), (&launch.token, &launch.job_id, false));
    assert_eq!(got.grace, launch.stop_grace);
    assert_eq!(assigned(first.take(0).unwrap()), got);
    assert_eq!(first.take(1).unwrap(), Taken::Nothing);
    assert_eq!(second.take(0).unwrap(), Taken::Nothing);
    assert_eq!(second.done(0, &got.token, &DONE).unwrap(), Taken::Nothing);
    assert_eq!(world.state(&launch).await, TaskState::Alive, "another worker ended it");
    for _ in 0..2 {
        assert_eq!(first.done(0, &got.token, &DONE).unwrap(), Taken::Nothing);
    }
    assert!(matches!(world.state(&launch).await, TaskState::Stopped(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assignment_of_a_worker_that_died_before_it_started_is_alive_until_its_time_is_over() {
    let Some(mut world) = World::new() else { return };
    let launch = world.launch_of("any", false);
    world.launched(&launch).await;
    // The reconciler's side may see it from its first moment on.
    let start = Instant::now();
    let mut dead = registered(&world, "dead", "", Duration::from_secs(2));
    let got = assigned(dead.take(0).unwrap());
    let evidence = world.stopped(&launch).await;
    assert!(start.elapsed() >= Duration::from_secs(2) + GRACE, "{:?}", start.elapsed());
    assert_eq!(evidence.stop_code.as_deref(), Some("WorkerVanished"));
    world.hinted(&launch).await;
    let other = world.launch_of("any", false);
    world.launched(&other).await;
    assert_eq!(dead.beat(1, Duration::from_secs(1)).unwrap(), None);
    assert_eq!(dead.take(0).unwrap(), Taken::StruckOff);
    assert_eq!(dead.done(0, &got.token, &DONE).unwrap(), Taken::StruckOff);
    assert_eq!(world.stopped(&launch).await, evidence, "it wrote after its time");
    assert_eq!(world.state(&other).await, TaskState::Alive);
}

/// The first answer was lost, and the worker counts its lease from when it registered again.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_registers_again_is_heard_again() {
    let Some(mut world) = World::new() else { return };
    let launch = world.launch_of("any", false);
    world.launched(&launch).await;
    let lease = Duration::from_secs(4);
    let mut worker = registered(&world, "one", "", lease);
    let start = Instant::now();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let sent = Instant::now();
    worker.register(2, lease, "here", 1, "").unwrap();
    assigned(worker.take(0).unwrap());
    while start.elapsed() < lease + GRACE + Duration::from_secs(1) {
        let state = world.state(&launch).await;
        assert!(sent.elapsed() > lease || state == TaskState::Alive, "struck off after {:?}", sent.elapsed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(world.stopped(&launch).await.stop_code.as_deref(), Some("WorkerVanished"));
    assert!(sent.elapsed() >= lease + GRACE);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_forgotten_while_a_worker_has_it_is_known_until_it_ends() {
    let Some(mut world) = World::new() else { return };
    let launches: Vec<_> = (0..2).map(|_| world.launch_of("any", false)).collect();
    for launch in &launches {
        world.launched(launch).await;
    }
    let start = Instant::now();
    let mut worker = member(&world, "one", "");
    for slot in 0..2 {
        assigned(worker.take(slot).unwrap());
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    for launch in &launches {
        world.tasks.forget(&launch.token).await;
    }
    for launch in &launches {
        world.forgotten(launch, start).await;
    }
    let task = world.view(&launches[0]).await.unwrap().task;
    let Observed::Known(listed) = world.tasks.list().await else { panic!("there is no list") };
    assert_eq!(listed.len(), 2, "nobody could find one that hangs");
    world.tasks.stop(&task, Duration::ZERO).await.unwrap();
    let orders = worker.beat(1, Duration::from_secs(1)).unwrap().unwrap();
    assert_eq!(orders.iter().map(|order| &order.token).collect::<Vec<_>>(), [&launches[0].token]);
    worker.done(0, &launches[0].token, &DONE).unwrap();
    // Never started: it must not be handed to anybody else.
    worker.hand_back(1, &launches[1].token).unwrap();
    assert_eq!(worker.take(1).unwrap(), Taken::Nothing);
    assert_eq!(world.tasks.list().await, Observed::Known(Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_handed_back_is_the_next_to_be_taken() {
    let Some(mut world) = World::new() else { return };
    let launches: Vec<_> = (0..2).map(|_| world.launch_of("any", false)).collect();
    for launch in &launches {
        world.launched(launch).await;
    }
    let (mut leaves, mut stays) = (member(&world, "leaves", ""), member(&world, "stays", ""));
    let got = assigned(leaves.take(0).unwrap());
    leaves.drain().unwrap();
    assert!(!leaves.leave().unwrap(), "it has an assignment");
    for _ in 0..2 {
        leaves.hand_back(0, &got.token).unwrap();
    }
    assert_eq!(leaves.take(0).unwrap(), Taken::Nothing);
    assert!(leaves.leave().unwrap());
    assert_eq!(assigned(stays.take(0).unwrap()).token, launches[0].token);
    leaves.hand_back(0, &got.token).unwrap();
    assert_eq!(assigned(stays.take(1).unwrap()).token, launches[1].token);
    assert_eq!(stays.take(0).unwrap(), Taken::Assigned(got), "it was taken from the one that has it");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_handed_back_is_not_taken_from_another_slot_of_the_same_worker_by_a_repetition() {
    let Some(mut world) = World::new() else { return };
    let launch = world.launch_of("any", false);
    world.launched(&launch).await;
    let (mut one, mut other) = (member(&world, "one", ""), member(&world, "other", ""));
    let got = assigned(one.take(0).unwrap());
    one.hand_back(0, &got.token).unwrap();
    assert_eq!(assigned(one.take(1).unwrap()), got);
    // Its answer was lost.
    one.hand_back(0, &got.token).unwrap();
    assert_eq!(other.take(0).unwrap(), Taken::Nothing);
    assert_eq!(one.take(1).unwrap(), Taken::Assigned(got));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_handed_to_a_worker_that_offers_no_slots_until_it_offers_them_again() {
    let Some(mut world) = World::new() else { return };
    let launch = world.launch_of("any", false);
    world.launched(&launch).await;
    let (mut ill, mut well) = (member(&world, "ill", ""), member(&world, "well", ""));
    let got = assigned(ill.take(0).unwrap());
    for _ in 0..2 {
        ill.withdraw(true).unwrap();
    }
    assert_eq!(ill.take(0).unwrap(), Taken::Assigned(got.clone()), "it has it still");
    ill.hand_back(0, &got.token).unwrap();
    assert_eq!(ill.take(0).unwrap(), Taken::Nothing);
    assert_eq!(assigned(well.take(0).unwrap()), got);
    let other = world.launch_of("any", false);
    world.launched(&other).await;
    ill.withdraw(false).unwrap();
    assert_eq!(assigned(ill.take(0).unwrap()).token, other.token);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_names_what_is_to_be_stopped_in_case_the_order_was_lost() {
    let Some(mut world) = World::new() else { return };
    let launch = world.launch_of("any", false);
    let task = world.launched(&launch).await;
    let mut worker = member(&world, "one", "");
    assigned(worker.take(0).unwrap());
    let none = Duration::from_millis(1);
    for seconds in [9, 7, 8] {
        world.tasks.stop(&task, Duration::from_secs(seconds)).await.unwrap();
    }
    for _ in 0..2 {
        let orders = worker.beat(1, Duration::from_secs(1)).unwrap().unwrap();
        assert_eq!(orders.len(), 1);
        assert_eq!((&orders[0].token, orders[0].grace.as_secs()), (&launch.token, 7), "the shortest counts");
    }
    let heard: Vec<u64> = std::iter::from_fn(|| worker.wait_for_order(none).unwrap())
        .map(|order| order.grace.as_secs())
        .collect();
    assert_eq!(heard, [9, 7]);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_follows_a_dead_worker_ends_what_it_had_at_once() {
    let Some(mut world) = World::new() else { return };
    let launch = world.launch_of("any", false);
    world.launched(&launch).await;
    let mut first = member(&world, "first", "");
    assigned(first.take(0).unwrap());
    let mut second = member(&world, "second", "first");
    let TaskState::Stopped(evidence) = world.state(&launch).await else { panic!("it waits") };
    assert_eq!(evidence.stop_code.as_deref(), Some("WorkerGone"));
    assert_eq!(first.take(0).unwrap(), Taken::StruckOff);
    assert_eq!(second.take(0).unwrap(), Taken::Nothing);
}
