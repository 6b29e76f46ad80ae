//! Stores for the conformance suites.

use crate::dynamodb_support::{Store, Where, block_on};
use backends::conformance::{lease, records};
use backends::{DynamoLease, DynamoOptions, DynamoRecords};
use std::sync::Arc;
use std::time::Duration;

pub(crate) fn records_at(place: Where) -> records::Fixture {
    let store = Store::at_or_end(place);
    // So short that every listing counts as a change by somebody unknown.
    let options = DynamoOptions { look_again: Duration::from_millis(50) };
    let tampering = store.clone();
    records::Fixture {
        records: DynamoRecords::new(store.client.clone(), &store.prefix, options),
        tamper: Box::new(move |edit: records::Tamper| {
            let store = tampering.clone();
            Box::pin(async move { store.tamper(&edit).await })
        }),
        block_on: |future| block_on(future),
        guard: Box::new(store),
    }
}

pub(crate) fn lease_at(place: Where) -> lease::Fixture {
    let store = Store::at_or_end(place);
    let opened = store.clone();
    lease::Fixture {
        contender: Box::new(move || {
            // Longer than a check takes; nobody renews in between.
            Arc::new(DynamoLease::new(opened.client.clone(), &opened.prefix, Duration::from_secs(60)))
        }),
        block_on: |future| block_on(future),
        guard: Box::new(store),
    }
}
