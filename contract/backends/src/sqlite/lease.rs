//! The lease on a SQLite file: an operating system lock says who holds it, a row says which epoch it is.

use super::connect::{Purpose, failed, open, patiently};
use super::schema;
use super::wake::{beside, resolved};
use crate::clock::{Clock, SystemClock};
use crate::durability::Durability;
use crate::lease::{Lease, LeaseError, LeaseHeld, LeaseView};
use async_trait::async_trait;
use contract::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Renewals are for people, so they are written this rarely: each touches the WAL and wakes the watchers.
const RENEW_EVERY: Duration = Duration::from_secs(5);
/// How long a call waits for the database. Short: the OS lock keeps the lease meanwhile.
const PATIENCE: Duration = Duration::from_millis(100);

/// The lease of the reconciler that works on one database file.
///
/// The holder has the file `<database>.lease` locked (`flock`), so the lease is free the moment its process
/// is dead, and a second lease in the same process does not get it; whoever names the database by a symbolic link
/// locks the same file. The row in the database counts the
/// epochs and tells people who holds the lease.
#[derive(Debug)]
pub struct SqliteLease {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    conn: Option<Connection>,
    held: Option<Held>,
}

#[derive(Debug)]
struct Held {
    lock: File,
    epoch: i64,
    /// When the row was last written.
    written: Instant,
}

impl SqliteLease {
    /// The lease on the database at `path`. Nothing is opened before it is asked for.
    #[must_use]
    pub fn open(path: &Path) -> Self {
        Self { path: path.to_owned(), state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_path(&self) -> PathBuf {
        beside(&resolved(&self.path), ".lease")
    }

    /// Takes the OS lock; `None` when somebody else has it.
    fn lock(&self) -> std::io::Result<Option<File>> {
        let path = self.lock_path();
        let lock = File::options().read(true).write(true).create(true).truncate(false).open(&path)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(self.is_current(&lock).then_some(lock)),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Whether the locked file still has its name. If somebody deleted it, others lock another file.
    fn is_current(&self, lock: &File) -> bool {
        match (lock.metadata(), std::fs::metadata(self.lock_path())) {
            (Ok(ours), Ok(named)) => (ours.dev(), ours.ino()) == (named.dev(), named.ino()),
            _ => false,
        }
    }
}

impl State {
    fn conn(&mut self, path: &Path) -> Result<&Connection, LeaseError> {
        if self.conn.is_none() {
            let conn = open(path, Purpose::Writer, Durability::Process).map_err(|e| unavailable(&e))?;
            schema::prepare(&conn, PATIENCE).map_err(|e| LeaseError::Unavailable(e.to_string()))?;
            conn.execute_batch("PRAGMA cache_size = -64").map_err(|e| unavailable(&e))?;
            self.conn = Some(conn);
        }
        self.conn.as_ref().ok_or_else(|| LeaseError::Unavailable("not open".to_owned()))
    }
}

fn unavailable(error: &rusqlite::Error) -> LeaseError {
    LeaseError::Unavailable(failed(error).to_string())
}

fn now() -> i64 {
    SystemClock::default().now().millis()
}

#[async_trait]
impl Lease for SqliteLease {
    async fn acquire(&self, holder: &str) -> Result<Option<LeaseHeld>, LeaseError> {
        let mut state = self.state();
        if let Some(held) = &state.held {
            if self.is_current(&held.lock) {
                return Ok(Some(LeaseHeld { epoch: held.epoch.unsigned_abs() }));
            }
            state.held = None;
        }
        let lock = self.lock().map_err(|e| LeaseError::Unavailable(e.to_string()))?;
        let Some(lock) = lock else { return Ok(None) };
        let sql = "INSERT INTO lease VALUES (1, 1, ?1, ?2, 0)
                   ON CONFLICT (id) DO UPDATE SET epoch = epoch + 1, holder = ?1, renewed_at = ?2, released = 0
                   RETURNING epoch";
        let conn = state.conn(&self.path)?;
        let epoch: i64 = patiently(PATIENCE, || {
            conn.prepare_cached(sql)?.query_row(params![holder, now()], |row| row.get(0))
        })
        .map_err(|e| unavailable(&e))?;
        state.held = Some(Held { lock, epoch, written: Instant::now() });
        Ok(Some(LeaseHeld { epoch: epoch.unsigned_abs() }))
    }

    async fn renew(&self) -> Result<bool, LeaseError> {
        let mut state = self.state();
        let Some(held) = &state.held else { return Ok(false) };
        if !self.is_current(&held.lock) {
            state.held = None;
            return Ok(false);
        }
        if held.written.elapsed() < RENEW_EVERY {
            return Ok(true);
        }
        let epoch = held.epoch;
        let sql = "UPDATE lease SET renewed_at = ?2 WHERE epoch = ?1 AND released = 0";
        let conn = state.conn(&self.path)?;
        let renewed = patiently(PATIENCE, || conn.prepare_cached(sql)?.execute([epoch, now()]))
            .map_err(|e| unavailable(&e))?;
        if renewed == 0 {
            // Somebody changed the row by hand: without our epoch in it we are not the leader.
            state.held = None;
        } else if let Some(held) = &mut state.held {
            held.written = Instant::now();
        }
        Ok(renewed == 1)
    }

    async fn release(&self) -> Result<(), LeaseError> {
        let mut state = self.state();
        let Some(Held { lock, epoch, .. }) = state.held.take() else { return Ok(()) };
        let sql = "UPDATE lease SET released = 1 WHERE epoch = ?1";
        let released = state.conn(&self.path).and_then(|conn| {
            patiently(PATIENCE, || conn.prepare_cached(sql)?.execute([epoch])).map_err(|e| unavailable(&e))
        });
        // After the row, or the next holder's row could be marked. Also when the row could not be written.
        drop(lock);
        released.map(drop)
    }

    async fn view(&self) -> Result<Option<LeaseView>, LeaseError> {
        let mut state = self.state();
        let conn = state.conn(&self.path)?;
        let view = patiently(PATIENCE, || {
            conn.prepare_cached("SELECT holder, epoch, renewed_at, released FROM lease WHERE id = 1")?
                .query_row([], |row| {
                    Ok(LeaseView {
                        holder: row.get(0)?,
                        epoch: row.get::<_, i64>(1)?.unsigned_abs(),
                        renewed_at: Timestamp::from_millis(row.get(2)?),
                        released: row.get(3)?,
                    })
                })
                .optional()
        });
        view.map_err(|e| unavailable(&e))
    }
}
