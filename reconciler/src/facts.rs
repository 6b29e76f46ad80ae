//! What this process remembers of open attempts, beside what is stored. Losing it (a crash, a take-over) is
//! safe: the plan then sees an attempt that it did not claim itself.

use contract::LaunchToken;
use plan::{LaunchSaid, Published};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What is remembered of one attempt. Times are on this process's monotonic clock.
#[derive(Debug, Clone)]
pub(crate) struct Fact {
    /// When this process made the claim.
    pub(crate) claimed: Option<Duration>,
    /// What the last launch call answered.
    pub(crate) launch: LaunchSaid,
    /// When the last launch call was made.
    pub(crate) launch_called: Option<Duration>,
    /// How many launch calls got no clear answer in a row.
    pub(crate) uncertain: u32,
    /// When a stop was last asked for.
    pub(crate) stop_asked: Option<Duration>,
    /// Since when every complete answer knew of no task.
    pub(crate) absent_since: Option<Duration>,
    /// What became of a publication.
    pub(crate) published: Option<Published>,
}

impl Default for Fact {
    fn default() -> Self {
        Self {
            claimed: None,
            launch: LaunchSaid::Nothing,
            launch_called: None,
            uncertain: 0,
            stop_asked: None,
            absent_since: None,
            published: None,
        }
    }
}

/// Facts by attempt. One entry for each open attempt that was worked on.
#[derive(Default)]
pub(crate) struct Facts(Mutex<HashMap<LaunchToken, Fact>>);

impl Facts {
    fn lock(&self) -> MutexGuard<'_, HashMap<LaunchToken, Fact>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is remembered.
    pub(crate) fn of(&self, token: &LaunchToken) -> Fact {
        self.lock().get(token).cloned().unwrap_or_default()
    }

    /// Remembers more.
    pub(crate) fn note(&self, token: &LaunchToken, change: impl FnOnce(&mut Fact)) {
        change(self.lock().entry(token.clone()).or_default());
    }

    /// The attempt is closed.
    pub(crate) fn forget(&self, token: &LaunchToken) {
        self.lock().remove(token);
    }

    /// Whether this process has worked on the attempt and it is open, as far as it knows.
    pub(crate) fn knows(&self, token: &LaunchToken) -> bool {
        self.lock().contains_key(token)
    }
}
