//! The words that the outside sees.

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $text)] $variant,)* }

        impl $name {
            /// Every value, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word as it is written in records, answers, logs and metric labels.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($text => Ok(Self::$variant),)*
                    _ => Err(format!("{text:?} is none of {}", [$($text),*].join(", "))),
                }
            }
        }
    };
}
pub(crate) use words;

words! {
    /// The public status of a job: these four and no more. Everything finer is a [`Reason`].
    Status {
        /// Accepted; no agent is executing it now.
        Queued = "QUEUED",
        /// An attempt has passed its start gate and has not ended.
        Running = "RUNNING",
        /// Ended; its result was readable when this was written.
        Succeeded = "SUCCEEDED",
        /// Ended without a result.
        Failed = "FAILED",
    }
}

impl Status {
    /// Whether the job has ended (only a forced retry starts it again).
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }
}

words! {
    /// Why a job is where it is. CamelCase tokens are a stable API: they appear unchanged in records, HTTP
    /// answers, logs and metric labels.
    Reason {
        /// Not looked at yet since it was created, edited or retried.
        PendingEvaluation = "PendingEvaluation",
        /// `desired.suspend` is set.
        Suspended = "Suspended",
        /// The configuration does not allow a launch: unknown job type, refused request, missing permission.
        Misconfigured = "Misconfigured",
        /// The record cannot be decoded; the message names the field and what is allowed.
        InvalidRecord = "InvalidRecord",
        /// A concurrency limit is reached, or jobs of higher priority come first.
        WaitingForQuota = "WaitingForQuota",
        /// The last try failed; the next one starts at `not_before`.
        BackingOff = "BackingOff",
        /// The task runtime asked us to slow down.
        LaunchThrottled = "LaunchThrottled",
        /// The task runtime has no capacity now.
        InsufficientCapacity = "InsufficientCapacity",
        /// An attempt is claimed and its task has not passed the start gate yet.
        Launching = "Launching",
        /// Ended with a readable result.
        Completed = "Completed",
        /// The agent ended with an exit code other than 0 (and no second try was allowed).
        NonZeroExitCode = "NonZeroExitCode",
        /// The agent's command could not be started (and no second try was allowed).
        CommandNotStarted = "CommandNotStarted",
        /// The agent left a result that is not one JSON value (and no second try was allowed).
        InvalidResult = "InvalidResult",
        /// Every allowed try of this run was used up; the message names the last failure.
        MaxAttemptsExceeded = "MaxAttemptsExceeded",
        /// `active_deadline_seconds` passed.
        DeadlineExceeded = "DeadlineExceeded",
        /// The estimated cost passed `max_cost_usd`.
        CostLimitExceeded = "CostLimitExceeded",
        /// The attempt ran longer than `attempt_timeout_seconds`.
        AttemptTimeout = "AttemptTimeout",
        /// No task passed the start gate within `start_timeout_seconds`, too often.
        StartTimeout = "StartTimeout",
        /// A rule of `failure_policy` said `Fail`.
        FailurePolicy = "FailurePolicy",
        /// `desired.cancel` was set.
        Cancelled = "Cancelled",
        /// The task was killed for its memory use.
        OutOfMemory = "OutOfMemory",
        /// Spot capacity was taken back, too often.
        SpotInterruption = "SpotInterruption",
        /// The task could not be started, too often (image, secrets, network).
        TaskFailedToStart = "TaskFailedToStart",
        /// The worker vanished without an outcome, too often.
        WorkerLost = "WorkerLost",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_their_text_form() {
        for reason in Reason::ALL {
            assert_eq!(reason.as_str().parse::<Reason>().unwrap(), *reason);
            assert_eq!(serde_json::to_string(reason).unwrap(), format!("\"{reason}\""));
        }
        assert!("running".parse::<Status>().unwrap_err().contains("QUEUED, RUNNING"));
    }
}
