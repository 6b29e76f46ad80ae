//! The pump as a program.
//!
//! `pump --endpoint http://127.0.0.1:4566 --queue <queue url> --source <table>=<file of filters>… [--lose-one-in
//! <n>] [--copies <n>] [--shuffle] [--seed <n>]`; the template lies beside the filters, as `.template`.
//!
//! It ends at SIGTERM or SIGINT and prints what it did as one line of JSON.

use signal_hook::consts::{SIGINT, SIGTERM};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use testbed::pump::{Pattern, Pump, PumpOptions, Source, Treatment};

type Failed = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            testbed::say(&format!("pump: {e}"));
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Failed> {
    let options = read(std::env::args().skip(1))?;
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    let pump = Pump::start(options);
    signals.forever().next();
    let pumped = pump.pumped();
    let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let line = serde_json::json!({
        "read": read(&pumped.read), "filtered": read(&pumped.filtered), "lost": read(&pumped.lost),
        "sent": read(&pumped.sent), "failed": read(&pumped.failed),
    });
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
}

fn read(mut arguments: impl Iterator<Item = String>) -> Result<PumpOptions, Failed> {
    let (mut endpoint, mut queue_url, mut sources) = (None, None, Vec::new());
    let mut treatment = Treatment::default();
    while let Some(name) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{name} needs a value"));
        match name.as_str() {
            "--endpoint" => endpoint = Some(value()?),
            "--queue" => queue_url = Some(value()?),
            "--source" => {
                let value = value()?;
                let (table, file) = value.split_once('=').ok_or("--source needs <table>=<file>")?;
                let filters = Pattern::list(&std::fs::read_to_string(file)?)?;
                let template = std::fs::read_to_string(Path::new(file).with_extension("template"))?;
                sources.push(Source { table: table.to_owned(), filters, template });
            }
            "--lose-one-in" => treatment.lose_one_in = value()?.parse()?,
            "--copies" => treatment.copies = value()?.parse()?,
            "--shuffle" => treatment.shuffle = true,
            "--seed" => treatment.seed = value()?.parse()?,
            other => return Err(format!("{other} is not an option").into()),
        }
    }
    let endpoint = endpoint.ok_or("--endpoint is missing")?;
    let queue_url = queue_url.ok_or("--queue is missing")?;
    Ok(PumpOptions { endpoint, queue_url, sources, treatment })
}
