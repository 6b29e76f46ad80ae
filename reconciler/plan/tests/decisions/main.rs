//! What `plan()` decides, row by row and as properties. One executable: all of it is compiled for each mutant.

#![allow(clippy::wildcard_enum_match_arm, reason = "anything else is a failure of the test")]

mod cost_and_spot;
mod effects;
mod evidence;
mod given;
mod hand_edits;
mod properties;
mod reasons;
mod whole;
