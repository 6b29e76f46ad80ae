//! How every AWS client of this project is configured.
//!
//! Region, credentials and endpoints come from where the SDK always looks (`AWS_REGION`, the container's role,
//! `AWS_ENDPOINT_URL_<SERVICE>`, …); nothing of ours replaces them.

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use std::time::Duration;

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
    aws_config::defaults(BehaviorVersion::v2026_01_12()).timeout_config(timeouts).load().await
}
