//! Artifacts in memory.

use super::Mutation;
use super::chaos::Fault;
use super::host::Host;
use super::world::World;
use async_trait::async_trait;
use backends::{Artifacts, ArtifactsError, Content, Publication, Stored};
use contract::attempt::{ManifestEntry, RESULT_FILE};
use contract::{Attempt, JobId, LaunchToken, PayloadRef};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// What is stored.
#[derive(Default)]
pub(super) struct Files {
    by_key: BTreeMap<String, Vec<u8>>,
    published: BTreeMap<JobId, u32>,
    collected: BTreeMap<JobId, u32>,
}

impl Files {
    /// The attempt whose result is the job's result.
    pub(super) fn published(&self, job_id: &JobId) -> Option<u32> {
        self.published.get(job_id).copied()
    }

    /// The last attempt whose result was deleted because its time had come. A job stays for a moment
    /// without its result, and an operator who restores an old `control` in that moment ends it once more.
    pub(super) fn collected(&self, job_id: &JobId) -> Option<u32> {
        self.collected.get(job_id).copied()
    }
}

/// The artifacts as one process sees them.
pub(super) struct SimArtifacts {
    pub(super) world: Arc<World>,
    pub(super) host: Option<Arc<Host>>,
}

fn stored(bytes: &[u8]) -> Stored {
    let sha256 = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
    Stored { size: bytes.len() as u64, sha256 }
}

impl SimArtifacts {
    async fn call<T: Send>(
        &self,
        key: &str,
        op: impl FnOnce(&mut Files) -> Result<T, ArtifactsError> + Send,
    ) -> Result<T, ArtifactsError> {
        if let Some(host) = &self.host {
            host.goes_on().await;
        }
        self.world.way().await;
        let unavailable = || ArtifactsError::Unavailable {
            key: key.to_owned(),
            verb: "reached",
            message: "simulated".to_owned(),
        };
        let answer = {
            let mut s = self.world.lock();
            let (before, after) = (s.chance(Fault::Artifacts), s.chance(Fault::Artifacts));
            let answer = if before { Err(unavailable()) } else { op(&mut s.files) };
            if after { Err(unavailable()) } else { answer }
        };
        if let Some(host) = &self.host {
            host.goes_on().await;
        }
        answer
    }
}

#[async_trait]
impl Artifacts for SimArtifacts {
    async fn put(&self, key: &str, content: Content<'_>) -> Result<Stored, ArtifactsError> {
        let Content::Bytes(bytes) = content else { return Err(ArtifactsError::Key(key.to_owned())) };
        self.call(key, |files| {
            let there = files.by_key.entry(key.to_owned()).or_insert_with(|| bytes.to_vec());
            if there == bytes { Ok(stored(bytes)) } else { Err(ArtifactsError::Exists(key.to_owned())) }
        })
        .await
    }

    async fn get(&self, key: &str, _range: Option<Range<u64>>) -> Result<Option<Vec<u8>>, ArtifactsError> {
        self.call(key, |files| Ok(files.by_key.get(key).cloned())).await
    }

    async fn size(&self, key: &str) -> Result<Option<u64>, ArtifactsError> {
        self.call(key, |files| Ok(files.by_key.get(key).map(|b| b.len() as u64))).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<(String, u64)>, ArtifactsError> {
        self.call(prefix, |files| {
            let below = files.by_key.iter().filter(|(key, _)| key.starts_with(prefix));
            Ok(below.map(|(key, bytes)| (key.clone(), bytes.len() as u64)).collect())
        })
        .await
    }

    async fn publish(
        &self,
        job_id: &JobId,
        number: u32,
        token: &LaunchToken,
        expected: &ManifestEntry,
    ) -> Result<Publication, ArtifactsError> {
        let key = format!("{}/{RESULT_FILE}", Attempt::folder(job_id, number, token));
        let careless = self.world.is(Mutation::UnreadableSuccess);
        self.call(&key, |files| {
            if careless {
                return Ok(Publication::Published);
            }
            let found = files.by_key.get(&key).map(|bytes| stored(bytes));
            if found.is_none_or(|f| f.size != expected.size || f.sha256 != expected.sha256) {
                return Ok(Publication::Unreadable("not as described".to_owned()));
            }
            let there = files.published.entry(job_id.clone()).or_insert(number);
            if *there > number {
                return Ok(Publication::Newer { number: *there });
            }
            *there = number;
            Ok(Publication::Published)
        })
        .await
    }

    async fn delete_payloads(&self, job_id: &JobId) -> Result<(), ArtifactsError> {
        let prefix = format!("{}/", PayloadRef::folder(job_id));
        self.call(&prefix, |files| {
            files.by_key.retain(|key, _| !key.starts_with(&prefix));
            Ok(())
        })
        .await
    }

    async fn delete_job(&self, job_id: &JobId) -> Result<(), ArtifactsError> {
        let prefix = format!("jobs/{job_id}/");
        self.call(&prefix, |files| {
            files.by_key.retain(|key, _| !key.starts_with(&prefix));
            if let Some(number) = files.published.remove(job_id) {
                files.collected.insert(job_id.clone(), number);
            }
            Ok(())
        })
        .await
    }
}
