//! What a listing tells without being asked for a job: the resync looks at no job for its task's sake alone.

use super::stage::{Cluster, PATIENCE, quiet};
use backends::{Hint, Hints};
use contract::JobId;
use reconciler::tasks::{Observed, Tasks};
use serde_json::json;
use std::time::{Duration, Instant};

/// Lists until a job is told of.
async fn told(cluster: &mut Cluster) -> JobId {
    let until = Instant::now() + PATIENCE;
    loop {
        assert!(matches!(cluster.ecs().list().await, Observed::Known(_)));
        // The next listing is made when this one is a second old.
        match tokio::time::timeout(Duration::from_millis(100), cluster.hints.next()).await {
            Ok(Ok(hints)) => match &hints[..] {
                [Hint::Job(job_id)] => return job_id.clone(),
                others => panic!("{others:?}"),
            },
            _ => assert!(Instant::now() < until, "nothing is told"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listing_tells_of_tasks_that_run_and_of_tasks_that_are_gone_once_each() {
    let mut cluster = Cluster::start(quiet(), 1);
    assert!(cluster.ecs().tells());
    let first = cluster.launch_of("lasts");
    let task = cluster.launched(&first).await;
    assert_eq!(told(&mut cluster).await, first.job_id, "it runs");
    let second = cluster.launch_of("lasts");
    cluster.launched(&second).await;
    assert_eq!(told(&mut cluster).await, second.job_id, "of the first nothing is new");
    cluster.faults(json!([{"fault": "Missing", "seconds": 36_000, "task": task.as_str()}]));
    assert_eq!(told(&mut cluster).await, first.job_id, "it is gone");
    let third = cluster.launch_of("lasts");
    cluster.launched(&third).await;
    assert_eq!(told(&mut cluster).await, third.job_id, "it is gone as before");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_that_failed_is_asked_again_without_a_listing() {
    let mut cluster = Cluster::start(quiet(), 600);
    let launch = cluster.launch_of("lasts");
    let task = cluster.launched(&launch).await;
    cluster.faults(json!([{"fault": "Error500", "action": "DescribeTasks"}]));
    cluster.ecs().stop(&task, Duration::ZERO).await.expect("asked");
    let told =
        tokio::time::timeout(PATIENCE, cluster.hints.next()).await.expect("it is told").expect("a feed");
    assert!(matches!(&told[..], [Hint::Job(job_id)] if *job_id == launch.job_id), "{told:?}");
    assert_eq!(cluster.calls("ListTasks"), 0);
}
