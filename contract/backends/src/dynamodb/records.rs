//! [`DynamoRecords`]: the port on top of reads, writes and listings.

use super::client::Tables;
use super::order::Order;
use crate::aws::{self, Limits};
use crate::hints::{ChangeFeed, Hints, HintsError, Interest};
use crate::records::{
    ControlWrite, CreateAnswer, GateAnswer, ListQuery, Loaded, NewJob, Page, RecordsBackend, RecordsError,
    Revision, ScanPage, StartAnswer, WriteAnswer,
};
use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use contract::{
    Claim, Closing, Control, Desired, Gate, Job, JobId, LaunchToken, LeaveReason, Raw, Report, TaskId,
    Timestamp,
};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// DynamoDB answers within 10 ms, and in 2 s if it ever does. Three tries and their pauses fit.
const LIMITS: Limits = Limits { attempt: Duration::from_secs(2), operation: Duration::from_secs(8) };

/// What may be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DynamoOptions {
    /// The longest time that the listing of active jobs hides a change which only an operator or a worker made
    /// and of which every hint was lost.
    pub look_again: Duration,
}

impl Default for DynamoOptions {
    /// Five minutes: two read units per waiting job and period, $0.07 a day for a thousand of them (on demand,
    /// us-east-1).
    fn default() -> Self {
        Self { look_again: Duration::from_secs(300) }
    }
}

/// Records in DynamoDB. See [the module](super).
#[derive(Debug)]
pub struct DynamoRecords {
    pub(super) client: Client,
    pub(super) tables: Tables,
    pub(super) options: DynamoOptions,
    pub(super) started: Instant,
    order: Order,
}

impl DynamoRecords {
    /// The tables `<prefix>-jobs` and `<prefix>-attempts`. Nothing is sent before it is asked for.
    #[must_use]
    pub fn new(client: Client, prefix: &str, options: DynamoOptions) -> Arc<Self> {
        let started = Instant::now();
        Arc::new(Self { client, tables: Tables::of(prefix), options, started, order: Order::default() })
    }

    /// The tables of `prefix` in the account and region of the environment.
    pub async fn open(prefix: &str) -> Arc<Self> {
        Self::new(Client::new(&aws::config(LIMITS).await), prefix, DynamoOptions::default())
    }
}

#[async_trait]
impl ChangeFeed for DynamoRecords {
    /// None: hints come from the tables' streams through a queue.
    async fn subscribe(&self, _: Interest) -> Result<Option<Box<dyn Hints>>, HintsError> {
        Ok(None)
    }
}

#[async_trait]
impl RecordsBackend for DynamoRecords {
    async fn job(&self, job_id: &JobId) -> Result<Option<Job>, RecordsError> {
        self.read_job(job_id).await
    }

    async fn load(&self, job_id: &JobId) -> Result<Option<Loaded>, RecordsError> {
        self.read_all(job_id).await
    }

    async fn list_active(&self) -> Result<Vec<(JobId, Revision)>, RecordsError> {
        self.find_active().await
    }

    async fn list_expired(&self, now: Timestamp, limit: usize) -> Result<Vec<JobId>, RecordsError> {
        self.find_expired(now, limit).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, RecordsError> {
        self.find_page(query).await
    }

    async fn scan_finished(&self, cursor: Option<&str>, budget: usize) -> Result<ScanPage, RecordsError> {
        self.scan_page(cursor, budget).await
    }

    async fn create(&self, new: &NewJob) -> Result<CreateAnswer, RecordsError> {
        self.create_job(new, &self.order).await
    }

    async fn write_desired(
        &self,
        job_id: &JobId,
        expected: &Raw<Desired>,
        desired: &Raw<Desired>,
    ) -> Result<WriteAnswer, RecordsError> {
        self.replace_desired(job_id, expected, desired).await
    }

    async fn write_control(
        &self,
        job_id: &JobId,
        write: ControlWrite<'_>,
    ) -> Result<WriteAnswer, RecordsError> {
        self.replace_control(job_id, &write).await
    }

    async fn delete(
        &self,
        job_id: &JobId,
        expected: &Raw<Control>,
        seen: &Raw<Desired>,
    ) -> Result<WriteAnswer, RecordsError> {
        self.delete_job(job_id, expected, seen).await
    }

    async fn draft(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        claim: &Claim,
    ) -> Result<WriteAnswer, RecordsError> {
        self.write_draft(job_id, token, claim).await
    }

    async fn claim(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        claim: &Claim,
        expected: Option<&Raw<Control>>,
        seen: &Raw<Desired>,
        control: &Control,
    ) -> Result<WriteAnswer, RecordsError> {
        self.write_claim(job_id, token, claim, expected, seen, control).await
    }

    async fn seal(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        why: LeaveReason,
    ) -> Result<GateAnswer, RecordsError> {
        self.seal_gate(job_id, token, why).await
    }

    async fn close(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        closing: &Closing,
    ) -> Result<WriteAnswer, RecordsError> {
        self.write_closing(job_id, token, closing).await
    }

    async fn start(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        task: &TaskId,
        report: &Report,
    ) -> Result<StartAnswer, RecordsError> {
        self.pass_gate(job_id, token, task, report).await
    }

    async fn heartbeat(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        task: &TaskId,
        report: &Report,
    ) -> Result<GateAnswer, RecordsError> {
        self.write_report(job_id, token, task, report, None).await
    }

    async fn finish(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        task: &TaskId,
        report: &Report,
    ) -> Result<GateAnswer, RecordsError> {
        let to = Gate::Finished { task: task.clone() };
        self.write_report(job_id, token, task, report, Some(&to)).await
    }
}
