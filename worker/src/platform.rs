//! What nobody sets for a worker on Fargate, because a task definition is the same for all of its tasks.

use crate::metadata::{self, ENDPOINT};
use contract::Timestamp;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

const TASK_ID: &str = "AGENT_RUNNER_TASK_ID";
const TASK_FOLDER: &str = "AGENT_RUNNER_TASK_FOLDER";

/// What the platform told.
#[derive(Debug, Default)]
pub(crate) struct Learned {
    task: Option<String>,
    folder: Option<Private>,
    /// Launch phases.
    pub(crate) phases: BTreeMap<String, Timestamp>,
}

/// A folder that nobody else can guess, enter or have made before. It goes with this value.
#[derive(Debug)]
struct Private(PathBuf);

impl Private {
    /// Below the folder for temporary files, which is the one that is writable where the root is read-only.
    fn make(parent: &Path) -> Result<Self, String> {
        let folder = parent.join(format!("agent-runner-{}", backends::clock::fresh_token()));
        let made = DirBuilder::new().mode(0o700).create(&folder);
        made.map_err(|e: io::Error| format!("{}: {e}", folder.display()))?;
        Ok(Self(folder))
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        // A container takes it along anyway.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Learned {
    /// The value of a variable that nobody set.
    pub(crate) fn get(&self, name: &str) -> Option<OsString> {
        match name {
            TASK_ID => self.task.as_ref().map(OsString::from),
            TASK_FOLDER => self.folder.as_ref().map(|folder| OsString::from(&folder.0)),
            _ => None,
        }
    }
}

/// Learns what `told` lacks, where there is somebody to ask.
///
/// # Errors
/// The platform did not say, or the folder cannot be made.
pub(crate) fn learn(told: impl Fn(&str) -> Option<OsString>) -> Result<Learned, String> {
    let mut learned = Learned::default();
    let Some(endpoint) = told(ENDPOINT) else { return Ok(learned) };
    if told(TASK_ID).is_none() {
        let platform = metadata::ask(&endpoint.to_string_lossy())?;
        learned.task = Some(platform.task.as_str().to_owned());
        learned.phases = platform.phases;
    }
    if told(TASK_FOLDER).is_none() {
        learned.folder = Some(Private::make(&std::env::temp_dir())?);
    }
    Ok(learned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_asked_where_there_is_no_such_platform_or_everything_is_told() {
        assert!(learn(|_| None).unwrap().get(TASK_ID).is_none());
        let told = |name: &str| match name {
            ENDPOINT => Some("http://127.0.0.1:1/v4/x".into()),
            TASK_ID => Some("process:ab".into()),
            TASK_FOLDER => Some("/tasks/ab".into()),
            _ => None,
        };
        let learned = learn(told).unwrap();
        assert!(learned.get(TASK_ID).is_none() && learned.get(TASK_FOLDER).is_none());
    }

    #[test]
    fn a_folder_is_new_belongs_to_us_alone_and_goes_when_the_worker_ends() {
        use std::os::unix::fs::PermissionsExt;
        let parent = tempfile::tempdir().unwrap();
        let (first, second) = (Private::make(parent.path()).unwrap(), Private::make(parent.path()).unwrap());
        assert_ne!(first.0, second.0);
        let mode = std::fs::metadata(&first.0).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        std::fs::write(first.0.join("payload.json"), "{}").unwrap();
        drop((first, second));
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
        let missing = Private::make(&parent.path().join("missing")).unwrap_err();
        assert!(missing.contains("missing/agent-runner-"), "{missing}");
    }
}
