//! `set`: changes fields of what is wanted of jobs, by a merge patch.

use super::{VerbError, checked, edit::preview};
use crate::args::{Set, Why};
use crate::client::{Call, Client, ClientError};
use crate::exit::Exit;
use crate::{output, request};
use contract::JobId;

pub(super) fn set(api: &Client, args: &Set) -> Result<Exit, VerbError> {
    // A job id holds no `=`, and an assignment always does.
    let (assignments, ids): (Vec<String>, Vec<String>) =
        args.words.iter().cloned().partition(|word| word.contains('='));
    let ids = checked(&ids)?;
    if ids.is_empty() {
        return Err(VerbError::Usage(
            "a job id is needed, as in: agent-runner set <JOB_ID> priority=5".into(),
        ));
    }
    if assignments.is_empty() && args.unset.is_empty() {
        let message = format!("nothing to set, as in: agent-runner set {} priority=5", ids[0]);
        return Err(VerbError::Usage(message));
    }
    let patch = request::patch(&assignments, &args.unset)?;
    let mut exit = Exit::Done;
    for id in ids {
        let done = if args.dry_run { dry_run(api, &id, &patch) } else { write(api, &id, &patch, &args.why) };
        match done {
            Ok(text) => output::data(&text)?,
            Err(e) if e.problem().is_some_and(|p| !matches!(p.status, 401 | 403)) => {
                exit = Exit::Failed;
                output::complain(&format!("{id}: {e}"));
            }
            Err(e) => return Err(e.into()),
        }
    }
    Ok(exit)
}

/// A patch that is stored already changes nothing, so a lost answer is asked for again.
fn write(api: &Client, id: &JobId, patch: &str, why: &Why) -> Result<String, ClientError> {
    let call = Call::patch(format!("/jobs/{id}{}", why.query(None)), patch.to_owned(), None);
    match api.call(call.clone()) {
        Err(ClientError::Lost { .. }) => api.call(call)?,
        other => other?,
    };
    Ok(format!("{id} changed\n"))
}

fn dry_run(api: &Client, id: &JobId, patch: &str) -> Result<String, ClientError> {
    let call = Call::patch(format!("/jobs/{id}?dry_run=true"), patch.to_owned(), None);
    let preview: preview::Preview = api.json(call)?;
    Ok(format!("{id} would change\n{}", preview.text()))
}
