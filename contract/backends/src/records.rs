//! Records: jobs and attempts.
//!
//! Every write names its own section only, is conditional, and (except creation) requires the item to
//! exist. A write answers with what became of it; an error says whether it may have happened.

mod answer;
mod error;
mod listing;

pub use answer::{Closed, CreateAnswer, GateAnswer, StartAnswer, WriteAnswer};
pub use error::{RecordsError, Retry};
pub use listing::{ListQuery, Listed, Page, ScanPage};

use async_trait::async_trait;
use contract::own::{Api, Owns, Reconciler, Role, Worker, section};
use contract::{
    Attempt, Claim, Closing, Control, Created, Desired, Job, JobId, LaunchToken, LeaveReason, Raw, Report,
    TaskId, Timestamp,
};
use std::marker::PhantomData;
use std::sync::Arc;

/// A number that differs whenever a job (or one of its attempts) was changed by anybody: at once, or a bounded
/// time later where the store cannot list by what it holds (DynamoDB).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub i64);

/// A job with all of its attempts, each read consistently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The job.
    pub job: Job,
    /// In the order of their numbers; every attempt that exists.
    pub attempts: Vec<Attempt>,
}

impl Loaded {
    /// See [`claim_stands`].
    #[must_use]
    pub fn claim_stands(&self, token: &LaunchToken, number: u32) -> bool {
        claim_stands(&self.attempts, token, number)
    }

    /// The highest number of an attempt, 0 if there is none: what [`ControlWrite::newest`] wants. Nobody knows the
    /// number of an attempt that cannot be decoded; what is written then says no more than that.
    #[must_use]
    pub fn newest(&self) -> u32 {
        self.attempts.iter().map(|a| a.claim.parse().map_or(u32::MAX, |c| c.number)).max().unwrap_or(0)
    }
}

/// Whether a claim of the attempt `token` with this number stands: every other attempt is closed and has a lower
/// number. A claim that was decided on all attempts has a higher number than each of them.
#[must_use]
pub fn claim_stands(attempts: &[Attempt], token: &LaunchToken, number: u32) -> bool {
    let before = |a: &Attempt| a.closing.is_some() && a.claim.parse().is_ok_and(|c| c.number < number);
    attempts.iter().all(|a| a.token == *token || before(a))
}

/// A job to be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewJob {
    /// Its key.
    pub job_id: JobId,
    /// Who and when.
    pub created: Created,
    /// What is wanted.
    pub desired: Desired,
}

/// What [`RecordsBackend::write_control`] takes, by name.
#[derive(Debug, Clone, Copy)]
pub struct ControlWrite<'a> {
    /// The `control` that is replaced.
    pub expected: Option<&'a Raw<Control>>,
    /// The `desired` that was looked at.
    pub seen: &'a Raw<Desired>,
    /// The highest number among the attempts that were looked at.
    pub newest: u32,
    /// The next one.
    pub control: &'a Control,
    /// Whether the `active` mark is cleared.
    pub settled: bool,
}

/// What a store of records implements. Everybody else uses [`Records`].
#[async_trait]
pub trait RecordsBackend: Send + Sync + 'static {
    /// One job.
    async fn job(&self, job_id: &JobId) -> Result<Option<Job>, RecordsError>;

    /// A job with all its attempts; reads that are not older than the call.
    async fn load(&self, job_id: &JobId) -> Result<Option<Loaded>, RecordsError>;

    /// Whether writes can be expected to succeed. Said by the last one, so that asking costs nothing while they do. A
    /// store that answers reads by whoever could write has nothing to add.
    async fn writable(&self) -> Result<(), RecordsError> {
        Ok(())
    }

    /// Keys and revisions of all jobs whose `active` mark is set. Costs as much as there are active jobs.
    async fn list_active(&self) -> Result<Vec<(JobId, Revision)>, RecordsError>;

    /// Finished jobs whose `control.expires_at` is not after `now`, at most `limit`.
    async fn list_expired(&self, now: Timestamp, limit: usize) -> Result<Vec<JobId>, RecordsError>;

    /// A page of jobs, newest first.
    async fn list(&self, query: &ListQuery) -> Result<Page, RecordsError>;

    /// The next part of a scan over jobs without the `active` mark, reading at most `budget` items, finished or
    /// not. It finds hand edits of finished jobs that no hint announced, in as many calls as the caller wants to
    /// spread its cost over. A store that notices every edit by itself has nothing to add.
    async fn scan_finished(&self, _cursor: Option<&str>, _budget: usize) -> Result<ScanPage, RecordsError> {
        Ok(ScanPage::default())
    }

    /// Stores a new job with its `active` mark. A creation with the same `created.write` is the same one.
    async fn create(&self, new: &NewJob) -> Result<CreateAnswer, RecordsError>;

    /// Replaces `desired` while it is `expected`, and sets the `active` mark. Equal to the stored value
    /// already: `Written`.
    async fn write_desired(
        &self,
        job_id: &JobId,
        expected: &Raw<Desired>,
        desired: &Raw<Desired>,
    ) -> Result<WriteAnswer, RecordsError>;

    /// Replaces `control` and `status` while `control` is `expected`, `desired` is `seen` and no attempt was claimed
    /// whose number is higher than `newest`; clears the `active` mark when `settled`.
    ///
    /// A `control` that is as it was does not tell that nothing has happened: somebody may have wiped it, or put
    /// it back. Whoever read it long before would write an end without knowing what runs.
    async fn write_control(
        &self,
        job_id: &JobId,
        write: ControlWrite<'_>,
    ) -> Result<WriteAnswer, RecordsError>;

    /// Deletes the job and its attempts while `desired` is `seen` and `control` is `expected`.
    async fn delete(
        &self,
        job_id: &JobId,
        expected: &Raw<Control>,
        seen: &Raw<Desired>,
    ) -> Result<WriteAnswer, RecordsError>;

    /// Stores a draft: an attempt that nobody runs until a claim names it. The job must exist.
    async fn draft(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        claim: &Claim,
    ) -> Result<WriteAnswer, RecordsError>;

    /// A draft and then the claim that names it, in this order. `Written` means more than that both are
    /// stored: after the claim every *other* attempt of the job was closed and had a lower number
    /// ([`Loaded::claim_stands`]). Without that, a claim on attempts that were read long ago could succeed
    /// because somebody put `control` back to what it was then, and a second agent would be launched, or one
    /// more than the run allows. `Conflict`: read again; the draft, and even the claim, may be stored.
    ///
    /// A store that can do all of it in one transaction does, and leaves nothing behind on a conflict.
    async fn claim(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        claim: &Claim,
        expected: Option<&Raw<Control>>,
        seen: &Raw<Desired>,
        control: &Control,
    ) -> Result<WriteAnswer, RecordsError> {
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
        let stands = loaded.is_some_and(|l| l.claim_stands(token, claim.number));
        Ok(if stands { WriteAnswer::Written } else { WriteAnswer::Conflict })
    }

    /// Seals the gate while it is absent or started; the seal keeps the task that had started. Sealed
    /// already (for whatever reason): `Written`. Finished: `Refused`.
    async fn seal(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        why: LeaveReason,
    ) -> Result<GateAnswer, RecordsError>;

    /// Writes the end of the attempt, once. Closed already by the same write id: `Written`; by another one:
    /// `Conflict`, read again.
    async fn close(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        closing: &Closing,
    ) -> Result<WriteAnswer, RecordsError>;

    /// [`Self::close`], and what follows from it: [`Self::write_control`], which is tried only if the attempt
    /// is closed then. They are two facts: a `control` that meets a conflict leaves the attempt closed.
    ///
    /// A store that can do both in one transaction does.
    async fn close_and_write(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        closing: &Closing,
        write: ControlWrite<'_>,
    ) -> Result<Closed, RecordsError> {
        let closing = self.close(job_id, token, closing).await?;
        if closing != WriteAnswer::Written {
            return Ok(Closed { closing, control: None });
        }
        let control = self.write_control(job_id, write).await?;
        Ok(Closed { closing, control: Some(control) })
    }

    /// Passes the gate: absent → started(`task`), and stores the first report. Started by the same task
    /// already: `Started` again.
    async fn start(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        task: &TaskId,
        report: &Report,
    ) -> Result<StartAnswer, RecordsError>;

    /// Replaces the report while the gate is started(`task`).
    async fn heartbeat(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        task: &TaskId,
        report: &Report,
    ) -> Result<GateAnswer, RecordsError>;

    /// Stores the outcome and moves the gate: started(`task`) → finished(`task`), in one write. Finished by
    /// the same task already: `Written`.
    async fn finish(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        task: &TaskId,
        report: &Report,
    ) -> Result<GateAnswer, RecordsError>;
}

/// The records as role `R` sees them: all reads, and the writes of the sections that `R` owns.
///
/// The reconciler closes attempts:
///
/// ```
/// # use contract::{Closing, JobId, LaunchToken};
/// async fn end(records: backends::Records<contract::own::Reconciler>, id: &JobId, token: &LaunchToken, end: &Closing) {
///     let _ = records.close(id, token, end).await;
/// }
/// ```
///
/// A worker that tries the same does not compile; nothing but the role differs:
///
/// ```compile_fail,E0599
/// # use contract::{Closing, JobId, LaunchToken};
/// async fn end(records: backends::Records<contract::own::Worker>, id: &JobId, token: &LaunchToken, end: &Closing) {
///     let _ = records.close(id, token, end).await;
/// }
/// ```
pub struct Records<R: Role> {
    backend: Arc<dyn RecordsBackend>,
    role: PhantomData<fn() -> R>,
}

impl<R: Role> Clone for Records<R> {
    fn clone(&self) -> Self {
        Self::new(self.backend.clone())
    }
}

impl<R: Role> std::fmt::Debug for Records<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Records<{}>", R::NAME)
    }
}

type Answer<T> = Result<T, RecordsError>;

impl<R: Role> Records<R> {
    /// A handle on `backend` for role `R`.
    #[must_use]
    pub fn new(backend: Arc<dyn RecordsBackend>) -> Self {
        Self { backend, role: PhantomData }
    }

    /// See [`RecordsBackend::job`].
    ///
    /// # Errors
    /// [`RecordsError`].
    pub async fn job(&self, job_id: &JobId) -> Answer<Option<Job>> {
        self.backend.job(job_id).await
    }

    /// See [`RecordsBackend::writable`].
    ///
    /// # Errors
    /// [`RecordsError`].
    pub async fn writable(&self) -> Answer<()> {
        self.backend.writable().await
    }

    /// See [`RecordsBackend::load`].
    ///
    /// # Errors
    /// [`RecordsError`].
    pub async fn load(&self, job_id: &JobId) -> Answer<Option<Loaded>> {
        self.backend.load(job_id).await
    }

    /// See [`RecordsBackend::list_active`].
    ///
    /// # Errors
    /// [`RecordsError`].
    pub async fn list_active(&self) -> Answer<Vec<(JobId, Revision)>> {
        self.backend.list_active().await
    }

    /// See [`RecordsBackend::list`].
    ///
    /// # Errors
    /// [`RecordsError`].
    pub async fn list(&self, query: &ListQuery) -> Answer<Page> {
        self.backend.list(query).await
    }
}

impl<R: Owns<section::Created>> Records<R> {
    /// See [`RecordsBackend::create`].
    ///
    /// # Errors
    /// [`RecordsError`].
    pub async fn create(&self, new: &NewJob) -> Answer<CreateAnswer> {
        self.backend.create(new).await
    }
}

impl<R: Owns<section::Desired>> Records<R> {
    /// See [`RecordsBackend::write_desired`].
    ///
    /// # Errors
    /// [`RecordsError`].
    pub async fn write_desired(
        &self,
        job_id: &JobId,
        expected: &Raw<Desired>,
        desired: &Raw<Desired>,
    ) -> Answer<WriteAnswer> {
        self.backend.write_desired(job_id, expected, desired).await
    }
}

impl<R: Owns<section::Control> + Owns<section::Claim> + Owns<section::GateSeal> + Owns<section::Closing>>
    Records<R>
{
    /// See [`RecordsBackend::list_expired`].
    ///
    /// # Errors
    /// [`RecordsError`].
    pub async fn list_expired(&self, now: Timestamp, limit: usize) -> Answer<Vec<JobId>> {
        self.backend.list_expired(now, limit).await
    }

    /// See [`RecordsBackend::scan_finished`].
    ///
    /// # Errors
    /// [`RecordsError`].
    pub async fn scan_finished(&self, cursor: Option<&str>, budget: usize) -> Answer<ScanPage> {
        self.backend.scan_finished(cursor, budget).await
    }

    /// See [`RecordsBackend::write_control`].
    ///
    /// # Errors
    /// [`RecordsError`].
    pub async fn write_control(&self, job_id: &JobId, write: ControlWrite<'_>) -> Answer<WriteAnswer> {
        self.backend.write_control(job_id, write).await
    }

    /// See [`RecordsBackend::delete`].
    ///
    /// # Errors
    /// [`RecordsError`].
    pub async fn delete(
        &self,
        job_id: &JobId,
        expected: &Raw<Control>,
        seen: &Raw<Desired>,
    ) -> Answer<WriteAnswer> {
        self.backend.delete(job_id, expected, seen).await
    }

    /// See [`RecordsBackend::claim`].
    ///
    /// # Errors
    /// [`RecordsError`].
    pub async fn claim(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        claim: &Claim,
        expected: Option<&Raw<Control>>,
        seen: &Raw<Desired>,
        control: &Control,
    ) -> Answer<WriteAnswer> {
        self.backend.claim(job_id, token, claim, expected, seen, control).await
    }

    /// See [`RecordsBackend::seal`].
    ///
    /// # Errors
    /// [`RecordsError`].
    pub async fn seal(&self, job_id: &JobId, token: &LaunchToken, why: LeaveReason) -> Answer<GateAnswer> {
        self.backend.seal(job_id, token, why).await
    }

    /// See [`RecordsBackend::close`].
    ///
    /// # Errors
    /// [`RecordsError`].
    pub async fn close(&self, job_id: &JobId, token: &LaunchToken, closing: &Closing) -> Answer<WriteAnswer> {
        self.backend.close(job_id, token, closing).await
    }

    /// See [`RecordsBackend::close_and_write`].
    ///
    /// # Errors
    /// [`RecordsError`].
    pub async fn close_and_write(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        closing: &Closing,
        write: ControlWrite<'_>,
    ) -> Answer<Closed> {
        self.backend.close_and_write(job_id, token, closing, write).await
    }
}

impl<R: Owns<section::GatePass> + Owns<section::Report>> Records<R> {
    /// See [`RecordsBackend::start`].
    ///
    /// # Errors
    /// [`RecordsError`].
    pub async fn start(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        task: &TaskId,
        report: &Report,
    ) -> Answer<StartAnswer> {
        self.backend.start(job_id, token, task, report).await
    }

    /// See [`RecordsBackend::heartbeat`].
    ///
    /// # Errors
    /// [`RecordsError`].
    pub async fn heartbeat(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        task: &TaskId,
        report: &Report,
    ) -> Answer<GateAnswer> {
        self.backend.heartbeat(job_id, token, task, report).await
    }

    /// See [`RecordsBackend::finish`].
    ///
    /// # Errors
    /// [`RecordsError`].
    pub async fn finish(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        task: &TaskId,
        report: &Report,
    ) -> Answer<GateAnswer> {
        self.backend.finish(job_id, token, task, report).await
    }
}

/// The API's handle.
pub type ApiRecords = Records<Api>;
/// The reconciler's handle.
pub type ReconcilerRecords = Records<Reconciler>;
/// A worker's handle.
pub type WorkerRecords = Records<Worker>;
