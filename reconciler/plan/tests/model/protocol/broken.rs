//! Mistakes that are built into the world or into what reaches `plan()`, each one a protocol that somebody
//! could have built. The checker must catch every one of them.

/// A mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    /// A worker executes whether or not it won the gate.
    NoGate,
    /// A sealed gate lets a worker pass.
    NoSeal,
    /// A task that stopped speaks for every task of its token.
    DeathByToken,
    /// Only the attempt that `control` names is looked at.
    LedgerInControl,
    /// The task is launched between the draft and the claim.
    LaunchBeforeClaim,
    /// An outcome is stored also behind a seal.
    ReportWithoutGate,
    /// An agent that outlives its worker counts as stopped.
    WorkerSpeaksForAgent,
    /// Tries are counted from tasks that are still seen, not from the ledger.
    TriesFromObservations,
    /// A listing without the task, or no answer at all, counts as its end.
    AbsenceIsDeath,
    /// A result replaces a newer one at the plain path.
    PublishWithoutCompare,
    /// A claim does not compare `desired` with what was seen.
    ClaimIgnoresDesired,
    /// After its claim the reconciler launches from the attempts that it read before.
    LaunchFromOldLedger,
    /// `control` is replaced whatever it holds.
    WriteWithoutVersion,
    /// The attempt is closed as soon as it is sealed, while its task may execute.
    CloseBeforeStopped,
}

impl Broken {
    pub(crate) const ALL: [Self; 14] = [
        Self::NoGate,
        Self::NoSeal,
        Self::DeathByToken,
        Self::LedgerInControl,
        Self::LaunchBeforeClaim,
        Self::ReportWithoutGate,
        Self::WorkerSpeaksForAgent,
        Self::TriesFromObservations,
        Self::AbsenceIsDeath,
        Self::PublishWithoutCompare,
        Self::ClaimIgnoresDesired,
        Self::LaunchFromOldLedger,
        Self::WriteWithoutVersion,
        Self::CloseBeforeStopped,
    ];
}
