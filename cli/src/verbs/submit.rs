//! `submit`: stores the wish and prints the job's id.

use super::{VerbError, batch};
use crate::args::{Submit, SubmitForm};
use crate::client::{Call, Client, ClientError};
use crate::exit::Exit;
use crate::follow::View;
use crate::{output, request};

pub(super) fn submit(api: &Client, args: &Submit) -> Result<Exit, VerbError> {
    if let Some(file) = &args.file {
        return batch::submit(api, file, args.output);
    }
    let answer = send(api, request::body(&args.job)?, args.job.idempotency_key.as_ref())?;
    show(api, &answer, args.output)
}

/// Prints what a submission answered.
pub(super) fn show(api: &Client, answer: &[u8], form: SubmitForm) -> Result<Exit, VerbError> {
    let view: View = api.decoded(answer)?;
    match form {
        SubmitForm::Json => output::bytes(answer)?,
        SubmitForm::Name => output::data(&format!("{}\n", view.job_id))?,
        SubmitForm::Table => {
            output::data(&format!("{}\n", view.job_id))?;
            output::say(&format!(
                "submitted {}; follow it with: agent-runner wait {}",
                output::one_line(view.job_type.as_deref().unwrap_or("a job")),
                view.job_id
            ));
        }
    }
    Ok(Exit::Done)
}

/// Sends a new job; the answer shows it. When the answer is lost the request is repeated once, and the key
/// sees to it that there is one job. (Within one process no answer is lost.)
pub(super) fn send(api: &Client, body: String, key: Option<&String>) -> Result<Vec<u8>, VerbError> {
    let fresh = || backends::clock::fresh_token().as_str().to_owned();
    let key = key.cloned().or_else(|| matches!(api, Client::Http { .. }).then(fresh));
    let call = Call { idempotency_key: key, ..Call::post("/jobs", Some(body)) };
    match api.call(call.clone()) {
        Err(ClientError::Lost { .. }) if call.idempotency_key.is_some() => Ok(api.call(call)?),
        other => Ok(other?),
    }
}
