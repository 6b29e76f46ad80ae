//! How many calls it takes.

use super::stage::{Cluster, quiet};
use reconciler::tasks::{Launch, Observed, TaskState, Tasks};
use std::time::Duration;
use testbed::ecs::{Execution, Quotas, Rate};
use tokio::task::JoinSet;

const JOBS: usize = 1000;

/// Looks at every attempt, 64 passes at a time, and answers how many are alive.
async fn looked_at(cluster: &Cluster, launches: &[Launch]) -> usize {
    let mut alive = 0;
    for some in launches.chunks(64) {
        for launch in some {
            let views = cluster.views(launch, None).await;
            alive += views.iter().filter(|view| view.state == TaskState::Alive).count();
        }
    }
    alive
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_jobs_take_a_thousand_launches_and_fifty_questions() {
    // What was seen is believed in for longer than this test takes on any machine.
    let mut cluster = Cluster::start(quiet(), 600);
    let mut launches = Vec::new();
    for _ in 0..JOBS {
        let launch = cluster.launch_of("lasts");
        cluster.launched(&launch).await;
        // An event tells that it runs, and a pass follows.
        cluster.ecs().heard_of(&launch.job_id);
        assert_eq!(cluster.views(&launch, None).await.len(), 1);
        launches.push(launch);
    }
    // Two resyncs within the life of a snapshot.
    for _ in 0..2 {
        assert_eq!(looked_at(&cluster, &launches).await, JOBS);
        assert!(matches!(cluster.ecs().list().await, Observed::Known(tasks) if tasks.len() == JOBS));
    }
    // Their outcomes are reported: nobody asks how they ended.
    for launch in &launches {
        cluster.ecs().forget(&launch.token).await;
    }
    assert_eq!(cluster.calls("RunTask"), JOBS as u64);
    let questions = cluster.calls("ListTasks") + cluster.calls("DescribeTasks");
    eprintln!("Describe + List: {questions} calls for {JOBS} jobs");
    assert!(questions <= 50, "{questions} questions for {JOBS} jobs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_leader_learns_of_a_thousand_tasks_by_one_listing() {
    // What was seen is believed in for longer than this test takes on any machine.
    let mut cluster = Cluster::start(quiet(), 600);
    let mut launches = Vec::new();
    for _ in 0..JOBS {
        let launch = cluster.launch_of("lasts");
        cluster.launched(&launch).await;
        launches.push(launch);
    }
    cluster.reopen().await;
    let before = cluster.calls("ListTasks") + cluster.calls("DescribeTasks");
    assert_eq!(looked_at(&cluster, &launches).await, JOBS);
    assert!(matches!(cluster.ecs().list().await, Observed::Known(tasks) if tasks.len() == JOBS));
    let questions = cluster.calls("ListTasks") + cluster.calls("DescribeTasks") - before;
    assert!(questions <= 22, "{questions} calls");
}

/// How long 150 launches take at a quota of 20 a second, none of which may be throttled.
async fn seconds_at_the_quota() -> f64 {
    let quotas = Quotas { run_task: Rate { burst: 20, per_second: 20 }, ..Quotas::default() };
    let execution = Execution::Simulated { lasts: Duration::from_secs(600), exit_code: 0 };
    let mut cluster = Cluster::start(testbed::ecs::Options { quotas, execution, ..quiet() }, 60);
    let rates = [
        ("AGENT_RUNNER_ECS_RUN_TASK_PER_SECOND", "20"),
        ("AGENT_RUNNER_ECS_MODIFY_PER_SECOND", "40"),
        ("AGENT_RUNNER_ECS_READS_PER_SECOND", "20"),
    ];
    let launches: Vec<Launch> = (0..150).map(|_| cluster.launch_of("lasts")).collect();
    let opened = cluster.open(&rates, backends::ChannelHints::new().0).await.expect("opened");
    let tasks = std::sync::Arc::new(opened);
    let began = std::time::Instant::now();
    let mut all = JoinSet::new();
    for launch in launches {
        let tasks = tasks.clone();
        all.spawn(async move { tasks.launch(&launch).await });
    }
    let answers = all.join_all().await;
    let seconds = began.elapsed().as_secs_f64();
    let launched =
        answers.iter().filter(|a| matches!(a, reconciler::tasks::LaunchAnswer::Launched(_))).count();
    assert_eq!(launched, 150, "none was throttled: {answers:?}");
    // 14 from the burst, the others at our share of the rate.
    assert!(seconds >= 6.0, "{seconds} s");
    seconds
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn launches_keep_to_the_quota_without_being_throttled() {
    // A machine that is busy with something else makes it longer, and not three times in a row; our own rate would.
    let mut tries = Vec::new();
    while tries.iter().all(|seconds| *seconds >= 9.0) {
        assert!(tries.len() < 3, "{tries:?} s");
        tries.push(seconds_at_the_quota().await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_jobs_get_an_attempt_than_can_be_launched_soon() {
    let mut cluster = Cluster::start(quiet(), 60);
    // RunTask takes up to 2.1 s, and the loop needs passes for jobs that end, too.
    for (rate, least, most) in [("5", 11, 64), ("20", 42, 64), ("100", 210, 320)] {
        let rates = [("AGENT_RUNNER_ECS_RUN_TASK_PER_SECOND", rate)];
        let tasks = cluster.open(&rates, backends::ChannelHints::new().0).await.expect("opened");
        let (slots, passes) = (tasks.slots().expect("a number"), tasks.passes());
        assert!((least..most).contains(&slots), "{slots} at {rate} a second");
        assert!(
            passes >= slots as usize + 16 && (64..=most as usize).contains(&passes),
            "{passes} at {rate} a second"
        );
    }
    let at_first = cluster.ecs().slots().expect("a number");
    let mut launches = Vec::new();
    for n in 1..=3 {
        let launch = cluster.launch_of("lasts");
        let task = cluster.launched(&launch).await;
        assert_eq!(cluster.ecs().slots(), Some(at_first + n));
        cluster.ecs().stop(&task, Duration::ZERO).await.expect("stopped");
        launches.push(launch);
    }
    assert_eq!(
        cluster.ecs().slots(),
        Some(at_first + 3),
        "a stopped task is one until its attempt is closed"
    );
    cluster.ecs().forget(&launches[0].token).await;
    assert_eq!(cluster.ecs().slots(), Some(at_first + 2));
    cluster.reopen().await;
    assert_eq!(cluster.ecs().slots(), Some(at_first), "nothing is known yet");
    assert!(matches!(cluster.ecs().list().await, Observed::Known(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_goes_before_the_launches_that_wait_for_the_same_quota() {
    let mut cluster = Cluster::start(quiet(), 60);
    let running = cluster.launch_of("lasts");
    let task = cluster.launched(&running).await;
    // Slow enough that few launches are made if this test is not given time before it asks for the stop.
    let rates = [("AGENT_RUNNER_ECS_MODIFY_PER_SECOND", "1")];
    let opened = cluster.open(&rates, backends::ChannelHints::new().0).await.expect("opened");
    let tasks = std::sync::Arc::new(opened);
    let mut all = JoinSet::new();
    for launch in (0..12).map(|_| cluster.launch_of("lasts")).collect::<Vec<_>>() {
        let tasks = tasks.clone();
        all.spawn(async move { tasks.launch(&launch).await });
    }
    // The first finds a token, and then the others wait.
    all.join_next().await.expect("a launch").expect("no panic");
    tasks.stop(&task, Duration::ZERO).await.expect("stopped");
    let launched = cluster.calls("RunTask") - 1;
    assert!(launched <= 6, "{launched} launches were made before the stop");
    all.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_throttled_launch_slows_the_next_one_down() {
    let mut cluster = Cluster::start(quiet(), 60);
    let rates = [("AGENT_RUNNER_ECS_RUN_TASK_PER_SECOND", "4")];
    let tasks = cluster.open(&rates, backends::ChannelHints::new().0).await.expect("opened");
    cluster.faults(serde_json::json!([{"fault": "Throttle"}]));
    let launch = cluster.launch_of("lasts");
    // Tokens come in from the refusal on, which is before its answer is seen here.
    let began = std::time::Instant::now();
    assert!(matches!(tasks.launch(&launch).await, reconciler::tasks::LaunchAnswer::Uncertain(_)));
    assert!(matches!(tasks.launch(&launch).await, reconciler::tasks::LaunchAnswer::Launched(_)));
    // What was saved up is gone, and a token takes half a second at half the rate; a full bucket would not wait.
    assert!(began.elapsed() >= Duration::from_millis(400), "{:?}", began.elapsed());
}
