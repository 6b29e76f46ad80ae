//! Artifacts in an S3 bucket.
//!
//! * **Once.** An object is created with `If-None-Match: *`, also at the end of a multipart upload, so a key
//!   never changes its content. A try whose answer was lost finds its own object at the next one and compares.
//! * **Forward.** `jobs/<job_id>/result.json` carries the number of its attempt as metadata and is replaced by
//!   compare-and-swap on its ETag (see `publish`).
//! * **Checked.** Every request carries the SHA-256 of what it sends, which S3 compares with what arrived. For
//!   an object of one request that is the checksum of the object; for parts S3 keeps a checksum of the parts'
//!   checksums only (multipart uploads, S3 user guide), so a comparison reads such an object.
//! * **Deleted** means hidden where the bucket keeps versions: a role that may delete for good is not needed
//!   here, and how long old versions and unfinished uploads stay is the business of the bucket's lifecycle.
//!
//! Permissions: writing once needs `s3:PutObject` alone. Without `s3:GetObject` on the key, which a worker does
//! not have on its own files, an object that is there already cannot be compared; it counts as ours when an
//! earlier try of this process with the same content had an uncertain end. Publishing needs `s3:GetObject`,
//! and telling absent from forbidden needs `s3:ListBucket`.

mod client;
mod fault;
mod presign;
mod publish;
mod put;
mod read;
mod source;
mod upload;

pub use client::S3Limits;

use crate::artifacts::{Artifacts, ArtifactsError, Content, Publication, Stored};
use crate::aws;
use crate::dir::key;
use async_trait::async_trait;
use aws_config::SdkConfig;
use client::Clients;
use contract::attempt::ManifestEntry;
use contract::{JobId, LaunchToken, PayloadRef};
use fault::Fault;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Mutex;
use std::time::Duration;

/// Artifacts in an S3 bucket. See the module's description.
#[derive(Debug)]
pub struct S3Artifacts {
    bucket: String,
    clients: Clients,
    /// Keys whose creation ended uncertainly, with what was to be stored.
    unsure: Mutex<HashMap<String, Stored>>,
}

impl S3Artifacts {
    /// Of `bucket`, with region, credentials and endpoint from where the SDK looks. Asks nothing yet.
    pub async fn open(bucket: &str) -> Self {
        let limits = S3Limits::default();
        Self::with(&aws::config(limits.quick).await, limits, bucket)
    }

    /// Of `bucket`, with another configuration. Its time limits are replaced by `limits`.
    #[must_use]
    pub fn with(config: &SdkConfig, limits: S3Limits, bucket: &str) -> Self {
        Self {
            bucket: bucket.to_owned(),
            clients: Clients::new(config, limits),
            unsure: Mutex::new(HashMap::new()),
        }
    }
}

/// Tries of a call that this module repeats itself.
const TRIES: u32 = 5;
/// The wait after the first try; it doubles, and chance takes up to half of it away, so that two writers of
/// one key do not meet again. All waits together are below a second: whoever called has more patience.
const FIRST_WAIT: Duration = Duration::from_millis(60);

/// How often a call was tried.
#[derive(Debug, Default)]
struct Tries(u32);

impl Tries {
    /// Waits before the next try. `false`: there is none.
    async fn another(&mut self) -> bool {
        self.0 += 1;
        if self.0 >= TRIES {
            return false;
        }
        let wait = FIRST_WAIT * 2u32.pow(self.0 - 1);
        let chance = getrandom::u32().unwrap_or(0) % 50;
        tokio::time::sleep(wait * (100 - chance) / 100).await;
        true
    }
}

fn unavailable(key: &str, verb: &'static str, message: impl ToString) -> ArtifactsError {
    ArtifactsError::Unavailable { key: key.to_owned(), verb, message: message.to_string() }
}

fn failed(key: &str, verb: &'static str, fault: Fault) -> ArtifactsError {
    unavailable(key, verb, fault.words())
}

#[async_trait]
impl Artifacts for S3Artifacts {
    async fn put(&self, key: &str, content: Content<'_>) -> Result<Stored, ArtifactsError> {
        key::check(key)?;
        aws::within(self.put_once(key, content)).await
    }

    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<Option<Vec<u8>>, ArtifactsError> {
        key::check(key)?;
        aws::within(self.read(key, range)).await.map_err(|fault| failed(key, "read", fault))
    }

    async fn size(&self, key: &str) -> Result<Option<u64>, ArtifactsError> {
        key::check(key)?;
        let head = aws::within(self.head(key)).await.map_err(|fault| failed(key, "read", fault))?;
        Ok(head.map(|head| head.size))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<(String, u64)>, ArtifactsError> {
        key::check(prefix)?;
        aws::within(self.list_below(prefix)).await.map_err(|fault| failed(prefix, "listed", fault))
    }

    async fn publish(
        &self,
        job_id: &JobId,
        number: u32,
        token: &LaunchToken,
        expected: &ManifestEntry,
    ) -> Result<Publication, ArtifactsError> {
        aws::within(self.publish_forward(job_id, number, token, expected)).await
    }

    async fn delete_job(&self, job_id: &JobId) -> Result<(), ArtifactsError> {
        let folder = format!("jobs/{job_id}");
        aws::within(self.delete_below(&folder)).await.map_err(|fault| failed(&folder, "deleted", fault))
    }

    async fn delete_payloads(&self, job_id: &JobId) -> Result<(), ArtifactsError> {
        let folder = PayloadRef::folder(job_id);
        aws::within(self.delete_below(&folder)).await.map_err(|fault| failed(&folder, "deleted", fault))
    }

    async fn download_url(&self, key: &str, content_type: &str) -> Result<Option<String>, ArtifactsError> {
        key::check(key)?;
        let url = aws::within(self.presigned(key, content_type)).await;
        url.map(Some).map_err(|fault| failed(key, "read", fault))
    }
}
