//! `agent-runner-api`: the API in a process of its own, beside a reconciler that works on the same records.
//!
//! Settings come from the environment and `.env`. Exit codes: 0 after Ctrl-C or SIGTERM, 1 when a store or
//! the port cannot be opened, 2 when settings or the job-types file are not acceptable.

use api::{App, Changes, Limits, Metrics};
use backends::records::ApiRecords;
use backends::settings::{ArtifactsAt, JobTypesAt, Layers, LogFormat, Machine, RecordsAt, Settings, TasksBy};
use backends::{Access, DirArtifacts, SqliteLease, SqliteOptions, SqliteRecords, SystemClock};
use contract::{JobTypes, Supports};
use std::error::Error;
use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let checked = settings().and_then(|settings| Ok((job_types(&settings)?, settings)));
    let (job_types, settings) = match checked {
        Ok(checked) => checked,
        Err(e) => return refused(&*e, 2),
    };
    log(&settings);
    match run(&settings, job_types) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => refused(&*e, 1),
    }
}

fn refused(e: &dyn Error, code: u8) -> ExitCode {
    eprintln!("agent-runner-api: {e}");
    ExitCode::from(code)
}

fn settings() -> Result<Settings, Box<dyn Error>> {
    let layers = Layers::of_process([], Path::new(""))?;
    for warning in layers.unknown() {
        eprintln!("agent-runner-api: {warning}");
    }
    Ok(Settings::read(|name| layers.get(name), Machine::this())?)
}

fn job_types(settings: &Settings) -> Result<JobTypes, Box<dyn Error>> {
    let JobTypesAt::File(file) = &settings.job_types else { return Ok(JobTypes::default()) };
    let shown = file.display();
    let text = std::fs::read_to_string(file).map_err(|e| format!("{shown}: {e}"))?;
    JobTypes::parse(&text).map_err(|e| format!("{shown}: {e}").into())
}

fn log(settings: &Settings) {
    use tracing_subscriber::filter::{LevelFilter, Targets};
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::util::SubscriberInitExt;
    use tracing_subscriber::{Layer, fmt};
    let filter = settings.log.parse().unwrap_or_else(|_| Targets::new().with_default(LevelFilter::INFO));
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let layer = fmt::layer().with_writer(std::io::stderr).with_ansi(colours);
    let layer = match settings.log_format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(layer.with_filter(filter)).init();
}

#[tokio::main]
async fn run(settings: &Settings, job_types: JobTypes) -> Result<(), Box<dyn Error>> {
    let address = settings.listen;
    let listener = TcpListener::bind(address).await.map_err(|e| format!("{address}: {e}"))?;
    let app = app(settings, job_types)?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tracing::info!(address = %listener.local_addr()?, store = app.store, "listening");
    api::serve(listener, app, async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!("ending");
    })
    .await;
    Ok(())
}

fn app(settings: &Settings, job_types: JobTypes) -> Result<App, Box<dyn Error>> {
    let RecordsAt::Sqlite(path) = &settings.records;
    let ArtifactsAt::Dir(root) = &settings.artifacts;
    let options = SqliteOptions { durability: settings.durability, access: Access::Orchestrator };
    let records = SqliteRecords::open(path, options).map_err(|e| format!("{}: {e}", path.display()))?;
    let artifacts = DirArtifacts::open(root, settings.durability);
    let supports = match settings.tasks {
        TasksBy::Process => Supports { spot: false, cost: false },
    };
    let registry = prometheus::Registry::new();
    Ok(App {
        records: ApiRecords::new(records),
        artifacts: Arc::new(artifacts.map_err(|e| format!("{}: {e}", root.display()))?),
        job_types: Arc::new(job_types),
        supports,
        lease: Arc::new(SqliteLease::open(path)),
        clock: Arc::new(SystemClock::default()),
        store: format!("sqlite:{}", path.display()),
        metrics: Metrics::new(&registry)?,
        registries: vec![registry],
        // Nobody feeds it: statuses are written by another process, so long polls read again each second.
        changes: Arc::new(Changes::default()),
        limits: Limits::default(),
    })
}
