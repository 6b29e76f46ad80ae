//! Our own token buckets in front of those of AWS. They belong to the account and the Region, and being
//! throttled costs more than waiting: a throttled call counts, too.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// What we use of a rate. The rest is for clocks that run apart and for people who look at the cluster.
const SHARE: f64 = 0.98;
/// The size of a bucket in seconds of its rate, where that of AWS holds one second or more: calls that set out
/// evenly arrive in bunches, and a bucket that is as full as theirs would run over with the first bunch.
const SECONDS_OF_BURST: f64 = 0.75;
/// How long a halved rate stays so. AWS's buckets are full again after 5 s at most.
const PENALTY: Duration = Duration::from_secs(10);
/// The rate is never lower than its eighth.
const MOST_PENALTIES: u32 = 3;
/// Throttled calls that were under way together are one message.
const DEAF: Duration = Duration::from_secs(1);

/// Who goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Stopping ends costs and makes room.
    First,
    /// Everything else.
    Second,
}

/// One bucket.
pub(super) struct Bucket {
    rate: f64,
    state: Mutex<State>,
    /// Those who wait, in the order in which they came, by class.
    turns: [tokio::sync::Mutex<()>; 2],
    first_waiting: AtomicUsize,
}

struct State {
    tokens: f64,
    at: Instant,
    penalties: u32,
    punished: Option<Instant>,
}

impl Bucket {
    /// A bucket that is full.
    pub(super) fn new(per_second: u32) -> Self {
        let rate = f64::from(per_second) * SHARE;
        let state =
            State { tokens: rate * SECONDS_OF_BURST, at: Instant::now(), penalties: 0, punished: None };
        Self { rate, state: Mutex::new(state), turns: Default::default(), first_waiting: AtomicUsize::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a token.
    pub(super) async fn take(&self, class: Class) {
        let _waiting = (class == Class::First).then(|| Waiting::among(&self.first_waiting));
        let _turn = self.turns[usize::from(class == Class::Second)].lock().await;
        while let Some(pause) = self.try_take(class) {
            tokio::time::sleep(pause).await;
        }
    }

    /// Takes a token, or says how long it takes until there may be one.
    fn try_take(&self, class: Class) -> Option<Duration> {
        let yields = class == Class::Second && self.first_waiting.load(Ordering::Relaxed) > 0;
        let mut s = self.lock();
        let rate = s.refill(self.rate);
        if s.tokens >= 1.0 && !yields {
            s.tokens -= 1.0;
            return None;
        }
        let missing = if yields { 1.0 } else { 1.0 - s.tokens };
        Some(Duration::from_secs_f64(missing / rate).max(Duration::from_millis(1)))
    }

    /// AWS said that it is too fast: half the rate for a while, and what was saved up is gone.
    pub(super) fn throttled(&self) {
        let mut s = self.lock();
        s.refill(self.rate);
        let now = Instant::now();
        if s.punished.is_some_and(|at| now.saturating_duration_since(at) < DEAF) {
            return;
        }
        s.tokens = s.tokens.min(0.0);
        s.penalties = (s.penalties + 1).min(MOST_PENALTIES);
        s.punished = Some(now);
    }
}

impl State {
    /// Adds what has come in since the last look; answers with the present rate.
    fn refill(&mut self, full: f64) -> f64 {
        let now = Instant::now();
        if self.penalties > 0 && self.punished.is_none_or(|at| now.saturating_duration_since(at) >= PENALTY) {
            self.penalties -= 1;
            self.punished = Some(now);
        }
        let rate = full / f64::from(1_u32 << self.penalties);
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * rate).min((full * SECONDS_OF_BURST).max(1.0));
        self.at = now;
        rate
    }
}

/// Counts one who waits, also when the waiting is given up.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn among(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    async fn taken_within(bucket: &Bucket, span: Duration) -> u32 {
        let end = Instant::now() + span;
        let mut taken = 0;
        while tokio::time::timeout_at(end, bucket.take(Class::Second)).await.is_ok() {
            taken += 1;
        }
        taken
    }

    #[tokio::test(start_paused = true)]
    async fn a_bucket_gives_its_burst_and_then_its_share_of_the_rate() {
        let bucket = Bucket::new(20);
        assert_eq!(taken_within(&bucket, Duration::from_millis(1)).await, 14);
        let taken = taken_within(&bucket, Duration::from_secs(100)).await;
        assert!((1_900..=1_960).contains(&taken), "{taken}: 95 % of the rate and not more than our share");
    }

    #[tokio::test(start_paused = true)]
    async fn being_throttled_halves_the_rate_for_a_while() {
        let bucket = Bucket::new(20);
        bucket.throttled();
        bucket.throttled();
        let halved = taken_within(&bucket, Duration::from_secs(9)).await;
        assert!((80..=90).contains(&halved), "{halved}: two throttled calls at once count once");
        tokio::time::sleep(Duration::from_secs(1)).await;
        let after = taken_within(&bucket, Duration::from_secs(10)).await;
        assert!(after >= 190, "{after}: the rate is as before");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_stops_goes_before_all_who_launch() {
        let bucket = Arc::new(Bucket::new(10));
        taken_within(&bucket, Duration::from_millis(1)).await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut all = tokio::task::JoinSet::new();
        for class in [Class::Second, Class::Second, Class::Second, Class::First, Class::First] {
            let (bucket, order) = (bucket.clone(), order.clone());
            all.spawn(async move {
                bucket.take(class).await;
                order.lock().unwrap().push(class);
            });
            tokio::task::yield_now().await;
        }
        all.join_all().await;
        let order = order.lock().unwrap();
        assert_eq!(order[..2], [Class::First, Class::First], "{order:?}");
        assert_eq!(order.len(), 5);
    }
}
