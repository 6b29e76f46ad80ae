//! `SqliteLease` and the hints of SQLite and of channels against the conformance suites.

#![cfg(all(feature = "conformance", feature = "sqlite"))]

use backends::conformance::{fixtures, hints, lease};
use backends::{
    Access, ChannelHints, Durability, Hint, Interest, Lease, RecordsBackend, SqliteLease, SqliteOptions,
    SqliteRecords,
};
use pollster::block_on;
use std::sync::Arc;

fn open_lease() -> lease::Fixture {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    lease::Fixture {
        contender: Box::new(move || Arc::new(SqliteLease::open(&path))),
        block_on: |future| block_on(future),
        guard: Box::new(folder),
    }
}

mod on_sqlite {
    backends::lease_conformance!(super::open_lease);
    backends::hints_conformance!(super::open_feed);
}

#[test]
fn a_database_has_one_lease_by_whichever_name_it_is_called() {
    let folder = tempfile::tempdir().unwrap();
    let (path, link) = (folder.path().join("records.db"), folder.path().join("link.db"));
    std::fs::write(&path, "").unwrap();
    std::os::unix::fs::symlink("records.db", &link).unwrap();
    let (one, other) = (SqliteLease::open(&path), SqliteLease::open(&link));
    assert!(block_on(one.acquire("one")).unwrap().is_some());
    assert!(block_on(other.acquire("other")).unwrap().is_none(), "two hold it at once");
    block_on(one.release()).unwrap();
    assert!(block_on(other.acquire("other")).unwrap().is_some());
}

/// Jobs are created by a second opener of the file, whose commits only the file announces.
fn open_feed() -> hints::Fixture {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    let mut options = SqliteOptions { durability: Durability::Process, access: Access::Orchestrator };
    let records = SqliteRecords::open(&path, options).unwrap();
    options.access = Access::Worker;
    let other = SqliteRecords::open(&path, options).unwrap();
    let source = records.subscribe(Interest::Reconcile);
    hints::Fixture {
        hints: Box::new(source),
        announce: Box::new(move |job_id| {
            let other = other.clone();
            Box::pin(async move {
                let mut new = fixtures::new_job();
                new.job_id = job_id;
                other.create(&new).await.unwrap();
            })
        }),
        block_on: |future| block_on(future),
        guard: Box::new((records, folder)),
    }
}

mod on_a_channel {
    backends::hints_conformance!(super::open_channel);
}

fn open_channel() -> hints::Fixture {
    let (sender, source) = ChannelHints::new();
    hints::Fixture {
        hints: Box::new(source),
        announce: Box::new(move |job_id| {
            sender.send(Hint::Job(job_id));
            Box::pin(std::future::ready(()))
        }),
        block_on: |future| block_on(future),
        guard: Box::new(()),
    }
}
