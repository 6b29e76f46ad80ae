//! Where a running attempt's log is: in pieces below `<attempt folder>/live/`, each stored once.
//!
//! The worker stores a piece whenever the log has grown, so that the log of a running agent is readable by the
//! same way in every mode: from a folder, from S3, without a second service that keeps logs and forgets them by
//! its own rules. The key of a piece says which bytes it holds from where on, and when they were shipped.

use crate::time::Timestamp;

/// A piece of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogPiece {
    /// The place of its first byte in the log.
    pub offset: u64,
    /// When it was stored, by the worker's clock.
    pub shipped_at: Timestamp,
}

/// The folder of the pieces of `log` (`stdout.log` or `stderr.log`) below the folder of its attempt.
#[must_use]
pub fn folder(attempt_folder: &str, log: &str) -> String {
    format!("{attempt_folder}/live/{log}")
}

/// Whether `path`, of any artifact, is a piece of a live log. The agent's own files are below `artifacts/`.
#[must_use]
pub fn is_piece(path: &str) -> bool {
    path.rsplit('/').nth(2) == Some("live") && !path.contains("/artifacts/")
}

impl LogPiece {
    /// The key of this piece in `folder`. Keys sort by offset.
    #[must_use]
    pub fn key(&self, folder: &str) -> String {
        format!("{folder}/{:012}-{:014}", self.offset, self.shipped_at.millis())
    }

    /// Reads a key.
    #[must_use]
    pub fn of_key(key: &str) -> Option<Self> {
        let (offset, millis) = key.rsplit('/').next()?.split_once('-')?;
        let shipped_at = Timestamp::from_millis(millis.parse().ok()?);
        Some(Self { offset: offset.parse().ok()?, shipped_at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_known_by_its_key_and_pieces_sort_by_their_place() {
        let folder = folder("jobs/j/attempts/1-ab", "stdout.log");
        let piece = |offset| LogPiece { offset, shipped_at: Timestamp::from_millis(1_700_000_000_123) };
        let keys = [piece(9).key(&folder), piece(10).key(&folder), piece(10_485_760).key(&folder)];
        assert!(keys.is_sorted(), "{keys:?}");
        assert_eq!(LogPiece::of_key(&keys[2]), Some(piece(10_485_760)));
        assert!(is_piece(&keys[0]));
        assert!(!is_piece("jobs/j/attempts/1-ab/artifacts/live/stdout.log/000-1"));
        assert!(!is_piece("jobs/j/attempts/1-ab/stdout.log"));
        assert_eq!(LogPiece::of_key("jobs/j/attempts/1-ab/stdout.log"), None);
    }
}
