//! Hints from an SQS queue.
//!
//! One task receives by long polls, another deletes what was handed over. A message is deleted only after
//! [`Hints::next`] has returned its hint: what was received and not yet asked for comes again when its
//! visibility ends, so a process that dies, or a wait that is cancelled, loses nothing. Whoever drops the
//! source leaves what it had received to the next reader. Repeated messages repeat a hint, which is harmless;
//! messages that name no job are deleted, counted, and logged once.
//!
//! While polls come back full the queue is read by several requests at once, and everything is handed over as
//! one batch; at rest there is one request in 20 s. Deletions wait a moment for company, so that a request
//! deletes ten where it can.

mod message;
mod versions;

use crate::aws::{self, Limits};
use crate::hints::{Hint, Hints, HintsError};
use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::{Builder, StalledStreamProtectionConfig};
use aws_sdk_sqs::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, Message};
use message::Mute;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

/// Messages of one request, to receive and to delete (SQS quotas).
const FULL: usize = 10;
/// Requests at once while there is a backlog. Each takes some 10 ms; the reader is slower than four.
const WIDEST: usize = 4;
/// The most messages of one batch.
const MOST: usize = 1000;
/// How long a deletion waits for others. Far below the visibility of the queue, 30 s.
const COMPANY: Duration = Duration::from_millis(500);

/// Times of a [`SqsHints`].
#[derive(Debug, Clone, Copy)]
pub struct SqsTimes {
    /// How long a poll waits for a message, in whole seconds; 20 s is the most that SQS has.
    pub wait: Duration,
    /// When a poll counts as lost; the SDK has no limit of its own, and a poll whose answer was lost hangs
    /// for ever.
    pub poll: Duration,
    /// The limits of a deletion.
    pub delete: Limits,
}

impl Default for SqsTimes {
    fn default() -> Self {
        Self {
            wait: Duration::from_secs(20),
            poll: Duration::from_secs(25),
            delete: Limits { attempt: Duration::from_secs(5), operation: Duration::from_secs(15) },
        }
    }
}

/// Messages that named no job.
#[derive(Debug, Default)]
pub struct Muted {
    malformed: AtomicU64,
    foreign: AtomicU64,
}

impl Muted {
    /// No JSON, or of a shape that nobody here sends.
    pub fn malformed(&self) -> u64 {
        self.malformed.load(Ordering::Relaxed)
    }

    /// About tasks of somebody else.
    pub fn foreign(&self) -> u64 {
        self.foreign.load(Ordering::Relaxed)
    }

    fn count(&self, mute: Mute, body: &str) {
        let before = match mute {
            Mute::Malformed => self.malformed.fetch_add(1, Ordering::Relaxed),
            Mute::Foreign => self.foreign.fetch_add(1, Ordering::Relaxed),
        };
        let size = body.len();
        if before == 0 {
            tracing::warn!(
                ?mute,
                size,
                "a message in the queue of hints names no job; more are only counted"
            );
        } else {
            tracing::debug!(?mute, size, "a message in the queue of hints names no job");
        }
    }
}

/// What was received together.
#[derive(Debug, Default)]
struct Batch {
    hints: BTreeSet<Hint>,
    /// The handles by which the messages are deleted.
    receipts: Vec<String>,
}

/// Hints from an SQS queue. See the module's description.
#[derive(Debug)]
pub struct SqsHints {
    batches: mpsc::Receiver<Result<Batch, HintsError>>,
    deletions: mpsc::UnboundedSender<String>,
    muted: Arc<Muted>,
    receiver: AbortHandle,
}

impl SqsHints {
    /// Of the queue at `url`, with region, credentials and endpoint from where the SDK looks. To be called
    /// within a tokio runtime.
    pub async fn open(url: &str) -> Self {
        let times = SqsTimes::default();
        Self::with(&aws::config(times.delete).await, times, url)
    }

    /// Of the queue at `url`, with another configuration. Its time limits are replaced by `times`.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn with(config: &SdkConfig, times: SqsTimes, url: &str) -> Self {
        // A batch waits at most: while nobody asks nothing is received, and it stays visible to others.
        let (to_reader, batches) = mpsc::channel(1);
        let (deletions, to_delete) = mpsc::unbounded_channel();
        let muted = Arc::new(Muted::default());
        let poll = Limits { attempt: times.poll, operation: times.poll };
        let poller = Poller {
            // The loop is its own repetition.
            client: client(config, poll, 1),
            url: url.to_owned(),
            wait: i32::try_from(times.wait.as_secs()).unwrap_or(20),
            muted: muted.clone(),
        };
        let receiver = tokio::spawn(poller.run(to_reader)).abort_handle();
        // Not ended with the source: it deletes what was handed over, and then ends by itself.
        tokio::spawn(delete(client(config, times.delete, 3), url.to_owned(), to_delete));
        Self { batches, deletions, muted, receiver }
    }

    /// What named no job so far.
    #[must_use]
    pub fn muted(&self) -> Arc<Muted> {
        self.muted.clone()
    }
}

impl Drop for SqsHints {
    fn drop(&mut self) {
        self.receiver.abort();
    }
}

#[async_trait]
impl Hints for SqsHints {
    async fn next(&mut self) -> Result<Vec<Hint>, HintsError> {
        loop {
            // The only wait. Whoever cancels it leaves the batch in the channel.
            let batch = self.batches.recv().await.ok_or(HintsError::Ended)??;
            for receipt in batch.receipts {
                // Fails when the runtime ends; the message comes again then.
                let _ = self.deletions.send(receipt);
            }
            if !batch.hints.is_empty() {
                return Ok(batch.hints.into_iter().collect());
            }
        }
    }
}

fn client(config: &SdkConfig, limits: Limits, tries: u32) -> Client {
    let timeouts = TimeoutConfig::builder()
        .operation_attempt_timeout(limits.attempt)
        .operation_timeout(limits.operation)
        .build();
    let config = Builder::from(config)
        .timeout_config(timeouts)
        .retry_config(RetryConfig::standard().with_max_attempts(tries))
        // A long poll stands still by design; the limits above end it.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .build();
    Client::from_conf(config)
}

/// The task that receives.
struct Poller {
    client: Client,
    url: String,
    /// Seconds.
    wait: i32,
    muted: Arc<Muted>,
}

impl Poller {
    async fn run(self, to_reader: mpsc::Sender<Result<Batch, HintsError>>) {
        // Room first: what has been received must not wait for a reader that is busy longer than needed.
        while let Ok(room) = to_reader.reserve().await {
            match self.batch().await {
                Ok(batch) if batch.receipts.is_empty() => {}
                Ok(batch) => room.send(Ok(batch)),
                Err(words) => room.send(Err(HintsError::Unavailable(words))),
            }
        }
    }

    /// A poll, and while answers come back full what else is there.
    async fn batch(&self) -> Result<Batch, String> {
        let mut batch = Batch::default();
        let first = receive(self.client.clone(), self.url.clone(), self.wait).await?;
        let mut full = self.add(&mut batch, first);
        let mut width = 1;
        while full && batch.receipts.len() < MOST {
            width = (2 * width).min(WIDEST);
            let mut polls = JoinSet::new();
            for _ in 0..width {
                polls.spawn(receive(self.client.clone(), self.url.clone(), 0));
            }
            while let Some(answer) = polls.join_next().await {
                // What failed is asked for again by the next poll, which says so if it fails, too.
                let messages = answer.map_err(|e| e.to_string()).flatten().unwrap_or_default();
                full &= self.add(&mut batch, messages);
            }
        }
        Ok(batch)
    }

    /// Whether there were as many messages as one answer can hold.
    fn add(&self, batch: &mut Batch, messages: Vec<Message>) -> bool {
        let full = messages.len() == FULL;
        for message in messages {
            let body = message.body.unwrap_or_default();
            match message::job_id(&body) {
                Ok(job_id) => drop(batch.hints.insert(match versions::written(&body) {
                    Some(version) => Hint::Control(job_id, version),
                    None => Hint::Job(job_id),
                })),
                Err(mute) => self.muted.count(mute, &body),
            }
            batch.receipts.extend(message.receipt_handle);
        }
        full
    }
}

async fn receive(client: Client, url: String, wait: i32) -> Result<Vec<Message>, String> {
    let request = client.receive_message().queue_url(url).wait_time_seconds(wait);
    let answer = request.max_number_of_messages(10).send().await.map_err(|e| words(&e))?;
    Ok(answer.messages.unwrap_or_default())
}

/// The task that deletes. What cannot be deleted comes again, so nothing is repeated here beyond the SDK's
/// tries.
async fn delete(client: Client, url: String, mut receipts: mpsc::UnboundedReceiver<String>) {
    let mut batch = Vec::with_capacity(FULL);
    while receipts.recv_many(&mut batch, FULL).await > 0 {
        let company = async {
            while batch.len() < FULL {
                let room = FULL - batch.len();
                if receipts.recv_many(&mut batch, room).await == 0 {
                    break;
                }
            }
        };
        let _ = tokio::time::timeout(COMPANY, company).await;
        let entry = |(n, receipt): (usize, String)| {
            DeleteMessageBatchRequestEntry::builder().id(n.to_string()).receipt_handle(receipt).build().ok()
        };
        let entries = batch.drain(..).enumerate().filter_map(entry).collect();
        let request = client.delete_message_batch().queue_url(&url).set_entries(Some(entries));
        match request.send().await {
            Ok(answer) if answer.failed.is_empty() => {}
            Ok(answer) => {
                tracing::debug!(failed = answer.failed.len(), "hints were not deleted and come again");
            }
            Err(e) => tracing::debug!(error = %words(&e), "hints were not deleted and come again"),
        }
    }
}

fn words<E, R>(error: &SdkError<E, R>) -> String
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug,
{
    match error.as_service_error().map(|e| (e.code(), e.message())) {
        Some((Some(code), message)) => format!("{code}: {}", message.unwrap_or_default()),
        _ => DisplayErrorContext(error).to_string(),
    }
}
