//! Which faults a seed has, and how often. Each seed has only some of them: a fault that happens all the
//! time hides what another one would show.

use crate::Dice;
use std::time::Duration;

/// What can go wrong. The order is that of [`RATES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// A call to the records fails, and nothing was written.
    RecordsRefuse,
    /// A write happens, and its answer is lost.
    RecordsLost,
    /// A write that nobody got an answer to happens later.
    RecordsLate,
    /// A call takes seconds.
    Slow,
    /// A listing of tasks fails or is partial.
    TasksUnknown,
    /// A listing of tasks is old.
    TasksOld,
    /// A stop fails.
    StopFails,
    /// A launch is refused for certain.
    LaunchRefused,
    /// A launch gets no answer, and nothing happened.
    LaunchNot,
    /// A launch gets no answer, and it happened.
    LaunchLost,
    /// A launch gets no answer, and it happens later.
    LaunchLate,
    /// A task cannot be started.
    StartFails,
    /// A task takes very long to start.
    StartSlow,
    /// A worker is killed while it works.
    WorkerKilled,
    /// Spot capacity is taken back while a worker works.
    Spot,
    /// A call to the artifacts fails.
    Artifacts,
    /// A hint is lost.
    HintLost,
    /// A hint comes twice.
    HintTwice,
    /// A hint comes late.
    HintLate,
    /// A call to the lease fails.
    Lease,
    /// The reconciler dies before or after a call to a port.
    Crash,
    /// The reconciler stands still for up to two hours before or after a call to a port.
    Stall,
}

/// The highest rate of each fault, in cases per 100,000.
const RATES: [u32; 22] = [
    20_000, 15_000, 8_000, 10_000, 40_000, 50_000, 30_000, 40_000, 20_000, 20_000, 15_000, 20_000, 10_000,
    30_000, 30_000, 20_000, 100_000, 40_000, 50_000, 20_000, 400, 60,
];

/// The faults of one run.
#[derive(Debug, Clone)]
pub(super) struct Chaos {
    rates: [u32; RATES.len()],
    /// When faults end.
    pub(super) until: Duration,
    /// The clock of each host and worker is wrong by up to so many milliseconds.
    pub(super) skew_ms: u64,
    /// Reconcilers at once.
    pub(super) hosts: u64,
    /// Hand edits of records.
    pub(super) edits: bool,
}

impl Chaos {
    /// No faults at all.
    pub(super) fn none() -> Self {
        Self { rates: [0; RATES.len()], until: Duration::ZERO, skew_ms: 0, hosts: 1, edits: false }
    }

    /// The faults that belong to a seed.
    pub(super) fn of(dice: &mut Dice) -> Self {
        let mut rates = [0; RATES.len()];
        for (rate, most) in rates.iter_mut().zip(RATES) {
            *rate = match dice.within(0..=5) {
                0 | 1 => 0,
                2 | 3 => most / 20,
                4 => most / 5,
                _ => most,
            };
        }
        Self {
            rates,
            until: Duration::from_secs(dice.within(20..=240) * 60),
            skew_ms: if dice.once_in(3) { 0 } else { 300_000 },
            hosts: if dice.once_in(2) { 1 } else { 2 },
            edits: !dice.once_in(3),
        }
    }

    pub(super) fn rate(&self, fault: Fault) -> u32 {
        self.rates[fault as usize]
    }
}
