//! The verbs that look.

use super::duration;
use clap::{Args, ValueEnum};
use std::time::Duration;

pub(super) const GET: &str = "\
Examples:
  agent-runner get
  agent-runner get --status running -l team=search -o wide
  agent-runner get 019ab3f0-0000-7000-8000-000000000000 -o yaml
  agent-runner get -w";

pub(super) const DESCRIBE: &str = "\
Example:
  agent-runner describe 019ab3f0-0000-7000-8000-000000000000";

pub(super) const EXPLAIN: &str = "\
Example:
  agent-runner explain 019ab3f0-0000-7000-8000-000000000000";

pub(super) const LOGS: &str = "\
Examples:
  agent-runner logs -f 019ab3f0-0000-7000-8000-000000000000
  agent-runner logs --previous --stream stderr --tail 20 019ab3f0-0000-7000-8000-000000000000";

pub(super) const WAIT: &str = "\
Examples:
  agent-runner wait --for=succeeded --timeout 10m 019ab3f0-0000-7000-8000-000000000000
  agent-runner wait --for=status=RUNNING -l team=search";

/// Which jobs of all.
#[derive(Debug, Args, Default, Clone)]
pub(crate) struct Filters {
    /// Only jobs with this label, NAME=VALUE or NAME for any value; several must all match
    #[arg(
        short = 'l',
        long = "label",
        visible_alias = "selector",
        value_name = "LABEL",
        value_delimiter = ',',
        value_parser = label,
        conflicts_with = "ids"
    )]
    pub(crate) labels: Vec<String>,
    /// Only jobs of these statuses
    #[arg(long, value_name = "STATUS", conflicts_with = "ids", ignore_case = true, value_delimiter = ',',
          value_parser = ["QUEUED", "RUNNING", "SUCCEEDED", "FAILED"])]
    pub(crate) status: Vec<String>,
    /// Only jobs with this reason, such as InvalidRecord
    #[arg(long, value_name = "REASON", conflicts_with = "ids", value_delimiter = ',')]
    pub(crate) reason: Vec<String>,
    /// Only jobs of this type
    #[arg(long = "type", alias = "job-type", value_name = "TYPE", conflicts_with = "ids")]
    pub(crate) job_type: Option<String>,
}

/// `NAME==VALUE` is how kubectl's selectors may say `NAME=VALUE`.
fn label(text: &str) -> Result<String, std::convert::Infallible> {
    Ok(match text.split_once('=') {
        Some((name, value)) if value.starts_with('=') => format!("{name}{value}"),
        _ => text.to_owned(),
    })
}

#[derive(Debug, Args)]
pub(crate) struct Get {
    /// Job ids; none lists the newest jobs
    #[arg(value_name = "JOB_ID")]
    pub(crate) ids: Vec<String>,
    #[command(flatten)]
    pub(crate) filters: Filters,
    /// The form of the output
    #[arg(short, long, value_name = "FORM", default_value = "table")]
    pub(crate) output: GetForm,
    /// List at most this many
    #[arg(long, value_name = "N", default_value = "50", conflicts_with = "ids",
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) limit: u32,
    /// Then show each change, until Ctrl-C; with job ids until all of them have ended
    #[arg(short, long)]
    pub(crate) watch: bool,
    /// End watching after this time, as in 30s or 5m
    #[arg(long, value_name = "TIME", value_parser = duration, requires = "watch")]
    pub(crate) timeout: Option<Duration>,
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
    /// The same as YAML
    Yaml,
}

#[derive(Debug, Args)]
pub(crate) struct Describe {
    /// Job ids
    #[arg(required = true, value_name = "JOB_ID")]
    pub(crate) ids: Vec<String>,
    /// Show at most this many of the last events
    #[arg(long, value_name = "N", default_value = "10")]
    pub(crate) events: usize,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// Job ids
    #[arg(required = true, value_name = "JOB_ID")]
    pub(crate) ids: Vec<String>,
    /// The form of the output
    #[arg(short, long, value_name = "FORM", default_value = "table")]
    pub(crate) output: super::ConfigForm,
}

#[derive(Debug, Args, Clone, Default)]
pub(crate) struct Logs {
    /// The job
    #[arg(value_name = "JOB_ID")]
    pub(crate) id: String,
    /// Go on with what is written from now on, over all attempts, until the job has ended
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Begin with the last so many lines
    #[arg(long, value_name = "N")]
    pub(crate) tail: Option<u32>,
    /// Begin with what was written since then: a time span such as 10m, or an RFC 3339 time
    #[arg(long, value_name = "WHEN")]
    pub(crate) since: Option<String>,
    /// Of this attempt only
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) attempt: Option<u32>,
    /// Of the attempt before the last one
    #[arg(short, long, conflicts_with_all = ["attempt", "follow"])]
    pub(crate) previous: bool,
    /// Only one of the two streams
    #[arg(long, value_name = "STREAM")]
    pub(crate) stream: Option<Stream>,
    /// Byte for byte: control characters reach the terminal
    #[arg(long)]
    pub(crate) raw: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

#[derive(Debug, Args)]
pub(crate) struct Wait {
    /// Job ids
    #[arg(required_unless_present_any = ["labels", "status", "reason", "job_type"], value_name = "JOB_ID")]
    pub(crate) ids: Vec<String>,
    #[command(flatten)]
    pub(crate) filters: Filters,
    /// What to wait for: finished, succeeded, failed, or status=<STATUS>
    #[arg(long = "for", value_name = "WHAT", default_value = "finished")]
    pub(crate) condition: Condition,
    /// Give up after this time, as in 30s or 5m
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,
}

/// What `wait` waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Condition {
    /// SUCCEEDED or FAILED.
    Finished,
    /// SUCCEEDED.
    Succeeded,
    /// FAILED.
    Failed,
    /// This status, now or on the way.
    Status(String),
}

impl std::str::FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let status = text.strip_prefix("status=").map(str::to_ascii_uppercase);
        // As kubectl says it, with the conditions that `describe` shows and the ones of its jobs.
        let word = text.strip_prefix("condition=").map_or(text.to_owned(), str::to_ascii_lowercase);
        match (word.as_str(), status.as_deref()) {
            ("complete", _) if word != text => Ok(Self::Succeeded),
            ("finished", _) => Ok(Self::Finished),
            ("succeeded", _) | (_, Some("SUCCEEDED")) => Ok(Self::Succeeded),
            ("failed", _) | (_, Some("FAILED")) => Ok(Self::Failed),
            (_, Some(status @ ("QUEUED" | "RUNNING"))) => Ok(Self::Status(status.to_owned())),
            _ => Err("finished, succeeded, failed or status=<QUEUED|RUNNING|SUCCEEDED|FAILED>".to_owned()),
        }
    }
}
