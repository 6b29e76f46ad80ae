//! `bench --agent-runner <program> [--rounds 5] [--short] [--only part]... [--out target/bench/main-job.json]`

use std::path::PathBuf;
use std::process::ExitCode;
use testbed::bench::{Failed, Options, run};

fn main() -> ExitCode {
    match options().and_then(|options| run(&options).map(|table| (options, table))) {
        Ok((options, table)) => {
            // The table is what the program is for.
            #[allow(clippy::print_stdout)]
            {
                print!("{table}");
            }
            eprintln!("written to {}", options.out.display());
            ExitCode::SUCCESS
        }
        Err(failed) => {
            eprintln!("bench: {failed}");
            ExitCode::FAILURE
        }
    }
}

fn options() -> Result<Options, Failed> {
    let mut options = Options {
        agent_runner: PathBuf::new(),
        out: "target/bench/main-job.json".into(),
        rounds: 5,
        short: false,
        only: Vec::new(),
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| Failed::new(format!("{arg} needs a value")));
        match arg.as_str() {
            "--agent-runner" => options.agent_runner = value()?.into(),
            "--out" => options.out = value()?.into(),
            "--rounds" => options.rounds = value()?.parse()?,
            "--only" => options.only.push(value()?),
            "--short" => options.short = true,
            _ => return Err(Failed::new(format!("unknown argument {arg}"))),
        }
    }
    if options.agent_runner.as_os_str().is_empty() || options.rounds == 0 {
        return Err(Failed::new("--agent-runner <program> is needed, and one round at least"));
    }
    Ok(options)
}
