//! The parts of an orchestrator on this machine, put together from the settings: what `up` serves on a port
//! and `run` uses without one.

use api::{App, Changes, Limits};
use backends::records::ApiRecords;
use backends::settings::{Layers, LogFormat, Settings};
use backends::sqlite::Interest;
use backends::{ChannelHints, Lease, LeaseError};
use prometheus::Registry;
use reconciler::local::{Local, LocalError, Places};
use std::future::Future;
use std::io;
use std::sync::Arc;

/// Why the parts could not be put together.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NodeError {
    /// The stores, the folders or the job types.
    #[error("{0}")]
    Local(#[from] LocalError),
    /// The lease.
    #[error("{0}")]
    Lease(#[from] LeaseError),
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
    status: ChannelHints,
}

impl Node {
    /// Opens the stores. To be called within a tokio runtime.
    pub(crate) fn open(settings: &Settings, layers: &Layers) -> Result<Self, NodeError> {
        let args = vec![crate::WORKER.into()];
        let Local { places, parts, hints, records } =
            Local::open(settings, layers, std::env::current_exe()?, args)?;
        let (api_registry, reconciler_registry) = (Registry::new(), Registry::new());
        let changes = Arc::new(Changes::default());
        let background = Background {
            parts: parts.clone(),
            hints,
            metrics: reconciler::Metrics::new(&reconciler_registry)?,
            changes: changes.clone(),
            status: records.subscribe(Interest::Status),
        };
        let store = format!("sqlite:{}", places.records.display());
        let app = App {
            records: ApiRecords::new(records),
            artifacts: parts.artifacts,
            job_types: parts.job_types,
            supports: parts.tasks.supports(),
            lease: parts.lease.clone(),
            clock: parts.clock,
            store,
            metrics: api::Metrics::new(&api_registry)?,
            registries: vec![api_registry, reconciler_registry],
            changes,
            limits: Limits::default(),
        };
        Ok(Self { places, app, lease: parts.lease, holder: parts.holder, background })
    }

    /// Starts the reconciler and what wakes long polls; both end after `shutdown`.
    pub(crate) fn start(
        self,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> (App, tokio::task::JoinHandle<()>) {
        let Background { parts, hints, metrics, changes, status } = self.background;
        tokio::spawn(changes.follow(status));
        let running = tokio::spawn(reconciler::run(parts, hints, metrics, shutdown));
        (self.app, running)
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
