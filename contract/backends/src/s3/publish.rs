//! Publishing a result: `jobs/<job_id>/result.json` becomes a copy of
//! `jobs/<job_id>/attempts/<n>-<token prefix>/result.json`.
//!
//! The copy names its attempt in its metadata, so "forward only" is a comparison of numbers, and it is written
//! on the condition that the object is still the one whose number was compared: of two publishers (a paused
//! leader and its successor) one is refused and looks again. S3's own CopyObject is not used: the content has
//! to be read anyway to be checked, and a copy under a condition is refused by S3-compatible stores and by
//! bucket policies that demand one.
//!
//! | metadata | value |
//! |---|---|
//! | `attempt` | the attempt's number |
//! | `source` | `attempts/<n>-<token prefix>/result.json` |
//! | `sha256` | of the content, in hex |
//!
//! An object without them (somebody restored a backup) names no attempt and is replaced.

use super::fault::Fault;
use super::read::Head;
use super::source::Source;
use super::upload::{Condition, Upload};
use super::{S3Artifacts, Tries, failed};
use crate::artifacts::{ArtifactsError, Publication, Stored};
use contract::attempt::{ManifestEntry, RESULT_FILE};
use contract::{JobId, LaunchToken};
use std::collections::HashMap;

const ATTEMPT: &str = "attempt";
const SOURCE: &str = "source";
const SHA256: &str = "sha256";

impl S3Artifacts {
    pub(super) async fn publish_forward(
        &self,
        job_id: &JobId,
        number: u32,
        token: &LaunchToken,
        expected: &ManifestEntry,
    ) -> Result<Publication, ArtifactsError> {
        let plain = format!("jobs/{job_id}/{RESULT_FILE}");
        let path = format!("attempts/{number}-{}/{RESULT_FILE}", token.prefix());
        let wanted = HashMap::from([
            (ATTEMPT.to_owned(), number.to_string()),
            (SOURCE.to_owned(), path.clone()),
            (SHA256.to_owned(), expected.sha256.clone()),
        ]);
        let key = format!("jobs/{job_id}/{path}");
        let mut tries = Tries::default();
        loop {
            let now = self.head(&plain).await.map_err(|fault| failed(&plain, "read", fault))?;
            if let Some(newer) = now.as_ref().and_then(published).filter(|now| *now > number) {
                return Ok(Publication::Newer { number: newer });
            }
            // Also after a try whose answer was lost.
            if now.as_ref().is_some_and(|now| now.metadata == wanted && now.size == expected.size) {
                return Ok(Publication::Published);
            }
            let (from, stored) = match self.checked(&key, expected).await {
                Ok(Ok(found)) => found,
                Ok(Err(why)) => return Ok(Publication::Unreadable(format!("{key} {why}"))),
                Err(fault) => return Err(failed(&key, "read", fault)),
            };
            let upload = Upload {
                key: &plain,
                source: &from,
                stored: &stored,
                condition: now.as_ref().map_or(Condition::Absent, |now| Condition::Is(&now.etag)),
                metadata: Some(wanted.clone()),
            };
            let fault = match self.upload(&upload).await {
                Ok(()) => return Ok(Publication::Published),
                // S3 answers 404 when the object that must match is gone.
                Err(
                    fault @ (Fault::Precondition
                    | Fault::Conflict
                    | Fault::Absent
                    | Fault::NoUpload
                    | Fault::Damaged(_)
                    | Fault::Uncertain(_)),
                ) => fault,
                Err(fault) => return Err(failed(&plain, "stored", fault)),
            };
            if !tries.another().await {
                return Err(failed(&plain, "stored", fault));
            }
        }
    }

    /// The result of an attempt, read once and found to be as expected; or what is wrong with it.
    async fn checked<'a>(
        &self,
        key: &'a str,
        expected: &ManifestEntry,
    ) -> Result<Result<(Source<'a>, Stored), String>, Fault> {
        let Some(head) = self.head(key).await? else { return Ok(Err("does not exist".to_owned())) };
        if head.size != expected.size {
            return Ok(Err(format!("has {} bytes instead of {}", head.size, expected.size)));
        }
        let (source, stored) = self.source(key, head).await?;
        if stored.sha256 != expected.sha256 {
            return Ok(Err(format!("has the SHA-256 {} instead of {}", stored.sha256, expected.sha256)));
        }
        Ok(Ok((source, stored)))
    }
}

/// The number of the attempt whose result this is.
fn published(head: &Head) -> Option<u32> {
    head.metadata.get(ATTEMPT)?.parse().ok()
}
