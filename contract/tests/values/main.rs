//! Bounds of every field, on both sides of each, and what values mean.

mod bounds;
mod invariants;
mod meanings;
