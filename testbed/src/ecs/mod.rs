//! A double of ECS on Fargate: an HTTP server that speaks the wire protocol of
//! `AmazonEC2ContainerServiceV20141113`, so that an unmodified client is tested, with the traps that no
//! emulator has and that cannot be called for on AWS.
//!
//! Every behaviour has a comment that names its source. None of it was compared with a real account. Where
//! the source gives a rule and no words, the message says so ("words: ours"), and clients must not match it.
//!
//! # Imitated
//! * RunTask, DescribeTasks, ListTasks, StopTask; Register-, Describe- and DeregisterTaskDefinition. Any
//!   other action is an UnknownOperationException.
//! * Client tokens: per cluster, replayed with `failures[]`, ConflictException with `resourceIds`, forgotten
//!   an hour after the last task stopped and after 24 h.
//! * Throttles: the buckets of modify, read, RunTask on Fargate and launched tasks (On-Demand and Spot
//!   apart); capacity and vCPU refusals in `failures[]` with AWS's words.
//! * Reads that lag behind RunTask and lists that lag behind StopTask, MISSING, the memory of one hour, tags
//!   lost at StopTask, `startedBy` as the only filter, pages of 100.
//! * The checks that AWS documents for these actions.
//! * The life of a task with all statuses and timestamps, `version`, stop codes and reasons, exit codes,
//!   SIGTERM and SIGKILL, Spot interruptions.
//! * The task metadata endpoint v4, on the same port.
//! * "ECS Task State Change" events to a function or an SQS queue, doubled, lost and out of order on request.
//!
//! # Not imitated
//! * IAM, signatures (none is looked at), TLS, Regions and accounts other than the one of the options.
//! * EC2, EXTERNAL, managed instances, services, container instances, Exec, EBS, secrets, health checks, real
//!   images and networks. A task has one process, that of its first essential container; other containers are
//!   listed and never run.
//! * The isolation of Fargate: workers run as the user of the double, in a session of their own.
//! * Cluster actions, tags after the launch, the order of ListTasks, failures that AWS returns as a number
//!   once they are older than an hour, and DescribeTasks that shows an older state of a task.
//! * `base` of a strategy with more than one task per call: all tasks of a call have one capacity provider.
//!
//! # Use
//! ```no_run
//! use testbed::ecs::{EcsDouble, Execution, Options, Worker};
//!
//! let worker = Worker { command: vec!["/usr/bin/true".to_owned()], ..Worker::default() };
//! let options = Options { execution: Execution::Process(worker), ..Options::default() };
//! let double = EcsDouble::start(options)?;
//! println!("AWS_ENDPOINT_URL_ECS={}", double.url());
//! # Ok::<(), std::io::Error>(())
//! ```
//! As a program: `ecs-double --worker <executable>`.
//!
//! # The double's own endpoints
//! * `POST /_double/faults` `{"faults": [{"fault": "NoCapacity", "times": 3, "started_by": "job-1"}]}`, with
//!   `"clear": true` to drop what waits; see [`faults::Fault`].
//! * `GET /_double/state`: calls, executions by token, tokens, tasks (`?tasks=false` leaves these out).
//! * `POST /_double/advance` `{"seconds": 3600}`: moves the virtual clock.

mod admin;
mod bucket;
mod clock;
mod definitions;
pub mod events;
pub mod faults;
mod life;
mod metadata;
pub mod options;
mod process;
mod reads;
mod request;
mod run_task;
mod server;
mod sizes;
mod task;
mod tokens;
mod wire;
mod world;

pub use events::Sink;
pub use options::{Execution, Lag, Options, Phases, Post, Quotas, Rate, Worker, definition};

use process::Room;
use serde_json::Value;
use server::Shared;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot};
use world::World;

/// A running double; dropping it ends it and kills its workers.
#[derive(Debug)]
pub struct EcsDouble {
    address: SocketAddr,
    shared: Arc<Shared>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl EcsDouble {
    /// Starts the server on a thread of its own.
    ///
    /// # Errors
    /// The address is taken, the folder cannot be made, or a task definition of the options is refused.
    pub fn start(options: Options) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(options.listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (exits, ended) = mpsc::unbounded_channel();
        let definitions = options.definitions.clone();
        let mut world = World::new(options, Room::new(address)?, exits);
        for definition in &definitions {
            world.register(definition).map_err(|refused| io::Error::other(refused.message))?;
        }
        let shared = Arc::new(Shared::new(world));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let (end, ending) = oneshot::channel();
        let served = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("ecs-double".to_owned()).spawn(move || {
            runtime.block_on(async {
                let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
                tokio::spawn(server::keep_time(Arc::clone(&served), ended));
                tokio::select! {
                    () = server::serve(listener, served) => {}
                    _ = ending => {}
                }
            });
        })?;
        Ok(Self { address, shared, end: Some(end), thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The endpoint for `AWS_ENDPOINT_URL_ECS`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What `GET /_double/state` answers.
    #[must_use]
    pub fn state(&self) -> Value {
        self.shared.world().state(true)
    }

    /// The same without the tasks.
    #[must_use]
    pub fn counters(&self) -> Value {
        self.shared.world().state(false)
    }

    /// Launches tasks beside the wire and the throttles, for a benchmark that begins with thousands of them.
    ///
    /// # Errors
    /// What RunTask answers in place of tasks.
    pub fn launch_unthrottled(&self, request: &Value) -> Result<(), String> {
        let answer = self.shared.world().launch_unthrottled(request);
        self.shared.tick();
        answer
    }
}

impl Drop for EcsDouble {
    fn drop(&mut self) {
        if let Some(end) = self.end.take() {
            let _ = end.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        self.shared.world().end();
    }
}
