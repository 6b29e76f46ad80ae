//! The parts of a reconciler, put together from the settings. `agent-runner` and the reconciler's own program
//! share it; they differ in the program that is started for an attempt.

use crate::tasks::Tasks;
#[cfg(feature = "aws")]
use crate::tasks::ecs::{self, EcsError, EcsOptions, EcsTasks};
#[cfg(feature = "redis")]
use crate::tasks::pool::{PoolOptions, PoolTasks};
#[cfg(feature = "process")]
use crate::tasks::process::{ProcessError, ProcessOptions, ProcessTasks};
use crate::{BoxedHints, Parts};
use async_trait::async_trait;
use backends::records::ReconcilerRecords;
#[cfg(feature = "process")]
use backends::records::WorkerRecords;
#[cfg(any(feature = "process", feature = "redis"))]
use backends::settings::RecordsAt;
use backends::settings::{JobTypesAt, JobTypesError, Layers, Settings, TasksBy};
use backends::stores::{Stores, StoresError};
use backends::{ChannelHints, Hint, HintSender, Hints, HintsError, SystemClock, SystemRandom};
use contract::JobTypes;
use std::ffi::OsString;
use std::io;
#[cfg(feature = "process")]
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

/// Why the parts could not be put together.
#[derive(Debug, thiserror::Error)]
pub enum AssemblyError {
    /// The job-types file is not acceptable.
    #[error("{0}")]
    JobTypes(#[from] JobTypesError),
    /// A store cannot be opened.
    #[error("{0}")]
    Stores(#[from] StoresError),
    /// The feed of the records cannot be opened.
    #[error("{0}")]
    Hints(#[from] HintsError),
    /// The folder of tasks cannot be used.
    #[cfg(feature = "process")]
    #[error("{0}")]
    Tasks(#[from] ProcessError),
    /// Tasks on ECS cannot be had.
    #[cfg(feature = "aws")]
    #[error("{0}")]
    Ecs(#[from] EcsError),
    /// The URL of the pool is not usable.
    #[cfg(feature = "redis")]
    #[error("{0}")]
    Pool(#[from] backends::redis::pool::PoolError),
    /// The working directory is gone, or a path is not usable.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The settings name a task runtime that this binary does not have; [`Settings::read`] refuses it.
    #[error("{0}: this binary was built without it")]
    NotBuilt(&'static str),
}

/// Files and folders of this machine, absolute.
#[derive(Debug, Clone)]
pub struct Places {
    /// The folder of tasks, where they are processes.
    pub tasks: PathBuf,
    /// The job-types file, if there is one.
    pub job_types: Option<PathBuf>,
}

impl Places {
    fn of(settings: &Settings) -> io::Result<Self> {
        let job_types = match &settings.job_types {
            JobTypesAt::BuiltIn => None,
            JobTypesAt::File(file) => Some(std::path::absolute(file)?),
        };
        Ok(Self { tasks: std::path::absolute(&settings.tasks_dir)?, job_types })
    }
}

/// What is started for an attempt where tasks are processes.
#[derive(Debug, Clone)]
pub struct WorkerProgram {
    /// The executable.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
}

/// A reconciler, ready to run.
pub struct Assembly {
    /// Where things are on this machine.
    pub places: Places,
    /// What the reconciler works with.
    pub parts: Parts,
    /// Wake-ups from the records and from ended tasks.
    pub hints: BoxedHints,
    /// The stores, for an API in the same process.
    pub stores: Stores,
}

impl Assembly {
    /// Opens the stores and the task runtime. To be called within a tokio runtime.
    ///
    /// # Errors
    /// [`AssemblyError`].
    pub async fn open(
        settings: &Settings,
        layers: &Layers,
        worker: WorkerProgram,
    ) -> Result<Self, AssemblyError> {
        let places = Places::of(settings)?;
        let job_types = Arc::new(settings.job_types.read()?);
        let stores = Stores::open(settings).await?;
        let (task_ended, task_hints) = ChannelHints::new();
        let tasks =
            open_tasks(settings, layers, &stores, &places, worker, &job_types, task_ended.clone()).await?;
        let parts = Parts {
            records: ReconcilerRecords::new(stores.records.clone()),
            artifacts: stores.artifacts.clone(),
            tasks,
            lease: stores.lease.clone(),
            clock: Arc::new(SystemClock::default()),
            random: Arc::new(SystemRandom),
            job_types,
            policy: plan::Policy::default(),
            max_concurrent_tasks: most_tasks(settings, layers),
            resync_interval: settings.resync,
            scan_interval: settings.scan,
            holder: format!("pid {} on {}", std::process::id(), host_name()),
        };
        let hints = AllHints { records: stores.hints().await?, tasks: task_hints, _open: task_ended };
        Ok(Self { places, parts, hints: Box::new(hints), stores })
    }
}

/// Where nobody set a limit, a pool has as many as it has slots ([`Tasks::slots`]): this machine's cores say
/// nothing about it.
fn most_tasks(settings: &Settings, layers: &Layers) -> u32 {
    let given = layers.get("AGENT_RUNNER_MAX_CONCURRENT_TASKS").is_some_and(|text| !text.is_empty());
    if settings.tasks == TasksBy::Pool && !given { u32::MAX } else { settings.max_concurrent_tasks.get() }
}

#[cfg_attr(
    not(all(feature = "process", feature = "aws")),
    expect(unused_variables, reason = "for the task runtimes that are built")
)]
async fn open_tasks(
    settings: &Settings,
    layers: &Layers,
    stores: &Stores,
    places: &Places,
    worker: WorkerProgram,
    job_types: &Arc<JobTypes>,
    hints: HintSender,
) -> Result<Arc<dyn Tasks>, AssemblyError> {
    match &settings.tasks {
        #[cfg(feature = "process")]
        TasksBy::Process => {
            let options = process_options(settings, layers, stores, places, worker, hints)?;
            Ok(Arc::new(ProcessTasks::new(options)?))
        }
        #[cfg(not(feature = "process"))]
        TasksBy::Process => Err(AssemblyError::NotBuilt("process")),
        #[cfg(feature = "redis")]
        TasksBy::Pool => {
            let RecordsAt::Redis(url) = &stores.records_at else {
                return Err(AssemblyError::NotBuilt("a pool away from its records"));
            };
            Ok(Arc::new(PoolTasks::new(PoolOptions::new(url.clone(), hints))?))
        }
        #[cfg(not(feature = "redis"))]
        TasksBy::Pool => Err(AssemblyError::NotBuilt("pool")),
        #[cfg(feature = "aws")]
        TasksBy::Ecs(cluster) => {
            let options = EcsOptions {
                client: (&backends::aws::config(ecs::LIMITS).await).into(),
                cluster: cluster.clone(),
                settings: settings.ecs.clone(),
                job_types: job_types.clone(),
                hints,
            };
            Ok(Arc::new(EcsTasks::open(options).await?))
        }
        #[cfg(not(feature = "aws"))]
        TasksBy::Ecs(_) => Err(AssemblyError::NotBuilt("ecs")),
    }
}

#[cfg(feature = "process")]
fn process_options(
    settings: &Settings,
    layers: &Layers,
    stores: &Stores,
    places: &Places,
    worker: WorkerProgram,
    hints: HintSender,
) -> Result<ProcessOptions, AssemblyError> {
    let mut env: Vec<(OsString, OsString)> =
        layers.for_workers().map(|(name, value)| (name.into(), value.into())).collect();
    env.push(("AGENT_RUNNER_RECORDS".into(), stores.records_at.setting()));
    env.push(("AGENT_RUNNER_ARTIFACTS".into(), stores.artifacts_at.setting()));
    env.push(("AGENT_RUNNER_DURABILITY".into(), settings.durability.as_str().into()));
    let cwd = match places.job_types.as_deref().and_then(Path::parent) {
        Some(folder) => folder.to_owned(),
        None => std::env::current_dir()?,
    };
    let WorkerProgram { program, args } = worker;
    // Only a worker with SQLite has a store to open that costs more than a socket.
    let reports = match stores.records_at {
        RecordsAt::Sqlite(_) => Some(WorkerRecords::new(stores.records.clone())),
        RecordsAt::Redis(_) | RecordsAt::Dynamo(_) => None,
    };
    let (folder, store) = (places.tasks.clone(), stores.identity.clone());
    Ok(ProcessOptions { folder, store, program, args, env, cwd, hints, reports })
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Wake-ups from the records, where they have a feed, and from ended tasks.
struct AllHints {
    records: Option<Box<dyn Hints>>,
    tasks: ChannelHints,
    /// Keeps `tasks` open where the task runtime sends nothing.
    _open: HintSender,
}

#[async_trait]
impl Hints for AllHints {
    async fn next(&mut self) -> Result<Vec<Hint>, HintsError> {
        let Some(records) = &mut self.records else { return self.tasks.next().await };
        // The suite of hints checks that a wait that is given up loses nothing.
        tokio::select! {
            hints = records.next() => hints,
            hints = self.tasks.next() => hints,
        }
    }
}
