//! The suites that every implementation of a port has to pass.

pub mod artifacts;
pub mod fixtures;
pub mod hints;
pub mod lease;
pub mod records;
pub mod wait;
