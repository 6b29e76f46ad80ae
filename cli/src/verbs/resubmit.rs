//! `resubmit`: a new job that wants what another one wanted.

use super::{VerbError, checked, submit};
use crate::args::Resubmit;
use crate::client::{Call, Client};
use crate::exit::Exit;
use crate::request;
use contract::json::JsonText;
use serde::Deserialize;

#[derive(Deserialize)]
struct Job {
    /// Its payload is taken over byte for byte.
    desired: JsonText,
}

pub(super) fn resubmit(api: &Client, args: &Resubmit) -> Result<Exit, VerbError> {
    let id = checked(std::slice::from_ref(&args.id))?.remove(0);
    let job: Job = api.json(Call::get(format!("/jobs/{id}")))?;
    let body = request::again(job.desired.as_str(), args.job_type.as_deref(), &args.set, &args.payload)?;
    let answer = submit::send(api, body, args.idempotency_key.as_ref())?;
    submit::show(api, &answer, args.output)
}
