//! The command line.

mod act;
mod look;

pub(crate) use act::{
    Cancel, Edit, Jobs, NewJob, Payload, Resubmit, Retry, Run, Set, Submit, SubmitForm, Why,
};
pub(crate) use look::{Condition, Describe, Explain, Filters, Get, GetForm, Logs, Stream, Wait};

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// Runs agents as jobs: at most one agent executes per job at any time, and every attempt is recorded.
#[derive(Debug, Parser)]
#[command(name = "agent-runner", version, after_help = crate::exit::HELP, max_term_width = 100)]
pub(crate) struct Cli {
    /// The API to call [default: AGENT_RUNNER_URL, else http://127.0.0.1:8000]
    #[arg(long, global = true, value_name = "URL", help_heading = "Options of verbs that call the API")]
    pub(crate) url: Option<String>,
    /// A file that holds the API token [default: the variable AGENT_RUNNER_TOKEN]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Options of verbs that call the API")]
    pub(crate) token_file: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Runs the API and the reconciler in one process until Ctrl-C
    #[command(after_help = "Example:\n  agent-runner up --listen 127.0.0.1:8000")]
    Up(Up),
    /// Submits a job, follows it, prints its result and exits with the agent's code
    #[command(after_help = act::RUN)]
    Run(Run),
    /// Submits a job, or a file of jobs, and prints the ids
    #[command(after_help = act::SUBMIT)]
    Submit(Submit),
    /// Submits a new job that wants what another one wanted
    #[command(after_help = act::RESUBMIT)]
    Resubmit(Resubmit),
    /// Shows jobs
    #[command(after_help = look::GET)]
    Get(Get),
    /// Shows everything about jobs: what is wanted, attempts, evidence, events, what to do
    #[command(after_help = look::DESCRIBE)]
    Describe(Describe),
    /// Says why a job is where it is, what happens next and who has to act
    #[command(after_help = look::EXPLAIN)]
    Explain(Explain),
    /// Prints what the agent of a job wrote
    #[command(after_help = look::LOGS)]
    Logs(Logs),
    /// Waits until jobs are what is asked for
    #[command(after_help = look::WAIT)]
    Wait(Wait),
    /// Starts the next run of finished jobs
    #[command(after_help = act::RETRY)]
    Retry(Retry),
    /// Ends jobs as FAILED/Cancelled
    #[command(after_help = act::CANCEL)]
    Cancel(Cancel),
    /// Holds jobs: a running attempt is stopped and uses up no try
    #[command(after_help = act::SUSPEND)]
    Suspend(Jobs),
    /// Lets held jobs go on
    #[command(after_help = act::RESUME)]
    Resume(Jobs),
    /// Changes fields of what is wanted of jobs
    #[command(after_help = act::SET)]
    Set(Set),
    /// Changes what is wanted of a job in an editor
    #[command(after_help = act::EDIT)]
    Edit(Edit),
    /// Shows every setting, its value and where the value comes from
    #[command(after_help = "Example:\n  agent-runner config -o json")]
    Config(Config),
    /// Prints a script that completes words in a shell
    #[command(after_help = COMPLETION)]
    Completion(Completion),
    /// Says whether the API answers, for the health checks of containers: exits with 0 or 1
    #[command(
        after_help = "Examples:\n  agent-runner healthcheck\n  agent-runner healthcheck --url http://127.0.0.1:9464"
    )]
    Healthcheck(Healthcheck),
    /// Checks connection, clock, version, lease, records and tokens, and says what to do
    #[command(
        after_help = "Examples:\n  agent-runner doctor\n  agent-runner doctor --metrics-url http://127.0.0.1:9464"
    )]
    Doctor(Doctor),
}

const COMPLETION: &str = "\
Examples:
  agent-runner completion bash > ~/.local/share/bash-completion/completions/agent-runner
  agent-runner completion zsh > \"${fpath[1]}/_agent-runner\"
  agent-runner completion fish > ~/.config/fish/completions/agent-runner.fish";

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

#[derive(Debug, Args)]
pub(crate) struct Completion {
    /// The shell
    pub(crate) shell: Shell,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}

#[derive(Debug, Args)]
pub(crate) struct Healthcheck {
    /// Give up after this time
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "3s")]
    pub(crate) timeout: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Where the reconciler's metrics are, when it is a process of its own
    #[arg(long, value_name = "URL")]
    pub(crate) metrics_url: Option<String>,
    /// The form of the output
    #[arg(short, long, value_name = "FORM", default_value = "table")]
    pub(crate) output: ConfigForm,
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
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

    /// The words of a line, as a shell splits it.
    fn words(line: &str) -> Vec<String> {
        let mut all = vec![String::new()];
        let mut quote = None;
        for c in line.chars() {
            match (c, quote) {
                (c, Some(open)) if c == open => quote = None,
                ('\'' | '"', None) => quote = Some(c),
                (' ', None) => all.push(String::new()),
                (c, _) => all.last_mut().expect("there is a word always").push(c),
            }
        }
        all
    }

    #[test]
    fn every_verb_has_a_help_with_examples_that_are_understood() {
        let mut program = Cli::command();
        program.build();
        let verbs = program.get_subcommands().filter(|v| !v.is_hide_set() && v.get_name() != "help");
        let mut examples = 0;
        for verb in verbs {
            let help = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
            let lines: Vec<&str> = help.lines().filter(|line| line.contains("agent-runner ")).collect();
            assert!(help.starts_with("Example") && !lines.is_empty(), "{} has no example", verb.get_name());
            for line in lines {
                let command = line.split(" > ").next().unwrap();
                let command = command.split_once("agent-runner ").unwrap().1;
                let words = [vec!["agent-runner".to_owned()], words(command)].concat();
                let parsed = Cli::try_parse_from(&words);
                assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
                examples += 1;
            }
        }
        assert!(examples > 25, "{examples} examples were looked at");
    }

    #[test]
    fn filters_and_ids_exclude_each_other_and_one_of_them_is_needed() {
        let parse = |line: &str| Cli::try_parse_from(words(line));
        for bad in [
            "agent-runner cancel",
            "agent-runner cancel a -l k=v",
            "agent-runner wait",
            "agent-runner get a --status failed",
            "agent-runner get --status gone",
            "agent-runner get --timeout 3s",
            "agent-runner logs a --previous --attempt 2",
            "agent-runner run",
            "agent-runner submit",
            "agent-runner submit echo -f x",
            "agent-runner wait a --for status=GONE",
            "agent-runner wait a --for condition=Gone",
            "agent-runner wait a --for complete",
            "agent-runner set",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        for good in [
            "agent-runner cancel -l a=1,b=2",
            "agent-runner wait -l a --for status=running",
            "agent-runner wait -l a==1 --for condition=Succeeded",
            "agent-runner wait a --for condition=complete",
            "agent-runner get --status failed,queued --type echo",
            "agent-runner submit -f -",
            "agent-runner set a --unset env.K",
        ] {
            assert!(parse(good).is_ok(), "{good}");
        }
    }
}
