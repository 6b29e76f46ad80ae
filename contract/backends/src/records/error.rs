//! Why records could not be read or written, and what to do about it.

/// What to do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Try again at once; the cause has passed.
    Now,
    /// Try again after a pause; nothing was written.
    Later,
    /// Trying again cannot help.
    Never,
    /// It may have happened. Read again before doing anything else.
    Uncertain,
}

/// Why records could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordsError {
    /// The store is busy; nothing was written.
    #[error("the record store is busy: {0}")]
    Busy(String),
    /// The store is not reachable or cannot write (full disk, read-only); nothing was written.
    #[error("the record store is not available: {0}")]
    Unavailable(String),
    /// No answer came; the write may have happened.
    #[error("no answer from the record store: {0}")]
    Uncertain(String),
    /// The store refused the value (a constraint); the message is the store's own.
    #[error("the record store refused the write: {0}")]
    Refused(String),
    /// The store is not one that this program can use (newer schema, no database).
    #[error("the record store cannot be used: {0}")]
    Unusable(String),
}

impl RecordsError {
    /// What to do about it.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::Busy(_) | Self::Unavailable(_) => Retry::Later,
            Self::Uncertain(_) => Retry::Uncertain,
            Self::Refused(_) | Self::Unusable(_) => Retry::Never,
        }
    }
}
