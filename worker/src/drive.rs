//! Drives the ports' futures, on the thread that waits for them.
//!
//! SQLite and a folder need nothing: their futures are ready when they are first asked, and a runtime would
//! only make the start of a short job longer. The clients of Redis and of AWS live on tokio; a worker whose
//! settings name them makes a runtime without further threads, once.

use crate::settings::Settings;

#[cfg(any(feature = "redis", feature = "aws"))]
static RUNTIME: std::sync::OnceLock<tokio::runtime::Runtime> = std::sync::OnceLock::new();

/// Makes ready what the stores of `settings` need. Call it before they are opened.
///
/// # Errors
/// No descriptors left.
#[cfg(any(feature = "redis", feature = "aws"))]
pub(crate) fn prepare(settings: &Settings) -> std::io::Result<()> {
    use backends::settings::{ArtifactsAt, RecordsAt};
    if let (RecordsAt::Sqlite(_), ArtifactsAt::Dir(_)) = (&settings.records, &settings.artifacts) {
        return Ok(());
    }
    if RUNTIME.get().is_none() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // Made twice at once, one of them goes unused.
        let _ = RUNTIME.set(runtime);
    }
    Ok(())
}

/// Nothing has to be made ready.
#[cfg(not(any(feature = "redis", feature = "aws")))]
#[expect(clippy::unnecessary_wraps, reason = "other builds can fail here")]
pub(crate) fn prepare(_: &Settings) -> std::io::Result<()> {
    Ok(())
}

/// Waits for `future`. Not to be called by a future that is driven here.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    #[cfg(any(feature = "redis", feature = "aws"))]
    if let Some(runtime) = RUNTIME.get() {
        return runtime.block_on(future);
    }
    pollster::block_on(future)
}

#[cfg(all(test, any(feature = "redis", feature = "aws")))]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::ffi::OsString;

    #[test]
    fn a_worker_on_sqlite_and_a_folder_has_no_runtime() {
        let env = BTreeMap::from([
            ("AGENT_RUNNER_JOB_ID", "j"),
            ("AGENT_RUNNER_LAUNCH_TOKEN", "000000000000000000000000000000ab"),
            ("AGENT_RUNNER_TASK_ID", "process:ab"),
            ("AGENT_RUNNER_TASK_FOLDER", "/tasks/ab"),
            ("AGENT_RUNNER_RECORDS", "sqlite:/data/x.db"),
            ("AGENT_RUNNER_ARTIFACTS", "file:/data/artifacts"),
        ]);
        let settings = Settings::read(|name| env.get(name).map(OsString::from)).unwrap();
        prepare(&settings).unwrap();
        assert!(RUNTIME.get().is_none());
        assert_eq!(block_on(std::future::ready(7)), 7);
    }
}
