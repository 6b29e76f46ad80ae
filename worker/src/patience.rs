//! How long and how often to try again.

use crate::signals::Signals;
use std::time::{Duration, Instant};

/// The first pause; it doubles up to [`LONGEST`]. Most faults of a local store (a checkpoint, a backup that
/// holds the lock) pass within milliseconds.
const FIRST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_secs(5);

/// A bounded number of pauses.
#[derive(Debug)]
pub(crate) struct Patience {
    until: Instant,
    pause: Duration,
}

impl Patience {
    /// Ends `total` from now.
    pub(crate) fn of(total: Duration) -> Self {
        Self { until: Instant::now() + total, pause: FIRST }
    }

    /// Waits for the next try. `false`: there is none. Whoever told the worker to stop waits at most
    /// `grace` longer; where signals are not watched, such a signal ends the process as usual.
    pub(crate) fn pause(&mut self, signals: Option<&Signals>, grace: Duration) -> bool {
        let now = Instant::now();
        if signals.is_some_and(Signals::told_to_stop) {
            self.until = self.until.min(now + grace);
        }
        if now >= self.until {
            return false;
        }
        let next = (now + self.pause).min(self.until);
        self.pause = (self.pause * 2).min(LONGEST);
        match signals {
            Some(signals) => signals.wait(next),
            None => std::thread::sleep(next - now),
        }
        true
    }
}
