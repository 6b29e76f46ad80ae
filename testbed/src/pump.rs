//! What EventBridge Pipes do on AWS, for emulators that have the streams of DynamoDB and SQS but deliver
//! nothing between them: reads the streams of tables, lets records pass by the filters that
//! `infra/terraform/filters` configures, and sends their keys to a queue. It may lose, repeat and shuffle
//! messages, as hints may be.
//!
//! It speaks the JSON protocols without signatures, so it reaches emulators only.

mod pattern;

pub use pattern::Pattern;

use crate::Dice;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

/// A table whose stream is read, and what is let through of it.
#[derive(Debug, Clone)]
pub struct Source {
    /// The table's name.
    pub table: String,
    /// A record passes by any of these.
    pub filters: Vec<Pattern>,
    /// What is sent of it: a text with paths, as `<$.dynamodb.Keys.job_id.S>`.
    pub template: String,
}

/// How messages are treated on their way.
#[derive(Debug, Clone, Copy)]
pub struct Treatment {
    /// One message in so many is lost; 0: none, 1: all.
    pub lose_one_in: u64,
    /// How often each message is sent.
    pub copies: u32,
    /// Whether what is read together is sent in any order.
    pub shuffle: bool,
    /// Of the choices.
    pub seed: u64,
}

impl Default for Treatment {
    fn default() -> Self {
        Self { lose_one_in: 0, copies: 1, shuffle: false, seed: 1 }
    }
}

/// What a pump is to do.
#[derive(Debug, Clone)]
pub struct PumpOptions {
    /// Of DynamoDB and SQS, `http://…`.
    pub endpoint: String,
    /// The queue's URL.
    pub queue_url: String,
    /// The tables.
    pub sources: Vec<Source>,
    /// On the way.
    pub treatment: Treatment,
}

/// What a pump has done.
#[derive(Debug, Default)]
pub struct Pumped {
    /// Records read.
    pub read: AtomicU64,
    /// Records that a filter kept back.
    pub filtered: AtomicU64,
    /// Messages lost on purpose.
    pub lost: AtomicU64,
    /// Messages sent, with their copies.
    pub sent: AtomicU64,
    /// Requests that failed; they are repeated.
    pub failed: AtomicU64,
}

/// A running pump; it ends when dropped.
#[derive(Debug)]
pub struct Pump {
    pumped: Arc<Pumped>,
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Pump {
    /// Starts to read the streams from their beginnings.
    #[must_use]
    pub fn start(options: PumpOptions) -> Self {
        let pumped = Arc::new(Pumped::default());
        let (stop, stopped) = mpsc::channel();
        let running = Running::new(options, Arc::clone(&pumped));
        let thread = std::thread::spawn(move || running.run(&stopped));
        Self { pumped, stop: Some(stop), thread: Some(thread) }
    }

    /// What it has done so far.
    #[must_use]
    pub fn pumped(&self) -> &Pumped {
        &self.pumped
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Between two looks at the streams. Pipes look four times a second (EventBridge user guide, DynamoDB stream
/// as a source); tests wait less.
const PERIOD: Duration = Duration::from_millis(50);
/// The most messages of one SendMessageBatch.
const BATCH: usize = 10;
/// An emulator that does not answer must not keep the thread.
const PATIENCE: Duration = Duration::from_secs(5);

struct Running {
    options: PumpOptions,
    pumped: Arc<Pumped>,
    agent: ureq::Agent,
    dice: Dice,
    /// Where to read on, by table and shard. `None`: the shard has ended.
    iterators: BTreeMap<(String, String), Option<String>>,
    /// Not sent yet.
    waiting: Vec<String>,
    warned: AtomicBool,
}

type Answer = Result<Value, String>;

/// A template with its paths replaced by the strings that they lead to (EventBridge user guide, "Amazon EventBridge
/// Pipes input transformation"); by nothing where they lead nowhere, which the guide does not say.
fn filled(template: &str, record: &Value) -> String {
    let mut parts = template.split("<$.");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (path, rest) = part.split_once('>').unwrap_or((part, ""));
        let found = record.pointer(&format!("/{}", path.replace('.', "/")));
        text.push_str(found.and_then(Value::as_str).unwrap_or_default());
        text.push_str(rest);
    }
    text
}

impl Running {
    fn new(options: PumpOptions, pumped: Arc<Pumped>) -> Self {
        let agent = ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).build().into();
        let dice = Dice::seeded(options.treatment.seed);
        let (iterators, waiting, warned) = (BTreeMap::new(), Vec::new(), AtomicBool::new(false));
        Self { options, pumped, agent, dice, iterators, waiting, warned }
    }

    fn run(mut self, stopped: &mpsc::Receiver<()>) {
        while let Err(mpsc::RecvTimeoutError::Timeout) = stopped.recv_timeout(PERIOD) {
            for source in self.options.sources.clone() {
                if let Err(words) = self.read(&source) {
                    self.failed(&words);
                }
            }
            if let Err(words) = self.send() {
                self.failed(&words);
            }
        }
    }

    fn failed(&self, words: &str) {
        self.pumped.failed.fetch_add(1, Ordering::Relaxed);
        if !self.warned.swap(true, Ordering::Relaxed) {
            crate::say(&format!("pump: {words}; more is only counted"));
        }
    }

    fn call(&self, service: &str, target: &str, body: &Value) -> Answer {
        // The shape of a signature, from which emulators read service, account and Region.
        let unsigned = format!(
            "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, \
             Signature=0"
        );
        let request = self.agent.post(&self.options.endpoint).header("x-amz-target", target);
        let request = request.header("content-type", "application/x-amz-json-1.0");
        let answer = request.header("authorization", unsigned).send(body.to_string().as_bytes());
        let mut answer = answer.map_err(|e| format!("{target}: {e}"))?;
        answer.body_mut().read_json().map_err(|e| format!("{target}: {e}"))
    }

    fn streams(&self, action: &str, body: &Value) -> Answer {
        self.call("dynamodb", &format!("DynamoDBStreams_20120810.{action}"), body)
    }

    /// Reads what is new in a stream.
    fn read(&mut self, source: &Source) -> Result<(), String> {
        let table =
            self.call("dynamodb", "DynamoDB_20120810.DescribeTable", &json!({"TableName": source.table}))?;
        let arn = &table["Table"]["LatestStreamArn"];
        let stream = self.streams("DescribeStream", &json!({"StreamArn": arn}))?;
        let shards = stream["StreamDescription"]["Shards"].as_array().cloned().unwrap_or_default();
        for shard in shards {
            let id = shard["ShardId"].as_str().unwrap_or_default().to_owned();
            let place = (format!("{} {}", source.table, arn), id.clone());
            let begin = json!({"StreamArn": arn, "ShardId": id, "ShardIteratorType": "TRIM_HORIZON"});
            let iterator = match self.iterators.get(&place) {
                Some(known) => known.clone(),
                None => {
                    self.streams("GetShardIterator", &begin)?["ShardIterator"].as_str().map(str::to_owned)
                }
            };
            let Some(iterator) = iterator else { continue };
            let page = self.streams("GetRecords", &json!({"ShardIterator": iterator}))?;
            for record in page["Records"].as_array().into_iter().flatten() {
                self.take(source, record);
            }
            self.iterators.insert(place, page["NextShardIterator"].as_str().map(str::to_owned));
        }
        Ok(())
    }

    fn take(&mut self, source: &Source, record: &Value) {
        let count = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
        count(&self.pumped.read);
        if !source.filters.iter().any(|filter| filter.matches(record)) {
            count(&self.pumped.filtered);
            return;
        }
        let treatment = self.options.treatment;
        if treatment.lose_one_in > 0 && self.dice.once_in(treatment.lose_one_in) {
            count(&self.pumped.lost);
            return;
        }
        let message = filled(&source.template, record);
        self.waiting.extend((0..treatment.copies).map(|_| message.clone()));
    }

    fn send(&mut self) -> Result<(), String> {
        if self.options.treatment.shuffle {
            for at in (1..self.waiting.len()).rev() {
                let other = usize::try_from(self.dice.within(0..=at as u64)).unwrap_or(0);
                self.waiting.swap(at, other);
            }
        }
        while !self.waiting.is_empty() {
            let some = self.waiting.len().min(BATCH);
            let entry = |(n, body): (usize, &String)| json!({"Id": n.to_string(), "MessageBody": body});
            let entries: Vec<Value> = self.waiting[..some].iter().enumerate().map(entry).collect();
            let body = json!({"QueueUrl": self.options.queue_url, "Entries": entries});
            let answer = self.call("sqs", "AmazonSQS.SendMessageBatch", &body)?;
            if let Some(failed) = answer["Failed"].as_array().filter(|failed| !failed.is_empty()) {
                return Err(format!("SendMessageBatch: {failed:?}"));
            }
            self.waiting.drain(..some);
            self.pumped.sent.fetch_add(some as u64, Ordering::Relaxed);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_of_the_infrastructure_are_filled_with_the_key_and_the_versions_of_control() {
        let control = |version: &str| json!({"control": {"M": {"version": {"S": version}}}});
        let keys = json!({"job_id": {"S": "j-1"}});
        let filled = |template, record: Value| -> Value {
            serde_json::from_str(&filled(template, &json!({"dynamodb": record}))).expect("JSON")
        };
        let jobs = include_str!("../../infra/terraform/filters/jobs.template");
        let of_a_job =
            filled(jobs, json!({"Keys": keys, "OldImage": control("1"), "NewImage": control("2")}));
        assert_eq!(of_a_job["control"], json!({"old": "1", "new": "2"}));
        let created = filled(jobs, json!({"Keys": keys, "NewImage": {"control": {"S": "by hand"}}}));
        assert_eq!(created["control"], json!({"old": "", "new": ""}));
        let attempts = include_str!("../../infra/terraform/filters/attempts.template");
        let of_an_attempt = filled(attempts, json!({"Keys": keys}));
        for hint in [of_a_job, created, of_an_attempt] {
            assert_eq!(hint["dynamodb"]["Keys"], keys);
        }
    }
}
