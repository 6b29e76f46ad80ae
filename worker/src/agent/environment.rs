//! What an agent's environment holds, from nothing:
//!
//! | variable | value |
//! |---|---|
//! | `PATH` | the worker's, or `/usr/local/bin:/usr/bin:/bin` |
//! | `HOME` | the agent's working directory |
//! | `LANG`, `LC_ALL`, `TZ`, `TMPDIR` | the worker's, where set |
//! | the job type's `pass_env` | the worker's, where set |
//! | the job's `env` | as given; wins over all of the above |
//! | `AGENT_RUNNER_JOB_ID`, `_ATTEMPT`, `_PAYLOAD`, `_RESULT`, `_ARTIFACTS` | the contract; wins over all |
//!
//! The launch token and the settings of the stores are not among them, whatever `pass_env` and `env` say.

use super::folder::TaskFolder;
use crate::settings::Settings;
use contract::Claim;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;

/// Where programs are looked for when the worker itself has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// What is passed on without being asked for.
const PASSED: [&str; 5] = ["PATH", "LANG", "LC_ALL", "TZ", "TMPDIR"];
/// How the names of the worker's own variables begin.
const OURS: &str = "AGENT_RUNNER_";

/// An agent's environment.
pub(super) struct Environment<'a> {
    pub(super) variables: BTreeMap<String, OsString>,
    /// Names in `pass_env` that the worker does not have.
    pub(super) missing: Vec<&'a str>,
}

/// The environment of the agent that `claim` describes.
pub(super) fn of<'a>(
    settings: &Settings,
    claim: &Claim,
    folder: &TaskFolder,
    pass_env: &'a [String],
    get: impl Fn(&str) -> Option<OsString>,
) -> Environment<'a> {
    let mut variables = BTreeMap::from([
        ("PATH".to_owned(), OsString::from(DEFAULT_PATH)),
        ("HOME".to_owned(), folder.work.clone().into()),
    ]);
    let mut missing = Vec::new();
    variables.extend(PASSED.iter().filter_map(|name| Some(((*name).to_owned(), get(name)?))));
    for name in pass_env.iter().filter(|name| !name.starts_with(OURS)) {
        match get(name) {
            Some(value) => drop(variables.insert(name.clone(), value)),
            None => missing.push(name.as_str()),
        }
    }
    let own = claim.env.iter().filter(|(name, _)| !name.starts_with(OURS));
    variables.extend(own.map(|(name, value)| (name.clone(), value.into())));
    let mut set = |name: &str, value: &OsStr| variables.insert(format!("{OURS}{name}"), value.to_owned());
    set("JOB_ID", settings.job_id.as_str().as_ref());
    set("ATTEMPT", claim.number.to_string().as_ref());
    set("PAYLOAD", folder.payload.as_os_str());
    set("RESULT", folder.result.as_os_str());
    set("ARTIFACTS", folder.artifacts.as_os_str());
    Environment { variables, missing }
}

/// A word of the command: an absolute path if it is a relative one of something that exists below `here`,
/// where the worker was started; the agent's own directory is another one.
pub(super) fn absolute(here: &Path, word: &str) -> OsString {
    if word.contains('/') && !word.starts_with('/') {
        let path = here.join(word);
        if path.exists() {
            return path.into();
        }
    }
    word.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_relative_paths_of_existing_files_become_absolute() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        std::fs::create_dir(here.join("agents")).unwrap();
        std::fs::write(here.join("agents/a.py"), "").unwrap();
        std::fs::write(here.join("python3"), "").unwrap();
        assert_eq!(absolute(here, "agents/a.py"), here.join("agents/a.py"));
        for word in ["python3", "agents/b.py", "/agents/a.py", "--x=agents/a.py", "", "https://x/y"] {
            assert_eq!(absolute(here, word), word);
        }
    }
}
