//! Checks of the listings. Other jobs may be in the store, and the listings of some stores lag.
#![allow(missing_docs, clippy::missing_panics_doc, reason = "checks are named by sentences and panic")]

use super::Fixture;
use crate::clock::fresh_token;
use crate::conformance::fixtures::{
    at, closing, desired, edited, finished, outcome, report, task, waiting, write,
};
use crate::conformance::wait::eventually;
use crate::records::{GateAnswer, ListQuery, Revision, WriteAnswer};
use contract::{JobId, LeaveReason, Raw};
use std::collections::BTreeSet;

async fn revision(f: &Fixture, job_id: &JobId) -> Option<Revision> {
    let active = f.records.list_active().await.unwrap();
    active.into_iter().find(|(id, _)| id == job_id).map(|(_, revision)| revision)
}

/// Waits for a revision that is none of `seen`, and adds it.
async fn changed(f: &Fixture, job_id: &JobId, seen: &mut BTreeSet<Revision>, what: &str) {
    let old = &*seen;
    eventually(what, || async move { revision(f, job_id).await.is_some_and(|now| !old.contains(&now)) })
        .await;
    seen.extend(revision(f, job_id).await);
}

pub async fn every_change_of_a_job_or_its_attempts_changes_its_revision(f: &Fixture) {
    let (new, token, control) = f.claimed().await;
    let (r, id, seen) = (&f.records, &new.job_id, desired(&new));
    let mut known = BTreeSet::new();
    changed(f, id, &mut known, "a claim").await;
    assert_eq!(r.write_desired(id, &seen, &edited(&seen, 1)).await, Ok(WriteAnswer::Written));
    changed(f, id, &mut known, "an edit").await;
    let (next, seen) = (waiting(), edited(&seen, 1));
    assert_eq!(
        r.write_control(id, write(Some(&control), &seen, &next, false)).await,
        Ok(WriteAnswer::Written)
    );
    changed(f, id, &mut known, "a control write").await;
    r.start(id, &token, &task("a"), &report(1)).await.unwrap();
    changed(f, id, &mut known, "a start").await;
    assert_eq!(r.heartbeat(id, &token, &task("a"), &report(2)).await, Ok(GateAnswer::Written));
    changed(f, id, &mut known, "a heartbeat").await;
    assert_eq!(r.finish(id, &token, &task("a"), &outcome()).await, Ok(GateAnswer::Written));
    changed(f, id, &mut known, "an outcome").await;
    assert_eq!(r.close(id, &token, &closing()).await, Ok(WriteAnswer::Written));
    changed(f, id, &mut known, "a closing").await;
    let token = fresh_token();
    assert_eq!(r.draft(id, &token, &crate::conformance::fixtures::claim(2)).await, Ok(WriteAnswer::Written));
    changed(f, id, &mut known, "a draft").await;
    assert_eq!(r.seal(id, &token, LeaveReason::Superseded).await, Ok(GateAnswer::Written));
    changed(f, id, &mut known, "a seal").await;
    f.tamper(id, None, "control", None).await;
    changed(f, id, &mut known, "a hand edit").await;
    let done = finished(1, &fresh_token(), at(100));
    assert_eq!(r.write_control(id, write(None, &seen, &done, true)).await, Ok(WriteAnswer::Written));
    eventually("a settled job is not listed", || async { revision(f, id).await.is_none() }).await;
}

pub async fn a_listing_is_newest_first_and_its_pages_hold_every_job_once(f: &Fixture) {
    let mut made = Vec::new();
    for _ in 0..7 {
        made.push(f.job().await.job_id);
    }
    made.reverse();
    eventually("pages of 3 hold the jobs, newest first", || {
        let made = &made;
        async move {
            let (mut found, mut cursor) = (Vec::new(), None);
            loop {
                let page = f.records.list(&ListQuery { limit: 3, cursor }).await.unwrap();
                assert!(page.jobs.len() <= 3);
                found.extend(page.jobs.into_iter().map(|listed| listed.job.job_id));
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
            }
            found.retain(|id| made.contains(id));
            found == *made
        }
    })
    .await;
    for strange in ["no cursor", "-1", ""] {
        let query = ListQuery { limit: 3, cursor: Some(strange.to_owned()) };
        assert!(f.records.list(&query).await.is_err(), "{strange:?} was taken for a cursor");
    }
}

pub async fn expired_jobs_are_listed_from_their_time_on(f: &Fixture) {
    let (new, token, control) = f.claimed().await;
    let (id, seen) = (&new.job_id, desired(&new));
    let end = at(1_000_000_000);
    let done = finished(1, &token, end);
    let answer = f.records.write_control(id, write(Some(&control), &seen, &done, true)).await;
    assert_eq!(answer, Ok(WriteAnswer::Written));
    eventually("the job has expired", || async {
        f.records.list_expired(end, usize::MAX).await.unwrap().contains(id)
    })
    .await;
    assert!(!f.records.list_expired(end.plus_millis(-1), usize::MAX).await.unwrap().contains(id));
    let other = f.job().await;
    let gone = finished(1, &token, at(0));
    let answer = f.records.write_control(&other.job_id, write(None, &desired(&other), &gone, true)).await;
    assert_eq!(answer, Ok(WriteAnswer::Written));
    eventually("at most as many as asked for", || async {
        f.records.list_expired(end, 1).await.unwrap().len() == 1
    })
    .await;
    // A new run takes the end back.
    let next = waiting();
    let answer = f.records.write_control(id, write(Some(&Raw::of(&done)), &seen, &next, false)).await;
    assert_eq!(answer, Ok(WriteAnswer::Written));
    eventually("the job no longer expires", || async {
        !f.records.list_expired(end, usize::MAX).await.unwrap().contains(id)
    })
    .await;
}

pub async fn broken_sections_never_fail_a_listing(f: &Fixture) {
    let (good, (bad, token, _)) = (f.job().await, f.claimed().await);
    for section in ["desired", "control", "status"] {
        f.tamper(&bad.job_id, None, section, Some("{\"broken")).await;
    }
    for section in ["claim", "gate", "report", "closing"] {
        f.tamper(&bad.job_id, Some(&token), section, Some("[\"broken\"]")).await;
    }
    let loaded = f.load(&bad.job_id).await;
    assert_eq!(loaded.job.desired.text(), "{\"broken");
    assert_eq!(loaded.job.control.as_ref().map(Raw::text), Some("{\"broken"));
    assert_eq!(loaded.job.status.as_ref().map(Raw::text), Some("{\"broken"));
    let attempt = &loaded.attempts[0];
    assert_eq!(attempt.claim.text(), "[\"broken\"]");
    assert_eq!(attempt.gate.as_ref().map(Raw::text), Some("[\"broken\"]"));
    assert_eq!(attempt.report.as_ref().map(Raw::text), Some("[\"broken\"]"));
    assert_eq!(attempt.closing.as_ref().map(Raw::text), Some("[\"broken\"]"));
    for id in [&good.job_id, &bad.job_id] {
        eventually("both are active", || async { revision(f, id).await.is_some() }).await;
        eventually("both are listed", || async {
            let page = f.records.list(&ListQuery { limit: 1000, cursor: None }).await.unwrap();
            page.jobs.iter().any(|listed| listed.job.job_id == *id)
        })
        .await;
    }
}
