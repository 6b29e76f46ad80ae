//! A Redis that is full: what runs goes on and ends, and nothing new is taken in.

use crate::world::{LEASE, World, lives};
use backends::redis::pool::{Done, Member, Taken};
use reconciler::tasks::{LaunchAnswer, TaskState, Tasks};
use std::time::Duration;

impl World {
    /// Lets the server refuse what takes memory, or not any more.
    fn full(&self, is_full: bool) {
        let mut connection = redis::Client::open(self.redis.url()).unwrap().get_connection().unwrap();
        let mut set = redis::cmd("CONFIG");
        set.arg("SET").arg("maxmemory").arg(u8::from(is_full));
        set.query::<()>(&mut connection).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_outlives_a_full_server_and_its_end_is_seen() {
    let Some(mut world) = World::new() else { return };
    world.hurry();
    world.start_worker(1);
    let launch = world.shell("echo $$ > $SCRATCH/agent; while [ ! -e $SCRATCH/go ]; do sleep 0.05; done");
    world.launched(&launch).await;
    let agent = world.wait_for("agent");
    world.full(true);
    // Without a heartbeat that is acknowledged the worker kills it after half of the lease.
    tokio::time::sleep(Duration::from_secs(LEASE)).await;
    assert!(lives(&agent), "{}", world.log());
    assert_eq!(world.state(&launch).await, TaskState::Alive);
    let next = world.shell("true");
    assert!(matches!(world.tasks.launch(&next).await, LaunchAnswer::Uncertain(why) if why.contains("OOM")));
    std::fs::write(world.path("go"), "").unwrap();
    assert_eq!(world.stopped(&launch).await.exit_code, Some(0));
    assert_eq!(world.outcome(&launch).unwrap().failure, None);
    world.full(false);
    world.launched(&next).await;
    world.stopped(&next).await;
}

/// Each as the first write of its script.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_server_takes_whatever_keeps_alive_or_ends() {
    let Some(mut world) = World::new() else { return };
    let launches: Vec<_> = (0..3).map(|_| world.launch_of("any", false)).collect();
    let mut tasks = Vec::new();
    for launch in &launches {
        tasks.push(world.launched(launch).await);
    }
    world.full(true);
    let mut member = Member::new(&world.redis.url(), "one").unwrap();
    let lease = Duration::from_secs(60);
    member.register(3, lease, "here", 0, "").unwrap();
    member.register(3, lease, "here", 1, "").unwrap();
    for slot in 0..3 {
        assert!(matches!(member.take(slot).unwrap(), Taken::Assigned(_)));
    }
    assert_eq!(member.beat(2, lease).unwrap(), Some(Vec::new()));
    member.withdraw(true).unwrap();
    world.tasks.stop(&tasks[0], Duration::ZERO).await.unwrap();
    assert_eq!(member.beat(3, lease).unwrap().unwrap().len(), 1);
    let done = Done { code: Some(0), signal: None, stop_code: "WorkerExited", reason: "" };
    member.done(0, &launches[0].token, &done).unwrap();
    assert!(matches!(world.state(&launches[0]).await, TaskState::Stopped(_)));
    member.drain().unwrap();
    member.hand_back(1, &launches[1].token).unwrap();
    world.tasks.stop(&tasks[1], Duration::ZERO).await.unwrap();
    assert!(matches!(world.state(&launches[1]).await, TaskState::Stopped(_)));
    // The last goes with its worker.
    Member::new(&world.redis.url(), "two").unwrap().register(1, lease, "here", 0, "one").unwrap();
    assert!(matches!(world.state(&launches[2]).await, TaskState::Stopped(_)));
    for launch in &launches {
        world.tasks.forget(&launch.token).await;
    }
    let start = std::time::Instant::now();
    while world.view(&launches[2]).await.is_some() {
        assert!(start.elapsed() < crate::world::PATIENCE, "it is never forgotten");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
