//! Connections: opening, waiting for locks, and what SQLite's errors mean.

use crate::durability::Durability;
use crate::records::RecordsError;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::path::Path;
use std::time::{Duration, Instant};

/// Pauses between two tries to get a lock. The write lock is held for some ten microseconds as a rule, and
/// for milliseconds with an fsync.
const FIRST_PAUSE: Duration = Duration::from_micros(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(2);

/// Pages of WAL (4 KiB each) at which a commit checkpoints by itself. The orchestrator's watch thread
/// checkpoints long before, beside the writers; this bounds the file while no orchestrator is up.
const OWN_CHECKPOINT_PAGES: u32 = 16_384;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The orchestrator's only writing connection; creates the file.
    Writer,
    /// Reads, watches, leases: small cache.
    Small,
    /// A worker: opened for each task, so it does as little as possible.
    Worker,
}

/// Opens `path` without looking into it.
pub(super) fn open(path: &Path, purpose: Purpose, durability: Durability) -> rusqlite::Result<Connection> {
    let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if purpose == Purpose::Writer {
        flags |= OpenFlags::SQLITE_OPEN_CREATE;
    }
    let conn = Connection::open_with_flags(path, flags)?;
    // No busy handler: it could not be told how long to wait, `patiently` can.
    conn.busy_timeout(Duration::ZERO)?;
    // The last process to leave need not move the WAL into the database; the next checkpoint does.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // Without it a statement with ORDER BY is planned again each time it gets other values, because the
    // planner has compared them with the columns: it did so for every look at a job.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    let synchronous = match durability {
        Durability::Process => "NORMAL",
        Durability::Power => "FULL",
    };
    // Cache sizes in KiB bound what an idle orchestrator keeps in memory; 64 MiB is what stays of a WAL that
    // grew during a bulk edit.
    let cache = match purpose {
        Purpose::Writer => "PRAGMA cache_size = -4096; PRAGMA journal_size_limit = 67108864;",
        Purpose::Small => "PRAGMA cache_size = -512;",
        Purpose::Worker => "",
    };
    let pragmas = format!(
        "PRAGMA wal_autocheckpoint = {OWN_CHECKPOINT_PAGES}; PRAGMA synchronous = {synchronous}; {cache}"
    );
    patiently(Duration::from_secs(1), || conn.execute_batch(&pragmas))?;
    conn.set_prepared_statement_cache_capacity(64);
    Ok(conn)
}

/// Repeats `attempt` while it finds a lock in its way, for at most `limit`. An attempt that was refused by a
/// lock must have done nothing.
pub(super) fn patiently<T>(
    limit: Duration,
    mut attempt: impl FnMut() -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let mut pause = FIRST_PAUSE;
    let mut deadline = None;
    loop {
        match attempt() {
            Err(e) if is_busy(&e) => {
                let now = Instant::now();
                if now >= *deadline.get_or_insert_with(|| now + limit) {
                    return Err(e);
                }
                std::thread::sleep(pause);
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            other => return other,
        }
    }
}

/// Whether another connection's lock was in the way.
pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// What an error before or outside of COMMIT means; nothing was written then.
pub(super) fn failed(error: &rusqlite::Error) -> RecordsError {
    // SQLite's own text, without rusqlite's description of the code.
    let text = match error {
        rusqlite::Error::SqliteFailure(_, Some(text)) => text.clone(),
        other => other.to_string(),
    };
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => RecordsError::Busy(text),
        Some(ErrorCode::ConstraintViolation | ErrorCode::TooBig) => RecordsError::Refused(text),
        // `Unknown` is SQLITE_ERROR: a table or column is missing, so the file is not what it claims to be.
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt | ErrorCode::Unknown) | None => {
            RecordsError::Unusable(text)
        }
        Some(ErrorCode::ReadOnly) => RecordsError::Unavailable(format!(
            "the database is read-only ({text}); this process needs the right to write the file, its folder and the \
             -wal and -shm files beside it, on a file system that is mounted for writing"
        )),
        Some(_) => RecordsError::Unavailable(text),
    }
}

/// What a failed COMMIT means. In WAL mode the transaction counts once its last frame is complete in the
/// WAL; an error after that (an fsync, a padding frame) is answered as a failure, yet a recovery after a
/// crash could still find the frame.
pub(super) fn commit_failed(error: &rusqlite::Error, durability: Durability) -> RecordsError {
    match (error.sqlite_error_code(), durability) {
        // Only the last step of a commit can complete that frame, and a full disk stops it. With FULL,
        // copies of the last frame may follow it (padding to the sector size).
        (Some(ErrorCode::DiskFull), Durability::Process) => failed(error),
        (
            Some(
                ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::ReadOnly
                | ErrorCode::ConstraintViolation,
            ),
            _,
        ) => failed(error),
        _ => RecordsError::Uncertain(error.to_string()),
    }
}

/// Ends whatever transaction is open.
pub(super) fn roll_back(conn: &Connection) {
    if !conn.is_autocommit()
        && let Err(e) = conn.execute_batch("ROLLBACK")
    {
        tracing::warn!(error = %e, "could not roll back");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::Retry;
    use rusqlite::ffi;

    fn error(code: i32) -> rusqlite::Error {
        rusqlite::Error::SqliteFailure(ffi::Error::new(code), Some("words".to_owned()))
    }

    #[test]
    fn an_error_before_the_commit_is_definite() {
        for (code, expected) in [
            (ffi::SQLITE_BUSY, RecordsError::Busy("words".into())),
            (ffi::SQLITE_BUSY_RECOVERY, RecordsError::Busy("words".into())),
            (ffi::SQLITE_FULL, RecordsError::Unavailable("words".into())),
            (ffi::SQLITE_IOERR_WRITE, RecordsError::Unavailable("words".into())),
            (ffi::SQLITE_CANTOPEN, RecordsError::Unavailable("words".into())),
            (ffi::SQLITE_CONSTRAINT_TRIGGER, RecordsError::Refused("words".into())),
            (ffi::SQLITE_NOTADB, RecordsError::Unusable("words".into())),
            (ffi::SQLITE_ERROR, RecordsError::Unusable("words".into())),
        ] {
            assert_eq!(failed(&error(code)), expected);
            assert_ne!(failed(&error(code)).retry(), Retry::Uncertain);
        }
        let read_only = failed(&error(ffi::SQLITE_READONLY));
        assert_eq!(read_only.retry(), Retry::Later);
        assert!(
            read_only.to_string().contains("the database is read-only (words); this process needs"),
            "{read_only}"
        );
    }

    #[test]
    fn a_commit_that_broke_off_may_have_happened() {
        let fsync = error(ffi::SQLITE_IOERR_FSYNC);
        assert_eq!(commit_failed(&fsync, Durability::Power).retry(), Retry::Uncertain);
        assert_eq!(
            commit_failed(&error(ffi::SQLITE_IOERR_WRITE), Durability::Process).retry(),
            Retry::Uncertain
        );
        let full = error(ffi::SQLITE_FULL);
        assert_eq!(commit_failed(&full, Durability::Process).retry(), Retry::Later);
        assert_eq!(commit_failed(&full, Durability::Power).retry(), Retry::Uncertain);
        assert_eq!(commit_failed(&error(ffi::SQLITE_BUSY), Durability::Power).retry(), Retry::Later);
    }

    #[test]
    fn waiting_for_a_lock_ends_and_other_errors_do_not_wait() {
        let start = Instant::now();
        let mut tries = 0;
        let waited = patiently::<()>(Duration::from_millis(20), || {
            tries += 1;
            Err(error(ffi::SQLITE_BUSY))
        });
        assert!(waited.is_err() && tries > 3 && start.elapsed() >= Duration::from_millis(20));
        tries = 0;
        let refused = patiently::<()>(Duration::from_secs(60), || {
            tries += 1;
            Err(error(ffi::SQLITE_FULL))
        });
        assert!(refused.is_err() && tries == 1);
    }

    #[test]
    fn a_statement_is_planned_once_whatever_values_it_gets() {
        let folder = tempfile::tempdir().unwrap();
        let conn = open(&folder.path().join("a.db"), Purpose::Writer, Durability::Process).unwrap();
        conn.execute_batch("CREATE TABLE t (k TEXT, l TEXT, n INTEGER, UNIQUE (k, l))").unwrap();
        for k in ["a", "b"] {
            let mut statement = conn.prepare_cached("SELECT n FROM t WHERE k = ?1 ORDER BY n").unwrap();
            assert!(!statement.exists([k]).unwrap());
            assert_eq!(statement.get_status(rusqlite::StatementStatus::RePrepare), 0);
        }
    }
}
