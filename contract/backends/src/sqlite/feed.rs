//! The change feed: which jobs were changed, by whichever process.
//!
//! Triggers write the keys into the table `changes`, so the feed sees whatever was committed, by the
//! system's own processes and by hand. It is read after each commit of this process (inside the
//! transaction, by the writer) and when the watch thread notices a commit of another process. Both readers
//! share one position, so each change is announced once.

use crate::hints::{ChannelHints, Hint, HintSender, Interest};
use contract::JobId;
use rusqlite::Connection;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Revisions that stay in `changes`, for subscribers in other processes; one that is further behind is told
/// to compare everything.
const KEPT: i64 = 20_000;
/// Revisions pruned at once: some 100 µs of work.
const PRUNED_AT_ONCE: i64 = 1_000;

/// What was read from the feed.
#[derive(Debug)]
pub(super) struct News {
    /// The position from which it was read.
    from: i64,
    /// The newest revision.
    last: i64,
    /// `changes` is complete above this revision.
    pruned: i64,
    changes: Vec<(i64, String)>,
}

struct State {
    /// Everything up to this revision was announced.
    position: i64,
    /// The last read failed, and subscribers were told.
    blind: bool,
    subscribers: Vec<(Interest, HintSender)>,
}

/// The feed's position and its subscribers.
pub(super) struct Feed {
    state: Mutex<State>,
}

impl Feed {
    /// A feed that starts at the newest revision.
    pub(super) fn start(conn: &Connection) -> rusqlite::Result<Self> {
        let position = conn.query_row("SELECT last FROM revisions", [], |row| row.get(0))?;
        Ok(Self { state: Mutex::new(State { position, blind: false, subscribers: Vec::new() }) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest revision that was announced.
    pub(super) fn position(&self) -> i64 {
        self.state().position
    }

    pub(super) fn subscribe(&self, interest: Interest) -> ChannelHints {
        let (sender, hints) = ChannelHints::new();
        let mut state = self.state();
        state.subscribers.retain(|(_, sender)| !sender.is_closed());
        state.subscribers.push((interest, sender));
        hints
    }

    /// What happened since the last delivery.
    pub(super) fn read(&self, conn: &Connection) -> rusqlite::Result<News> {
        let from = self.state().position;
        let (last, pruned) = conn
            .prepare_cached("SELECT last, pruned FROM revisions")?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let mut changes = Vec::new();
        if last != from {
            let sql = "SELECT revision, job_id FROM changes WHERE revision > ?1 ORDER BY revision";
            let mut statement = conn.prepare_cached(sql)?;
            let mut rows = statement.query([from])?;
            while let Some(row) = rows.next()? {
                changes.push((row.get(0)?, row.get(1)?));
            }
        }
        Ok(News { from, last, pruned, changes })
    }

    /// Removes old rows from `changes`, a few at a time. Part of a write transaction.
    pub(super) fn prune(conn: &Connection, news: News) -> rusqlite::Result<News> {
        let upto = news.pruned + PRUNED_AT_ONCE;
        if news.last - upto < KEPT {
            return Ok(news);
        }
        conn.prepare_cached("DELETE FROM changes WHERE revision <= ?1")?.execute([upto])?;
        conn.prepare_cached("UPDATE revisions SET pruned = ?1")?.execute([upto])?;
        Ok(news)
    }

    /// Announces what was read and committed. `started`: jobs of which an attempt passed its gate in this
    /// transaction.
    pub(super) fn deliver(&self, read: rusqlite::Result<News>, started: &[JobId]) {
        let mut state = self.state();
        let news = match read {
            Ok(news) => news,
            Err(e) => {
                if !state.blind {
                    tracing::warn!(error = %e, "cannot read the change feed");
                    state.announce(Interest::Reconcile, &Hint::Resync);
                }
                state.blind = true;
                return;
            }
        };
        state.blind = false;
        // An older position than the one it was read from: the file was replaced by an older one.
        let replaced = news.last < news.from;
        if replaced || news.pruned > state.position {
            state.announce(Interest::Reconcile, &Hint::Resync);
        }
        let newest = news.changes.last().map_or(news.last, |(revision, _)| news.last.max(*revision));
        // Where the start is all that happened to the job. Its row is among the changes, so one row is the start.
        let only_started = |job_id: &JobId| {
            let rows = || news.changes.iter().filter(|(_, changed)| changed == job_id.as_str());
            started.contains(job_id) && rows().count() == 1
        };
        for (revision, job_id) in &news.changes {
            if *revision > state.position
                && let Ok(job_id) = JobId::new(job_id)
            {
                let hint = if only_started(&job_id) { Hint::Unhurried } else { Hint::Job };
                state.announce(Interest::Reconcile, &hint(job_id));
            }
        }
        state.position = if replaced { newest } else { newest.max(state.position) };
    }

    /// Announces written statuses.
    pub(super) fn deliver_status(&self, job_ids: &[JobId]) {
        if job_ids.is_empty() {
            return;
        }
        let state = self.state();
        for job_id in job_ids {
            state.announce(Interest::Status, &Hint::Job(job_id.clone()));
        }
    }

    /// Tells everybody to compare everything.
    pub(super) fn resync(&self) {
        self.state().announce(Interest::Reconcile, &Hint::Resync);
    }
}

impl State {
    fn announce(&self, interest: Interest, hint: &Hint) {
        for (_, sender) in self.subscribers.iter().filter(|(wanted, _)| *wanted == interest) {
            sender.send(hint.clone());
        }
    }
}
