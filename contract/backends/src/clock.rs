//! Time and randomness, the two things that pure code is given as arguments.

use contract::{LaunchToken, Timestamp, WriteId};
use std::time::{Duration, Instant, SystemTime};

/// Where time comes from.
pub trait Clock: Send + Sync + 'static {
    /// Wall-clock time, for people and deadlines. May jump.
    fn now(&self) -> Timestamp;
    /// Time since some fixed moment of this process; never jumps. Safety-relevant waits use this.
    fn monotonic(&self) -> Duration;
}

/// The machine's clock.
#[derive(Debug, Clone)]
pub struct SystemClock {
    start: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        SystemTime::now().into()
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

/// Where randomness comes from. A port, so that a simulation can repeat a run.
pub trait Random: Send + Sync + 'static {
    /// 128 fresh bits. A launch token made of them is a capability, so nobody may be able to guess them.
    fn bits(&self) -> u128;

    /// A fresh launch token.
    fn token(&self) -> LaunchToken {
        LaunchToken::from_bits(self.bits())
    }

    /// A fresh write id.
    fn write_id(&self) -> WriteId {
        // The lower half is as random as the whole.
        WriteId::from_bits(self.bits() as u64)
    }
}

/// The randomness of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    /// # Panics
    /// When the operating system has no randomness; nothing can be launched safely then.
    fn bits(&self) -> u128 {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
        u128::from_ne_bytes(bytes)
    }
}

/// A launch token of 128 fresh random bits.
///
/// # Panics
/// When the operating system has no randomness; nothing can be launched safely then.
#[must_use]
pub fn fresh_token() -> LaunchToken {
    SystemRandom.token()
}

/// A write id of 64 fresh random bits.
///
/// # Panics
/// When the operating system has no randomness.
#[must_use]
pub fn fresh_write_id() -> WriteId {
    WriteId::from_bits(getrandom::u64().expect("the operating system gives random bytes"))
}
