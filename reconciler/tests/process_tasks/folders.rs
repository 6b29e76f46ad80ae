//! Folders that crashes, reboots and people left as they are.

use crate::stage::{LONG, Machine, PATIENCE, wait_for_end};
use contract::{RefusalKind, TaskId};
use reconciler::tasks::process::{self, ProcessTasks};
use reconciler::tasks::{Launch, LaunchAnswer, Observed, TaskState, TaskView, Tasks};
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

impl Machine {
    /// The folder of a launch, as somebody else made it.
    fn made(&mut self, name: &str, lines: &str) -> (Launch, TaskId, File) {
        let launch = self.launch_of(name);
        let folder = self.folder(&launch.token);
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("lock"), lines).unwrap();
        let task = TaskId::new(format!("process:{}", launch.token)).unwrap();
        (launch, task, File::options().read(true).write(true).open(folder.join("lock")).unwrap())
    }

    async fn evidence(&self, launch: &Launch) -> contract::Evidence {
        match self.state(launch).await {
            Some(TaskState::Stopped(evidence)) => *evidence,
            other => panic!("{other:?}"),
        }
    }
}

fn sleeper() -> Child {
    Command::new("sleep").arg("600").spawn().unwrap()
}

fn holder(file: File) -> Child {
    flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
    Command::new("sleep").arg("600").stdin(file).spawn().unwrap()
}

fn start_time(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.split(' ').nth(19).unwrap().parse().unwrap()
}

fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap().trim().to_owned()
}

#[tokio::test]
async fn a_process_that_got_the_number_of_a_recorded_one_is_never_signalled() {
    for member in ["pid\":%,\"start_time", "agent_pid\":%,\"agent_start_time"] {
        for (boot, late) in [(boot_id(), 1), ("another".to_owned(), 0)] {
            let mut machine = Machine::new();
            let mut innocent = sleeper();
            let member = member.replace('%', &innocent.id().to_string());
            let started = start_time(innocent.id()) + late;
            let (launch, task, file) = machine.made(
                "lasts",
                &format!("{{\"job_id\":\"lasts-1\",\"boot_id\":\"{boot}\"}}\n{{\"{member}\":{started}}}\n"),
            );
            let mut guilty = holder(file);
            machine.reopen();
            assert!(machine.is_alive(&launch).await);
            machine.tasks.stop(&task, LONG).await.unwrap();
            machine.tasks.stop(&task, Duration::ZERO).await.unwrap();
            guilty.wait().unwrap();
            machine.ended(&launch).await;
            assert!(innocent.try_wait().unwrap().is_none(), "{member} of boot {boot} was signalled");
            innocent.kill().unwrap();
            innocent.wait().unwrap();
        }
    }
}

#[tokio::test]
async fn a_launch_that_a_crash_cut_off_before_the_spawn_never_started_and_is_not_spawned_later() {
    let mut machine = Machine::new();
    let line = format!("{{\"job_id\":\"lasts-1\",\"boot_id\":\"{}\"}}\n", boot_id());
    let (launch, task, _) = machine.made("lasts", &line);
    for _ in 0..2 {
        assert_eq!(machine.evidence(&launch).await.stop_code.as_deref(), Some(process::NEVER_STARTED));
        assert_eq!(machine.launched(&launch).await, task);
        machine.reopen();
    }
    let written = std::fs::read_to_string(machine.folder(&launch.token).join("lock")).unwrap();
    assert_eq!(written, line, "a worker was spawned");
}

#[tokio::test]
async fn what_ran_before_a_reboot_is_stopped() {
    let mut machine = Machine::new();
    let lines = "{\"job_id\":\"lasts-1\",\"boot_id\":\"another\"}\n{\"pid\":4,\"start_time\":5}\n";
    let (launch, ..) = machine.made("lasts", lines);
    machine.reopen();
    assert_eq!(machine.evidence(&launch).await.stop_code.as_deref(), Some(process::MACHINE_RESTARTED));
}

#[tokio::test]
async fn another_probe_is_not_taken_for_a_task() {
    let mut machine = Machine::new();
    let (launch, _, file) = machine.made("lasts", "{\"job_id\":\"lasts-1\"}\n");
    flock(&file, FlockOperation::NonBlockingLockShared).unwrap();
    assert!(!machine.is_alive(&launch).await);
}

#[tokio::test]
async fn the_log_of_the_workers_does_not_grow_for_ever() {
    let mut machine = Machine::new();
    let log = |name: &str| machine.scratch.path().join("tasks").join(name);
    let (now, last) = (log("worker.log"), log("worker.log.1"));
    let size = |path: &Path| std::fs::metadata(path).map(|found| found.len()).unwrap_or_default();
    for _ in 0..2 {
        machine.started("lasts").await;
        assert_eq!(size(&now), 0);
        File::options().append(true).open(&now).unwrap().set_len(16 << 20).unwrap();
    }
    machine.started("lasts").await;
    assert_eq!((size(&now), size(&last)), (0, 16 << 20));
}

#[tokio::test]
async fn tasks_of_other_records_in_the_same_folder_are_neither_listed_nor_lost() {
    let mut machine = Machine::new();
    let (launch, task) = machine.started("lasts").await;
    let of = |machine: &Machine, store: &str| {
        let (store, options) = (store.to_owned(), Machine::options(&machine.scratch));
        ProcessTasks::new(process::ProcessOptions { store, ..options }).unwrap()
    };
    let listed = |seen: Observed<Vec<TaskView>>| match seen {
        Observed::Known(views) => views.iter().map(|view| view.task.clone()).collect::<Vec<_>>(),
        Observed::Unknown(why) => panic!("{why}"),
    };
    // As after a restart, and beside it the orchestrator of another database.
    assert_eq!(listed(of(&machine, "ours").list().await), std::slice::from_ref(&task));
    let others = of(&machine, "theirs");
    assert_eq!(listed(others.list().await), []);
    assert!(machine.is_alive(&launch).await);
    machine.tasks.stop(&task, Duration::ZERO).await.unwrap();
    machine.ended(&launch).await;
    assert_eq!(listed(others.list().await), [], "it is not theirs to forget either");
    assert_eq!(listed(of(&machine, "ours").list().await), [task]);
}

#[tokio::test]
async fn foreign_names_are_ignored_and_emptied_folders_removed() {
    let mut machine = Machine::new();
    let root = machine.scratch.path().join("tasks");
    let (launch, _) = machine.started("lasts").await;
    let (emptied, ..) = machine.made("lasts", "");
    let names = ["notes", "0123"].map(|name| root.join(name));
    names.iter().for_each(|name| std::fs::create_dir(name).unwrap());
    let file = root.join("0123456789abcdef0123456789abcdef");
    std::fs::write(&file, "").unwrap();
    machine.reopen();
    let Observed::Known(views) = machine.tasks.list().await else { panic!() };
    let jobs: Vec<_> = views.into_iter().map(|view| view.job_id).collect();
    assert_eq!(jobs, [launch.job_id]);
    assert!(names.iter().all(|name| name.exists()) && file.exists(), "what is not ours was removed");
    assert!(!root.join(emptied.token.as_str()).exists(), "a folder that a power failure emptied stays");
}

/// Folders of launches that have come so far and no further.
const CUT_OFF: [&str; 2] = [".new-1-1", ".new-1-2"];

fn cut_off(root: &Path) {
    CUT_OFF.iter().for_each(|name| std::fs::create_dir(root.join(name)).unwrap());
    std::fs::write(root.join(CUT_OFF[1]).join("lock"), "").unwrap();
}

#[tokio::test]
async fn leftovers_of_cut_off_launches_are_removed() {
    let machine = Machine::where_tasks(cut_off);
    let root = machine.scratch.path().join("tasks");
    assert_eq!(CUT_OFF.map(|name| root.join(name).exists()), [false; 2]);
}

#[tokio::test]
async fn a_launch_that_is_under_way_is_not_disturbed_by_another_orchestrator_that_starts() {
    let mut first = Machine::new();
    let root = first.scratch.path().join("tasks");
    cut_off(&root);
    let second = ProcessTasks::new(Machine::options(&first.scratch)).unwrap();
    assert_eq!(CUT_OFF.map(|name| root.join(name).exists()), [true; 2]);
    // Nor does the second one wait for the first, or the first for the second.
    let launch = first.launch_of("lasts");
    assert!(matches!(first.tasks.launch(&launch).await, LaunchAnswer::Launched(_)));
    drop(second);
}

#[tokio::test]
async fn a_worker_is_out_of_reach_of_a_ctrl_c_before_it_has_done_anything() {
    let mut machine = Machine::new();
    // This worker makes no session: the real one has not come so far yet.
    let (launch, _) = machine.started("lasts").await;
    let worker = rustix::process::Pid::from_raw(machine.recorded(&launch, "pid")).unwrap();
    assert_eq!(rustix::process::getpgid(Some(worker)), Ok(worker));
}

#[tokio::test]
async fn what_another_process_of_this_number_left_does_not_stop_a_launch() {
    let mut machine = Machine::new();
    let root = machine.scratch.path().join("tasks");
    for number in 0..3 {
        std::fs::create_dir(root.join(format!(".new-{}-{number}", std::process::id()))).unwrap();
    }
    let launch = machine.launch_of("lasts");
    assert!(matches!(machine.tasks.launch(&launch).await, LaunchAnswer::Launched(_)));
}

#[tokio::test]
async fn a_folder_that_is_not_where_it_was_proves_nothing() {
    let mut machine = Machine::new();
    let launch = machine.launch_of("lasts");
    let root = machine.scratch.path().join("tasks");
    std::fs::rename(&root, root.with_extension("moved")).unwrap();
    for remake in [false, true] {
        if remake {
            std::fs::create_dir(&root).unwrap();
        }
        let seen = machine.tasks.observe(&launch.job_id, &launch.token, None).await;
        assert!(matches!(seen, Observed::Unknown(_)), "{seen:?}");
        let seen = machine.tasks.list().await;
        assert!(matches!(seen, Observed::Unknown(_)), "{seen:?}");
    }
}

#[tokio::test]
async fn deleting_files_of_a_live_task_does_not_make_it_look_stopped() {
    let mut machine = Machine::new();
    let (launch, _) = machine.started("lasts").await;
    let pid = machine.recorded(&launch, "pid");
    std::fs::remove_file(machine.folder(&launch.token).join("lock")).unwrap();
    assert!(machine.is_alive(&launch).await);
    machine.reopen();
    assert!(machine.is_alive(&launch).await, "the next orchestrator thinks that it is gone");
    machine.tasks.forget(&launch.token).await;
    assert!(machine.is_alive(&launch).await, "it was forgotten");
    let task = TaskId::new(format!("process:{}", launch.token)).unwrap();
    machine.tasks.stop(&task, Duration::ZERO).await.unwrap();
    wait_for_end(pid);
    assert!(!machine.is_alive(&launch).await);

    let (launch, _) = machine.started("lasts").await;
    let pid = machine.recorded(&launch, "pid");
    std::fs::remove_dir_all(machine.folder(&launch.token)).unwrap();
    assert!(machine.is_alive(&launch).await);
    machine.reopen();
    let task = TaskId::new(format!("process:{}", launch.token)).unwrap();
    let started = || machine.tasks.observe(&launch.job_id, &launch.token, Some(&task));
    let Observed::Known(seen) = started().await else { panic!("it is known") };
    assert!(
        seen.iter().any(|view| view.state == TaskState::Alive),
        "the next orchestrator finds no folder of a task that has started, and thinks that it is gone"
    );
    machine.tasks.stop(&task, Duration::ZERO).await.unwrap();
    wait_for_end(pid);
    let Observed::Known(seen) = started().await else { panic!("it is known") };
    assert_eq!(seen, Vec::new());
}

#[tokio::test]
async fn a_task_of_another_runtime_is_never_proven_absent() {
    let mut machine = Machine::new();
    let launch = machine.launch_of("lasts");
    let other = TaskId::new("arn:aws:ecs:eu-central-1:123456789012:task/x/y").unwrap();
    let seen = machine.tasks.observe(&launch.job_id, &launch.token, Some(&other)).await;
    assert!(matches!(seen, Observed::Unknown(_)), "{seen:?}");
    assert!(machine.tasks.stop(&other, LONG).await.is_err());
}

#[tokio::test]
async fn a_worker_that_cannot_be_started_is_refused_and_leaves_no_folder() {
    let mut machine = Machine::new();
    let launch = machine.launch_of("lasts");
    let good = Machine::options(&machine.scratch);
    let text = machine.scratch.path().join("worker.sh");
    for program in [machine.scratch.path().join("missing"), text] {
        let options = process::ProcessOptions { program, ..Machine::options(&machine.scratch) };
        let tasks = ProcessTasks::new(options).unwrap();
        match tasks.launch(&launch).await {
            LaunchAnswer::Refused(refusal) => {
                assert_eq!(refusal.kind, RefusalKind::Misconfigured);
                assert!(refusal.message.contains("os error"), "{}", refusal.message);
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(tasks.observe(&launch.job_id, &launch.token, None).await, Observed::Known(vec![]));
        let names = std::fs::read_dir(&good.folder).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(names.collect::<Vec<_>>(), ["worker.log"]);
    }
    // Once somebody has mended it, the same token is launched.
    machine.reopen();
    machine.launched(&launch).await;
    assert!(machine.is_alive(&launch).await);
}

#[tokio::test]
async fn a_task_is_never_seen_stopped_while_it_is_being_launched() {
    let mut machine = Machine::new();
    let watcher = ProcessTasks::new(Machine::options(&machine.scratch)).unwrap();
    let launches: Vec<_> = (0..100).map(|_| machine.launch_of("lasts")).collect();
    let watched = launches.clone();
    let runtime = tokio::runtime::Handle::current();
    // Looks at one token after the other without a pause, each until it appears.
    let watching = std::thread::spawn(move || {
        for launch in watched {
            let until = Instant::now() + PATIENCE;
            loop {
                let looking = watcher.observe(&launch.job_id, &launch.token, None);
                let Observed::Known(views) = runtime.block_on(looking) else {
                    panic!("nothing was observed")
                };
                assert!(views.iter().all(|view| view.state == TaskState::Alive), "{views:?}");
                if !views.is_empty() {
                    break;
                }
                assert!(Instant::now() < until, "nobody launched it");
            }
        }
    });
    for launch in &launches {
        machine.launched(launch).await;
    }
    tokio::task::spawn_blocking(|| watching.join().unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_worker_gets_its_variables_its_folder_and_a_log_for_its_words() {
    let mut machine = Machine::new();
    let launch = machine.launch_of("tells");
    let task = machine.launched(&launch).await;
    machine.ended(&launch).await;
    let read = |name: &str| std::fs::read_to_string(machine.scratch.path().join(name)).unwrap();
    let folder = machine.folder(&launch.token).canonicalize().unwrap();
    for expected in [
        format!("AGENT_RUNNER_JOB_ID={}", launch.job_id),
        format!("AGENT_RUNNER_LAUNCH_TOKEN={}", launch.token),
        format!("AGENT_RUNNER_TASK_ID={task}"),
        format!("AGENT_RUNNER_TASK_FOLDER={}", folder.display()),
        format!("PATH={}", std::env::var("PATH").unwrap()),
    ] {
        assert!(read("env").lines().any(|line| line == expected), "{expected} is missing");
    }
    let cwd = machine.scratch.path().canonicalize().unwrap();
    assert_eq!(read("cwd").trim(), cwd.to_str().unwrap());
    assert_eq!(read("tasks/worker.log"), "words\n");
}
