//! A worker's reports on their way through the process that launched it.
//!
//! A worker that opens the store itself pays for it with most of its life when its job is short. Where it runs
//! beside the orchestrator it gets a socket instead ([`Request`] and [`Answer`], a line of JSON each), and the
//! orchestrator carries its reports out in its next commit. The socket belongs to one attempt, so it can report
//! on no other, and the conditions are those of the store: who carries a report decides nothing.
//!
//! The orchestrator may die or stop at any moment. [`RelayRecords`] then opens the store itself and repeats the
//! report; every report recognises its own repetition, also one that was carried out without an answer.

use crate::crash::{self, Act};
use crate::records::{
    ControlWrite, CreateAnswer, GateAnswer, ListQuery, Loaded, NewJob, Page, RecordsBackend, RecordsError,
    Revision, StartAnswer, WriteAnswer,
};
use async_trait::async_trait;
use contract::{
    Claim, Closing, Control, Desired, Job, JobId, LaunchToken, LeaveReason, Raw, Report, TaskId, Timestamp,
};
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// The longest message in bytes. A report lists the attempt's files, some 150 bytes each.
pub const LONGEST: u64 = 8 << 20;
/// How long an answer is waited for. A store that is locked by somebody else answers for itself within two
/// seconds; an orchestrator that says nothing for this long is stopped or cut off.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a worker asks for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// [`RecordsBackend::start`]
    Start(TaskId, Report),
    /// [`RecordsBackend::heartbeat`]
    Heartbeat(TaskId, Report),
    /// [`RecordsBackend::finish`]
    Finish(TaskId, Report),
}

/// What it is told. Sections are carried as text, whatever they hold.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// [`StartAnswer::Started`] with the claim.
    Started(String),
    /// [`StartAnswer::Lost`] with the gate.
    Lost(String),
    /// [`GateAnswer::Written`]
    Written,
    /// [`GateAnswer::Refused`] with the gate.
    Refused(Option<String>),
    /// There is no such attempt.
    NotFound,
    /// The store failed; the worker had better try by itself.
    Failed(String),
}

impl From<Result<StartAnswer, RecordsError>> for Answer {
    fn from(answer: Result<StartAnswer, RecordsError>) -> Self {
        match answer {
            Ok(StartAnswer::Started(claim)) => Self::Started(claim.text().to_owned()),
            Ok(StartAnswer::Lost(gate)) => Self::Lost(gate.text().to_owned()),
            Ok(StartAnswer::NotFound) => Self::NotFound,
            Err(e) => Self::Failed(e.to_string()),
        }
    }
}

impl From<Result<GateAnswer, RecordsError>> for Answer {
    fn from(answer: Result<GateAnswer, RecordsError>) -> Self {
        match answer {
            Ok(GateAnswer::Written) => Self::Written,
            Ok(GateAnswer::Refused(gate)) => Self::Refused(gate.map(|gate| gate.text().to_owned())),
            Ok(GateAnswer::NotFound) => Self::NotFound,
            Err(e) => Self::Failed(e.to_string()),
        }
    }
}

/// Opens the store itself.
type Opener = Box<dyn Fn() -> Result<Arc<dyn RecordsBackend>, RecordsError> + Send + Sync>;

/// The records of one attempt's worker, by way of the orchestrator while that answers.
pub struct RelayRecords {
    job_id: JobId,
    token: LaunchToken,
    /// `None` after the first failure: an answer that comes late must not be taken for the next one.
    line: Mutex<Option<BufReader<UnixStream>>>,
    open: Opener,
    direct: OnceLock<Arc<dyn RecordsBackend>>,
}

impl RelayRecords {
    /// Reports on the attempt `token` of `job_id` through `socket`; `open` opens the store when that fails.
    #[must_use]
    pub fn new(
        socket: UnixStream,
        job_id: JobId,
        token: LaunchToken,
        open: impl Fn() -> Result<Arc<dyn RecordsBackend>, RecordsError> + Send + Sync + 'static,
    ) -> Self {
        let timed =
            socket.set_read_timeout(Some(PATIENCE)).and_then(|()| socket.set_write_timeout(Some(PATIENCE)));
        let line = Mutex::new(timed.is_ok().then(|| BufReader::new(socket)));
        Self { job_id, token, line, open: Box::new(open), direct: OnceLock::new() }
    }

    fn line(&self) -> MutexGuard<'_, Option<BufReader<UnixStream>>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None`: no answer; the store has to be asked itself.
    fn ask(&self, act: Act, job_id: &JobId, token: &LaunchToken, request: &Request) -> Option<Answer> {
        if (job_id, token) != (&self.job_id, &self.token) {
            return None;
        }
        let mut line = self.line();
        crash::before(act);
        let answer = line.as_mut().and_then(|line| exchange(line, request).ok());
        crash::after(act);
        if matches!(answer, None | Some(Answer::Failed(_))) {
            *line = None;
            return None;
        }
        answer
    }

    fn direct(&self) -> Result<&dyn RecordsBackend, RecordsError> {
        if let Some(direct) = self.direct.get() {
            return Ok(&**direct);
        }
        let opened = (self.open)()?;
        Ok(&**self.direct.get_or_init(|| opened))
    }
}

fn exchange(line: &mut BufReader<UnixStream>, request: &Request) -> io::Result<Answer> {
    let mut text = serde_json::to_vec(request)?;
    text.push(b'\n');
    line.get_mut().write_all(&text)?;
    text.clear();
    let read = io::Read::take(&mut *line, LONGEST).read_until(b'\n', &mut text)?;
    if read == 0 || text.last() != Some(&b'\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_slice(&text)?)
}

/// The answer to a report, if the orchestrator gave one that fits.
fn gate_answer(answer: Option<Answer>) -> Option<GateAnswer> {
    match answer? {
        Answer::Written => Some(GateAnswer::Written),
        Answer::Refused(gate) => Some(GateAnswer::Refused(gate.map(Raw::stored))),
        Answer::NotFound => Some(GateAnswer::NotFound),
        Answer::Started(_) | Answer::Lost(_) | Answer::Failed(_) => None,
    }
}

#[async_trait]
impl RecordsBackend for RelayRecords {
    async fn start(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        task: &TaskId,
        report: &Report,
    ) -> Result<StartAnswer, RecordsError> {
        match self.ask(Act::AskStart, job_id, token, &Request::Start(task.clone(), report.clone())) {
            Some(Answer::Started(claim)) => Ok(StartAnswer::Started(Box::new(Raw::stored(claim)))),
            Some(Answer::Lost(gate)) => Ok(StartAnswer::Lost(Raw::stored(gate))),
            Some(Answer::NotFound) => Ok(StartAnswer::NotFound),
            _ => self.direct()?.start(job_id, token, task, report).await,
        }
    }

    async fn heartbeat(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        task: &TaskId,
        report: &Report,
    ) -> Result<GateAnswer, RecordsError> {
        let request = Request::Heartbeat(task.clone(), report.clone());
        match gate_answer(self.ask(Act::AskHeartbeat, job_id, token, &request)) {
            Some(answer) => Ok(answer),
            None => self.direct()?.heartbeat(job_id, token, task, report).await,
        }
    }

    async fn finish(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        task: &TaskId,
        report: &Report,
    ) -> Result<GateAnswer, RecordsError> {
        let request = Request::Finish(task.clone(), report.clone());
        match gate_answer(self.ask(Act::AskFinish, job_id, token, &request)) {
            Some(answer) => Ok(answer),
            None => self.direct()?.finish(job_id, token, task, report).await,
        }
    }

    async fn job(&self, job_id: &JobId) -> Result<Option<Job>, RecordsError> {
        self.direct()?.job(job_id).await
    }

    async fn load(&self, job_id: &JobId) -> Result<Option<Loaded>, RecordsError> {
        self.direct()?.load(job_id).await
    }

    async fn list_active(&self) -> Result<Vec<(JobId, Revision)>, RecordsError> {
        self.direct()?.list_active().await
    }

    async fn list_expired(&self, now: Timestamp, limit: usize) -> Result<Vec<JobId>, RecordsError> {
        self.direct()?.list_expired(now, limit).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, RecordsError> {
        self.direct()?.list(query).await
    }

    async fn create(&self, new: &NewJob) -> Result<CreateAnswer, RecordsError> {
        self.direct()?.create(new).await
    }

    async fn write_desired(
        &self,
        job_id: &JobId,
        expected: &Raw<Desired>,
        desired: &Raw<Desired>,
    ) -> Result<WriteAnswer, RecordsError> {
        self.direct()?.write_desired(job_id, expected, desired).await
    }

    async fn write_control(
        &self,
        job_id: &JobId,
        write: ControlWrite<'_>,
    ) -> Result<WriteAnswer, RecordsError> {
        self.direct()?.write_control(job_id, write).await
    }

    async fn delete(
        &self,
        job_id: &JobId,
        expected: &Raw<Control>,
        seen: &Raw<Desired>,
    ) -> Result<WriteAnswer, RecordsError> {
        self.direct()?.delete(job_id, expected, seen).await
    }

    async fn draft(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        claim: &Claim,
    ) -> Result<WriteAnswer, RecordsError> {
        self.direct()?.draft(job_id, token, claim).await
    }

    async fn seal(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        why: LeaveReason,
    ) -> Result<GateAnswer, RecordsError> {
        self.direct()?.seal(job_id, token, why).await
    }

    async fn close(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        closing: &Closing,
    ) -> Result<WriteAnswer, RecordsError> {
        self.direct()?.close(job_id, token, closing).await
    }
}
