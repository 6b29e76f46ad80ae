//! Virtual time: every duration, time to live and bucket of the double may run `k` times faster, or only when
//! a test says so.

use serde_json::Value;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970, in virtual time.
pub(crate) type Millis = u64;

/// The virtual clock.
#[derive(Debug)]
pub(crate) struct Clock {
    since: Instant,
    base: Millis,
    scale: u32,
}

impl Clock {
    /// Starts at the present time and runs `scale` times as fast; with 0 it stands still but for
    /// [`Clock::advance`].
    pub(crate) fn new(scale: u32) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { since: Instant::now(), base: millis(now), scale }
    }

    pub(crate) fn now(&self) -> Millis {
        let elapsed = u64::try_from(self.since.elapsed().as_micros()).unwrap_or(u64::MAX / 2);
        self.base + elapsed.saturating_mul(self.scale.into()) / 1000
    }

    pub(crate) fn advance(&mut self, by: Duration) {
        self.base += millis(by);
    }

    /// Real time until `due`; none when only [`Clock::advance`] gets there.
    pub(crate) fn until(&self, due: Millis) -> Option<Duration> {
        let left = due.saturating_sub(self.now());
        if left == 0 {
            return Some(Duration::ZERO);
        }
        // Rounded up, so that the timer is due when the sleep ends.
        (self.scale > 0).then(|| Duration::from_micros(left * 1000 / u64::from(self.scale) + 1))
    }
}

pub(crate) fn millis(duration: Duration) -> Millis {
    u64::try_from(duration.as_millis()).unwrap_or(Millis::MAX / 4)
}

/// A timestamp of the JSON protocol: seconds since 1970 with a fraction.
pub(crate) fn seconds(at: Millis) -> Value {
    // Exact to a millisecond until the year 287396.
    #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
    Value::from(at as f64 / 1000.0)
}

/// A timestamp of an event or of the metadata endpoint.
pub(crate) fn iso(at: Millis) -> Value {
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(at)).to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_stands_still_moves_by_advance_only() {
        let mut clock = Clock::new(0);
        let start = clock.now();
        assert_eq!(clock.until(start + 5), None);
        clock.advance(Duration::from_secs(3600));
        assert_eq!(clock.now(), start + 3_600_000);
        assert_eq!(clock.until(start + 5), Some(Duration::ZERO));
    }

    #[test]
    fn a_clock_that_runs_a_thousand_times_faster_gets_there_a_thousand_times_earlier() {
        let clock = Clock::new(1000);
        let left = clock.until(clock.now() + 10_000).unwrap();
        assert!(left <= Duration::from_micros(10_001) && left > Duration::from_millis(5), "{left:?}");
    }

    #[test]
    fn timestamps_are_as_the_protocol_and_the_events_write_them() {
        assert_eq!(seconds(1_600_000_000_250), serde_json::json!(1_600_000_000.25));
        assert_eq!(iso(1_600_000_000_250), "2020-09-13T12:26:40.250Z");
    }
}
