//! What every lease must do. [`lease_conformance`](crate::lease_conformance) turns each check into a test.
#![allow(missing_docs, clippy::missing_panics_doc, reason = "checks are named by sentences and panic")]

use super::wait::eventually;
use crate::lease::{Lease, LeaseHeld};
use std::pin::Pin;
use std::sync::Arc;

/// A lease to be checked; nobody holds or ever held it.
pub struct Fixture {
    /// Opens the lease as a further contender, as another process would.
    pub contender: Box<dyn Fn() -> Arc<dyn Lease>>,
    /// Drives a future to its end on the calling thread.
    pub block_on: fn(Pin<Box<dyn Future<Output = ()> + '_>>),
    /// Dropped at the end: a temporary folder, a server.
    pub guard: Box<dyn std::any::Any>,
}

/// Makes one test of each check: `lease_conformance!(fixture)`, where `fixture()` opens a
/// [`Fixture`](crate::conformance::lease::Fixture).
#[macro_export]
macro_rules! lease_conformance {
    ($fixture:expr) => {
        $crate::lease_conformance!(@each $fixture,
            one_contender_at_a_time_holds_the_lease
            the_holder_continues_with_its_epoch
            a_released_lease_goes_to_the_next_with_a_later_epoch
            who_does_not_hold_the_lease_cannot_renew_or_release_it
            anybody_sees_who_holds_the_lease);
    };
    (@each $fixture:expr, $($check:ident)*) => {
        $(#[test]
        fn $check() {
            let fixture: $crate::conformance::lease::Fixture = $fixture();
            (fixture.block_on)(Box::pin($crate::conformance::lease::$check(&fixture)));
        })*
    };
}

/// Acquires the lease, however long a free one has to be watched.
async fn acquired(lease: &Arc<dyn Lease>, holder: &str) -> LeaseHeld {
    eventually("a free lease is acquired", || async { lease.acquire(holder).await.unwrap().is_some() }).await;
    lease.acquire(holder).await.unwrap().expect("a held lease")
}

pub async fn one_contender_at_a_time_holds_the_lease(f: &Fixture) {
    let (one, two) = ((f.contender)(), (f.contender)());
    acquired(&one, "one").await;
    assert_eq!(two.acquire("two").await.unwrap(), None);
    assert_eq!(two.acquire("two").await.unwrap(), None);
    assert!(one.renew().await.unwrap());
}

pub async fn the_holder_continues_with_its_epoch(f: &Fixture) {
    let one = (f.contender)();
    let first = acquired(&one, "one").await;
    assert!(first.epoch >= 1);
    assert_eq!(one.acquire("one").await.unwrap(), Some(first.clone()));
    assert!(one.renew().await.unwrap());
    assert_eq!(one.acquire("one").await.unwrap(), Some(first));
}

pub async fn a_released_lease_goes_to_the_next_with_a_later_epoch(f: &Fixture) {
    let (one, two) = ((f.contender)(), (f.contender)());
    let mut last = 0;
    for (lease, name) in [(&one, "one"), (&two, "two"), (&one, "one")] {
        let held = acquired(lease, name).await;
        assert!(held.epoch > last, "{held:?} after {last}");
        last = held.epoch;
        lease.release().await.unwrap();
        assert!(!lease.renew().await.unwrap(), "a released lease is not held");
    }
}

pub async fn who_does_not_hold_the_lease_cannot_renew_or_release_it(f: &Fixture) {
    let (one, two) = ((f.contender)(), (f.contender)());
    acquired(&one, "one").await;
    assert!(!two.renew().await.unwrap());
    two.release().await.unwrap();
    assert!(one.renew().await.unwrap());
    assert_eq!(two.acquire("two").await.unwrap(), None);
}

pub async fn anybody_sees_who_holds_the_lease(f: &Fixture) {
    let (one, two) = ((f.contender)(), (f.contender)());
    assert_eq!(two.view().await.unwrap(), None);
    let held = acquired(&one, "one on host h").await;
    let view = two.view().await.unwrap().expect("a view");
    assert_eq!((view.holder.as_str(), view.epoch, view.released), ("one on host h", held.epoch, false));
    assert!(view.renewed_at.millis() > 1_700_000_000_000, "{view:?}");
    one.release().await.unwrap();
    let view = two.view().await.unwrap().expect("a view");
    assert_eq!((view.epoch, view.released), (held.epoch, true));
}
