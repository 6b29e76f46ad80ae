//! The conditional writes. Each runs inside a transaction that the caller begins and commits; an error
//! leaves that transaction to be rolled back. Sections are written whole, and conditions compare the
//! stored text byte by byte.

use crate::records::{ControlWrite, CreateAnswer, GateAnswer, NewJob, StartAnswer, WriteAnswer};
use crate::sqlite::read;
use contract::{
    Claim, Closing, Control, Created, Desired, Gate, JobId, LaunchToken, LeaveReason, Raw, Report, TaskId,
    Timestamp,
};
use rusqlite::{Connection, OptionalExtension, params};

/// A [`ControlWrite`] as text.
pub(super) struct ControlText {
    expected: Option<Raw<Control>>,
    seen: Raw<Desired>,
    newest: u32,
    control: Raw<Control>,
    status: String,
    expires_at: Option<i64>,
    settled: bool,
}

impl ControlText {
    pub(super) fn of(write: &ControlWrite<'_>) -> Self {
        let ControlWrite { expected, seen, newest, control, settled } = *write;
        Self {
            expected: expected.cloned(),
            seen: seen.clone(),
            newest,
            control: Raw::of(control),
            status: Raw::of(&control.view()).text().to_owned(),
            expires_at: control.expires_at.map(Timestamp::millis),
            settled,
        }
    }
}

/// Counts the revision that the statement before has written as `last + 1`.
fn count(conn: &Connection) -> rusqlite::Result<()> {
    conn.prepare_cached("UPDATE revisions SET last = last + 1")?.execute([]).map(drop)
}

/// Tells the feed about the newest revision.
fn announce(conn: &Connection, job_id: &JobId) -> rusqlite::Result<()> {
    let sql = "INSERT INTO changes SELECT last, ?1 FROM revisions";
    conn.prepare_cached(sql)?.execute([job_id.as_str()]).map(drop)
}

pub(super) fn create(
    conn: &Connection,
    new: &NewJob,
    created: &str,
    desired: &str,
) -> rusqlite::Result<CreateAnswer> {
    if let Some(job) = read::job(conn, &new.job_id)? {
        let same = job.created.parse().is_ok_and(|stored: Created| stored.write == new.created.write);
        return Ok(if same { CreateAnswer::Created } else { CreateAnswer::Exists(Box::new(job)) });
    }
    let sql = "INSERT INTO jobs (job_id, created, desired, active, revision)
               SELECT ?1, ?2, ?3, 1, last + 1 FROM revisions";
    conn.prepare_cached(sql)?.execute([new.job_id.as_str(), created, desired])?;
    count(conn)?;
    announce(conn, &new.job_id)?;
    Ok(CreateAnswer::Created)
}

pub(super) fn write_desired(
    conn: &Connection,
    job_id: &JobId,
    expected: &Raw<Desired>,
    desired: &Raw<Desired>,
) -> rusqlite::Result<WriteAnswer> {
    let sql = "UPDATE jobs SET desired = ?3, active = 1, revision = (SELECT last + 1 FROM revisions)
               WHERE job_id = ?1 AND desired = ?2";
    if conn.prepare_cached(sql)?.execute([job_id.as_str(), expected.text(), desired.text()])? == 1 {
        count(conn)?;
        announce(conn, job_id)?;
        return Ok(WriteAnswer::Written);
    }
    let sql = "SELECT desired = ?2 FROM jobs WHERE job_id = ?1";
    found(
        conn.prepare_cached(sql)?
            .query_row([job_id.as_str(), desired.text()], |row| row.get(0))
            .optional()?,
    )
}

/// The answer for a record that did not meet the condition: whether it exists, and holds our write already.
fn found(ours: Option<bool>) -> rusqlite::Result<WriteAnswer> {
    Ok(match ours {
        None => WriteAnswer::NotFound,
        Some(true) => WriteAnswer::Written,
        Some(false) => WriteAnswer::Conflict,
    })
}

pub(super) fn write_control(
    conn: &Connection,
    job_id: &JobId,
    next: &ControlText,
) -> rusqlite::Result<WriteAnswer> {
    // An unsettled job gets its mark back even if somebody cleared it by hand.
    let sql = "UPDATE jobs SET control = ?4, status = ?5, expires_at = ?6, active = ?7,
                      revision = (SELECT last + 1 FROM revisions)
               WHERE job_id = ?1 AND control IS ?2 AND desired = ?3
               AND NOT EXISTS (SELECT 1 FROM attempts WHERE job_id = ?1 AND number > ?8)";
    let written = conn.prepare_cached(sql)?.execute(params![
        job_id.as_str(),
        next.expected.as_ref().map(Raw::text),
        next.seen.text(),
        next.control.text(),
        next.status,
        next.expires_at,
        !next.settled,
        next.newest,
    ])?;
    if written == 1 {
        count(conn)?;
        return Ok(WriteAnswer::Written);
    }
    let sql = "SELECT control IS ?2 FROM jobs WHERE job_id = ?1";
    let ours = conn.prepare_cached(sql)?.query_row([job_id.as_str(), next.control.text()], |row| row.get(0));
    found(ours.optional()?)
}

pub(super) fn delete(
    conn: &Connection,
    job_id: &JobId,
    expected: &Raw<Control>,
    seen: &Raw<Desired>,
) -> rusqlite::Result<WriteAnswer> {
    let sql = "DELETE FROM jobs WHERE job_id = ?1 AND control = ?2 AND desired = ?3
               AND NOT EXISTS (SELECT 1 FROM attempts WHERE job_id = ?1 AND closing IS NULL)";
    if conn.prepare_cached(sql)?.execute([job_id.as_str(), expected.text(), seen.text()])? == 1 {
        return Ok(WriteAnswer::Written);
    }
    found(exists(conn, job_id)?.then_some(false))
}

fn exists(conn: &Connection, job_id: &JobId) -> rusqlite::Result<bool> {
    conn.prepare_cached("SELECT 1 FROM jobs WHERE job_id = ?1")?.exists([job_id.as_str()])
}

pub(super) fn draft(
    conn: &Connection,
    job_id: &JobId,
    token: &LaunchToken,
    number: u32,
    claim: &Raw<Claim>,
) -> rusqlite::Result<WriteAnswer> {
    if let Some(same) = drafted(conn, job_id, token, claim)? {
        return found(Some(same));
    }
    if !exists(conn, job_id)? {
        return Ok(WriteAnswer::NotFound);
    }
    insert_attempt(conn, job_id, token, number, claim)?;
    Ok(WriteAnswer::Written)
}

/// Whether the attempt holds this claim; `None` when it does not exist.
fn drafted(
    conn: &Connection,
    job_id: &JobId,
    token: &LaunchToken,
    claim: &Raw<Claim>,
) -> rusqlite::Result<Option<bool>> {
    let sql = "SELECT claim = ?3 FROM attempts WHERE job_id = ?1 AND token = ?2";
    let key = [job_id.as_str(), token.as_str(), claim.text()];
    conn.prepare_cached(sql)?.query_row(key, |row| row.get(0)).optional()
}

fn insert_attempt(
    conn: &Connection,
    job_id: &JobId,
    token: &LaunchToken,
    number: u32,
    claim: &Raw<Claim>,
) -> rusqlite::Result<()> {
    let sql = "INSERT INTO attempts (job_id, token, number, claim) VALUES (?1, ?2, ?3, ?4)";
    let values = params![job_id.as_str(), token.as_str(), number, claim.text()];
    conn.prepare_cached(sql)?.execute(values).map(drop)
}

/// What a claim stores: the attempt, and the `control` that names it.
pub(super) struct ClaimText {
    pub(super) token: LaunchToken,
    pub(super) number: u32,
    pub(super) claim: Raw<Claim>,
    pub(super) control: ControlText,
}

/// Draft and claim in one transaction: a claim that meets a conflict, or another attempt that is open, leaves
/// nothing behind.
pub(super) fn claim(conn: &Connection, job_id: &JobId, next: &ClaimText) -> rusqlite::Result<WriteAnswer> {
    let known = drafted(conn, job_id, &next.token, &next.claim)?;
    if known == Some(false) || another_stands_in_the_way(conn, job_id, next)? {
        return Ok(WriteAnswer::Conflict);
    }
    let answer = write_control(conn, job_id, &next.control)?;
    if answer == WriteAnswer::Written && known.is_none() {
        insert_attempt(conn, job_id, &next.token, next.number, &next.claim)?;
    }
    Ok(answer)
}

/// See [`crate::records::Loaded::claim_stands`].
fn another_stands_in_the_way(conn: &Connection, job_id: &JobId, next: &ClaimText) -> rusqlite::Result<bool> {
    let sql =
        "SELECT 1 FROM attempts WHERE job_id = ?1 AND token <> ?2 AND (closing IS NULL OR number >= ?3)";
    conn.prepare_cached(sql)?.exists(params![job_id.as_str(), next.token.as_str(), next.number])
}

/// The stored gate: no such attempt, absent, or a text.
fn gate(
    conn: &Connection,
    job_id: &JobId,
    token: &LaunchToken,
) -> rusqlite::Result<Option<Option<Raw<Gate>>>> {
    let sql = "SELECT gate FROM attempts WHERE job_id = ?1 AND token = ?2";
    conn.prepare_cached(sql)?
        .query_row([job_id.as_str(), token.as_str()], |row| read::optional_section(row, 0))
        .optional()
}

fn move_gate(conn: &Connection, job_id: &JobId, token: &LaunchToken, to: &Gate) -> rusqlite::Result<()> {
    let sql = "UPDATE attempts SET gate = ?3 WHERE job_id = ?1 AND token = ?2";
    let gate = Raw::of(to);
    conn.prepare_cached(sql)?.execute([job_id.as_str(), token.as_str(), gate.text()]).map(drop)
}

/// Reads the gate and seals it in one transaction, so the seal knows the task that had started. A gate that
/// cannot be decoded is not sealed over (whoever started could not be named any more): it is refused with
/// its text, and somebody has to repair it.
pub(super) fn seal(
    conn: &Connection,
    job_id: &JobId,
    token: &LaunchToken,
    why: LeaveReason,
) -> rusqlite::Result<GateAnswer> {
    let Some(stored) = gate(conn, job_id, token)? else { return Ok(GateAnswer::NotFound) };
    let started = match stored.as_ref().map(Raw::parse) {
        None => None,
        Some(Ok(Gate::Started { task })) => Some(task),
        Some(Ok(Gate::Sealed { .. })) => return Ok(GateAnswer::Written),
        Some(Ok(Gate::Finished { .. }) | Err(_)) => return Ok(GateAnswer::Refused(stored)),
    };
    move_gate(conn, job_id, token, &Gate::Sealed { why, started })?;
    Ok(GateAnswer::Written)
}

pub(super) fn close(
    conn: &Connection,
    job_id: &JobId,
    token: &LaunchToken,
    closing: &Closing,
    text: &str,
) -> rusqlite::Result<WriteAnswer> {
    let key = [job_id.as_str(), token.as_str()];
    let sql = "SELECT closing FROM attempts WHERE job_id = ?1 AND token = ?2";
    let stored: Option<Option<Raw<Closing>>> =
        conn.prepare_cached(sql)?.query_row(key, |row| read::optional_section(row, 0)).optional()?;
    match stored {
        None => Ok(WriteAnswer::NotFound),
        Some(Some(stored)) => found(Some(stored.parse().is_ok_and(|s| s.write == closing.write))),
        Some(None) => {
            let sql = "UPDATE attempts SET closing = ?3 WHERE job_id = ?1 AND token = ?2";
            conn.prepare_cached(sql)?.execute([key[0], key[1], text])?;
            Ok(WriteAnswer::Written)
        }
    }
}

/// The texts of a report and of the gate that the report goes with.
pub(super) struct ReportText {
    gate: Raw<Gate>,
    report: Raw<Report>,
}

impl ReportText {
    pub(super) fn of(gate: &Gate, report: &Report) -> Self {
        Self { gate: Raw::of(gate), report: Raw::of(report) }
    }
}

fn pass_gate(
    conn: &Connection,
    job_id: &JobId,
    token: &LaunchToken,
    to: &ReportText,
) -> rusqlite::Result<()> {
    let sql = "UPDATE attempts SET gate = ?3, report = ?4 WHERE job_id = ?1 AND token = ?2";
    let values = [job_id.as_str(), token.as_str(), to.gate.text(), to.report.text()];
    conn.prepare_cached(sql)?.execute(values).map(drop)
}

pub(super) fn start(
    conn: &Connection,
    job_id: &JobId,
    token: &LaunchToken,
    task: &TaskId,
    to: &ReportText,
) -> rusqlite::Result<StartAnswer> {
    let sql = "SELECT gate, claim FROM attempts WHERE job_id = ?1 AND token = ?2";
    let stored = conn
        .prepare_cached(sql)?
        .query_row([job_id.as_str(), token.as_str()], |row| {
            Ok((read::optional_section::<Gate>(row, 0)?, read::section::<Claim>(row, 1)?))
        })
        .optional()?;
    let Some((gate, claim)) = stored else { return Ok(StartAnswer::NotFound) };
    match gate {
        None => pass_gate(conn, job_id, token, to)?,
        Some(gate) if matches!(gate.parse(), Ok(Gate::Started { task: by }) if by == *task) => {}
        Some(gate) => return Ok(StartAnswer::Lost(gate)),
    }
    Ok(StartAnswer::Started(Box::new(claim)))
}

pub(super) fn heartbeat(
    conn: &Connection,
    job_id: &JobId,
    token: &LaunchToken,
    task: &TaskId,
    report: &str,
) -> rusqlite::Result<GateAnswer> {
    let Some(stored) = gate(conn, job_id, token)? else { return Ok(GateAnswer::NotFound) };
    match stored.as_ref().map(Raw::parse) {
        Some(Ok(Gate::Started { task: by })) if by == *task => {
            let sql = "UPDATE attempts SET report = ?3 WHERE job_id = ?1 AND token = ?2";
            conn.prepare_cached(sql)?.execute([job_id.as_str(), token.as_str(), report])?;
            Ok(GateAnswer::Written)
        }
        _ => Ok(GateAnswer::Refused(stored)),
    }
}

pub(super) fn finish(
    conn: &Connection,
    job_id: &JobId,
    token: &LaunchToken,
    task: &TaskId,
    to: &ReportText,
) -> rusqlite::Result<GateAnswer> {
    let Some(stored) = gate(conn, job_id, token)? else { return Ok(GateAnswer::NotFound) };
    match stored.as_ref().map(Raw::parse) {
        Some(Ok(Gate::Started { task: by })) if by == *task => {
            pass_gate(conn, job_id, token, to)?;
            Ok(GateAnswer::Written)
        }
        Some(Ok(Gate::Finished { task: by })) if by == *task => Ok(GateAnswer::Written),
        _ => Ok(GateAnswer::Refused(stored)),
    }
}
