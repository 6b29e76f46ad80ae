//! The team's stack with its artifacts in an S3-compatible server, by the settings of docs/compose.md: MiniStack.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use testbed::aws::{BUCKET, Gates, Ministack, Outage, Way};
use testbed::client::word;
use testbed::judge::{Judged, Stored, judge};
use testbed::ledger::Line;
use testbed::team::{Options, Team};
use testbed::{leave_out, ledger_agent};

const SOON: Duration = Duration::from_secs(60);
const AWAY: Duration = Duration::from_secs(3);

/// A team whose artifacts are in the bucket.
struct InBucket<'a>(&'a Team, &'a Ministack);

impl Judged for InBucket<'_> {
    fn lines(&self) -> Vec<Line> {
        self.0.lines()
    }

    fn jobs(&self) -> BTreeMap<String, (Value, Value)> {
        self.0.jobs()
    }

    fn attempts(&self) -> Vec<Stored> {
        self.0.attempts()
    }

    fn file(&self, key: &str) -> Option<Vec<u8>> {
        self.1.object(BUCKET, key)
    }
}

#[test]
fn results_logs_and_files_are_in_the_bucket_and_an_outage_of_it_loses_nothing() {
    let server = match Ministack::start() {
        Ok(server) => server,
        Err(missing) => return leave_out("the team's stack with S3", &missing),
    };
    server.bucket(BUCKET);
    let gates = Gates::start(&server.endpoint()).expect("gates");
    let settings = [
        ("AGENT_RUNNER_ARTIFACTS", &*format!("s3://{BUCKET}")),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_ENDPOINT_URL_S3", &gates.s3.endpoint()),
    ];
    let options = Options::new(2, 2).agent(ledger_agent!());
    let Some(team) = Team::start(settings.iter().fold(options, |o, (name, value)| o.env(name, value))) else {
        return;
    };
    let client = team.client();
    let object = |job: &str, path: &str| server.object(BUCKET, &format!("jobs/{job}/{path}"));

    // By the worker's own process, and by one of its own with an agent that fails at first.
    let echo = client.echo(&json!({"message": "Hello, World!"}));
    let payload = json!({"ledger": team.ledger().path(), "fail_times": 1, "files": 2, "say": 100});
    let retry = json!({"initial_seconds": 0});
    let ledger = client.submit(&json!({"job_type": "ledger", "payload": payload, "backoff": retry}));
    for (job_id, attempts) in [(&echo, 1), (&ledger, 2)] {
        let job = client.ended(job_id, SOON);
        assert_eq!((word(&job, "status"), &job["attempt"]), ("SUCCEEDED", &json!(attempts)), "{job}");
        let stored = object(job_id, "result.json").expect("the result");
        let stored: Value = serde_json::from_slice(&stored).expect("JSON");
        assert_eq!(stored, job["result"], "the job's plain path holds the last attempt's result");
        let listed = client.get(&format!("/jobs/{job_id}/artifacts")).expect(200).body;
        let listed = listed["artifacts"].as_array().cloned().expect("a list");
        let logs = listed.iter().filter(|entry| word(entry, "path").ends_with("/stdout.log")).count();
        assert_eq!(logs, attempts, "a log of each attempt: {listed:?}");
        for entry in &listed {
            let bytes = object(job_id, word(entry, "path")).map(|bytes| bytes.len());
            assert_eq!(json!(bytes), entry["size"], "{entry}");
        }
    }
    let said = client.get(&format!("/jobs/{ledger}/logs?stream=stdout")).expect(200).text;
    assert!(said.len() >= 100, "the agent's own words: {said}");

    let payload = json!({"ledger": team.ledger().path(), "sleep_ms": 50, "files": 1});
    let desired = json!({"job_type": "ledger", "payload": payload});
    let outage = Outage::of(&gates.s3, Way::Cut);
    let job_ids: Vec<String> = (0..20).map(|_| client.submit(&desired)).collect();
    std::thread::sleep(AWAY);
    for job_id in &job_ids {
        assert!(object(job_id, "result.json").is_none(), "{job_id} has a result while S3 was away");
    }
    drop(outage);
    for job_id in &job_ids {
        assert_eq!(word(&client.ended(job_id, SOON), "status"), "SUCCEEDED", "{}", team.logs());
        assert!(object(job_id, "result.json").is_some(), "{job_id} has no result");
    }
    let all: Vec<String> = job_ids.into_iter().chain([ledger]).collect();
    judge(&InBucket(&team, &server), &all, &BTreeMap::new()).accept("21 jobs and an outage of S3");
    assert!(!team.artifacts().exists(), "something was written beside the bucket");
    team.expect_nothing_left(SOON);
}
