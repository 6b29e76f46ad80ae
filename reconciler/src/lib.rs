//! The reconciler.
pub mod tasks;
