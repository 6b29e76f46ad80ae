//! Connections of the reconciler's side that go silent: nobody closes them, and no answer comes any more.

use crate::cable::Cable;
use crate::world::{PATIENCE, World};
use backends::{Hint, Hints};
use reconciler::tasks::{LaunchAnswer, Tasks};
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_went_silent_is_given_up_and_launches_and_hints_go_on() {
    let Some(mut world) = World::new() else { return };
    let cable = Cable::to(world.redis.port);
    world.reopen_over(&cable.url());
    world.start_worker(1);
    let before = world.shell("true");
    world.launched(&before).await;
    world.stopped(&before).await;
    assert!(cable.silence() >= 2, "the calls, and what listens to changes");
    let (launch, start) = (world.shell("true"), Instant::now());
    let task = loop {
        if let LaunchAnswer::Launched(task) = world.tasks.launch(&launch).await {
            break task;
        }
        assert!(start.elapsed() < PATIENCE, "no launch over a connection that works");
    };
    world.stopped(&launch).await;
    // Whoever stops what has ended is told that it has, on the channel, which went silent as well.
    let hint = Hint::Job(launch.job_id.clone());
    let told = async |world: &mut World| while !world.hints.next().await.unwrap().contains(&hint) {};
    loop {
        world.tasks.stop(&task, Duration::ZERO).await.unwrap();
        if tokio::time::timeout(Duration::from_millis(500), told(&mut world)).await.is_ok() {
            break;
        }
        assert!(start.elapsed() < PATIENCE, "nothing is told over a connection that works");
    }
    assert!(world.tasks.silent_for().is_some_and(|silent| silent < Duration::from_secs(5)));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_known_for_how_long_the_pool_has_not_answered() {
    let Some(mut world) = World::new() else { return };
    let cable = Cable::to(world.redis.port);
    world.reopen_over(&cable.url());
    let silent = |world: &World| world.tasks.silent_for().expect("a pool is asked all the time");
    let start = Instant::now();
    while silent(&world) > Duration::from_millis(100) {
        assert!(start.elapsed() < PATIENCE, "it answers");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    cable.cut.store(true, std::sync::atomic::Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(silent(&world) > Duration::from_secs(1), "{:?}", silent(&world));
}
