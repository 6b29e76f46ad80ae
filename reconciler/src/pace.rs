//! Pacing after errors of a backend: the only place that uses the `backoff` crate. An error never stops the
//! loop; it delays the next look at the same key, longer each time, and a success starts over.

use backends::Random;
use backoff::ExponentialBackoff;
use backoff::backoff::Backoff;
use contract::JobId;
use prometheus::IntGauge;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

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
pub(crate) struct Paces {
    paces: Mutex<HashMap<JobId, Pace>>,
    /// Shows how many keys there are.
    failing: IntGauge,
}

impl Paces {
    pub(crate) fn new(failing: IntGauge) -> Self {
        Self { paces: Mutex::default(), failing }
    }

    /// The pause after one more error with `key`.
    pub(crate) fn pause(&self, key: &JobId, random: &dyn Random) -> Duration {
        let mut paces = self.paces.lock().unwrap_or_else(PoisonError::into_inner);
        let pause = paces.entry(key.clone()).or_default().pause(random);
        self.show(&paces);
        pause
    }

    /// It worked.
    pub(crate) fn reset(&self, key: &JobId) {
        let mut paces = self.paces.lock().unwrap_or_else(PoisonError::into_inner);
        if paces.remove(key).is_some() {
            self.show(&paces);
        }
    }

    fn show(&self, paces: &HashMap<JobId, Pace>) {
        self.failing.set(i64::try_from(paces.len()).unwrap_or(i64::MAX));
    }
}

impl Drop for Paces {
    fn drop(&mut self) {
        self.failing.set(0);
    }
}

/// Between two lines of the log about the same kind of trouble. When a store is away every key fails, and who
/// reads the log needs to know that and why, not each key.
const UNTOLD: Duration = Duration::from_secs(1);

/// Trouble that is told once in a while, with how often it was not.
#[derive(Default)]
pub(crate) struct Told(Mutex<(Option<Instant>, u64)>);

impl Told {
    /// How many went untold before this one; `None`: this one goes untold, too.
    pub(crate) fn now(&self) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, untold) = &mut *state;
        if last.is_some_and(|last| last.elapsed() < UNTOLD) {
            *untold += 1;
            return None;
        }
        *last = Some(Instant::now());
        Some(std::mem::take(untold))
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

    #[test]
    fn the_gauge_shows_how_many_keys_fail_and_none_once_nobody_reconciles() {
        let gauge = IntGauge::new("failing", "Failing.").unwrap();
        let paces = Paces::new(gauge.clone());
        let (a, b) = (JobId::new("a").unwrap(), JobId::new("b").unwrap());
        for key in [&a, &b, &a] {
            paces.pause(key, &backends::SystemRandom);
        }
        assert_eq!(gauge.get(), 2);
        paces.reset(&a);
        assert_eq!(gauge.get(), 1);
        drop(paces);
        assert_eq!(gauge.get(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn trouble_is_told_once_a_second_with_how_often_it_was_not() {
        let told = Told::default();
        assert_eq!([told.now(), told.now(), told.now()], [Some(0), None, None]);
        tokio::time::sleep(UNTOLD).await;
        assert_eq!([told.now(), told.now()], [Some(2), None]);
    }
}
