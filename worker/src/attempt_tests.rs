//! The way of an attempt against stores that fail.

use crate::Exit;
use crate::attempt::{Means, execute};
use crate::settings::Settings;
use crate::signals::Signals;
use async_trait::async_trait;
use backends::records::{ControlWrite, WorkerRecords};
use backends::{
    Artifacts, ArtifactsError, CreateAnswer, DirArtifacts, Durability, GateAnswer, ListQuery, Loaded, NewJob,
    Page, RecordsBackend, RecordsError, Revision, StartAnswer, WriteAnswer,
};
use contract::{
    Claim, Closing, Control, Desired, FailureClass, Gate, Job, JobId, JsonText, LaunchRequest, LaunchToken,
    LeaveReason, Outcome, PayloadRef, Program, Raw, Report, TaskId, Timestamp,
};
use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// One attempt, with faults to come. A fault happens before the write, or, if it is `Uncertain`, after it.
struct OneAttempt {
    claim: Raw<Claim>,
    state: Mutex<(Option<Gate>, Option<Report>)>,
    start_faults: Mutex<VecDeque<RecordsError>>,
    finish_faults: Mutex<VecDeque<RecordsError>>,
}

fn busy() -> RecordsError {
    RecordsError::Busy("locked".to_owned())
}

fn no_answer() -> RecordsError {
    RecordsError::Uncertain("the connection broke".to_owned())
}

impl OneAttempt {
    fn new(claim: Raw<Claim>) -> Arc<Self> {
        Arc::new(Self {
            claim,
            state: Mutex::default(),
            start_faults: Mutex::default(),
            finish_faults: Mutex::default(),
        })
    }

    fn outcome(&self) -> Option<Outcome> {
        self.state.lock().unwrap().1.clone().and_then(|report| report.outcome)
    }

    fn refused(gate: Option<&Gate>) -> GateAnswer {
        GateAnswer::Refused(gate.map(Raw::of))
    }
}

type Answer<T> = Result<T, RecordsError>;

/// What a worker never calls.
fn not_for_workers<T>() -> Answer<T> {
    Err(RecordsError::Unusable("not for workers".to_owned()))
}

#[async_trait]
impl RecordsBackend for OneAttempt {
    async fn job(&self, _: &JobId) -> Answer<Option<Job>> {
        not_for_workers()
    }
    async fn load(&self, _: &JobId) -> Answer<Option<Loaded>> {
        not_for_workers()
    }
    async fn list_active(&self) -> Answer<Vec<(JobId, Revision)>> {
        not_for_workers()
    }
    async fn list_expired(&self, _: Timestamp, _: usize) -> Answer<Vec<JobId>> {
        not_for_workers()
    }
    async fn list(&self, _: &ListQuery) -> Answer<Page> {
        not_for_workers()
    }
    async fn create(&self, _: &NewJob) -> Answer<CreateAnswer> {
        not_for_workers()
    }
    async fn write_desired(&self, _: &JobId, _: &Raw<Desired>, _: &Raw<Desired>) -> Answer<WriteAnswer> {
        not_for_workers()
    }
    async fn write_control(&self, _: &JobId, _: ControlWrite<'_>) -> Answer<WriteAnswer> {
        not_for_workers()
    }
    async fn delete(&self, _: &JobId, _: &Raw<Control>, _: &Raw<Desired>) -> Answer<WriteAnswer> {
        not_for_workers()
    }
    async fn draft(&self, _: &JobId, _: &LaunchToken, _: &Claim) -> Answer<WriteAnswer> {
        not_for_workers()
    }
    async fn seal(&self, _: &JobId, _: &LaunchToken, _: LeaveReason) -> Answer<GateAnswer> {
        not_for_workers()
    }
    async fn close(&self, _: &JobId, _: &LaunchToken, _: &Closing) -> Answer<WriteAnswer> {
        not_for_workers()
    }

    async fn start(&self, _: &JobId, _: &LaunchToken, task: &TaskId, report: &Report) -> Answer<StartAnswer> {
        let fault = self.start_faults.lock().unwrap().pop_front();
        if let Some(fault) = fault.clone().filter(|f| !matches!(f, RecordsError::Uncertain(_))) {
            return Err(fault);
        }
        let mut state = self.state.lock().unwrap();
        let started = Gate::Started { task: task.clone() };
        match &state.0 {
            None => *state = (Some(started), Some(report.clone())),
            Some(gate) if *gate == started => {}
            Some(gate) => return Ok(StartAnswer::Lost(Raw::of(gate))),
        }
        fault.map_or(Ok(StartAnswer::Started(Box::new(self.claim.clone()))), Err)
    }

    async fn heartbeat(
        &self,
        _: &JobId,
        _: &LaunchToken,
        task: &TaskId,
        report: &Report,
    ) -> Answer<GateAnswer> {
        let mut state = self.state.lock().unwrap();
        if state.0 != Some(Gate::Started { task: task.clone() }) {
            return Ok(Self::refused(state.0.as_ref()));
        }
        state.1 = Some(report.clone());
        Ok(GateAnswer::Written)
    }

    async fn finish(&self, _: &JobId, _: &LaunchToken, task: &TaskId, report: &Report) -> Answer<GateAnswer> {
        let fault = self.finish_faults.lock().unwrap().pop_front();
        if let Some(fault) = fault.clone().filter(|f| !matches!(f, RecordsError::Uncertain(_))) {
            return Err(fault);
        }
        let mut state = self.state.lock().unwrap();
        let finished = Gate::Finished { task: task.clone() };
        match &state.0 {
            Some(Gate::Started { task: started }) if started == task => {
                *state = (Some(finished), Some(report.clone()));
            }
            Some(gate) if *gate == finished => {}
            gate => return Ok(Self::refused(gate.as_ref())),
        }
        fault.map_or(Ok(GateAnswer::Written), Err)
    }
}

fn claim(payload: PayloadRef) -> Claim {
    Claim {
        number: 1,
        run: 1,
        retry: 0,
        epoch: 1,
        claimed_at: Timestamp::default(),
        job_type: "echo".to_owned(),
        program: Program::Echo,
        payload,
        env: BTreeMap::new(),
        attempt_timeout_seconds: 60,
        start_timeout_seconds: 60,
        stop_grace_seconds: 1,
        request: LaunchRequest(json("{}")),
    }
}

struct World {
    folder: tempfile::TempDir,
    settings: Settings,
    attempt: Arc<OneAttempt>,
    opened: AtomicUsize,
}

fn world(payload: &str) -> World {
    world_of(Raw::of(&claim(PayloadRef::Inline(json(payload)))))
}

fn world_of(claim: Raw<Claim>) -> World {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().display();
    let env = BTreeMap::from([
        ("AGENT_RUNNER_JOB_ID", "j".to_owned()),
        ("AGENT_RUNNER_LAUNCH_TOKEN", "000000000000000000000000000000ab".to_owned()),
        ("AGENT_RUNNER_TASK_ID", "test:1".to_owned()),
        ("AGENT_RUNNER_TASK_FOLDER", format!("{root}/task")),
        ("AGENT_RUNNER_RECORDS", format!("sqlite:{root}/none.db")),
        ("AGENT_RUNNER_ARTIFACTS", format!("file:{root}/artifacts")),
        ("AGENT_RUNNER_ARTIFACTS_PATIENCE_SECONDS", "0".to_owned()),
    ]);
    let settings = Settings::read(|name| env.get(name).map(OsString::from)).unwrap();
    World { folder, settings, attempt: OneAttempt::new(claim), opened: AtomicUsize::new(0) }
}

impl World {
    fn run(&self) -> Exit {
        let records = || Ok(WorkerRecords::new(self.attempt.clone()));
        let artifacts = || -> Result<Box<dyn Artifacts>, ArtifactsError> {
            self.opened.fetch_add(1, Ordering::Relaxed);
            let root = self.folder.path().join("artifacts");
            Ok(Box::new(DirArtifacts::open(&root, Durability::Process)?))
        };
        execute(
            &self.settings,
            Means { records: &records, artifacts: &artifacts, signals: &Signals::watch, commands: true },
        )
    }

    fn stored(&self, name: &str) -> Option<String> {
        let path = self.folder.path().join("artifacts/jobs/j/attempts/1-00000000").join(name);
        std::fs::read_to_string(path).ok()
    }
}

fn json(text: &str) -> JsonText {
    JsonText::new(text).unwrap()
}

#[test]
fn echo_gives_the_payload_back_byte_for_byte_and_stores_both_logs() {
    let w = world(r#"{"b": 1.0,  "a":"ä"}"#);
    assert_eq!(w.run(), Exit::Done);
    let result = w.stored("result.json").unwrap();
    let start = r#"{"job_id":"j","attempt":1,"payload":{"b": 1.0,  "a":"ä"},"started_at":""#;
    assert!(result.starts_with(start), "{result}");
    assert!(serde_json::from_str::<serde_json::Value>(&result).unwrap()["finished_at"].is_string());
    assert!(w.stored("stdout.log").unwrap().contains("job j, attempt 1"));
    assert_eq!(w.stored("stderr.log").unwrap(), "");
    let outcome = w.attempt.outcome().unwrap();
    assert_eq!(outcome.failure, None);
    let paths: Vec<&str> = outcome.manifest.files.iter().map(|f| f.path.as_str()).collect();
    assert_eq!(paths, ["result.json", "stdout.log", "stderr.log"]);
    assert_eq!(outcome.manifest.files[0].size, result.len() as u64);
}

#[test]
fn whoever_loses_the_gate_touches_nothing() {
    for gate in [
        Gate::Sealed { why: LeaveReason::Cancelled, started: None },
        Gate::Started { task: TaskId::new("test:2").unwrap() },
        Gate::Finished { task: TaskId::new("test:1").unwrap() },
    ] {
        let w = world("{}");
        w.attempt.state.lock().unwrap().0 = Some(gate.clone());
        assert_eq!(w.run(), Exit::Done);
        assert_eq!(w.opened.load(Ordering::Relaxed), 0, "{gate:?}: artifacts were opened");
        assert_eq!(w.attempt.state.lock().unwrap().0, Some(gate));
    }
}

#[test]
fn a_busy_store_and_lost_answers_cost_time_and_nothing_else() {
    let w = world("{}");
    w.attempt.start_faults.lock().unwrap().extend([busy(), no_answer(), busy()]);
    w.attempt.finish_faults.lock().unwrap().extend([busy(), no_answer(), busy()]);
    assert_eq!(w.run(), Exit::Done);
    assert_eq!(w.attempt.outcome().unwrap().failure, None);
}

#[test]
fn a_store_that_cannot_be_used_ends_the_worker_before_anything_is_executed() {
    let w = world("{}");
    w.attempt.start_faults.lock().unwrap().push_back(RecordsError::Unusable("newer schema".to_owned()));
    assert_eq!(w.run(), Exit::NoStore);
    assert_eq!(w.stored("stdout.log"), None);
}

#[test]
fn what_cannot_be_stored_makes_a_success_a_failure_and_keeps_a_failure() {
    for (payload, class) in [
        ("{}", FailureClass::ArtifactsNotStored),
        (r#"{"fail_with_exit_code":3}"#, FailureClass::NonZeroExitCode),
    ] {
        let w = world(payload);
        // A file where the folder should be.
        std::fs::write(w.folder.path().join("artifacts"), "").unwrap();
        assert_eq!(w.run(), Exit::Done);
        let failure = w.attempt.outcome().unwrap().failure.unwrap();
        assert_eq!(failure.class, class);
        assert!(failure.message.contains("ot a directory"), "{failure:?}");
    }
}

#[test]
fn a_result_of_somebody_else_in_our_place_is_a_failure() {
    let w = world("{}");
    let place = w.folder.path().join("artifacts/jobs/j/attempts/1-00000000");
    std::fs::create_dir_all(&place).unwrap();
    std::fs::write(place.join("result.json"), "{}").unwrap();
    assert_eq!(w.run(), Exit::Done);
    let failure = w.attempt.outcome().unwrap().failure.unwrap();
    assert_eq!(failure.class, FailureClass::ArtifactsNotStored);
    assert_eq!(w.stored("result.json").unwrap(), "{}");
}

#[test]
fn a_large_payload_is_fetched_and_checked() {
    let payload = format!("\"{}\"", "x".repeat(10_000));
    let other = "0".repeat(64);
    let stored = |sha256: &str| PayloadRef::Stored { sha256: sha256.to_owned(), size: 10_002 };
    let real: String = {
        use sha2::Digest;
        sha2::Sha256::digest(&payload).iter().map(|b| format!("{b:02x}")).collect()
    };
    for (name, content, good) in
        [(real.as_str(), payload.as_str(), true), (&other, payload.as_str(), false), (&real, "\"x\"", false)]
    {
        let w = world_of(Raw::of(&claim(stored(name))));
        let place = w.folder.path().join("artifacts").join(PayloadRef::folder(&JobId::new("j").unwrap()));
        std::fs::create_dir_all(&place).unwrap();
        std::fs::write(place.join(name), content).unwrap();
        assert_eq!(w.run(), Exit::Done);
        let failure = w.attempt.outcome().unwrap().failure;
        if good {
            assert_eq!(failure, None);
            assert!(w.stored("result.json").unwrap().contains(&payload));
        } else {
            let failure = failure.unwrap();
            assert_eq!(failure.class, FailureClass::TaskFailedToStart, "{failure:?}");
            assert_eq!(w.stored("result.json"), None);
        }
    }
    let w = world_of(Raw::of(&claim(stored(&real))));
    assert_eq!(w.run(), Exit::Done);
    assert!(w.attempt.outcome().unwrap().failure.unwrap().message.contains("is not there"));
}

#[test]
fn a_claim_that_somebody_broke_is_reported_and_not_executed() {
    let w = world_of(Raw::stored("{\"number\":1}"));
    assert_eq!(w.run(), Exit::Done);
    let failure = w.attempt.outcome().unwrap().failure.unwrap();
    assert_eq!(failure.class, FailureClass::TaskFailedToStart);
    assert!(failure.message.contains("the claim cannot be read"), "{failure:?}");
}

#[test]
fn an_outcome_that_nobody_wants_any_more_ends_the_worker_quietly() {
    let w = world("{}");
    w.attempt.finish_faults.lock().unwrap().extend([busy()]);
    std::thread::scope(|scope| {
        let run = scope.spawn(|| w.run());
        // Seals as soon as the gate is passed; the busy store gives it the time.
        loop {
            let mut state = w.attempt.state.lock().unwrap();
            if let Some(Gate::Started { task }) = state.0.clone() {
                state.0 = Some(Gate::Sealed { why: LeaveReason::Cancelled, started: Some(task) });
                break;
            }
        }
        assert_eq!(run.join().unwrap(), Exit::Done);
    });
    assert_eq!(w.attempt.outcome(), None);
}
