//! `SqliteRecords` against the conformance suite, as the orchestrator and as a worker open it.

#![cfg(all(feature = "conformance", feature = "sqlite"))]

use backends::conformance::records::{Fixture, Tamper};
use backends::{Access, Durability, SqliteOptions, SqliteRecords};
use pollster::block_on;
use rusqlite::Connection;
use std::path::Path;

fn open(access: Access, durability: Durability) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("not/made/yet/records.db");
    let first = SqliteOptions { durability, access: Access::Orchestrator };
    let mut records = SqliteRecords::open(&path, first).unwrap();
    if access == Access::Worker {
        records = SqliteRecords::open(&path, SqliteOptions { durability, access }).unwrap();
    }
    Fixture {
        records,
        tamper: Box::new(move |edit| {
            let path = path.clone();
            Box::pin(async move { tamper(&path, &edit) })
        }),
        block_on: |future| block_on(future),
        guard: Box::new(folder),
    }
}

/// As a vandal would: the triggers that defend the record are put aside for the moment.
fn tamper(path: &Path, edit: &Tamper) {
    let mut conn = Connection::open(path).unwrap();
    let tx = conn.transaction().unwrap();
    tx.execute_batch("PRAGMA ignore_check_constraints = ON").unwrap();
    let guards = ["jobs_desired", "attempts_changed"].map(|name| {
        let sql: String =
            tx.query_row("SELECT sql FROM sqlite_schema WHERE name = ?1", [name], |row| row.get(0)).unwrap();
        tx.execute_batch(&format!("DROP TRIGGER {name}")).unwrap();
        sql
    });
    let Tamper { job_id, token, section, text } = edit;
    let changed = match token {
        None => tx.execute(
            &format!("UPDATE jobs SET {section} = ?2 WHERE job_id = ?1"),
            rusqlite::params![job_id.as_str(), text],
        ),
        Some(token) => tx.execute(
            &format!("UPDATE attempts SET {section} = ?3 WHERE job_id = ?1 AND token = ?2"),
            rusqlite::params![job_id.as_str(), token.as_str(), text],
        ),
    };
    assert_eq!(changed, Ok(1));
    for guard in guards {
        tx.execute_batch(&guard).unwrap();
    }
    tx.commit().unwrap();
}

mod orchestrator {
    backends::records_conformance!(|| super::open(
        backends::Access::Orchestrator,
        backends::Durability::Process
    ));
}

mod worker {
    backends::records_conformance!(|| super::open(backends::Access::Worker, backends::Durability::Process));
}

mod power {
    backends::records_conformance!(|| super::open(
        backends::Access::Orchestrator,
        backends::Durability::Power
    ));
}
