//! Notices commits of other processes, and checkpoints.
//!
//! One thread sleeps until the WAL is written to (on Linux by inotify, elsewhere it asks every 50 ms for
//! `PRAGMA data_version`) and then reads the feed. Writing frames and making them visible are two moments,
//! with an fsync between them when the writer has `synchronous=FULL`, and only the first makes an event. So
//! the feed is read again after growing pauses, for about a second, and after that twice a second for as long as
//! somebody has the lock of writers: whose fsync takes seconds has it.
//!
//! The same thread moves the WAL into the database, beside the writers instead of inside one of their
//! commits.

use super::feed::Feed;
use super::wake::{Wake, Woken};
use rusqlite::Connection;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// From an event to the first look: a commit in mode NORMAL is visible by then.
const SETTLE: Duration = Duration::from_micros(150);
/// The same while there are commits all the time: at most a thousand looks a second.
const SETTLE_BUSY: Duration = Duration::from_millis(1);
/// Pauses between the looks after an event double from the first to the last.
const FIRST_LOOK: Duration = Duration::from_millis(1);
const LAST_LOOK: Duration = Duration::from_millis(512);

/// Revisions after which the WAL is moved: a few thousand pages, of which many are the same.
const CHECKPOINT_AFTER: i64 = 1_000;
/// Fewer revisions are moved this long after the last time.
const CHECKPOINT_AT_LATEST: Duration = Duration::from_secs(60);
/// Pages in the WAL (4 KiB each) from which on writers are held up until it starts anew; under a steady load
/// it otherwise never does.
const WAL_TOO_LONG: i64 = 8_192;
/// How long writers may be held up for that.
const HOLD_UP: Duration = Duration::from_millis(100);

/// The watch thread's state.
pub(super) struct Watch {
    conn: Connection,
    feed: Arc<Feed>,
    wake: Wake,
    /// The revision at the last checkpoint, and when that was.
    moved: (i64, Instant),
}

impl Watch {
    pub(super) fn new(conn: Connection, feed: Arc<Feed>, wake: Wake) -> Self {
        // Behind by one: what earlier processes left in the WAL is moved after a while, too.
        let moved = (feed.position() - 1, Instant::now());
        Self { conn, feed, wake, moved }
    }

    /// Runs until the other end of `wake` is dropped.
    pub(super) fn run(mut self) {
        let mut pause = Some(FIRST_LOOK);
        let mut last_look = Instant::now();
        loop {
            match self.wake.wait(&self.conn, pause.or_else(|| self.until_checkpoint())) {
                Ok(Woken::Stop) => return,
                Ok(Woken::Event) => {
                    let busy = last_look.elapsed() < SETTLE_BUSY * 2;
                    std::thread::sleep(if busy { SETTLE_BUSY } else { SETTLE });
                    self.wake.drain();
                    pause = Some(FIRST_LOOK);
                }
                Ok(Woken::Timeout) => pause = pause.and_then(|pause| next_pause(&self.conn, pause)),
                Err(e) => {
                    tracing::warn!(error = %e, "cannot wait for changes of the database file");
                    self.feed.resync();
                    self.wake.poll_from_now_on();
                    std::thread::sleep(LAST_LOOK);
                }
            }
            last_look = Instant::now();
            let read = self.feed.read(&self.conn);
            if read.is_err() {
                pause = pause.or(Some(LAST_LOOK));
            }
            self.feed.deliver(read, &[]);
            if self.until_checkpoint() == Some(Duration::ZERO) {
                self.checkpoint();
            }
        }
    }

    /// How long until the WAL is to be moved; `None` when nothing is in it.
    fn until_checkpoint(&self) -> Option<Duration> {
        let (revision, at) = self.moved;
        match self.feed.position() - revision {
            0 => None,
            1..CHECKPOINT_AFTER => Some(CHECKPOINT_AT_LATEST.saturating_sub(at.elapsed())),
            _ => Some(Duration::ZERO),
        }
    }

    fn checkpoint(&mut self) {
        self.moved = (self.feed.position(), Instant::now());
        if let Err(e) = self.move_wal() {
            tracing::warn!(error = %e, "could not checkpoint the database");
        }
    }

    fn move_wal(&self) -> rusqlite::Result<()> {
        let pages = |pragma: &str| self.conn.query_row(pragma, [], |row| row.get::<_, i64>(1));
        if pages("PRAGMA wal_checkpoint(PASSIVE)")? > WAL_TOO_LONG {
            // Little is left to move now, so the writers wait for a moment only.
            self.conn.busy_timeout(HOLD_UP)?;
            pages("PRAGMA wal_checkpoint(RESTART)")?;
            self.conn.busy_timeout(Duration::ZERO)?;
        }
        Ok(())
    }
}

/// How long to wait after a look that came after `pause`; `None` when nothing can be on its way any more.
fn next_pause(conn: &Connection, pause: Duration) -> Option<Duration> {
    match pause * 2 {
        next if next <= LAST_LOOK => Some(next),
        _ => somebody_writes(conn).then_some(LAST_LOOK),
    }
}

/// Whether a transaction that writes is open, or may be. To find out takes the lock for some microseconds, so it is
/// asked for once after the last of many events.
fn somebody_writes(conn: &Connection) -> bool {
    conn.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pauses(conn: &Connection) -> impl Iterator<Item = Duration> {
        std::iter::successors(Some(FIRST_LOOK), |pause| next_pause(conn, *pause))
    }

    #[test]
    fn looks_end_after_a_second_or_when_nobody_writes_any_more() {
        let folder = tempfile::tempdir().unwrap();
        let open = || {
            let conn = Connection::open(folder.path().join("a.db")).unwrap();
            conn.execute_batch("PRAGMA journal_mode = WAL; PRAGMA busy_timeout = 0").unwrap();
            conn
        };
        let (conn, writer) = (open(), open());
        assert_eq!((pauses(&conn).count(), pauses(&conn).sum()), (10, Duration::from_millis(1023)));
        // As while its fsync takes long: what it has written is not visible yet.
        writer.execute_batch("BEGIN IMMEDIATE; CREATE TABLE t (a)").unwrap();
        assert_eq!(pauses(&conn).skip(10).take(50).sum::<Duration>(), LAST_LOOK * 50);
        writer.execute_batch("COMMIT").unwrap();
        assert_eq!(next_pause(&conn, LAST_LOOK), None);
        assert!(conn.is_autocommit(), "the lock is given back");
    }
}
