//! `retry`, `cancel`, `suspend`, `resume`: each writes one wish into each job.

use super::{VerbError, select};
use crate::args::Jobs;
use crate::client::{Call, Client, ClientError};
use crate::exit::Exit;
use crate::output;
use contract::JobId;

/// A wish.
pub(super) struct Change {
    verb: &'static str,
    /// What was done, for people.
    done: &'static str,
}

pub(super) const RETRY: Change = Change { verb: "retry", done: "will run again" };
pub(super) const CANCEL: Change = Change { verb: "cancel", done: "will end as FAILED/Cancelled" };
pub(super) const SUSPEND: Change = Change { verb: "suspend", done: "is held" };
pub(super) const RESUME: Change = Change { verb: "resume", done: "may go on" };

/// Asks for the change of every job; a refusal for one does not keep the others from it.
pub(super) fn change(api: &Client, jobs: &Jobs, change: &Change, force: bool) -> Result<Exit, VerbError> {
    let mut exit = Exit::Done;
    let chosen = select::confirmed(api, &jobs.ids, &jobs.filters, change.verb, jobs.yes)?;
    for job_id in chosen.unwrap_or_default() {
        match one(api, &job_id, change, jobs, force) {
            Ok(()) => output::data(&format!("{job_id} {}\n", change.done))?,
            // Without a right token the other jobs would be refused as well.
            Err(e) if e.problem().is_some_and(|p| !matches!(p.status, 401 | 403)) => {
                exit = Exit::Failed;
                output::complain(&format!("{job_id}: {e}{}", hint(&job_id, change, force, &e)));
            }
            Err(e) => return Err(e.into()),
        }
    }
    Ok(exit)
}

/// A lost answer is asked for again: the wishes are such that asking twice is asking once.
fn one(api: &Client, job_id: &JobId, change: &Change, jobs: &Jobs, force: bool) -> Result<(), ClientError> {
    let query = jobs.why.query(force.then_some("force=true"));
    let call = Call::post(format!("/jobs/{job_id}/{}{query}", change.verb), None);
    match api.call(call.clone()) {
        // A forced retry that was stored and begun would be counted as a second wish.
        Err(ClientError::Lost { .. }) if change.verb != "retry" => api.call(call).map(drop),
        other => other.map(drop),
    }
}

fn hint(job_id: &JobId, change: &Change, force: bool, e: &ClientError) -> String {
    match e {
        ClientError::Refused(problem)
            if problem.token() == "conflict" && change.verb == "retry" && !force =>
        {
            format!("\n`agent-runner retry --force {job_id}` stops the attempt and starts again")
        }
        _ => String::new(),
    }
}
