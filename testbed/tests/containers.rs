//! The system as on AWS with workers in real containers: MiniStack's ECS starts them from the worker's image on a
//! Docker engine. `make test-containers` starts the engine and builds the image. Looked at are, beside the API, the
//! engine, the bucket and the log stream of the container.

use serde_json::{Value, json};
use std::time::{Duration, Instant};
use testbed::aws::containers::{ContainerTask, containers_of};
use testbed::aws::{AwsStack, BUCKET, Options};
use testbed::client::word;
use testbed::judge::Judged;
use testbed::{leave_out, ledger_agent};

/// Names the worker's image; `DOCKER_HOST` names the engine, and `TESTBED_MINISTACK` a MiniStack that can use it.
const IMAGE: &str = "TESTBED_WORKER_IMAGE";
/// A container runs within a second, and a listing every 5 s tells of starts and ends; the rest is for a busy machine.
const SOON: Duration = Duration::from_secs(90);

/// `checksum` is an agent that is in the image only.
const JOB_TYPES: &str = r#"
[job_types.checksum]
command = ["sh", "/app/agents/checksum.sh"]

[job_types.three]
command = ["sh", "-c", "echo to stdout; echo to stderr >&2; exit 3"]

[job_types.endless]
command = ["sh", "-c", "echo it begins; exec sleep 600"]
stop_grace_seconds = 1

[job_types.patient]
command = ["sh", "-c", "[ $AGENT_RUNNER_ATTEMPT = 2 ] || exec sleep 600"]
"#;

/// One of a job's attempts.
struct Attempt {
    /// Where its artifacts are.
    folder: String,
    report: Value,
    /// How it was closed.
    evidence: Value,
}

impl Attempt {
    fn of(stack: &AwsStack, job_id: &str, number: u64) -> Self {
        let mut attempts = stack.attempts().into_iter();
        let attempt = attempts.find(|a| a.job == job_id && a.claim["number"] == number).expect("an attempt");
        let folder = format!("jobs/{job_id}/attempts/{number}-{}", &attempt.token[..8]);
        Self { folder, report: attempt.report, evidence: attempt.closing["evidence"].clone() }
    }

    fn task(&self) -> ContainerTask {
        ContainerTask::new(word(&self.evidence, "task"))
    }
}

fn object(stack: &AwsStack, key: &str) -> String {
    let bytes = stack.account.server.object(BUCKET, key).unwrap_or_else(|| panic!("no object {key}"));
    String::from_utf8(bytes).expect("UTF-8")
}

fn result(stack: &AwsStack, job_id: &str) -> Value {
    serde_json::from_str(&object(stack, &format!("jobs/{job_id}/result.json"))).expect("JSON")
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < end, "waited for {what}");
        // Neither the engine nor a log tells anybody.
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Succeeds in its container, in ECS's words and in the engine's.
fn ended_by_itself(stack: &AwsStack, attempt: &Attempt) {
    let described = attempt.task().described(&stack.account.server);
    assert_eq!(described["lastStatus"], "STOPPED", "{described}");
    assert_eq!(described["stopCode"], "EssentialContainerExited", "{described}");
    assert_eq!(described["containers"][0]["exitCode"], 0, "{described}");
    assert_eq!(attempt.task().inspect()["State"]["ExitCode"], 0, "as the worker says: it has reported");
}

fn echoes(stack: &AwsStack) {
    let client = stack.client();
    let job = client.echo(&json!({"message": "Hello, World!"}));
    let ended = client.ended(&job, SOON);
    assert_eq!((word(&ended, "status"), word(&ended, "reason")), ("SUCCEEDED", "Completed"), "{ended}");
    assert_eq!(result(stack, &job)["payload"], json!({"message": "Hello, World!"}));
    let attempt = Attempt::of(stack, &job, 1);
    assert_eq!(
        object(stack, &format!("{}/result.json", attempt.folder)),
        object(stack, &format!("jobs/{job}/result.json"))
    );
    assert!(
        object(stack, &format!("{}/stdout.log", attempt.folder))
            .starts_with(&format!("echo: job {job}, attempt 1"))
    );
    ended_by_itself(stack, &attempt);
}

fn sums(stack: &AwsStack) {
    let client = stack.client();
    let job = client.submit(&json!({"job_type": "checksum", "payload": {}}));
    let ended = client.ended(&job, SOON);
    assert_eq!(word(&ended, "status"), "SUCCEEDED", "{ended}");
    // Of "{}".
    let sum = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
    assert_eq!(result(stack, &job), json!({"sha256": sum, "bytes": 2}));
    let attempt = Attempt::of(stack, &job, 1);
    let made = object(stack, &format!("{}/artifacts/payload.sha256", attempt.folder));
    assert_eq!(made, format!("{sum}  payload.json\n"));
    ended_by_itself(stack, &attempt);
}

fn fails(stack: &AwsStack) {
    let client = stack.client();
    let job = client.submit(&json!({"job_type": "three", "payload": {}, "max_attempts": 1}));
    let ended = client.ended(&job, SOON);
    assert_eq!((word(&ended, "status"), word(&ended, "reason")), ("FAILED", "NonZeroExitCode"), "{ended}");
    let attempt = Attempt::of(stack, &job, 1);
    assert_eq!(attempt.report["outcome"]["failure"]["exit_code"], 3, "{}", attempt.report);
    assert_eq!(object(stack, &format!("{}/stdout.log", attempt.folder)), "to stdout\n");
    assert_eq!(object(stack, &format!("{}/stderr.log", attempt.folder)), "to stderr\n");
    let plain = stack.account.server.object(BUCKET, &format!("jobs/{job}/result.json"));
    assert_eq!(plain, None, "a job that failed has no result");
    ended_by_itself(stack, &attempt);
}

fn is_cancelled(stack: &AwsStack) {
    let client = stack.client();
    let job = client.submit(&json!({"job_type": "endless", "payload": {}}));
    client.status(&job, "RUNNING", SOON);
    until("its log", || client.get(&format!("/jobs/{job}/logs")).text.contains("it begins"));
    assert_eq!(client.post(&format!("/jobs/{job}/cancel"), &Value::Null).status, 200);
    let ended = client.ended(&job, SOON);
    assert_eq!((word(&ended, "status"), word(&ended, "reason")), ("FAILED", "Cancelled"), "{ended}");
    let attempt = Attempt::of(stack, &job, 1);
    assert_eq!(word(&attempt.evidence, "stop_code"), "UserInitiated", "{}", attempt.evidence);
    assert_eq!(word(&attempt.evidence, "stopped_reason"), "stopped by agent-runner", "{}", attempt.evidence);
    // MiniStack says 0 before the container has ended, and removes it then.
    assert_eq!(attempt.evidence["exit_code"], 0, "{}", attempt.evidence);
    until("the end of the container", || attempt.task().inspect().is_null());
    // The worker was told to end and not only killed: it had the time to look at its gate.
    let shipped = attempt.task().shipped(&stack.account.server);
    assert!(shipped.contains("sealed"), "{shipped}");
    assert!(client.get(&format!("/jobs/{job}/logs")).text.contains("it begins"));
}

fn is_killed_and_goes_on_in_another_container(stack: &AwsStack) {
    let client = stack.client();
    let backoff = json!({"initial_seconds": 1, "factor": 1, "max_seconds": 1});
    let job = client.submit(&json!({"job_type": "patient", "payload": {}, "backoff": backoff}));
    client.status(&job, "RUNNING", SOON);
    let first = stack.attempts().into_iter().find(|attempt| attempt.job == job).expect("an attempt");
    let running = word(&first.gate, "task").to_owned();
    ContainerTask::new(&running).kill();
    let ended = client.ended(&job, SOON);
    assert_eq!((word(&ended, "status"), &ended["attempt"]), ("SUCCEEDED", &json!(2)), "{ended}");
    let killed = Attempt::of(stack, &job, 1);
    assert_eq!((word(&killed.evidence, "task"), &killed.evidence["exit_code"]), (&*running, &json!(137)));
    assert_eq!(word(&killed.evidence, "stop_code"), "EssentialContainerExited");
    let second = Attempt::of(stack, &job, 2);
    assert_ne!(word(&second.evidence, "task"), running);
    ended_by_itself(stack, &second);
}

#[test]
fn workers_in_containers_leave_exit_code_logs_and_result_as_on_fargate() {
    let Ok(image) = std::env::var(IMAGE) else {
        return leave_out("workers in containers", "make test-containers builds their image");
    };
    let options = Options {
        job_types: JOB_TYPES.to_owned(),
        image: Some(image.clone()),
        // No events tell of tasks.
        resync_seconds: 5,
        ..Options::with_agent(ledger_agent!())
    };
    let stack = match AwsStack::start(options) {
        Ok(stack) => stack,
        Err(why) => return leave_out("workers in containers", &why),
    };
    let stack = &stack;
    let scenes = [echoes, sums, fails, is_cancelled, is_killed_and_goes_on_in_another_container];
    std::thread::scope(|scope| {
        let playing = scenes.map(|scene| scope.spawn(move || scene(stack)));
        // Each of them, so that one that fails does not hide the others.
        let ended = playing.map(|scene| scene.join().is_ok());
        assert_eq!(ended, [true; 5]);
    });
    // One call and one container for each attempt; that of the cancelled one is gone.
    assert_eq!(stack.gates.ecs.traffic().requests["RunTask"], 6);
    assert_eq!(containers_of(&image, false), [""; 0], "nothing runs any more");
    assert_eq!(containers_of(&image, true).len(), 5);
    assert_eq!(stack.metrics(0).metric("agent_runner_panics_total"), 0.0);
}
