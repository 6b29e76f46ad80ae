//! What a worker of a pool was told.

use crate::settings::{Reader, Settings};
use backends::settings::{Built, RecordsAt};
use contract::{JobId, LaunchToken};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Seconds of silence after which a worker may be called gone. Half of it outlasts the restart of a Redis that
/// has some gigabytes to load; a worker that was lost costs its jobs this and a grace.
const LEASE_SECONDS: u64 = 30;
/// Longer than this, and an absent task would count as gone before its worker has found out
/// (`reconciler::tasks::ABSENCE_GRACE`).
const LONGEST_LEASE_SECONDS: u64 = 60;
/// Seconds. With the grace of a command this is within what schedulers give a container by a setting.
const DRAIN_SECONDS: u64 = 20;
/// Heartbeats per lease: half of them may be lost before anything is killed.
const BEATS_PER_LEASE: u32 = 10;

/// The names of variables between a watchdog and its member.
const WORKER_ID: &str = "AGENT_RUNNER_POOL_WORKER_ID";
const PREDECESSOR: &str = "AGENT_RUNNER_POOL_PREDECESSOR";

/// What a worker of a pool was told.
#[derive(Debug, Clone)]
pub(super) struct PoolSettings {
    /// The Redis of the pool.
    pub(super) url: String,
    pub(super) lease: Duration,
    pub(super) drain: Duration,
    /// Where tasks have their folders.
    pub(super) folder: PathBuf,
    /// What is started for an attempt in place of this program.
    pub(super) program: Option<PathBuf>,
    /// This life's name in the pool, and that of the one before; empty for the watchdog.
    pub(super) id: String,
    pub(super) predecessor: String,
}

impl PoolSettings {
    /// Reads the variables through `get`.
    ///
    /// # Errors
    /// One sentence per mistake; those in the settings of every attempt are among them.
    pub(super) fn read(get: impl Fn(&str) -> Option<OsString>) -> Result<Self, Vec<String>> {
        let mut read = Reader { get: &get, mistakes: Vec::new() };
        let url = read.maybe("AGENT_RUNNER_POOL", redis_url);
        let records = read.needed("AGENT_RUNNER_RECORDS", |text| RecordsAt::parse(text, Built::this()));
        let url = match (url, records) {
            (Some(url), _) | (None, Some(RecordsAt::Redis(url))) => Some(url),
            (None, Some(_)) => {
                read.mistakes.push("a pool meets in Redis, and AGENT_RUNNER_RECORDS names none".into());
                None
            }
            (None, None) => None,
        };
        if url.as_ref().is_some_and(|url| url.starts_with("rediss://")) {
            // Whichever of the two variables named it; else each call would fail, for ever.
            read.mistakes.push(backends::redis::NO_TLS.to_owned());
        }
        let lease =
            read.seconds_within("AGENT_RUNNER_POOL_LEASE_SECONDS", 2..=LONGEST_LEASE_SECONDS, LEASE_SECONDS);
        let drain = read.seconds("AGENT_RUNNER_DRAIN_SECONDS", 0, DRAIN_SECONDS);
        let path = |text: &str| std::path::absolute(text);
        let folder = read
            .maybe("AGENT_RUNNER_TASKS_DIR", path)
            .unwrap_or_else(|| std::env::temp_dir().join("agent-runner-tasks"));
        let program = read.maybe("AGENT_RUNNER_POOL_PROGRAM", path);
        let text = |text: &str| Ok::<_, String>(text.to_owned());
        let id = read.maybe(WORKER_ID, text).unwrap_or_default();
        let predecessor = read.maybe(PREDECESSOR, text).unwrap_or_default();
        let mut mistakes = read.mistakes;
        // Any attempt, to find the mistakes of all of them now; the first one is said already.
        let any =
            JobId::new("any").map(|job_id| of_attempt(&get, &folder, &job_id, &LaunchToken::from_bits(0)));
        if let Ok(Err(more)) = any {
            mistakes.extend(more.into_iter().filter(|m| !m.starts_with("AGENT_RUNNER_RECORDS")));
        }
        match url {
            Some(url) if mistakes.is_empty() => {
                Ok(Self { url, lease, drain, folder, program, id, predecessor })
            }
            _ => Err(mistakes),
        }
    }

    /// Between two heartbeats.
    pub(super) fn beat_every(&self) -> Duration {
        self.lease / BEATS_PER_LEASE
    }

    /// Without an acknowledged heartbeat for this long everything is killed.
    pub(super) fn patience(&self) -> Duration {
        self.lease / 2
    }

    /// The folder of the tasks of the life `id`.
    pub(super) fn folder_of(&self, id: &str) -> PathBuf {
        self.folder.join(id)
    }
}

/// The settings of an attempt that this process executes.
pub(super) fn of_attempt(
    get: impl Fn(&str) -> Option<OsString>,
    folder: &Path,
    job_id: &JobId,
    token: &LaunchToken,
) -> Result<Settings, Vec<String>> {
    Settings::read(|name| match name {
        "AGENT_RUNNER_JOB_ID" => Some(job_id.as_str().into()),
        "AGENT_RUNNER_LAUNCH_TOKEN" => Some(token.as_str().into()),
        "AGENT_RUNNER_TASK_ID" => Some(task_id(token).into()),
        "AGENT_RUNNER_TASK_FOLDER" => Some(folder.into()),
        // That of a launch as a process.
        "AGENT_RUNNER_REPORTS" => None,
        _ => get(name),
    })
}

/// The pool's name for the task of an attempt.
pub(super) fn task_id(token: &LaunchToken) -> String {
    format!("pool:{token}")
}

fn redis_url(text: &str) -> Result<String, &'static str> {
    let good = text.starts_with("redis://") || text.starts_with("rediss://");
    good.then(|| text.to_owned()).ok_or("redis://<host>:<port>/<db> is needed")
}

/// How this program was called, to be called again.
#[derive(Debug, Clone)]
pub(super) struct Invocation {
    program: PathBuf,
    before: Vec<OsString>,
    pub(super) slots: u32,
}

impl Invocation {
    pub(super) fn this(before: Vec<OsString>, slots: u32) -> io::Result<Self> {
        Ok(Self { program: std::env::current_exe()?, before, slots })
    }

    /// Starts a member.
    pub(super) fn member(&self, id: &str, predecessor: &str, stdin: Stdio) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(&self.before)
            .args([super::MEMBER, super::SLOTS, &self.slots.to_string()])
            .env(WORKER_ID, id)
            .env(PREDECESSOR, predecessor)
            .stdin(stdin)
            .stdout(Stdio::null())
            // Of its own, so that Ctrl-C reaches the watchdog alone.
            .process_group(0);
        command
    }

    /// Starts a worker for one attempt.
    pub(super) fn worker(
        &self,
        settings: &PoolSettings,
        folder: &Path,
        job_id: &JobId,
        token: &LaunchToken,
    ) -> Command {
        let mut command = match &settings.program {
            Some(program) => Command::new(program),
            None => {
                let mut command = Command::new(&self.program);
                command.args(&self.before);
                command
            }
        };
        command
            .env_remove(WORKER_ID)
            .env_remove(PREDECESSOR)
            .env_remove("AGENT_RUNNER_REPORTS")
            .env("AGENT_RUNNER_JOB_ID", job_id.as_str())
            .env("AGENT_RUNNER_LAUNCH_TOKEN", token.as_str())
            .env("AGENT_RUNNER_TASK_ID", task_id(token))
            .env("AGENT_RUNNER_TASK_FOLDER", folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .process_group(0);
        command
    }
}

use std::os::unix::process::CommandExt;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn read(changes: &[(&str, &str)]) -> Result<PoolSettings, Vec<String>> {
        let mut env = BTreeMap::from([
            ("AGENT_RUNNER_RECORDS", "redis://h:1/0"),
            ("AGENT_RUNNER_ARTIFACTS", "file:/data/artifacts"),
        ]);
        env.extend(changes.iter().copied());
        PoolSettings::read(|name| env.get(name).map(OsString::from))
    }

    #[test]
    fn the_pool_meets_where_the_records_are_unless_said_otherwise() {
        let settings = read(&[]).unwrap();
        assert_eq!(settings.url, "redis://h:1/0");
        assert_eq!((settings.beat_every().as_secs(), settings.patience().as_secs()), (3, 15));
        let elsewhere =
            [("AGENT_RUNNER_RECORDS", "sqlite:/data/x.db"), ("AGENT_RUNNER_POOL", "redis://p:2/1")];
        assert_eq!(read(&elsewhere).unwrap().url, "redis://p:2/1");
    }

    #[test]
    fn tls_is_refused_before_anything_starts_and_the_url_is_not_repeated() {
        let mistakes = read(&[("AGENT_RUNNER_POOL", "rediss://me:secret@h:1/0")]).unwrap_err();
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        assert!(mistakes[0].contains("TLS to Redis is not built in") && !mistakes[0].contains("secret"));
    }

    #[test]
    fn every_mistake_is_named_those_of_attempts_too() {
        let mistakes = read(&[
            ("AGENT_RUNNER_RECORDS", "sqlite:/data/x.db"),
            ("AGENT_RUNNER_ARTIFACTS", "file:"),
            ("AGENT_RUNNER_POOL_LEASE_SECONDS", "61"),
            ("AGENT_RUNNER_HEARTBEAT_SECONDS", "0"),
        ])
        .unwrap_err();
        assert_eq!(mistakes.len(), 4, "{mistakes:?}");
        assert!(mistakes[0].contains("a pool meets in Redis"), "{mistakes:?}");
    }
}
