//! How tasks end, and who learns of it.

use crate::stage::{LONG, Machine, PATIENCE, kill, letter, wait_for_end};
use reconciler::tasks::{TaskState, Tasks, process};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_failed_worker_is_announced_and_its_exit_code_is_evidence() {
    let mut machine = Machine::new();
    let launch = machine.launch_of("exits-3");
    machine.launched(&launch).await;
    let evidence = machine.ended(&launch).await;
    assert_eq!((evidence.exit_code, evidence.signal), (Some(3), None));
    assert_eq!(evidence.stop_code.as_deref(), Some(process::WORKER_EXITED));
    assert!(evidence.phases["created"] <= evidence.phases["stopped"]);
}

#[tokio::test]
async fn a_killed_worker_is_announced_and_its_signal_is_evidence() {
    let mut machine = Machine::new();
    let (launch, _) = machine.started("lasts").await;
    kill(machine.recorded(&launch, "pid"));
    let evidence = machine.ended(&launch).await;
    assert_eq!((evidence.exit_code, evidence.signal), (None, Some(9)));
    assert_eq!(evidence.stop_code.as_deref(), Some(process::WORKER_SIGNALED));
}

#[tokio::test]
async fn a_successful_worker_is_announced_unless_its_task_is_forgotten_first() {
    let mut machine = Machine::new();
    let (quiet, told) = (machine.launch_of("exits-0"), machine.launch_of("exits-0"));
    machine.launched(&quiet).await;
    machine.tasks.forget(&quiet.token).await;
    machine.launched(&told).await;
    // The first one ends first or at the same time; its hint would have come before or with this one.
    assert_eq!(machine.hinted().await, [told.job_id]);
    let (late, after) = (machine.launch_of("exits-0"), machine.launch_of("exits-0"));
    machine.launched(&late).await;
    while machine.is_alive(&late).await {
        tokio::task::yield_now().await;
    }
    // Until its end was noticed, and well before it is announced.
    tokio::time::sleep(Duration::from_millis(15)).await;
    machine.tasks.forget(&late.token).await;
    machine.launched(&after).await;
    assert_eq!(machine.hinted().await, [after.job_id]);
}

#[tokio::test]
async fn no_zombie_is_left_behind() {
    let mut machine = Machine::new();
    let mut pids = Vec::new();
    for _ in 0..10 {
        let launch = machine.launch_of("exits-1");
        machine.launched(&launch).await;
        machine.ended(&launch).await;
        pids.push(machine.recorded(&launch, "pid"));
    }
    // Without a look in between, so that nobody but the one who waits reaps.
    let (launch, _) = machine.started("lasts").await;
    pids.push(machine.recorded(&launch, "pid"));
    kill(pids[10]);
    machine.hinted().await;
    for pid in pids {
        assert_ne!(letter(pid), Some('Z'), "process {pid} is a zombie");
    }
}

#[tokio::test]
async fn a_stubborn_worker_gets_its_grace_and_is_killed_without_being_asked_again() {
    let mut machine = Machine::new();
    let (launch, task) = machine.started("ignores").await;
    let (asked, grace) = (Instant::now(), Duration::from_millis(300));
    machine.tasks.stop(&task, grace).await.unwrap();
    let evidence = machine.ended(&launch).await;
    assert!(asked.elapsed() >= grace);
    assert_eq!(evidence.signal, Some(9));
}

#[tokio::test]
async fn an_agent_that_outlives_its_killed_worker_counts_as_alive_and_is_asked_to_stop() {
    let mut machine = Machine::new();
    let (launch, task) = machine.started("agent").await;
    let agent = machine.recorded(&launch, "agent_pid");
    kill(machine.recorded(&launch, "pid"));
    assert_eq!(machine.hinted().await, std::slice::from_ref(&launch.job_id));
    assert!(machine.is_alive(&launch).await);
    machine.tasks.forget(&launch.token).await;
    assert!(machine.is_alive(&launch).await, "a live task was forgotten");
    assert!(machine.folder(&launch.token).exists());
    machine.tasks.stop(&task, LONG).await.unwrap();
    wait_for_removal(&machine.folder(&launch.token)).await;
    wait_for_end(agent);
}

#[tokio::test]
async fn the_end_of_an_agent_without_worker_is_announced() {
    let mut machine = Machine::new();
    let (launch, task) = machine.started("agent").await;
    kill(machine.recorded(&launch, "pid"));
    assert_eq!(machine.hinted().await, std::slice::from_ref(&launch.job_id));
    assert!(machine.is_alive(&launch).await);
    machine.tasks.stop(&task, LONG).await.unwrap();
    let evidence = machine.ended(&launch).await;
    assert_eq!(evidence.signal, Some(9), "the worker's end is kept: {evidence:?}");
}

#[tokio::test]
async fn an_agent_without_worker_that_does_not_listen_is_killed_after_the_grace() {
    let mut machine = Machine::new();
    let (launch, task) = machine.started("deaf-agent").await;
    let agent = machine.recorded(&launch, "agent_pid");
    kill(machine.recorded(&launch, "pid"));
    machine.hinted().await;
    machine.tasks.stop(&task, LONG).await.unwrap();
    assert!(machine.is_alive(&launch).await);
    machine.tasks.stop(&task, Duration::ZERO).await.unwrap();
    machine.ended(&launch).await;
    wait_for_end(agent);
}

#[tokio::test]
async fn what_an_agent_left_behind_without_the_lock_is_found_by_its_folder_and_environment() {
    for by_folder in [true, false] {
        let mut machine = Machine::new();
        let (launch, task) = machine.started("agent").await;
        let folder = machine.folder(&launch.token);
        let work = folder.join("work");
        std::fs::create_dir_all(&work).unwrap();
        let mut command = Command::new("sleep");
        command.arg("60").env_clear().current_dir("/").stdout(Stdio::null()).stderr(Stdio::null());
        if by_folder {
            command.current_dir(&work);
        } else {
            command.env("AGENT_RUNNER_RESULT", folder.join("result.json"));
        }
        // As a child of an agent whose worker is dead would be: nobody's whom this process knows.
        let mut left = command.spawn().unwrap();
        let agent = machine.recorded(&launch, "agent_pid");
        kill(machine.recorded(&launch, "pid"));
        kill(agent);
        wait_for_end(agent);
        machine.hinted().await;
        assert!(
            machine.is_alive(&launch).await,
            "a process of the task lives, found by its folder: {by_folder}"
        );
        machine.tasks.stop(&task, Duration::ZERO).await.unwrap();
        assert!(!left.wait().unwrap().success());
        // Nobody is told of the end of a process that holds nothing; the reconciler looks again.
        assert!(matches!(machine.state(&launch).await, Some(TaskState::Stopped(_))));
    }
}

#[tokio::test]
async fn an_agent_that_nobody_recorded_is_found_by_the_lock_it_holds() {
    for grace in [LONG, Duration::ZERO] {
        let mut machine = Machine::new();
        let (launch, task) = machine.started("unrecorded-agent").await;
        kill(machine.recorded(&launch, "pid"));
        machine.hinted().await;
        assert!(machine.is_alive(&launch).await);
        machine.tasks.stop(&task, grace).await.unwrap();
        machine.ended(&launch).await;
    }
}

#[tokio::test]
async fn whoever_only_reads_the_lock_file_is_not_killed_with_the_task() {
    let mut machine = Machine::new();
    let (launch, task) = machine.started("ignores").await;
    let file = std::fs::File::open(machine.folder(&launch.token).join("lock")).unwrap();
    let mut reader = Command::new("sleep").arg("600").stdin(file).spawn().unwrap();
    machine.tasks.stop(&task, Duration::ZERO).await.unwrap();
    machine.ended(&launch).await;
    assert!(reader.try_wait().unwrap().is_none(), "the reader was killed");
    reader.kill().unwrap();
    reader.wait().unwrap();
}

#[tokio::test]
async fn an_adopted_task_is_announced_and_its_exit_code_is_unknown() {
    let mut machine = Machine::new();
    let (launch, task) = machine.started("agent").await;
    let agent = machine.recorded(&launch, "agent_pid");
    machine.reopen();
    assert!(machine.is_alive(&launch).await);
    machine.tasks.stop(&task, Duration::ZERO).await.unwrap();
    let evidence = machine.ended(&launch).await;
    assert_eq!((evidence.exit_code, evidence.signal), (None, None));
    assert_eq!(evidence.stop_code.as_deref(), Some(process::WORKER_GONE));
    wait_for_end(agent);
}

#[tokio::test]
async fn an_adopted_task_that_nobody_looks_at_is_announced_too() {
    let mut machine = Machine::new();
    let (launch, _) = machine.started("lasts").await;
    machine.reopen();
    kill(machine.recorded(&launch, "pid"));
    // First the worker's end, then that of the lock, which may be the same.
    machine.ended(&launch).await;
}

#[tokio::test]
async fn an_agent_without_worker_is_announced_and_told_apart_from_a_whole_task() {
    for adopted in [false, true] {
        let mut machine = Machine::new();
        let (launch, _) = machine.started("agent").await;
        if adopted {
            machine.reopen();
        }
        assert!(!machine.view(&launch).await.unwrap().worker_gone);
        kill(machine.recorded(&launch, "pid"));
        assert_eq!(machine.hinted().await, std::slice::from_ref(&launch.job_id));
        for _ in 0..2 {
            let view = machine.view(&launch).await.unwrap();
            assert_eq!((view.state, view.worker_gone), (TaskState::Alive, true));
            machine.reopen();
        }
    }
}

/// The removal is not announced; it is the one thing here that has to be looked for.
async fn wait_for_removal(folder: &std::path::Path) {
    let until = Instant::now() + PATIENCE;
    while folder.exists() {
        assert!(Instant::now() < until, "{} stays", folder.display());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_task_that_is_forgotten_while_its_worker_ends_leaves_nothing_behind() {
    let mut machine = Machine::new();
    for name in ["exits-0", "exits-1", "leaves-files"] {
        let launch = machine.launch_of(name);
        machine.launched(&launch).await;
        machine.tasks.forget(&launch.token).await;
        wait_for_removal(&machine.folder(&launch.token)).await;
        assert_eq!(machine.state(&launch).await, None);
    }
    let launch = machine.launch_of("leaves-files");
    machine.launched(&launch).await;
    machine.ended(&launch).await;
    assert!(machine.folder(&launch.token).join("a/b/c").exists());
    machine.tasks.forget(&launch.token).await;
    assert!(!machine.folder(&launch.token).exists());
}

#[tokio::test]
async fn a_worker_whose_task_is_forgotten_is_reaped_too() {
    let mut machine = Machine::new();
    let (launch, _) = machine.started("lasts").await;
    let pid = machine.recorded(&launch, "pid");
    machine.tasks.forget(&launch.token).await;
    assert!(machine.is_alive(&launch).await);
    kill(pid);
    wait_for_removal(&machine.folder(&launch.token)).await;
    assert_ne!(letter(pid), Some('Z'), "process {pid} is a zombie");
}
