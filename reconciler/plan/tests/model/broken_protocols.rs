//! The checker is checked: it must catch every mistake that somebody could build into the protocol, and
//! tell the shortest story of how it goes wrong.

use crate::protocol::broken::Broken;
use crate::protocol::spaces::{PLAIN, exhaust};
use crate::protocol::{Bounds, Protocol};

/// The smallest bounds in which the mistake shows, and the invariant that it breaks.
fn expected(mistake: Broken) -> (Bounds, &'static str) {
    let quiet = Bounds { ticks: 0, forgets: false, orphans: false, wasted: 0, ..PLAIN };
    let led = Bounds { takeovers: 1, epochs: false, ..quiet };
    let calm = Bounds { calm: true, ..led };
    match mistake {
        Broken::NoGate => (Bounds { forgets: true, ..quiet }, "I2"),
        Broken::NoSeal => (Bounds { attempts: 2, ticks: 1, ..quiet }, "I1"),
        Broken::DeathByToken => (Bounds { attempts: 2, forgets: true, ..quiet }, "I1"),
        Broken::LedgerInControl => (Bounds { attempts: 2, hand_edits: 1, ..quiet }, "I1"),
        Broken::LaunchBeforeClaim => (Bounds { wasted: 1, ..led }, "I1"),
        Broken::ReportWithoutGate => (Bounds { edits: 1, ..quiet }, "I7"),
        Broken::WorkerSpeaksForAgent => (Bounds { attempts: 2, orphans: true, ..quiet }, "I1"),
        Broken::TriesFromObservations => {
            (Bounds { attempts: 2, forgets: true, max_attempts: 1, ..quiet }, "I3")
        }
        Broken::AbsenceIsDeath => (Bounds { attempts: 2, ..quiet }, "I1"),
        Broken::PublishWithoutCompare => (Bounds { attempts: 2, edits: 1, ..calm }, "I7"),
        Broken::ClaimIgnoresDesired => (Bounds { edits: 1, ..quiet }, "I6"),
        Broken::LaunchFromOldLedger => (Bounds { attempts: 2, hand_edits: 1, ..calm }, "I1"),
        Broken::WriteWithoutVersion => (Bounds { edits: 1, ..calm }, "I4"),
        Broken::CloseBeforeStopped => (Bounds { attempts: 2, ticks: 1, ..quiet }, "I1"),
    }
}

#[test]
fn every_mistake_is_caught_and_told() {
    for mistake in Broken::ALL {
        let (bounds, invariant) = expected(mistake);
        // One thread, so that the first story found is the shortest one.
        let found = exhaust(Protocol { bounds, broken: Some(mistake), settles: false }, 1);
        println!("\n{mistake:?}: caught after {} states, {:.1} s", found.unique, found.seconds);
        for (name, story) in &found.broken {
            println!("{name}\n{story}");
        }
        let caught = found.broken.iter().any(|(name, _)| name.starts_with(invariant));
        assert!(caught, "{mistake:?} did not break {invariant}");
    }
}

#[test]
fn the_same_bounds_without_the_mistake_hold() {
    // Or the stories would show the bounds, not the mistakes.
    for mistake in [Broken::NoGate, Broken::DeathByToken, Broken::LedgerInControl, Broken::ReportWithoutGate]
    {
        let found = exhaust(Protocol::sound(expected(mistake).0), 2);
        assert!(found.broken.is_empty(), "{mistake:?}: {:?}", found.broken);
    }
}
