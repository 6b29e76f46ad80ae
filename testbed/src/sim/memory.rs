//! Records in memory: the conditions of the port, and a judge that looks at every write.
//!
//! A write is judged where it happens, so that nothing depends on who looks when. What an operator writes
//! past the API is not judged; what the reconciler makes of it is.

use super::Mutation;
use super::world::State;
use backends::records::ControlWrite;
use backends::{CreateAnswer, GateAnswer, Loaded, NewJob, Revision, StartAnswer, WriteAnswer};
use contract::invariants::{self, Invariant};
use contract::{
    Attempt, Claim, Closing, Control, Created, Desired, Gate, Job, JobId, LaunchToken, LeaveReason, Raw,
    Reason, Report, StatusView, TaskId, Timestamp,
};
use std::collections::{BTreeMap, BTreeSet};

/// All jobs.
#[derive(Default)]
pub(super) struct Memory {
    pub(super) jobs: BTreeMap<JobId, Row>,
    revision: i64,
    /// Writes of reconcilers.
    pub(super) writes: u64,
    /// Jobs that were deleted, with their last `control`.
    pub(super) deleted: BTreeMap<JobId, Control>,
}

/// One job.
pub(super) struct Row {
    pub(super) created: Raw<Created>,
    pub(super) desired: Raw<Desired>,
    pub(super) control: Option<Raw<Control>>,
    pub(super) status: Option<Raw<StatusView>>,
    pub(super) active: bool,
    revision: i64,
    expires_at: Option<Timestamp>,
    pub(super) attempts: BTreeMap<LaunchToken, AttemptRow>,
    /// The last `control` of a reconciler with the `desired` of that moment, unless somebody edited it.
    pub(super) judged: Option<(Control, Raw<Desired>)>,
    /// Somebody has restored an old `control`.
    pub(super) rewound: bool,
    /// Every `control` so far, for an operator who restores an old one.
    pub(super) history: Vec<Raw<Control>>,
    /// Every attempt that a `control` has named.
    pub(super) named: BTreeSet<LaunchToken>,
    /// The attempt of each number whose claim stood.
    pub(super) claimed: BTreeMap<u32, LaunchToken>,
}

/// One attempt.
pub(super) struct AttemptRow {
    pub(super) number: u32,
    pub(super) claim: Raw<Claim>,
    pub(super) gate: Option<Raw<Gate>>,
    pub(super) report: Option<Raw<Report>>,
    pub(super) closing: Option<Raw<Closing>>,
}

impl Row {
    /// An operator has written into the row.
    pub(super) fn edited(&mut self) {
        self.judged = None;
    }

    pub(super) fn job(&self, job_id: &JobId) -> Job {
        Job {
            job_id: job_id.clone(),
            created: self.created.clone(),
            desired: self.desired.clone(),
            control: self.control.clone(),
            status: self.status.clone(),
            active: self.active,
        }
    }

    fn newest(&self) -> u32 {
        self.attempts.values().map(|a| a.number).max().unwrap_or(0)
    }

    fn list(&self, job_id: &JobId) -> Vec<Attempt> {
        let mut all: Vec<(u32, Attempt)> = self
            .attempts
            .iter()
            .map(|(token, a)| {
                let attempt = Attempt {
                    job_id: job_id.clone(),
                    token: token.clone(),
                    claim: a.claim.clone(),
                    gate: a.gate.clone(),
                    report: a.report.clone(),
                    closing: a.closing.clone(),
                };
                (a.number, attempt)
            })
            .collect();
        all.sort_by_key(|(number, _)| *number);
        all.into_iter().map(|(_, attempt)| attempt).collect()
    }
}

impl State {
    pub(super) fn row(&self, job_id: &JobId) -> Option<&Row> {
        self.memory.jobs.get(job_id)
    }

    /// Whoever changes a job gives it a new revision.
    pub(super) fn touch(&mut self, job_id: &JobId) {
        self.memory.revision += 1;
        let revision = self.memory.revision;
        if let Some(row) = self.memory.jobs.get_mut(job_id) {
            row.revision = revision;
        }
    }

    pub(super) fn load(&self, job_id: &JobId, mutation: Option<Mutation>) -> Option<Loaded> {
        let row = self.row(job_id)?;
        let mut attempts = row.list(job_id);
        if mutation == Some(Mutation::LedgerInControl) {
            let named = row.control.as_ref().and_then(|c| c.parse().ok()).and_then(|c| c.token);
            attempts.retain(|a| a.closing.is_some() || Some(&a.token) == named.as_ref());
        }
        Some(Loaded { job: row.job(job_id), attempts })
    }

    pub(super) fn list_active(&self) -> Vec<(JobId, Revision)> {
        let active = self.memory.jobs.iter().filter(|(_, row)| row.active);
        active.map(|(id, row)| (id.clone(), Revision(row.revision))).collect()
    }

    pub(super) fn list_expired(&self, now: Timestamp, limit: usize) -> Vec<JobId> {
        let due = self.memory.jobs.iter().filter(|(_, row)| row.expires_at.is_some_and(|at| at <= now));
        due.take(limit).map(|(id, _)| id.clone()).collect()
    }

    pub(super) fn create(&mut self, new: &NewJob) -> CreateAnswer {
        if let Some(row) = self.row(&new.job_id) {
            let same = row.created.parse().is_ok_and(|c: Created| c.write == new.created.write);
            let exists = || CreateAnswer::Exists(Box::new(row.job(&new.job_id)));
            return if same { CreateAnswer::Created } else { exists() };
        }
        let row = Row {
            created: Raw::of(&new.created),
            desired: Raw::of(&new.desired),
            control: None,
            status: None,
            active: true,
            revision: 0,
            expires_at: None,
            attempts: BTreeMap::new(),
            judged: None,
            rewound: false,
            history: Vec::new(),
            named: BTreeSet::new(),
            claimed: BTreeMap::new(),
        };
        self.memory.jobs.insert(new.job_id.clone(), row);
        self.touch(&new.job_id);
        self.note("api", &format!("{} is created", new.job_id));
        self.hint(&new.job_id);
        CreateAnswer::Created
    }

    pub(super) fn write_desired(
        &mut self,
        job_id: &JobId,
        expected: &Raw<Desired>,
        desired: &Raw<Desired>,
    ) -> WriteAnswer {
        let Some(row) = self.memory.jobs.get_mut(job_id) else { return WriteAnswer::NotFound };
        if row.desired != *expected {
            return if row.desired == *desired { WriteAnswer::Written } else { WriteAnswer::Conflict };
        }
        row.desired = desired.clone();
        row.active = true;
        self.touch(job_id);
        self.note("api", &format!("{job_id} desired {}", desired.text()));
        self.hint(job_id);
        WriteAnswer::Written
    }

    pub(super) fn write_control(
        &mut self,
        job_id: &JobId,
        write: ControlWrite<'_>,
        blind: bool,
    ) -> WriteAnswer {
        let ControlWrite { expected, seen, newest, control, settled } = write;
        let next = Raw::of(control);
        let Some(row) = self.memory.jobs.get_mut(job_id) else { return WriteAnswer::NotFound };
        let as_seen = row.control.as_ref() == expected && row.desired == *seen && row.newest() <= newest;
        if !as_seen && !blind {
            let ours = row.control.as_ref() == Some(&next);
            return if ours { WriteAnswer::Written } else { WriteAnswer::Conflict };
        }
        row.control = Some(next.clone());
        row.status = Some(Raw::of(&control.view()));
        row.expires_at = control.expires_at;
        row.active = !settled;
        row.history.push(next);
        self.touch(job_id);
        self.memory.writes += 1;
        let reason = control.reason.map_or("-", Reason::as_str);
        let line = format!(
            "{job_id} control {} {reason} run {} attempt {} tries {}/{} epoch {}: {}",
            control.phase,
            control.run,
            control.attempt,
            control.tries,
            control.infra_tries,
            control.epoch,
            control.message
        );
        self.note("reconciler", &line);
        self.judge_control(job_id, control);
        WriteAnswer::Written
    }

    pub(super) fn delete(
        &mut self,
        job_id: &JobId,
        expected: &Raw<Control>,
        seen: &Raw<Desired>,
    ) -> WriteAnswer {
        let Some(row) = self.row(job_id) else { return WriteAnswer::NotFound };
        let open = row.attempts.values().any(|a| a.closing.is_none());
        if row.control.as_ref() != Some(expected) || row.desired != *seen || open {
            return WriteAnswer::Conflict;
        }
        if let Ok(control) = expected.parse() {
            self.memory.deleted.insert(job_id.clone(), control);
        }
        self.memory.jobs.remove(job_id);
        self.memory.writes += 1;
        self.note("reconciler", &format!("{job_id} is deleted"));
        WriteAnswer::Written
    }

    pub(super) fn draft(&mut self, job_id: &JobId, token: &LaunchToken, claim: &Claim) -> WriteAnswer {
        let text = Raw::of(claim);
        let Some(row) = self.memory.jobs.get_mut(job_id) else { return WriteAnswer::NotFound };
        if let Some(there) = row.attempts.get(token) {
            return if there.claim == text { WriteAnswer::Written } else { WriteAnswer::Conflict };
        }
        let attempt =
            AttemptRow { number: claim.number, claim: text, gate: None, report: None, closing: None };
        row.attempts.insert(token.clone(), attempt);
        self.touch(job_id);
        self.memory.writes += 1;
        self.note("reconciler", &format!("{job_id} draft {} {}", claim.number, token.prefix()));
        WriteAnswer::Written
    }

    fn move_gate(
        &mut self,
        job_id: &JobId,
        token: &LaunchToken,
        to: &Gate,
        report: Option<&Report>,
        who: &str,
    ) {
        let Some(a) = self.memory.jobs.get_mut(job_id).and_then(|row| row.attempts.get_mut(token)) else {
            return;
        };
        let before: Option<Gate> = a.gate.as_ref().and_then(|g| g.parse().ok());
        let reported = a.report.as_ref().and_then(|r| r.parse().ok()).and_then(|r: Report| r.outcome);
        a.gate = Some(Raw::of(to));
        if let Some(report) = report {
            a.report = Some(Raw::of(report));
        }
        self.touch(job_id);
        self.note(who, &format!("{job_id} {} gate {to:?}", token.prefix()));
        if !invariants::gate_moves_forward(before.as_ref(), Some(to)) {
            self.breaks(
                Invariant::OutcomeIsFinal,
                job_id,
                &format!("the gate went from {before:?} to {to:?}"),
            );
        }
        if reported.is_some() && report.is_some_and(|r| r.outcome != reported) {
            self.breaks(Invariant::OutcomeIsFinal, job_id, "an outcome was replaced");
        }
    }

    /// The gate of an attempt: none such, absent, or a text.
    fn gate(&self, job_id: &JobId, token: &LaunchToken) -> Option<Option<Raw<Gate>>> {
        self.row(job_id)?.attempts.get(token).map(|a| a.gate.clone())
    }

    pub(super) fn seal(&mut self, job_id: &JobId, token: &LaunchToken, why: LeaveReason) -> GateAnswer {
        let Some(stored) = self.gate(job_id, token) else { return GateAnswer::NotFound };
        let started = match stored.as_ref().map(Raw::parse) {
            None => None,
            Some(Ok(Gate::Started { task })) => Some(task),
            Some(Ok(Gate::Sealed { .. })) => return GateAnswer::Written,
            Some(Ok(Gate::Finished { .. }) | Err(_)) => return GateAnswer::Refused(stored),
        };
        self.memory.writes += 1;
        self.move_gate(job_id, token, &Gate::Sealed { why, started }, None, "reconciler");
        GateAnswer::Written
    }

    pub(super) fn close(&mut self, job_id: &JobId, token: &LaunchToken, closing: &Closing) -> WriteAnswer {
        let Some(row) = self.memory.jobs.get_mut(job_id) else { return WriteAnswer::NotFound };
        let Some(a) = row.attempts.get_mut(token) else { return WriteAnswer::NotFound };
        if let Some(there) = &a.closing {
            let ours = there.parse().is_ok_and(|c| c.write == closing.write);
            return if ours { WriteAnswer::Written } else { WriteAnswer::Conflict };
        }
        a.closing = Some(Raw::of(closing));
        let left =
            matches!(a.gate.as_ref().map(Raw::parse), Some(Ok(Gate::Sealed { .. } | Gate::Finished { .. })));
        let number = a.number;
        self.touch(job_id);
        self.memory.writes += 1;
        let line = format!("{job_id} {} closed: {:?} {}", token.prefix(), closing.verdict, closing.uses);
        self.note("reconciler", &line);
        let alive = self.executing(job_id, token);
        if !alive.is_empty() {
            let what = format!("attempt {number} is closed while {alive:?} executes");
            self.breaks(Invariant::OneAgentPerJob, job_id, &what);
        }
        if !left {
            self.wrong(&format!("job {job_id}: attempt {number} is closed with an open gate"));
        }
        WriteAnswer::Written
    }

    pub(super) fn start(
        &mut self,
        job_id: &JobId,
        token: &LaunchToken,
        task: &TaskId,
        report: &Report,
        blind: bool,
    ) -> StartAnswer {
        let Some(a) = self.row(job_id).and_then(|row| row.attempts.get(token)) else {
            return StartAnswer::NotFound;
        };
        let (gate, claim) = (a.gate.clone(), Box::new(a.claim.clone()));
        match gate {
            None => {
                let to = Gate::Started { task: task.clone() };
                self.move_gate(job_id, token, &to, Some(report), task.as_str());
                self.hint(job_id);
            }
            Some(gate) if matches!(gate.parse(), Ok(Gate::Started { task: by }) if by == *task) => {}
            Some(_) if blind => {}
            Some(gate) => return StartAnswer::Lost(gate),
        }
        StartAnswer::Started(claim)
    }

    pub(super) fn heartbeat(
        &mut self,
        job_id: &JobId,
        token: &LaunchToken,
        task: &TaskId,
        report: &Report,
    ) -> GateAnswer {
        let Some(stored) = self.gate(job_id, token) else { return GateAnswer::NotFound };
        match stored.as_ref().map(Raw::parse) {
            Some(Ok(Gate::Started { task: by })) if by == *task => {
                let row = self.memory.jobs.get_mut(job_id);
                if let Some(a) = row.and_then(|row| row.attempts.get_mut(token)) {
                    a.report = Some(Raw::of(report));
                }
                GateAnswer::Written
            }
            _ => GateAnswer::Refused(stored),
        }
    }

    pub(super) fn finish(
        &mut self,
        job_id: &JobId,
        token: &LaunchToken,
        task: &TaskId,
        report: &Report,
        blind: bool,
    ) -> GateAnswer {
        let Some(stored) = self.gate(job_id, token) else { return GateAnswer::NotFound };
        match stored.as_ref().map(Raw::parse) {
            Some(Ok(Gate::Finished { task: by })) if by == *task => return GateAnswer::Written,
            Some(Ok(Gate::Started { task: by })) if by == *task => {}
            _ if blind => {}
            _ => return GateAnswer::Refused(stored),
        }
        let to = Gate::Finished { task: task.clone() };
        self.move_gate(job_id, token, &to, Some(report), task.as_str());
        self.hint(job_id);
        GateAnswer::Written
    }

    /// How many outcomes agents (and not the infrastructure) have reported for a job.
    pub(super) fn reported(&self, job_id: &JobId) -> u32 {
        let attempts = self.row(job_id).into_iter().flat_map(|row| row.attempts.values());
        let outcomes = attempts.filter(|a| {
            let report: Option<Report> = a.report.as_ref().and_then(|r| r.parse().ok());
            report.and_then(|r| r.outcome).is_some_and(|o| o.failure.is_none_or(|f| f.exit_code.is_some()))
        });
        u32::try_from(outcomes.count()).unwrap_or(u32::MAX)
    }
}
