//! What stands in for ten thousand workers: for each container that the double starts, a task of this process that
//! passes the gate and reports as a worker does, through the same port.

use super::compressed::CompressedClock;
use crate::pump::Pattern;
use backends::records::{StartAnswer, WorkerRecords};
use backends::{Artifacts, Clock, Content, Hint, HintSender};
use contract::{Attempt, JobId, LaunchToken, Manifest, ManifestEntry, Outcome, Report, TaskId};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// A worker reports before its container ends, by as much as it takes the process to exit.
const BEFORE_THE_END: Duration = Duration::from_secs(1);

/// All of them.
#[derive(Clone)]
pub(super) struct Workers {
    pub(super) records: WorkerRecords,
    pub(super) artifacts: Arc<dyn Artifacts>,
    pub(super) clock: Arc<CompressedClock>,
    /// How long a container runs.
    pub(super) lasts: Duration,
}

/// Who a container is.
struct Identity {
    job_id: JobId,
    token: LaunchToken,
    task: TaskId,
}

impl Workers {
    /// Begins with each container, and passes the events on that the rule of the installation lets through.
    pub(super) async fn run(self, mut events: mpsc::UnboundedReceiver<Value>, hints: HintSender) {
        let rule = include_str!("../../../../infra/terraform/filters/tasks.json");
        let rule = serde_json::from_str(rule).map_err(|e| e.to_string()).and_then(|rule| Pattern::new(&rule));
        let rule = rule.expect("a pattern");
        while let Some(event) = events.recv().await {
            let Some(identity) = Identity::of(&event["detail"]) else { continue };
            if rule.matches(&event) {
                hints.send(Hint::Job(identity.job_id.clone()));
            }
            // The container is started, the task is not yet RUNNING.
            if event["detail"]["lastStatus"] == "ACTIVATING" {
                tokio::spawn(self.clone().work(identity));
            }
        }
    }

    async fn work(self, who: Identity) {
        let Identity { job_id, token, task } = who;
        let started_at = self.clock.now();
        let mut report =
            Report { started_at, heartbeat_at: started_at, outcome: None, phases: Default::default() };
        let started = self.records.start(&job_id, &token, &task, &report).await;
        let Ok(StartAnswer::Started(claim)) = started else {
            crate::say(&format!("{job_id}: the gate says {started:?}"));
            return;
        };
        tokio::time::sleep(self.lasts.saturating_sub(BEFORE_THE_END)).await;
        let number = claim.parse().map_or(1, |claim| claim.number);
        let key = format!("{}/{}", Attempt::folder(&job_id, number, &token), contract::attempt::RESULT_FILE);
        let stored = match self.artifacts.put(&key, Content::Bytes(br#"{"echo":"Hello, World!"}"#)).await {
            Ok(stored) => stored,
            Err(error) => return crate::say(&format!("{job_id}: {error}")),
        };
        let path = contract::attempt::RESULT_FILE.to_owned();
        let files = vec![ManifestEntry { path, size: stored.size, sha256: stored.sha256 }];
        let finished_at = self.clock.now();
        report.heartbeat_at = finished_at;
        report.outcome = Some(Outcome { finished_at, failure: None, manifest: Manifest { files } });
        if let Err(error) = self.records.finish(&job_id, &token, &task, &report).await {
            crate::say(&format!("{job_id}: {error}"));
        }
    }
}

impl Identity {
    fn of(detail: &Value) -> Option<Self> {
        let environment = detail["overrides"]["containerOverrides"][0]["environment"].as_array()?;
        let value = |name: &str| environment.iter().find(|pair| pair["name"] == name)?["value"].as_str();
        Some(Self {
            job_id: JobId::new(value("AGENT_RUNNER_JOB_ID")?).ok()?,
            token: LaunchToken::new(value("AGENT_RUNNER_LAUNCH_TOKEN")?).ok()?,
            task: TaskId::new(detail["taskArn"].as_str()?).ok()?,
        })
    }
}
