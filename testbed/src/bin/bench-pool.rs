//! `bench-pool --programs <folder> [--before <folder>] [--rounds 3] [--jobs 1000] [--short]
//! [--fsync always]... [--slots 5]... [--alone] [--out target/bench/pool.json] [--peers target/peers]`

use std::path::PathBuf;
use std::process::ExitCode;
use testbed::bench::Failed;
use testbed::bench::pool::{FSYNC, Options, SLOTS, run};

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
            eprintln!("bench-pool: {failed}");
            ExitCode::FAILURE
        }
    }
}

fn options() -> Result<Options, Failed> {
    let mut options = Options {
        programs: PathBuf::new(),
        before: None,
        out: "target/bench/pool.json".into(),
        peers: std::path::absolute("target/peers")?,
        rounds: 3,
        jobs: 1000,
        samples: 200,
        fsync: Vec::new(),
        slots: Vec::new(),
        alone: false,
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| Failed::new(format!("{arg} needs a value")));
        match arg.as_str() {
            "--programs" => options.programs = std::path::absolute(value()?)?,
            "--before" => options.before = Some(std::path::absolute(value()?)?),
            "--out" => options.out = value()?.into(),
            "--peers" => options.peers = std::path::absolute(value()?)?,
            "--rounds" => options.rounds = value()?.parse()?,
            "--jobs" => options.jobs = value()?.parse()?,
            "--fsync" => {
                let wanted = value()?;
                options.fsync.extend(FSYNC.into_iter().filter(|fsync| *fsync == wanted));
            }
            "--slots" => options.slots.push(value()?.parse()?),
            "--alone" => options.alone = true,
            "--short" => (options.rounds, options.jobs, options.samples) = (1, 40, 10),
            _ => return Err(Failed::new(format!("unknown argument {arg}"))),
        }
    }
    if options.programs.as_os_str().is_empty() || options.rounds == 0 || options.jobs == 0 {
        return Err(Failed::new("--programs <folder> is needed, and one round and one job at least"));
    }
    if options.fsync.is_empty() {
        options.fsync = FSYNC.to_vec();
    }
    if options.slots.is_empty() {
        options.slots = SLOTS.to_vec();
    }
    Ok(options)
}
