//! The launch protocol as a stateright model around the real `plan()`: two reconcilers, a store, a task
//! runtime that loses and forgets, workers that die, and operators who edit anything at any time.
//! `PROTOCOL.md` says what is modelled, how, and what is not.

pub(crate) mod act;
pub(crate) mod apply;
pub(crate) mod broken;
pub(crate) mod check;
pub(crate) mod intern;
pub(crate) mod merge;
pub(crate) mod settle;
pub(crate) mod spaces;
pub(crate) mod state;
pub(crate) mod story;
pub(crate) mod view;

use act::Action;
use broken::Broken;
use contract::invariants::Invariant;
use state::State;
use stateright::{Model, Property};

/// How far the model goes. Each number bounds something that could otherwise happen for ever.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Claims that succeed.
    pub(crate) attempts: u8,
    /// Drafts beyond those: written, but their claim was lost.
    pub(crate) wasted: u8,
    /// Edits of `desired` by operators.
    pub(crate) edits: u8,
    /// Edits of `control` by hand.
    pub(crate) hand_edits: u8,
    /// Which of them: only wiping it, or everything that [`act::HandEdit`] lists.
    pub(crate) wipes_only: bool,
    /// Take-overs; the old leader goes on not knowing.
    pub(crate) takeovers: u8,
    /// Whether a leader that reads a `control` of its successor stops deciding. Safety does not depend on it;
    /// without it two leaders go on side by side for ever.
    pub(crate) epochs: bool,
    /// Steps of a clock that is so coarse that one step passes every timeout and launch window.
    pub(crate) ticks: u8,
    /// Whether the runtime forgets stopped tasks, and with them their launch tokens.
    pub(crate) forgets: bool,
    /// Whether agents can outlive their workers.
    pub(crate) orphans: bool,
    /// Nothing fails by itself: workers live and succeed, calls are answered, reconcilers do not die.
    pub(crate) calm: bool,
    /// `desired.max_attempts`.
    pub(crate) max_attempts: u8,
}

/// The model: bounds, and a mistake that is built in on purpose, or none.
#[derive(Debug, Clone)]
pub(crate) struct Protocol {
    pub(crate) bounds: Bounds,
    pub(crate) broken: Option<Broken>,
    /// Whether I8 is evaluated; broken protocols are caught by their own invariant first.
    pub(crate) settles: bool,
}

impl Protocol {
    pub(crate) fn sound(bounds: Bounds) -> Self {
        Self { bounds, broken: None, settles: true }
    }

    pub(crate) fn is(&self, mistake: Broken) -> bool {
        self.broken == Some(mistake)
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::first(&self.bounds)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        // Behind a broken invariant there is nothing to learn.
        if state.broken.is_none() {
            act::all(self, state, actions);
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        act::next(self, state, action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("I1 one agent per job", |_: &Self, s: &State| {
                s.broken != Some(Invariant::OneAgentPerJob)
            }),
            Property::always("I2 one execution per token", |_: &Self, s: &State| {
                s.broken != Some(Invariant::OneExecutionPerToken)
            }),
            Property::always("I3 tries within budget", |_: &Self, s: &State| {
                s.broken != Some(Invariant::TriesWithinBudget)
            }),
            Property::always("I4 an end is final", |_: &Self, s: &State| {
                s.broken != Some(Invariant::TerminalIsFinal)
            }),
            Property::always("I5 success has its result", |_: &Self, s: &State| {
                s.broken != Some(Invariant::SuccessHasResult)
            }),
            Property::always("I6 cancel holds", |_: &Self, s: &State| {
                s.broken != Some(Invariant::CancelHolds)
            }),
            Property::always("I7 an outcome is final", |_: &Self, s: &State| {
                s.broken != Some(Invariant::OutcomeIsFinal)
            }),
            Property::always("I8 settles", |m: &Self, s: &State| !m.settles || settle::settles(m, s)),
            Property::sometimes("an agent executes", |_: &Self, s: &State| s.executing() == 1),
            Property::sometimes("a job succeeds", |_: &Self, s: &State| check::ended(s) == Some(true)),
            Property::sometimes("a job fails", |_: &Self, s: &State| check::ended(s) == Some(false)),
            Property::sometimes("two tasks of one token", |_: &Self, s: &State| {
                s.all_tasks().any(|(t, doing)| t.made == 1 && doing.exists())
            }),
            Property::sometimes("a draft is wasted", |_: &Self, s: &State| {
                s.ledger.len() > usize::from(s.claims)
            }),
            Property::sometimes("an attempt is left without an outcome", |_: &Self, s: &State| {
                s.ledger.iter().any(|a| matches!(a.gate, state::Door::Sealed(_, Some(_))))
            }),
        ]
    }
}
