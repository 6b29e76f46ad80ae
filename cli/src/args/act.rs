//! The verbs that act.

use super::{Filters, SettingFlags, duration};
use crate::client::encoded;
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

pub(super) const RUN: &str = "\
Examples:
  agent-runner run echo --payload '{\"message\":\"Hello\"}'
  agent-runner run --follow summarize --payload-file text.json --set max_attempts=1
  jq -n '{text: \"Hello\"}' | agent-runner run summarize -";

pub(super) const SUBMIT: &str = "\
Examples:
  agent-runner submit echo --payload '{\"message\":\"Hello\"}' --set labels.team=search
  agent-runner submit -f jobs.ndjson
Each line of such a file is the body of one POST /jobs:
  {\"job_type\":\"echo\",\"payload\":{\"n\":1}}";

pub(super) const RESUBMIT: &str = "\
Example:
  agent-runner resubmit 019ab3f0-0000-7000-8000-000000000000 --set resources.memory_mib=8192";

pub(super) const RETRY: &str = "\
Examples:
  agent-runner retry 019ab3f0-0000-7000-8000-000000000000
  agent-runner retry --status failed -l team=search";

pub(super) const CANCEL: &str = "\
Examples:
  agent-runner cancel 019ab3f0-0000-7000-8000-000000000000
  agent-runner cancel -l team=search --yes --cause 'the input was wrong'";

pub(super) const SUSPEND: &str = "\
Examples:
  agent-runner suspend 019ab3f0-0000-7000-8000-000000000000
  agent-runner suspend --status queued,running --yes";

pub(super) const RESUME: &str = "\
Example:
  agent-runner resume 019ab3f0-0000-7000-8000-000000000000";

pub(super) const SET: &str = "\
Examples:
  agent-runner set 019ab3f0-0000-7000-8000-000000000000 priority=5 env.MODEL=small --cause 'urgent'
  agent-runner set 019ab3f0-0000-7000-8000-000000000000 --unset labels.team --dry-run
A value that is JSON is taken as JSON, any other as a string; null gives the field its default again.";

pub(super) const EDIT: &str = "\
Examples:
  agent-runner edit 019ab3f0-0000-7000-8000-000000000000
  agent-runner edit 019ab3f0-0000-7000-8000-000000000000 --dry-run
  VISUAL='code --wait' agent-runner edit 019ab3f0-0000-7000-8000-000000000000";

/// Where the payload of a job comes from.
#[derive(Debug, Args, Default)]
pub(crate) struct Payload {
    /// The payload as JSON
    #[arg(long, value_name = "JSON", conflicts_with = "payload_file")]
    pub(crate) payload: Option<String>,
    /// A file that holds the payload as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) payload_file: Option<PathBuf>,
}

/// What is wanted of a new job.
#[derive(Debug, Args, Default)]
pub(crate) struct NewJob {
    /// A job type of the job-types file, or echo
    #[arg(index = 1)]
    pub(crate) job_type: Option<String>,
    /// `-` reads the payload from stdin
    #[arg(index = 2, value_name = "-", value_parser = ["-"], conflicts_with_all = ["payload", "payload_file"])]
    pub(crate) stdin: Option<String>,
    #[command(flatten)]
    pub(crate) payload: Payload,
    /// Any other field of the request, as in max_attempts=1, backoff.initial_seconds=0, labels.team=x
    #[arg(long = "set", value_name = "FIELD=VALUE")]
    pub(crate) set: Vec<String>,
    /// The same key makes the same job, however often it is sent
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,
}

#[derive(Debug, Args)]
#[command(mut_arg("job_type", |arg| arg.required(true)))]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) job: NewJob,
    /// Show on stderr what the agent writes, as it writes it
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Stop following after this time, as in 30s or 5m; the job goes on
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,
    #[command(flatten)]
    pub(crate) settings: SettingFlags,
}

#[derive(Debug, Args)]
#[command(mut_arg("job_type", |arg| arg.required_unless_present("file")))]
pub(crate) struct Submit {
    #[command(flatten)]
    pub(crate) job: NewJob,
    /// A file with one job per line as JSON, `-` for stdin; each line is answered separately
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["job_type", "stdin", "payload",
          "payload_file", "set", "idempotency_key"])]
    pub(crate) file: Option<PathBuf>,
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
pub(crate) struct Resubmit {
    /// The job to take over from
    #[arg(value_name = "JOB_ID")]
    pub(crate) id: String,
    /// Another job type
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) job_type: Option<String>,
    #[command(flatten)]
    pub(crate) payload: Payload,
    /// Another value of a field, as in max_attempts=1 or labels.team=x
    #[arg(long = "set", value_name = "FIELD=VALUE")]
    pub(crate) set: Vec<String>,
    /// The same key makes the same job, however often it is sent
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,
    /// `name` prints the job id and nothing else; `json` the whole answer
    #[arg(short, long, value_name = "FORM", default_value = "table")]
    pub(crate) output: SubmitForm,
}

/// Why something is changed.
#[derive(Debug, Args)]
pub(crate) struct Why {
    /// Why, in up to 256 characters; `describe` shows it with who asked
    #[arg(long, value_name = "TEXT", value_parser = cause)]
    cause: Option<String>,
}

fn cause(text: &str) -> Result<String, String> {
    contract::updated::check_cause(text).map(|()| text.to_owned())
}

impl Why {
    /// The query of a change, with a parameter that is there or not.
    pub(crate) fn query(&self, more: Option<&str>) -> String {
        let cause = self.cause.as_ref().map(|cause| format!("change_cause={}", encoded(cause)));
        let all: Vec<&str> = more.into_iter().chain(cause.as_deref()).collect();
        if all.is_empty() { String::new() } else { format!("?{}", all.join("&")) }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Jobs {
    /// Job ids
    #[arg(required_unless_present_any = ["labels", "status", "reason", "job_type"], value_name = "JOB_ID")]
    pub(crate) ids: Vec<String>,
    #[command(flatten)]
    pub(crate) filters: Filters,
    /// Do not ask before acting on jobs that a filter found
    #[arg(short, long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) why: Why,
}

#[derive(Debug, Args)]
pub(crate) struct Cancel {
    #[command(flatten)]
    pub(crate) jobs: Jobs,
}

#[derive(Debug, Args)]
pub(crate) struct Retry {
    #[command(flatten)]
    pub(crate) jobs: Jobs,
    /// Also jobs that have not ended: their attempt is stopped first
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Set {
    /// Job ids, and FIELD=VALUE for each field to change
    #[arg(value_name = "JOB_ID|FIELD=VALUE", required_unless_present = "unset", id = "words")]
    pub(crate) words: Vec<String>,
    /// Give this field its default again; takes a variable or a label away
    #[arg(long, value_name = "FIELD")]
    pub(crate) unset: Vec<String>,
    #[command(flatten)]
    pub(crate) why: Why,
    /// Show what would change and what the reconciler would do, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Edit {
    /// The job
    #[arg(value_name = "JOB_ID")]
    pub(crate) id: String,
    /// Show what would change and what the reconciler would do, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask before writing
    #[arg(short, long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) why: Why,
    /// Go on with a text that an earlier edit kept
    #[arg(long, value_name = "FILE")]
    pub(crate) from: Option<PathBuf>,
}
