//! The parts of an orchestrator on this machine, put together from the settings: what `up` serves on a port
//! and `run` uses without one.

use api::{Access, App, Changes, Limits, TokensError};
use backends::records::ApiRecords;
use backends::settings::{Layers, Settings};
use backends::stores::Stores;
use backends::{Hints, HintsError, Interest, Lease};
use prometheus::Registry;
use reconciler::assembly::{Assembly, AssemblyError, Places, WorkerProgram};
use std::future::Future;
use std::io;
use std::sync::Arc;

/// Why the parts could not be put together.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NodeError {
    /// The stores, the folders or the job types.
    #[error("{0}")]
    Assembly(#[from] AssemblyError),
    /// The feed of statuses.
    #[error("{0}")]
    Hints(#[from] HintsError),
    /// The file of tokens.
    #[error("{0}")]
    Tokens(#[from] TokensError),
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

/// The parts.
pub(crate) struct Node {
    pub(crate) places: Places,
    pub(crate) stores: Stores,
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
    hints: reconciler::BoxedHints,
    metrics: reconciler::Metrics,
    changes: Arc<Changes>,
    status: Option<Box<dyn Hints>>,
}

impl Node {
    /// Opens the stores. To be called within a tokio runtime.
    pub(crate) async fn open(settings: &Settings, layers: &Layers) -> Result<Self, NodeError> {
        let worker = WorkerProgram { program: std::env::current_exe()?, args: vec![crate::WORKER.into()] };
        let Assembly { places, parts, hints, stores } = Assembly::open(settings, layers, worker).await?;
        let (api_registry, reconciler_registry) = (Registry::new(), Registry::new());
        let changes = Arc::new(Changes::default());
        let background = Background {
            parts: parts.clone(),
            hints,
            metrics: reconciler::Metrics::new(&reconciler_registry)?,
            changes: changes.clone(),
            status: stores.feed.subscribe(Interest::Status).await?,
        };
        let app = App {
            records: ApiRecords::new(stores.records.clone()),
            artifacts: parts.artifacts,
            job_types: parts.job_types,
            supports: parts.tasks.supports(),
            lease: parts.lease.clone(),
            clock: parts.clock,
            store: stores.records_at.to_string(),
            metrics: api::Metrics::new(&api_registry)?,
            registries: vec![api_registry, reconciler_registry],
            changes,
            access: Access::open(&settings.access)?,
            limits: Limits::default(),
        };
        Ok(Self { places, stores, app, lease: parts.lease, holder: parts.holder, background })
    }

    /// Starts the reconciler and what wakes long polls; both end after `shutdown`.
    pub(crate) fn start(
        self,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> (App, tokio::task::JoinHandle<()>) {
        let Background { parts, hints, metrics, changes, status } = self.background;
        if let Some(status) = status {
            tokio::spawn(changes.follow(status));
        }
        let running = tokio::spawn(reconciler::run(parts, hints, metrics, shutdown));
        (self.app, running)
    }
}

/// Sets the log up; `quiet` shows warnings only where nobody said otherwise.
pub(crate) fn log(settings: &Settings, layers: &Layers, quiet: bool) {
    let filter = if quiet && layers.find("AGENT_RUNNER_LOG").is_none() { "warn" } else { &settings.log };
    backends::log::init(filter, settings.log_format, crate::output::stderr_colours());
}

/// A place without the scheme of what is always one kind here: a file or a folder.
pub(crate) fn shown(place: &impl std::fmt::Display) -> String {
    let text = place.to_string();
    text.split_once(':').map_or(text.clone(), |(_, path)| path.to_owned())
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

/// Done at the next Ctrl-C or SIGTERM, with the number of the signal. Neither ends the program by itself any
/// more once this was called. To be called within a tokio runtime.
pub(crate) fn interruption() -> io::Result<impl Future<Output = i32>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        let kind = tokio::select! {
            _ = interrupt.recv() => SignalKind::interrupt(),
            _ = terminate.recv() => SignalKind::terminate(),
        };
        kind.as_raw_value()
    })
}
