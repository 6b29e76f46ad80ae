//! The constants of the decisions, as values, so that a model can make them small.

/// How patient the reconciler is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Policy {
    /// Failures of a run that the infrastructure may cause before the job is failed.
    pub infra_budget: u32,
    /// The claimant launches within this many milliseconds of its own monotonic clock after the claim. Far
    /// below the shortest life of an ECS client token, which is one hour after its task stopped
    /// (Amazon ECS API reference, "Ensuring idempotency").
    pub launch_window_ms: u64,
    /// A process that did not make the claim may repeat the launch until this long after `claimed_at` by
    /// the wall clock. Also far below the token's shortest life, with room for clock skew.
    pub replay_window_ms: u64,
    /// The first pause after a refused launch, doubled for each further refusal in a row.
    pub refusal_initial_ms: u64,
    /// The longest pause after a refused launch.
    pub refusal_max_ms: u64,
    /// The first pause after an infrastructure failure, doubled for each further one of the run.
    pub infra_initial_ms: u64,
    /// The longest pause after an infrastructure failure.
    pub infra_max_ms: u64,
    /// Milliseconds between two looks at a task that was asked to stop, or whose state is unknown.
    pub look_again_ms: u64,
    /// How long after a report that the worker was told to stop the attempt stays open for what the runtime says
    /// of its task. From the end of its container a task on Fargate takes some 12 s until it has stopped.
    pub evidence_wait_ms: u64,
    /// A wait for a slot that is shorter than this is not written down: in a burst most waits are, and each
    /// write costs as much as a launch.
    pub quiet_wait_ms: u64,
    /// `spot_then_on_demand`: interruptions of a run after which it goes on on demand. One is the ordinary price
    /// of Spot; a second one says that this pool is being drained.
    pub spot_interruptions: u32,
    /// `spot_then_on_demand`: how long there may be no Spot capacity until the job starts on demand.
    pub spot_patience_ms: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            infra_budget: 20,
            launch_window_ms: 5 * 60_000,
            replay_window_ms: 30 * 60_000,
            refusal_initial_ms: 2_000,
            refusal_max_ms: 300_000,
            infra_initial_ms: 1_000,
            infra_max_ms: 300_000,
            look_again_ms: 1_000,
            evidence_wait_ms: 60_000,
            quiet_wait_ms: 1_000,
            spot_interruptions: 2,
            spot_patience_ms: 120_000,
        }
    }
}
