//! Where records, tasks, artifacts and hints are: URL-shaped values of one variable each.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

/// Which backends this binary has beyond SQLite, a folder and child processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Built {
    /// Redis and the pool of workers.
    pub redis: bool,
    /// DynamoDB, S3, SQS and ECS.
    pub aws: bool,
}

impl Built {
    /// What was compiled into this binary.
    #[must_use]
    pub fn this() -> Self {
        Self { redis: cfg!(feature = "redis"), aws: cfg!(feature = "dynamodb") }
    }

    fn has(self, backend: &str) -> bool {
        match backend {
            "redis" => self.redis,
            "aws" => self.aws,
            _ => true,
        }
    }

    /// The forms that this binary knows, of `all` with the backend that each needs.
    fn forms(self, all: &[(&str, &str)]) -> String {
        let here: Vec<&str> =
            all.iter().filter(|(_, needs)| self.has(needs)).map(|(form, _)| *form).collect();
        here.join(", ")
    }

    /// Why `text` is not one of `all`.
    fn refuse(self, text: &str, all: &[(&str, &str)]) -> String {
        let here = self.forms(all);
        let scheme = |form: &str| form.split_inclusive(':').next().unwrap_or(form).to_owned();
        match all.iter().find(|(form, needs)| !self.has(needs) && text.starts_with(&scheme(form))) {
            Some((_, backend)) => format!(
                "this binary was built without {backend}; it has {here} (agent-runner-api, agent-runner-reconciler \
                 and agent-runner-worker have every backend)"
            ),
            None => format!("this binary knows {here}"),
        }
    }
}

/// Where records are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordsAt {
    /// One SQLite file.
    Sqlite(PathBuf),
    /// A Redis server: the URL with its password.
    Redis(String),
    /// DynamoDB tables `<prefix>-jobs`, `<prefix>-attempts` and `<prefix>-leases`.
    Dynamo(String),
}

const RECORDS: &[(&str, &str)] =
    &[("sqlite:<path>", ""), ("redis://<host>:<port>/<db>", "redis"), ("dynamodb:<table prefix>", "aws")];

impl RecordsAt {
    /// Reads the value of `AGENT_RUNNER_RECORDS`.
    ///
    /// # Errors
    /// What is allowed.
    pub fn parse(text: &str, built: Built) -> Result<Self, String> {
        if let Some(path) = path_behind(text, "sqlite:", "sqlite:data/agent-runner.db") {
            return path.map(Self::Sqlite);
        }
        if built.redis && text.starts_with("redis://") {
            return Ok(Self::Redis(text.to_owned()));
        }
        if built.redis && text.starts_with("rediss://") {
            return Err(
                "TLS to Redis is not built in: use redis:// on a private network or through a tunnel".into(),
            );
        }
        match text.strip_prefix("dynamodb:") {
            // Table names: 3 to 255 of these (CreateTable, API reference); "-attempts" is 9.
            Some(prefix) if built.aws && name(prefix, 1..=246, "_.-") => Ok(Self::Dynamo(prefix.to_owned())),
            Some(_) if built.aws => Err(
                "letters, digits, '_', '.' and '-' must follow \"dynamodb:\", as in dynamodb:agent-runner"
                    .into(),
            ),
            _ => Err(built.refuse(text, RECORDS)),
        }
    }
}

impl RecordsAt {
    /// The value of `AGENT_RUNNER_RECORDS` that means this, with a password if there is one.
    #[must_use]
    pub fn setting(&self) -> OsString {
        match self {
            Self::Sqlite(path) => behind("sqlite:", path),
            Self::Redis(url) => url.into(),
            Self::Dynamo(prefix) => format!("dynamodb:{prefix}").into(),
        }
    }
}

impl fmt::Display for RecordsAt {
    /// Without a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Redis(url) => f.write_str(&without_password(url)),
            Self::Dynamo(prefix) => write!(f, "dynamodb:{prefix}"),
        }
    }
}

/// What executes attempts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TasksBy {
    /// Child processes of this machine.
    Process,
    /// Long-lived workers that take assignments from Redis.
    Pool,
    /// Fargate tasks of this ECS cluster.
    Ecs(String),
}

const TASKS: &[(&str, &str)] = &[("process", ""), ("pool", "redis"), ("ecs:<cluster>", "aws")];

impl TasksBy {
    /// Reads the value of `AGENT_RUNNER_TASKS`.
    ///
    /// # Errors
    /// What is allowed.
    pub fn parse(text: &str, built: Built) -> Result<Self, String> {
        match (text, text.strip_prefix("ecs:")) {
            ("process", _) => Ok(Self::Process),
            ("pool", _) if built.redis => Ok(Self::Pool),
            // A cluster's name or its ARN (CreateCluster, API reference).
            (_, Some(cluster)) if built.aws && name(cluster, 1..=255, "_-:/") => {
                Ok(Self::Ecs(cluster.to_owned()))
            }
            (_, Some(_)) if built.aws => {
                Err("a cluster's name or ARN must follow \"ecs:\", as in ecs:agent-runner".into())
            }
            _ => Err(built.refuse(text, TASKS)),
        }
    }
}

/// Where artifacts are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArtifactsAt {
    /// A folder.
    Dir(PathBuf),
    /// An S3 bucket.
    S3(String),
}

const ARTIFACTS: &[(&str, &str)] = &[("file:<folder>", ""), ("s3://<bucket>", "aws")];

impl ArtifactsAt {
    /// Reads the value of `AGENT_RUNNER_ARTIFACTS`.
    ///
    /// # Errors
    /// What is allowed.
    pub fn parse(text: &str, built: Built) -> Result<Self, String> {
        if let Some(path) = path_behind(text, "file:", "file:data/artifacts") {
            return path.map(Self::Dir);
        }
        match text.strip_prefix("s3://").map(|bucket| bucket.trim_end_matches('/')) {
            // 3 to 63 of lower-case letters, digits, '.' and '-' (bucket naming rules, S3 user guide).
            Some(bucket)
                if built.aws && name(bucket, 3..=63, ".-") && bucket == bucket.to_ascii_lowercase() =>
            {
                Ok(Self::S3(bucket.to_owned()))
            }
            Some(_) if built.aws => {
                Err("the name of a bucket must follow, as in s3://agent-runner-artifacts".into())
            }
            _ => Err(built.refuse(text, ARTIFACTS)),
        }
    }
}

impl ArtifactsAt {
    /// The value of `AGENT_RUNNER_ARTIFACTS` that means this.
    #[must_use]
    pub fn setting(&self) -> OsString {
        match self {
            Self::Dir(path) => behind("file:", path),
            Self::S3(bucket) => format!("s3://{bucket}").into(),
        }
    }
}

impl fmt::Display for ArtifactsAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dir(path) => write!(f, "file:{}", path.display()),
            Self::S3(bucket) => write!(f, "s3://{bucket}"),
        }
    }
}

/// Where wake-ups come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HintsFrom {
    /// Whatever the store of records has.
    Auto,
    /// An SQS queue: its URL.
    Sqs(String),
}

const HINTS: &[(&str, &str)] = &[("auto", ""), ("sqs:<queue url>", "aws")];

impl HintsFrom {
    /// Reads the value of `AGENT_RUNNER_HINTS`.
    ///
    /// # Errors
    /// What is allowed.
    pub fn parse(text: &str, built: Built) -> Result<Self, String> {
        match (text, text.strip_prefix("sqs:")) {
            ("auto", _) => Ok(Self::Auto),
            (_, Some(url)) if built.aws && (url.starts_with("https://") || url.starts_with("http://")) => {
                Ok(Self::Sqs(url.to_owned()))
            }
            (_, Some(_)) if built.aws => Err("the URL of a queue must follow \"sqs:\"".into()),
            _ => Err(built.refuse(text, HINTS)),
        }
    }
}

/// Combinations that cannot work, each as the variable to change and what is allowed there.
pub(super) fn contradictions(
    records: &RecordsAt,
    tasks: &TasksBy,
    artifacts: &ArtifactsAt,
) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    match (tasks, records) {
        (TasksBy::Pool, RecordsAt::Sqlite(_) | RecordsAt::Dynamo(_)) => {
            found.push((
                "AGENT_RUNNER_TASKS",
                format!("a pool takes its work from Redis, and records are in {records}"),
            ));
        }
        (TasksBy::Ecs(_), RecordsAt::Sqlite(_)) => {
            found
                .push(("AGENT_RUNNER_TASKS", format!("a task on ECS cannot reach the records in {records}")));
        }
        _ => {}
    }
    if let (TasksBy::Ecs(_), ArtifactsAt::Dir(_)) = (tasks, artifacts) {
        found
            .push(("AGENT_RUNNER_TASKS", format!("a task on ECS cannot reach the artifacts in {artifacts}")));
    }
    found
}

/// `scheme://user:password@host`, for people: without what stands between the scheme and the host.
#[must_use]
pub fn without_password(text: &str) -> String {
    match (text.find("://"), text.rfind('@')) {
        (Some(start), Some(end)) if end > start => format!("{}://…{}", &text[..start], &text[end..]),
        _ => text.to_owned(),
    }
}

/// A path behind its scheme; a path need not be UTF-8.
fn behind(scheme: &str, path: &Path) -> OsString {
    let mut text = OsString::from(scheme);
    text.push(path);
    text
}

/// Whether `text` has as many characters and consists of ASCII letters, digits and `others`.
fn name(text: &str, length: std::ops::RangeInclusive<usize>, others: &str) -> bool {
    length.contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || others.contains(c))
}

/// A path behind `scheme:`. Two slashes would be read as a relative path by some programs and as an
/// absolute one by others, so they are refused; three mean an absolute path everywhere.
fn path_behind(text: &str, scheme: &str, example: &str) -> Option<Result<PathBuf, String>> {
    let path = text.strip_prefix(scheme)?;
    let unclear = path.starts_with("//") && !path.starts_with("///");
    Some(if path.is_empty() || path.ends_with(":memory:") || unclear {
        Err(format!("a path must follow {scheme:?}, as in {example}"))
    } else {
        Ok(PathBuf::from(path))
    })
}
