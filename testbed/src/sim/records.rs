//! The records port over [`super::memory`]: calls take time, fail before or after they wrote, or write when
//! nobody waits for them any more.

use super::Mutation;
use super::chaos::Fault;
use super::host::Host;
use super::world::{State, World};
use async_trait::async_trait;
use backends::records::ControlWrite;
use backends::{
    CreateAnswer, GateAnswer, ListQuery, Listed, Loaded, NewJob, Page, RecordsBackend, RecordsError,
    Revision, StartAnswer, WriteAnswer,
};
use contract::{
    Claim, Closing, Control, Desired, Job, JobId, LaunchToken, LeaveReason, Raw, Report, TaskId, Timestamp,
};
use std::sync::Arc;
use std::time::Duration;

/// The records as one process sees them.
pub(super) struct SimRecords {
    pub(super) world: Arc<World>,
    /// The process, where it can stand still or die.
    pub(super) host: Option<Arc<Host>>,
}

type Answer<T> = Result<T, RecordsError>;

/// What a call writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writes {
    Nothing,
    /// A value that did not exist before, so that its condition holds once at most.
    Once,
    /// A value that may come back: a late write of it would undo what was done since.
    Again,
}

enum Fate {
    Fine,
    Refused,
    Lost,
    Late(Duration),
}

impl SimRecords {
    /// The port's default, which cannot be called past an override: draft, claim, look whether it stands.
    async fn claim_in_two(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        claim: &Claim,
        expected: Option<&Raw<Control>>,
        seen: &Raw<Desired>,
        control: &Control,
    ) -> Answer<WriteAnswer> {
        let drafted = self.draft(job_id, token, claim).await?;
        if drafted != WriteAnswer::Written {
            return Ok(drafted);
        }
        let write = ControlWrite { expected, seen, newest: claim.number, control, settled: false };
        let claimed = self.write_control(job_id, write).await?;
        if claimed != WriteAnswer::Written {
            return Ok(claimed);
        }
        let loaded = self.load(job_id).await?;
        if loaded.is_some_and(|l| l.claim_stands(token, claim.number)) {
            self.world.lock().judge_claim(job_id, token, claim.number);
            return Ok(WriteAnswer::Written);
        }
        Ok(WriteAnswer::Conflict)
    }

    async fn pause(&self) {
        if let Some(host) = &self.host {
            host.goes_on().await;
        }
    }

    fn fate(&self, writes: Writes) -> Fate {
        let mut s = self.world.lock();
        if s.chance(Fault::RecordsRefuse) {
            Fate::Refused
        } else if writes != Writes::Nothing && s.chance(Fault::RecordsLost) {
            Fate::Lost
        } else if writes == Writes::Once && s.chance(Fault::RecordsLate) {
            Fate::Late(s.dice.millis(1..=60_000))
        } else {
            Fate::Fine
        }
    }

    async fn call<T: Send + 'static>(
        &self,
        writes: Writes,
        op: impl FnOnce(&mut State) -> T + Send + 'static,
    ) -> Answer<T> {
        self.pause().await;
        self.world.way().await;
        let answer = match self.fate(writes) {
            Fate::Fine => Ok(op(&mut self.world.lock())),
            Fate::Refused => Err(RecordsError::Unavailable("simulated".to_owned())),
            Fate::Lost => {
                op(&mut self.world.lock());
                Err(RecordsError::Uncertain("simulated".to_owned()))
            }
            Fate::Late(after) => {
                let world = self.world.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(after).await;
                    op(&mut world.lock());
                });
                Err(RecordsError::Uncertain("simulated".to_owned()))
            }
        };
        self.world.way().await;
        self.pause().await;
        answer
    }

    async fn read<T: Send + 'static>(&self, op: impl FnOnce(&mut State) -> T + Send + 'static) -> Answer<T> {
        self.call(Writes::Nothing, op).await
    }

    async fn write<T: Send + 'static>(&self, op: impl FnOnce(&mut State) -> T + Send + 'static) -> Answer<T> {
        self.call(Writes::Once, op).await
    }
}

#[async_trait]
impl RecordsBackend for SimRecords {
    async fn job(&self, job_id: &JobId) -> Answer<Option<Job>> {
        let id = job_id.clone();
        self.read(move |s| s.row(&id).map(|row| row.job(&id))).await
    }

    async fn load(&self, job_id: &JobId) -> Answer<Option<Loaded>> {
        let (id, mutation) = (job_id.clone(), self.world.mutation);
        if self.host.is_some() {
            self.world.lock().looked_at(&id);
        }
        self.read(move |s| s.load(&id, mutation)).await
    }

    async fn list_active(&self) -> Answer<Vec<(JobId, Revision)>> {
        self.read(|s| s.list_active()).await
    }

    async fn list_expired(&self, now: Timestamp, limit: usize) -> Answer<Vec<JobId>> {
        self.read(move |s| s.list_expired(now, limit)).await
    }

    async fn list(&self, query: &ListQuery) -> Answer<Page> {
        let limit = query.limit;
        self.read(move |s| {
            let jobs = s.memory.jobs.iter().take(limit).map(|(id, row)| Listed { job: row.job(id) });
            Page { jobs: jobs.collect(), next: None }
        })
        .await
    }

    async fn create(&self, new: &NewJob) -> Answer<CreateAnswer> {
        let new = new.clone();
        let lost = self.world.is(Mutation::LostCreation);
        self.write(move |s| if lost && s.dice.once_in(8) { CreateAnswer::Created } else { s.create(&new) })
            .await
    }

    async fn write_desired(
        &self,
        job_id: &JobId,
        expected: &Raw<Desired>,
        desired: &Raw<Desired>,
    ) -> Answer<WriteAnswer> {
        let (id, expected, desired) = (job_id.clone(), expected.clone(), desired.clone());
        self.call(Writes::Again, move |s| s.write_desired(&id, &expected, &desired)).await
    }

    async fn write_control(&self, job_id: &JobId, write: ControlWrite<'_>) -> Answer<WriteAnswer> {
        let (id, expected, seen, control) =
            (job_id.clone(), write.expected.cloned(), write.seen.clone(), write.control.clone());
        let blind = self.world.is(Mutation::NoCompareAndSwap);
        let (newest, settled) = (write.newest, write.settled || self.world.is(Mutation::LostMark));
        self.write(move |s| {
            let expected = expected.as_ref();
            let write = ControlWrite { expected, seen: &seen, newest, control: &control, settled };
            s.write_control(&id, write, blind)
        })
        .await
    }

    async fn delete(
        &self,
        job_id: &JobId,
        expected: &Raw<Control>,
        seen: &Raw<Desired>,
    ) -> Answer<WriteAnswer> {
        let (id, expected, seen) = (job_id.clone(), expected.clone(), seen.clone());
        self.write(move |s| s.delete(&id, &expected, &seen)).await
    }

    async fn draft(&self, job_id: &JobId, token: &LaunchToken, claim: &Claim) -> Answer<WriteAnswer> {
        let (id, token, claim) = (job_id.clone(), token.clone(), claim.clone());
        self.write(move |s| s.draft(&id, &token, &claim)).await
    }

    async fn claim(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        claim: &Claim,
        expected: Option<&Raw<Control>>,
        seen: &Raw<Desired>,
        control: &Control,
    ) -> Answer<WriteAnswer> {
        if self.world.lock().unclaimable.as_ref() == Some(job_id) {
            return Err(RecordsError::Refused("simulated".to_owned()));
        }
        if self.world.two_writes {
            return self.claim_in_two(job_id, token, claim, expected, seen, control).await;
        }
        let (id, token, claim) = (job_id.clone(), token.clone(), claim.clone());
        let (expected, seen, control) = (expected.cloned(), seen.clone(), control.clone());
        let (blind, mutation) = (self.world.is(Mutation::NoCompareAndSwap), self.world.mutation);
        self.write(move |s| {
            if !blind && s.load(&id, mutation).is_some_and(|l| !l.claim_stands(&token, claim.number)) {
                return WriteAnswer::Conflict;
            }
            let (expected, newest) = (expected.as_ref(), claim.number);
            let write = ControlWrite { expected, seen: &seen, newest, control: &control, settled: false };
            let answer = s.write_control(&id, write, blind);
            if answer == WriteAnswer::Written {
                s.draft(&id, &token, &claim);
                s.judge_claim(&id, &token, claim.number);
            }
            answer
        })
        .await
    }

    async fn seal(&self, job_id: &JobId, token: &LaunchToken, why: LeaveReason) -> Answer<GateAnswer> {
        let (id, token) = (job_id.clone(), token.clone());
        self.write(move |s| s.seal(&id, &token, why)).await
    }

    async fn close(&self, job_id: &JobId, token: &LaunchToken, closing: &Closing) -> Answer<WriteAnswer> {
        let (id, token, closing) = (job_id.clone(), token.clone(), closing.clone());
        self.write(move |s| s.close(&id, &token, &closing)).await
    }

    async fn start(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        task: &TaskId,
        report: &Report,
    ) -> Answer<StartAnswer> {
        let (id, token, task, report) = (job_id.clone(), token.clone(), task.clone(), report.clone());
        let blind = self.world.is(Mutation::NoGate);
        self.write(move |s| s.start(&id, &token, &task, &report, blind)).await
    }

    async fn heartbeat(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        task: &TaskId,
        report: &Report,
    ) -> Answer<GateAnswer> {
        let (id, token, task, report) = (job_id.clone(), token.clone(), task.clone(), report.clone());
        self.write(move |s| s.heartbeat(&id, &token, &task, &report)).await
    }

    async fn finish(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        task: &TaskId,
        report: &Report,
    ) -> Answer<GateAnswer> {
        let (id, token, task, report) = (job_id.clone(), token.clone(), task.clone(), report.clone());
        let blind = self.world.is(Mutation::ReportWithoutGate);
        self.write(move |s| s.finish(&id, &token, &task, &report, blind)).await
    }
}
