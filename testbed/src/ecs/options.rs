//! How the double is set up.

use super::events::Sink;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Settings of a double. The default is AWS at its documented default rates, in real time, with one cluster
/// `agent-runner`, one task definition `worker:1` with a container `worker`, and simulated tasks.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The Region of all ARNs.
    pub region: String,
    /// The account of all ARNs.
    pub account: String,
    /// The names of the clusters; each has the capacity providers FARGATE and FARGATE_SPOT.
    pub clusters: Vec<String>,
    /// Task definitions that are there from the start, in the shape of a RegisterTaskDefinition request.
    pub definitions: Vec<Value>,
    /// The subnets that exist; when absent, every id that begins with `subnet-`.
    pub subnets: Option<Vec<String>>,
    /// What a task does.
    pub execution: Execution,
    /// How long the phases of a task last.
    pub phases: Phases,
    /// Throttles and quotas.
    pub quotas: Quotas,
    /// How late reads are.
    pub lag: Lag,
    /// How often virtual time is faster than real time; 0: it moves by `/_double/advance` only.
    pub time_scale: u32,
    /// How long RunTask takes to answer, in virtual time. 1.5 to 2.1 s were seen with count 10
    /// (gchq/sleeper issue 904); 0 by default.
    pub run_task_latency: Duration,
    /// ListTasks gives pages that are shorter than asked for: "it's possible the number of results to be
    /// fewer than maxResults" (ListTasks, API reference).
    pub short_pages: bool,
    /// Where "ECS Task State Change" events go.
    pub sinks: Vec<Sink>,
    /// What happens to events on their way.
    pub post: Post,
    /// Of all random choices.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: ([127, 0, 0, 1], 0).into(),
            region: "us-east-1".to_owned(),
            account: "111122223333".to_owned(),
            clusters: vec!["agent-runner".to_owned()],
            definitions: vec![definition("worker", "worker")],
            subnets: None,
            execution: Execution::Simulated { lasts: Duration::from_secs(60), exit_code: 0 },
            phases: Phases::default(),
            quotas: Quotas::default(),
            lag: Lag::default(),
            time_scale: 1,
            run_task_latency: Duration::ZERO,
            short_pages: false,
            sinks: Vec::new(),
            post: Post::default(),
            seed: 1,
        }
    }
}

/// A task definition for Fargate with one container: 0.25 vCPU, 512 MiB.
#[must_use]
pub fn definition(family: &str, container: &str) -> Value {
    json!({
        "family": family,
        "cpu": "256",
        "memory": "512",
        "networkMode": "awsvpc",
        "requiresCompatibilities": ["FARGATE"],
        "taskRoleArn": "arn:aws:iam::111122223333:role/worker",
        "executionRoleArn": "arn:aws:iam::111122223333:role/execution",
        "containerDefinitions": [{"name": container, "image": "worker:latest", "essential": true}],
    })
}

/// What a task does once it is started.
#[derive(Debug, Clone)]
pub enum Execution {
    /// Nothing: it lasts and ends. For benchmarks with many tasks. SIGTERM ends it at once with 143.
    Simulated {
        /// In virtual time.
        lasts: Duration,
        /// The exit code.
        exit_code: i32,
    },
    /// A child process in a session of its own.
    Process(Worker),
}

/// The "image" of every task.
#[derive(Debug, Clone, Default)]
pub struct Worker {
    /// Executable and arguments, as the entry point of the image. The `command` of the override or of the
    /// container definition is appended.
    pub command: Vec<String>,
    /// The environment of the image and of the platform: `PATH`, `AWS_ENDPOINT_URL…`, made-up credentials.
    /// The process gets this, the container definition's environment, the override's, and what Fargate sets;
    /// and nothing of the double's own environment.
    pub env: Vec<(String, String)>,
    /// A file that takes stdout and stderr of all workers; thrown away when absent.
    pub log: Option<PathBuf>,
}

/// How long the phases of a task last, in virtual time.
#[derive(Debug, Clone, Copy)]
pub struct Phases {
    /// PROVISIONING: until the network interface is attached.
    pub provisioning: Duration,
    /// PENDING before the pull starts.
    pub pending: Duration,
    /// The pull.
    pub pull: Duration,
    /// ACTIVATING: the container is started, the task is not yet RUNNING.
    pub activating: Duration,
    /// DEACTIVATING.
    pub deactivating: Duration,
    /// DEPROVISIONING: until the network interface is removed.
    pub deprovisioning: Duration,
}

impl Default for Phases {
    // The first four from the timestamps of AWS's own sample event (Amazon ECS developer guide, "Amazon ECS
    // task state change events"): created 34.4, connected 38.5, pull 52.1 to 55.1, started 58.1. The last
    // from one published record: stoppingAt 10:05:12.975, stoppedAt 10:05:25.421.
    fn default() -> Self {
        Self {
            provisioning: Duration::from_millis(4100),
            pending: Duration::from_millis(13_600),
            pull: Duration::from_secs(3),
            activating: Duration::from_secs(3),
            deactivating: Duration::from_secs(1),
            deprovisioning: Duration::from_millis(11_400),
        }
    }
}

impl Phases {
    /// No phase takes time.
    #[must_use]
    pub fn none() -> Self {
        let zero = Duration::ZERO;
        Self {
            provisioning: zero,
            pending: zero,
            pull: zero,
            activating: zero,
            deactivating: zero,
            deprovisioning: zero,
        }
    }
}

/// A token bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Its size.
    pub burst: u32,
    /// Its refill.
    pub per_second: u32,
}

impl Rate {
    const fn new(burst: u32, per_second: u32) -> Self {
        Self { burst, per_second }
    }
}

/// Throttles and quotas, per account and Region.
#[derive(Debug, Clone, Copy)]
pub struct Quotas {
    /// "Cluster resource modify actions": RunTask and StopTask share it.
    pub modify: Rate,
    /// "Cluster resource read actions": DescribeTasks and ListTasks share it.
    pub read: Rate,
    /// Calls of RunTask on Fargate.
    pub run_task: Rate,
    /// Tasks launched on FARGATE.
    pub launches: Rate,
    /// Tasks launched on FARGATE_SPOT.
    pub spot_launches: Rate,
    /// RegisterTaskDefinition and DeregisterTaskDefinition.
    pub definition_modify: Rate,
    /// DescribeTaskDefinition.
    pub definition_read: Rate,
    /// vCPUs that may run at once on FARGATE (quota L-3032A538); none: no limit. A new account has 6, and it
    /// grows with use (AWS General Reference, Amazon ECS endpoints and quotas).
    pub vcpus: Option<u32>,
    /// The same on FARGATE_SPOT (L-36FBB829).
    pub spot_vcpus: Option<u32>,
}

impl Default for Quotas {
    // Rates: Amazon ECS API reference, "Request throttling for the Amazon ECS API", and Amazon ECS developer
    // guide, "AWS Fargate throttling quotas".
    fn default() -> Self {
        Self {
            modify: Rate::new(100, 40),
            read: Rate::new(100, 20),
            run_task: Rate::new(20, 20),
            launches: Rate::new(100, 20),
            spot_launches: Rate::new(100, 20),
            definition_modify: Rate::new(20, 1),
            definition_read: Rate::new(50, 20),
            vcpus: None,
            spot_vcpus: None,
        }
    }
}

impl Quotas {
    /// No throttle and no quota.
    #[must_use]
    pub fn none() -> Self {
        let rate = Rate::new(1_000_000, 1_000_000);
        Self {
            modify: rate,
            read: rate,
            run_task: rate,
            launches: rate,
            spot_launches: rate,
            definition_modify: rate,
            definition_read: rate,
            vcpus: None,
            spot_vcpus: None,
        }
    }
}

/// How long after RunTask a task is not yet seen, in virtual time. "The Amazon ECS API follows an eventual
/// consistency model" (RunTask, API reference); AWS names no figure. dagster waits 51 s before it believes in
/// MISSING (dagster issue 4448).
#[derive(Debug, Clone, Copy)]
pub struct Lag {
    /// In ListTasks; a task that is to stop is listed as RUNNING as long.
    pub list: Duration,
    /// In DescribeTasks, which says MISSING, and in StopTask, which does not find the task.
    pub describe: Duration,
}

impl Default for Lag {
    fn default() -> Self {
        Self { list: Duration::from_secs(2), describe: Duration::from_secs(1) }
    }
}

/// What happens to events on their way: "Durable" delivery is at least once, and no order is promised
/// (EventBridge events reference, Amazon ECS). Losing one is beyond that promise; a hint may still be lost
/// behind it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Post {
    /// One in so many is delivered twice; 0: none.
    pub duplicate_one_in: u64,
    /// One in so many is lost; 0: none.
    pub lose_one_in: u64,
    /// Each is late by a random time up to this, in virtual time, so that they overtake each other.
    pub delay_up_to: Duration,
}
