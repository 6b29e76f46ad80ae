//! A bucket of MiniStack, directly or through a proxy that misbehaves on request.

mod faults;
mod large;
mod policy;
mod publishing;

use super::aws_support::proxy::{Fate, Proxy, Request, script};
use super::aws_support::{ACCESS_KEY, Ministack, REGION, leave_out};
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{Credentials, SharedCredentialsProvider};
use backends::aws::Limits;
use backends::s3::{S3Artifacts, S3Limits};
use std::pin::Pin;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// One runtime for all tests, so that connections outlive the call that opened them, as they do in a program.
static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
});

/// Drives a future to its end on the calling thread.
pub(crate) fn block_on(future: Pin<Box<dyn Future<Output = ()> + '_>>) {
    RUNTIME.block_on(future);
}

/// As [`block_on`], with an answer.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    RUNTIME.block_on(future)
}

/// The configuration of a client of `endpoint`.
pub(crate) fn config(endpoint: &str) -> SdkConfig {
    let (id, secret) = ACCESS_KEY;
    let credentials = Credentials::new(id, secret, None, None, "test");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .endpoint_url(endpoint)
        .region(Region::new(REGION))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build()
}

/// Limits that no call reaches because the machine is busy or the pauses between its tries are long.
pub(crate) fn long() -> S3Limits {
    limits(20)
}

/// Limits that let a test of a server that stands still end soon.
pub(crate) fn short() -> S3Limits {
    limits(2)
}

fn limits(attempt: u64) -> S3Limits {
    let limits =
        Limits { attempt: Duration::from_secs(attempt), operation: Duration::from_secs(4 * attempt) };
    S3Limits {
        quick: limits,
        bulk: limits,
        stalled: Duration::from_secs(attempt) / 2,
        part: 5 << 20,
        ..S3Limits::default()
    }
}

/// A bucket that nothing else uses.
pub(crate) struct Bucket {
    pub(crate) name: String,
    pub(crate) client: Client,
}

impl Bucket {
    /// Makes it.
    pub(crate) fn create(server: &Ministack) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("bucket-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let config = aws_sdk_s3::config::Builder::from(&config(&server.endpoint()));
        let client = Client::from_conf(config.force_path_style(true).build());
        run(client.create_bucket().bucket(&name).send()).expect("a bucket");
        Self { name, client }
    }

    /// Artifacts in it, reached at `endpoint`.
    pub(crate) fn artifacts(&self, endpoint: &str, limits: S3Limits) -> S3Artifacts {
        // The HTTP client spawns its connections.
        let _inside = RUNTIME.enter();
        S3Artifacts::with(&config(endpoint), limits, &self.name)
    }

    /// Uploads in parts that were neither completed nor aborted.
    pub(crate) fn unfinished_uploads(&self) -> usize {
        let answer = run(self.client.list_multipart_uploads().bucket(&self.name).send()).expect("a list");
        answer.uploads().len()
    }
}

/// A bucket behind a proxy.
pub(crate) struct Stage {
    pub(crate) bucket: Bucket,
    pub(crate) proxy: Proxy,
    /// Through the proxy.
    pub(crate) artifacts: S3Artifacts,
    /// Past it.
    pub(crate) direct: S3Artifacts,
}

/// The stage of a test, or `None` where MiniStack is not installed.
pub(crate) fn stage(rule: impl FnMut(&Request) -> Fate + Send + 'static) -> Option<Stage> {
    let server = Ministack::shared().inspect_err(|why| leave_out("S3", why)).ok()?;
    let bucket = Bucket::create(server);
    let proxy = Proxy::start(&server.endpoint(), rule);
    let artifacts = bucket.artifacts(&proxy.endpoint(), long());
    let direct = bucket.artifacts(&server.endpoint(), long());
    Some(Stage { bucket, proxy, artifacts, direct })
}

/// A stage where the requests that `wanted` names meet `fates`, and that waits long unless a server stands still.
pub(crate) fn scripted(
    wanted: impl Fn(&Request) -> bool + Send + 'static,
    fates: Vec<Fate>,
) -> Option<Stage> {
    let stands_still = fates.iter().any(|fate| matches!(fate, Fate::Stall | Fate::StallBody(_)));
    let stage = stage(script(wanted, fates))?;
    Some(if stands_still { stage.in_a_hurry() } else { stage })
}

impl Stage {
    /// For a server that will stand still.
    pub(crate) fn in_a_hurry(mut self) -> Self {
        self.artifacts = self.bucket.artifacts(&self.proxy.endpoint(), short());
        self
    }
}

/// A PUT of an object; a part of a large one is none.
pub(crate) fn is_put(request: &Request) -> bool {
    request.method == "PUT" && !request.target.contains("uploadId=")
}

/// A GET of an object; a listing is none.
pub(crate) fn is_get(request: &Request) -> bool {
    request.method == "GET" && !request.target.contains("list-type=")
}
