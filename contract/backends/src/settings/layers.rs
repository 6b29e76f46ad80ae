//! Where a value comes from: flags over environment over `.env` over defaults.

use super::dot_env::{self, DotEnvError};
use super::places::without_password;
use super::table::{SET_BY_THE_WORKER, TABLE};
use super::{JobTypesAt, Settings};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

/// Which layer a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A command-line flag.
    Flag,
    /// The environment.
    Environment,
    /// The `.env` file.
    DotEnv,
    /// Nobody set it.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Flag => "flag",
            Self::Environment => "environment",
            Self::DotEnv => ".env",
            Self::Default => "default",
        })
    }
}

/// The layers, each holding `AGENT_RUNNER_*` variables only, and what else `.env` holds.
#[derive(Debug, Clone, Default)]
pub struct Layers {
    flags: BTreeMap<String, String>,
    environment: BTreeMap<String, String>,
    dot_env: BTreeMap<String, String>,
    /// Variables of `.env` that are not ours, for job types that pass them to their agents.
    others: BTreeMap<String, String>,
}

/// A setting as it is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    /// The variable.
    pub name: &'static str,
    /// Its value, without a password.
    pub value: String,
    /// Where the value comes from.
    pub source: Source,
}

const PREFIX: &str = "AGENT_RUNNER_";
/// The one variable whose value is a secret as a whole.
const SECRET: &str = "AGENT_RUNNER_TOKEN";

fn ours(all: impl IntoIterator<Item = (String, String)>) -> BTreeMap<String, String> {
    all.into_iter().filter(|(name, value)| name.starts_with(PREFIX) && !value.is_empty()).collect()
}

impl Layers {
    /// Layers from their values.
    #[must_use]
    pub fn new(
        flags: impl IntoIterator<Item = (String, String)>,
        environment: impl IntoIterator<Item = (String, String)>,
        dot_env: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        let environment: BTreeMap<String, String> = environment.into_iter().collect();
        let (dot_env, mut others): (BTreeMap<_, _>, BTreeMap<_, _>) =
            dot_env.into_iter().partition(|(name, _)| name.starts_with(PREFIX));
        others.retain(|name, _| !environment.contains_key(name));
        Self { flags: ours(flags), environment: ours(environment), dot_env: ours(dot_env), others }
    }

    /// What the environment of workers needs beyond that of this process: from `.env` the variables that a
    /// job type may pass to its agents, and the settings that workers read.
    pub fn for_workers(&self) -> impl Iterator<Item = (&str, &str)> {
        let read_by_workers =
            |name: &&String| TABLE.iter().any(|s| s.name == **name && s.about.starts_with("Worker:"));
        let settings = self
            .dot_env
            .keys()
            .filter(read_by_workers)
            .filter_map(|name| Some((name.as_str(), self.find(name)?.0)));
        self.others.iter().map(|(name, value)| (name.as_str(), value.as_str())).chain(settings)
    }

    /// The given flags, this process's environment and the file `.env` in `folder` if there is one.
    ///
    /// # Errors
    /// [`DotEnvError`] names the line.
    pub fn of_process(
        flags: impl IntoIterator<Item = (String, String)>,
        folder: &Path,
    ) -> Result<Self, DotEnvError> {
        let file = folder.join(".env");
        let shown = file.display().to_string();
        let dot_env = match std::fs::read_to_string(&file) {
            Ok(text) => dot_env::parse(&shown, &text)?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(e) => return Err(DotEnvError::File { file: shown, message: e.to_string() }),
        };
        // A value that is not UTF-8 is kept in a form that its parser refuses and can show.
        let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        let environment = std::env::vars_os().map(|(name, value)| (lossy(name), lossy(value)));
        Ok(Self::new(flags, environment, dot_env))
    }

    /// The value of a variable and where it comes from. `None`: nobody set it.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<(&str, Source)> {
        let layers = [
            (&self.flags, Source::Flag),
            (&self.environment, Source::Environment),
            (&self.dot_env, Source::DotEnv),
        ];
        layers.into_iter().find_map(|(layer, source)| layer.get(name).map(|v| (v.as_str(), source)))
    }

    /// The value of a variable, as [`Settings::read`] asks for it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<String> {
        self.find(name).map(|(value, _)| value.to_owned())
    }

    /// A warning for each variable that starts like ours and is not.
    #[must_use]
    pub fn unknown(&self) -> Vec<String> {
        let known = |name: &str| TABLE.iter().any(|s| s.name == name) || SET_BY_THE_WORKER.contains(&name);
        let names: BTreeSet<&String> = self.environment.keys().chain(self.dot_env.keys()).collect();
        names
            .into_iter()
            .filter(|name| !known(name))
            .map(|name| {
                // The common prefix would make all names look alike.
                let ends = TABLE.iter().map(|s| &s.name[PREFIX.len()..]);
                match contract::decode::nearest(&name[PREFIX.len()..], ends) {
                    Some(near) => format!("{name} is not a setting; did you mean {PREFIX}{near}?"),
                    None => format!("{name} is not a setting; `agent-runner config` lists them"),
                }
            })
            .collect()
    }

    /// Every setting as it is in force, in the order of the table.
    #[must_use]
    pub fn effective(&self, settings: &Settings) -> Vec<Effective> {
        TABLE
            .iter()
            .map(|s| match self.find(s.name) {
                Some((_, source)) if s.name == SECRET => {
                    Effective { name: s.name, value: "(not shown)".to_owned(), source }
                }
                Some((value, source)) => Effective { name: s.name, value: without_password(value), source },
                None => Effective {
                    name: s.name,
                    value: default_value(s.name, s.default, settings),
                    source: Source::Default,
                },
            })
            .collect()
    }
}

/// Defaults that depend on the machine are shown as what they came to.
fn default_value(name: &str, default: &str, settings: &Settings) -> String {
    match (name, &settings.job_types) {
        ("AGENT_RUNNER_MAX_CONCURRENT_TASKS", _) => settings.max_concurrent_tasks.to_string(),
        ("AGENT_RUNNER_JOB_TYPES", JobTypesAt::BuiltIn) => "(the built-in echo only)".to_owned(),
        _ => default.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Built, Machine};
    use super::*;

    fn layer(values: &[(&str, &str)]) -> Vec<(String, String)> {
        values.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn flags_win_over_the_environment_and_that_over_dot_env_and_empty_counts_as_unset() {
        let (a, b, c) = ("AGENT_RUNNER_LISTEN", "AGENT_RUNNER_LOG", "AGENT_RUNNER_TASKS_DIR");
        let layers = Layers::new(
            layer(&[(a, "127.0.0.1:1")]),
            layer(&[(a, "127.0.0.1:2"), (b, "warn"), (c, ""), ("PATH", "/bin")]),
            layer(&[(a, "127.0.0.1:3"), (b, "debug"), (c, "tasks")]),
        );
        assert_eq!(layers.find(a), Some(("127.0.0.1:1", Source::Flag)));
        assert_eq!(layers.find(b), Some(("warn", Source::Environment)));
        assert_eq!(layers.find(c), Some(("tasks", Source::DotEnv)));
        assert_eq!(layers.find("PATH"), None);
    }

    #[test]
    fn what_is_in_force_is_listed_with_its_source_and_without_passwords() {
        let layers = Layers::new(
            layer(&[]),
            layer(&[("AGENT_RUNNER_URL", "http://a:b@h:1"), ("AGENT_RUNNER_TOKEN", "secret")]),
            layer(&[]),
        );
        let built = Built { redis: false, aws: false };
        let machine = Machine { cores: 4, is_file: |_| false, built };
        let settings = Settings::read(|name| layers.get(name), machine).unwrap();
        let all = layers.effective(&settings);
        assert_eq!(all.len(), TABLE.len());
        let of = |name| all.iter().find(|e| e.name == name).map(|e| (e.value.as_str(), e.source));
        assert_eq!(of("AGENT_RUNNER_URL"), Some(("http://…@h:1", Source::Environment)));
        assert_eq!(of("AGENT_RUNNER_TOKEN"), Some(("(not shown)", Source::Environment)));
        assert_eq!(of("AGENT_RUNNER_MAX_CONCURRENT_TASKS"), Some(("8", Source::Default)));
    }

    #[test]
    fn workers_get_what_dot_env_holds_for_agents_and_for_themselves() {
        let layers = Layers::new(
            layer(&[]),
            layer(&[("TOKEN", "of the environment")]),
            layer(&[
                ("API_KEY", "k"),
                ("TOKEN", "of .env"),
                ("AGENT_RUNNER_HEARTBEAT_SECONDS", "3"),
                ("AGENT_RUNNER_LISTEN", "127.0.0.1:1"),
            ]),
        );
        let found: Vec<_> = layers.for_workers().collect();
        assert_eq!(found, [("API_KEY", "k"), ("AGENT_RUNNER_HEARTBEAT_SECONDS", "3")]);
    }

    #[test]
    fn a_mistyped_name_gets_a_warning_with_the_likely_one() {
        let layers = Layers::new(
            layer(&[]),
            layer(&[("AGENT_RUNNER_RECRODS", "x"), ("AGENT_RUNNER_JOB_ID", "j")]),
            layer(&[("AGENT_RUNNER_RECRODS", "x"), ("AGENT_RUNNER_QQQ", "x")]),
        );
        let warnings = layers.unknown();
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(warnings.iter().any(|w| w.contains("did you mean AGENT_RUNNER_RECORDS?")), "{warnings:?}");
    }

    #[test]
    fn a_dot_env_file_is_read_from_the_folder_and_may_be_missing() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Layers::of_process(layer(&[]), folder.path()).is_ok());
        std::fs::write(folder.path().join(".env"), "AGENT_RUNNER_TASKS_DIR='a b'\n").unwrap();
        let layers = Layers::of_process(layer(&[]), folder.path()).unwrap();
        assert_eq!(layers.find("AGENT_RUNNER_TASKS_DIR"), Some(("a b", Source::DotEnv)));
        std::fs::write(folder.path().join(".env"), "what").unwrap();
        assert!(Layers::of_process(layer(&[]), folder.path()).unwrap_err().to_string().contains("line 1"));
    }
}
