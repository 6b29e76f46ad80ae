//! One machine: the parts of a reconciler, put together from the settings. `agent-runner` and the reconciler's
//! own program share it; they differ in the program that is started for an attempt.

use crate::tasks::Tasks;
use crate::tasks::process::{ProcessError, ProcessOptions, ProcessTasks};
use crate::{BoxedHints, Parts};
use async_trait::async_trait;
use backends::records::ReconcilerRecords;
use backends::settings::{ArtifactsAt, JobTypesAt, Layers, RecordsAt, Settings};
use backends::sqlite::{Access, Interest, SqliteLease, SqliteOptions, SqliteRecords};
use backends::{
    ArtifactsError, ChannelHints, DirArtifacts, Hint, HintSender, Hints, HintsError, Lease, RecordsError,
    SystemClock, SystemRandom,
};
use contract::JobTypes;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why the parts could not be put together.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// The job-types file is not acceptable.
    #[error("{}: {message}", .file.display())]
    JobTypes {
        /// Which file.
        file: PathBuf,
        /// Every error, a line each.
        message: String,
    },
    /// A folder cannot be made, or a path is not usable.
    #[error("{}: {error}", .path.display())]
    Path {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The records cannot be opened.
    #[error("{}: {error}", .path.display())]
    Records {
        /// Where.
        path: PathBuf,
        /// Why.
        error: RecordsError,
    },
    /// The artifacts cannot be opened.
    #[error("{}: {error}", .path.display())]
    Artifacts {
        /// Where.
        path: PathBuf,
        /// Why.
        error: ArtifactsError,
    },
    /// The folder of tasks cannot be used.
    #[error("{0}")]
    Tasks(#[from] ProcessError),
    /// The working directory is gone.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Where things are, absolute.
#[derive(Debug, Clone)]
pub struct Places {
    /// The SQLite file.
    pub records: PathBuf,
    /// The folder of artifacts.
    pub artifacts: PathBuf,
    /// The folder of tasks.
    pub tasks: PathBuf,
    /// The job-types file, if there is one.
    pub job_types: Option<PathBuf>,
}

impl Places {
    fn of(settings: &Settings) -> Result<Self, LocalError> {
        let absolute = |path: &Path| {
            std::path::absolute(path).map_err(|error| LocalError::Path { path: path.to_owned(), error })
        };
        let RecordsAt::Sqlite(records) = &settings.records;
        let ArtifactsAt::Dir(artifacts) = &settings.artifacts;
        let job_types = match &settings.job_types {
            JobTypesAt::BuiltIn => None,
            JobTypesAt::File(file) => Some(absolute(file)?),
        };
        Ok(Self {
            records: absolute(records)?,
            artifacts: absolute(artifacts)?,
            tasks: absolute(&settings.tasks_dir)?,
            job_types,
        })
    }
}

/// The parts of one machine.
pub struct Local {
    /// Where things are.
    pub places: Places,
    /// What the reconciler works with.
    pub parts: Parts,
    /// Wake-ups from the records and from ended tasks.
    pub hints: BoxedHints,
    /// The store itself, for an API in the same process.
    pub records: Arc<SqliteRecords>,
}

impl Local {
    /// Opens the stores. `program` with `args` is started for each attempt. To be called within a tokio
    /// runtime.
    ///
    /// # Errors
    /// [`LocalError`].
    pub fn open(
        settings: &Settings,
        layers: &Layers,
        program: PathBuf,
        args: Vec<OsString>,
    ) -> Result<Self, LocalError> {
        let places = Places::of(settings)?;
        let job_types = Arc::new(read_job_types(places.job_types.as_deref())?);
        let records = open_records(settings, &places)?;
        let artifacts = DirArtifacts::open(&places.artifacts, settings.durability)
            .map_err(|error| LocalError::Artifacts { path: places.artifacts.clone(), error })?;
        let (task_ended, task_hints) = ChannelHints::new();
        let options = process_options(settings, layers, &places, (program, args), task_ended)?;
        let tasks: Arc<dyn Tasks> = Arc::new(ProcessTasks::new(options)?);
        let lease: Arc<dyn Lease> = Arc::new(SqliteLease::open(&places.records));
        let parts = Parts {
            records: ReconcilerRecords::new(records.clone()),
            artifacts: Arc::new(artifacts),
            tasks,
            lease,
            clock: Arc::new(SystemClock::default()),
            random: Arc::new(SystemRandom),
            job_types,
            policy: plan::Policy::default(),
            max_concurrent_tasks: settings.max_concurrent_tasks.get(),
            resync_interval: settings.resync,
            holder: format!("pid {} on {}", std::process::id(), host_name()),
        };
        let hints = BothHints { records: records.subscribe(Interest::Reconcile), tasks: task_hints };
        Ok(Self { places, parts, hints: Box::new(hints), records })
    }
}

fn open_records(settings: &Settings, places: &Places) -> Result<Arc<SqliteRecords>, LocalError> {
    let path = places.records.clone();
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .map_err(|error| LocalError::Path { path: folder.to_owned(), error })?;
    }
    let options = SqliteOptions { durability: settings.durability, access: Access::Orchestrator };
    SqliteRecords::open(&path, options).map_err(|error| LocalError::Records { path, error })
}

fn read_job_types(file: Option<&Path>) -> Result<JobTypes, LocalError> {
    let Some(file) = file else { return Ok(JobTypes::default()) };
    let text =
        std::fs::read_to_string(file).map_err(|error| LocalError::Path { path: file.to_owned(), error })?;
    JobTypes::parse(&text).map_err(|invalid| {
        let errors: Vec<String> = invalid.errors.iter().map(|e| format!("\n  {e}")).collect();
        LocalError::JobTypes { file: file.to_owned(), message: errors.concat() }
    })
}

fn process_options(
    settings: &Settings,
    layers: &Layers,
    places: &Places,
    (program, args): (PathBuf, Vec<OsString>),
    hints: HintSender,
) -> Result<ProcessOptions, LocalError> {
    let store = |scheme: &str, path: &Path| {
        let mut text = OsString::from(scheme);
        text.push(path);
        text
    };
    let mut env: Vec<(OsString, OsString)> =
        layers.for_workers().map(|(name, value)| (name.into(), value.into())).collect();
    env.push(("AGENT_RUNNER_RECORDS".into(), store("sqlite:", &places.records)));
    env.push(("AGENT_RUNNER_ARTIFACTS".into(), store("file:", &places.artifacts)));
    env.push(("AGENT_RUNNER_DURABILITY".into(), settings.durability.as_str().into()));
    let cwd = match places.job_types.as_deref().and_then(Path::parent) {
        Some(folder) => folder.to_owned(),
        None => std::env::current_dir()?,
    };
    Ok(ProcessOptions { folder: places.tasks.clone(), program, args, env, cwd, hints })
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Wake-ups from the records and from ended tasks.
struct BothHints {
    records: ChannelHints,
    tasks: ChannelHints,
}

#[async_trait]
impl Hints for BothHints {
    async fn next(&mut self) -> Result<Vec<Hint>, HintsError> {
        // Both are channels: dropping the future of one that has nothing loses nothing.
        tokio::select! {
            hints = self.records.next() => hints,
            hints = self.tasks.next() => hints,
        }
    }
}
