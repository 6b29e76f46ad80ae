//! Tasks as child processes of this machine.
//!
//! A task is a folder named by its launch token, below one folder. In it
//! is the file `lock`: the orchestrator makes it and locks it, the worker gets it as stdin, the agent
//! inherits it from the worker, and the kernel frees the lock when the last of them is gone. **Alive means
//! that the lock is held, stopped that it can be taken.** That holds for an agent that outlives its worker,
//! for an orchestrator that was killed, and after a reboot, without any number of a process being trusted.
//!
//! | what | where | if lost |
//! |---|---|---|
//! | that a task exists | the folder | no other record of it; removed by hand, the task is unknown |
//! | which job of which records, since when | first line of `lock` | the task is not listed, but observed by its token |
//! | whom to signal | further lines, by the worker | the holders of the lock are looked for |
//! | exit code and signal | memory of the parent | unknown, as after every restart |
//!
//! Workers are spawned without shell or hook, in a process group of their own, and make their own session, so
//! that Ctrl-C in the orchestrator's terminal does not reach them, not even before they have come so far, and
//! they outlive it. Their stdout goes nowhere, or is the socket of their reports ([`backends::relay`]), and
//! their stderr goes into `worker.log` beside the folders, which becomes `worker.log.1` at 16 MiB.

mod folder;
mod holders;
mod launch;
mod recorded;
mod relay;
mod spawn;
mod stop;
mod table;
mod watch;

use super::{Launch, LaunchAnswer, Observed, TaskState, TaskView, Tasks};
use async_trait::async_trait;
use backends::HintSender;
use backends::records::WorkerRecords;
use contract::{Desired, Evidence, JobId, LaunchRequest, LaunchToken, Supports, TaskId, Timestamp};
use folder::{Probe, Root};
use recorded::Recorded;
use spawn::Spawner;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use table::{Entry, Exit, Table, Worker};
use tracing::warn;

/// `stop_code`: the worker ended by itself; `exit_code` says how.
pub const WORKER_EXITED: &str = "WorkerExited";
/// `stop_code`: a signal ended the worker; `signal` says which.
pub const WORKER_SIGNALED: &str = "WorkerSignaled";
/// `stop_code`: the worker ended, and nobody who could have learned how was its parent.
pub const WORKER_GONE: &str = "WorkerGone";
/// `stop_code`: the machine was started anew after the launch.
pub const MACHINE_RESTARTED: &str = "MachineRestarted";
/// `stop_code`: the folder was made, but no worker ever wrote into it.
pub const NEVER_STARTED: &str = "NeverStarted";

const TASK_PREFIX: &str = "process:";

/// How to run workers on this machine.
#[derive(Debug)]
pub struct ProcessOptions {
    /// The folder of tasks; absolute. Made if need be.
    pub folder: PathBuf,
    /// Which records the tasks belong to. Those of others may have theirs in the same folder and are left alone.
    pub store: String,
    /// The worker; absolute.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Added to the environment of this process; a launch adds the job, the token, the task and its folder.
    pub env: Vec<(OsString, OsString)>,
    /// Where workers start.
    pub cwd: PathBuf,
    /// Gets a hint when a task ends.
    pub hints: HintSender,
    /// Where workers' reports are carried to, which then need not open the store; `None`: they do.
    pub reports: Option<WorkerRecords>,
}

/// Why tasks cannot be run as processes.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The folder of tasks cannot be made or read.
    #[error("the folder of tasks {} cannot be used: {source}", .folder.display())]
    Folder {
        /// Which.
        folder: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// A relative path would mean another place for the worker.
    #[error("the path {} must be absolute", .0.display())]
    Relative(PathBuf),
    /// There is no tokio runtime here.
    #[error("tasks as processes need a tokio runtime with io and time: {0}")]
    Runtime(#[from] tokio::runtime::TryCurrentError),
}

/// Tasks as child processes. Dropping it ends no task.
#[derive(Debug)]
pub struct ProcessTasks(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    root: Root,
    store: String,
    boot_id: String,
    spawner: Spawner,
    hints: HintSender,
    reports: Option<WorkerRecords>,
    runtime: tokio::runtime::Handle,
    table: Mutex<Table>,
}

/// What a look at a token found.
enum LookAt {
    Nothing,
    Alive(Known),
    Stopped(Known, Box<Evidence>),
    Unknown(String),
}

/// What is known of a task besides its state.
#[derive(Default)]
struct Known {
    job_id: Option<JobId>,
    age: Duration,
    worker_gone: bool,
}

impl ProcessTasks {
    /// Opens the folder, removes what cut-off launches left in it, and watches the tasks that live there.
    /// To be called within a tokio runtime that has io and time enabled; the tasks are waited for on it.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub fn new(options: ProcessOptions) -> Result<Self, ProcessError> {
        let ProcessOptions { folder, store, program, args, env, cwd, hints, reports } = options;
        let runtime = tokio::runtime::Handle::try_current()?;
        if let Some(path) = [&folder, &program].into_iter().find(|path| path.is_relative()) {
            return Err(ProcessError::Relative(path.clone()));
        }
        let opened = Root::open(&folder).and_then(|root| {
            let spawner = Spawner::new(&root, program, args, env, cwd, reports.is_some())?;
            let tokens = root.tokens()?;
            Ok((root, spawner, tokens))
        });
        let (root, spawner, tokens) = opened.map_err(|source| ProcessError::Folder { folder, source })?;
        let inner = Arc::new(Inner {
            root,
            store,
            boot_id: recorded::boot_id(),
            spawner,
            hints,
            reports,
            runtime,
            table: Mutex::default(),
        });
        for token in &tokens {
            inner.adopt(token);
        }
        Ok(Self(inner))
    }
}

fn age(launched_at: Timestamp) -> Duration {
    let millis = Timestamp::from(SystemTime::now()).millis_since(launched_at);
    Duration::from_millis(millis.unsigned_abs())
}

fn task_id(token: &LaunchToken) -> TaskId {
    TaskId::new(format!("{TASK_PREFIX}{token}")).expect("a token is printable ASCII")
}

fn token_of(task: &TaskId) -> Option<LaunchToken> {
    LaunchToken::new(task.as_str().strip_prefix(TASK_PREFIX)?).ok()
}

impl Inner {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts to watch a task found at the start. A folder whose lock file names no job was emptied by a
    /// power failure; with nobody in it, it is removed.
    fn adopt(self: &Arc<Self>, token: &LaunchToken) {
        if self.is_others(token) {
            return;
        }
        if let LookAt::Stopped(Known { job_id: None, .. }, _) = self.look(token)
            && let Err(error) = self.root.remove_all(token)
        {
            warn!(%error, "the folder of a task cannot be removed");
        }
    }

    /// Whether a task that was found in the folder is one of other records. To them its job may be the best known of all,
    /// so nobody here may take it for an orphan.
    fn is_others(&self, token: &LaunchToken) -> bool {
        if self.table().contains_key(token) {
            return false;
        }
        let recorded = self.root.lock_file(token).ok().and_then(|file| Recorded::read(&file).ok());
        recorded.and_then(|recorded| recorded.store).is_some_and(|store| store != self.store)
    }

    fn look(self: &Arc<Self>, token: &LaunchToken) -> LookAt {
        let (mut exit, mut living) = (None, None);
        if let Some(entry) = self.table().get_mut(token) {
            if entry.lives() {
                let (job_id, age) = (entry.job_id.clone(), entry.launched_at.elapsed());
                let known = Known { job_id, age, worker_gone: entry.exit().is_some() };
                living = Some((known, matches!(entry.worker, Worker::Adopted)));
            } else {
                exit = entry.exit().map(|exit| (exit, entry.job_id.clone(), entry.launched_at));
            }
        }
        if let Some((mut known, adopted)) = living {
            known.worker_gone |= adopted && self.recorded(token).worker_gone(&self.boot_id);
            return LookAt::Alive(known);
        }
        let file = match self.root.probe(token) {
            Err(error) => return LookAt::Unknown(error.to_string()),
            Ok(Probe::Held(file)) => return self.held(token, file, exit.is_some()),
            Ok(Probe::Free(file)) => Some(file),
            Ok(Probe::Absent) if exit.is_none() => return LookAt::Nothing,
            Ok(Probe::Absent | Probe::Lockless) => match holders::holders(token) {
                Err(error) => return LookAt::Unknown(error.to_string()),
                Ok(found) if found.is_empty() => None,
                Ok(_) => return LookAt::Alive(Known::default()),
            },
        };
        let recorded = match file.as_ref().map(Recorded::read).transpose() {
            Ok(recorded) => recorded.unwrap_or_default(),
            Err(error) => return LookAt::Unknown(error.to_string()),
        };
        // Without an agent there was nobody to leave a process without the lock behind.
        let left_behind = recorded.agent.is_some() && self.has_processes(token);
        let evidence = self.evidence(token, &recorded, exit.as_ref().map(|(exit, ..)| *exit));
        let known = match exit {
            Some((_, job_id, launched_at)) => Known { job_id, age: launched_at.elapsed(), worker_gone: true },
            None => {
                let age = recorded.launched_at.map_or(Duration::ZERO, age);
                Known { job_id: recorded.job_id, age, worker_gone: true }
            }
        };
        if left_behind {
            return LookAt::Alive(known);
        }
        LookAt::Stopped(known, Box::new(evidence))
    }

    /// Whether processes of the task live that nothing in its folder tells of: the folder was removed by hand, or is not
    /// where this process looks, or they have closed its lock. Where nobody can tell, there are none.
    fn has_processes(&self, token: &LaunchToken) -> bool {
        holders::holders(token).is_ok_and(|found| !found.is_empty())
    }

    /// Somebody holds the lock, and it is not a worker of ours: watch it.
    fn held(self: &Arc<Self>, token: &LaunchToken, file: File, worker_ended: bool) -> LookAt {
        let recorded = Recorded::read(&file).unwrap_or_default();
        let age = recorded.launched_at.map_or(Duration::ZERO, age);
        let worker_gone = worker_ended || recorded.worker_gone(&self.boot_id);
        let known = Known { job_id: recorded.job_id.clone(), age, worker_gone };
        let now = Instant::now();
        let launched_at = now.checked_sub(age).unwrap_or(now);
        let mut adopted = false;
        self.watch(token, file, || {
            adopted = true;
            Entry::new(recorded.job_id.clone(), launched_at, Worker::Adopted)
        });
        if let Some(worker) = recorded.worker.filter(|_| adopted && !worker_gone) {
            self.attend_adopted(recorded.job_id, worker);
        }
        LookAt::Alive(known)
    }

    fn evidence(&self, token: &LaunchToken, recorded: &Recorded, exit: Option<Exit>) -> Evidence {
        let mut evidence = Evidence { task: Some(task_id(token)), ..Evidence::default() };
        if let Some(created) = recorded.launched_at {
            evidence.phases.insert("created".into(), created);
        }
        if let Some(exit) = exit {
            evidence.phases.insert("stopped".into(), exit.at);
        }
        let (code, reason) = match exit.and_then(|exit| exit.status) {
            Some(status) => {
                evidence.exit_code = status.code();
                evidence.signal = status.signal();
                let code = if status.signal().is_some() { WORKER_SIGNALED } else { WORKER_EXITED };
                (code, format!("the worker ended with {status}"))
            }
            None if recorded.boot_id.as_deref().is_some_and(|boot| boot != self.boot_id) => {
                (MACHINE_RESTARTED, "the machine was started anew after the launch".into())
            }
            None if exit.is_none() && recorded.worker.is_none() => {
                (NEVER_STARTED, "no worker wrote into the folder of the task".into())
            }
            None => (WORKER_GONE, "nobody was there to learn the exit code of the worker".into()),
        };
        evidence.stop_code = Some(code.into());
        evidence.stopped_reason = Some(reason);
        evidence
    }
}

#[async_trait]
impl Tasks for ProcessTasks {
    fn supports(&self) -> Supports {
        Supports { spot: false, cost: false }
    }

    fn request(&self, desired: &Desired) -> LaunchRequest {
        launch::request(desired)
    }

    async fn launch(&self, launch: &Launch) -> LaunchAnswer {
        self.0.launch(launch)
    }

    async fn observe(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        started: Option<&TaskId>,
    ) -> Observed<Vec<TaskView>> {
        if let Some(other) = started.filter(|&task| token_of(task).as_ref() != Some(token)) {
            return Observed::Unknown(format!("{other} is not the task of this attempt in this runtime"));
        }
        let (mut known, state) = match self.0.look(token) {
            LookAt::Nothing if started.is_some() && self.0.has_processes(token) => {
                (Known::default(), TaskState::Alive)
            }
            LookAt::Nothing => return Observed::Known(Vec::new()),
            LookAt::Unknown(why) => return Observed::Unknown(why),
            LookAt::Alive(known) => (known, TaskState::Alive),
            LookAt::Stopped(known, evidence) => (known, TaskState::Stopped(evidence)),
        };
        let job_id = known.job_id.take().unwrap_or_else(|| job_id.clone());
        Observed::Known(vec![view(token, job_id, &known, state)])
    }

    /// True. A task exists only after its folder does, and the folder of a task is removed only after its
    /// lock was free, so no folder means no task, unless this token is being launched right now. The same
    /// process answers "alive" then, and never launches and looks in two passes at once; another process
    /// holds the lease of this store, or has seen this process end, and with it its launches. A worker that
    /// a dying process had just spawned has its folder already.
    fn absence_is_proof(&self) -> bool {
        true
    }

    async fn list(&self) -> Observed<Vec<TaskView>> {
        let tokens = match self.0.root.tokens() {
            Ok(tokens) => tokens,
            Err(error) => return Observed::Unknown(error.to_string()),
        };
        let mut views = Vec::with_capacity(tokens.len());
        for token in tokens.iter().filter(|token| !self.0.is_others(token)) {
            let (mut known, state) = match self.0.look(token) {
                // Removed since the folder was listed.
                LookAt::Nothing => continue,
                LookAt::Unknown(why) => return Observed::Unknown(why),
                LookAt::Alive(known) => (known, TaskState::Alive),
                LookAt::Stopped(known, evidence) => (known, TaskState::Stopped(evidence)),
            };
            match known.job_id.take() {
                Some(job_id) => views.push(view(token, job_id, &known, state)),
                None => warn!(token = token.prefix(), "a task whose lock file names no job is not listed"),
            }
        }
        Observed::Known(views)
    }

    async fn stop(&self, task: &TaskId, grace: Duration) -> Result<(), String> {
        let token = token_of(task).ok_or_else(|| format!("{task} is not a task of this runtime"))?;
        match self.0.look(&token) {
            LookAt::Nothing if !self.0.has_processes(&token) => Ok(()),
            LookAt::Stopped(..) => Ok(()),
            LookAt::Unknown(why) => Err(why),
            LookAt::Nothing | LookAt::Alive(_) => self.0.stop(&token, grace).await,
        }
    }

    async fn forget(&self, token: &LaunchToken) {
        {
            let mut table = self.0.table();
            if let Some(entry) = table.get_mut(token) {
                if entry.lives() {
                    // Whoever sees its end removes the folder.
                    entry.forgotten = true;
                    return;
                }
                table.remove(token);
            }
        }
        self.0.discard(token).await;
    }
}

fn view(token: &LaunchToken, job_id: JobId, known: &Known, state: TaskState) -> TaskView {
    let (worker_gone, age) = (known.worker_gone, known.age);
    TaskView { task: task_id(token), token: token.clone(), job_id, state, worker_gone, age }
}
