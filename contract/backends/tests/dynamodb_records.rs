//! The stores in DynamoDB against the conformance suites, on MiniStack.

#![cfg(all(feature = "conformance", feature = "dynamodb"))]

mod aws_support;
mod dynamodb_support;

use dynamodb_support::Where;
use dynamodb_support::suites::{lease_at, records_at};

mod records {
    backends::records_conformance!(|| super::records_at(super::Where::Ministack));
}

mod lease {
    backends::lease_conformance!(|| super::lease_at(super::Where::Ministack));
}

mod by_hand {
    crate::by_hand_on!(crate::dynamodb_support::Where::Ministack);
}

mod listings {
    crate::listings_on!(crate::dynamodb_support::Where::Ministack);
}
