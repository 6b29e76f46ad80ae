//! The client of S3: endpoints, time limits, and how long a connection may lie idle.

use crate::aws::Limits;
use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{Builder, Config, StalledStreamProtectionConfig};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Limits of the calls to S3.
#[derive(Debug, Clone, Copy)]
pub struct S3Limits {
    /// Of a request with little content: reading what an object is, listing, deleting, a small object.
    pub quick: Limits,
    /// Of a request that carries up to a part.
    pub bulk: Limits,
    /// How long a body may stand still, sent or received, before its request counts as failed. The SDK's own
    /// 5 s have been too short for a busy machine; without any a lost packet blocks a read for ever, because
    /// the limits above end with the head of the answer.
    pub stalled: Duration,
    /// A client that was not used for this long is replaced by a fresh one: whatever lies between us and S3
    /// may have forgotten its connections meanwhile, and a large request on such a connection hangs until its
    /// time limit instead of failing at once. A worker is idle like that for as long as its agent runs.
    pub idle: Duration,
    /// Bytes of a part of a multipart upload, and the largest object that is stored by one request. S3 takes
    /// parts from 5 MiB on (multipart upload limits, S3 user guide); one is held in memory at a time.
    pub part: u64,
}

impl Default for S3Limits {
    fn default() -> Self {
        let limits = |attempt, operation| Limits {
            attempt: Duration::from_secs(attempt),
            operation: Duration::from_secs(operation),
        };
        Self {
            quick: limits(10, 35),
            bulk: limits(60, 150),
            stalled: Duration::from_secs(10),
            idle: Duration::from_secs(5),
            part: 8 << 20,
        }
    }
}

/// Objects whose transfer is given the limits of bulk.
const BULK: u64 = 256 * 1024;

/// Makes clients.
#[derive(Debug)]
pub(super) struct Clients {
    config: Config,
    limits: S3Limits,
    current: Mutex<(Client, Instant)>,
}

impl Clients {
    pub(super) fn new(sdk: &SdkConfig, limits: S3Limits) -> Self {
        let config = Builder::from(sdk)
            .force_path_style(has_own_endpoint(sdk))
            .timeout_config(timeouts(limits.quick))
            .retry_config(RetryConfig::standard().with_max_attempts(3))
            .stalled_stream_protection(
                StalledStreamProtectionConfig::enabled().grace_period(limits.stalled).build(),
            )
            .build();
        let current = Mutex::new((Client::from_conf(config.clone()), Instant::now()));
        Self { config, limits, current }
    }

    /// A client with no connection that was idle for long. Credentials are shared by all.
    pub(super) fn get(&self) -> Client {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.1.elapsed() > self.limits.idle {
            current.0 = Client::from_conf(self.config.clone());
        }
        current.1 = Instant::now();
        current.0.clone()
    }

    /// See [`S3Limits::part`].
    pub(super) fn part(&self) -> u64 {
        self.limits.part
    }

    /// What a request that transfers `size` bytes overrides.
    pub(super) fn transfer(&self, size: u64) -> Builder {
        let limits = if size > BULK { self.limits.bulk } else { self.limits.quick };
        Config::builder().timeout_config(timeouts(limits))
    }

    /// As [`Clients::transfer`], tried once: the caller repeats, because it must know whether an earlier try
    /// may have been carried out.
    pub(super) fn transfer_once(&self, size: u64) -> Builder {
        self.transfer(size).retry_config(RetryConfig::disabled())
    }
}

fn timeouts(limits: Limits) -> TimeoutConfig {
    TimeoutConfig::builder()
        .operation_attempt_timeout(limits.attempt)
        .operation_timeout(limits.operation)
        .build()
}

/// Whether the endpoint is not AWS's. Such a server seldom has a name for each bucket, so the bucket is put
/// into the path.
fn has_own_endpoint(sdk: &SdkConfig) -> bool {
    sdk.endpoint_url().is_some() || std::env::var_os("AWS_ENDPOINT_URL_S3").is_some()
}
