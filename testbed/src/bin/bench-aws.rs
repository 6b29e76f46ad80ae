//! `bench-aws [--short] [--factor 10] [--only part]... [--out target/bench/aws.json]`

use std::process::ExitCode;
use testbed::aws::bench::{Options, run};
use testbed::bench::Failed;

fn main() -> ExitCode {
    match options().and_then(|options| run(&options).map(|(_, table)| (options, table))) {
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
            eprintln!("bench-aws: {failed}");
            ExitCode::FAILURE
        }
    }
}

fn options() -> Result<Options, Failed> {
    let mut options = Options {
        out: "target/bench/aws.json".into(),
        short: false,
        factor: 10,
        agent: "/bin/true".to_owned(),
        only: Vec::new(),
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| Failed::new(format!("{arg} needs a value")));
        match arg.as_str() {
            "--out" => options.out = value()?.into(),
            "--factor" => options.factor = value()?.parse()?,
            "--only" => options.only.push(value()?),
            "--short" => options.short = true,
            _ => return Err(Failed::new(format!("unknown argument {arg}"))),
        }
    }
    if options.factor == 0 {
        return Err(Failed::new("time does not stand still"));
    }
    Ok(options)
}
