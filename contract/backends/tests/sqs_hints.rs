//! `SqsHints` against the conformance suite with MiniStack as SQS, and what is special about a queue.

#![cfg(all(feature = "conformance", feature = "sqs"))]

mod aws_support;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::{Credentials, SharedCredentialsProvider};
use aws_sdk_sqs::types::{QueueAttributeName, SendMessageBatchRequestEntry};
use aws_support::proxy::{Fate, Proxy, Request, script};
use aws_support::{ACCESS_KEY, Ministack, REGION, leave_out};
use backends::aws::Limits;
use backends::conformance::fixtures::job_id;
use backends::conformance::hints::Fixture;
use backends::conformance::wait::within;
use backends::sqs::{SqsHints, SqsTimes};
use backends::{Hint, Hints, HintsError};
use contract::JobId;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// One runtime for all tests, which the tasks of a source live on.
static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
});

fn run<T>(future: impl Future<Output = T>) -> T {
    RUNTIME.block_on(future)
}

fn config(endpoint: &str) -> SdkConfig {
    let (id, secret) = ACCESS_KEY;
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .endpoint_url(endpoint)
        .region(Region::new(REGION))
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new(
            id, secret, None, None, "test",
        )))
        .build()
}

/// Times that let a test of a fault end soon, and a server on a busy machine answer in time.
fn short() -> SqsTimes {
    let limit = Duration::from_secs(6);
    SqsTimes {
        wait: Duration::from_secs(1),
        poll: limit,
        delete: Limits { attempt: limit, operation: 2 * limit },
    }
}

/// A queue that nothing else uses.
#[derive(Clone)]
struct Queue {
    url: String,
    client: Client,
}

impl Queue {
    /// Messages that were received and not deleted come again after so many seconds.
    fn create(server: &Ministack, hidden: u32) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let client = Client::new(&config(&server.endpoint()));
        let name = format!("queue-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let hidden = hidden.to_string();
        let request =
            client.create_queue().queue_name(name).attributes(QueueAttributeName::VisibilityTimeout, hidden);
        let url = run(request.send()).expect("a queue").queue_url.expect("its URL");
        Self { url, client }
    }

    async fn send(&self, bodies: &[String]) {
        for bodies in bodies.chunks(10) {
            let entry = |(n, body): (usize, &String)| {
                SendMessageBatchRequestEntry::builder().id(n.to_string()).message_body(body).build().unwrap()
            };
            let entries = bodies.iter().enumerate().map(entry).collect();
            let request = self.client.send_message_batch().queue_url(&self.url).set_entries(Some(entries));
            assert!(request.send().await.expect("an answer").failed().is_empty());
        }
    }

    /// Messages that were not deleted.
    async fn messages(&self) -> u32 {
        let names = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
        ];
        let request = self.client.get_queue_attributes().queue_url(&self.url);
        let answer = request.set_attribute_names(Some(names.into())).send().await.expect("an answer");
        answer.attributes().unwrap().values().map(|n| n.parse::<u32>().unwrap()).sum()
    }

    fn becomes_empty(&self) {
        run(backends::conformance::wait::eventually("messages were not deleted", async || {
            self.messages().await == 0
        }));
    }
}

/// As a pipe sends it.
fn record(job_id: &JobId) -> String {
    json!({"eventSource": "aws:dynamodb", "dynamodb": {"Keys": {"job_id": {"S": job_id.as_str()}}}})
        .to_string()
}

fn fixture() -> Option<Fixture> {
    let server = Ministack::shared().inspect_err(|why| leave_out("SQS", why)).ok()?;
    let queue = Queue::create(server, 1);
    let hints = run(async { SqsHints::with(&config(&server.endpoint()), SqsTimes::default(), &queue.url) });
    Some(Fixture {
        hints: Box::new(hints),
        announce: Box::new(move |job_id| {
            let queue = queue.clone();
            Box::pin(async move { queue.send(&[record(&job_id)]).await })
        }),
        block_on: |future| RUNTIME.block_on(future),
        guard: Box::new(()),
    })
}

backends::hints_conformance!(fixture);

/// A queue behind a proxy.
struct Stage {
    queue: Queue,
    proxy: Proxy,
}

/// One where messages soon come again.
fn stage(rule: impl FnMut(&Request) -> Fate + Send + 'static) -> Option<Stage> {
    stage_hiding(1, rule)
}

/// For what is counted: no message comes a second time because its deletion took long.
fn stage_hiding(seconds: u32, rule: impl FnMut(&Request) -> Fate + Send + 'static) -> Option<Stage> {
    let server = Ministack::shared().inspect_err(|why| leave_out("SQS", why)).ok()?;
    Some(Stage { queue: Queue::create(server, seconds), proxy: Proxy::start(&server.endpoint(), rule) })
}

fn calls(action: &'static str) -> impl Fn(&Request) -> bool + Send + 'static {
    move |request| request.header("x-amz-target") == format!("AmazonSQS.{action}")
}

impl Stage {
    fn hints(&self) -> SqsHints {
        run(async { SqsHints::with(&config(&self.proxy.endpoint()), short(), &self.queue.url) })
    }
}

/// Reads until every job was named; errors on the way are counted.
fn expect(hints: &mut SqsHints, jobs: &[JobId]) -> u32 {
    let mut missing: BTreeSet<&JobId> = jobs.iter().collect();
    let (mut errors, deadline) = (0, Instant::now() + PATIENCE);
    while !missing.is_empty() {
        assert!(Instant::now() < deadline, "{} hints are missing", missing.len());
        match run(within(PATIENCE, hints.next())).expect("in time") {
            Ok(batch) => {
                for hint in batch {
                    match hint {
                        Hint::Job(job_id) | Hint::Unhurried(job_id) | Hint::Control(job_id, _) => {
                            missing.remove(&job_id);
                        }
                        Hint::Resync => panic!("a queue never says that hints were lost"),
                    }
                }
            }
            Err(HintsError::Unavailable(_)) => errors += 1,
            Err(HintsError::Ended) => panic!("the source ended"),
        }
    }
    errors
}

fn jobs(count: usize) -> Vec<JobId> {
    (0..count).map(|_| job_id()).collect()
}

fn records(jobs: &[JobId]) -> Vec<String> {
    jobs.iter().map(record).collect()
}

#[test]
fn what_names_no_job_is_deleted_counted_and_in_nobodys_way() {
    let Some(s) = stage_hiding(600, |_| Fate::Pass) else { return };
    let ours = jobs(1);
    let event = |detail: Value| json!({"detail-type": "ECS Task State Change", "detail": detail}).to_string();
    let mut bodies = vec![
        "not JSON".to_owned(),
        "{}".to_owned(),
        event(json!({"startedBy": "ecs-svc/9223370606521064774"})),
    ];
    bodies.extend(vec!["[".repeat(50_000); 3]);
    run(s.queue.send(&bodies));
    run(s.queue.send(&records(&ours)));
    let mut hints = s.hints();
    expect(&mut hints, &ours);
    let muted = hints.muted();
    // The last ones may lie behind ours; asking on is what deletes them.
    let deadline = Instant::now() + PATIENCE;
    while muted.malformed() + muted.foreign() < 6 && Instant::now() < deadline {
        assert!(run(within(Duration::from_millis(100), hints.next())).is_none(), "a hint of nothing");
    }
    assert_eq!((muted.malformed(), muted.foreign()), (5, 1));
    assert!(run(within(Duration::from_millis(100), hints.next())).is_none(), "a hint of nothing");
    s.queue.becomes_empty();
}

#[test]
fn a_change_of_a_tasks_state_names_its_job() {
    let Some(s) = stage(|_| Fate::Pass) else { return };
    let ours = jobs(2);
    let environment = json!([{"name": "AGENT_RUNNER_JOB_ID", "value": ours[0].as_str()}]);
    let overrides = json!({"containerOverrides": [{"name": "worker", "environment": environment}]});
    let mark = format!("{}/01234567", ours[1]);
    let details =
        [json!({"overrides": overrides, "lastStatus": "STOPPED"}), json!({"startedBy": mark, "version": 2})];
    let bodies = details.map(|detail| json!({"source": "aws.ecs", "detail": detail}).to_string());
    run(s.queue.send(&bodies));
    expect(&mut s.hints(), &ours);
    s.queue.becomes_empty();
}

#[test]
fn a_backlog_comes_in_few_batches_by_few_requests_each_job_once_a_batch() {
    let Some(s) = stage_hiding(600, |_| Fate::Pass) else { return };
    let ours = jobs(150);
    run(async {
        s.queue.send(&records(&ours)).await;
        s.queue.send(&records(&ours)).await;
    });
    let mut hints = s.hints();
    let batch = run(within(PATIENCE, hints.next())).unwrap().unwrap();
    let distinct: BTreeSet<&Hint> = batch.iter().collect();
    assert_eq!(distinct.len(), batch.len());
    assert_eq!(batch.len(), 150, "not all in one batch");
    s.queue.becomes_empty();
    let (polls, deletions) =
        (s.proxy.seen(calls("ReceiveMessage")).len(), s.proxy.seen(calls("DeleteMessageBatch")).len());
    assert!(deletions == 30 && polls <= 40, "{polls} polls and {deletions} deletions");
}

#[test]
fn a_poll_that_fails_is_said_once_and_the_hints_come_later() {
    for (fates, errors) in [
        (vec![Fate::Answer(503, "ServiceUnavailable"); 2], 2),
        (vec![Fate::Answer(400, "AWS.SimpleQueueService.NonExistentQueue")], 1),
        (vec![Fate::Cut, Fate::Stall], 2),
    ] {
        let what = format!("{fates:?}");
        let Some(s) = stage(script(calls("ReceiveMessage"), fates)) else { return };
        let ours = jobs(3);
        run(s.queue.send(&records(&ours)));
        assert_eq!(expect(&mut s.hints(), &ours), errors, "{what}");
        s.queue.becomes_empty();
    }
}

#[test]
fn messages_whose_answer_was_lost_or_whose_deletion_failed_come_again() {
    for (action, fate) in [
        ("ReceiveMessage", Fate::CutAfter),
        ("ReceiveMessage", Fate::CutBody(20)),
        ("DeleteMessageBatch", Fate::Answer(400, "InvalidParameterValue")),
        ("DeleteMessageBatch", Fate::Stall),
        ("DeleteMessageBatch", Fate::CutAfter),
    ] {
        let what = format!("{action} {fate:?}");
        let Some(s) = stage(script(calls(action), [fate])) else { return };
        let ours = jobs(3);
        run(s.queue.send(&records(&ours)));
        let mut hints = s.hints();
        expect(&mut hints, &ours);
        let deadline = Instant::now() + PATIENCE;
        while run(s.queue.messages()) > 0 {
            assert!(Instant::now() < deadline, "{what}: messages stay");
            // Repetitions are hints again.
            run(within(Duration::from_millis(200), hints.next()));
        }
    }
}

#[test]
fn what_nobody_asked_for_is_left_to_the_next_reader() {
    let Some(s) = stage(|_| Fate::Pass) else { return };
    let ours = jobs(3);
    run(s.queue.send(&records(&ours)));
    let hints = s.hints();
    run(backends::conformance::wait::eventually("nothing was received", async || {
        !s.proxy.seen(calls("ReceiveMessage")).is_empty()
    }));
    drop(hints);
    assert_eq!(s.proxy.seen(calls("DeleteMessageBatch")).len(), 0);
    expect(&mut s.hints(), &ours);
    s.queue.becomes_empty();
}

#[test]
fn waits_that_are_cancelled_again_and_again_lose_nothing() {
    let Some(s) = stage(|_| Fate::Pass) else { return };
    let ours = jobs(40);
    let mut hints = s.hints();
    let mut missing: BTreeSet<&JobId> = ours.iter().collect();
    run(async {
        for (n, job_id) in ours.iter().enumerate() {
            s.queue.send(&[record(job_id)]).await;
            let patience = Duration::from_micros(300 * (n as u64 % 7));
            for hint in within(patience, hints.next()).await.unwrap_or(Ok(Vec::new())).unwrap() {
                if let Hint::Job(job_id) = hint {
                    missing.remove(&job_id);
                }
            }
        }
    });
    let rest: Vec<JobId> = missing.into_iter().cloned().collect();
    expect(&mut hints, &rest);
    s.queue.becomes_empty();
}
