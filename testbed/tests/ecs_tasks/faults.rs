//! What ECS does that no healthy answer shows.

use super::stage::{Cluster, quiet};
use backends::ChannelHints;
use contract::attempt::phase;
use contract::desired::Capacity;
use contract::{Desired, JsonText, LaunchRequest, LaunchToken, Refusal, RefusalKind};
use reconciler::tasks::{Launch, LaunchAnswer, Observed, TaskState, Tasks};
use serde_json::json;
use testbed::ecs::Options;

fn cluster() -> Cluster {
    Cluster::start(quiet(), 600)
}

fn on(capacity: Capacity) -> Desired {
    Desired { capacity, ..Desired::new("echo") }
}

async fn uncertain(cluster: &Cluster, launch: &Launch) -> String {
    match cluster.ecs().launch(launch).await {
        LaunchAnswer::Uncertain(why) => why,
        other => panic!("the launch was answered with {other:?}"),
    }
}

async fn refused(cluster: &Cluster, launch: &Launch) -> Refusal {
    match cluster.ecs().launch(launch).await {
        LaunchAnswer::Refused(refusal) => refusal,
        other => panic!("the launch was answered with {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_launch_whose_answer_was_lost_is_repeated_and_finds_its_task() {
    let mut cluster = cluster();
    let faults = ["DropAnswerAfterApplying", "DropRequest", "Error500", "Throttle"];
    for fault in faults {
        cluster.faults(json!([{"fault": fault}]));
        let launch = cluster.launch_of("lasts");
        uncertain(&cluster, &launch).await;
        let task = cluster.launched(&launch).await;
        assert_eq!(cluster.launched(&launch).await, task, "{fault}");
        assert_eq!(cluster.views(&launch, None).await[0].task, task, "{fault}");
    }
    let state = cluster.double.state();
    assert_eq!(state["launched"], faults.len(), "one task for each launch");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_a_task_was_made_is_known_from_the_answer_to_its_launch() {
    let mut cluster = cluster();
    let launch = cluster.launch_of("lasts");
    let task = cluster.launched(&launch).await;
    let created = cluster.ecs().phases(&task).get(phase::CREATED).copied();
    assert!(created.is_some(), "a task that ends soon is never described while its attempt is open");
    assert_eq!(cluster.calls("DescribeTasks"), 0);
    cluster.ecs().stop(&task, std::time::Duration::ZERO).await.expect("asked");
    assert_eq!(cluster.evidence(&launch, &task).await.phases.get(phase::CREATED).copied(), created);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_does_not_come_in_time_is_none() {
    let mut cluster = cluster();
    cluster.faults(json!([{"fault": "Delay", "seconds": 30}]));
    let launch = cluster.launch_of("lasts");
    uncertain(&cluster, &launch).await;
    cluster.launched(&launch).await;
    assert_eq!(cluster.double.state()["launched"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn capacity_and_quotas_are_definite_refusals_in_the_words_of_aws() {
    let mut cluster = cluster();
    for (fault, kind, words) in [
        ("NoCapacity", RefusalKind::Capacity, "Capacity is unavailable at this time"),
        ("QuotaExhausted", RefusalKind::Quota, "You\u{2019}ve reached the limit on the number of vCPUs"),
    ] {
        cluster.faults(json!([{"fault": fault}]));
        let launch = cluster.launch_of("lasts");
        for _ in 0..2 {
            // The second time it is the first answer again, since the token is the same.
            let refusal = refused(&cluster, &launch).await;
            assert_eq!(refusal.kind, kind);
            assert!(refusal.message.starts_with(words), "{}", refusal.message);
        }
        let again = Launch { token: LaunchToken::from_bits(0xbeef + fault.len() as u128), ..launch };
        cluster.launched(&again).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_of_runtask_are_told_apart_by_type() {
    let mut cluster = cluster();
    let subnets = "Error retrieving security group information for [sg-1]: Request limit exceeded. (ErrorCode: \
                   RequestLimitExceeded)";
    for (code, message, kind) in [
        ("AccessDeniedException", "no", RefusalKind::Misconfigured),
        ("BlockedException", "no", RefusalKind::Misconfigured),
        ("ClusterNotFoundException", "no", RefusalKind::Misconfigured),
        ("InvalidParameterException", "no", RefusalKind::Misconfigured),
        ("InvalidParameterException", subnets, RefusalKind::Throttled),
        ("ClientException", "TaskDefinition not found.", RefusalKind::Misconfigured),
        ("ClientException", "the limit of tasks in PROVISIONING", RefusalKind::Quota),
        ("PlatformUnknownException", "no", RefusalKind::Misconfigured),
        ("UnrecognizedClientException", "no", RefusalKind::Misconfigured),
    ] {
        cluster.faults(json!([{"fault": "Refuse", "code": code, "message": message}]));
        let launch = cluster.launch_of("lasts");
        let refusal = refused(&cluster, &launch).await;
        assert_eq!((refusal.kind, refusal.message), (kind, format!("{code}: {message}")));
    }
    // A conflict that does not say with which task.
    for code in ["RequestLimitExceeded", "TooManyRequestsException", "ConflictException"] {
        cluster.faults(json!([{"fault": "Refuse", "code": code, "message": "slow down"}]));
        let launch = cluster.launch_of("lasts");
        assert_eq!(uncertain(&cluster, &launch).await, format!("{code}: slow down"));
    }
    assert_eq!(cluster.double.state()["launched"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_bound_to_another_request_leads_to_its_task() {
    let mut cluster = cluster();
    let launch = cluster.launch_of("lasts");
    let task = cluster.launched(&launch).await;
    let other = Launch { request: cluster.ecs().request(&on(Capacity::Spot)), ..launch.clone() };
    assert_eq!(cluster.launched(&other).await, task);
    cluster.reopen().await;
    let slots = cluster.ecs().slots().expect("a number");
    assert_eq!(cluster.launched(&other).await, task);
    assert_eq!(cluster.ecs().slots(), Some(slots + 1), "it is known without a question");
    let views = cluster.views(&launch, None).await;
    assert_eq!((views.len(), &views[0].task), (1, &task));
    assert_eq!(cluster.double.state()["launched"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_was_made_for_another_cluster_or_runtime_is_not_launched_here() {
    let mut cluster = cluster();
    let launch = cluster.launch_of("lasts");
    let ours = launch.request.0.as_str().to_owned();
    for (word, other) in [("\"agent-runner\"", "\"elsewhere\""), ("\"ecs\"", "\"pool\"")] {
        let text = JsonText::new(ours.replacen(word, other, 1)).expect("JSON");
        let launch = Launch { request: LaunchRequest(text), ..launch.clone() };
        assert_eq!(refused(&cluster, &launch).await.kind, RefusalKind::Misconfigured, "{other}");
    }
    assert_eq!(cluster.calls("RunTask"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_is_unknown_and_never_absent() {
    let mut cluster = cluster();
    let launch = cluster.launch_of("lasts");
    let task = cluster.launched(&launch).await;
    for action in ["ListTasks", "DescribeTasks"] {
        for fault in ["Error500", "Throttle", "DropAnswerAfterApplying"] {
            cluster.reopen().await;
            cluster.faults(json!([{"fault": fault, "action": action}]));
            let seen = cluster.ecs().observe(&launch.job_id, &launch.token, Some(&task)).await;
            assert!(matches!(seen, Observed::Unknown(_)), "{action}, {fault}: {seen:?}");
            assert_eq!(cluster.views(&launch, Some(&task)).await.len(), 1, "{action}, {fault}");
            cluster.reopen().await;
            cluster.faults(json!([{"fault": fault, "action": action}]));
            assert!(matches!(cluster.ecs().list().await, Observed::Unknown(_)), "{action}, {fault}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_cannot_be_seen_yet_is_believed_in_by_whoever_launched_it() {
    let mut cluster = cluster();
    cluster.faults(json!([{"fault": "Missing", "seconds": 3600}]));
    let launch = cluster.launch_of("lasts");
    let task = cluster.launched(&launch).await;
    assert!(matches!(cluster.ecs().list().await, Observed::Known(tasks) if tasks.len() == 1));
    assert_eq!(cluster.views(&launch, Some(&task)).await.len(), 1);
    cluster.reopen().await;
    assert_eq!(cluster.views(&launch, Some(&task)).await, [], "another process has only what ECS says");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_of_another_process_is_found_by_its_mark_on_whatever_page_it_stands() {
    let mut cluster = Cluster::start(Options { short_pages: true, ..quiet() }, 600);
    assert!(matches!(cluster.ecs().list().await, Observed::Known(tasks) if tasks.is_empty()));
    let launch = cluster.launch_of("lasts");
    let other = cluster.open(&[], ChannelHints::new().0).await.expect("opened");
    let LaunchAnswer::Launched(task) = other.launch(&launch).await else { panic!("it is not launched") };
    let views = cluster.views(&launch, None).await;
    assert_eq!(views.iter().map(|view| &view.task).collect::<Vec<_>>(), [&task]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_ecs_has_forgotten_is_absent_and_its_token_launches_again() {
    let mut cluster = cluster();
    let launch = cluster.launch_of("lasts");
    let task = cluster.launched(&launch).await;
    cluster.ecs().stop(&task, std::time::Duration::ZERO).await.expect("asked");
    cluster.evidence(&launch, &task).await;
    cluster.reopen().await;
    cluster.faults(json!([{"fault": "Forget", "task": task.as_str()}, {"fault": "Forget", "token": launch.token.as_str()}]));
    assert_eq!(cluster.views(&launch, Some(&task)).await, []);
    assert_ne!(
        cluster.launched(&launch).await,
        task,
        "which is why the gate, and not the token, keeps order"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spot_is_asked_for_and_its_end_is_told_in_the_words_of_aws() {
    let mut cluster = cluster();
    let launch = cluster.launch_as("lasts", &on(Capacity::Spot));
    let task = cluster.launched(&launch).await;
    assert_eq!(cluster.double.state()["tasks"][0]["capacityProviderName"], "FARGATE_SPOT");
    cluster.faults(json!([{"fault": "SpotInterrupt", "task": task.as_str()}]));
    let evidence = cluster.evidence(&launch, &task).await;
    assert_eq!(evidence.stop_code.as_deref(), Some("SpotInterruption"));
    assert_eq!(evidence.stopped_reason.as_deref(), Some("Your Spot Task was interrupted."));
    let price = |of| cluster.ecs().price(&cluster.ecs().request(&on(of))).expect("a price");
    assert!(price(Capacity::Spot).micros_per_hour < price(Capacity::OnDemand).micros_per_hour);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_evidence_holds_codes_words_and_times() {
    let mut cluster = cluster();
    cluster.faults(json!([{"fault": "FailToStart", "reason": "CannotPullContainerError: i/o timeout"}]));
    let launch = cluster.launch_of("lasts");
    let task = cluster.launched(&launch).await;
    let evidence = cluster.evidence(&launch, &task).await;
    assert_eq!(evidence.stop_code.as_deref(), Some("TaskFailedToStart"));
    assert!(evidence.stopped_reason.is_some_and(|words| words.contains("CannotPullContainerError")));
    assert_eq!((evidence.exit_code, evidence.phases.get(phase::STARTED)), (None, None));

    let launch = cluster.launch_of("lasts");
    let task = cluster.launched(&launch).await;
    cluster.faults(json!([{"fault": "KillTask", "task": task.as_str()}]));
    let evidence = cluster.evidence(&launch, &task).await;
    assert_eq!(evidence.exit_code, Some(137));
    let times: Vec<_> =
        [phase::CREATED, phase::PULL_STARTED, phase::PULL_STOPPED, phase::STARTED, phase::STOPPED]
            .into_iter()
            .map(|name| evidence.phases[name])
            .collect();
    assert!(times.is_sorted(), "{times:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_that_fails_is_an_error_and_a_task_that_is_gone_is_none() {
    let mut cluster = cluster();
    let launch = cluster.launch_of("lasts");
    let task = cluster.launched(&launch).await;
    for fault in ["Error500", "Throttle", "DropRequest"] {
        cluster.faults(json!([{"fault": fault, "action": "StopTask"}]));
        assert!(cluster.ecs().stop(&task, std::time::Duration::ZERO).await.is_err(), "{fault}");
    }
    cluster.ecs().stop(&task, std::time::Duration::ZERO).await.expect("asked");
    let evidence = cluster.evidence(&launch, &task).await;
    assert_eq!(evidence.stopped_reason.as_deref(), Some("stopped by agent-runner"));
    cluster.faults(json!([{"fault": "Forget", "task": task.as_str()}]));
    cluster.ecs().stop(&task, std::time::Duration::ZERO).await.expect("gone is stopped");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_ended_before_runtask_was_answered_is_seen_stopped() {
    let mut cluster = cluster();
    cluster.faults(json!([{"fault": "LaunchAndFinishBeforeAnswer"}]));
    let launch = cluster.launch_of("lasts");
    let task = cluster.launched(&launch).await;
    assert_eq!(cluster.evidence(&launch, &task).await.exit_code, Some(0));
    assert!(cluster.views(&launch, None).await.iter().all(|view| view.state != TaskState::Alive));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_definition_without_the_workers_container_is_refused_at_the_start() {
    let cluster = cluster();
    let opened = cluster.open(&[("AGENT_RUNNER_ECS_CONTAINER", "agent")], ChannelHints::new().0).await;
    let error = opened.err().expect("refused").to_string();
    assert!(error.starts_with("the task definition worker:1: it has no container \"agent\""), "{error}");
}
