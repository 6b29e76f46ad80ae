//! The worker's environment, parsed into types; every mistake is reported.

use backends::Durability;
use backends::settings::{ArtifactsAt, Built, RecordsAt, without_password};
use contract::{JobId, LaunchToken, TaskId, Timestamp};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// Seconds between heartbeats. While a task runs as a process its lock tells that it lives, so the
/// heartbeat only has to notice a sealed gate; each costs the store a write.
const HEARTBEAT_SECONDS: u64 = 10;
/// How long an outcome is offered to a store that does not take it. The work is done and cannot be done
/// again for free; ten minutes outlast the restart of a database and most full disks.
const REPORT_PATIENCE_SECONDS: u64 = 600;
/// How long files are offered. Shorter: a failure to store is itself an outcome, and the job is retried.
const ARTIFACTS_PATIENCE_SECONDS: u64 = 60;
/// How much later than `attempt_timeout_seconds` the worker stops the agent by itself. The reconciler does
/// it first, and seals the attempt; this guard is for an orchestrator that is away.
const GUARD_SECONDS: u64 = 30;
/// How often a running agent's logs are shipped. Whoever follows a log waits this long for a line; on S3 each
/// piece costs $0.000005, so an agent that never stops talking costs $0.009 an hour at this pace.
const LOG_SHIPPING_SECONDS: u64 = 2;

/// What the worker was told.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) job_id: JobId,
    pub(crate) token: LaunchToken,
    pub(crate) task: TaskId,
    pub(crate) task_folder: PathBuf,
    pub(crate) records: RecordsAt,
    pub(crate) artifacts: ArtifactsAt,
    pub(crate) durability: Durability,
    pub(crate) heartbeat: Duration,
    pub(crate) report_patience: Duration,
    pub(crate) artifacts_patience: Duration,
    pub(crate) guard: Duration,
    /// Between two pieces of a running agent's logs; `None`: they are stored at the end only.
    pub(crate) log_shipping: Option<Duration>,
    /// Our stdout is a socket, and whoever launched us carries reports to the store.
    pub(crate) reports_to_stdout: bool,
    /// Launch phases that the platform told.
    pub(crate) phases: BTreeMap<String, Timestamp>,
}

impl Settings {
    /// Reads the variables through `get`.
    ///
    /// # Errors
    /// One sentence per mistake.
    pub(crate) fn read(get: impl Fn(&str) -> Option<OsString>) -> Result<Self, Vec<String>> {
        let mut read = Reader { get, mistakes: Vec::new() };
        let job_id = read.needed("AGENT_RUNNER_JOB_ID", |text| JobId::new(text));
        let token = read.needed("AGENT_RUNNER_LAUNCH_TOKEN", |text| LaunchToken::new(text));
        let task = read.needed("AGENT_RUNNER_TASK_ID", |text| TaskId::new(text));
        let task_folder = read.needed("AGENT_RUNNER_TASK_FOLDER", |text| {
            let path = PathBuf::from(text);
            if path.is_absolute() { Ok(path) } else { Err("an absolute path is needed") }
        });
        let built = Built::this();
        let records = read.needed("AGENT_RUNNER_RECORDS", |text| RecordsAt::parse(text, built));
        let artifacts = read.needed("AGENT_RUNNER_ARTIFACTS", |text| ArtifactsAt::parse(text, built));
        let durability = read.maybe("AGENT_RUNNER_DURABILITY", |text| text.parse());
        let heartbeat = read.seconds("AGENT_RUNNER_HEARTBEAT_SECONDS", 1, HEARTBEAT_SECONDS);
        let report_patience =
            read.seconds("AGENT_RUNNER_REPORT_PATIENCE_SECONDS", 0, REPORT_PATIENCE_SECONDS);
        let artifacts_patience =
            read.seconds("AGENT_RUNNER_ARTIFACTS_PATIENCE_SECONDS", 0, ARTIFACTS_PATIENCE_SECONDS);
        let guard = read.seconds("AGENT_RUNNER_GUARD_SECONDS", 0, GUARD_SECONDS);
        let log_shipping = read.seconds("AGENT_RUNNER_LOG_SHIPPING_SECONDS", 0, LOG_SHIPPING_SECONDS);
        let reports = read.maybe("AGENT_RUNNER_REPORTS", |text| match text {
            "stdout" => Ok(()),
            _ => Err("only stdout is allowed"),
        });
        match (job_id, token, task, task_folder, records, artifacts) {
            (Some(job_id), Some(token), Some(task), Some(task_folder), Some(records), Some(artifacts))
                if read.mistakes.is_empty() =>
            {
                Ok(Self {
                    job_id,
                    token,
                    task,
                    task_folder,
                    records,
                    artifacts,
                    durability: durability.unwrap_or_default(),
                    heartbeat,
                    report_patience,
                    artifacts_patience,
                    guard,
                    phases: BTreeMap::new(),
                    log_shipping: Some(log_shipping).filter(|pause| !pause.is_zero()),
                    reports_to_stdout: reports.is_some(),
                })
            }
            _ => Err(read.mistakes),
        }
    }

    /// Whether a process of this machine executes the task, with a lock file as its stdin.
    pub(crate) fn has_lock(&self) -> bool {
        self.task.as_str().starts_with("process:")
    }
}

pub(crate) struct Reader<G> {
    pub(crate) get: G,
    pub(crate) mistakes: Vec<String>,
}

impl<G: Fn(&str) -> Option<OsString>> Reader<G> {
    pub(crate) fn needed<T, E: ToString>(
        &mut self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        if (self.get)(name).is_none_or(|value| value.is_empty()) {
            self.mistakes.push(format!("{name} is not set"));
            return None;
        }
        self.maybe(name, parse)
    }

    pub(crate) fn maybe<T, E: ToString>(
        &mut self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        let value = (self.get)(name).filter(|value| !value.is_empty())?;
        let parsed = match value.to_str() {
            Some(text) => parse(text).map_err(|e| e.to_string()),
            None => Err("it is not UTF-8".to_owned()),
        };
        let shown = without_password(&value.to_string_lossy());
        parsed.map_err(|e| self.mistakes.push(format!("{name}={shown:?} cannot be used: {e}"))).ok()
    }

    pub(crate) fn seconds(&mut self, name: &str, least: u64, default: u64) -> Duration {
        self.seconds_within(name, least..=3600, default)
    }

    pub(crate) fn seconds_within(
        &mut self,
        name: &str,
        allowed: RangeInclusive<u64>,
        default: u64,
    ) -> Duration {
        let parsed = self.maybe(name, |text| match text.parse() {
            Ok(n) if allowed.contains(&n) => Ok(n),
            _ => Err(format!("{} to {} seconds are allowed", allowed.start(), allowed.end())),
        });
        Duration::from_secs(parsed.unwrap_or(default))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(changes: &[(&str, &str)]) -> Result<Settings, Vec<String>> {
        let mut env = BTreeMap::from([
            ("AGENT_RUNNER_JOB_ID", "j"),
            ("AGENT_RUNNER_LAUNCH_TOKEN", "000000000000000000000000000000ab"),
            ("AGENT_RUNNER_TASK_ID", "process:ab"),
            ("AGENT_RUNNER_TASK_FOLDER", "/tasks/ab"),
            ("AGENT_RUNNER_RECORDS", "sqlite:/data/x.db"),
            ("AGENT_RUNNER_ARTIFACTS", "file:/data/artifacts"),
        ]);
        env.extend(changes.iter().copied());
        Settings::read(|name| env.get(name).map(OsString::from))
    }

    #[test]
    fn what_is_not_set_has_its_default() {
        let settings = read(&[("AGENT_RUNNER_DURABILITY", "")]).unwrap();
        assert_eq!(settings.heartbeat, Duration::from_secs(10));
        assert_eq!(settings.durability, Durability::Process);
        assert_eq!(settings.records, RecordsAt::Sqlite("/data/x.db".into()));
        assert_eq!(settings.artifacts, ArtifactsAt::Dir("/data/artifacts".into()));
    }

    #[test]
    fn every_mistake_is_named_with_its_variable() {
        let mistakes = read(&[
            ("AGENT_RUNNER_JOB_ID", ""),
            ("AGENT_RUNNER_TASK_FOLDER", "tasks"),
            ("AGENT_RUNNER_RECORDS", "mongodb://me:s3cret@x"),
            ("AGENT_RUNNER_ARTIFACTS", "file:"),
            ("AGENT_RUNNER_DURABILITY", "full"),
            ("AGENT_RUNNER_HEARTBEAT_SECONDS", "0"),
        ])
        .unwrap_err();
        assert_eq!(mistakes.len(), 6, "{mistakes:?}");
        assert_eq!(mistakes[0], "AGENT_RUNNER_JOB_ID is not set");
        assert!(!mistakes.concat().contains("s3cret"), "{mistakes:?}");
        assert!(mistakes[5].contains("1 to 3600 seconds are allowed"), "{mistakes:?}");
    }
}
