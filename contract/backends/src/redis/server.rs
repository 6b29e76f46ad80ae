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
    ("no-appendfsync-on-rewrite", "no", "nothing is synced while the server writes its file anew"),
    ("maxmemory-policy", "noeviction", "the server deletes records when its memory is full"),
];

/// The settings that break a promise: name, value, the value that is needed, and what happens otherwise. Nothing
/// is synced where nothing is appended, so only that is named then.
fn broken(
    settings: &HashMap<String, String>,
) -> impl Iterator<Item = (&'static str, &str, &'static str, &'static str)> {
    let appends = settings.get("appendonly").is_some_and(|value| value == "yes");
    NEEDED.iter().filter_map(move |&(name, needed, otherwise)| {
        let value = settings.get(name).filter(|value| *value != needed)?;
        (appends || !name.contains("appendfsync")).then_some((name, value.as_str(), needed, otherwise))
    })
}

/// Says which settings of the server break a promise. Where the server does not tell its settings (hosted
/// ones do not), there is nothing to say.
async fn warn(link: &Link) {
    let mut settings = HashMap::new();
    for (name, _, _) in NEEDED {
        // One at a time: servers before 7.0 take one name only.
        match link.query::<HashMap<String, String>>(redis::cmd("CONFIG").arg("GET").arg(name)).await {
            Ok(found) => settings.extend(found),
            Err(_) => {
                tracing::info!(
                    "the server does not tell its settings; docs/redis.md names those that are needed"
                );
                return;
            }
        }
    }
    for (setting, value, needed, otherwise) in broken(&settings) {
        tracing::warn!(setting, value, needed, "{otherwise}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_break_a_promise_are_named() {
        for (settings, named) in [
            (["yes", "always", "no", "noeviction"], vec![]),
            (["yes", "everysec", "no", "noeviction"], vec!["appendfsync"]),
            (["yes", "always", "yes", "noeviction"], vec!["no-appendfsync-on-rewrite"]),
            (["no", "everysec", "yes", "allkeys-lru"], vec!["appendonly", "maxmemory-policy"]),
        ] {
            let told =
                NEEDED.iter().zip(settings).map(|((name, _, _), value)| ((*name).into(), value.into()));
            let told: HashMap<String, String> = told.collect();
            assert_eq!(broken(&told).map(|(name, ..)| name).collect::<Vec<_>>(), named, "{settings:?}");
        }
        assert_eq!(broken(&HashMap::new()).count(), 0, "a server that tells nothing");
    }
}
