//! Waiting in checks, which know no runtime.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// Several futures at once, on one task.
pub async fn all<T>(futures: Vec<impl Future<Output = T>>) -> Vec<T> {
    let mut pending: Vec<_> = futures.into_iter().map(|f| (Box::pin(f), None)).collect();
    std::future::poll_fn(move |cx| {
        for (future, done) in &mut pending {
            if done.is_none()
                && let Poll::Ready(value) = future.as_mut().poll(cx)
            {
                *done = Some(value);
            }
        }
        if pending.iter().any(|(_, done)| done.is_none()) {
            return Poll::Pending;
        }
        Poll::Ready(pending.iter_mut().filter_map(|(_, done)| done.take()).collect())
    })
    .await
}

/// `future`, or `None` after `limit`.
pub async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    let mut future = Box::pin(future);
    let deadline = Instant::now() + limit;
    let mut timer = false;
    std::future::poll_fn(move |cx: &mut Context<'_>| {
        if let Poll::Ready(value) = Pin::as_mut(&mut future).poll(cx) {
            return Poll::Ready(Some(value));
        }
        if Instant::now() >= deadline {
            return Poll::Ready(None);
        }
        if !timer {
            timer = true;
            let waker = cx.waker().clone();
            std::thread::spawn(move || {
                std::thread::sleep(deadline.saturating_duration_since(Instant::now()));
                waker.wake();
            });
        }
        Poll::Pending
    })
    .await
}

/// Asks again for up to five seconds until the answer is yes: listings of some stores lag.
///
/// # Panics
/// When the answer never is yes; `what` says what was waited for.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut ask: impl FnMut() -> F) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !ask().await {
        assert!(Instant::now() < deadline, "{what}");
        within(Duration::from_millis(20), std::future::pending::<()>()).await;
    }
}
