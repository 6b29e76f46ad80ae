//! Decoding of hostile records, files, settings and messages. More of it: `make fuzz`.

use std::time::Duration;
use testbed::fuzz::{self, FAMILIES, Kind};

// What cargo-fuzz compiles with a nightly compiler, compiled here with the names that it takes from there.
extern crate self as libfuzzer_sys;
/// Stands for the macro of the same name.
#[macro_export]
macro_rules! fuzz_target {
    (|$input:ident: &[u8]| $body:expr) => {
        pub(crate) fn target($input: &[u8]) {
            $body
        }
    };
}
#[allow(
    unused_attributes,
    reason = "`no_main` is for the root of a crate, which this file is for cargo-fuzz"
)]
#[path = "../../contract/fuzz/fuzz_targets/decode.rs"]
mod target;

#[test]
fn whatever_is_stored_is_refused_with_words_or_survives_being_stored_again() {
    let counts = fuzz::run(20_261_122, 400_000);
    testbed::say(&format!("decoded {} hostile inputs\n{}", counts.inputs, counts.table()));
    for (at, kind) in Kind::ALL.iter().enumerate() {
        let (accepted, all) = (counts.accepted[at], counts.of_kind[at]);
        // Neither only noise, which no decoder looks into, nor only good values.
        assert!(accepted * 50 > all, "{kind:?} accepts {accepted} of {all} only");
        assert!(accepted * 100 < all * 95, "{kind:?} accepts {accepted} of {all}");
    }
}

#[test]
fn the_target_of_cargo_fuzz_decodes_as_everything_what_no_kind_expects() {
    let mut mutator = fuzz::Mutator::new(7);
    for at in 0..5_000 {
        target::target(&mutator.input(Kind::ALL[at % Kind::ALL.len()]));
    }
    target::target(b"");
    target::target(&[0xff; 1000]);
}

/// The time that this thread has used; waiting for others does not count.
fn used() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

fn time_of(kind: Kind, input: &str) -> Duration {
    let once = || {
        let start = used();
        let _ = kind.decode(input.as_bytes());
        used() - start
    };
    // The least of three: what a machine does beside only adds.
    (0..3).map(|_| once()).min().unwrap_or_default()
}

#[test]
fn the_time_to_decode_grows_no_faster_than_the_input() {
    const SMALL: usize = 10_000;
    /// Times as long, so that quadratic is 64 times the time.
    const LONGER: usize = 8;
    let mut slow = Vec::new();
    for family in FAMILIES {
        let (small, large) = ((family.of_size)(SMALL), (family.of_size)(SMALL * LONGER));
        for kind in family.kinds {
            let (a, b) = (time_of(*kind, &small), time_of(*kind, &large));
            // 24 is midway (in factors) between linear and quadratic; below a millisecond the clock is no judge.
            if b > a * 24 + Duration::from_millis(1) || b > Duration::from_secs(1) {
                slow.push(format!(
                    "{} as {kind:?}: {a:?} for {SMALL} bytes, {b:?} for {LONGER} times as many",
                    family.name
                ));
            }
        }
    }
    assert!(slow.is_empty(), "{}", slow.join("\n"));
}
