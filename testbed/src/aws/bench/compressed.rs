//! A tokio runtime whose clock runs faster than the machine's.
//!
//! Everything in it that waits or measures by tokio's clock (token buckets, pauses, the gathering of questions,
//! time limits of the SDK, the resync) is as much faster, without a line of the measured code being another. What
//! it computes and sends takes as long as ever and so costs *more* of the compressed time: a millisecond on this
//! machine counts as `factor` of them. A figure can therefore come out too bad by the compression, never too good.

use backends::Clock;
use contract::Timestamp;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::Notify;

/// Between two steps of the clock, in the machine's time.
const STEP: Duration = Duration::from_millis(1);

/// Runs `future` to its end with time that runs `factor` times as fast.
///
/// # Panics
/// Without threads and sockets nothing can be measured.
pub fn compressed<F: Future>(factor: u32, future: F) -> F::Output {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().start_paused(true).build().expect("a runtime");
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let answer = runtime.block_on(async move {
        // A paused clock would leap to the next timer whenever nothing is to be done, as while an answer is under
        // way; it does not while a blocking task is at work.
        let step = Arc::new(Notify::new());
        let stepping = step.clone();
        tokio::task::spawn_blocking(move || {
            while ended.recv_timeout(STEP) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                stepping.notify_one();
            }
        });
        let keep_time = async {
            let (began, virtually) = (Instant::now(), tokio::time::Instant::now());
            loop {
                step.notified().await;
                let behind = (began.elapsed() * factor).saturating_sub(virtually.elapsed());
                tokio::time::advance(behind).await;
            }
        };
        tokio::select! {
            answer = future => answer,
            () = keep_time => unreachable!("time does not end"),
        }
    });
    drop(end);
    runtime.shutdown_background();
    answer
}

/// The clock of such a runtime, as a port.
#[derive(Debug)]
pub struct CompressedClock {
    began: tokio::time::Instant,
    at: Timestamp,
}

impl CompressedClock {
    /// Starts at the machine's time. To be called within the runtime.
    #[must_use]
    pub fn start() -> Self {
        Self { began: tokio::time::Instant::now(), at: SystemTime::now().into() }
    }
}

impl Clock for CompressedClock {
    fn now(&self) -> Timestamp {
        self.at.plus_millis(i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX))
    }

    fn monotonic(&self) -> Duration {
        self.began.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_takes_its_part_of_the_time_and_an_idle_clock_does_not_leap() {
        let began = Instant::now();
        let waited = compressed(10, async {
            let began = tokio::time::Instant::now();
            tokio::time::sleep(Duration::from_secs(2)).await;
            began.elapsed()
        });
        let took = began.elapsed();
        assert!((2000..2100).contains(&waited.as_millis()), "{waited:?}");
        assert!((200..1000).contains(&took.as_millis()), "{took:?}: ten times as fast, and no faster");
    }
}
