//! Token buckets of the API throttles.

use super::clock::Millis;
use super::options::Rate;

/// One bucket, in virtual time. The fill is counted in thousandths of a token, so that a refill of `n` per
/// second adds `n` per millisecond.
#[derive(Debug)]
pub(crate) struct Bucket {
    rate: Rate,
    fill: u64,
    at: Millis,
}

impl Bucket {
    pub(crate) fn new(rate: Rate, now: Millis) -> Self {
        Self { rate, fill: u64::from(rate.burst) * 1000, at: now }
    }

    fn refill(&mut self, now: Millis) {
        let elapsed = now.saturating_sub(self.at);
        self.at = self.at.max(now);
        let full = u64::from(self.rate.burst) * 1000;
        self.fill = full.min(self.fill.saturating_add(elapsed.saturating_mul(self.rate.per_second.into())));
    }

    /// Whether `count` tokens are there now.
    pub(crate) fn has(&mut self, count: u32, now: Millis) -> bool {
        self.refill(now);
        self.fill >= u64::from(count) * 1000
    }

    /// Takes what [`Bucket::has`] has found.
    pub(crate) fn take(&mut self, count: u32) {
        self.fill = self.fill.saturating_sub(u64::from(count) * 1000);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_at_once_and_then_its_refill() {
        let mut bucket = Bucket::new(Rate { burst: 3, per_second: 2 }, 0);
        let mut taken = |now| {
            let mut n = 0;
            while bucket.has(1, now) {
                bucket.take(1);
                n += 1;
            }
            n
        };
        assert_eq!([taken(0), taken(499), taken(500), taken(1500), taken(100_000)], [3, 0, 1, 2, 3]);
    }
}
