//! The launch protocol, model-checked within small bounds. `PROTOCOL.md` says what that means, and
//! `model_spaces` has the large spaces.
#![allow(clippy::print_stdout, reason = "sizes and counterexamples are what these tests are read for")]

mod broken_protocols;
#[allow(dead_code, reason = "the large spaces are for the other target")]
mod protocol;
mod walks;

use protocol::Bounds;
use protocol::spaces::{PLAIN, holds};

#[test]
fn two_attempts_hold() {
    let found = holds("2 attempts, 0 edits, 0 take-overs", Bounds { attempts: 2, ..PLAIN });
    assert!(found.missing.is_empty(), "the space is too small to show: {:?}", found.missing);
}

#[test]
fn one_attempt_and_one_edit_hold() {
    let found = holds("1 attempt, 1 edit, 0 take-overs", Bounds { edits: 1, ..PLAIN });
    assert!(found.missing.is_empty(), "the space is too small to show: {:?}", found.missing);
}

#[test]
fn one_attempt_and_one_edit_that_wipes_control_hold() {
    let found = holds("1 attempt, 1 wiped control, 0 take-overs", Bounds { hand_edits: 1, ..PLAIN });
    assert!(found.missing.is_empty(), "the space is too small to show: {:?}", found.missing);
}

#[test]
fn one_attempt_and_one_edit_of_any_field_of_control_hold() {
    let bounds = Bounds { hand_edits: 1, wipes_only: false, ..PLAIN };
    let found = holds("1 attempt, 1 edit of control, 0 take-overs", bounds);
    assert!(found.missing.is_empty(), "the space is too small to show: {:?}", found.missing);
}
