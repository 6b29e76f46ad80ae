//! Forgetting beside the passes: a pass has closed its attempt and does not wait for it. What is lost here is
//! found again by the sweep of tasks without an open attempt.

use super::BATCH;
use super::ahead::{Ahead, QUICK};
use backends::redis::pool::Pool;
use contract::LaunchToken;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::Notify;
use tracing::warn;

/// Tokens that are to be forgotten.
#[derive(Default)]
pub(super) struct Forgetting {
    tokens: Mutex<BTreeSet<LaunchToken>>,
    more: Notify,
}

impl Forgetting {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<LaunchToken>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, token: LaunchToken) {
        self.lock().insert(token);
        self.more.notify_one();
    }

    /// What the pool may still name, and nobody asks for any more.
    pub(super) fn tokens(&self) -> BTreeSet<LaunchToken> {
        self.lock().clone()
    }

    /// Forgets what comes, all that has come meanwhile at once.
    pub(super) async fn run(self: Arc<Self>, pool: Pool, ahead: Arc<Ahead>) {
        loop {
            let batch: Vec<LaunchToken> = self.lock().iter().take(BATCH).cloned().collect();
            if batch.is_empty() {
                self.more.notified().await;
                continue;
            }
            match pool.forget(&batch, QUICK).await {
                Ok(quick) => ahead.ended(quick, Instant::now()),
                Err(error) => warn!(%error, "tasks cannot be forgotten now"),
            }
            let mut tokens = self.lock();
            tokens.retain(|token| !batch.contains(token));
        }
    }
}
