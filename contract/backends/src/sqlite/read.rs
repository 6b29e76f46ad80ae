//! The reads. Sections are handed on as they are stored: a row that a hand edit broke is the reader's
//! business and never fails a listing.

use crate::records::{ListQuery, Listed, Loaded, Page, Revision};
use contract::{Attempt, Job, JobId, LaunchToken, Raw, Timestamp};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row};

/// The most jobs on a page.
const PAGE_JOBS: usize = 1000;
/// A page ends early when its sections have this many bytes together.
const PAGE_BYTES: usize = 4 << 20;

/// A text column. SQLite does not check that text is UTF-8; what is not becomes U+FFFD.
fn text(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<String>> {
    Ok(match row.get_ref(column)? {
        ValueRef::Null => None,
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        ValueRef::Integer(number) => Some(number.to_string()),
        ValueRef::Real(number) => Some(number.to_string()),
    })
}

/// A section that is always there.
pub(super) fn section<T>(row: &Row<'_>, column: usize) -> rusqlite::Result<Raw<T>> {
    Ok(Raw::stored(text(row, column)?.unwrap_or_default()))
}

/// A section that may be absent.
pub(super) fn optional_section<T>(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Raw<T>>> {
    Ok(text(row, column)?.map(Raw::stored))
}

fn job_of(row: &Row<'_>, job_id: JobId) -> rusqlite::Result<Job> {
    Ok(Job {
        job_id,
        created: section(row, 0)?,
        desired: section(row, 1)?,
        control: optional_section(row, 2)?,
        status: optional_section(row, 3)?,
        active: row.get(4)?,
    })
}

pub(super) fn job(conn: &Connection, job_id: &JobId) -> rusqlite::Result<Option<Job>> {
    let sql = "SELECT created, desired, control, status, active FROM jobs WHERE job_id = ?1";
    conn.prepare_cached(sql)?.query_row([job_id.as_str()], |row| job_of(row, job_id.clone())).optional()
}

/// A job and its attempts, of one moment.
pub(super) fn load(conn: &Connection, job_id: &JobId) -> rusqlite::Result<Option<Loaded>> {
    conn.prepare_cached("BEGIN")?.execute([])?;
    let loaded = load_parts(conn, job_id);
    conn.prepare_cached("COMMIT")?.execute([])?;
    loaded
}

fn load_parts(conn: &Connection, job_id: &JobId) -> rusqlite::Result<Option<Loaded>> {
    let Some(job) = job(conn, job_id)? else { return Ok(None) };
    let sql =
        "SELECT token, claim, gate, report, closing FROM attempts WHERE job_id = ?1 ORDER BY number, seq";
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query([job_id.as_str()])?;
    let mut attempts = Vec::new();
    while let Some(row) = rows.next()? {
        let token = text(row, 0)?.unwrap_or_default();
        match LaunchToken::new(token) {
            Ok(token) => attempts.push(Attempt {
                job_id: job_id.clone(),
                token,
                claim: section(row, 1)?,
                gate: optional_section(row, 2)?,
                report: optional_section(row, 3)?,
                closing: optional_section(row, 4)?,
            }),
            // Inserted by hand. No launch can have used it, because nothing launches without a token.
            Err(e) => tracing::warn!(%job_id, error = %e, "skipped an attempt without a token"),
        }
    }
    Ok(Some(Loaded { job, attempts }))
}

/// What the resync reads; the index `jobs_active` covers it.
pub(super) const ACTIVE: &str = "SELECT job_id, revision FROM jobs WHERE active = 1";

pub(super) fn list_active(conn: &Connection) -> rusqlite::Result<Vec<(JobId, Revision)>> {
    let mut statement = conn.prepare_cached(ACTIVE)?;
    let mut rows = statement.query([])?;
    let mut active = Vec::new();
    while let Some(row) = rows.next()? {
        if let Some(job_id) = key(row)? {
            active.push((job_id, Revision(row.get(1)?)));
        }
    }
    Ok(active)
}

/// The job id in column 0. The schema checks it; a file that was made without these checks may hold others.
fn key(row: &Row<'_>) -> rusqlite::Result<Option<JobId>> {
    match JobId::new(text(row, 0)?.unwrap_or_default()) {
        Ok(job_id) => Ok(Some(job_id)),
        Err(e) => {
            tracing::warn!(error = %e, "skipped a job without a proper id");
            Ok(None)
        }
    }
}

/// Jobs to collect; reads the index `jobs_expiring` only.
pub(super) const EXPIRED: &str = "SELECT job_id FROM jobs WHERE expires_at IS NOT NULL AND expires_at <= ?1
                                  ORDER BY expires_at LIMIT ?2";

pub(super) fn list_expired(conn: &Connection, now: Timestamp, limit: usize) -> rusqlite::Result<Vec<JobId>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut statement = conn.prepare_cached(EXPIRED)?;
    let mut rows = statement.query([now.millis(), limit])?;
    let mut expired = Vec::new();
    while let Some(row) = rows.next()? {
        expired.extend(key(row)?);
    }
    Ok(expired)
}

/// The page below `before`, a value of `jobs.seq`.
pub(super) fn list(conn: &Connection, query: &ListQuery, before: i64) -> rusqlite::Result<Page> {
    let limit = query.limit.clamp(1, PAGE_JOBS);
    let sql = "SELECT created, desired, control, status, active, job_id, seq FROM jobs WHERE seq < ?1
               ORDER BY seq DESC LIMIT ?2";
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query([before, limit as i64 + 1])?;
    let (mut jobs, mut bytes, mut seen, mut last) = (Vec::new(), 0, 0, before);
    while let Some(row) = rows.next()? {
        if seen == limit || bytes >= PAGE_BYTES {
            return Ok(Page { jobs, next: Some(last.to_string()) });
        }
        seen += 1;
        last = row.get(6)?;
        match JobId::new(text(row, 5)?.unwrap_or_default()) {
            Ok(job_id) => {
                let job = job_of(row, job_id)?;
                bytes += job.desired.text().len() + job.control.as_ref().map_or(0, |c| c.text().len());
                jobs.push(Listed { job });
            }
            Err(e) => tracing::warn!(error = %e, "skipped a job without a proper id"),
        }
    }
    Ok(Page { jobs, next: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::schema;
    use std::time::Duration;

    fn plan(sql: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let conn = Connection::open(folder.path().join("records.db")).unwrap();
        schema::prepare(&conn, Duration::ZERO).unwrap();
        let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let steps = statement.raw_query().mapped(|row| row.get::<_, String>(3));
        steps.map(Result::unwrap).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn a_resync_reads_the_covering_index_of_active_jobs_only() {
        assert_eq!(plan(ACTIVE), "SCAN jobs USING COVERING INDEX jobs_active");
    }

    #[test]
    fn expired_jobs_are_found_and_ordered_by_their_index() {
        let expected = "SEARCH jobs USING COVERING INDEX jobs_expiring (expires_at>? AND expires_at<?)";
        assert_eq!(plan(EXPIRED), expected);
    }

    #[test]
    fn jobs_and_attempts_are_found_by_their_keys() {
        for (sql, index) in [
            ("SELECT 1 FROM jobs WHERE job_id = ?1", "sqlite_autoindex_jobs_1 (job_id=?)"),
            (
                "SELECT claim FROM attempts WHERE job_id = ?1 ORDER BY number, seq",
                "sqlite_autoindex_attempts_1 (job_id=?)",
            ),
            ("SELECT gate FROM attempts WHERE job_id = ?1 AND token = ?2", "(job_id=? AND token=?)"),
            (
                "SELECT desired FROM jobs WHERE seq < ?1 ORDER BY seq DESC LIMIT 3",
                "INTEGER PRIMARY KEY (rowid<?)",
            ),
        ] {
            let plan = plan(sql);
            assert!(plan.starts_with("SEARCH") && plan.contains(index), "{sql}: {plan}");
        }
    }
}
