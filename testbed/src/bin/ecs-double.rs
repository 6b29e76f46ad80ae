//! The double of ECS as a program.
//!
//! `ecs-double --listen 127.0.0.1:0 [--worker <executable>] [--arg <argument>]… [--env NAME=VALUE]… [--log
//! <file>] [--cluster <name>]… [--definition <file>]… [--time-scale <n>] [--sqs <endpoint> <queue url>]
//! [--vcpus <n>] [--no-quotas] [--no-phases] [--no-lag] [--lasts <seconds>]`
//!
//! It prints one line of JSON, `{"address": "127.0.0.1:…", "url": "http://…"}`, and ends at SIGTERM or
//! SIGINT, its workers killed. Without `--worker` tasks are simulated and last `--lasts` seconds.

use signal_hook::consts::{SIGINT, SIGTERM};
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;
use testbed::ecs::{EcsDouble, Execution, Lag, Options, Phases, Quotas, Sink, Worker};

type Failed = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            testbed::say(&format!("ecs-double: {e}"));
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Failed> {
    let options = read(std::env::args().skip(1))?;
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    let double = EcsDouble::start(options)?;
    let line = serde_json::json!({"address": double.address().to_string(), "url": double.url()});
    writeln!(std::io::stdout(), "{line}")?;
    std::io::stdout().flush()?;
    signals.forever().next();
    drop(double);
    Ok(())
}

fn read(mut arguments: impl Iterator<Item = String>) -> Result<Options, Failed> {
    let mut options = Options::default();
    let mut worker = Worker::default();
    let mut clusters = Vec::new();
    while let Some(name) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{name} needs a value"));
        match name.as_str() {
            "--listen" => options.listen = value()?.parse()?,
            "--worker" => worker.command.insert(0, value()?),
            "--arg" => worker.command.push(value()?),
            "--env" => {
                let pair = value()?;
                let (name, value) = pair.split_once('=').ok_or("--env needs NAME=VALUE")?;
                worker.env.push((name.to_owned(), value.to_owned()));
            }
            "--log" => worker.log = Some(value()?.into()),
            "--cluster" => clusters.push(value()?),
            "--definition" => options.definitions.push(serde_json::from_slice(&std::fs::read(value()?)?)?),
            "--time-scale" => options.time_scale = value()?.parse()?,
            "--sqs" => options.sinks.push(Sink::Sqs { endpoint: value()?, queue_url: value()? }),
            "--vcpus" => {
                let vcpus = Some(value()?.parse()?);
                (options.quotas.vcpus, options.quotas.spot_vcpus) = (vcpus, vcpus);
            }
            "--no-quotas" => options.quotas = Quotas::none(),
            "--no-lag" => options.lag = Lag { list: Duration::ZERO, describe: Duration::ZERO },
            "--no-phases" => options.phases = Phases::none(),
            "--lasts" => {
                let lasts = Duration::try_from_secs_f64(value()?.parse()?)?;
                options.execution = Execution::Simulated { lasts, exit_code: 0 };
            }
            other => return Err(format!("unknown argument {other}").into()),
        }
    }
    if !worker.command.is_empty() {
        options.execution = Execution::Process(worker);
    }
    if !clusters.is_empty() {
        options.clusters = clusters;
    }
    Ok(options)
}
