//! The spaces that are exhausted, and how.

use super::act::Action;
use super::state::State;
use super::{Bounds, Protocol, story};
use stateright::{Checker, Expectation, HasDiscoveries, Model};
use std::collections::HashSet;
use std::time::Instant;

/// Nothing goes wrong but crashes, lost answers, dying workers and refusals.
pub(crate) const PLAIN: Bounds = Bounds {
    attempts: 1,
    wasted: 1,
    edits: 0,
    hand_edits: 0,
    wipes_only: true,
    takeovers: 0,
    epochs: true,
    ticks: 1,
    forgets: true,
    orphans: true,
    calm: false,
    max_attempts: 2,
};

/// What exhausting a space found.
pub(crate) struct Found {
    pub(crate) unique: usize,
    pub(crate) generated: usize,
    pub(crate) depth: usize,
    pub(crate) seconds: f64,
    /// Broken properties with their shortest stories.
    pub(crate) broken: Vec<(&'static str, String)>,
    /// `sometimes` properties that no state showed.
    pub(crate) missing: Vec<&'static str>,
}

/// Visits every state. No timeout, no target count and no depth limit is set, and the checker goes on until
/// every property is decided, which an `always` property that holds never is: it ends because no state is
/// left, or because a property broke.
pub(crate) fn exhaust(model: Protocol, threads: usize) -> Found {
    let start = Instant::now();
    let names: Vec<(&'static str, Expectation)> =
        model.properties().into_iter().map(|p| (p.name, p.expectation)).collect();
    let checker =
        model.clone().checker().threads(threads).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    assert!(checker.is_done(), "the checker stopped before it was done");
    let mut found = Found {
        unique: checker.unique_state_count(),
        generated: checker.state_count(),
        depth: checker.max_depth(),
        seconds: start.elapsed().as_secs_f64(),
        broken: Vec::new(),
        missing: Vec::new(),
    };
    let discoveries = checker.discoveries();
    for (name, expectation) in names {
        match (expectation, discoveries.contains_key(name)) {
            (Expectation::Sometimes, false) => found.missing.push(name),
            (Expectation::Always, true) => found.broken.push((name, shortest(&model, name))),
            (Expectation::Sometimes | Expectation::Eventually, _) | (Expectation::Always, false) => {}
        }
    }
    found
}

/// The shortest story in which a property breaks. The checker keeps the last one that it met; this is a
/// plain breadth-first search, which also looks at the model a second time in another way.
fn shortest(model: &Protocol, name: &str) -> String {
    let property = model.properties().into_iter().find(|p| p.name == name).expect("a property");
    let first = model.init_states().remove(0);
    let mut states: Vec<(State, usize, Option<Action>)> = vec![(first.clone(), 0, None)];
    let mut known = HashSet::from([first]);
    let mut at = 0;
    while at < states.len() {
        let state = states[at].0.clone();
        if !(property.condition)(model, &state) {
            return in_words(model, &states, at);
        }
        for (action, next) in model.next_steps(&state) {
            if known.insert(next.clone()) {
                states.push((next, at, Some(action)));
            }
        }
        at += 1;
    }
    unreachable!("the checker has found a state that breaks {name}")
}

fn in_words(model: &Protocol, states: &[(State, usize, Option<Action>)], end: usize) -> String {
    let mut path = vec![(states[end].0.clone(), None)];
    let mut at = end;
    while let (_, from, Some(action)) = &states[at] {
        path.push((states[*from].0.clone(), Some(*action)));
        at = *from;
    }
    path.reverse();
    let mut words = story::tell(model, &path);
    if states[end].0.broken.is_none() {
        words.push_str(&story::unsettled(model, &states[end].0));
    }
    words
}

/// Exhausts a space, prints its size and fails with the story of what broke.
pub(crate) fn holds(name: &str, bounds: Bounds) -> Found {
    let found = exhaust(Protocol::sound(bounds), 2);
    let Found { unique, generated, depth, seconds, .. } = found;
    println!("{name}: {unique} states, {generated} steps, depth {depth}, {seconds:.1} s");
    let broken: Vec<String> = found.broken.iter().map(|(name, story)| format!("{name}:\n{story}")).collect();
    assert!(broken.is_empty(), "{name}\n{}", broken.join("\n"));
    found
}

/// One take-over, and no clock: with it these spaces are ten times as large. Agents that outlive their
/// workers are left to the spaces without a take-over and to `1,0,1`.
const LED: Bounds = Bounds { takeovers: 1, orphans: false, ticks: 0, ..PLAIN };
/// One take-over, with the clock, and without wasted drafts.
const LED_IN_TIME: Bounds = Bounds { ticks: 1, wasted: 0, ..LED };

/// The spaces of `make model`, named by attempts, edits and take-overs. `+clock` has the clock and no wasted
/// draft where the space of the same name has a wasted draft and no clock; `wipe` is an edit that wipes
/// `control`.
pub(crate) const LARGE: [(&str, Bounds); 8] = [
    ("2,1,0", Bounds { attempts: 2, edits: 1, ..PLAIN }),
    ("2,wipe,0", Bounds { attempts: 2, hand_edits: 1, ..PLAIN }),
    ("1,0,1", Bounds { takeovers: 1, epochs: false, ..PLAIN }),
    ("1,1,1", Bounds { edits: 1, ..LED }),
    ("1,1,1+clock", Bounds { edits: 1, ..LED_IN_TIME }),
    ("1,wipe,1", Bounds { hand_edits: 1, ..LED }),
    ("1,wipe,1+clock", Bounds { hand_edits: 1, ..LED_IN_TIME }),
    ("2,0,1+clock", Bounds { attempts: 2, ..LED_IN_TIME }),
];
