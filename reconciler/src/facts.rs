//! What this process remembers of open attempts, beside what is stored. Losing it (a crash, a take-over) is
//! safe: the plan then sees an attempt that it did not claim itself.

use crate::tasks::ABSENCE_GRACE;
use contract::{LaunchToken, TaskId};
use plan::{LaunchSaid, Published};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What is remembered of one attempt. Times are on this process's monotonic clock.
#[derive(Debug, Clone)]
pub(crate) struct Fact {
    /// When this process made the claim.
    pub(crate) claimed: Option<Duration>,
    /// What the last launch call answered.
    pub(crate) launch: LaunchSaid,
    /// When the last launch call was answered; while it is under way, when it was made.
    pub(crate) launch_called: Option<Duration>,
    /// How many launch calls got no clear answer in a row.
    pub(crate) uncertain: u32,
    /// When a stop was last asked for.
    pub(crate) stop_asked: Option<Duration>,
    /// What every complete answer so far did not know of.
    pub(crate) absence: Option<Absence>,
    /// When this process first looked for a task and found none.
    pub(crate) first_look: Option<Duration>,
    /// When to look again, because the last look at its tasks has shown nothing that is certain.
    pub(crate) look_again: Option<Duration>,
    /// What became of a publication.
    pub(crate) published: Option<Published>,
}

impl Default for Fact {
    fn default() -> Self {
        Self {
            claimed: None,
            launch: LaunchSaid::Nothing,
            launch_called: None,
            uncertain: 0,
            stop_asked: None,
            absence: None,
            first_look: None,
            look_again: None,
            published: None,
        }
    }
}

/// Complete answers in a row that did not know of a task.
#[derive(Debug, Clone)]
pub(crate) struct Absence {
    /// The task that passed the gate, if one was known to have when the first of them was asked for; else any
    /// task of the attempt.
    of: Option<TaskId>,
    /// When the first of them had come.
    since: Duration,
}

impl Fact {
    /// Takes note of a look from `began` to `ended` that did not find the task `of` (or any task). Answers
    /// whether the absence is certain where listings lag: two answers at least [`ABSENCE_GRACE`] apart, both
    /// that long after the last launch call; else from when on another look may make it so. An earlier answer
    /// may show the time before the task existed, and a later one a gap in the listing: the two would look
    /// like one long absence. A process that made no call counts from its first look.
    ///
    /// A look counts as late as it can have been when it is the first, and as early when it is the second: a
    /// process may stand still in the middle of a call. Looks for any task say nothing about the one that has
    /// passed the gate since.
    pub(crate) fn absent(&mut self, of: Option<&TaskId>, began: Duration, ended: Duration) -> Absent {
        let first_look = *self.first_look.get_or_insert(ended);
        let launched = self.launch_called.unwrap_or(first_look);
        if began.saturating_sub(launched) < ABSENCE_GRACE {
            self.absence = None;
            return Absent::Perhaps { look_at: launched + ABSENCE_GRACE };
        }
        let since = match &self.absence {
            Some(absence) if absence.of.as_ref() == of => absence.since,
            Some(_) | None => {
                self.absence = Some(Absence { of: of.cloned(), since: ended });
                ended
            }
        };
        match began.saturating_sub(since) >= ABSENCE_GRACE {
            true => Absent::Certain,
            false => Absent::Perhaps { look_at: since + ABSENCE_GRACE },
        }
    }
}

/// Whether a task that was not found is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Absent {
    /// It is.
    Certain,
    /// A look that begins then, on this process's monotonic clock, may tell.
    Perhaps { look_at: Duration },
}

/// Facts by attempt. One entry for each open attempt that was worked on.
#[derive(Default)]
pub(crate) struct Facts(Mutex<HashMap<LaunchToken, Fact>>);

impl Facts {
    fn lock(&self) -> MutexGuard<'_, HashMap<LaunchToken, Fact>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is remembered.
    pub(crate) fn of(&self, token: &LaunchToken) -> Fact {
        self.lock().get(token).cloned().unwrap_or_default()
    }

    /// Remembers more.
    pub(crate) fn note(&self, token: &LaunchToken, change: impl FnOnce(&mut Fact)) {
        change(self.lock().entry(token.clone()).or_default());
    }

    /// When to look again at the tasks of the first of these attempts of which nothing certain is known, after
    /// a pass that began then. What was due before it is not: a pass that needed to know has looked, and one
    /// that did not would be followed by others like it without end.
    pub(crate) fn look_again<'a>(
        &self,
        tokens: impl Iterator<Item = &'a LaunchToken>,
        began: Duration,
    ) -> Option<Duration> {
        let facts = self.lock();
        tokens.filter_map(|token| facts.get(token)?.look_again.filter(|at| *at > began)).min()
    }

    /// The attempt is closed.
    pub(crate) fn forget(&self, token: &LaunchToken) {
        self.lock().remove(token);
    }

    /// Whether this process has worked on the attempt and it is open, as far as it knows.
    pub(crate) fn knows(&self, token: &LaunchToken) -> bool {
        self.lock().contains_key(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    const CERTAIN: Absent = Absent::Certain;

    fn perhaps(look_at: u64) -> Absent {
        Absent::Perhaps { look_at: s(look_at) }
    }

    #[test]
    fn absence_is_certain_after_two_looks_a_grace_apart() {
        let mut fact = Fact { launch_called: Some(s(0)), ..Fact::default() };
        assert_eq!(fact.absent(None, s(100), s(101)), perhaps(161));
        assert_eq!(fact.absent(None, s(160), s(161)), perhaps(161), "59 s after the first answer");
        assert_eq!(fact.absent(None, s(161), s(162)), CERTAIN);
        fact.launch_called = Some(s(150));
        assert_eq!(fact.absent(None, s(200), s(201)), perhaps(210), "launched again meanwhile");
        assert_eq!(
            fact.absent(None, s(210), s(211)),
            perhaps(271),
            "counted anew from a grace after the launch"
        );
        assert_eq!(fact.absent(None, s(271), s(272)), CERTAIN);
    }

    #[test]
    fn an_old_answer_from_before_the_launch_and_a_later_gap_are_not_one_long_absence() {
        let mut fact = Fact { launch_called: Some(s(0)), ..Fact::default() };
        assert_eq!(fact.absent(None, s(3), s(3)), perhaps(60), "may show the time before the task existed");
        assert_eq!(fact.absent(None, s(68), s(68)), perhaps(128));
        assert_eq!(fact.absent(None, s(128), s(128)), CERTAIN);
    }

    #[test]
    fn looks_before_the_gate_was_passed_do_not_prove_that_the_task_behind_it_is_gone() {
        let task = TaskId::new("task:1").unwrap();
        let mut fact = Fact::default();
        assert_eq!(fact.absent(None, s(0), s(1)), perhaps(61));
        assert_eq!(
            fact.absent(Some(&task), s(100), s(101)),
            perhaps(161),
            "the first look at this very task"
        );
        assert_eq!(fact.absent(Some(&task), s(150), s(151)), perhaps(161));
        assert_eq!(fact.absent(Some(&task), s(161), s(162)), CERTAIN);
    }

    #[test]
    fn a_process_that_stood_still_during_a_look_waits_from_its_answer_on() {
        let mut fact = Fact::default();
        assert_eq!(fact.absent(None, s(0), s(7200)), perhaps(7260));
        assert_eq!(fact.absent(None, s(7201), s(7202)), perhaps(7260));
        assert_eq!(fact.absent(None, s(7260), s(7261)), perhaps(7321));
        assert_eq!(fact.absent(None, s(7321), s(7322)), CERTAIN);
    }

    #[test]
    fn of_many_attempts_the_one_that_is_to_be_looked_at_first_counts() {
        let facts = Facts::default();
        let [one, two, other] = [1, 2, 3].map(LaunchToken::from_bits);
        facts.note(&one, |f| f.look_again = Some(s(7)));
        facts.note(&two, |f| f.look_again = Some(s(5)));
        facts.note(&other, |f| f.look_again = Some(s(1)));
        let of_both = |began| facts.look_again([&one, &two].into_iter(), s(began));
        assert_eq!(of_both(4), Some(s(5)));
        assert_eq!(of_both(5), Some(s(7)), "a pass that began when it was due has not looked");
        assert_eq!(of_both(7), None);
        facts.note(&two, |f| f.look_again = None);
        assert_eq!(of_both(4), Some(s(7)));
        facts.forget(&one);
        assert_eq!(of_both(4), None);
    }
}
