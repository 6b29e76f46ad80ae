//! What a state of the model consists of.

use super::Bounds;
use super::intern::{Pool, Shared};
use contract::invariants::Invariant;
use contract::{Closing, Control, LeaveReason};
use plan::Decision;
use std::hash::{Hash, Hasher};

/// The most attempts of a job, drafts included. More than any bound: what follows a state with faults
/// stopped may need further attempts.
pub(crate) const MOST: usize = 10;

pub(crate) static CONTROLS: Pool<Control> = Pool::new();
pub(crate) static CLOSINGS: Pool<Closing> = Pool::new();
pub(crate) static DECISIONS: Pool<Decision> = Pool::new();
pub(crate) static LEDGERS: Pool<Ledger> = Pool::new();

/// `desired`, as far as operators edit it here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Wanted {
    pub(crate) cancel: bool,
    pub(crate) suspend: bool,
    pub(crate) retry: u8,
    /// The deadline was lowered to nothing.
    pub(crate) hurry: bool,
}

/// The job record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Record {
    pub(crate) wanted: Wanted,
    /// Without version: see [`Seen::current`].
    pub(crate) control: Option<Shared<Control>>,
    pub(crate) active: bool,
    /// Who wrote `control`: 1 is the leader that took over.
    pub(crate) epoch: u8,
}

/// A task: the `made`-th one (0 or 1) of attempt `of`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Task {
    pub(crate) of: u8,
    pub(crate) made: u8,
}

/// The gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Door {
    Absent,
    Started(Task),
    Finished(Task),
    Sealed(LeaveReason, Option<Task>),
}

/// What a worker reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Reported {
    Success,
    /// A success whose result is not readable.
    Unreadable,
    Failure,
}

/// An attempt as it is stored. Its token is its place in the ledger: the order of the drafts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Attempt {
    pub(crate) number: u8,
    pub(crate) run: u8,
    pub(crate) retry: u8,
    pub(crate) claimed_at: u8,
    pub(crate) started_at: u8,
    pub(crate) gate: Door,
    pub(crate) outcome: Option<Reported>,
    pub(crate) closing: Option<Shared<Closing>>,
}

/// Every attempt of the job, in the order of their drafts.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Ledger {
    items: [Option<Attempt>; MOST],
}

impl Ledger {
    pub(crate) fn len(&self) -> usize {
        self.iter().count()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Attempt> {
        self.items.iter().map_while(Option::as_ref)
    }

    pub(crate) fn get(&self, of: u8) -> &Attempt {
        self.items[usize::from(of)].as_ref().expect("the attempt exists")
    }

    pub(crate) fn get_mut(&mut self, of: u8) -> &mut Attempt {
        self.items[usize::from(of)].as_mut().expect("the attempt exists")
    }

    pub(crate) fn push(&mut self, attempt: Attempt) -> u8 {
        let at = self.len();
        self.items[at] = Some(attempt);
        u8::try_from(at).expect("few attempts")
    }
}

impl PartialEq for Ledger {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Ledger {}

impl Hash for Ledger {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for attempt in self.iter() {
            attempt.hash(state);
        }
        state.write_u8(255);
    }
}

/// What a task is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) enum Doing {
    /// Never made.
    #[default]
    Nothing,
    /// Its worker has not reached the gate; listings may not show it yet.
    Starting,
    /// The agent executes.
    Executing,
    /// The worker is dead, its agent executes.
    Orphaned,
    /// Worker and agent are gone.
    Stopped,
    /// The runtime does not know it, nor the launch token, any more.
    Forgotten,
}

impl Doing {
    pub(crate) fn exists(self) -> bool {
        self != Self::Nothing
    }

    pub(crate) fn executes(self) -> bool {
        matches!(self, Self::Executing | Self::Orphaned)
    }
}

/// The record as a reconciler read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Seen {
    pub(crate) record: Record,
    /// Whether the stored `control` is still that very value. A version is random per write, so equal
    /// content is not enough; but a restored backup, or nothing at all after a wipe, is the same value again.
    pub(crate) current: bool,
}

/// A decision that is not carried out yet, with what it was made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Pending {
    pub(crate) decision: Shared<Decision>,
    pub(crate) seen: Seen,
    pub(crate) ledger: Shared<Ledger>,
    /// The draft that was written already, for a claim.
    pub(crate) draft: Option<u8>,
}

/// Where a reconciler is in its pass. Reads that are not out of date yet are not states: see `PROTOCOL.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum At {
    /// Between two passes, or in one whose reads are all up to date.
    Start,
    /// The record was read and has changed since.
    Record(Seen),
    /// Record and attempts were read, and the attempts have changed since.
    Both(Seen, Shared<Ledger>),
    /// Decided, and what it was decided from has changed since.
    Decided(Pending),
}

/// What a launch call said last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) enum Said {
    #[default]
    Nothing,
    Launched,
    Refused,
    Uncertain,
}

/// What a process remembers of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Memory {
    pub(crate) mine: bool,
    pub(crate) said: Said,
    pub(crate) stop_asked: bool,
    pub(crate) published: Option<bool>,
}

/// A reconciler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Reconciler {
    pub(crate) at: At,
    pub(crate) memory: [Memory; MOST],
}

impl Reconciler {
    pub(crate) const FRESH: Self = Self {
        at: At::Start,
        memory: [Memory { mine: false, said: Said::Nothing, stop_asked: false, published: None }; MOST],
    };
}

/// Everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) record: Record,
    pub(crate) ledger: Ledger,
    pub(crate) tasks: [[Doing; 2]; MOST],
    /// How often each token was executed.
    pub(crate) executions: [u8; MOST],
    pub(crate) now: u8,
    /// Number of the attempt whose result lies at the plain path.
    pub(crate) published: u8,
    pub(crate) reconcilers: [Reconciler; 2],
    pub(crate) claims: u8,
    pub(crate) edits: u8,
    pub(crate) hand_edits: u8,
    pub(crate) takeovers: u8,
    /// `desired` was edited since `control` was last written.
    pub(crate) edited: bool,
    /// `control` was edited since it was last written.
    pub(crate) forged: bool,
    /// The invariant that the last step broke.
    pub(crate) broken: Option<Invariant>,
}

impl State {
    pub(crate) fn first(bounds: &Bounds) -> Self {
        Self {
            record: Record { wanted: Wanted::default(), control: None, active: true, epoch: 0 },
            ledger: Ledger::default(),
            tasks: Default::default(),
            executions: [0; MOST],
            now: 0,
            published: 0,
            reconcilers: [Reconciler::FRESH; 2],
            claims: 0,
            edits: bounds.edits,
            hand_edits: bounds.hand_edits,
            takeovers: bounds.takeovers,
            edited: false,
            forged: false,
            broken: None,
        }
    }

    pub(crate) fn set(&mut self, task: Task, doing: Doing) {
        self.tasks[usize::from(task.of)][usize::from(task.made)] = doing;
    }

    pub(crate) fn all_tasks(&self) -> impl Iterator<Item = (Task, Doing)> + '_ {
        (0..)
            .zip(&self.tasks)
            .flat_map(|(of, tasks)| (0..).zip(tasks).map(move |(made, doing)| (Task { of, made }, *doing)))
    }

    pub(crate) fn executing(&self) -> usize {
        self.all_tasks().filter(|(_, doing)| doing.executes()).count()
    }

    /// Which reconcilers act: the second one from its take-over on.
    pub(crate) fn acting(&self, bounds: &Bounds) -> usize {
        if self.takeovers < bounds.takeovers { 2 } else { 1 }
    }
}
