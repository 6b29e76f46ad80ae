//! The judge of what reconcilers write into the records: the invariants that speak of records, evaluated
//! where a write happens.

use super::memory::Row;
use super::world::State;
use contract::invariants::{self, AttemptFacts, Invariant};
use contract::{Closing, Control, Desired, Gate, JobId, LaunchToken, Reason};
use std::collections::BTreeMap;

/// What the invariants look at, parsed.
struct Parsed {
    token: LaunchToken,
    run: u32,
    gate: Option<Gate>,
    closing: Option<Closing>,
}

fn parsed(row: &Row) -> Vec<Parsed> {
    row.attempts
        .iter()
        .map(|(token, a)| Parsed {
            token: token.clone(),
            run: a.claim.parse().map_or(0, |c| c.run),
            gate: a.gate.as_ref().and_then(|g| g.parse().ok()),
            closing: a.closing.as_ref().and_then(|c| c.parse().ok()),
        })
        .collect()
}

fn facts(parsed: &[Parsed]) -> Vec<AttemptFacts<'_>> {
    parsed
        .iter()
        .map(|Parsed { token, run, gate, closing }| AttemptFacts {
            token,
            run: *run,
            gate: gate.as_ref(),
            closing: closing.as_ref(),
        })
        .collect()
}

impl State {
    pub(super) fn judge_control(&mut self, job_id: &JobId, control: &Control) {
        let Some(row) = self.memory.jobs.get_mut(job_id) else { return };
        let desired = row.desired.clone();
        let before = row.judged.replace((control.clone(), desired.clone()));
        let claims = control.reason == Some(Reason::Launching)
            && control.token.as_ref().is_some_and(|token| !row.named.contains(token));
        row.named.extend(control.token.clone());
        let row = &*row;
        let parsed = parsed(row);
        let facts = facts(&parsed);
        let most = Desired::parse(desired.text()).map_or(u32::MAX, |d| d.max_attempts);
        let mut broken = Vec::new();
        if let Some((before, then)) = before
            && !invariants::terminal_is_final(&before, control, then != desired)
        {
            let what = format!("{} became {}", before.status(), control.status());
            broken.push((Invariant::TerminalIsFinal, what));
        }
        if !invariants::success_has_result(control, &facts) {
            broken.push((Invariant::SuccessHasResult, "no closed attempt has succeeded".to_owned()));
        }
        // A draft whose write came late may lie open beside an ended job: no claim names it, so nobody runs it.
        let named: Vec<AttemptFacts<'_>> =
            facts.iter().filter(|a| row.named.contains(a.token)).cloned().collect();
        if !invariants::nothing_open_when_finished(control, &named) {
            broken.push((Invariant::CancelHolds, "it has ended with an attempt open".to_owned()));
        }
        if claims && Desired::parse(desired.text()).is_ok_and(|d| d.cancel) {
            broken.push((Invariant::CancelHolds, "an attempt is claimed after cancel".to_owned()));
        }
        if !invariants::tries_within_budget(&facts, control.run, most) {
            broken.push((Invariant::TriesWithinBudget, format!("run {} of {most} tries", control.run)));
        }
        let published = self.files.published(job_id).max(self.files.collected(job_id));
        if let Some(accepted) = &control.accepted
            && published.is_none_or(|number| number < accepted.number)
        {
            let what = format!("result.json is of {published:?}, accepted is {}", accepted.number);
            broken.push((Invariant::SuccessHasResult, what));
        }
        for (invariant, what) in broken {
            self.breaks(invariant, job_id, &what);
        }
    }

    /// A claim stands: judges its number.
    pub(super) fn judge_claim(&mut self, job_id: &JobId, token: &LaunchToken, number: u32) {
        let Some(row) = self.memory.jobs.get_mut(job_id) else { return };
        let other = row.claimed.insert(number, token.clone()).filter(|before| before != token);
        if other.is_some() {
            self.wrong(&format!("job {job_id}: the number {number} was used before"));
        }
        self.judge_limits();
    }

    /// No more open attempts than the limits allow.
    fn judge_limits(&mut self) {
        let Some((total, queues)) = self.limits.clone() else { return };
        let mut open: BTreeMap<Option<String>, u32> = BTreeMap::new();
        for row in self.memory.jobs.values().filter(|r| r.attempts.values().any(|a| a.closing.is_none())) {
            let queue = Desired::parse(row.desired.text()).ok().and_then(|d| d.queue);
            *open.entry(queue).or_default() += 1;
        }
        let all: u32 = open.values().sum();
        let over = open
            .iter()
            .any(|(queue, n)| queue.as_ref().and_then(|q| queues.get(q)).is_some_and(|most| n > most));
        if all > total || over {
            self.wrong(&format!("{open:?} attempts are open, {total} and {queues:?} are allowed"));
        }
    }
}
