//! Group commit: one thread writes. Whatever is queued while a commit is under way goes into the next
//! transaction; nothing waits for company. A caller gets its answer after the commit.

use super::connect::{commit_failed, failed, patiently, roll_back};
use super::feed::Feed;
use super::home::Home;
use crate::durability::Durability;
use crate::records::{RecordsError, StartAnswer, WriteAnswer};
use contract::JobId;
use futures_channel::oneshot;
use rusqlite::Connection;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// The most writes in one transaction; bounds how long the first of them waits for the last.
const BATCH: usize = 256;

/// What writes tell others about themselves once they are committed.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// Jobs whose `status` was written, or that were deleted.
    status: Vec<JobId>,
    /// Jobs of which an attempt passed its gate.
    started: Vec<JobId>,
}

impl Effects {
    /// Notes a write of `status` if it was one.
    pub(super) fn status_written(&mut self, job_id: &JobId, answer: WriteAnswer) {
        if answer == WriteAnswer::Written {
            self.status.push(job_id.clone());
        }
    }

    /// Notes that an attempt passed its gate if it did.
    pub(super) fn started(&mut self, job_id: &JobId, answer: &StartAnswer) {
        if matches!(answer, StartAnswer::Started(_)) {
            self.started.push(job_id.clone());
        }
    }
}

/// A write that waits for its turn. It may run more than once: a batch that one write spoiled is rolled
/// back, and each of its writes is done again by itself.
trait Queued: Send {
    fn run(&mut self, conn: &Connection, effects: &mut Effects) -> rusqlite::Result<()>;
    fn answer(self: Box<Self>, outcome: Result<(), RecordsError>);
}

struct Write<F, T> {
    run: F,
    answer: Option<T>,
    to: oneshot::Sender<Result<T, RecordsError>>,
}

impl<F, T> Queued for Write<F, T>
where
    F: FnMut(&Connection, &mut Effects) -> rusqlite::Result<T> + Send,
    T: Send,
{
    fn run(&mut self, conn: &Connection, effects: &mut Effects) -> rusqlite::Result<()> {
        self.answer = Some((self.run)(conn, effects)?);
        Ok(())
    }

    fn answer(self: Box<Self>, outcome: Result<(), RecordsError>) {
        let Self { answer, to, .. } = *self;
        let not_done = || RecordsError::Unavailable("the write was not done".to_owned());
        // Nobody waits any more if the caller was cancelled.
        let _ = to.send(outcome.and_then(|()| answer.ok_or_else(not_done)));
    }
}

/// Why the last transaction that was tried could not be committed, unless it was the fault of what was written.
type Trouble = Arc<Mutex<Option<RecordsError>>>;

/// The writing thread. Ends, after the last queued write, when this is dropped.
pub(super) struct Writer {
    queue: Option<Sender<Box<dyn Queued>>>,
    trouble: Trouble,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(
        conn: Connection,
        home: Arc<Home>,
        feed: Arc<Feed>,
        durability: Durability,
        patience: Duration,
    ) -> std::io::Result<Self> {
        let (queue, queued) = channel();
        let trouble = Trouble::default();
        let group = Group { conn, home, feed, durability, patience, trouble: trouble.clone() };
        let thread = std::thread::Builder::new()
            .name("records-writer".to_owned())
            .stack_size(512 * 1024)
            .spawn(move || group.serve(&queued))?;
        Ok(Self { queue: Some(queue), trouble, thread: Some(thread) })
    }

    /// Runs `run` in the next transaction.
    pub(super) async fn write<F, T>(&self, run: F) -> Result<T, RecordsError>
    where
        F: FnMut(&Connection, &mut Effects) -> rusqlite::Result<T> + Send + 'static,
        T: Send + 'static,
    {
        let (to, answer) = oneshot::channel();
        let write = Box::new(Write { run, answer: None, to });
        let gone = || RecordsError::Unavailable("the writing thread has ended".to_owned());
        self.queue.as_ref().ok_or_else(gone)?.send(write).map_err(|_| gone())?;
        answer.await.map_err(|_| RecordsError::Uncertain("the writing thread has ended".to_owned()))?
    }
}

impl Writer {
    /// Whether writes succeed, as far as the last one told. After one that failed another is tried, which changes
    /// nothing: else whoever is sent no work while it cannot write would never learn that it can again.
    pub(super) async fn writable(&self) -> Result<(), RecordsError> {
        if self.trouble.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
            return Ok(());
        }
        let same = "UPDATE revisions SET last = last";
        self.write(|conn, _| conn.prepare_cached(same)?.execute([]).map(drop)).await
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Group {
    conn: Connection,
    home: Arc<Home>,
    feed: Arc<Feed>,
    durability: Durability,
    patience: Duration,
    trouble: Trouble,
}

impl Group {
    fn serve(self, queued: &Receiver<Box<dyn Queued>>) {
        while let Ok(first) = queued.recv() {
            let mut batch = vec![first];
            batch.extend(queued.try_iter().take(BATCH - 1));
            let outcome = self.commit(&mut batch);
            match outcome {
                Err(Broken::Spoiled(_)) if batch.len() > 1 => {
                    for mut one in batch {
                        let outcome = self.commit(std::slice::from_mut(&mut one));
                        one.answer(outcome.map_err(Broken::error));
                    }
                }
                outcome => {
                    let outcome = outcome.map_err(Broken::error);
                    batch.into_iter().for_each(|write| write.answer(outcome.clone()));
                }
            }
        }
    }

    /// All of `batch` in one transaction, or nothing.
    fn commit(&self, batch: &mut [Box<dyn Queued>]) -> Result<(), Broken> {
        let outcome = self.transact(batch);
        let trouble = match &outcome {
            Ok(()) => None,
            // The store took it, and refused what it said.
            Err(Broken::Spoiled(RecordsError::Refused(_))) => return outcome,
            Err(Broken::Spoiled(error) | Broken::Whole(error)) => Some(error.clone()),
        };
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
        outcome
    }

    fn transact(&self, batch: &mut [Box<dyn Queued>]) -> Result<(), Broken> {
        self.home.check().map_err(Broken::Whole)?;
        let mut effects = Effects::default();
        patiently(self.patience, || self.conn.prepare_cached("BEGIN IMMEDIATE")?.execute([]))
            .map_err(|e| Broken::Whole(failed(&e)))?;
        for write in batch {
            if let Err(e) = write.run(&self.conn, &mut effects) {
                roll_back(&self.conn);
                return Err(Broken::Spoiled(failed(&e)));
            }
        }
        // Read inside the transaction it costs no locks of its own; it is passed on only after the commit.
        let news = match self.feed.read(&self.conn).and_then(|news| Feed::prune(&self.conn, news)) {
            Ok(news) => news,
            Err(e) => {
                roll_back(&self.conn);
                return Err(Broken::Whole(failed(&e)));
            }
        };
        if let Err(e) = self.conn.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([])) {
            let error = commit_failed(&e, self.durability);
            roll_back(&self.conn);
            return Err(Broken::Whole(error));
        }
        self.feed.deliver(Ok(news), &effects.started);
        self.feed.deliver_status(&effects.status);
        Ok(())
    }
}

/// Why a batch was not committed.
enum Broken {
    /// One write failed; the others may well succeed.
    Spoiled(RecordsError),
    /// The transaction failed.
    Whole(RecordsError),
}

impl Broken {
    fn error(self) -> RecordsError {
        match self {
            Self::Spoiled(error) | Self::Whole(error) => error,
        }
    }
}

/// One write in a transaction of its own, on the calling thread.
pub(super) fn alone<T>(
    conn: &Connection,
    durability: Durability,
    patience: Duration,
    mut run: impl FnMut(&Connection, &mut Effects) -> rusqlite::Result<T>,
) -> Result<T, RecordsError> {
    patiently(patience, || conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])).map_err(|e| failed(&e))?;
    let done = match run(conn, &mut Effects::default()) {
        Ok(answer) => conn
            .prepare_cached("COMMIT")
            .and_then(|mut commit| commit.execute([]))
            .map(|_| answer)
            .map_err(|e| commit_failed(&e, durability)),
        Err(e) => Err(failed(&e)),
    };
    roll_back(conn);
    done
}
