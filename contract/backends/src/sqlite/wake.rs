//! Waiting for somebody to write to the WAL.

use rusqlite::Connection;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::ffi::OsString;
use std::io::{PipeReader, PipeWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

#[cfg(target_os = "linux")]
use inotify::Events;
#[cfg(not(target_os = "linux"))]
use nothing::Events;

/// How often the database is asked whether it changed where no events are to be had. A change is to be seen
/// within 100 ms.
const POLL: Duration = Duration::from_millis(50);

/// Why the wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Woken {
    /// Something was written.
    Event,
    /// Nothing happened for the given time.
    Timeout,
    /// The [`Stopper`] was dropped.
    Stop,
}

/// Ends the wait when it is dropped.
pub(super) struct Stopper(PipeWriter);

impl Drop for Stopper {
    fn drop(&mut self) {
        // A byte rather than the hang-up: a child that is being spawned may hold the pipe open.
        let _ = self.0.write_all(&[0]);
    }
}

/// What the watch thread waits for.
pub(super) struct Wake {
    stop: PipeReader,
    /// `None`: poll.
    events: Option<Events>,
    /// `PRAGMA data_version` when it was last asked for.
    version: Option<i64>,
}

impl Wake {
    /// Watches the WAL of the database at `path`, which exists.
    pub(super) fn watch(path: &Path) -> std::io::Result<(Self, Stopper)> {
        let (mut wake, stopper) = Self::poll()?;
        match Events::watch(path) {
            Ok(events) => wake.events = Some(events),
            Err(e) if e.kind() == std::io::ErrorKind::Unsupported => {}
            Err(e) => tracing::warn!(error = %e, "cannot watch the database file, polling it"),
        }
        Ok((wake, stopper))
    }

    /// Polls the database.
    pub(super) fn poll() -> std::io::Result<(Self, Stopper)> {
        let (stop, stopper) = std::io::pipe()?;
        Ok((Self { stop, events: None, version: None }, Stopper(stopper)))
    }

    /// Gives up on events.
    pub(super) fn poll_from_now_on(&mut self) {
        self.events = None;
    }

    /// Waits at most `timeout`; without one until something happens.
    pub(super) fn wait(&mut self, conn: &Connection, timeout: Option<Duration>) -> std::io::Result<Woken> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let nap =
                if self.events.is_some() { left } else { Some(left.map_or(POLL, |left| left.min(POLL))) };
            if self.sleep(nap)? {
                return Ok(Woken::Stop);
            }
            let happened = match &mut self.events {
                Some(events) => events.take()?,
                None => self.version_moved(conn),
            };
            if happened {
                return Ok(Woken::Event);
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(Woken::Timeout);
            }
        }
    }

    /// Forgets the events that are there.
    pub(super) fn drain(&mut self) {
        if let Some(events) = &mut self.events
            && let Err(e) = events.take()
        {
            tracing::debug!(error = %e, "could not drain the events");
        }
    }

    /// Sleeps until there is an event. Says whether to stop.
    fn sleep(&self, nap: Option<Duration>) -> std::io::Result<bool> {
        let nap = nap.map(|nap| Timespec {
            tv_sec: nap.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: nap.subsec_nanos().into(),
        });
        let mut ready = vec![PollFd::new(&self.stop, PollFlags::IN)];
        ready.extend(self.events.as_ref().map(|events| PollFd::new(events, PollFlags::IN)));
        match poll(&mut ready, nap.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(!ready[0].revents().is_empty()),
            Err(e) => Err(e.into()),
        }
    }

    /// Whether another connection committed since the last call. An error counts as a change: whoever reads
    /// next gets the error, too.
    fn version_moved(&mut self, conn: &Connection) -> bool {
        let version = conn
            .prepare_cached("PRAGMA data_version")
            .and_then(|mut version| version.query_row([], |row| row.get(0)));
        let version = version.ok();
        let moved = version.is_none() || version != self.version;
        self.version = version;
        moved
    }
}

/// The file that `path` leads to, if it is there: SQLite follows symbolic links, and what it puts beside the database
/// is beside that file.
pub(super) fn resolved(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// The path of a database, [`resolved`], with `suffix` appended, as SQLite names the files beside it.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(target_os = "linux")]
mod inotify {
    use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
    use rustix::io::Errno;
    use std::ffi::CString;
    use std::mem::MaybeUninit;
    use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
    use std::os::unix::ffi::OsStrExt;
    use std::path::{Path, PathBuf};

    /// Writes to the WAL, and new files of its name: the last process that leaves deletes the WAL, and some
    /// tools replace the whole database.
    pub(super) struct Events {
        inotify: OwnedFd,
        wal: PathBuf,
        name: CString,
    }

    impl Events {
        pub(super) fn watch(path: &Path) -> std::io::Result<Self> {
            let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
            let path = super::resolved(path);
            let wal = super::beside(&path, "-wal");
            let name = CString::new(wal.file_name().unwrap_or_default().as_bytes())?;
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = folder.unwrap_or(Path::new("."));
            inotify::add_watch(&inotify, folder, WatchFlags::CREATE | WatchFlags::MOVED_TO)?;
            let events = Self { inotify, wal, name };
            events.watch_wal()?;
            Ok(events)
        }

        /// Watches the file that has the WAL's name now. One that does not exist announces itself by its
        /// creation.
        fn watch_wal(&self) -> std::io::Result<()> {
            match inotify::add_watch(&self.inotify, &self.wal, WatchFlags::MODIFY) {
                Ok(_) | Err(Errno::NOENT) => Ok(()),
                Err(e) => Err(e.into()),
            }
        }

        /// Takes the events that are there. Says whether one of them may be a commit.
        pub(super) fn take(&mut self) -> std::io::Result<bool> {
            let mut buffer = [MaybeUninit::uninit(); 4096];
            let mut reader = Reader::new(&self.inotify, &mut buffer);
            let (mut commit, mut new_wal) = (false, false);
            loop {
                match reader.next() {
                    Ok(event) => {
                        // Overflow: events were lost, so anything may have happened.
                        let lost = event.events().contains(ReadFlags::QUEUE_OVERFLOW);
                        new_wal |= lost || event.file_name() == Some(&self.name);
                        commit |= event.events().contains(ReadFlags::MODIFY);
                    }
                    Err(Errno::AGAIN) => break,
                    Err(Errno::INTR) => {}
                    Err(e) => return Err(e.into()),
                }
            }
            if new_wal {
                self.watch_wal()?;
            }
            Ok(commit || new_wal)
        }
    }

    impl AsFd for Events {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.inotify.as_fd()
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod nothing {
    use std::os::fd::{AsFd, BorrowedFd};
    use std::path::Path;

    /// This system has no events that the program knows.
    pub(super) enum Events {}

    impl Events {
        pub(super) fn watch(_: &Path) -> std::io::Result<Self> {
            Err(std::io::ErrorKind::Unsupported.into())
        }

        pub(super) fn take(&mut self) -> std::io::Result<bool> {
            match *self {}
        }
    }

    impl AsFd for Events {
        fn as_fd(&self) -> BorrowedFd<'_> {
            match *self {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const LONG: Option<Duration> = Some(Duration::from_secs(20));
    const SHORT: Option<Duration> = Some(Duration::from_millis(30));

    #[cfg(target_os = "linux")]
    #[test]
    fn a_wal_that_is_deleted_and_made_anew_is_still_watched() {
        let folder = tempfile::tempdir().unwrap();
        let (path, conn) = (folder.path().join("a.db"), Connection::open_in_memory().unwrap());
        let (wal, other) = (folder.path().join("a.db-wal"), folder.path().join("b.db-wal"));
        let (mut wake, stopper) = Wake::watch(&path).unwrap();
        for round in 0..3 {
            fs::write(&wal, "made").unwrap();
            assert_eq!(wake.wait(&conn, LONG).unwrap(), Woken::Event, "made in round {round}");
            wake.drain();
            fs::write(&wal, "written").unwrap();
            assert_eq!(wake.wait(&conn, LONG).unwrap(), Woken::Event, "written in round {round}");
            wake.drain();
            fs::remove_file(&wal).unwrap();
            fs::write(&other, "of no interest").unwrap();
            assert_eq!(wake.wait(&conn, SHORT).unwrap(), Woken::Timeout, "removed in round {round}");
        }
        fs::write(&other, "moved").unwrap();
        fs::rename(&other, &wal).unwrap();
        assert_eq!(wake.wait(&conn, LONG).unwrap(), Woken::Event);
        drop(stopper);
        assert_eq!(wake.wait(&conn, None).unwrap(), Woken::Stop);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_wal_of_a_database_that_is_named_by_a_link_is_watched_where_sqlite_has_it() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (link, path) = (here.path().join("link.db"), there.path().join("a.db"));
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let open = || {
            let conn = Connection::open(&link).unwrap();
            conn.execute_batch("PRAGMA journal_mode = WAL").unwrap();
            conn
        };
        let (conn, other) = (open(), open());
        let (mut wake, _stopper) = Wake::watch(&link).unwrap();
        other.execute_batch("CREATE TABLE t (a)").unwrap();
        assert_eq!(wake.wait(&conn, LONG).unwrap(), Woken::Event);
    }

    #[test]
    fn polling_notices_commits_of_other_connections() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let (conn, other) = (Connection::open(&path).unwrap(), Connection::open(&path).unwrap());
        other.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (a)").unwrap();
        let (mut wake, stopper) = Wake::poll().unwrap();
        assert_eq!(wake.wait(&conn, LONG).unwrap(), Woken::Event, "the first look finds something new");
        assert_eq!(wake.wait(&conn, SHORT).unwrap(), Woken::Timeout);
        other.execute_batch("INSERT INTO t VALUES (1)").unwrap();
        assert_eq!(wake.wait(&conn, LONG).unwrap(), Woken::Event);
        assert_eq!(wake.wait(&conn, SHORT).unwrap(), Woken::Timeout);
        drop(stopper);
        assert_eq!(wake.wait(&conn, None).unwrap(), Woken::Stop);
    }
}
