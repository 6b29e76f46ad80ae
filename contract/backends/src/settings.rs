//! Settings: the `AGENT_RUNNER_*` variables, parsed into types before anything starts.
//!
//! A value comes from a flag, the environment, the `.env` file of the working directory or the default, in
//! this order ([`Layers`]). A store is chosen by a URL-shaped value of its own variable and never because
//! some other variable happens to be set. Every bad value is reported together with all others.
//!
//! An empty value counts as not set, because `${VARIABLE:-}` in a compose file makes one.

mod access;
mod dot_env;
mod ecs;
mod job_types;
mod layers;
mod places;
mod table;

pub use access::AccessSettings;
pub use dot_env::DotEnvError;
pub use ecs::{EcsPrices, EcsSettings, LIST_PRICES_ARM, LIST_PRICES_X86};
pub use job_types::{JobTypesAt, JobTypesError};
pub use layers::{Effective, Layers, Source};
pub use places::{ArtifactsAt, Built, HintsFrom, RecordsAt, TasksBy, without_password};
pub use table::{SET_BY_THE_WORKER, Setting, TABLE, dot_env_example, markdown};

use crate::durability::Durability;
use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// A line of text for people.
    Text,
    /// A JSON object per line.
    Json,
}

/// Every setting of a part that stays up; a client needs none of them but the URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `AGENT_RUNNER_RECORDS`
    pub records: RecordsAt,
    /// `AGENT_RUNNER_TASKS`
    pub tasks: TasksBy,
    /// `AGENT_RUNNER_ARTIFACTS`
    pub artifacts: ArtifactsAt,
    /// `AGENT_RUNNER_HINTS`
    pub hints: HintsFrom,
    /// `AGENT_RUNNER_LISTEN`
    pub listen: SocketAddr,
    /// Who may call it.
    pub access: AccessSettings,
    /// `AGENT_RUNNER_METRICS_LISTEN`
    pub metrics_listen: SocketAddr,
    /// `AGENT_RUNNER_MAX_CONCURRENT_TASKS`
    pub max_concurrent_tasks: NonZeroU32,
    /// `AGENT_RUNNER_JOB_TYPES`
    pub job_types: JobTypesAt,
    /// `AGENT_RUNNER_DURABILITY`
    pub durability: Durability,
    /// `AGENT_RUNNER_TASKS_DIR`
    pub tasks_dir: PathBuf,
    /// `AGENT_RUNNER_LOG`: directives in the syntax of `tracing_subscriber::filter::Targets`.
    pub log: String,
    /// `AGENT_RUNNER_LOG_FORMAT`
    pub log_format: LogFormat,
    /// `AGENT_RUNNER_RESYNC_SECONDS`
    pub resync: Duration,
    /// `AGENT_RUNNER_SCAN_SECONDS`
    pub scan: Duration,
    /// `AGENT_RUNNER_HEARTBEAT_SECONDS`, `…_REPORT_PATIENCE_…`, `…_ARTIFACTS_PATIENCE_…`, `…_GUARD_…` and
    /// `…_LOG_SHIPPING_SECONDS`: read by workers; checked here because a worker could only fail, and handed on
    /// by [`Layers::for_workers`].
    pub worker_seconds: [u64; 5],
    /// `AGENT_RUNNER_ECS_…`
    pub ecs: EcsSettings,
}

/// What defaults depend on.
#[derive(Debug, Clone, Copy)]
pub struct Machine {
    /// Usable processor cores.
    pub cores: u32,
    /// Whether a file exists.
    pub is_file: fn(&Path) -> bool,
    /// What this binary was built with.
    pub built: Built,
}

impl Machine {
    /// The machine that this process runs on.
    #[must_use]
    pub fn this() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1));
        Self { cores, is_file: Path::is_file, built: Built::this() }
    }
}

/// One bad value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadSetting {
    /// The variable.
    pub name: &'static str,
    /// Its value, without a password.
    pub value: String,
    /// What is allowed, or what is wrong.
    pub message: String,
}

impl fmt::Display for BadSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}: {}", self.name, self.value, self.message)
    }
}

/// Every bad value; never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub struct BadSettings {
    /// In the order of [`TABLE`].
    pub errors: Vec<BadSetting>,
}

impl BadSettings {
    fn text(&self) -> String {
        self.errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }
}

impl Settings {
    /// Reads every setting from `get`, which answers with the value of a variable.
    ///
    /// # Errors
    /// Every bad value.
    pub fn read(get: impl Fn(&str) -> Option<String>, machine: Machine) -> Result<Self, BadSettings> {
        let mut r = Reader { get, errors: Vec::new() };
        let settings = Self {
            records: r.value("AGENT_RUNNER_RECORDS", |text| RecordsAt::parse(text, machine.built)),
            tasks: r.value("AGENT_RUNNER_TASKS", |text| TasksBy::parse(text, machine.built)),
            artifacts: r.value("AGENT_RUNNER_ARTIFACTS", |text| ArtifactsAt::parse(text, machine.built)),
            hints: r.value("AGENT_RUNNER_HINTS", |text| HintsFrom::parse(text, machine.built)),
            listen: r.value("AGENT_RUNNER_LISTEN", address),
            access: AccessSettings {
                tokens_file: r
                    .given("AGENT_RUNNER_TOKENS_FILE", |text| access::tokens_file(text, machine.is_file)),
                allow_unauthenticated: r.value("AGENT_RUNNER_ALLOW_UNAUTHENTICATED", access::yes_or_no),
                hosts: r.given("AGENT_RUNNER_ALLOWED_HOSTS", access::hosts).unwrap_or_default(),
            },
            metrics_listen: r.value("AGENT_RUNNER_METRICS_LISTEN", address),
            max_concurrent_tasks: r
                .given("AGENT_RUNNER_MAX_CONCURRENT_TASKS", concurrency)
                .or(NonZeroU32::new(machine.cores.saturating_mul(2)))
                .unwrap_or(NonZeroU32::MIN),
            job_types: r
                .given("AGENT_RUNNER_JOB_TYPES", |text| job_types_file(text, machine))
                .unwrap_or_else(|| {
                    job_types::at(table::default_of("AGENT_RUNNER_JOB_TYPES"), machine.is_file)
                }),
            durability: r.value("AGENT_RUNNER_DURABILITY", |text| {
                text.parse().map_err(|_| "process or power".to_owned())
            }),
            tasks_dir: r.value("AGENT_RUNNER_TASKS_DIR", |text| Ok(PathBuf::from(text))),
            log: r.value("AGENT_RUNNER_LOG", log_filter),
            log_format: r.value("AGENT_RUNNER_LOG_FORMAT", log_format),
            resync: r.value("AGENT_RUNNER_RESYNC_SECONDS", |text| {
                seconds(text, 1..=LONGEST_RESYNC_SECONDS).map(Duration::from_secs)
            }),
            scan: r.value("AGENT_RUNNER_SCAN_SECONDS", |text| {
                seconds(text, 1..=86_400).map(Duration::from_secs)
            }),
            worker_seconds: [
                r.value("AGENT_RUNNER_HEARTBEAT_SECONDS", |text| seconds(text, 1..=3600)),
                r.value("AGENT_RUNNER_REPORT_PATIENCE_SECONDS", |text| seconds(text, 0..=3600)),
                r.value("AGENT_RUNNER_ARTIFACTS_PATIENCE_SECONDS", |text| seconds(text, 0..=3600)),
                r.value("AGENT_RUNNER_GUARD_SECONDS", |text| seconds(text, 0..=3600)),
                r.value("AGENT_RUNNER_LOG_SHIPPING_SECONDS", |text| seconds(text, 0..=3600)),
            ],
            ecs: EcsSettings::read(&mut r),
        };
        if r.errors.is_empty() {
            for (name, message) in
                places::contradictions(&settings.records, &settings.tasks, &settings.artifacts)
                    .into_iter()
                    .chain(settings.access.contradiction(settings.listen))
                    .chain(settings.missing())
            {
                let value = (r.get)(name).unwrap_or_else(|| table::default_of(name).to_owned());
                r.errors.push(BadSetting { name, value, message });
            }
        }
        if r.errors.is_empty() { Ok(settings) } else { Err(BadSettings { errors: r.errors }) }
    }
}

impl Settings {
    /// What the chosen task runtime needs and nobody set.
    fn missing(&self) -> Vec<(&'static str, String)> {
        match self.tasks {
            TasksBy::Ecs(_) => self.ecs.missing(),
            TasksBy::Process | TasksBy::Pool => Vec::new(),
        }
    }
}

struct Reader<G> {
    get: G,
    errors: Vec<BadSetting>,
}

impl<G: Fn(&str) -> Option<String>> Reader<G> {
    /// The parsed value if one is set and good.
    fn given<T>(&mut self, name: &'static str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let text = (self.get)(name).filter(|text| !text.is_empty())?;
        parse(&text)
            .map_err(|message| self.errors.push(BadSetting { name, value: without_password(&text), message }))
            .ok()
    }

    /// The parsed value, or the parsed default of the table.
    fn value<T>(&mut self, name: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> T {
        self.given(name, &parse)
            .unwrap_or_else(|| parse(table::default_of(name)).expect("the defaults of the table are good"))
    }
}

/// The address of a listener.
///
/// # Errors
/// What is allowed.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    let text =
        text.strip_prefix("localhost:").map_or_else(|| text.to_owned(), |port| format!("127.0.0.1:{port}"));
    text.parse().map_err(|_| "an IP address and a port, as in 127.0.0.1:8000 or [::1]:8000".to_owned())
}

fn concurrency(text: &str) -> Result<NonZeroU32, String> {
    let allowed = 1..=MOST_TASKS;
    text.parse::<NonZeroU32>()
        .ok()
        .filter(|n| allowed.contains(&n.get()))
        .ok_or_else(|| format!("a whole number from 1 to {MOST_TASKS}"))
}

fn job_types_file(text: &str, machine: Machine) -> Result<JobTypesAt, String> {
    match job_types::at(text, machine.is_file) {
        JobTypesAt::BuiltIn => Err(
            "there is no such file; write one, or leave the variable unset to have the built-in echo only"
                .into(),
        ),
        file @ JobTypesAt::File(_) => Ok(file),
    }
}

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

fn log_filter(text: &str) -> Result<String, String> {
    let good = |directive: &str| {
        let (target, level) = directive.rsplit_once('=').unwrap_or(("any", directive));
        let fine = |b: u8| b.is_ascii_alphanumeric() || b"_:-".contains(&b);
        LEVELS.contains(&level) && !target.is_empty() && target.bytes().all(fine)
    };
    if text.split(',').all(|directive| good(directive.trim())) {
        Ok(text.to_owned())
    } else {
        let levels = LEVELS.join(", ");
        Err(format!("a level ({levels}), or levels by module, as in info,reconciler=debug"))
    }
}

fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("text or json".into()),
    }
}

fn seconds(text: &str, allowed: RangeInclusive<u64>) -> Result<u64, String> {
    let refused = || format!("a whole number of seconds from {} to {}", allowed.start(), allowed.end());
    text.parse::<u64>().ok().filter(|seconds| allowed.contains(seconds)).ok_or_else(refused)
}

/// The most tasks at once: beyond it a machine runs out of process ids (`pid_max` is 32,768 by default, and
/// a task is two processes).
const MOST_TASKS: u32 = 10_000;
/// The longest pause between two resyncs: a job whose hint was lost must still start within the hour.
const LONGEST_RESYNC_SECONDS: u64 = 3600;

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: Machine = Machine {
        cores: 3,
        is_file: |path| path.ends_with("there.toml"),
        built: Built { redis: false, aws: false },
    };
    const FULL: Machine = Machine { built: Built { redis: true, aws: true }, ..MACHINE };

    fn read(values: &[(&str, &str)]) -> Result<Settings, BadSettings> {
        let get = |name: &str| values.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        Settings::read(get, MACHINE)
    }

    #[test]
    fn without_any_variable_everything_has_its_default() {
        let s = read(&[]).unwrap();
        assert_eq!(s.records, RecordsAt::Sqlite("data/agent-runner.db".into()));
        assert_eq!(s.artifacts, ArtifactsAt::Dir("data/artifacts".into()));
        assert_eq!(s.listen, "127.0.0.1:8000".parse().unwrap());
        assert_eq!(s.max_concurrent_tasks.get(), 6, "twice the cores");
        assert_eq!(s.job_types, JobTypesAt::BuiltIn, "job-types.toml is not there");
        assert_eq!(s.durability, Durability::Process);
        assert_eq!(s, read(&[("AGENT_RUNNER_LISTEN", "")]).unwrap(), "empty is not set");
    }

    #[test]
    fn every_bad_value_is_reported_at_once_with_name_value_and_what_is_allowed() {
        let bad = [
            ("AGENT_RUNNER_RECORDS", "data/agent-runner.db"),
            ("AGENT_RUNNER_TASKS", "thread"),
            ("AGENT_RUNNER_ARTIFACTS", "file:"),
            ("AGENT_RUNNER_HINTS", "kafka"),
            ("AGENT_RUNNER_LISTEN", "8000"),
            ("AGENT_RUNNER_METRICS_LISTEN", "example.org:80"),
            ("AGENT_RUNNER_MAX_CONCURRENT_TASKS", "0"),
            ("AGENT_RUNNER_JOB_TYPES", "gone.toml"),
            ("AGENT_RUNNER_DURABILITY", "fsync"),
            ("AGENT_RUNNER_LOG", "loud"),
            ("AGENT_RUNNER_LOG_FORMAT", "xml"),
            ("AGENT_RUNNER_RESYNC_SECONDS", "3601"),
            ("AGENT_RUNNER_HEARTBEAT_SECONDS", "0"),
        ];
        let found = read(&bad).unwrap_err().errors;
        let expected: Vec<(&str, &str)> = found.iter().map(|e| (e.name, e.value.as_str())).collect();
        assert_eq!(expected, bad);
        let text = read(&bad).unwrap_err().to_string();
        assert!(text.contains("AGENT_RUNNER_RECORDS=data/agent-runner.db: this binary knows sqlite:<path>"));
        assert!(text.contains("AGENT_RUNNER_MAX_CONCURRENT_TASKS=0: a whole number from 1 to 10000"));
    }

    fn read_by(machine: Machine, values: &[(&str, &str)]) -> Result<Settings, String> {
        let get = |name: &str| values.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        Settings::read(get, machine).map_err(|e| e.to_string())
    }

    #[test]
    fn a_backend_of_another_build_is_refused_by_name_and_without_its_password() {
        for (name, value, shown, message) in [
            ("RECORDS", "redis://me:s@host/0", "redis://…@host/0", "without redis; it has sqlite:<path> ("),
            ("RECORDS", "dynamodb:x", "dynamodb:x", "without aws; it has sqlite:<path> ("),
            ("ARTIFACTS", "s3://bbb", "s3://bbb", "without aws; it has file:<folder> ("),
            ("TASKS", "pool", "pool", "without redis; it has process ("),
            ("TASKS", "ecs:c", "ecs:c", "without aws; it has process ("),
            ("HINTS", "sqs:https://q", "sqs:https://q", "without aws; it has auto ("),
        ] {
            let name = format!("AGENT_RUNNER_{name}");
            let e = read_by(MACHINE, &[(&name, value)]).unwrap_err();
            assert!(e.starts_with(&format!("{name}={shown}: this binary was built {message}")), "{e}");
        }
    }

    #[test]
    fn every_backend_is_known_where_it_was_built_and_must_fit_the_others() {
        let team = [("AGENT_RUNNER_RECORDS", "redis://h:1/0"), ("AGENT_RUNNER_TASKS", "pool")];
        let s = read_by(FULL, &team).unwrap();
        assert_eq!((s.records, s.tasks), (RecordsAt::Redis("redis://h:1/0".into()), TasksBy::Pool));
        let aws = [
            ("AGENT_RUNNER_RECORDS", "dynamodb:agent-runner"),
            ("AGENT_RUNNER_TASKS", "ecs:agent-runner"),
            ("AGENT_RUNNER_ARTIFACTS", "s3://a-bucket/"),
            ("AGENT_RUNNER_HINTS", "sqs:https://sqs.us-east-1.amazonaws.com/1/q"),
            ("AGENT_RUNNER_ECS_TASK_DEFINITION", "worker:1"),
            ("AGENT_RUNNER_ECS_SUBNETS", "subnet-1"),
        ];
        let s = read_by(FULL, &aws).unwrap();
        assert_eq!(s.artifacts, ArtifactsAt::S3("a-bucket".into()));
        assert_eq!(s.records.to_string(), "dynamodb:agent-runner");
        let e = read_by(FULL, &[("AGENT_RUNNER_TASKS", "ecs:c")]).unwrap_err();
        assert_eq!(e.lines().count(), 4, "{e}");
        assert!(
            e.contains("AGENT_RUNNER_TASKS=ecs:c: a task on ECS cannot reach the records in sqlite:"),
            "{e}"
        );
        let e = read_by(FULL, &[("AGENT_RUNNER_TASKS", "pool")]).unwrap_err();
        assert!(e.contains("a pool takes its work from Redis"), "{e}");
        for (name, value) in
            [("RECORDS", "dynamodb:"), ("TASKS", "ecs:"), ("ARTIFACTS", "s3://A_B"), ("HINTS", "sqs:q")]
        {
            assert!(read_by(FULL, &[(&format!("AGENT_RUNNER_{name}"), value)]).is_err(), "{name}={value}");
        }
    }

    #[test]
    fn nobody_listens_to_the_network_without_tokens_unless_told_so() {
        let all = ("AGENT_RUNNER_LISTEN", "0.0.0.0:8000");
        let e = read_by(MACHINE, &[all]).unwrap_err();
        assert!(e.starts_with("AGENT_RUNNER_LISTEN=0.0.0.0:8000: whoever reaches this address"), "{e}");
        assert!(read_by(MACHINE, &[all, ("AGENT_RUNNER_ALLOW_UNAUTHENTICATED", "true")]).is_ok());
        let s = read_by(MACHINE, &[all, ("AGENT_RUNNER_TOKENS_FILE", "there.toml")]).unwrap();
        assert_eq!(s.access.tokens_file, Some("there.toml".into()));
        assert!(read_by(MACHINE, &[("AGENT_RUNNER_LISTEN", "[::1]:8000")]).is_ok());
        let s = read_by(MACHINE, &[("AGENT_RUNNER_ALLOWED_HOSTS", "Orchestrator, a.b")]).unwrap();
        assert_eq!(s.access.hosts, ["orchestrator", "a.b"]);
        for (name, value) in
            [("TOKENS_FILE", "gone"), ("ALLOW_UNAUTHENTICATED", "yes"), ("ALLOWED_HOSTS", "a:1")]
        {
            assert!(read_by(MACHINE, &[(&format!("AGENT_RUNNER_{name}"), value)]).is_err(), "{name}={value}");
        }
    }

    #[test]
    fn a_path_that_two_programs_would_read_differently_is_refused() {
        assert!(read(&[("AGENT_RUNNER_RECORDS", "sqlite://data/a.db")]).is_err());
        assert!(read(&[("AGENT_RUNNER_RECORDS", "sqlite::memory:")]).is_err(), "workers are processes");
        let s = read(&[("AGENT_RUNNER_RECORDS", "sqlite:///srv/a.db")]).unwrap();
        assert_eq!(s.records, RecordsAt::Sqlite("/srv/a.db".into()));
    }

    #[test]
    fn good_values_are_taken() {
        let s = read(&[
            ("AGENT_RUNNER_LISTEN", "localhost:0"),
            ("AGENT_RUNNER_JOB_TYPES", "etc/there.toml"),
            ("AGENT_RUNNER_LOG", "info,reconciler::pass=trace"),
            ("AGENT_RUNNER_DURABILITY", "power"),
        ])
        .unwrap();
        assert_eq!(s.listen, "127.0.0.1:0".parse().unwrap());
        assert_eq!(s.job_types, JobTypesAt::File("etc/there.toml".into()));
        assert_eq!(s.log, "info,reconciler::pass=trace");
        assert_eq!(s.durability, Durability::Power);
    }
}
