//! What every task runtime must do. [`tasks_conformance`](crate::tasks_conformance) turns each check into a
//! test.

use super::{Launch, LaunchAnswer, Observed, TaskState, TaskView, Tasks};
use async_trait::async_trait;
use contract::{Desired, Evidence, JsonText, LaunchRequest, LaunchToken, RefusalKind, TaskId};
use std::time::Duration;

/// What a task does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Play {
    /// Runs until it is asked to stop, and then stops at once.
    Lasts,
    /// Ends by itself with this exit code.
    Exits(i32),
    /// Runs, whatever it is asked.
    Ignores,
}

/// A runtime to be checked. Each check gets its own.
#[async_trait]
pub trait Stage: Send {
    /// The runtime.
    fn tasks(&self) -> &dyn Tasks;

    /// A launch, never done before, whose task does `play`.
    fn launch(&mut self, play: Play) -> Launch;

    /// Waits until the task of `launch` does what it was told, so that stopping it finds it at it.
    async fn playing(&mut self, launch: &Launch);

    /// Drops the runtime's client and makes another one, as when the orchestrator is started anew.
    async fn restart(&mut self);

    /// Waits for the next hint, or where there are none for a moment.
    async fn changed(&mut self);

    /// After the check: ends whatever still runs.
    async fn clear(&mut self);
}

/// Makes one test of each check: `tasks_conformance!(stage)`, where `stage()` makes a
/// [`Stage`](crate::tasks::conformance::Stage).
#[macro_export]
macro_rules! tasks_conformance {
    ($stage:expr) => {
        $crate::tasks_conformance!(@each $stage,
            a_token_is_launched_once_whoever_asks_again
            a_token_that_was_never_launched_has_no_task
            a_running_task_is_alive_and_listed_with_its_job_and_token
            a_task_that_ended_is_stopped_and_says_how_it_ended
            a_task_that_is_asked_to_stop_stops_and_may_be_asked_again
            a_task_that_does_not_listen_is_killed_after_the_grace_and_not_before
            a_task_outlives_the_orchestrator_and_is_stopped_by_the_next_one
            a_task_that_ended_while_nobody_looked_is_stopped_for_the_next_orchestrator
            a_forgotten_task_is_absent_and_may_be_forgotten_again
            forgetting_one_task_leaves_the_others
            equal_jobs_make_equal_requests_and_they_are_accepted
            a_request_made_for_another_runtime_is_refused);
    };
    (@each $stage:expr, $($check:ident)*) => {
        $(#[::tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $check() {
            use $crate::tasks::conformance::Stage as _;
            let mut stage = $stage();
            $crate::tasks::conformance::$check(&mut stage).await;
            stage.clear().await;
        })*
    };
}

/// How long a check waits for an end that must come.
const PATIENCE: Duration = Duration::from_secs(20);
/// A grace that no check outwaits.
const LONG: Duration = Duration::from_secs(600);

async fn launched(stage: &mut impl Stage, launch: &Launch) -> TaskId {
    match stage.tasks().launch(launch).await {
        LaunchAnswer::Launched(task) => task,
        other => panic!("the launch was answered with {other:?}"),
    }
}

/// What the runtime knows of the attempt, by its token and by its task.
async fn observed(stage: &impl Stage, launch: &Launch, task: Option<&TaskId>) -> Vec<TaskView> {
    match stage.tasks().observe(&launch.job_id, &launch.token, task).await {
        Observed::Known(views) => views,
        Observed::Unknown(why) => panic!("nothing was observed: {why}"),
    }
}

async fn listed(stage: &impl Stage) -> Vec<TaskView> {
    match stage.tasks().list().await {
        Observed::Known(views) => views,
        Observed::Unknown(why) => panic!("nothing was listed: {why}"),
    }
}

async fn stop(stage: &impl Stage, task: &TaskId, grace: Duration) {
    stage.tasks().stop(task, grace).await.expect("the task is asked to stop");
}

async fn assert_alive(stage: &impl Stage, launch: &Launch, task: &TaskId) {
    let views = observed(stage, launch, Some(task)).await;
    assert_eq!(views.len(), 1, "{views:?}");
    assert_eq!((&views[0].task, &views[0].state), (task, &TaskState::Alive));
}

/// Waits until the task is seen stopped.
async fn stopped(stage: &mut impl Stage, launch: &Launch, task: &TaskId) -> Evidence {
    let waiting = async {
        loop {
            let views = observed(stage, launch, Some(task)).await;
            assert_eq!(views.len(), 1, "the task is forgotten before anybody said so: {views:?}");
            if let TaskState::Stopped(evidence) = &views[0].state {
                return (**evidence).clone();
            }
            stage.changed().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("the task stops")
}

/// A launch is repeated after lost answers, by this orchestrator and by the next.
pub async fn a_token_is_launched_once_whoever_asks_again(stage: &mut impl Stage) {
    let launch = stage.launch(Play::Lasts);
    let task = launched(stage, &launch).await;
    assert_eq!(launched(stage, &launch).await, task);
    stage.playing(&launch).await;
    stage.restart().await;
    assert_eq!(launched(stage, &launch).await, task);
    assert_eq!(listed(stage).await.len(), 1);
    stop(stage, &task, LONG).await;
    stopped(stage, &launch, &task).await;
    assert_eq!(launched(stage, &launch).await, task);
    assert!(listed(stage).await.iter().all(|view| view.state != TaskState::Alive), "it was started again");
}

/// The orchestrator asks before it launches.
pub async fn a_token_that_was_never_launched_has_no_task(stage: &mut impl Stage) {
    let launch = stage.launch(Play::Lasts);
    assert_eq!(observed(stage, &launch, None).await, []);
    assert_eq!(listed(stage).await, []);
}

/// The resync finds the job by the listing alone.
pub async fn a_running_task_is_alive_and_listed_with_its_job_and_token(stage: &mut impl Stage) {
    let (first, second) = (stage.launch(Play::Lasts), stage.launch(Play::Lasts));
    let tasks = [launched(stage, &first).await, launched(stage, &second).await];
    for (launch, task) in [&first, &second].into_iter().zip(&tasks) {
        assert_alive(stage, launch, task).await;
    }
    for _ in 0..2 {
        let mut found: Vec<_> = listed(stage).await;
        assert!(found.iter().all(|view| view.state == TaskState::Alive && view.age < PATIENCE), "{found:?}");
        found.sort_by(|a, b| a.token.cmp(&b.token));
        let found: Vec<_> = found.into_iter().map(|view| (view.token, view.job_id, view.task)).collect();
        let mut expected: Vec<_> = [&first, &second]
            .into_iter()
            .zip(&tasks)
            .map(|(launch, task)| (launch.token.clone(), launch.job_id.clone(), task.clone()))
            .collect();
        expected.sort();
        assert_eq!(found, expected);
        stage.restart().await;
    }
}

/// The evidence is kept until the task is forgotten.
pub async fn a_task_that_ended_is_stopped_and_says_how_it_ended(stage: &mut impl Stage) {
    for code in [0, 3] {
        let launch = stage.launch(Play::Exits(code));
        let task = launched(stage, &launch).await;
        let evidence = stopped(stage, &launch, &task).await;
        assert_eq!((evidence.exit_code, evidence.signal), (Some(code), None));
        assert_eq!(evidence.task.as_ref(), Some(&task));
        assert!(evidence.stop_code.is_some() && !evidence.forgotten);
        assert_eq!(stopped(stage, &launch, &task).await, evidence);
    }
}

/// Asking is idempotent, before and after the end.
pub async fn a_task_that_is_asked_to_stop_stops_and_may_be_asked_again(stage: &mut impl Stage) {
    let launch = stage.launch(Play::Lasts);
    let task = launched(stage, &launch).await;
    stage.playing(&launch).await;
    stop(stage, &task, LONG).await;
    stop(stage, &task, LONG).await;
    stopped(stage, &launch, &task).await;
    stop(stage, &task, LONG).await;
    stage.tasks().forget(&launch.token).await;
    stop(stage, &task, LONG).await;
}

/// The grace counts from the first time it was asked.
pub async fn a_task_that_does_not_listen_is_killed_after_the_grace_and_not_before(stage: &mut impl Stage) {
    let launch = stage.launch(Play::Ignores);
    let task = launched(stage, &launch).await;
    stage.playing(&launch).await;
    stop(stage, &task, LONG).await;
    stop(stage, &task, LONG).await;
    assert_alive(stage, &launch, &task).await;
    stop(stage, &task, Duration::ZERO).await;
    stopped(stage, &launch, &task).await;
}

/// Workers belong to the runtime, not to the orchestrator.
pub async fn a_task_outlives_the_orchestrator_and_is_stopped_by_the_next_one(stage: &mut impl Stage) {
    for play in [Play::Lasts, Play::Ignores] {
        let launch = stage.launch(play);
        let task = launched(stage, &launch).await;
        stage.playing(&launch).await;
        stage.restart().await;
        assert_alive(stage, &launch, &task).await;
        let grace = if play == Play::Lasts { LONG } else { Duration::ZERO };
        stop(stage, &task, grace).await;
        stopped(stage, &launch, &task).await;
    }
}

/// An end is not lost with the one who would have seen it.
pub async fn a_task_that_ended_while_nobody_looked_is_stopped_for_the_next_orchestrator(
    stage: &mut impl Stage,
) {
    let launch = stage.launch(Play::Exits(3));
    let task = launched(stage, &launch).await;
    stopped(stage, &launch, &task).await;
    stage.restart().await;
    let evidence = stopped(stage, &launch, &task).await;
    assert!(matches!(evidence.exit_code, None | Some(3)), "{evidence:?}");
    assert_eq!(listed(stage).await.len(), 1);
}

/// Where absence proves nothing, runtimes may go on listing what they were told to forget.
pub async fn a_forgotten_task_is_absent_and_may_be_forgotten_again(stage: &mut impl Stage) {
    let launch = stage.launch(Play::Exits(0));
    let task = launched(stage, &launch).await;
    stopped(stage, &launch, &task).await;
    for _ in 0..2 {
        stage.tasks().forget(&launch.token).await;
        if stage.tasks().absence_is_proof() {
            assert_eq!(observed(stage, &launch, Some(&task)).await, []);
            assert_eq!(listed(stage).await, []);
        }
    }
    stage.tasks().forget(&LaunchToken::from_bits(7)).await;
}

/// A token is the whole name.
pub async fn forgetting_one_task_leaves_the_others(stage: &mut impl Stage) {
    let (ends, lasts) = (stage.launch(Play::Exits(0)), stage.launch(Play::Lasts));
    let (ended, lasting) = (launched(stage, &ends).await, launched(stage, &lasts).await);
    stopped(stage, &ends, &ended).await;
    stage.tasks().forget(&ends.token).await;
    assert_alive(stage, &lasts, &lasting).await;
    assert!(listed(stage).await.iter().any(|view| view.task == lasting));
}

/// The request is stored before the launch, and a repeated launch must send the same one.
pub async fn equal_jobs_make_equal_requests_and_they_are_accepted(stage: &mut impl Stage) {
    let desired = |resources: &str| {
        let text = format!("{{\"job_type\":\"echo\",\"payload\":1{resources}}}");
        Desired::parse(&text).expect("a good job")
    };
    for resources in ["", ",\"resources\":{\"cpu\":512,\"memory_mib\":2048}"] {
        let request = stage.tasks().request(&desired(resources));
        assert_eq!(request, stage.tasks().request(&desired(resources)));
        let launch = Launch { request, ..stage.launch(Play::Exits(0)) };
        let task = launched(stage, &launch).await;
        stopped(stage, &launch, &task).await;
    }
}

/// A store may be opened with another runtime than the one its claims were made for.
pub async fn a_request_made_for_another_runtime_is_refused(stage: &mut impl Stage) {
    let text = JsonText::new("{\"runtime\":\"elsewhere\"}").expect("JSON");
    let launch = Launch { request: LaunchRequest(text), ..stage.launch(Play::Lasts) };
    match stage.tasks().launch(&launch).await {
        LaunchAnswer::Refused(refusal) => assert_eq!(refusal.kind, RefusalKind::Misconfigured),
        other => panic!("the launch was answered with {other:?}"),
    }
    assert_eq!(observed(stage, &launch, None).await, []);
}
