//! Workers as child processes, each in a session of its own.
//!
//! On Fargate a container has a process id namespace, and everything in it dies with its first process. Here
//! a session stands for it: when the worker ends or is killed, every process of its session is killed before
//! the end is reported, and so are the children of those processes, whatever their session. A process that
//! leaves the session *and* loses its parent gets away; on Fargate it would not.

use super::options::Worker;
use super::task::Task;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::sync::mpsc::UnboundedSender;

/// A worker has ended, and everything that it had started.
#[derive(Debug)]
pub(crate) struct Exit {
    pub(crate) task: String,
    /// As ECS writes it: 128 plus the signal for a process that a signal ended.
    pub(crate) code: i32,
}

/// Where the double has its files and answers.
#[derive(Debug)]
pub(crate) struct Room {
    folder: TempDir,
    pub(crate) address: SocketAddr,
    number: u64,
}

impl Room {
    pub(crate) fn new(address: SocketAddr) -> io::Result<Self> {
        static ROOMS: AtomicU64 = AtomicU64::new(1);
        let folder = TempDir::with_prefix("ecs-double-")?;
        Ok(Self { folder, address, number: ROOMS.fetch_add(1, Ordering::Relaxed) })
    }

    /// Tells two doubles of one process apart.
    pub(crate) fn number(&self) -> u64 {
        self.number << 48
    }
}

/// Everything that a worker is started with.
#[derive(Debug)]
pub(crate) struct Launch {
    task: String,
    command: Vec<String>,
    env: BTreeMap<String, String>,
    folder: PathBuf,
    log: Option<PathBuf>,
}

impl Launch {
    pub(crate) fn new(task: &Task, worker: &Worker, region: &str, room: &Room) -> Self {
        let main = task.definition.main();
        let overrides = task.overrides["containerOverrides"].as_array().into_iter().flatten();
        let own = overrides.into_iter().find(|container| container["name"] == main["name"]);
        let own = own.unwrap_or(&Value::Null);
        let mut env: BTreeMap<String, String> = worker.env.iter().cloned().collect();
        // Amazon ECS API reference, ContainerOverride, `environment`: variables are added to those of the
        // image and the task definition, or override them.
        for pair in [main, own].iter().flat_map(|all| all["environment"].as_array().into_iter().flatten()) {
            let text = |name: &str| pair[name].as_str().unwrap_or_default().to_owned();
            env.insert(text("name"), text("value"));
        }
        // Amazon ECS developer guide, "Task metadata endpoint version 4 for tasks on Fargate", and
        // "Environment variables" of the platform.
        let base = format!("http://{}/v4/{}", room.address, task.id);
        env.insert("ECS_CONTAINER_METADATA_URI_V4".to_owned(), base);
        env.insert("AWS_REGION".to_owned(), region.to_owned());
        env.insert("AWS_DEFAULT_REGION".to_owned(), region.to_owned());
        env.insert("AWS_EXECUTION_ENV".to_owned(), "AWS_ECS_FARGATE".to_owned());
        let arguments = if own["command"].is_array() { own } else { main };
        let arguments = arguments["command"].as_array().into_iter().flatten();
        let arguments = arguments.filter_map(|word| word.as_str().map(str::to_owned));
        Self {
            task: task.id.clone(),
            command: worker.command.iter().cloned().chain(arguments).collect(),
            env,
            folder: room.folder.path().join(&task.id),
            log: worker.log.clone(),
        }
    }
}

/// What the double and the watcher of a worker tell each other.
#[derive(Debug, Default)]
struct Shared {
    /// The process id may be somebody else's from now on.
    reaped: bool,
    /// Killed, and to be gone before the end is reported.
    doomed: Vec<i32>,
}

/// A worker that was started.
#[derive(Debug)]
pub(crate) struct Alive {
    pid: Pid,
    shared: Arc<Mutex<Shared>>,
    watcher: JoinHandle<()>,
}

/// util-linux; a program of its own because a child cannot call setsid(2) before exec in safe Rust.
const SETSID: &str = "/usr/bin/setsid";

/// How long killed processes may take to be gone before the end is reported all the same.
const REAP: Duration = Duration::from_secs(10);

impl Alive {
    /// Starts it; `exits` hears of its end.
    pub(crate) fn start(launch: Launch, exits: UnboundedSender<Exit>) -> io::Result<Self> {
        std::fs::create_dir_all(&launch.folder)?;
        let output = || match &launch.log {
            Some(path) => File::options().append(true).create(true).open(path).map(Stdio::from),
            None => Ok(Stdio::null()),
        };
        let child = Command::new(SETSID)
            .args(&launch.command)
            .env_clear()
            .envs(&launch.env)
            .current_dir(&launch.folder)
            .stdin(Stdio::null())
            .stdout(output()?)
            .stderr(output()?)
            .spawn()?;
        let pid = Pid::from_raw(child.id().cast_signed()).ok_or(io::ErrorKind::NotFound)?;
        let shared = Arc::new(Mutex::new(Shared::default()));
        let ours = Arc::clone(&shared);
        let watcher = std::thread::Builder::new().stack_size(256 * 1024).spawn(move || {
            let code = ended(child, pid, &ours);
            let _ = std::fs::remove_dir_all(&launch.folder);
            let _ = exits.send(Exit { task: launch.task, code });
        })?;
        Ok(Self { pid, shared, watcher })
    }

    /// SIGTERM to the container's first process, as container runtimes do.
    pub(crate) fn terminate(&self) {
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if !shared.reaped {
            let _ = kill_process(self.pid, Signal::TERM);
        }
    }

    /// Waits until all of it is gone.
    pub(crate) fn wait(self) {
        let _ = self.watcher.join();
    }

    /// SIGKILL to all of it.
    pub(crate) fn kill(&self) {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if shared.reaped {
            return;
        }
        shared.doomed = still(self.pid);
        // The leader last: its end makes the parents of the others unknown.
        signal_all(&shared.doomed, Signal::KILL);
        let _ = kill_process(self.pid, Signal::KILL);
    }
}

/// Waits for the worker, kills what it left behind, and only then takes its exit code, so that nobody gets
/// its process id meanwhile.
fn ended(mut child: Child, pid: Pid, shared: &Mutex<Shared>) -> i32 {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while matches!(waitid(WaitId::Pid(pid), options), Err(rustix::io::Errno::INTR)) {}
    let until = Instant::now() + REAP;
    loop {
        let left = family(pid.as_raw_pid());
        signal_all(&left, Signal::KILL);
        let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.doomed.retain(|pid| stat(*pid).is_some());
        if left.is_empty() && shared.doomed.is_empty() || Instant::now() > until {
            shared.reaped = true;
            break;
        }
        drop(shared);
        // A killed process is gone soon; the kernel tells only its parent when.
        std::thread::sleep(Duration::from_millis(1));
    }
    let status = child.wait().ok();
    status.map_or(255, |status| status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(127)))
}

/// Brings a session and its descendants to a halt and names them, without the leader: nobody forks meanwhile.
fn still(leader: Pid) -> Vec<i32> {
    let mut halted = Vec::new();
    let _ = kill_process(leader, Signal::STOP);
    loop {
        let all = family(leader.as_raw_pid());
        if all.iter().all(|pid| halted.contains(pid)) {
            return all;
        }
        signal_all(&all, Signal::STOP);
        halted = all;
    }
}

fn signal_all(pids: &[i32], signal: Signal) {
    for pid in pids.iter().filter_map(|pid| Pid::from_raw(*pid)) {
        let _ = kill_process(pid, signal);
    }
}

/// The live processes of a session and their descendants; not the leader itself.
fn family(leader: i32) -> Vec<i32> {
    let Ok(all) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let known: Vec<(i32, i32, i32)> = pids.filter_map(stat).collect();
    let mut found = BTreeSet::from([leader]);
    loop {
        let before = found.len();
        for (pid, parent, session) in &known {
            if *session == leader || found.contains(parent) {
                found.insert(*pid);
            }
        }
        if found.len() == before {
            break;
        }
    }
    found.remove(&leader);
    found.into_iter().collect()
}

/// Id, parent and session of a process that is no zombie.
fn stat(pid: i32) -> Option<(i32, i32, i32)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in brackets and may hold anything; state, parent, group and session follow
    // (proc_pid_stat(5)).
    let mut words = text.get(text.rfind(')')? + 2..)?.split(' ');
    let state = words.next()?;
    let parent = words.next()?.parse().ok()?;
    let session = words.nth(1)?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then_some((pid, parent, session))
}
