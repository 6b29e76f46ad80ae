//! The real worker program with its records in Redis.

#![cfg(feature = "redis")]

#[path = "../../contract/backends/tests/redis_support/mod.rs"]
mod redis_support;

use backends::{CreateAnswer, NewJob, RecordsBackend, RedisRecords, WriteAnswer};
use contract::{
    Attempt, Claim, Created, Desired, Gate, JobId, JsonText, LaunchRequest, LaunchToken, PayloadRef, Program,
    Timestamp, WriteId,
};
use redis_support::{RedisServer, block_on};
use std::collections::BTreeMap;
use std::fs::File;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

const TOKEN: &str = "00112233445566778899aabbccddeeff";

struct World {
    server: RedisServer,
    records: Arc<RedisRecords>,
    folder: tempfile::TempDir,
}

/// A worker, which does not outlive its test.
struct Worker(Child);

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Worker {
    fn end(mut self) -> ExitStatus {
        self.0.wait().unwrap()
    }
}

fn shell(script: &str) -> Claim {
    let argv = ["sh", "-c", script].map(str::to_owned).into();
    Claim {
        number: 1,
        run: 1,
        retry: 0,
        epoch: 1,
        claimed_at: Timestamp::from_millis(1),
        job_type: "test".to_owned(),
        program: Program::Command { argv, pass_env: Vec::new() },
        payload: PayloadRef::Inline(JsonText::empty_object()),
        env: BTreeMap::new(),
        attempt_timeout_seconds: 600,
        start_timeout_seconds: 600,
        stop_grace_seconds: 20,
        request: LaunchRequest(JsonText::empty_object()),
    }
}

impl World {
    fn new(script: &str) -> Option<Self> {
        let server = RedisServer::start()?;
        let records = RedisRecords::lazy(&server.url()).unwrap();
        let created = Created {
            write: WriteId::from_bits(1),
            at: Timestamp::from_millis(1),
            actor: "test".to_owned(),
            idempotency_key: None,
            body_digest: None,
            desired_digest: None,
        };
        let world = Self { server, records, folder: tempfile::tempdir().unwrap() };
        block_on(async {
            let new = NewJob { job_id: job_id(), created, desired: Desired::new("test") };
            assert_eq!(world.records.create(&new).await, Ok(CreateAnswer::Created));
            let token = LaunchToken::new(TOKEN).unwrap();
            let drafted = world.records.draft(&job_id(), &token, &shell(script)).await;
            assert_eq!(drafted, Ok(WriteAnswer::Written));
        });
        std::fs::create_dir(world.folder.path().join("task")).unwrap();
        Some(world)
    }

    fn start(&self) -> Worker {
        let root = self.folder.path();
        let lock =
            File::options().read(true).write(true).create(true).truncate(false).open(root.join("lock"));
        let lock = lock.unwrap();
        lock.lock().unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_agent-runner-worker"))
            .env("AGENT_RUNNER_JOB_ID", job_id().as_str())
            .env("AGENT_RUNNER_LAUNCH_TOKEN", TOKEN)
            .env("AGENT_RUNNER_TASK_ID", format!("process:{TOKEN}"))
            .env("AGENT_RUNNER_TASK_FOLDER", root.join("task"))
            .env("AGENT_RUNNER_RECORDS", self.server.url())
            .env("AGENT_RUNNER_ARTIFACTS", format!("file:{}", root.join("artifacts").display()))
            .env("AGENT_RUNNER_HEARTBEAT_SECONDS", "1")
            .current_dir(root)
            .stdin(lock)
            .stdout(Stdio::null())
            .stderr(File::create(root.join("worker.log")).unwrap())
            .spawn()
            .unwrap();
        Worker(child)
    }

    fn attempt(&self) -> Option<Attempt> {
        block_on(self.records.load(&job_id())).ok().flatten().and_then(|mut loaded| loaded.attempts.pop())
    }

    fn exists(&self, name: &str) -> bool {
        self.folder.path().join("task/work").join(name).exists()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("worker.log")).unwrap()
    }
}

fn job_id() -> JobId {
    JobId::new("j").unwrap()
}

fn eventually(what: &str, mut ask: impl FnMut() -> bool) {
    let start = Instant::now();
    while !ask() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn an_agent_runs_gives_signs_of_life_and_reports() {
    let Some(w) = World::new(
        "echo > up; while [ ! -e go ]; do sleep 0.01; done; echo '{\"n\":1}' > $AGENT_RUNNER_RESULT",
    ) else {
        return;
    };
    let worker = w.start();
    eventually("the agent is up", || w.exists("up"));
    let first = w.attempt().unwrap().report.unwrap();
    eventually("a heartbeat comes", || w.attempt().unwrap().report.unwrap() != first);
    std::fs::write(w.folder.path().join("task/work/go"), "").unwrap();
    assert_eq!(worker.end().code(), Some(0), "{}", w.log());
    let attempt = w.attempt().unwrap();
    assert!(matches!(attempt.gate.unwrap().parse(), Ok(Gate::Finished { .. })));
    assert_eq!(attempt.report.unwrap().parse().unwrap().outcome.unwrap().failure, None);
}

#[test]
fn a_restart_of_redis_under_way_costs_no_attempt() {
    let Some(mut w) = World::new("echo > up; while [ ! -e go ]; do sleep 0.01; done") else { return };
    let worker = w.start();
    eventually("the agent is up", || w.exists("up"));
    w.server.kill();
    eventually("a sign of life fails", || w.log().contains("no sign of life could be given"));
    std::fs::write(w.folder.path().join("task/work/go"), "").unwrap();
    eventually("the outcome waits", || w.log().contains("the outcome cannot be reported"));
    w.server.run();
    assert_eq!(worker.end().code(), Some(0), "{}", w.log());
    let outcome = w.attempt().unwrap().report.unwrap().parse().unwrap().outcome.unwrap();
    assert_eq!(outcome.failure, None);
}

#[test]
fn a_second_task_of_the_attempt_executes_nothing() {
    let Some(w) = World::new("echo ran >> ../runs") else { return };
    assert_eq!(w.start().end().code(), Some(0), "{}", w.log());
    assert_eq!(w.start().end().code(), Some(0), "{}", w.log());
    assert_eq!(std::fs::read_to_string(w.folder.path().join("task/runs")).unwrap(), "ran\n");
}
