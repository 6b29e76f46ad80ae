//! What Terraform makes on AWS, made in the emulator: tables, queue, bucket, and who sends what to the queue.

use super::{AwsStack, Ministack, Missing};
use crate::ecs::Sink;
use crate::judge::{Judged, Stored};
use crate::ledger::Line;
use crate::pump::{Pattern, Pump, PumpOptions, Source, Treatment};
use aws_sdk_dynamodb::config::{BehaviorVersion, Builder, Credentials, Region};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Of the tables.
pub const PREFIX: &str = "agent-runner";
/// Of the artifacts.
pub const BUCKET: &str = "agent-runner-artifacts";

/// An emulator in which everything is there.
#[derive(Debug)]
pub struct Account {
    /// It.
    pub server: Ministack,
    /// The queue of hints.
    pub queue_url: String,
}

fn filter(file: &str) -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../infra/terraform/filters");
    std::fs::read_to_string(format!("{path}/{file}")).expect("the filters of the installation")
}

impl Account {
    /// Starts the emulator and makes everything.
    ///
    /// # Errors
    /// It is not installed.
    ///
    /// # Panics
    /// When something cannot be made.
    pub fn open() -> Result<Self, Missing> {
        let server = Ministack::start()?;
        let config = Builder::new()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .endpoint_url(server.endpoint())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("test", "test", None, None, "test"));
        let client = aws_sdk_dynamodb::Client::from_conf(config.build());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(backends::dynamodb::schema::ensure_tables(&client, PREFIX)).expect("tables");
        server.bucket(BUCKET);
        // As infra/terraform/hints.tf has it, 30 s, but for the patience of a test.
        let queue_url = server.queue("agent-runner-hints", 5);
        Ok(Self { server, queue_url })
    }

    /// The pipes.
    pub(super) fn pump(&self, treatment: Treatment) -> Pump {
        let source = |table: &str| Source {
            table: format!("{PREFIX}-{table}"),
            filters: Pattern::list(&filter(&format!("{table}.json"))).expect("patterns"),
            template: filter(&format!("{table}.template")),
        };
        Pump::start(PumpOptions {
            endpoint: self.server.endpoint(),
            queue_url: self.queue_url.clone(),
            sources: ["jobs", "attempts"].map(source).into(),
            treatment,
        })
    }

    /// The rule that sends events of ECS to the queue, each so often.
    pub(super) fn event_sink(&self, copies: usize) -> Sink {
        let pattern = serde_json::from_str(&filter("tasks.json")).expect("a pattern");
        let pattern = Pattern::new(&pattern).expect("a pattern");
        let (endpoint, queue_url) = (self.server.endpoint(), self.queue_url.clone());
        let agent: ureq::Agent = ureq::Agent::config_builder().proxy(None).build().into();
        Sink::Call(Arc::new(move |event| {
            if !pattern.matches(event) {
                return;
            }
            // As the input template of the rule says (infra/terraform/hints.tf).
            let mut hint = json!({"source": event["source"], "detail-type": event["detail-type"]});
            for name in ["taskArn", "startedBy", "lastStatus", "desiredStatus"] {
                hint["detail"][name] = event["detail"][name].clone();
            }
            let body = json!({"QueueUrl": queue_url, "MessageBody": hint.to_string()}).to_string();
            for _ in 0..copies {
                let request = agent.post(&endpoint).header("x-amz-target", "AmazonSQS.SendMessage");
                // What is lost here is a hint.
                let _ = request.header("content-type", "application/x-amz-json-1.0").send(body.as_bytes());
            }
        }))
    }

    /// The section `status` of each job.
    #[must_use]
    pub fn statuses(&self) -> BTreeMap<String, Value> {
        let items = self.server.items(&format!("{PREFIX}-jobs"));
        items.into_iter().map(|mut item| (text(&item, "job_id"), item["status"].take())).collect()
    }

    /// Who holds the lease, and since how many take-overs.
    #[must_use]
    pub fn leader(&self) -> Option<Value> {
        self.server.items(&format!("{PREFIX}-leases")).pop()
    }
}

fn text(item: &Value, name: &str) -> String {
    item[name].as_str().unwrap_or_default().to_owned()
}

impl Judged for AwsStack {
    fn lines(&self) -> Vec<Line> {
        self.ledger().lines()
    }

    fn jobs(&self) -> BTreeMap<String, (Value, Value)> {
        let items = self.account.server.items(&format!("{PREFIX}-jobs"));
        let sections = |mut item: Value| (item["status"].take(), item["control"].take());
        items.into_iter().map(|item| (text(&item, "job_id"), sections(item))).collect()
    }

    fn attempts(&self) -> Vec<Stored> {
        let items = self.account.server.items(&format!("{PREFIX}-attempts"));
        let mut all: Vec<Stored> = items.into_iter().map(stored).collect();
        all.sort_by_key(|attempt| (attempt.job.clone(), attempt.claim["number"].as_u64()));
        all
    }

    fn file(&self, key: &str) -> Option<Vec<u8>> {
        self.account.server.object(BUCKET, key)
    }
}

fn stored(mut item: Value) -> Stored {
    let (job, token) = (text(&item, "job_id"), text(&item, "token"));
    let [claim, gate, report, closing] =
        ["claim", "gate", "report", "closing"].map(|section| item[section].take());
    Stored { job, token, claim, gate, report, closing }
}
