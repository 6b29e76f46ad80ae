//! Amounts of money, and what tasks are estimated to cost. An estimate, not a bill: list prices, without discounts
//! and taxes.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// US dollars in millionths, so that records compare exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Usd(pub u64);

impl Serialize for Usd {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        // Exact for every amount below 9 billion dollars.
        #[allow(clippy::cast_precision_loss, reason = "amounts are far below 2^53 millionths")]
        s.serialize_f64(self.0 as f64 / 1e6)
    }
}

impl<'de> Deserialize<'de> for Usd {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let dollars = f64::deserialize(d)?;
        if (0.0..9e9).contains(&dollars) {
            Ok(Self((dollars * 1e6).round() as u64))
        } else {
            Err(serde::de::Error::custom("an amount of US dollars from 0 on"))
        }
    }
}

impl Usd {
    /// The sum, saturating.
    #[must_use]
    pub fn plus(self, more: Self) -> Self {
        Self(self.0.saturating_add(more.0))
    }

    /// What is left of this after `less`, at least nothing.
    #[must_use]
    pub fn less(self, less: Self) -> Self {
        Self(self.0.saturating_sub(less.0))
    }
}

impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000);
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// What one task costs for as long as it is billed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Price {
    /// Millionths of a US dollar per hour.
    pub micros_per_hour: u64,
    /// Seconds that are billed at least, once any are.
    pub least_seconds: u64,
}

const HOUR: u64 = 3600;

impl Price {
    /// The cost of a task that is billed for `millis`: by the second, rounded up.
    #[must_use]
    pub fn cost(&self, millis: i64) -> Usd {
        let seconds = u64::try_from(millis).unwrap_or(0).div_ceil(1000).max(self.least_seconds);
        Usd(self.micros_per_hour.saturating_mul(seconds).div_ceil(HOUR))
    }

    /// For how many milliseconds a task is billed until its cost is more than `limit`.
    #[must_use]
    pub fn exceeds_after(&self, limit: Usd) -> u64 {
        if self.micros_per_hour == 0 {
            return u64::MAX;
        }
        // The cost of n seconds is within the limit as long as price · n ≤ limit · 3600.
        let seconds = limit.0.saturating_mul(HOUR) / self.micros_per_hour;
        if seconds < self.least_seconds { 0 } else { seconds.saturating_mul(1000).saturating_add(1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_task_is_billed_for_the_least_time_and_then_by_the_second() {
        // 0.25 vCPU and 0.5 GB at the list prices of us-east-1: 0.0123425 dollars an hour.
        let price = Price { micros_per_hour: 12_343, least_seconds: 60 };
        assert_eq!(price.cost(0), Usd(206));
        assert_eq!(price.cost(60_000), Usd(206));
        assert_eq!(price.cost(60_001), Usd(210));
        assert_eq!(price.cost(3_600_000), Usd(12_343));
        assert_eq!(price.cost(-5), Usd(206));
    }

    #[test]
    fn a_limit_is_exceeded_in_the_first_millisecond_that_costs_more() {
        let price = Price { micros_per_hour: 12_343, least_seconds: 60 };
        for limit in [0, 205, 206, 207, 1_000, 12_343, 1_000_000] {
            let after = price.exceeds_after(Usd(limit));
            let at = i64::try_from(after).unwrap();
            assert!(price.cost(at).0 > limit, "{limit}: {after}");
            assert!(after == 0 || price.cost(at - 1).0 <= limit, "{limit}: {after}");
        }
        assert_eq!(Price { micros_per_hour: 0, least_seconds: 60 }.exceeds_after(Usd(0)), u64::MAX);
    }
}
