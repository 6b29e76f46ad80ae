//! Random walks through the same world, far beyond the bounds that can be exhausted.

use crate::protocol::spaces::PLAIN;
use crate::protocol::state::State;
use crate::protocol::{Bounds, Protocol, settle, story};
use proptest::prelude::*;
use stateright::Model;

const WIDE: Bounds = Bounds {
    attempts: 3,
    wasted: 2,
    edits: 12,
    hand_edits: 6,
    wipes_only: false,
    takeovers: 1,
    epochs: false,
    ticks: 4,
    ..PLAIN
};

/// Follows the choices; the state that broke something ends the walk.
fn walk(m: &Protocol, choices: &[u16]) -> Vec<(State, Option<crate::protocol::act::Action>)> {
    let mut path = vec![(m.init_states().remove(0), None)];
    for choice in choices {
        let (state, _) = path.last().expect("it starts somewhere");
        let mut actions = Vec::new();
        m.actions(state, &mut actions);
        if actions.is_empty() {
            break;
        }
        let action = actions[usize::from(*choice) % actions.len()];
        if let Some(next) = m.next_state(state, action) {
            path.last_mut().expect("not empty").1 = Some(action);
            path.push((next, None));
        }
    }
    path
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_breaks_on_long_walks_and_every_tenth_state_settles(choices in prop::collection::vec(any::<u16>(), 400)) {
        let m = Protocol::sound(WIDE);
        let path = walk(&m, &choices);
        let (last, _) = path.last().expect("it starts somewhere");
        prop_assert!(last.broken.is_none(), "{}", story::tell(&m, &path));
        for (n, (state, _)) in path.iter().enumerate().step_by(10) {
            let settles = settle::settles(&m, state);
            prop_assert!(settles, "{}{}", story::tell(&m, &path[..=n]), story::unsettled(&m, state));
        }
    }
}
