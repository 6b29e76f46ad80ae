//! `healthcheck`: what the health check of a worker's container asks.
//!
//! The member writes down until when it may live without another acknowledged heartbeat, in the folder of the tasks;
//! `healthcheck` compares that with the clock. It needs no connection, and a worker that is stuck, cut off, or cannot
//! write where its tasks have to is unhealthy without being asked. The file belongs to the folder: of workers that
//! share one, any makes it fresh.

use super::boot_clock;
use super::folder;
use super::settings::PoolSettings;
use crate::{Exit, log};
use std::io;
use std::path::Path;
use std::time::Duration;

/// Nanoseconds of the boot clock, as decimal digits.
const FILE: &str = "healthy-until";

/// Writes down that the worker is healthy until `until`, on the boot clock.
pub(super) fn note(folder: &Path, until: Duration) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    // Whole or not at all, whoever reads meanwhile.
    let new = folder.join(".healthy-until");
    std::fs::write(&new, until.as_nanos().to_string())?;
    std::fs::rename(new, folder.join(FILE))
}

/// Exit code 0 if the worker whose settings these are is healthy.
pub(super) fn check(settings: &PoolSettings) -> Exit {
    match left(&settings.folder, boot_clock::now()) {
        Ok(Some(_)) => match folder::check(&settings.folder) {
            Ok(()) => Exit::Done,
            Err(e) => unhealthy(&format!("the folder of the tasks cannot be written: {e}")),
        },
        Ok(None) => unhealthy("no heartbeat was acknowledged lately"),
        Err(e) => unhealthy(&format!("no heartbeat was ever acknowledged, as far as is known here: {e}")),
    }
}

fn unhealthy(why: &str) -> Exit {
    log::line("-", why);
    Exit::Internal
}

/// How long the worker stays healthy without another heartbeat; `None`: it is not.
fn left(folder: &Path, now: Duration) -> io::Result<Option<Duration>> {
    let text = std::fs::read_to_string(folder.join(FILE))?;
    let until =
        text.parse().map_err(|e| io::Error::new(io::ErrorKind::InvalidData, format!("{FILE}: {e}")))?;
    Ok(Duration::from_nanos(until).checked_sub(now).filter(|left| !left.is_zero()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_healthy_until_its_heartbeats_stay_away_and_not_before_the_first() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("tasks");
        assert_eq!(left(&folder, Duration::ZERO).unwrap_err().kind(), io::ErrorKind::NotFound);
        note(&folder, Duration::from_secs(15)).unwrap();
        assert_eq!(left(&folder, Duration::from_secs(10)).unwrap(), Some(Duration::from_secs(5)));
        assert_eq!(left(&folder, Duration::from_secs(15)).unwrap(), None);
        note(&folder, Duration::from_secs(18)).unwrap();
        assert_eq!(left(&folder, Duration::from_secs(15)).unwrap(), Some(Duration::from_secs(3)));
        std::fs::write(folder.join(FILE), "soon").unwrap();
        assert_eq!(left(&folder, Duration::ZERO).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
