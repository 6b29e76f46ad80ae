//! What the tests share: a router over real stores, the reconciler's and worker's handles on the same
//! records, and a store that can be told to fail or to return anything.

use api::{App, Changes, Limits, Metrics};
use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use backends::clock::{fresh_token, fresh_write_id};
use backends::records::{ApiRecords, ControlWrite, ReconcilerRecords, WorkerRecords};
use backends::sqlite::{Access, SqliteOptions, SqliteRecords};
use backends::{
    Clock, CreateAnswer, DirArtifacts, Durability, GateAnswer, Lease, LeaseError, LeaseHeld, LeaseView,
    ListQuery, Loaded, NewJob, Page, RecordsBackend, RecordsError, Revision, StartAnswer, SystemClock,
    WriteAnswer,
};
use contract::{
    Claim, Closing, Control, Desired, Job, JobId, JobTypes, JsonText, LaunchRequest, LaunchToken,
    LeaveReason, PayloadRef, Phase, Program, Raw, Report, Supports, TaskId, Timestamp,
};
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use tower::ServiceExt;

/// What the store does wrong next.
pub(crate) enum Fault {
    /// Fails; nothing happened.
    Fails(RecordsError),
    /// Does it and says that nobody knows.
    LosesAnswer,
    /// Somebody else edits `desired` first.
    Overtaken(fn(&mut Desired)),
}

type Mangle = Box<dyn Fn(&mut Job) + Send + Sync>;

/// SQLite, with faults.
pub(crate) struct Faulty {
    inner: Arc<dyn RecordsBackend>,
    writes: Mutex<VecDeque<Fault>>,
    reads: Mutex<Option<RecordsError>>,
    mangle: Mutex<Option<Mangle>>,
    hangs: Mutex<bool>,
}

impl Faulty {
    async fn before_read(&self) -> Result<(), RecordsError> {
        if *self.hangs.lock().unwrap() {
            std::future::pending::<()>().await;
        }
        self.reads.lock().unwrap().clone().map_or(Ok(()), Err)
    }

    fn mangled(&self, job: &mut Job) {
        if let Some(mangle) = &*self.mangle.lock().unwrap() {
            mangle(job);
        }
    }

    /// A hand edit of `desired`.
    pub(crate) async fn write_raw(&self, job_id: &JobId, before: &Raw<Desired>, after: &Raw<Desired>) {
        let answer = self.inner.write_desired(job_id, before, after).await;
        assert_eq!(answer.unwrap(), WriteAnswer::Written);
    }

    fn next_fault(&self) -> Option<Fault> {
        self.writes.lock().unwrap().pop_front()
    }
}

fn lost<T>() -> Result<T, RecordsError> {
    Err(RecordsError::Uncertain("the line went dead".to_owned()))
}

#[async_trait]
impl RecordsBackend for Faulty {
    async fn job(&self, job_id: &JobId) -> Result<Option<Job>, RecordsError> {
        self.before_read().await?;
        let mut found = self.inner.job(job_id).await?;
        found.iter_mut().for_each(|job| self.mangled(job));
        Ok(found)
    }
    async fn load(&self, job_id: &JobId) -> Result<Option<Loaded>, RecordsError> {
        self.before_read().await?;
        let mut found = self.inner.load(job_id).await?;
        found.iter_mut().for_each(|loaded| self.mangled(&mut loaded.job));
        Ok(found)
    }
    async fn list_active(&self) -> Result<Vec<(JobId, Revision)>, RecordsError> {
        self.inner.list_active().await
    }
    async fn list_expired(&self, now: Timestamp, limit: usize) -> Result<Vec<JobId>, RecordsError> {
        self.inner.list_expired(now, limit).await
    }
    async fn list(&self, query: &ListQuery) -> Result<Page, RecordsError> {
        self.before_read().await?;
        let mut page = self.inner.list(query).await?;
        page.jobs.iter_mut().for_each(|listed| self.mangled(&mut listed.job));
        Ok(page)
    }
    async fn create(&self, new: &NewJob) -> Result<CreateAnswer, RecordsError> {
        match self.next_fault() {
            Some(Fault::Fails(e)) => Err(e),
            Some(Fault::LosesAnswer) => {
                self.inner.create(new).await?;
                lost()
            }
            Some(Fault::Overtaken(_)) | None => self.inner.create(new).await,
        }
    }
    async fn write_desired(
        &self,
        job_id: &JobId,
        expected: &Raw<Desired>,
        desired: &Raw<Desired>,
    ) -> Result<WriteAnswer, RecordsError> {
        match self.next_fault() {
            Some(Fault::Fails(e)) => return Err(e),
            Some(Fault::LosesAnswer) => {
                self.inner.write_desired(job_id, expected, desired).await?;
                return lost();
            }
            Some(Fault::Overtaken(edit)) => {
                let job = self.inner.job(job_id).await?.unwrap();
                let mut other = job.desired().unwrap();
                edit(&mut other);
                let answer = self.inner.write_desired(job_id, &job.desired, &Raw::of(&other)).await?;
                assert_eq!(answer, WriteAnswer::Written);
            }
            None => {}
        }
        self.inner.write_desired(job_id, expected, desired).await
    }
    async fn write_control(
        &self,
        job_id: &JobId,
        write: ControlWrite<'_>,
    ) -> Result<WriteAnswer, RecordsError> {
        self.inner.write_control(job_id, write).await
    }
    async fn delete(
        &self,
        job_id: &JobId,
        expected: &Raw<Control>,
        seen: &Raw<Desired>,
    ) -> Result<WriteAnswer, RecordsError> {
        self.inner.delete(job_id, expected, seen).await
    }
    async fn draft(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        claim: &Claim,
    ) -> Result<WriteAnswer, RecordsError> {
        self.inner.draft(job_id, token, claim).await
    }
    async fn seal(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        why: LeaveReason,
    ) -> Result<GateAnswer, RecordsError> {
        self.inner.seal(job_id, token, why).await
    }
    async fn close(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        closing: &Closing,
    ) -> Result<WriteAnswer, RecordsError> {
        self.inner.close(job_id, token, closing).await
    }
    async fn start(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        task: &TaskId,
        report: &Report,
    ) -> Result<StartAnswer, RecordsError> {
        self.inner.start(job_id, token, task, report).await
    }
    async fn heartbeat(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        task: &TaskId,
        report: &Report,
    ) -> Result<GateAnswer, RecordsError> {
        self.inner.heartbeat(job_id, token, task, report).await
    }
    async fn finish(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        task: &TaskId,
        report: &Report,
    ) -> Result<GateAnswer, RecordsError> {
        self.inner.finish(job_id, token, task, report).await
    }
}

/// A lease that somebody holds, or nobody.
struct Holder(Arc<Mutex<Option<LeaseView>>>);

#[async_trait]
impl Lease for Holder {
    async fn acquire(&self, _: &str) -> Result<Option<LeaseHeld>, LeaseError> {
        Ok(None)
    }
    async fn renew(&self) -> Result<bool, LeaseError> {
        Ok(false)
    }
    async fn release(&self) -> Result<(), LeaseError> {
        Ok(())
    }
    async fn view(&self) -> Result<Option<LeaseView>, LeaseError> {
        Ok(self.0.lock().unwrap().clone())
    }
}

/// Everything a test needs.
pub(crate) struct Rig {
    pub(crate) router: Router,
    pub(crate) store: Arc<Faulty>,
    pub(crate) reconciler: ReconcilerRecords,
    pub(crate) worker: WorkerRecords,
    pub(crate) artifacts: Arc<DirArtifacts>,
    pub(crate) changes: Arc<Changes>,
    pub(crate) lease: Arc<Mutex<Option<LeaseView>>>,
    _folder: tempfile::TempDir,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e} in {self:?}"))
    }

    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name} in {self:?}")).to_str().unwrap()
    }

    /// Asserts the status and the problem type, and returns the problem.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, token: &str) -> Value {
        let body = self.json();
        assert_eq!((self.status.as_u16(), &body["status"]), (status, &Value::from(status)), "{self:?}");
        assert_eq!(body["type"], format!("urn:agent-runner:problem:{token}"), "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert!(body["title"].as_str().is_some_and(|t| !t.is_empty()), "{body}");
        assert!(body["detail"].as_str().is_some_and(|t| !t.is_empty()), "{body}");
        assert!(body["instance"].as_str().is_some_and(|t| t.starts_with('/')), "{body}");
        assert!(self.text.ends_with("}\n"), "{self:?}");
        body
    }
}

pub(crate) const JSON: (&str, &str) = ("content-type", "application/json");

const JOB_TYPES: &str = "[job_types.agent]\ncommand=['x']\ndefaults={priority=7}\nlimits={max_attempts=5}\n[queues.q]\nmax_running=1";

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with(Limits::default())
    }

    pub(crate) fn guarded(access: api::Access) -> Self {
        let (rig, app) = Self::parts(Limits::default());
        Self { router: api::router(App { access, ..app }), ..rig }
    }

    pub(crate) fn with(limits: Limits) -> Self {
        let (rig, app) = Self::parts(limits);
        Self { router: api::router(app), ..rig }
    }

    /// A rig whose router is not used, and the app for a server.
    pub(crate) fn parts(limits: Limits) -> (Self, App) {
        let folder = tempfile::tempdir().unwrap();
        let options = SqliteOptions { durability: Durability::Process, access: Access::Orchestrator };
        let inner = SqliteRecords::open(&folder.path().join("records.db"), options).unwrap();
        let store = Arc::new(Faulty {
            inner,
            writes: Mutex::default(),
            reads: Mutex::default(),
            mangle: Mutex::default(),
            hangs: Mutex::default(),
        });
        let artifacts =
            Arc::new(DirArtifacts::open(&folder.path().join("artifacts"), Durability::Process).unwrap());
        let lease = Arc::new(Mutex::new(Some(LeaseView {
            holder: "test".to_owned(),
            epoch: 3,
            renewed_at: SystemClock::default().now(),
            released: false,
        })));
        let registry = prometheus::Registry::new();
        let changes = Arc::new(Changes::default());
        let app = App {
            records: ApiRecords::new(store.clone()),
            artifacts: artifacts.clone(),
            job_types: Arc::new(JobTypes::parse(JOB_TYPES).unwrap()),
            supports: Supports { spot: false, cost: false },
            lease: Arc::new(Holder(lease.clone())),
            clock: Arc::new(SystemClock::default()),
            store: "sqlite:records.db".to_owned(),
            metrics: Metrics::new(&registry).unwrap(),
            registries: vec![registry],
            changes: changes.clone(),
            access: api::Access::default(),
            limits,
        };
        let rig = Self {
            router: Router::new(),
            reconciler: ReconcilerRecords::new(store.clone()),
            worker: WorkerRecords::new(store.clone()),
            store,
            artifacts,
            changes,
            lease,
            _folder: folder,
        };
        (rig, app)
    }

    /// What the store does wrong in its next writes by the API.
    pub(crate) fn faults(&self, faults: impl IntoIterator<Item = Fault>) {
        self.store.writes.lock().unwrap().extend(faults);
    }

    /// All reads fail from now on, or no more.
    pub(crate) fn reads_fail(&self, e: Option<RecordsError>) {
        *self.store.reads.lock().unwrap() = e;
    }

    /// All reads never end.
    pub(crate) fn reads_hang(&self) {
        *self.store.hangs.lock().unwrap() = true;
    }

    /// Every job is read changed like this.
    pub(crate) fn mangle(&self, mangle: impl Fn(&mut Job) + Send + Sync + 'static) {
        *self.store.mangle.lock().unwrap() = Some(Box::new(mangle));
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.into()).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        let text = String::from_utf8(bytes.into()).unwrap();
        Answer { status: parts.status, headers: parts.headers, text }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], Body::empty()).await
    }

    pub(crate) async fn post(&self, path: &str) -> Answer {
        self.send("POST", path, &[], Body::empty()).await
    }

    pub(crate) async fn patch(&self, path: &str, body: &str) -> Answer {
        self.send("PATCH", path, &[JSON], body.to_owned()).await
    }

    /// Submits `body` and returns the id.
    pub(crate) async fn submit(&self, body: &str) -> JobId {
        let answer = self.send("POST", "/jobs", &[JSON], body.to_owned()).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        JobId::new(answer.json()["job_id"].as_str().unwrap()).unwrap()
    }

    pub(crate) async fn job(&self, job_id: &JobId) -> Job {
        self.store.inner.job(job_id).await.unwrap().unwrap()
    }

    /// Writes a `control` as the reconciler would.
    pub(crate) async fn control(&self, job_id: &JobId, change: impl FnOnce(&mut Control)) {
        let job = self.job(job_id).await;
        let mut control = match &job.control {
            Some(raw) => raw.parse().unwrap(),
            None => fresh_control(),
        };
        control.version = fresh_write_id();
        control.seen_retry = job.desired().unwrap().retry;
        change(&mut control);
        let (expected, seen) = (job.control.as_ref(), &job.desired);
        let write = ControlWrite { expected, seen, newest: u32::MAX, control: &control, settled: false };
        let answer = self.reconciler.write_control(job_id, write).await;
        assert_eq!(answer.unwrap(), WriteAnswer::Written);
    }

    /// Ends a job.
    pub(crate) async fn end(&self, job_id: &JobId, reason: contract::Reason) {
        self.control(job_id, |c| {
            c.phase = Phase::Finished;
            c.reason = Some(reason);
            c.finished_at = Some(SystemClock::default().now());
        })
        .await;
    }

    /// Claims the first attempt.
    pub(crate) async fn claim(&self, job_id: &JobId) -> LaunchToken {
        let token = fresh_token();
        let job = self.job(job_id).await;
        let claim = Claim {
            number: 1,
            run: 1,
            retry: 0,
            epoch: 1,
            claimed_at: SystemClock::default().now(),
            job_type: "echo".to_owned(),
            program: Program::Echo,
            payload: PayloadRef::Inline(JsonText::empty_object()),
            env: BTreeMap::new(),
            attempt_timeout_seconds: 60,
            start_timeout_seconds: 30,
            stop_grace_seconds: 10,
            request: LaunchRequest(JsonText::new(format!("{{\"token\":\"{token}\"}}")).unwrap()),
        };
        let mut control = fresh_control();
        control.attempt = 1;
        control.token = Some(token.clone());
        control.phase = Phase::Launching;
        control.reason = Some(contract::Reason::Launching);
        let answer = self
            .reconciler
            .claim(job_id, &token, &claim, job.control.as_ref(), &job.desired, &control)
            .await
            .unwrap();
        assert_eq!(answer, WriteAnswer::Written);
        token
    }
}

fn fresh_control() -> Control {
    Control {
        version: fresh_write_id(),
        epoch: 1,
        run: 1,
        attempt: 0,
        token: None,
        tries: 0,
        infra_tries: 0,
        refusals: 0,
        phase: Phase::Waiting,
        not_before: None,
        reason: Some(contract::Reason::WaitingForQuota),
        reason_since: None,
        message: String::new(),
        blockers: Vec::new(),
        seen_retry: 0,
        run_started_at: SystemClock::default().now(),
        suspended: false,
        started_at: None,
        finished_at: None,
        expires_at: None,
        accepted: None,
        cost: None,
    }
}
