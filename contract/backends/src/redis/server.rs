//! What the server is asked once, when an orchestrator opens it.

use super::link::{Fault, Link};
use crate::records::RecordsError;
use std::collections::HashMap;

/// The version of the records that this program reads and writes.
const VERSION: u64 = 1;
const VERSION_KEY: &str = "agent-runner:version";

/// Refuses records of a newer version, and warns of settings with which the server can lose what it has
/// answered for.
pub(super) async fn check(link: &Link) -> Result<(), RecordsError> {
    let mut set = redis::cmd("SET");
    set.arg(VERSION_KEY).arg(VERSION).arg("NX");
    match link.query::<redis::Value>(&set).await.map_err(Fault::of_write) {
        // A server that cannot write now may be able to later.
        Ok(_) | Err(RecordsError::Unavailable(_) | RecordsError::Busy(_)) => {}
        Err(e) => return Err(e),
    }
    let version: Option<u64> =
        link.query(redis::cmd("GET").arg(VERSION_KEY)).await.map_err(Fault::of_read)?;
    match version {
        Some(found) if found > VERSION => {
            return Err(RecordsError::Unusable(format!(
                "its records have version {found}, and this program knows versions up to {VERSION}: use a newer program"
            )));
        }
        _ => {}
    }
    warn(link).await;
    Ok(())
}

/// Where the promises need it, and the only value with which they hold.
const NEEDED: &[(&str, &str, &str)] = &[
    ("appendonly", "yes", "an acknowledged job is lost when the server ends"),
    ("appendfsync", "always", "jobs that were acknowledged in the last second are lost with the machine"),
    ("maxmemory-policy", "noeviction", "the server deletes records when its memory is full"),
];

/// Says which settings of the server break a promise. Where the server does not tell its settings (hosted
/// ones do not), there is nothing to say.
async fn warn(link: &Link) {
    let mut ask = redis::cmd("CONFIG");
    ask.arg("GET").arg("append*").arg("maxmemory*");
    let settings: HashMap<String, String> = match link.query(&ask).await {
        Ok(settings) => settings,
        Err(_) => {
            let mut ask = redis::cmd("CONFIG");
            ask.arg("GET").arg("*");
            match link.query(&ask).await {
                Ok(settings) => settings,
                Err(_) => {
                    tracing::info!(
                        "the server does not tell its settings; see docs/redis.md for the ones needed"
                    );
                    return;
                }
            }
        }
    };
    let aof = settings.get("appendonly").is_some_and(|value| value == "yes");
    for (name, needed, otherwise) in NEEDED {
        let skip = *name == "appendfsync" && !aof;
        if let Some(value) = settings.get(*name).filter(|value| value != needed)
            && !skip
        {
            tracing::warn!(setting = name, value, needed, "{otherwise}");
        }
    }
}
