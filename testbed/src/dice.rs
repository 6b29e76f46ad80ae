//! Random choices that can be repeated: the seed is printed, and `TESTBED_SEED` sets it.

use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Sets the seed of a run that is to be repeated.
pub const SEED: &str = "TESTBED_SEED";

/// A stream of random numbers (SplitMix64, Steele, Lea and Flood 2014).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// Seeded from `TESTBED_SEED`, else from the clock; says which seed it is.
    ///
    /// # Panics
    /// When `TESTBED_SEED` is no number.
    #[must_use]
    pub fn announced(what: &str) -> Self {
        let seed = match std::env::var(SEED) {
            Ok(text) => text.parse().expect("TESTBED_SEED is a number"),
            Err(_) => SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |d| u64::from(d.subsec_nanos())),
        };
        crate::say(&format!("{what}: repeat these choices with {SEED}={seed}"));
        Self(seed)
    }

    /// With this seed.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number of `range`.
    pub fn within(&mut self, range: RangeInclusive<u64>) -> u64 {
        range.start() + self.number() % (range.end() - range.start() + 1)
    }

    /// A time of so many milliseconds.
    pub fn millis(&mut self, range: RangeInclusive<u64>) -> Duration {
        Duration::from_millis(self.within(range))
    }

    /// True once in `n` times.
    pub fn once_in(&mut self, n: u64) -> bool {
        self.number().is_multiple_of(n)
    }

    /// One of `all`, if there is one.
    pub fn one_of<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        let count = u64::try_from(all.len()).ok().filter(|n| *n > 0)?;
        usize::try_from(self.number() % count).ok().and_then(|at| all.get(at))
    }
}
