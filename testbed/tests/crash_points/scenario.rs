//! One run: five jobs on a stack of their own that dies where it was told to, is started again, and goes on.

use backends::crash::{Point, Side};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use testbed::client::word;
use testbed::judge::judge;
use testbed::ledger::Event;
use testbed::{Options, Stack, ledger_agent};

/// How long any one thing may take, in a debug build on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);
/// Between two looks; nobody tells when an orchestrator is dead or back.
const PAUSE: Duration = Duration::from_millis(20);

/// Where to die: each of these once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Aim(pub(crate) Vec<(Point, u64)>);

impl std::fmt::Display for Aim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let points: Vec<String> = self.0.iter().map(|(point, n)| format!("{point}#{n}")).collect();
        f.write_str(&points.join(","))
    }
}

/// What became of the jobs.
#[derive(Debug)]
pub(crate) struct End {
    /// By their names.
    pub(crate) jobs: BTreeMap<&'static str, JobEnd>,
    /// The job whose worker died, if one did.
    pub(crate) bereft: Option<&'static str>,
    /// How often each point was passed.
    pub(crate) passed: BTreeMap<Point, u64>,
    /// How often the last orchestrator carried out each effect.
    pub(crate) effects: BTreeMap<&'static str, u64>,
}

/// What became of a job.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct JobEnd {
    pub(crate) status: String,
    pub(crate) reason: String,
    pub(crate) attempts: Vec<AttemptEnd>,
    pub(crate) executions: usize,
    /// What lies at the plain path.
    pub(crate) result: Value,
}

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AttemptEnd {
    pub(crate) number: u64,
    pub(crate) verdict: String,
    /// The words of a failure.
    pub(crate) message: String,
    /// The budget that paid.
    pub(crate) uses: String,
    /// What was seen of the end of its task.
    pub(crate) stop_code: String,
    pub(crate) executed: bool,
}

/// A run under way.
struct Run<'a> {
    stack: Stack,
    crashes: TempDir,
    aim: &'a Aim,
    /// The ids of the orchestrators that died.
    deaths: Vec<i32>,
    ids: BTreeMap<&'static str, String>,
}

/// Goes through all of it. With an empty aim nothing dies, and occurrences are counted.
pub(crate) fn run(aim: &Aim) -> End {
    let crashes = TempDir::with_prefix("agent-runner-crashes-").expect("a folder");
    let options = Options::with_agent(ledger_agent!())
        .slots(8)
        .env("AGENT_RUNNER_RESYNC_SECONDS", "1")
        .env("AGENT_RUNNER_HEARTBEAT_SECONDS", "1")
        .env("AGENT_RUNNER_CRASH_FOLDER", crashes.path().to_str().expect("a path in UTF-8"))
        .env("AGENT_RUNNER_CRASH_AT", &aim.to_string());
    let stack = Stack::start(options);
    let mut run = Run { stack, crashes, aim, deaths: Vec::new(), ids: BTreeMap::new() };
    run.submit();
    run.operate();
    let jobs = run.judged();
    run.collect();
    let bereft = run.everything_fired();
    run.settled();
    End { jobs, bereft, passed: run.passed(), effects: run.effects() }
}

impl Run<'_> {
    /// Starts an orchestrator again that has died, which it may do by SIGKILL only.
    fn tend(&mut self) {
        let Some((pid, status)) = self.stack.died() else { return };
        assert_eq!(status.signal(), Some(9), "up ended: {status:?}");
        self.deaths.push(pid);
        // It may die again before it is ready.
        self.stack.launch();
    }

    /// Does `look` until it answers.
    fn until<T>(&mut self, what: &str, mut look: impl FnMut(&mut Self) -> Option<T>) -> T {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            self.tend();
            let jobs = self.ids.clone();
            assert!(
                Instant::now() < until,
                "waited {PATIENCE:?} for {what}; died so far: {:?}; jobs {jobs:?}",
                self.deaths
            );
            std::thread::sleep(PAUSE);
        }
    }

    /// Asks until there is an answer, as a client does that must not lose its request.
    fn ask(&mut self, method: &str, path: &str, key: Option<&str>, body: &Value) -> Value {
        let client = self.stack.client();
        let text = body.to_string();
        let headers: Vec<(&str, &str)> = key.map(|key| ("idempotency-key", key)).into_iter().collect();
        self.until(&format!("{method} {path}"), |_| {
            let answer = client.ask(method, path, &headers, Some(&text)).ok()?;
            assert!(answer.status < 300 || answer.status >= 500, "{method} {path}: {}", answer.text);
            (answer.status < 300).then_some(answer.body)
        })
    }

    fn submit(&mut self) {
        let ledger = self.stack.ledger();
        let job = |job_type: &str, payload: Value| {
            let mut payload = payload;
            payload["ledger"] = json!(ledger.path());
            let backoff = json!({"initial_seconds": 0});
            json!({"job_type": job_type, "payload": payload, "backoff": backoff, "max_attempts": 2})
        };
        let jobs = [
            // Long enough for a sign of life; its payload does not fit into a claim.
            ("success", job("ledger", json!({"sleep_ms": 1300, "files": 1, "more": "x".repeat(5000)}))),
            ("failing", job("ledger", json!({"exit": 3, "say": 10}))),
            ("cancelled", job("stubborn", json!({"sleep_ms": 60_000, "ignore_sigterm": true}))),
            ("retried", job("ledger", json!({"until": self.go(), "files": 1}))),
            ("collected", job("ledger", json!({}))),
        ];
        for (name, desired) in jobs {
            let job = self.ask("POST", "/jobs", Some(name), &desired);
            self.ids.insert(name, word(&job, "job_id").to_owned());
        }
    }

    fn patch(&mut self, name: &str, patch: &Value) {
        let path = format!("/jobs/{}", self.ids[name]);
        self.ask("PATCH", &path, None, patch);
    }

    /// Waits until the agent of the job has started.
    fn executing(&mut self, name: &str) {
        let id = self.ids[name].clone();
        self.until(&format!("the agent of {name}"), |run| {
            (run.stack.ledger().count(&id, Event::Start) > 0).then_some(())
        });
    }

    /// Stops the worker of the job as by Ctrl-Z: it will not hear of its end, and has to be killed.
    fn hang(&self, name: &str) {
        let mark = format!("AGENT_RUNNER_JOB_ID={}\0", self.ids[name]);
        for worker in self.stack.workers() {
            let environment = std::fs::read(format!("/proc/{}/environ", worker.pid)).unwrap_or_default();
            if String::from_utf8_lossy(&environment).contains(&mark) {
                testbed::procfs::signal(worker.pid, Signal::STOP);
            }
        }
    }

    /// What the agent of the job that is retried by force waits for, in each attempt.
    fn go(&self) -> PathBuf {
        self.stack.ledger().path().with_extension("go")
    }

    /// Waits until the job's run of this number has begun.
    fn begun(&mut self, name: &str, number: u64) {
        let (client, path) = (self.stack.client(), format!("/jobs/{}", self.ids[name]));
        self.until(&format!("run {number} of {name}"), |_| {
            let answer = client.ask("GET", &path, &[], None).ok()?;
            (answer.body.pointer("/control/run") == Some(&json!(number))).then_some(())
        });
    }

    /// Waits until the job's run of this number has ended.
    fn ended(&mut self, name: &str, number: u64) {
        let (client, id) = (self.stack.client(), self.ids[name].clone());
        self.until(&format!("the end of run {number} of {name}"), |_| {
            let answer = client.ask("GET", &format!("/jobs/{id}"), &[], None).ok()?;
            let ended = matches!(answer.word("status"), "SUCCEEDED" | "FAILED");
            (ended && answer.body.pointer("/control/run") == Some(&json!(number))).then_some(())
        });
    }

    fn operate(&mut self) {
        self.executing("retried");
        self.patch("retried", &json!({"retry": 1}));
        self.begun("retried", 2);
        std::fs::write(self.go(), "").expect("a file");
        self.executing("cancelled");
        self.hang("cancelled");
        self.patch("cancelled", &json!({"cancel": true}));
        for (name, number) in
            [("success", 1), ("failing", 1), ("cancelled", 1), ("retried", 2), ("collected", 1)]
        {
            self.ended(name, number);
        }
        self.patch("success", &json!({"retry": 1}));
        self.ended("success", 2);
    }

    /// Holds the records against the ledger, and takes down how it ended.
    fn judged(&mut self) -> BTreeMap<&'static str, JobEnd> {
        let accepted: Vec<String> = self.ids.values().cloned().collect();
        let failed = ["failing", "cancelled"].map(|name| (self.ids[name].clone(), "FAILED"));
        let findings = judge(&self.stack, &accepted, &BTreeMap::from(failed));
        assert!(findings.mistakes.is_empty(), "{:#?}", findings.mistakes);
        self.ids.clone().into_iter().map(|(name, id)| (name, self.end_of(&id))).collect()
    }

    fn end_of(&mut self, id: &str) -> JobEnd {
        let client = self.stack.client();
        let path = format!("/jobs/{id}");
        let job = self.until(&path, |_| client.ask("GET", &path, &[], None).ok().filter(|a| a.status == 200));
        let plain = self.stack.artifacts().join("jobs").join(id).join("result.json");
        let result = std::fs::read(plain).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        JobEnd {
            status: job.word("status").to_owned(),
            reason: job.word("reason").to_owned(),
            attempts: self.attempts_of(id),
            executions: self.stack.ledger().count(id, Event::Start),
            result: result.unwrap_or_default(),
        }
    }

    fn attempts_of(&self, id: &str) -> Vec<AttemptEnd> {
        let records = self.stack.records();
        let lines = self.stack.ledger().of(id);
        let sql = "SELECT number, closing FROM attempts WHERE job_id = ?1 ORDER BY number";
        let mut statement = records.prepare(sql).expect("the attempts can be read");
        let rows = statement.query_map([id], |row| {
            let number: u64 = row.get::<_, u32>(0)?.into();
            let closing: Value = serde_json::from_str(&row.get::<_, String>(1)?).expect("a closing is JSON");
            let verdict = &closing["verdict"];
            let word = |pointer: &str| verdict.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
            let left = || word("/left/why").or_else(|| word("/failed/class"));
            Ok(AttemptEnd {
                number,
                verdict: verdict.as_str().map(str::to_owned).or_else(left).unwrap_or_default(),
                message: word("/failed/message").unwrap_or_default(),
                uses: closing["uses"].as_str().unwrap_or_default().to_owned(),
                stop_code: closing["evidence"]["stop_code"].as_str().unwrap_or_default().to_owned(),
                executed: lines.iter().any(|l| l.event == Event::Start && u64::from(l.attempt) == number),
            })
        });
        rows.expect("the attempts can be read").map(|row| row.expect("an attempt")).collect()
    }

    /// Lets the time of one job come.
    fn collect(&mut self) {
        let (client, id) = (self.stack.client(), self.ids["collected"].clone());
        let patch = json!({"ttl_seconds_after_finished": 0}).to_string();
        // Again and again: the answer may be lost, and the job be gone when it is asked for again.
        self.until("the collection", |_| {
            let answer = client.ask("PATCH", &format!("/jobs/{id}"), &[], Some(&patch)).ok()?;
            (answer.status == 404).then_some(())
        });
        let folder = self.stack.artifacts().join("jobs").join(&id);
        assert!(!folder.exists(), "the artifacts of a collected job are left");
    }

    /// Every point must have ended its process. The job whose worker it was, if it was one.
    fn everything_fired(&mut self) -> Option<&'static str> {
        let mut bereft = None;
        let orchestrators = self.aim.0.iter().filter(|(point, _)| point.side == Side::Orchestrator).count();
        for (point, occurrence) in self.aim.0.clone() {
            let mark = self.crashes.path().join(format!("{point}#{occurrence}"));
            let said = self.until(&format!("a death at each point of {}", self.aim), |run| {
                let enough = point.side == Side::Worker || run.deaths.len() == orchestrators;
                std::fs::read_to_string(&mark).ok().filter(|_| enough)
            });
            let (pid, job) = said.split_once(' ').expect("a process and a job");
            let pid: i32 = pid.parse().expect("a process");
            match point.side {
                Side::Orchestrator => assert!(self.deaths.contains(&pid), "{pid} is not {:?}", self.deaths),
                Side::Worker => {
                    let found = self.ids.iter().find(|(_, id)| **id == job);
                    bereft = Some(*found.unwrap_or_else(|| panic!("{job} is none of our jobs")).0);
                }
            }
            assert!(!testbed::procfs::is_alive(pid), "{point} did not end process {pid}");
        }
        assert_eq!(self.deaths.len(), orchestrators, "an orchestrator died of something else");
        self.stack.ready();
        bereft
    }

    /// Nothing is left over, nothing waits, and nothing went wrong on the way.
    fn settled(&mut self) {
        self.stack.expect_no_process_left(PATIENCE);
        self.until("a state that needs no more looks", |run| {
            let sql = "SELECT count(*) FROM jobs WHERE active";
            let active: u32 = run.stack.records().query_row(sql, [], |row| row.get(0)).ok()?;
            (active == 0).then_some(())
        });
        let client = self.stack.client();
        assert_eq!(client.metric("agent_runner_panics_total"), 0.0);
        for id in self.ids.values() {
            let lines = self.stack.ledger().of(id);
            let wrong = testbed::ledger::mistakes(&lines);
            assert!(wrong.is_empty(), "{wrong:?}");
        }
    }

    fn effects(&self) -> BTreeMap<&'static str, u64> {
        let client = self.stack.client();
        let series = |name: &str| format!("agent_runner_effects_total{{effect=\"{name}\"}}");
        plan::Effect::NAMES.into_iter().map(|name| (name, client.metric(&series(name)) as u64)).collect()
    }

    fn passed(&self) -> BTreeMap<Point, u64> {
        let count = |point: Point| {
            let length = std::fs::metadata(self.crashes.path().join(point.to_string())).ok()?.len();
            Some((point, length))
        };
        Point::all().into_iter().filter_map(count).collect()
    }
}
