//! Why an attempt ended without an accepted result, and which budget pays for it.

use crate::status::{Reason, words};

words! {
    /// The class of a failed attempt. `failure_policy` rules match on these words.
    FailureClass {
        /// The agent ended with an exit code other than 0, or by a signal of its own.
        NonZeroExitCode = "NonZeroExitCode",
        /// Killed for its memory use.
        OutOfMemory = "OutOfMemory",
        /// Ran longer than `attempt_timeout_seconds`.
        AttemptTimeout = "AttemptTimeout",
        /// The agent's command could not be executed (not found, not executable).
        CommandNotStarted = "CommandNotStarted",
        /// The agent left something in its result file that is not one JSON value, or too much of it.
        InvalidResult = "InvalidResult",
        /// No task passed the start gate within `start_timeout_seconds`.
        StartTimeout = "StartTimeout",
        /// The task could not be started (image, secrets, network, spawn).
        TaskFailedToStart = "TaskFailedToStart",
        /// The worker was told to stop by somebody other than the reconciler.
        Interrupted = "Interrupted",
        /// Spot capacity was taken back.
        SpotInterruption = "SpotInterruption",
        /// The task ended, or was forgotten by the runtime, without an outcome.
        WorkerLost = "WorkerLost",
        /// The worker could not store the result or the logs.
        ArtifactsNotStored = "ArtifactsNotStored",
        /// An outcome said succeeded, but its result was not readable as described.
        ResultUnreadable = "ResultUnreadable",
    }
}

impl FailureClass {
    /// Whether the failure lies in the infrastructure. Such failures have their own, larger budget and
    /// never use up one of the job's `max_attempts`.
    #[must_use]
    pub fn is_infrastructure(self) -> bool {
        match self {
            Self::NonZeroExitCode
            | Self::OutOfMemory
            | Self::AttemptTimeout
            | Self::CommandNotStarted
            | Self::InvalidResult => false,
            Self::StartTimeout
            | Self::TaskFailedToStart
            | Self::Interrupted
            | Self::SpotInterruption
            | Self::WorkerLost
            | Self::ArtifactsNotStored
            | Self::ResultUnreadable => true,
        }
    }

    /// The reason a job ends with when this class used up its budget and the job allowed only one try.
    #[must_use]
    pub fn reason(self) -> Reason {
        match self {
            Self::NonZeroExitCode => Reason::NonZeroExitCode,
            Self::CommandNotStarted => Reason::CommandNotStarted,
            Self::InvalidResult => Reason::InvalidResult,
            Self::OutOfMemory => Reason::OutOfMemory,
            Self::AttemptTimeout => Reason::AttemptTimeout,
            Self::StartTimeout => Reason::StartTimeout,
            Self::TaskFailedToStart => Reason::TaskFailedToStart,
            Self::SpotInterruption => Reason::SpotInterruption,
            Self::Interrupted | Self::WorkerLost | Self::ArtifactsNotStored | Self::ResultUnreadable => {
                Reason::WorkerLost
            }
        }
    }
}
