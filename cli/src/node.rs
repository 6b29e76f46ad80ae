//! The parts of an orchestrator on this machine, put together from the settings: what `up` serves on a port
//! and `run` uses without one.

use api::{App, Changes, Limits};
use async_trait::async_trait;
use backends::records::{ApiRecords, ReconcilerRecords};
use backends::settings::{ArtifactsAt, JobTypesAt, Layers, LogFormat, RecordsAt, Settings};
use backends::sqlite::{Access, Interest, SqliteLease, SqliteOptions, SqliteRecords};
use backends::{
    Artifacts, ArtifactsError, ChannelHints, Clock, DirArtifacts, Hint, Hints, HintsError, Lease, LeaseError,
    RecordsError, SystemClock,
};
use contract::JobTypes;
use prometheus::Registry;
use reconciler::tasks::Tasks;
use reconciler::tasks::process::{ProcessError, ProcessOptions, ProcessTasks};
use std::ffi::OsString;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why the parts could not be put together.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NodeError {
    /// The job-types file is not acceptable.
    #[error("{}: {message}", .file.display())]
    JobTypes { file: PathBuf, message: String },
    /// A folder cannot be made or a path is not usable.
    #[error("{}: {error}", .path.display())]
    Path { path: PathBuf, error: io::Error },
    /// The records.
    #[error("{}: {error}", .path.display())]
    Records { path: PathBuf, error: RecordsError },
    /// The artifacts.
    #[error("{}: {error}", .path.display())]
    Artifacts { path: PathBuf, error: ArtifactsError },
    /// The lease.
    #[error("{0}")]
    Lease(#[from] LeaseError),
    /// The tasks.
    #[error("{0}")]
    Tasks(#[from] ProcessError),
    /// The metrics.
    #[error("{0}")]
    Metrics(#[from] prometheus::Error),
    /// The runtime, or this program's own path.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The port is taken.
    #[error("{address} is in use by {}\nchoose another address with --listen, or end what listens there",
        if *.ours { "an agent-runner that is up already; `agent-runner get` talks to it" } else { "another program" })]
    AddressInUse { address: std::net::SocketAddr, ours: bool },
    /// The port cannot be listened on.
    #[error("cannot listen on {address}: {error}\nchoose another address with --listen")]
    Listen { address: std::net::SocketAddr, error: io::Error },
}

/// Where things are, absolute.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// The SQLite file.
    pub(crate) records: PathBuf,
    /// The folder of artifacts.
    pub(crate) artifacts: PathBuf,
    /// The folder of tasks.
    pub(crate) tasks: PathBuf,
    /// The job-types file, if there is one.
    pub(crate) job_types: Option<PathBuf>,
}

impl Places {
    fn of(settings: &Settings) -> Result<Self, NodeError> {
        let absolute = |path: &Path| {
            std::path::absolute(path).map_err(|error| NodeError::Path { path: path.to_owned(), error })
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

/// The parts.
pub(crate) struct Node {
    pub(crate) places: Places,
    /// What the API serves.
    pub(crate) app: App,
    /// Whether this process leads, and who does.
    pub(crate) lease: Arc<dyn Lease>,
    /// How this process is called in the lease.
    pub(crate) holder: String,
    /// What the background work needs.
    background: Background,
}

struct Background {
    parts: reconciler::Parts,
    hints: BothHints,
    metrics: reconciler::Metrics,
    changes: Arc<Changes>,
    status: ChannelHints,
}

impl Node {
    /// Opens the stores. To be called within a tokio runtime.
    pub(crate) fn open(settings: &Settings, layers: &Layers) -> Result<Self, NodeError> {
        let places = Places::of(settings)?;
        let job_types = Arc::new(read_job_types(places.job_types.as_deref())?);
        let records = open_records(settings, &places)?;
        let artifacts: Arc<dyn Artifacts> = Arc::new(
            DirArtifacts::open(&places.artifacts, settings.durability)
                .map_err(|error| NodeError::Artifacts { path: places.artifacts.clone(), error })?,
        );
        let (task_ended, tasks_hints) = ChannelHints::new();
        let tasks = ProcessTasks::new(process_options(settings, layers, &places, task_ended)?)?;
        let supports = tasks.supports();
        let lease: Arc<dyn Lease> = Arc::new(SqliteLease::open(&places.records));
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let (api_registry, reconciler_registry) = (Registry::new(), Registry::new());
        let changes = Arc::new(Changes::default());
        let holder = format!("pid {} on {}", std::process::id(), host_name());
        let background = Background {
            parts: reconciler::Parts {
                records: ReconcilerRecords::new(records.clone()),
                artifacts: artifacts.clone(),
                tasks: Arc::new(tasks),
                lease: lease.clone(),
                clock: clock.clone(),
                job_types: job_types.clone(),
                policy: plan::Policy::default(),
                max_concurrent_tasks: settings.max_concurrent_tasks.get(),
                resync_interval: settings.resync,
                holder: holder.clone(),
            },
            hints: BothHints { records: records.subscribe(Interest::Reconcile), tasks: tasks_hints },
            metrics: reconciler::Metrics::new(&reconciler_registry)?,
            changes: changes.clone(),
            status: records.subscribe(Interest::Status),
        };
        let app = App {
            records: ApiRecords::new(records),
            artifacts,
            job_types,
            supports,
            lease: lease.clone(),
            clock,
            store: format!("sqlite:{}", places.records.display()),
            metrics: api::Metrics::new(&api_registry)?,
            registries: vec![api_registry, reconciler_registry],
            changes,
            limits: Limits::default(),
        };
        Ok(Self { places, app, lease, holder, background })
    }

    /// Starts the reconciler and what wakes long polls; both end after `shutdown`.
    pub(crate) fn start(
        self,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> (App, tokio::task::JoinHandle<()>) {
        let Background { parts, hints, metrics, changes, status } = self.background;
        tokio::spawn(changes.follow(status));
        let running = tokio::spawn(reconciler::run(parts, Box::new(hints), metrics, shutdown));
        (self.app, running)
    }
}

fn open_records(settings: &Settings, places: &Places) -> Result<Arc<SqliteRecords>, NodeError> {
    let path = places.records.clone();
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .map_err(|error| NodeError::Path { path: folder.to_owned(), error })?;
    }
    let options = SqliteOptions { durability: settings.durability, access: Access::Orchestrator };
    SqliteRecords::open(&path, options).map_err(|error| NodeError::Records { path, error })
}

fn read_job_types(file: Option<&Path>) -> Result<JobTypes, NodeError> {
    let Some(file) = file else { return Ok(JobTypes::default()) };
    let text =
        std::fs::read_to_string(file).map_err(|error| NodeError::Path { path: file.to_owned(), error })?;
    JobTypes::parse(&text).map_err(|invalid| {
        let errors: Vec<String> = invalid.errors.iter().map(|e| format!("\n  {e}")).collect();
        NodeError::JobTypes { file: file.to_owned(), message: errors.concat() }
    })
}

fn process_options(
    settings: &Settings,
    layers: &Layers,
    places: &Places,
    hints: backends::HintSender,
) -> Result<ProcessOptions, NodeError> {
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
    Ok(ProcessOptions {
        folder: places.tasks.clone(),
        program: std::env::current_exe()?,
        args: vec![crate::WORKER.into()],
        env,
        cwd,
        hints,
    })
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Wake-ups from the records and from ended tasks. Neither is asked for as long as the other has some, but
/// both are drained whenever they are asked.
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

/// Sets the log up; `quiet` shows warnings only where nobody said otherwise.
pub(crate) fn log(settings: &Settings, layers: &Layers, quiet: bool) {
    use tracing_subscriber::filter::{LevelFilter, Targets};
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::util::SubscriberInitExt;
    use tracing_subscriber::{Layer, fmt};
    let filter = if quiet && layers.find("AGENT_RUNNER_LOG").is_none() { "warn" } else { &settings.log };
    // The settings have checked the syntax.
    let filter: Targets = filter.parse().unwrap_or_else(|_| Targets::new().with_default(LevelFilter::INFO));
    let layer = fmt::layer().with_writer(io::stderr).with_ansi(crate::output::stderr_colours());
    let layer = match settings.log_format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    // Fails only when a log is set up already, which then serves as well.
    let _ = tracing_subscriber::registry().with(layer.with_filter(filter)).try_init();
}

/// A runtime that suits one machine: two threads, because SQLite's own threads and the workers need the
/// cores more.
pub(crate) fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("agent-runner")
        .enable_io()
        .enable_time()
        .build()
}

/// Waits for Ctrl-C or SIGTERM and says which signal it was.
pub(crate) async fn interrupted() -> io::Result<i32> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let kind = tokio::select! {
        _ = interrupt.recv() => SignalKind::interrupt(),
        _ = terminate.recv() => SignalKind::terminate(),
    };
    Ok(kind.as_raw_value())
}
