//! Tasks on AWS Fargate, through ECS.
//!
//! * The claim holds the whole request; every repetition sends the same one with the launch token as the client
//!   token, so that ECS answers with the first task. A token that ECS has bound to another request is answered
//!   with a conflict that names the task, which is adopted.
//! * The SDK repeats nothing: whether a call may be repeated is for the launch protocol to say.
//! * Passes are answered from a table ([`table`]) that one listing per [`EcsSettings::snapshot`] keeps up, with
//!   questions about single tasks gathered up to 100 in between. An event only says where to look.
//! * What ECS does not know is asked for again before it is called absent, and the port's grace comes on top.
//! * Our own token buckets stand before those of AWS ([`budget`]); StopTask goes first.
//!
//! A grace of its own for a task cannot be asked for: ECS kills what does not listen to SIGTERM after the
//! `stopTimeout` of the container definition.

mod answer;
mod budget;
mod definitions;
mod price;
mod reads;
mod request;
mod table;
mod view;

use super::{Demand, Launch, LaunchAnswer, Observed, PASSES, TaskView, Tasks};
use answer::{Launched, throttled, unknown_task, words};
use async_trait::async_trait;
use aws_sdk_ecs::Client;
use aws_sdk_ecs::config::retry::RetryConfig;
use backends::HintSender;
use backends::aws::Limits;
use backends::settings::EcsSettings;
use budget::{Bucket, Class};
use contract::attempt::phase;
use contract::desired::Capacity;
use contract::{
    Desired, JobId, JobTypes, LaunchRequest, LaunchToken, Price, Refusal, RefusalKind, Supports, TaskId,
    Timestamp,
};
use definitions::Definitions;
use request::Request;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use table::Table;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use view::Described;

/// Time limits of calls. RunTask was seen to take 2 s (gchq/sleeper issue 904); what takes five times as long will
/// not answer.
pub const LIMITS: Limits = Limits { attempt: Duration::from_secs(10), operation: Duration::from_secs(10) };

/// Attempts at once that have no task yet, for each launch a second. A call of RunTask takes 1.5 to 2.1 s
/// (gchq/sleeper issue 904), so that at 20 a second some 40 are under way, and a part of a second's work waits for its
/// turn.
const LAUNCHING_SECONDS: f64 = 2.4;
/// Passes beside those that launch: for jobs that end.
const OTHER_PASSES: usize = 16;

/// What tasks on ECS are made with.
pub struct EcsOptions {
    /// Region, credentials, endpoint and time limits of the client.
    pub client: aws_sdk_ecs::config::Builder,
    /// The cluster's name or ARN.
    pub cluster: String,
    /// Where and how tasks run.
    pub settings: EcsSettings,
    /// For job types with a task definition of their own.
    pub job_types: Arc<JobTypes>,
    /// Told of jobs whose task was found to have ended.
    pub hints: HintSender,
}

/// Why tasks on ECS cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("the task definition {definition}: {why}")]
pub struct EcsError {
    /// The definition, with its revision.
    pub definition: String,
    /// What is wrong with it, or with the call.
    pub why: String,
}

/// Tasks on ECS. Dropping it ends its questions, not its tasks.
pub struct EcsTasks {
    inner: Arc<Inner>,
    asking: JoinHandle<()>,
}

struct Inner {
    client: Client,
    cluster: String,
    snapshot: Duration,
    definitions: Definitions,
    hints: HintSender,
    table: Mutex<Table>,
    /// Attempts that may wait for their task at once.
    launching: u32,
    run_task: Bucket,
    modify: Bucket,
    read: Bucket,
    /// Held while a listing is under way, so that those who wait for one share it.
    listing: tokio::sync::Mutex<()>,
    /// There is somebody to ask.
    ask: Notify,
}

impl EcsTasks {
    /// Reads the task definitions. To be called within a tokio runtime.
    ///
    /// # Errors
    /// [`EcsError`]: a definition cannot be read or has no such container.
    pub async fn open(options: EcsOptions) -> Result<Self, EcsError> {
        let config = options.client.clone().retry_config(RetryConfig::disabled()).build();
        let client = Client::from_conf(config);
        let definitions = Definitions::read(&client, &options).await?;
        let EcsOptions { cluster, settings, hints, .. } = options;
        let inner = Arc::new(Inner {
            client,
            cluster,
            snapshot: settings.snapshot,
            definitions,
            hints,
            table: Mutex::default(),
            launching: (f64::from(settings.run_task_per_second) * LAUNCHING_SECONDS).ceil() as u32,
            run_task: Bucket::new(settings.run_task_per_second),
            modify: Bucket::new(settings.modify_per_second),
            read: Bucket::new(settings.reads_per_second),
            listing: tokio::sync::Mutex::default(),
            ask: Notify::new(),
        });
        let asking = tokio::spawn(reads::keep_asking(inner.clone()));
        Ok(Self { inner, asking })
    }
}

impl Drop for EcsTasks {
    fn drop(&mut self) {
        self.asking.abort();
    }
}

impl Inner {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn launch(&self, launch: &Launch) -> LaunchAnswer {
        let refused =
            |message: String| LaunchAnswer::Refused(Refusal { kind: RefusalKind::Misconfigured, message });
        let Some(request) = Request::read(&launch.request) else {
            return refused("the claim was made for another task runtime than ECS".into());
        };
        if request.cluster != self.cluster {
            return refused(format!("the claim was made for the cluster {}", request.cluster));
        }
        let call = request.call(&launch.job_id, &launch.token);
        self.run_task.take(Class::Second).await;
        self.modify.take(Class::Second).await;
        let answer = match call.send_with(&self.client).await {
            Ok(output) => answer::accepted(output),
            Err(error) => answer::refused(&error),
        };
        self.remember(launch, answer)
    }

    fn remember(&self, launch: &Launch, answer: Launched) -> LaunchAnswer {
        match answer {
            Launched::Task(task) => match Described::of(&task) {
                Some(described) => {
                    let id = described.task.clone();
                    let created = described.phases.get(phase::CREATED).copied();
                    let mut table = self.table();
                    table.launched(&launch.job_id, &launch.token, &id, created);
                    if described.of.is_none() {
                        // A repetition's answer is short: have it described.
                        table.ask.insert(id.clone());
                        self.ask.notify_one();
                    }
                    LaunchAnswer::Launched(id)
                }
                None => {
                    LaunchAnswer::Uncertain("RunTask was answered with a task without a usable ARN".into())
                }
            },
            Launched::Adopt(arn) => match TaskId::new(arn) {
                Ok(task) => {
                    tracing::warn!(job_id = %launch.job_id, token = launch.token.prefix(),
                        "the launch token is bound to a task of another request; it is adopted");
                    self.table().launched(&launch.job_id, &launch.token, &task, None);
                    LaunchAnswer::Launched(task)
                }
                Err(error) => LaunchAnswer::Uncertain(format!("a conflict names a task, but {error}")),
            },
            Launched::Refused(refusal) => LaunchAnswer::Refused(refusal),
            Launched::Throttled(why) => {
                self.run_task.throttled();
                self.modify.throttled();
                LaunchAnswer::Uncertain(why)
            }
            Launched::Uncertain(why) => LaunchAnswer::Uncertain(why),
        }
    }

    async fn stop(&self, task: &TaskId) -> Result<(), String> {
        self.modify.take(Class::First).await;
        let call = self.client.stop_task().cluster(&self.cluster).task(task.as_str());
        let answer = call.reason("stopped by agent-runner").send().await;
        match answer {
            Ok(_) => {}
            // Gone, or too young to be seen: whoever wants it stopped looks again and asks again.
            Err(error) if unknown_task(&error) => {}
            Err(error) => {
                if throttled(&error) {
                    self.modify.throttled();
                }
                return Err(words(&error));
            }
        }
        self.table().stopping(task);
        self.ask.notify_one();
        Ok(())
    }
}

#[async_trait]
impl Tasks for EcsTasks {
    fn supports(&self) -> Supports {
        Supports { spot: true, cost: true }
    }

    fn request(&self, desired: &Desired) -> LaunchRequest {
        self.inner.definitions.request(desired).stored()
    }

    fn price(&self, request: &LaunchRequest) -> Option<Price> {
        Request::read(request).map(|request| request.price)
    }

    fn demand(&self, request: &LaunchRequest) -> Option<Demand> {
        let request = Request::read(request)?;
        let size = request.resources.map(|size| (size.cpu, size.memory_mib));
        let (cpu, memory) = size.or_else(|| self.inner.definitions.size(&request.task_definition))?;
        Some(Demand { capacity: if request.spot { Capacity::Spot } else { Capacity::OnDemand }, cpu, memory })
    }

    fn phases(&self, task: &TaskId) -> BTreeMap<String, Timestamp> {
        self.inner.table().phases(task)
    }

    async fn launch(&self, launch: &Launch) -> LaunchAnswer {
        self.inner.launch(launch).await
    }

    async fn observe(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        started: Option<&TaskId>,
    ) -> Observed<Vec<TaskView>> {
        match self.inner.observe(job_id, token, started).await {
            Ok(views) => Observed::Known(views),
            Err(why) => Observed::Unknown(why),
        }
    }

    fn absence_is_proof(&self) -> bool {
        false
    }

    async fn list(&self) -> Observed<Vec<TaskView>> {
        match self.inner.all().await {
            Ok(views) => Observed::Known(views),
            Err(why) => Observed::Unknown(why),
        }
    }

    async fn stop(&self, task: &TaskId, _grace: Duration) -> Result<(), String> {
        self.inner.stop(task).await
    }

    /// No more jobs get an attempt than can be launched soon. Otherwise every pass of the loop would wait for the
    /// launch quota, and those over jobs that have ended behind them.
    fn slots(&self) -> Option<u32> {
        Some(
            u32::try_from(self.inner.table().open()).unwrap_or(u32::MAX).saturating_add(self.inner.launching),
        )
    }

    fn passes(&self) -> usize {
        (self.inner.launching as usize + OTHER_PASSES).max(PASSES)
    }

    /// A look at a job costs two read units of DynamoDB; with 1,000 tasks and a resync every 30 s that would be $21 a
    /// month more than their jobs.
    fn tells(&self) -> bool {
        true
    }

    fn explains_stops(&self) -> bool {
        true
    }

    fn heard_of(&self, job_id: &JobId) {
        if self.inner.table().heard_of(job_id) {
            self.inner.ask.notify_one();
        }
    }

    async fn forget(&self, token: &LaunchToken) {
        self.inner.table().forget(token);
    }
}
