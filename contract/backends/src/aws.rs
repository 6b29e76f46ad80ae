//! How every AWS client of this project is configured.
//!
//! Region, credentials and endpoints come from where the SDK always looks (`AWS_REGION`, the container's role,
//! `AWS_ENDPOINT_URL_<SERVICE>`, …); nothing of ours replaces them.

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use std::pin::pin;
use std::sync::OnceLock;
use std::time::Duration;
use tokio::runtime::Handle;

/// Time limits of one kind of client. The SDK has none of its own but for connecting, and a lost packet would
/// block a pass for ever.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// One try.
    pub attempt: Duration,
    /// All tries together.
    pub operation: Duration,
}

/// Connecting, name resolution and TLS included. A region away it takes 300 ms; what takes longer than this
/// will not answer in time either.
const CONNECT: Duration = Duration::from_secs(3);

/// The shared configuration with the behaviour of one version of the SDK, so that an update of the SDK changes
/// no retry or timeout unseen.
pub async fn config(limits: Limits) -> SdkConfig {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .operation_attempt_timeout(limits.attempt)
        .operation_timeout(limits.operation)
        .build();
    let defaults = aws_config::defaults(BehaviorVersion::v2026_01_12());
    within(defaults.timeout_config(timeouts).load()).await
}

/// `future`, with a runtime for the sockets and timers of the SDK whoever drives it: the caller's own, or
/// else one of this module. A worker drives the ports with a minimal `block_on`.
pub async fn within<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    std::future::poll_fn(move |cx| match Handle::try_current() {
        Ok(_) => future.as_mut().poll(cx),
        Err(_) => {
            let _entered = own().enter();
            future.as_mut().poll(cx)
        }
    })
    .await
}

/// A runtime on a thread that does nothing else, until the process ends.
///
/// # Panics
/// When the process can have neither a thread nor an epoll descriptor; nothing can be sent then.
fn own() -> &'static Handle {
    static OWN: OnceLock<Handle> = OnceLock::new();
    OWN.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let handle = runtime.handle().clone();
        std::thread::Builder::new()
            .name("aws".to_owned())
            .spawn(move || runtime.block_on(std::future::pending::<()>()))
            .expect("a thread");
        handle
    })
}
