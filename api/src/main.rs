//! `agent-runner-api`: the API in a process of its own, beside a reconciler that works on the same records.
//!
//! Settings come from the environment and `.env`. `healthcheck` asks the one that runs here. Exit codes: 0 after
//! Ctrl-C or SIGTERM, 1 when a store or the port cannot be opened, 2 when settings or the job-types file are not
//! acceptable.

use api::{Access, App, Changes, Limits, Metrics};
use backends::records::ApiRecords;
use backends::settings::{Layers, Machine, Settings, TasksBy};
use backends::stores::Stores;
use backends::{Interest, SystemClock};
use contract::{JobTypes, Supports};
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str = "usage: agent-runner-api [healthcheck [--live]]

Serves the HTTP API. Settings are AGENT_RUNNER_* variables (docs/configuration.md).

  healthcheck   asks the API that listens on AGENT_RUNNER_LISTEN whether it is ready
  --live        asks only whether it answers, for whoever would replace it because its store is away
  --help        this text
  --version     the version";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => {}
        ["healthcheck"] => return healthcheck("/readyz"),
        ["healthcheck", "--live"] => return healthcheck("/livez"),
        ["--help" | "-h"] => return say(USAGE),
        ["--version" | "-V"] => return say(concat!("agent-runner-api ", env!("CARGO_PKG_VERSION"))),
        _ => return refused(format!("{arguments:?} is not understood\n{USAGE}").into(), 2),
    }
    let checked = settings().and_then(|settings| Ok((settings.job_types.read()?, settings)));
    let (job_types, settings) = match checked {
        Ok(checked) => checked,
        Err(e) => return refused(e, 2),
    };
    backends::log::of_server(&settings);
    match run(&settings, job_types) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => refused(e, 1),
    }
}

fn say(text: &str) -> ExitCode {
    use std::io::Write;
    // Nobody may be listening any more.
    let _ = writeln!(std::io::stdout(), "{text}");
    ExitCode::SUCCESS
}

fn healthcheck(path: &str) -> ExitCode {
    match settings() {
        Err(e) => refused(e, 2),
        Ok(settings) => match backends::healthcheck::ask(settings.listen, path) {
            Ok(()) => ExitCode::SUCCESS,
            Err(e) => refused(e.into(), 1),
        },
    }
}

fn refused(e: Box<dyn Error>, code: u8) -> ExitCode {
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

#[tokio::main]
async fn run(settings: &Settings, job_types: JobTypes) -> Result<(), Box<dyn Error>> {
    let address = settings.listen;
    let listener = TcpListener::bind(address).await.map_err(|e| format!("{address}: {e}"))?;
    let stores = Stores::open(settings).await?;
    let app = app(settings, job_types, &stores)?;
    if let Some(statuses) = stores.feed.subscribe(Interest::Status).await? {
        tokio::spawn(app.changes.clone().follow(statuses));
    }
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

fn app(settings: &Settings, job_types: JobTypes, stores: &Stores) -> Result<App, Box<dyn Error>> {
    let supports = match settings.tasks {
        TasksBy::Process | TasksBy::Pool => Supports { spot: false, cost: false },
        TasksBy::Ecs(_) => Supports { spot: true, cost: true },
    };
    let registry = prometheus::Registry::new();
    Ok(App {
        records: ApiRecords::new(stores.records.clone()),
        artifacts: stores.artifacts.clone(),
        job_types: Arc::new(job_types),
        supports,
        lease: stores.lease.clone(),
        clock: Arc::new(SystemClock::default()),
        store: stores.records_at.to_string(),
        metrics: Metrics::new(&registry)?,
        registries: vec![registry],
        // SQLite tells only of this process's statuses, and others write them here: long polls read again each
        // second where nothing wakes them.
        changes: Arc::new(Changes::default()),
        access: Access::open(&settings.access)?,
        limits: Limits::default(),
    })
}
