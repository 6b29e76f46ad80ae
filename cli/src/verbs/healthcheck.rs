//! `healthcheck`: what a container's health check runs.

use super::VerbError;
use crate::args::Healthcheck;
use crate::client::{Call, Client};
use crate::exit::Exit;
use crate::output;

/// Exits with 0 or 1 whatever is wrong: Docker reserves 2.
pub(super) fn healthcheck(api: Result<Client, VerbError>, args: &Healthcheck) -> Result<Exit, VerbError> {
    let asked = api.and_then(|api| {
        let call = Call { patience: Some(args.timeout), ..Call::get("/readyz") };
        Ok(api.probe(call)?)
    });
    match asked {
        Ok(()) => {
            output::data("ok\n")?;
            Ok(Exit::Done)
        }
        Err(e) => {
            output::complain(&e.to_string());
            Ok(Exit::Failed)
        }
    }
}
