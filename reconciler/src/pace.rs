//! Pacing after errors of a backend: the only place that uses the `backoff` crate. An error never stops the
//! loop; it delays the next look at the same key, longer each time, and a success starts over.

use backends::Random;
use backoff::ExponentialBackoff;
use backoff::backoff::Backoff;
use contract::JobId;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The first pause: short, because most errors are a busy moment.
const INITIAL: Duration = Duration::from_millis(50);
/// The longest pause: an outage is over within this time for every key, whatever its length was.
const LONGEST: Duration = Duration::from_secs(10);

/// The pauses of one thing that is tried again and again.
pub(crate) struct Pace(ExponentialBackoff);

impl Default for Pace {
    fn default() -> Self {
        Self(ExponentialBackoff {
            current_interval: INITIAL,
            initial_interval: INITIAL,
            multiplier: 2.0,
            max_interval: LONGEST,
            max_elapsed_time: None,
            // The spread is drawn below, from the port.
            randomization_factor: 0.0,
            ..ExponentialBackoff::default()
        })
    }
}

impl Pace {
    /// The pause after one more error: from half to one and a half of its ideal length, so that keys that
    /// failed together do not return together.
    pub(crate) fn pause(&mut self, random: &dyn Random) -> Duration {
        let ideal = self.0.next_backoff().unwrap_or(LONGEST);
        let share = (random.bits() & 0xffff) as u32;
        ideal / 2 + ideal * share / 0xffff
    }
}

/// Pauses by key.
#[derive(Default)]
pub(crate) struct Paces(Mutex<HashMap<JobId, Pace>>);

impl Paces {
    /// The pause after one more error with `key`.
    pub(crate) fn pause(&self, key: &JobId, random: &dyn Random) -> Duration {
        let mut paces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        paces.entry(key.clone()).or_default().pause(random)
    }

    /// It worked.
    pub(crate) fn reset(&self, key: &JobId) {
        let mut paces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !paces.is_empty() {
            paces.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_limit_and_never_end() {
        let mut pace = Pace::default();
        let pauses: Vec<Duration> = (0..40).map(|_| pace.pause(&backends::SystemRandom)).collect();
        assert!(pauses[0] <= INITIAL * 2);
        assert!(pauses[39] >= LONGEST / 2 && pauses.iter().all(|p| *p <= LONGEST * 2), "{pauses:?}");
    }
}
