//! `agent-runner-reconciler`: the loop in a process of its own, beside an API that writes the same records.
//!
//! Settings come from the environment and `.env`. For each attempt it starts `agent-runner-worker`, which stands
//! beside it. `--dry-run` prints what would be decided about every active job, does nothing, and ends.
//! Exit codes: 0 after Ctrl-C or SIGTERM, 1 when a store or the port cannot be opened, 2 when settings, the
//! job-types file or the arguments are not acceptable.

use backends::settings::{Layers, Machine, Settings, TasksBy};
use reconciler::Metrics;
use reconciler::assembly::{Assembly, AssemblyError, WorkerProgram};
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

const USAGE: &str = "usage: agent-runner-reconciler [--dry-run | healthcheck]

Makes tasks agree with job records. Settings are AGENT_RUNNER_* variables (docs/configuration.md).

  --dry-run     print what would be decided about every active job, and do nothing
  healthcheck   asks the reconciler that listens on AGENT_RUNNER_METRICS_LISTEN whether it is ready
  --help        this text
  --version     the version";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let dry_run = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => false,
        ["--dry-run"] => true,
        ["healthcheck"] => return healthcheck(),
        ["--help" | "-h"] => return say(USAGE),
        ["--version" | "-V"] => return say(concat!("agent-runner-reconciler ", env!("CARGO_PKG_VERSION"))),
        _ => return refused(&format!("{arguments:?} is not understood\n{USAGE}"), 2),
    };
    let (settings, layers) = match settings() {
        Ok(read) => read,
        Err(e) => return refused(&e.to_string(), 2),
    };
    backends::log::of_server(&settings);
    match run(&settings, &layers, dry_run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) if matches!(e.downcast_ref(), Some(AssemblyError::JobTypes(_))) => refused(&e.to_string(), 2),
        Err(e) => refused(&e.to_string(), 1),
    }
}

fn healthcheck() -> ExitCode {
    match settings() {
        Err(e) => refused(&e.to_string(), 2),
        Ok((settings, _)) => match backends::healthcheck::ask(settings.metrics_listen, "/readyz") {
            Ok(()) => ExitCode::SUCCESS,
            Err(e) => refused(&e, 1),
        },
    }
}

fn say(text: &str) -> ExitCode {
    use std::io::Write;
    // Nobody may be listening any more.
    let _ = writeln!(std::io::stdout(), "{text}");
    ExitCode::SUCCESS
}

fn refused(message: &str, code: u8) -> ExitCode {
    eprintln!("agent-runner-reconciler: {message}");
    ExitCode::from(code)
}

fn settings() -> Result<(Settings, Layers), Box<dyn Error>> {
    let layers = Layers::of_process([], Path::new(""))?;
    for warning in layers.unknown() {
        eprintln!("agent-runner-reconciler: {warning}");
    }
    let settings = Settings::read(|name| layers.get(name), Machine::this())?;
    Ok((settings, layers))
}

/// The worker's program stands beside this one. It is needed where tasks are processes.
fn worker(settings: &Settings) -> Result<WorkerProgram, Box<dyn Error>> {
    let program = std::env::current_exe()?.with_file_name("agent-runner-worker");
    if settings.tasks == TasksBy::Process && !program.is_file() {
        return Err(format!("{} is not there; it has to stand beside this program", program.display()).into());
    }
    Ok(WorkerProgram { program, args: Vec::new() })
}

#[tokio::main(worker_threads = 2)]
async fn run(settings: &Settings, layers: &Layers, dry_run: bool) -> Result<(), Box<dyn Error>> {
    let assembly = Assembly::open(settings, layers, worker(settings)?).await?;
    if dry_run {
        let lines = reconciler::dry_run(assembly.parts).await?;
        say(lines.trim_end());
        return Ok(());
    }
    let registry = prometheus::Registry::new();
    let metrics = Metrics::new(&registry)?;
    let address = settings.metrics_listen;
    let listener = TcpListener::bind(address).await.map_err(|e| format!("{address}: {e}"))?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let (end, ended) = watch::channel(false);
    let wait = |mut ended: watch::Receiver<bool>| async move {
        // An error means that the sender is gone, which is the end as well.
        let _ = ended.wait_for(|ended| *ended).await;
    };
    tracing::info!(metrics = %listener.local_addr()?, records = %assembly.stores.records_at, "up");
    let tasks = assembly.parts.tasks.clone();
    let served = tokio::spawn(reconciler::serve::serve(listener, registry, tasks, wait(ended.clone())));
    let looped = tokio::spawn(reconciler::run(assembly.parts, assembly.hints, metrics, wait(ended)));
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    tracing::info!("ending; workers live on and are taken over at the next start");
    end.send_replace(true);
    looped.await?;
    served.abort();
    Ok(())
}
