//! Artifacts: files below `jobs/<job_id>/` and `payloads/<job_id>/`.
//!
//! | key | written by | how often |
//! |---|---|---|
//! | `payloads/<job_id>/<sha256>` | reconciler | once |
//! | `jobs/<job_id>/attempts/<n>-<token prefix>/…` | that attempt's worker | once |
//! | `jobs/<job_id>/result.json` | reconciler | forward only, by attempt number |

use async_trait::async_trait;
use contract::attempt::ManifestEntry;
use contract::{JobId, LaunchToken};
use std::ops::Range;
use std::path::Path;

/// Why an artifact could not be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactsError {
    /// The key is not one that may exist (absolute, `..`, empty part, control character).
    #[error("{0:?} is not a key for an artifact")]
    Key(String),
    /// The key holds other content already, and content is written once.
    #[error("artifact {0} exists with other content")]
    Exists(String),
    /// The store cannot take it now: full, read-only, not reachable.
    #[error("artifact {key} could not be {verb}: {message}")]
    Unavailable {
        /// The key.
        key: String,
        /// "stored" or "read".
        verb: &'static str,
        /// The store's own words.
        message: String,
    },
}

/// What to store.
#[derive(Debug, Clone, Copy)]
pub enum Content<'a> {
    /// These bytes.
    Bytes(&'a [u8]),
    /// The content of this file, which may be large.
    File(&'a Path),
}

/// What was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Bytes.
    pub size: u64,
    /// SHA-256 in lowercase hex.
    pub sha256: String,
}

/// The answer to a publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Publication {
    /// `jobs/<job_id>/result.json` holds this attempt's result.
    Published,
    /// It holds the result of a later attempt, which stays.
    Newer {
        /// That attempt's number.
        number: u32,
    },
    /// The attempt's result is not readable as the manifest describes it.
    Unreadable(String),
}

/// The store of artifacts.
#[async_trait]
pub trait Artifacts: Send + Sync + 'static {
    /// Stores `content` under `key`, once. Storing the same content again is a success.
    ///
    /// # Errors
    /// [`ArtifactsError::Exists`] when the key holds something else.
    async fn put(&self, key: &str, content: Content<'_>) -> Result<Stored, ArtifactsError>;

    /// Reads `key`, or the given bytes of it (cut at its end). `None`: no such artifact.
    ///
    /// # Errors
    /// [`ArtifactsError`].
    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<Option<Vec<u8>>, ArtifactsError>;

    /// The size of `key` in bytes. `None`: no such artifact.
    ///
    /// # Errors
    /// [`ArtifactsError`].
    async fn size(&self, key: &str) -> Result<Option<u64>, ArtifactsError>;

    /// Keys and sizes below `prefix` (a folder, without a slash at its end), sorted.
    ///
    /// # Errors
    /// [`ArtifactsError`].
    async fn list(&self, prefix: &str) -> Result<Vec<(String, u64)>, ArtifactsError>;

    /// Makes the result of attempt `number` the job's result, unless a later one is there: checks that it
    /// is readable with the size and checksum of `expected`, then replaces `jobs/<job_id>/result.json`.
    /// Repeating it is a success.
    ///
    /// # Errors
    /// [`ArtifactsError::Unavailable`]; nothing was published then.
    async fn publish(
        &self,
        job_id: &JobId,
        number: u32,
        token: &LaunchToken,
        expected: &ManifestEntry,
    ) -> Result<Publication, ArtifactsError>;

    /// Deletes everything below `jobs/<job_id>/`. Nothing there is a success.
    ///
    /// # Errors
    /// [`ArtifactsError`]; call again then.
    async fn delete_job(&self, job_id: &JobId) -> Result<(), ArtifactsError>;

    /// Deletes everything below `payloads/<job_id>/`. Nothing there is a success.
    ///
    /// # Errors
    /// [`ArtifactsError`]; call again then.
    async fn delete_payloads(&self, job_id: &JobId) -> Result<(), ArtifactsError>;

    /// A URL by which whoever has it can download `key` for a short time, as `content_type`, without passing
    /// through this process. `None`: the store has no such thing, and the content is read with
    /// [`get`](Self::get). Whether `key` exists is not looked at.
    ///
    /// # Errors
    /// [`ArtifactsError`].
    async fn download_url(&self, key: &str, content_type: &str) -> Result<Option<String>, ArtifactsError> {
        let _ = (key, content_type);
        Ok(None)
    }
}
