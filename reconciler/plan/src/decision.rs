//! What a decision can be.

use contract::attempt::{Budget, Evidence, ManifestEntry, Verdict};
use contract::desired::Capacity;
use contract::{Control, LaunchToken, LeaveReason, Reason, TaskId, Timestamp};

/// What to do next about a job: exactly one thing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Decision {
    /// Store this `control`, while `control` and `desired` are what was seen. Whoever writes stamps
    /// `version` and `epoch`.
    Write {
        /// The next value.
        control: Box<Control>,
        /// Whether the job needs no more looks: clears the `active` mark.
        settled: bool,
        /// For logs.
        why: &'static str,
    },
    /// Do this.
    Do {
        /// What.
        effect: Effect,
        /// For logs.
        why: &'static str,
    },
    /// Do nothing.
    Wait {
        /// Why; `None` when everything is as wanted.
        reason: Option<Reason>,
        /// What else would keep the job from going on.
        blockers: Vec<Reason>,
        /// Look again at this time even if nothing is heard: the decision changes then at the earliest. Of a
        /// job that has ended it is the TTL, which a scan over ended jobs may find as well.
        until: Option<Timestamp>,
        /// Nothing but a slot is missing, for a task on this capacity: the job competes in [`crate::admit`].
        wants_slot: Option<Capacity>,
    },
}

impl Decision {
    pub(crate) fn write(control: Control, settled: bool, why: &'static str) -> Self {
        Self::Write { control: Box::new(control), settled, why }
    }

    pub(crate) fn wait(reason: Option<Reason>, until: Option<Timestamp>) -> Self {
        Self::Wait { reason, blockers: Vec::new(), until, wants_slot: None }
    }

    pub(crate) fn act(effect: Effect, why: &'static str) -> Self {
        Self::Do { effect, why }
    }
}

/// Everything the reconciler can do to the outside. There are no others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// Write a draft with a fresh token, then the `control` that claims it.
    Claim {
        /// What goes into the attempt's claim.
        draft: ClaimDraft,
        /// The `control` that names it, but for token, version and epoch.
        control: Box<Control>,
    },
    /// Launch with this token and the stored request.
    Launch {
        /// The attempt.
        token: LaunchToken,
    },
    /// Close the gate to every task that has not passed it, and refuse further reports.
    Seal {
        /// The attempt.
        token: LaunchToken,
        /// Why.
        why: LeaveReason,
    },
    /// Stop the task that passed the gate.
    Stop {
        /// The attempt.
        token: LaunchToken,
        /// The task.
        task: TaskId,
        /// Seconds between SIGTERM and SIGKILL.
        grace_seconds: u64,
    },
    /// Make the attempt's result the job's result.
    Publish {
        /// The attempt.
        token: LaunchToken,
        /// Its number.
        number: u32,
        /// What the outcome says about the result.
        result: ManifestEntry,
    },
    /// Write the evidence and the end of the attempt.
    Close {
        /// The attempt.
        token: LaunchToken,
        /// How it counts.
        verdict: Verdict,
        /// Which budget pays.
        uses: Budget,
        /// What was seen.
        evidence: Box<Evidence>,
    },
    /// Delete the artifacts and then the record of a job whose time has come.
    Collect,
}

impl Effect {
    /// The effect's name in logs and metric labels.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Claim { .. } => "claim",
            Self::Launch { .. } => "launch",
            Self::Seal { .. } => "seal",
            Self::Stop { .. } => "stop",
            Self::Publish { .. } => "publish",
            Self::Close { .. } => "close",
            Self::Collect => "collect",
        }
    }

    /// Every effect's name.
    pub const NAMES: [&'static str; 7] = ["claim", "launch", "seal", "stop", "publish", "close", "collect"];
}

/// The part of a claim that is decided here; the rest is copied from `desired` and the job type.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClaimDraft {
    /// The attempt's number.
    pub number: u32,
    /// The run it belongs to.
    pub run: u32,
    /// The value of `desired.retry` of that run.
    pub retry: u64,
    /// What to launch on: `on_demand` or `spot`.
    pub capacity: Capacity,
}
