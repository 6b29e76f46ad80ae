//! Listings over days, revisions, the scan, and the lease when nobody renews it.

use super::Store;
use aws_sdk_dynamodb::types::AttributeValue::S;
use backends::clock::fresh_token;
use backends::conformance::{fixtures as fx, wait::eventually};
use backends::{
    CreateAnswer, DynamoLease, DynamoOptions, DynamoRecords, Lease, ListQuery, NewJob, RecordsBackend,
    Revision, WriteAnswer,
};
use contract::{JobId, Timestamp};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// Makes one test of each check, on a server.
#[macro_export]
macro_rules! listings_on {
    ($place:expr) => {
        $crate::listings_on!(@each $place,
            a_listing_finds_jobs_of_long_ago_and_ends
            a_revision_changes_at_once_with_an_edit_and_otherwise_once_per_period
            a_scan_finds_each_finished_job_once_within_its_budget
            a_lease_that_is_not_renewed_is_taken_over_and_one_that_is_renewed_is_not
            a_lease_that_was_wiped_or_broken_by_hand_goes_on);
    };
    (@each $place:expr, $($check:ident)*) => {
        $(#[test]
        fn $check() {
            if let Some(store) = $crate::dynamodb_support::Store::at($place) {
                $crate::dynamodb_support::run($crate::dynamodb_support::listings::$check(store));
            }
        })*
    };
}

fn records(store: &Store, look_again: Duration) -> Arc<DynamoRecords> {
    DynamoRecords::new(store.client.clone(), &store.prefix, DynamoOptions { look_again })
}

const NEVER: Duration = Duration::from_secs(1 << 40);

async fn job(records: &DynamoRecords) -> NewJob {
    let new = fx::new_job();
    assert_eq!(records.create(&new).await, Ok(CreateAnswer::Created));
    new
}

pub(crate) async fn a_listing_finds_jobs_of_long_ago_and_ends(store: Store) {
    let records = records(&store, NEVER);
    let mut made = Vec::new();
    // 2026-01-01 and later; two on one day.
    for day in ["2026-01-01", "2026-03-31", "2026-04-01", "2026-04-01"] {
        let new = job(&records).await;
        let place = format!("{day}T12:00:00.000Z-{:06}-0123456789abcdef", made.len());
        for (name, value) in [("day", day.to_owned()), ("created_order", place)] {
            let key = HashMap::from([("job_id", new.job_id.as_str())]);
            store.edit("jobs", &key, name, Some(S(value))).await;
        }
        made.push(new.job_id);
    }
    made.push(job(&records).await.job_id);
    made.reverse();
    for limit in [1, 2, 100] {
        eventually("pages hold every job, newest first", || async {
            let (mut found, mut cursor, mut pages) = (Vec::new(), None, 0);
            loop {
                let page = records.list(&ListQuery { limit, cursor }).await.unwrap();
                assert!(page.jobs.len() <= limit);
                found.extend(page.jobs.into_iter().map(|listed| listed.job.job_id));
                cursor = page.next;
                pages += 1;
                assert!(pages < 100, "it ends");
                if cursor.is_none() {
                    return found == made;
                }
            }
        })
        .await;
    }
}

async fn revision(records: &DynamoRecords, id: &JobId) -> Option<Revision> {
    let active = records.list_active().await.unwrap();
    active.into_iter().find(|(other, _)| other == id).map(|(_, revision)| revision)
}

pub(crate) async fn a_revision_changes_at_once_with_an_edit_and_otherwise_once_per_period(store: Store) {
    let calm = records(&store, NEVER);
    let new = job(&calm).await;
    let (id, seen) = (&new.job_id, fx::desired(&new));
    eventually("it is active", || async { revision(&calm, id).await.is_some() }).await;
    let first = revision(&calm, id).await;
    // What the reconciler writes needs no second look by the reconciler.
    assert_eq!(
        calm.write_control(id, fx::write(None, &seen, &fx::waiting(), false)).await,
        Ok(WriteAnswer::Written)
    );
    assert_eq!(revision(&calm, id).await, first);
    assert_eq!(calm.write_desired(id, &seen, &fx::edited(&seen, 1)).await, Ok(WriteAnswer::Written));
    eventually("an edit", || async { revision(&calm, id).await != first }).await;
    let brisk = records(&store, Duration::from_millis(100));
    let first = revision(&brisk, id).await;
    eventually("a period passes", || async { revision(&brisk, id).await != first }).await;
}

pub(crate) async fn a_scan_finds_each_finished_job_once_within_its_budget(store: Store) {
    let records = records(&store, NEVER);
    let mut finished = BTreeSet::new();
    for n in 0..23 {
        let new = job(&records).await;
        if n % 2 == 0 {
            let done = fx::finished(1, &fresh_token(), fx::at(100));
            let seen = fx::desired(&new);
            assert_eq!(
                records.write_control(&new.job_id, fx::write(None, &seen, &done, true)).await,
                Ok(WriteAnswer::Written)
            );
            finished.insert(new.job_id);
        }
    }
    for budget in [1, 3, 7, 1000] {
        let (mut found, mut cursor, mut calls) = (Vec::new(), None, 0);
        loop {
            let page = records.scan_finished(cursor.as_deref(), budget).await.unwrap();
            assert!(page.jobs.len() <= budget, "{} of {budget}", page.jobs.len());
            found.extend(page.jobs.into_iter().map(|job| job.job_id));
            calls += 1;
            assert!(calls <= 23 / budget + 8, "it moves on");
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(found.len(), finished.len(), "once each");
        assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), finished);
    }
    assert!(records.scan_finished(Some("elsewhere"), 1).await.is_err());
}

fn lease(store: &Store, duration: Duration) -> DynamoLease {
    DynamoLease::new(store.client.clone(), &store.prefix, duration)
}

const SHORT: Duration = Duration::from_millis(1500);

pub(crate) async fn a_lease_that_is_not_renewed_is_taken_over_and_one_that_is_renewed_is_not(store: Store) {
    let (one, two) = (lease(&store, SHORT), lease(&store, Duration::from_millis(1)));
    assert_eq!(one.acquire("one").await.unwrap().unwrap().epoch, 1);
    let started = std::time::Instant::now();
    let mut silent = started;
    // What the holder stored is waited for, not what the contender would have stored.
    while started.elapsed() < 2 * SHORT {
        silent = std::time::Instant::now();
        assert!(one.renew().await.unwrap());
        assert_eq!(two.acquire("two").await.unwrap(), None);
    }
    eventually("the lease is taken over", || async { two.acquire("two").await.unwrap().is_some() }).await;
    assert!(silent.elapsed() >= SHORT, "{:?}", silent.elapsed());
    let view = one.view().await.unwrap().unwrap();
    assert_eq!((view.epoch, view.holder.as_str(), view.released), (2, "two", false));
    assert!(!one.renew().await.unwrap());
    one.release().await.unwrap();
    assert!(two.renew().await.unwrap(), "who has lost the lease cannot give it back");
}

pub(crate) async fn a_lease_that_was_wiped_or_broken_by_hand_goes_on(store: Store) {
    let (one, two) = (lease(&store, SHORT), lease(&store, SHORT));
    one.acquire("one").await.unwrap().unwrap();
    let table = format!("{}-leases", store.prefix);
    let name = S("reconciler".to_owned());
    store.client.delete_item().table_name(&table).key("name", name.clone()).send().await.unwrap();
    assert!(!one.renew().await.unwrap());
    assert_eq!(two.view().await.unwrap(), None);
    assert!(two.acquire("two").await.unwrap().is_some());
    let broken = HashMap::from([("name".to_owned(), name), ("epoch".to_owned(), S("seven".to_owned()))]);
    store.client.put_item().table_name(&table).set_item(Some(broken)).send().await.unwrap();
    assert!(!two.renew().await.unwrap());
    assert_eq!(two.view().await.unwrap().unwrap().renewed_at, Timestamp::from_millis(0));
    eventually("a broken lease is taken over", || async { one.acquire("one").await.unwrap().is_some() })
        .await;
    assert!(one.renew().await.unwrap());
}
