//! The version of a database file, and its creation.

use super::connect::{failed, patiently, roll_back};
use crate::records::RecordsError;
use rusqlite::Connection;
use std::time::Duration;

/// Marks the file as ours (`PRAGMA application_id`): "agrn".
const APPLICATION_ID: i32 = 0x6167_726e;

/// Step n leads from schema version n to n + 1. A step that was released never changes, except that a trigger which a
/// later step makes anew is made there only: version 2 was an earlier form of what is version 3.
const STEPS: &[&str] =
    &[include_str!("schema.sql"), "", concat!(include_str!("identity.sql"), include_str!("desired.sql"))];

/// The version that this program reads and writes (`PRAGMA user_version`).
pub(super) const VERSION: i32 = STEPS.len() as i32;

/// Creates the schema in an empty file or brings an older one up to date. Several processes may do this at
/// once; `patience` bounds the wait for one another.
pub(super) fn prepare(conn: &Connection, patience: Duration) -> Result<(), RecordsError> {
    if version(conn, patience)? == VERSION {
        return Ok(());
    }
    // Changing the journal mode needs the file alone, outside of a transaction; it is kept in the file.
    let mode: String =
        patiently(patience, || conn.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)))
            .map_err(|e| failed(&e))?;
    if mode != "wal" {
        return Err(RecordsError::Unusable(format!(
            "the file system allows journal mode {mode} only, not WAL"
        )));
    }
    patiently(patience, || conn.execute_batch("BEGIN IMMEDIATE")).map_err(|e| failed(&e))?;
    let done = upgrade(conn);
    roll_back(conn);
    done
}

fn upgrade(conn: &Connection) -> Result<(), RecordsError> {
    // Again, because another process may have done it in the meantime.
    let from = version(conn, Duration::ZERO)?;
    for step in &STEPS[usize::try_from(from).unwrap_or_default()..] {
        conn.execute_batch(step).map_err(|e| failed(&e))?;
    }
    conn.execute_batch(&format!(
        "PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION}; COMMIT"
    ))
    .map_err(|e| failed(&e))
}

/// The file's schema version, 0 for an empty file.
///
/// # Errors
/// [`RecordsError::Unusable`] for a newer one and for another program's database.
pub(super) fn version(conn: &Connection, patience: Duration) -> Result<i32, RecordsError> {
    let version = number(conn, patience, "PRAGMA user_version")?;
    if version == VERSION || !conn.is_autocommit() {
        return told(conn, patience, version);
    }
    // One transaction for all that is compared: between two of them another process may create the schema,
    // and half of what was read would be from before.
    patiently(patience, || conn.execute_batch("BEGIN")).map_err(|e| failed(&e))?;
    let found = number(conn, patience, "PRAGMA user_version").and_then(|v| told(conn, patience, v));
    roll_back(conn);
    found
}

fn number(conn: &Connection, patience: Duration, sql: &str) -> Result<i32, RecordsError> {
    patiently(patience, || conn.query_row(sql, [], |row| row.get::<_, i32>(0))).map_err(|e| failed(&e))
}

/// What a version means, given whose file it is.
fn told(conn: &Connection, patience: Duration, version: i32) -> Result<i32, RecordsError> {
    if version == VERSION {
        return Ok(version);
    }
    let owner = number(conn, patience, "PRAGMA application_id")?;
    let tables = number(conn, patience, "SELECT count(*) FROM sqlite_schema")?;
    match (owner, version) {
        (0, 0) if tables == 0 => Ok(0),
        (APPLICATION_ID, older) if (1..VERSION).contains(&older) => Ok(older),
        (APPLICATION_ID, newer) => Err(RecordsError::Unusable(format!(
            "its schema has version {newer}, and this program knows versions up to {VERSION}: use a newer program"
        ))),
        _ => Err(RecordsError::Unusable("it is the database of another program".to_owned())),
    }
}

/// Refuses a file that is not exactly of this program's version; creates nothing.
pub(super) fn check(conn: &Connection, patience: Duration) -> Result<(), RecordsError> {
    match version(conn, patience)? {
        VERSION => Ok(()),
        older => Err(RecordsError::Unusable(format!("its schema has version {older}, not {VERSION}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::Desired;

    #[test]
    fn the_words_that_the_schema_knows_are_those_of_desired() {
        let text = r#"{"job_type":"e","payload":1,"failure_policy":{"rules":[{"action":"Fail"}]},"queue":"q",
            "resources":{"cpu":256,"memory_mib":512},"env":{"A":"b"},"labels":{"a":"b"},"max_cost_usd":1.5,
            "updated":{"by":"a","at":"2026-11-22T10:05:12.975Z","digest":"0"}}"#;
        let full = Desired::parse(text).unwrap().to_text();
        let words: std::collections::BTreeMap<String, serde_json::Value> =
            serde_json::from_str(&full).unwrap();
        let names: Vec<&str> = words.keys().map(String::as_str).collect();
        let between = |start: &str, end: char| {
            STEPS[2].split(start).nth(1).and_then(|rest| rest.split(end).next()).unwrap()
        };
        let mut known: Vec<&str> = between("instr(' job_type", '\'').split_whitespace().collect();
        known.push("job_type");
        known.sort_unstable();
        assert_eq!(known, names);
        // People are not told of the word that is not theirs.
        let names: Vec<&str> = names.into_iter().filter(|name| *name != "updated").collect();
        let mut said: Vec<&str> = between("unknown word; known are", '\'').split_whitespace().collect();
        said.sort_unstable();
        assert_eq!(said, names, "the message names the words that are allowed");
        let typed = between("instr(' job_type:text", '\'');
        for (name, value) in words {
            let kind = match value {
                _ if ["payload", "job_type", "updated"].contains(&name.as_str()) => continue,
                serde_json::Value::Bool(_) => continue,
                serde_json::Value::Number(n) if n.is_f64() => "real",
                serde_json::Value::Number(_) => "integer",
                serde_json::Value::String(_) => "text",
                _ => "object",
            };
            assert!(typed.contains(&format!(" {name}:{kind} ")), "{name}:{kind}");
        }
    }
}
