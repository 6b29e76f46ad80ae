//! `wait`: until jobs have ended.

use super::{VerbError, checked};
use crate::args::{Condition, Wait};
use crate::client::Client;
use crate::exit::Exit;
use crate::follow::{Until, exit_of_end, follow};
use crate::output;
use std::time::Instant;

pub(super) fn wait(api: &Client, args: &Wait) -> Result<Exit, VerbError> {
    let deadline = args.timeout.map(|timeout| Instant::now() + timeout);
    let mut exit = Exit::Done;
    for job_id in checked(&args.ids)? {
        let Some(view) = follow(api, job_id.as_str(), Until::Finished, deadline, |_| {})? else {
            output::say(&format!("{job_id} has not ended within the time"));
            return Ok(Exit::TimedOut);
        };
        output::data(&format!("{job_id} {}\n", view.status))?;
        if args.condition == Condition::Succeeded && view.status != "SUCCEEDED" && exit == Exit::Done {
            output::say(&format!("{job_id} {}: {}", view.status, view.why()));
            exit = exit_of_end(&view);
        }
    }
    Ok(exit)
}
