//! `wait`: until jobs are what is asked for, or cannot be it any more.

use super::{VerbError, select};
use crate::args::{Condition, Wait};
use crate::ask::Spinner;
use crate::client::Client;
use crate::exit::Exit;
use crate::follow::{Until, View, exit_of_end, follow};
use crate::output;
use std::time::Instant;

pub(super) fn wait(api: &Client, args: &Wait) -> Result<Exit, VerbError> {
    let deadline = args.timeout.map(|timeout| Instant::now() + timeout);
    let ids = select::ids(api, &args.ids, &args.filters)?;
    if ids.is_empty() {
        output::say("no job matches; there is nothing to wait for");
        return Ok(Exit::Failed);
    }
    let mut exit = Exit::Done;
    for (at, job_id) in ids.iter().enumerate() {
        let spinner = Spinner::start(&format!("waiting for {} of {} jobs", ids.len() - at, ids.len()));
        let until = match args.condition {
            Condition::Status(_) => Until::Reached(&|view| is_so(&args.condition, view)),
            Condition::Finished | Condition::Succeeded | Condition::Failed => Until::Finished,
        };
        let end = follow(api, job_id.as_str(), until, deadline, |_| {});
        drop(spinner);
        let Some(view) = end? else {
            output::say(&format!("{job_id} is not {} within the time", args.condition));
            return Ok(Exit::TimedOut);
        };
        output::data(&format!("{job_id} {}\n", output::one_line(&view.status)))?;
        if !is_so(&args.condition, &view) {
            let why = format!("{job_id} {}: {}", view.status, view.why());
            output::say(why.trim_end_matches([':', ' ']));
            if exit == Exit::Done {
                exit = if view.status == "FAILED" { exit_of_end(&view) } else { Exit::Failed };
            }
        }
    }
    Ok(exit)
}

/// Whether a job is, or was on its way, what is waited for.
fn is_so(condition: &Condition, view: &View) -> bool {
    match condition {
        Condition::Finished => view.is_finished(),
        Condition::Succeeded => view.status == "SUCCEEDED",
        Condition::Failed => view.status == "FAILED",
        // A short job can start and end between two looks.
        Condition::Status(status) if status == "RUNNING" && view.is_finished() => view.started_at.is_some(),
        Condition::Status(status) => view.status == *status,
    }
}

impl std::fmt::Display for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Finished => "finished",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Status(status) => status,
        })
    }
}
