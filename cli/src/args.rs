//! The command line.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// Runs agents as jobs: at most one agent executes per job at any time, and every attempt is recorded.
#[derive(Debug, Parser)]
#[command(name = "agent-runner", version, after_help = crate::exit::HELP, max_term_width = 100)]
pub(crate) struct Cli {
    /// The API to call [default: AGENT_RUNNER_URL, else http://127.0.0.1:8000]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) url: Option<String>,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Runs the API and the reconciler in one process until Ctrl-C
    Up(Up),
    /// Submits a job, follows it, prints its result and exits with the agent's code
    Run(Run),
    /// Submits a job and prints its id
    Submit(Submit),
    /// Shows jobs
    Get(Get),
    /// Waits until jobs have ended
    Wait(Wait),
    /// Starts the next run of finished jobs
    Retry(Retry),
    /// Ends jobs as FAILED/Cancelled
    Cancel(Jobs),
    /// Holds jobs: a running attempt is stopped and uses up no try
    Suspend(Jobs),
    /// Lets held jobs go on
    Resume(Jobs),
    /// Shows every setting, its value and where the value comes from
    Config(Config),
}

/// Settings that have a flag; each flag wins over the variable in brackets.
#[derive(Debug, Args, Default)]
pub(crate) struct SettingFlags {
    /// Where records are, sqlite:<path> [AGENT_RUNNER_RECORDS]
    #[arg(long, value_name = "STORE")]
    pub(crate) records: Option<String>,
    /// Where artifacts are, file:<folder> [AGENT_RUNNER_ARTIFACTS]
    #[arg(long, value_name = "STORE")]
    pub(crate) artifacts: Option<String>,
    /// Where running tasks keep their lock [AGENT_RUNNER_TASKS_DIR]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) tasks_dir: Option<String>,
    /// The file of job types [AGENT_RUNNER_JOB_TYPES]
    #[arg(long, value_name = "FILE")]
    pub(crate) job_types: Option<String>,
    /// How many jobs may hold an attempt at once [AGENT_RUNNER_MAX_CONCURRENT_TASKS]
    #[arg(long, value_name = "N")]
    pub(crate) max_concurrent_tasks: Option<String>,
    /// What a write survives, process or power [AGENT_RUNNER_DURABILITY]
    #[arg(long, value_name = "LEVEL")]
    pub(crate) durability: Option<String>,
    /// What is logged, to stderr [AGENT_RUNNER_LOG]
    #[arg(long, value_name = "FILTER")]
    pub(crate) log: Option<String>,
    /// The form of the log, text or json [AGENT_RUNNER_LOG_FORMAT]
    #[arg(long, value_name = "FORM")]
    pub(crate) log_format: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Up {
    /// Where the API listens, <ip>:<port> [AGENT_RUNNER_LISTEN]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<String>,
    #[command(flatten)]
    pub(crate) settings: SettingFlags,
}

/// What is wanted of a new job.
#[derive(Debug, Args)]
pub(crate) struct NewJob {
    /// A job type of the job-types file, or echo
    pub(crate) job_type: String,
    /// `-` reads the payload from stdin
    #[arg(value_name = "-", value_parser = ["-"], conflicts_with_all = ["payload", "payload_file"])]
    pub(crate) stdin: Option<String>,
    /// The payload as JSON
    #[arg(long, value_name = "JSON", conflicts_with = "payload_file")]
    pub(crate) payload: Option<String>,
    /// A file that holds the payload as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) payload_file: Option<PathBuf>,
    /// Any other field of the request, as in max_attempts=1, backoff.initial_seconds=0, labels.team=x
    #[arg(long = "set", value_name = "FIELD=VALUE")]
    pub(crate) set: Vec<String>,
    /// The same key makes the same job, however often it is sent
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) job: NewJob,
    /// Stop following after this time, as in 30s or 5m; the job goes on
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,
    #[command(flatten)]
    pub(crate) settings: SettingFlags,
}

#[derive(Debug, Args)]
pub(crate) struct Submit {
    #[command(flatten)]
    pub(crate) job: NewJob,
    /// `name` prints the job id and nothing else; `json` the whole answer
    #[arg(short, long, value_name = "FORM", default_value = "table")]
    pub(crate) output: SubmitForm,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SubmitForm {
    /// The job id on stdout, a line for people on stderr
    Table,
    /// The job id only
    Name,
    /// The API's answer
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct Get {
    /// Job ids; none lists the newest jobs
    #[arg(value_name = "JOB_ID")]
    pub(crate) ids: Vec<String>,
    /// The form of the output
    #[arg(short, long, value_name = "FORM", default_value = "table")]
    pub(crate) output: GetForm,
    /// List only jobs of this status
    #[arg(long, value_name = "STATUS", conflicts_with = "ids", ignore_case = true,
          value_parser = ["QUEUED", "RUNNING", "SUCCEEDED", "FAILED"])]
    pub(crate) status: Option<String>,
    /// List only jobs of this type
    #[arg(long, value_name = "TYPE", conflicts_with = "ids")]
    pub(crate) job_type: Option<String>,
    /// List at most this many
    #[arg(long, value_name = "N", default_value = "50", conflicts_with = "ids",
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) limit: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum GetForm {
    /// At most 80 columns
    Table,
    /// Every column
    Wide,
    /// Job ids only
    Name,
    /// The API's answers: an object for one job id, else an array
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct Wait {
    /// Job ids
    #[arg(required = true, value_name = "JOB_ID")]
    pub(crate) ids: Vec<String>,
    /// What to wait for; a job that FAILED ends the wait for `succeeded`
    #[arg(long = "for", value_name = "WHAT", default_value = "finished")]
    pub(crate) condition: Condition,
    /// Give up after this time, as in 30s or 5m
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Condition {
    /// SUCCEEDED or FAILED
    Finished,
    /// SUCCEEDED
    Succeeded,
}

#[derive(Debug, Args)]
pub(crate) struct Jobs {
    /// Job ids
    #[arg(required = true, value_name = "JOB_ID")]
    pub(crate) ids: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Retry {
    /// Job ids
    #[arg(required = true, value_name = "JOB_ID")]
    pub(crate) ids: Vec<String>,
    /// Also jobs that have not ended: their attempt is stopped first
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Config {
    /// The form of the output
    #[arg(short, long, value_name = "FORM", default_value = "table")]
    pub(crate) output: ConfigForm,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ConfigForm {
    /// Columns
    Table,
    /// An array of objects
    Json,
}

fn duration(text: &str) -> Result<Duration, String> {
    match text.parse::<u32>() {
        Ok(seconds) => Ok(Duration::from_secs(seconds.into())),
        Err(_) => humantime::parse_duration(text).map_err(|_| "a time span such as 30s, 5m or 1h".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_payload_comes_from_one_place() {
        for both in [["--payload", "1"], ["--payload-file", "f"]] {
            let words = ["agent-runner", "run", "echo", "-"].into_iter().chain(both);
            assert!(Cli::try_parse_from(words).is_err(), "{both:?}");
        }
        let cli = Cli::try_parse_from(["agent-runner", "run", "echo", "-"]).unwrap();
        assert!(matches!(cli.verb, Verb::Run(Run { job: NewJob { stdin: Some(_), .. }, .. })));
    }
}
