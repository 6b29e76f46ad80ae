//! POST /jobs with `synchronous=FULL`, against the raw speed of the same disk: one row, one commit, one
//! fsync at a time.
//!
//! The jobs are created suspended, so nothing is launched; the reconciler looks at each of them and writes
//! its verdict as it always does.

use super::load::{CONNECTIONS, on_threads};
use super::node::Setup;
use super::{Failed, Programs, new_folder, stats};
use rusqlite::Connection;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// One round of either side.
#[derive(Debug, Clone, Copy)]
pub struct Speed {
    /// Per second.
    pub rate: f64,
    /// 99th percentile of one, in milliseconds.
    pub p99_ms: f64,
}

impl Speed {
    fn of(milliseconds: &[f64], span: Duration) -> Self {
        Self {
            rate: milliseconds.len() as f64 / span.as_secs_f64(),
            p99_ms: stats::percentile(milliseconds, 99.0),
        }
    }
}

const SUSPENDED: &str = r#"{"job_type":"echo","payload":{"message":"Hello, World!"},"suspend":true}"#;

/// POST /jobs for `span`.
///
/// # Errors
/// A job was refused.
pub fn posts(programs: &Programs, work: &Path, span: Duration) -> Result<Speed, Failed> {
    let setup = Setup { durability: "power", ..Setup::fresh(work, "creation", 4)? };
    let node = setup.start(programs)?;
    let all = Mutex::new(Vec::new());
    let start = Instant::now();
    on_threads(CONNECTIONS, || {
        let mut http = node.http()?;
        let mut mine = Vec::new();
        while start.elapsed() < span {
            let before = Instant::now();
            http.create(SUSPENDED)?;
            mine.push(before.elapsed().as_secs_f64() * 1e3);
        }
        all.lock().map_err(|_| Failed::new("a thread panicked"))?.extend(mine);
        Ok(())
    })?;
    let took = start.elapsed();
    let all = all.into_inner().map_err(|_| Failed::new("a thread panicked"))?;
    if setup.look()?.count("SELECT count(*) FROM jobs")? != all.len() {
        return Err(Failed::new("not every answered creation is stored"));
    }
    node.end()?;
    Ok(Speed::of(&all, took))
}

/// Single-row commits of one connection for `span`.
///
/// # Errors
/// SQLite's.
pub fn commits(work: &Path, span: Duration) -> Result<Speed, Failed> {
    let db = Connection::open(new_folder(work, "raw")?.join("raw.db"))?;
    db.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
         CREATE TABLE raw (id INTEGER PRIMARY KEY, body TEXT NOT NULL) STRICT",
    )?;
    let mut insert = db.prepare("INSERT INTO raw (body) VALUES (?1)")?;
    let mut all = Vec::new();
    let start = Instant::now();
    while start.elapsed() < span {
        let before = Instant::now();
        insert.execute([SUSPENDED])?;
        all.push(before.elapsed().as_secs_f64() * 1e3);
    }
    Ok(Speed::of(&all, start.elapsed()))
}
