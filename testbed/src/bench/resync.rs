//! The full comparison with 100,000 active records, with a million finished ones beside them, and what 100
//! changed records cost.
//!
//! Rows are copies of a job that the program itself made; the active ones are suspended, and the program
//! has looked at each of them before anything is measured. Its own metrics tell how long a resync and the
//! passes over changed records took. Both databases are served at the same time, so that their resyncs meet
//! the same machine.

use super::node::{Node, Setup};
use super::{Failed, Programs, load, stats};
use rusqlite::Connection;
use std::path::Path;
use std::time::{Duration, Instant};

/// How many records.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// Active ones.
    pub active: usize,
    /// Finished ones beside them.
    pub finished: usize,
    /// Changed at once.
    pub changed: usize,
    /// Resyncs measured of each database, and changes.
    pub samples: usize,
}

/// What was measured, in milliseconds.
#[derive(Debug, Clone, Default)]
pub struct Resync {
    /// A resync of the active records.
    pub alone: Vec<f64>,
    /// The same with finished ones beside them.
    pub beside: Vec<f64>,
    /// From the commit that changed some of them until the last pass over these.
    pub changed: Vec<f64>,
    /// From the start of the program until all active records were looked at once.
    pub first_look: f64,
}

/// A resync's longest acceptable wait for its end: a cold million rows on a slow disk.
const PATIENCE: Duration = Duration::from_secs(300);
/// Without a pass for this long, every key has had its turn.
const REST: Duration = Duration::from_millis(500);
const RESYNCS: &str = "agent_runner_resync_duration_seconds_count";
const RESYNC_SECONDS: &str = "agent_runner_resync_duration_seconds_sum";
const PASSES: &str = "agent_runner_reconcile_duration_seconds_count";

/// Builds the databases and measures.
///
/// # Errors
/// SQLite's, or the program does not come to rest.
pub fn measure(programs: &Programs, work: &Path, sizes: Sizes) -> Result<Resync, Failed> {
    let alone = Setup { resync_seconds: 1, ..Setup::fresh(work, "resync", load::SLOTS)? };
    let first_look = seed(programs, &alone, sizes.active)?;
    let beside = Setup { resync_seconds: 1, ..Setup::fresh(work, "resync-beside", load::SLOTS)? };
    std::fs::copy(alone.database(), beside.database())?;
    multiply(&beside, "finished", sizes.finished, "job_id LIKE 'template-finished'")?;
    let nodes = [alone.start(programs)?, beside.start(programs)?];
    for node in &nodes {
        wait_for_rest(node)?;
    }
    let mut measured = Resync { first_look, ..Resync::default() };
    for _ in 0..sizes.samples {
        measured.alone.push(next_resync(&nodes[0])?);
        measured.beside.push(next_resync(&nodes[1])?);
    }
    nodes.into_iter().try_for_each(Node::end)?;
    change(programs, &alone, sizes, &mut measured)?;
    Ok(measured)
}

/// Makes a database with `active` suspended records that the program has looked at, and returns how long
/// that took it, in milliseconds.
fn seed(programs: &Programs, setup: &Setup, active: usize) -> Result<f64, Failed> {
    let node = setup.start(programs)?;
    let mut http = node.http()?;
    let finished = http.create(load::ECHO)?;
    setup.look()?.wait_until_settled(Duration::from_secs(10))?;
    http.create(r#"{"job_type":"echo","payload":{"message":"Hello, World!"},"suspend":true}"#)?;
    node.end()?;
    let db = Connection::open(setup.database())?;
    copy(&db, "template-finished", 1, &format!("job_id = '{finished}'"))?;
    drop(db);
    multiply(setup, "active", active, "active = 1")?;
    let start = Instant::now();
    let node = setup.start(programs)?;
    let look = setup.look()?;
    let unseen = "SELECT count(*) FROM jobs WHERE active = 1 AND control IS NULL";
    while look.count(unseen)? > 0 {
        if start.elapsed() > PATIENCE {
            return Err(Failed::new("not every active record was looked at"));
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    let took = start.elapsed().as_secs_f64() * 1e3;
    drop(look);
    node.end()?;
    let db = Connection::open(setup.database())?;
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    Ok(took)
}

/// Adds `count` copies of the one row that `which` selects.
fn multiply(setup: &Setup, name: &str, count: usize, which: &str) -> Result<(), Failed> {
    let db = Connection::open(setup.database())?;
    db.execute_batch("PRAGMA synchronous = OFF; PRAGMA cache_size = -200000")?;
    copy(&db, name, count, which)?;
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    Ok(())
}

/// The copies get a revision of their own, as the program's own writes do; an active one has not been looked
/// at yet.
fn copy(db: &Connection, name: &str, count: usize, which: &str) -> Result<(), Failed> {
    db.execute_batch(&format!(
        "BEGIN IMMEDIATE;
         INSERT INTO jobs (job_id, created, desired, control, status, active, expires_at, revision)
         WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count})
         SELECT iif({count} = 1, '{name}', '{name}-' || n), created, desired,
                iif(active, NULL, control), iif(active, NULL, status), active, expires_at,
                (SELECT last FROM revisions) + n
         FROM numbers, (SELECT * FROM jobs WHERE {which} LIMIT 1);
         UPDATE revisions SET last = last + {count};
         COMMIT"
    ))?;
    Ok(())
}

/// Waits until a resync is over and no pass has ended for a while.
fn wait_for_rest(node: &Node) -> Result<(), Failed> {
    let start = Instant::now();
    let (mut before, mut since) = (0.0, Instant::now());
    while since.elapsed() < REST {
        let [resyncs, passes] = node.metrics([RESYNCS, PASSES])?;
        if resyncs < 1.0 || passes > before {
            (before, since) = (passes, Instant::now());
        }
        if start.elapsed() > PATIENCE {
            return Err(Failed::new(format!("there is no rest after {passes} passes")));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// The duration of the next resync.
fn next_resync(node: &Node) -> Result<f64, Failed> {
    let start = Instant::now();
    let [count, seconds] = node.metrics([RESYNCS, RESYNC_SECONDS])?;
    loop {
        let [now_count, now_seconds] = node.metrics([RESYNCS, RESYNC_SECONDS])?;
        if now_count > count {
            return Ok((now_seconds - seconds) / (now_count - count) * 1e3);
        }
        if start.elapsed() > PATIENCE {
            return Err(Failed::new("no resync"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Edits some of the active records by hand, again and again, and sees what the program does about it.
fn change(programs: &Programs, setup: &Setup, sizes: Sizes, measured: &mut Resync) -> Result<(), Failed> {
    let setup = Setup { resync_seconds: 3600, ..setup.clone() };
    let node = setup.start(programs)?;
    wait_for_rest(&node)?;
    let db = Connection::open(setup.database())?;
    db.busy_timeout(Duration::from_secs(5))?;
    for n in 1..=sizes.samples {
        let [passes] = node.metrics([PASSES])?;
        db.execute(
            "UPDATE jobs SET desired = json_set(desired, '$.priority', ?1)
             WHERE job_id IN (SELECT job_id FROM jobs WHERE active = 1 ORDER BY job_id LIMIT ?2)",
            [i64::try_from(n)?, i64::try_from(sizes.changed)?],
        )?;
        let committed = Instant::now();
        let expected = passes + sizes.changed as f64;
        while node.metrics([PASSES])?[0] < expected {
            if committed.elapsed() > Duration::from_secs(10) {
                return Err(Failed::new("the edit was not noticed"));
            }
        }
        measured.changed.push(committed.elapsed().as_secs_f64() * 1e3);
    }
    node.end()
}

impl Resync {
    /// Median of `beside` over median of `alone`.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        stats::median(&self.beside) / stats::median(&self.alone)
    }
}
