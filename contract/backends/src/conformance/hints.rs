//! What every source of hints must do. [`hints_conformance`](crate::hints_conformance) turns each check
//! into a test.
#![allow(missing_docs, clippy::missing_panics_doc, reason = "checks are named by sentences and panic")]

use super::fixtures::job_id;
use super::wait::within;
use crate::hints::{Hint, Hints};
use contract::JobId;
use std::collections::BTreeSet;
use std::pin::Pin;
use std::time::Duration;

/// How long a hint may take in a check, however slow the machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Gives the source of hints a reason to name a job.
pub type AnnounceFn = Box<dyn Fn(JobId) -> Pin<Box<dyn Future<Output = ()>>>>;

/// A source to be checked.
pub struct Fixture {
    /// The source, opened before anything is announced.
    pub hints: Box<dyn Hints>,
    /// Announces a job.
    pub announce: AnnounceFn,
    /// Drives a future to its end on the calling thread.
    pub block_on: fn(Pin<Box<dyn Future<Output = ()> + '_>>),
    /// Dropped at the end: a temporary folder, a server.
    pub guard: Box<dyn std::any::Any>,
}

/// Makes one test of each check: `hints_conformance!(fixture)`, where `fixture()` opens a
/// [`Fixture`](crate::conformance::hints::Fixture), or `None` where the source is not installed.
#[macro_export]
macro_rules! hints_conformance {
    ($fixture:expr) => {
        $crate::hints_conformance!(@each $fixture,
            an_announced_job_arrives
            many_announced_jobs_all_arrive
            nothing_comes_while_nothing_is_announced
            a_cancelled_wait_loses_nothing);
    };
    (@each $fixture:expr, $($check:ident)*) => {
        $(#[test]
        fn $check() {
            let fixture: Option<$crate::conformance::hints::Fixture> = Into::into($fixture());
            let Some(mut fixture) = fixture else { return };
            let block_on = fixture.block_on;
            block_on(Box::pin($crate::conformance::hints::$check(&mut fixture)));
        })*
    };
}

/// Reads until every one of `wanted` was named, or everything was (`Resync`).
async fn expect(f: &mut Fixture, wanted: &[JobId]) {
    let mut missing: BTreeSet<&JobId> = wanted.iter().collect();
    while !missing.is_empty() {
        let batch = within(PATIENCE, f.hints.next()).await.expect("a hint in time").expect("hints");
        assert!(!batch.is_empty(), "an answer holds at least one hint");
        for hint in batch {
            match hint {
                Hint::Job(job_id) | Hint::Unhurried(job_id) | Hint::Control(job_id, _) => {
                    missing.remove(&job_id);
                }
                Hint::Resync => missing.clear(),
            }
        }
    }
}

pub async fn an_announced_job_arrives(f: &mut Fixture) {
    for _ in 0..3 {
        let job_id = job_id();
        (f.announce)(job_id.clone()).await;
        expect(f, &[job_id]).await;
    }
}

pub async fn many_announced_jobs_all_arrive(f: &mut Fixture) {
    let job_ids: Vec<_> = (0..50).map(|_| job_id()).collect();
    for job_id in &job_ids {
        (f.announce)(job_id.clone()).await;
    }
    expect(f, &job_ids).await;
}

pub async fn nothing_comes_while_nothing_is_announced(f: &mut Fixture) {
    assert!(within(Duration::from_millis(50), f.hints.next()).await.is_none());
}

pub async fn a_cancelled_wait_loses_nothing(f: &mut Fixture) {
    let job_id = job_id();
    assert!(within(Duration::ZERO, f.hints.next()).await.is_none());
    (f.announce)(job_id.clone()).await;
    expect(f, &[job_id]).await;
}
