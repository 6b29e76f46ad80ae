//! [`SqliteRecords`]: the port on top of the reads, the writes and the threads.

use super::connect::{Purpose, failed, open, patiently};
use super::feed::Feed;
use super::home::Home;
use super::ops::{self, ClaimText, ControlText, ReportText};
use super::wake::{Stopper, Wake};
use super::watch::Watch;
use super::writer::{Effects, Writer, alone};
use super::{read, schema};
use crate::crash::{self, Act};
use crate::durability::Durability;
use crate::hints::{ChangeFeed, ChannelHints, Hints, HintsError, Interest};
use crate::records::{
    Closed, ControlWrite, CreateAnswer, GateAnswer, ListQuery, Loaded, NewJob, Page, RecordsBackend,
    RecordsError, Revision, StartAnswer, WriteAnswer,
};
use async_trait::async_trait;
use contract::{
    Claim, Closing, Control, Desired, Gate, Job, JobId, LaunchToken, LeaveReason, Raw, Report, TaskId,
    Timestamp,
};
use futures_channel::oneshot;
use rusqlite::Connection;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Who opens the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// A process that stays: a writing thread, connections for reading, the change feed. Creates the file.
    Orchestrator,
    /// A process that executes one attempt: one connection, everything on the calling thread. The file must
    /// exist in this program's version.
    Worker,
}

impl Access {
    /// How long a call waits while another process holds the write lock, before it says `Busy`. The
    /// orchestrator's loop paces itself, a worker has nothing better to do.
    fn patience(self) -> Duration {
        match self {
            Self::Orchestrator => Duration::from_secs(2),
            Self::Worker => Duration::from_secs(5),
        }
    }
}

/// How to open the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SqliteOptions {
    /// What a write survives.
    pub durability: Durability,
    /// Who opens it.
    pub access: Access,
}

/// Connections for reading that are kept open.
const READERS: usize = 4;

/// Connections for reading.
struct Readers {
    home: Arc<Home>,
    durability: Durability,
    patience: Duration,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    fn read<T>(&self, mut read: impl FnMut(&Connection) -> rusqlite::Result<T>) -> Result<T, RecordsError> {
        self.home.check()?;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let conn = match idle {
            Some(conn) => conn,
            None => open(self.home.path(), Purpose::Small, self.durability).map_err(|e| failed(&e))?,
        };
        // In WAL mode a reader meets a lock only while somebody recovers the file.
        let answer = patiently(self.patience, || read(&conn)).map_err(|e| failed(&e));
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < READERS {
            idle.push(conn);
        }
        answer
    }
}

/// The threads of an orchestrator. The order of the fields is the order in which they end.
struct Threads {
    writer: Writer,
    _watcher: Watcher,
    feed: Arc<Feed>,
    readers: Arc<Readers>,
}

struct Watcher {
    stopper: Option<Stopper>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.stopper = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

enum Side {
    Orchestrator(Threads),
    Worker(Mutex<Connection>),
}

/// Records in a SQLite file. See [the module](super).
pub struct SqliteRecords {
    side: Side,
    id: String,
    durability: Durability,
    patience: Duration,
}

impl std::fmt::Debug for SqliteRecords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteRecords").field("durability", &self.durability).finish_non_exhaustive()
    }
}

impl SqliteRecords {
    /// Opens the file at `path`; the orchestrator creates it, and its folder, if need be.
    ///
    /// # Errors
    /// [`RecordsError::Unusable`] when the file is no database of this program's version,
    /// [`RecordsError::Unavailable`] and [`RecordsError::Busy`] when it cannot be opened now.
    pub fn open(path: &Path, options: SqliteOptions) -> Result<Arc<Self>, RecordsError> {
        Self::open_with(path, options, options.access.patience())
    }

    /// Like [`SqliteRecords::open`]; calls wait at most `patience` for another process's lock.
    ///
    /// # Errors
    /// As [`SqliteRecords::open`].
    pub fn open_with(
        path: &Path,
        options: SqliteOptions,
        patience: Duration,
    ) -> Result<Arc<Self>, RecordsError> {
        let durability = options.durability;
        let (side, id) = match options.access {
            Access::Orchestrator => {
                let (threads, id) = Threads::start(path, durability, patience, Wake::watch)?;
                (Side::Orchestrator(threads), id)
            }
            Access::Worker => {
                let conn = open(path, Purpose::Worker, durability).map_err(|e| failed(&e))?;
                schema::check(&conn, patience)?;
                (Side::Worker(Mutex::new(conn)), String::new())
            }
        };
        Ok(Arc::new(Self { side, id, durability, patience }))
    }

    /// The name that the database gave itself when it was made. A worker does not ask for it: empty.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Hints about changes from now on; what is older is for a resync to find. A worker gets none.
    #[must_use]
    pub fn subscribe(&self, interest: Interest) -> ChannelHints {
        match &self.side {
            Side::Orchestrator(threads) => threads.feed.subscribe(interest),
            Side::Worker(_) => ChannelHints::new().1,
        }
    }

    async fn write<F, T>(&self, act: Act, mut run: F) -> Result<T, RecordsError>
    where
        F: FnMut(&Connection, &mut Effects) -> rusqlite::Result<T> + Send + 'static,
        T: Send + 'static,
    {
        crash::before(act);
        let answer = match &self.side {
            Side::Orchestrator(threads) => threads.writer.write(run).await,
            Side::Worker(conn) => {
                let conn = conn.lock().unwrap_or_else(PoisonError::into_inner);
                alone(&conn, self.durability, self.patience, &mut run)
            }
        };
        crash::after(act);
        answer
    }

    fn read<T>(&self, mut read: impl FnMut(&Connection) -> rusqlite::Result<T>) -> Result<T, RecordsError> {
        match &self.side {
            Side::Orchestrator(threads) => threads.readers.read(read),
            Side::Worker(conn) => {
                let conn = conn.lock().unwrap_or_else(PoisonError::into_inner);
                patiently(self.patience, || read(&conn)).map_err(|e| failed(&e))
            }
        }
    }
}

impl Threads {
    fn start(
        path: &Path,
        durability: Durability,
        patience: Duration,
        wake: fn(&Path) -> std::io::Result<(Wake, Stopper)>,
    ) -> Result<(Self, String), RecordsError> {
        let unavailable = |e: std::io::Error| RecordsError::Unavailable(e.to_string());
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(unavailable)?;
        }
        let conn = open(path, Purpose::Writer, durability).map_err(|e| failed(&e))?;
        schema::prepare(&conn, patience)?;
        let home = Arc::new(Home::of(path)?);
        let id = patiently(patience, || conn.query_row("SELECT id FROM store", [], |row| row.get(0)))
            .map_err(|e| failed(&e))?;
        let feed = Arc::new(patiently(patience, || Feed::start(&conn)).map_err(|e| failed(&e))?);
        let watching = open(path, Purpose::Small, durability).map_err(|e| failed(&e))?;
        let (wake, stopper) = wake(path).map_err(unavailable)?;
        let watch = Watch::new(watching, feed.clone(), wake);
        let thread = std::thread::Builder::new()
            .name("records-watch".to_owned())
            .stack_size(512 * 1024)
            .spawn(move || watch.run())
            .map_err(unavailable)?;
        let threads = Self {
            writer: Writer::start(conn, home.clone(), feed.clone(), durability, patience)
                .map_err(unavailable)?,
            _watcher: Watcher { stopper: Some(stopper), thread: Some(thread) },
            feed,
            readers: Arc::new(Readers { home, durability, patience, idle: Mutex::default() }),
        };
        Ok((threads, id))
    }
}

#[async_trait]
impl ChangeFeed for SqliteRecords {
    async fn subscribe(&self, interest: Interest) -> Result<Option<Box<dyn Hints>>, HintsError> {
        Ok(Some(Box::new(Self::subscribe(self, interest))))
    }
}

#[async_trait]
impl RecordsBackend for SqliteRecords {
    async fn job(&self, job_id: &JobId) -> Result<Option<Job>, RecordsError> {
        self.read(|conn| read::job(conn, job_id))
    }

    async fn load(&self, job_id: &JobId) -> Result<Option<Loaded>, RecordsError> {
        self.read(|conn| read::load(conn, job_id))
    }

    async fn writable(&self) -> Result<(), RecordsError> {
        match &self.side {
            Side::Orchestrator(threads) => threads.writer.writable().await,
            Side::Worker(_) => Ok(()),
        }
    }

    async fn list_active(&self) -> Result<Vec<(JobId, Revision)>, RecordsError> {
        let Side::Orchestrator(threads) = &self.side else { return self.read(read::list_active) };
        // Tens of milliseconds for 100,000 jobs: too long for a thread that others wait for.
        let readers = threads.readers.clone();
        let (to, answer) = oneshot::channel();
        std::thread::Builder::new()
            .name("records-resync".to_owned())
            .spawn(move || drop(to.send(readers.read(read::list_active))))
            .map_err(|e| RecordsError::Unavailable(e.to_string()))?;
        answer.await.map_err(|_| RecordsError::Unavailable("the reading thread has ended".to_owned()))?
    }

    async fn list_expired(&self, now: Timestamp, limit: usize) -> Result<Vec<JobId>, RecordsError> {
        self.read(|conn| read::list_expired(conn, now, limit))
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, RecordsError> {
        let before = match query.cursor.as_deref().map(str::parse) {
            None => i64::MAX,
            // Places count from 1.
            Some(Ok(before)) if before > 0 => before,
            Some(_) => {
                return Err(RecordsError::Refused("the cursor is not one of a listing".to_owned()));
            }
        };
        self.read(|conn| read::list(conn, query, before))
    }

    async fn create(&self, new: &NewJob) -> Result<CreateAnswer, RecordsError> {
        let (created, desired) = (Raw::of(&new.created), new.desired.to_text());
        let new = new.clone();
        self.write(Act::Create, move |conn, _| ops::create(conn, &new, created.text(), &desired)).await
    }

    async fn write_desired(
        &self,
        job_id: &JobId,
        expected: &Raw<Desired>,
        desired: &Raw<Desired>,
    ) -> Result<WriteAnswer, RecordsError> {
        let (job_id, expected, desired) = (job_id.clone(), expected.clone(), desired.clone());
        self.write(Act::Desired, move |conn, _| ops::write_desired(conn, &job_id, &expected, &desired)).await
    }

    async fn write_control(
        &self,
        job_id: &JobId,
        write: ControlWrite<'_>,
    ) -> Result<WriteAnswer, RecordsError> {
        let (job_id, next) = (job_id.clone(), ControlText::of(&write));
        self.write(Act::Control, move |conn, effects| {
            let answer = ops::write_control(conn, &job_id, &next)?;
            effects.status_written(&job_id, answer);
            Ok(answer)
        })
        .await
    }

    async fn delete(
        &self,
        job_id: &JobId,
        expected: &Raw<Control>,
        seen: &Raw<Desired>,
    ) -> Result<WriteAnswer, RecordsError> {
        let (job_id, expected, seen) = (job_id.clone(), expected.clone(), seen.clone());
        self.write(Act::Delete, move |conn, effects| {
            let answer = ops::delete(conn, &job_id, &expected, &seen)?;
            effects.status_written(&job_id, answer);
            Ok(answer)
        })
        .await
    }

    async fn draft(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        claim: &Claim,
    ) -> Result<WriteAnswer, RecordsError> {
        let (job_id, token, number, claim) = (job_id.clone(), token.clone(), claim.number, Raw::of(claim));
        self.write(Act::Claim, move |conn, _| ops::draft(conn, &job_id, &token, number, &claim)).await
    }

    async fn claim(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        claim: &Claim,
        expected: Option<&Raw<Control>>,
        seen: &Raw<Desired>,
        control: &Control,
    ) -> Result<WriteAnswer, RecordsError> {
        let write = ControlWrite { expected, seen, newest: claim.number, control, settled: false };
        let next = ClaimText {
            token: token.clone(),
            number: claim.number,
            claim: Raw::of(claim),
            control: ControlText::of(&write),
        };
        let job_id = job_id.clone();
        self.write(Act::Claim, move |conn, effects| {
            let answer = ops::claim(conn, &job_id, &next)?;
            effects.status_written(&job_id, answer);
            Ok(answer)
        })
        .await
    }

    async fn seal(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        why: LeaveReason,
    ) -> Result<GateAnswer, RecordsError> {
        let (job_id, token) = (job_id.clone(), token.clone());
        self.write(Act::Seal, move |conn, _| ops::seal(conn, &job_id, &token, why)).await
    }

    async fn close(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        closing: &Closing,
    ) -> Result<WriteAnswer, RecordsError> {
        let (job_id, token, text, closing) =
            (job_id.clone(), token.clone(), Raw::of(closing), closing.clone());
        self.write(Act::Close, move |conn, _| ops::close(conn, &job_id, &token, &closing, text.text())).await
    }

    async fn close_and_write(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        closing: &Closing,
        write: ControlWrite<'_>,
    ) -> Result<Closed, RecordsError> {
        let next = ControlText::of(&write);
        let (job_id, token, text, closing) =
            (job_id.clone(), token.clone(), Raw::of(closing), closing.clone());
        self.write(Act::Close, move |conn, effects| {
            let closed = ops::close(conn, &job_id, &token, &closing, text.text())?;
            if closed != WriteAnswer::Written {
                return Ok(Closed { closing: closed, control: None });
            }
            let written = ops::write_control(conn, &job_id, &next)?;
            effects.status_written(&job_id, written);
            Ok(Closed { closing: closed, control: Some(written) })
        })
        .await
    }

    async fn start(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        task: &TaskId,
        report: &Report,
    ) -> Result<StartAnswer, RecordsError> {
        let to = ReportText::of(&Gate::Started { task: task.clone() }, report);
        let (job_id, token, task) = (job_id.clone(), token.clone(), task.clone());
        self.write(Act::Start, move |conn, effects| {
            let answer = ops::start(conn, &job_id, &token, &task, &to)?;
            effects.started(&job_id, &answer);
            Ok(answer)
        })
        .await
    }

    async fn heartbeat(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        task: &TaskId,
        report: &Report,
    ) -> Result<GateAnswer, RecordsError> {
        let report = Raw::of(report);
        let (job_id, token, task) = (job_id.clone(), token.clone(), task.clone());
        self.write(Act::Heartbeat, move |conn, _| ops::heartbeat(conn, &job_id, &token, &task, report.text()))
            .await
    }

    async fn finish(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        task: &TaskId,
        report: &Report,
    ) -> Result<GateAnswer, RecordsError> {
        let to = ReportText::of(&Gate::Finished { task: task.clone() }, report);
        let (job_id, token, task) = (job_id.clone(), token.clone(), task.clone());
        self.write(Act::Finish, move |conn, _| ops::finish(conn, &job_id, &token, &task, &to)).await
    }
}
