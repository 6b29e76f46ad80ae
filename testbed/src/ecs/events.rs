//! "ECS Task State Change" events, and how they get lost, doubled and out of order on their way.

use super::clock::{Millis, iso};
use super::options::{Options, Post};
use super::task::Task;
use crate::Dice;
use serde_json::{Value, json};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// Where events go.
#[derive(Clone)]
pub enum Sink {
    /// A function, called on a thread of its own with one event after the other.
    Call(Arc<dyn Fn(&Value) + Send + Sync>),
    /// A queue: SendMessage in the JSON protocol, as the target of an EventBridge rule. The request carries
    /// no signature, only the shape of one.
    Sqs {
        /// The endpoint of SQS, `http://…`.
        endpoint: String,
        /// The queue's URL.
        queue_url: String,
    },
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(_) => f.write_str("Call"),
            Self::Sqs { queue_url, .. } => write!(f, "Sqs({queue_url})"),
        }
    }
}

/// The shape of an event.
// Amazon ECS developer guide, "Amazon ECS task state change events".
pub(crate) fn event(task: &Task, now: Millis, options: &Options) -> Value {
    // An id per change: a duplicate has the id and the `detail.version` of the first (EventBridge events
    // reference, Amazon ECS).
    let id = format!(
        "{}-{}-4{}-8{}-{:012x}",
        &task.id[..8],
        &task.id[8..12],
        &task.id[13..16],
        &task.id[17..20],
        task.version
    );
    json!({
        "version": "0",
        "id": id,
        "detail-type": "ECS Task State Change",
        "source": "aws.ecs",
        "account": options.account,
        "time": iso(now / 1000 * 1000),
        "region": options.region,
        "resources": [task.arn],
        "detail": task.detail(now),
    })
}

#[derive(Debug, Default)]
struct Counts {
    made: AtomicU64,
    lost: AtomicU64,
    doubled: AtomicU64,
    delivered: AtomicU64,
    /// Deliveries that a sink refused.
    failed: AtomicU64,
}

/// Takes events to the sinks.
#[derive(Debug)]
pub(crate) struct Outbox {
    post: Post,
    dice: Dice,
    to: Option<mpsc::Sender<Value>>,
    counts: Arc<Counts>,
}

/// A sink that does not answer must not keep the double's threads.
const PATIENCE: Duration = Duration::from_secs(5);

impl Outbox {
    pub(crate) fn new(options: &Options) -> Self {
        let counts = Arc::new(Counts::default());
        let to = (!options.sinks.is_empty()).then(|| {
            let (to, from) = mpsc::channel::<Value>();
            let (sinks, counts) = (options.sinks.clone(), Arc::clone(&counts));
            std::thread::spawn(move || carry(&from, &sinks, &counts));
            to
        });
        Self { post: options.post, dice: Dice::seeded(options.seed ^ 0x5eed), to, counts }
    }

    pub(crate) fn has_sinks(&self) -> bool {
        self.to.is_some()
    }

    /// When the copies of the next event arrive: none when it is lost, two when it is doubled.
    pub(crate) fn fates(&mut self) -> Vec<Duration> {
        self.counts.made.fetch_add(1, Ordering::Relaxed);
        let post = self.post;
        if post.lose_one_in > 0 && self.dice.once_in(post.lose_one_in) {
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
            return Vec::new();
        }
        let doubled = post.duplicate_one_in > 0 && self.dice.once_in(post.duplicate_one_in);
        self.counts.doubled.fetch_add(doubled.into(), Ordering::Relaxed);
        let most = u64::try_from(post.delay_up_to.as_millis()).unwrap_or(0);
        (0..1 + u32::from(doubled)).map(|_| self.dice.millis(0..=most)).collect()
    }

    pub(crate) fn deliver(&self, event: Value) {
        if let Some(to) = &self.to {
            let _ = to.send(event);
        }
    }

    pub(crate) fn counts(&self) -> Value {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        json!({
            "made": read(&self.counts.made), "lost": read(&self.counts.lost),
            "doubled": read(&self.counts.doubled), "delivered": read(&self.counts.delivered),
            "failed": read(&self.counts.failed),
        })
    }
}

fn carry(from: &mpsc::Receiver<Value>, sinks: &[Sink], counts: &Counts) {
    let agent: ureq::Agent = ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).build().into();
    while let Ok(event) = from.recv() {
        for sink in sinks {
            let sent = match sink {
                Sink::Call(call) => {
                    call(&event);
                    true
                }
                Sink::Sqs { endpoint, queue_url } => send(&agent, endpoint, queue_url, &event),
            };
            let count = if sent { &counts.delivered } else { &counts.failed };
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The shape of a signature, from which emulators read account and Region.
const UNSIGNED: &str = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/sqs/aws4_request, \
                        SignedHeaders=host, Signature=0";

// Amazon SQS developer guide, "Making query API requests", AWS JSON protocol: `AmazonSQS.SendMessage`.
fn send(agent: &ureq::Agent, endpoint: &str, queue_url: &str, event: &Value) -> bool {
    let body = json!({"QueueUrl": queue_url, "MessageBody": event.to_string()}).to_string();
    let request = agent
        .post(endpoint)
        .header("content-type", "application/x-amz-json-1.0")
        .header("x-amz-target", "AmazonSQS.SendMessage")
        .header("authorization", UNSIGNED);
    request.send(body.as_bytes()).is_ok()
}
