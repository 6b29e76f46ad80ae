//! What a resync of very many running tasks takes of the read quota, in real time, against the double with the
//! quotas of AWS: once as after a restart, when every task has to be described, and once more later, when they only
//! have to be listed.

use super::launches::{calls, of_tasks};
use crate::bench::Failed;
use crate::ecs::{EcsDouble, Execution, Lag, Options, Phases};
use backends::ChannelHints;
use contract::{JobId, LaunchToken};
use reconciler::tasks::ecs::EcsTasks;
use reconciler::tasks::{Observed, Tasks};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// What was measured.
#[derive(Debug, Clone, Copy)]
pub struct Listing {
    /// Seconds of the first listing.
    pub first: f64,
    /// Calls that it took.
    pub first_calls: f64,
    /// Seconds of a later one.
    pub later: f64,
    /// Calls that it took.
    pub later_calls: f64,
    /// Calls that were throttled.
    pub throttled: f64,
}

/// How old a listing may be; what it takes does not depend on it.
const SNAPSHOT: Duration = Duration::from_secs(1);

/// Measures with so many tasks.
///
/// # Errors
/// Something did not work: a task is missing in a listing.
pub fn measure(tasks: usize) -> Result<Listing, Failed> {
    let double = EcsDouble::start(Options {
        execution: Execution::Simulated { lasts: Duration::from_secs(36_000), exit_code: 0 },
        phases: Phases::none(),
        lag: Lag { list: Duration::ZERO, describe: Duration::ZERO },
        ..Options::default()
    })?;
    for n in 0..tasks {
        double.launch_unthrottled(&request(n)?).map_err(Failed::new)?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(listings(&double, tasks))
}

fn request(n: usize) -> Result<Value, Failed> {
    let job_id = JobId::new(format!("job-{n}"))?;
    let token = LaunchToken::from_bits(n as u128);
    let pair = |name: &str, value: &str| json!({"name": name, "value": value});
    let environment =
        [pair("AGENT_RUNNER_JOB_ID", job_id.as_str()), pair("AGENT_RUNNER_LAUNCH_TOKEN", token.as_str())];
    Ok(json!({
        "cluster": "agent-runner", "taskDefinition": "worker:1", "count": 1, "launchType": "FARGATE",
        "startedBy": format!("{job_id}/{}", token.prefix()),
        "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-a"]}},
        "overrides": {"containerOverrides": [{"name": "worker", "environment": environment}]},
    }))
}

async fn listings(double: &EcsDouble, tasks: usize) -> Result<Listing, Failed> {
    let mut options = of_tasks(double.url(), "worker", ChannelHints::new().0);
    options.settings.snapshot = SNAPSHOT;
    let ecs = EcsTasks::open(options).await?;
    let questions = || {
        let state = double.counters();
        let of = |kind| calls(&state, "ListTasks", kind) + calls(&state, "DescribeTasks", kind);
        (of("total"), of("throttled"))
    };
    let mut measured = [(0.0, 0.0); 2];
    for (n, place) in measured.iter_mut().enumerate() {
        if n > 0 {
            // Until what is known is older than a snapshot.
            tokio::time::sleep(SNAPSHOT * 2).await;
        }
        let (before, began) = (questions().0, Instant::now());
        match ecs.list().await {
            Observed::Known(views) if views.len() == tasks => {}
            Observed::Known(views) => return Err(Failed::new(format!("{} of {tasks} tasks", views.len()))),
            Observed::Unknown(why) => return Err(Failed::new(why)),
        }
        *place = (began.elapsed().as_secs_f64(), questions().0 - before);
    }
    let [(first, first_calls), (later, later_calls)] = measured;
    Ok(Listing { first, first_calls, later, later_calls, throttled: questions().1 })
}
