//! The writes of an attempt. What a worker writes is one `UpdateItem` that mentions the keys, `gate` and
//! `report` only: its role may name nothing else.

use super::client::patiently;
use super::client::{Item, Write, Written, write};
use super::job_writes::{NEWEST, Respelled, Seen, control_refused, control_write};
use super::read::{optional_section, section};
use super::records::DynamoRecords;
use super::section::{attribute, attribute_of};
use super::transaction::{Step, transact};
use crate::records::{ControlWrite, GateAnswer, RecordsError, StartAnswer, WriteAnswer, claim_stands};
use aws_sdk_dynamodb::types::AttributeValue;
use contract::{
    Claim, Closing, Control, Desired, Gate, JobId, LaunchToken, LeaveReason, Raw, Report, TaskId,
};

/// Moves of a gate that a seal may meet one after the other: absent, started, finished. One more for a
/// spelling by hand.
const MOVES: usize = 4;

impl DynamoRecords {
    pub(super) fn attempt(&self, job_id: &JobId, token: &LaunchToken) -> Write {
        Write::to(&self.tables.attempts, [("job_id", job_id.as_str()), ("token", token.as_str())])
    }

    /// A draft alone, which is the port's and not the protocol's: a claim writes its draft itself.
    pub(super) async fn write_draft(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        claim: &Claim,
    ) -> Result<WriteAnswer, RecordsError> {
        if !self.exists(job_id).await? {
            return Ok(WriteAnswer::NotFound);
        }
        match write(&self.client, &self.drafting(job_id, token, claim)).await? {
            Written::Done => Ok(WriteAnswer::Written),
            Written::Refused(item) => Ok(drafted(item.as_ref(), claim)),
        }
    }

    fn drafting(&self, job_id: &JobId, token: &LaunchToken, claim: &Claim) -> Write {
        self.attempt(job_id, token).set("claim", attribute_of(claim)).if_is("job_id", None)
    }

    /// Draft and claim in one transaction, so that a claim that meets a conflict leaves no open attempt that
    /// would stand in the way of the one that won. It cannot see the job's other attempts, whose keys nobody
    /// knows beforehand, so they are read afterwards.
    pub(super) async fn write_claim(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        claim: &Claim,
        expected: Option<&Raw<Control>>,
        seen: &Raw<Desired>,
        control: &Control,
    ) -> Result<WriteAnswer, RecordsError> {
        let next = ControlWrite { expected, seen, newest: claim.number, control, settled: false };
        let (mut wanted, mut wish) = (Seen::of(expected), Seen::of(Some(seen)));
        loop {
            let job = control_write(&self.tables.jobs, job_id, &wanted, &wish, &next)
                .set(NEWEST, AttributeValue::N(claim.number.to_string()));
            let steps = [Step::Update(job), Step::Update(self.drafting(job_id, token, claim))];
            let Err(reasons) = patiently(|| transact(&self.client, &steps)).await? else { break };
            let [job, draft] = <[_; 2]>::try_from(reasons).unwrap_or([None, None]);
            match draft {
                Some(Written::Refused(item)) if drafted(item.as_ref(), claim) != WriteAnswer::Written => {
                    return Ok(WriteAnswer::Conflict);
                }
                // The draft is there already: an earlier call, whose claim may have been refused.
                Some(_) => {
                    let claimed = self.replace_control(job_id, &next).await?;
                    if claimed != WriteAnswer::Written {
                        return Ok(claimed);
                    }
                    break;
                }
                None => {}
            }
            let Some(Written::Refused(item)) = job else { return Ok(WriteAnswer::Conflict) };
            match control_refused(item.as_ref(), &mut wanted, &mut wish, control) {
                // Control is ours, and the draft is gone: somebody deleted it.
                Some(WriteAnswer::Written) => return Ok(WriteAnswer::Conflict),
                Some(answer) => return Ok(answer),
                None => {}
            }
        }
        let attempts = self.read_attempts(job_id).await?;
        let stands = claim_stands(&attempts, token, claim.number);
        Ok(if stands { WriteAnswer::Written } else { WriteAnswer::Conflict })
    }

    /// Seals optimistically as if nobody had started; the answer to a refusal says who had.
    pub(super) async fn seal_gate(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        why: LeaveReason,
    ) -> Result<GateAnswer, RecordsError> {
        let (mut found, mut started) = (None, None);
        for _ in 0..MOVES {
            let seal = Gate::Sealed { why, started: started.take() };
            let update = self
                .attempt(job_id, token)
                .set("gate", attribute_of(&seal))
                .if_there("job_id")
                .if_is("gate", found.as_ref());
            let item = match write(&self.client, &update).await? {
                Written::Done => return Ok(GateAnswer::Written),
                Written::Refused(None) => return Ok(GateAnswer::NotFound),
                Written::Refused(Some(item)) => item,
            };
            let stored = optional_section::<Gate>(&item, "gate");
            match stored.as_ref().map(Raw::parse) {
                None => started = None,
                Some(Ok(Gate::Started { task })) => started = Some(task),
                Some(Ok(Gate::Sealed { .. })) => return Ok(GateAnswer::Written),
                // Whoever started under a gate that cannot be decoded could not be named any more.
                Some(Ok(Gate::Finished { .. }) | Err(_)) => return Ok(GateAnswer::Refused(stored)),
            }
            found = item.get("gate").cloned();
        }
        Err(RecordsError::Busy("the gate moved back and forth".to_owned()))
    }

    pub(super) async fn write_closing(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        closing: &Closing,
    ) -> Result<WriteAnswer, RecordsError> {
        let update = self
            .attempt(job_id, token)
            .set("closing", attribute_of(closing))
            .if_there("job_id")
            .if_is("closing", None)
            .if_member_in("gate", "state", &["finished", "sealed"]);
        let item = match write(&self.client, &update).await? {
            Written::Done => return Ok(WriteAnswer::Written),
            Written::Refused(None) => return Ok(WriteAnswer::NotFound),
            Written::Refused(Some(item)) => item,
        };
        match optional_section::<Closing>(&item, "closing").map(|stored| stored.parse()) {
            Some(Ok(stored)) if stored.write == closing.write => Ok(WriteAnswer::Written),
            Some(_) => Ok(WriteAnswer::Conflict),
            None => Err(RecordsError::Refused(
                "an attempt is closed only after its gate is finished or sealed".to_owned(),
            )),
        }
    }

    pub(super) async fn pass_gate(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        task: &TaskId,
        report: &Report,
    ) -> Result<StartAnswer, RecordsError> {
        let update = self
            .attempt(job_id, token)
            .set("gate", attribute_of(&Gate::Started { task: task.clone() }))
            .set("report", attribute_of(report))
            .if_there("job_id")
            .if_is("gate", None);
        match write(&self.client, &update).await? {
            Written::Done => match self.read_claim(job_id, token).await? {
                Some(claim) => Ok(StartAnswer::Started(Box::new(claim))),
                None => Ok(StartAnswer::NotFound),
            },
            Written::Refused(None) => Ok(StartAnswer::NotFound),
            Written::Refused(Some(item)) => Ok(match optional_section::<Gate>(&item, "gate") {
                Some(gate) if matches!(gate.parse(), Ok(Gate::Started { task: by }) if by == *task) => {
                    StartAnswer::Started(Box::new(section(&item, "claim")))
                }
                Some(gate) => StartAnswer::Lost(gate),
                None => return Err(RecordsError::Busy("the gate was opened meanwhile".to_owned())),
            }),
        }
    }

    /// Writes `report`, and moves the gate if `to` says so, while the gate is started(`task`).
    pub(super) async fn write_report(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        task: &TaskId,
        report: &Report,
        to: Option<&Gate>,
    ) -> Result<GateAnswer, RecordsError> {
        let started = Raw::of(&Gate::Started { task: task.clone() });
        let mut gate = Seen::of(Some(&started));
        loop {
            let update = self.attempt(job_id, token).set("report", attribute_of(report));
            let update = match to {
                Some(to) => update.set("gate", attribute_of(to)),
                None => update,
            };
            let update = update.if_there("job_id").if_is("gate", gate.attribute());
            let item = match write(&self.client, &update).await? {
                Written::Done => return Ok(GateAnswer::Written),
                Written::Refused(None) => return Ok(GateAnswer::NotFound),
                Written::Refused(Some(item)) => item,
            };
            if gate.respelled::<Gate>(item.get("gate")) == Respelled::Yes {
                continue;
            }
            let stored = optional_section::<Gate>(&item, "gate");
            let done =
                to.is_some_and(|to| stored.as_ref().and_then(|gate| gate.parse().ok()).as_ref() == Some(to));
            return Ok(if done { GateAnswer::Written } else { GateAnswer::Refused(stored) });
        }
    }
}

/// Whether a stored attempt holds this claim.
fn drafted(item: Option<&Item>, claim: &Claim) -> WriteAnswer {
    let stored = item.and_then(|item| item.get("claim"));
    match stored == Some(&attribute::<Claim>(Raw::of(claim).text())) {
        true => WriteAnswer::Written,
        false => WriteAnswer::Conflict,
    }
}
