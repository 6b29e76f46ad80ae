//! Storing once.

use super::fault::Fault;
use super::read::Same;
use super::source::{Local, Source};
use super::upload::{Condition, Upload};
use super::{S3Artifacts, Tries, failed, unavailable};
use crate::artifacts::{ArtifactsError, Content, Stored};
use std::sync::PoisonError;

/// The most keys that are remembered as uncertain. A worker has some hundred; who has more writes content
/// that it may read, and needs no memory.
const MOST_UNSURE: usize = 10_000;

impl S3Artifacts {
    pub(super) async fn put_once(&self, key: &str, content: Content<'_>) -> Result<Stored, ArtifactsError> {
        let local = Local::open(content).map_err(|e| unavailable(key, "stored", e))?;
        let stored = local.measure().map_err(|e| unavailable(key, "stored", e))?;
        let source = Source::Local(local);
        let upload =
            Upload { key, source: &source, stored: &stored, condition: Condition::Absent, metadata: None };
        let mut tries = Tries::default();
        loop {
            let fault = match self.upload(&upload).await {
                Ok(()) => break,
                Err(Fault::Precondition) => match self.holds(key, &stored).await {
                    Ok(Same::Yes) => break,
                    Ok(Same::No) => return Err(ArtifactsError::Exists(key.to_owned())),
                    // Deleted meanwhile.
                    Ok(Same::Absent) => Fault::Precondition,
                    Err(Fault::Denied(_)) if self.is_unsure(key, &stored) => break,
                    Err(fault) => return Err(failed(key, "compared with what is there", fault)),
                },
                Err(fault @ Fault::Uncertain(_)) => {
                    self.remember(key, &stored);
                    fault
                }
                Err(fault @ (Fault::Conflict | Fault::Damaged(_) | Fault::NoUpload)) => fault,
                Err(fault) => return Err(failed(key, "stored", fault)),
            };
            if !tries.another().await {
                return Err(failed(key, "stored", fault));
            }
        }
        self.unsure.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        Ok(stored)
    }

    fn remember(&self, key: &str, stored: &Stored) {
        let mut unsure = self.unsure.lock().unwrap_or_else(PoisonError::into_inner);
        if unsure.len() >= MOST_UNSURE {
            unsure.clear();
        }
        unsure.insert(key.to_owned(), stored.clone());
    }

    fn is_unsure(&self, key: &str, stored: &Stored) -> bool {
        self.unsure.lock().unwrap_or_else(PoisonError::into_inner).get(key) == Some(stored)
    }
}
