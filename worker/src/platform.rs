//! What nobody sets for a worker on Fargate, because a task definition is the same for all of its tasks.

use crate::metadata::{self, ENDPOINT};
use contract::Timestamp;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

const TASK_ID: &str = "AGENT_RUNNER_TASK_ID";
const TASK_FOLDER: &str = "AGENT_RUNNER_TASK_FOLDER";

/// What the platform told.
#[derive(Debug, Default)]
pub(crate) struct Learned {
    task: Option<String>,
    folder: Option<PathBuf>,
    /// Launch phases.
    pub(crate) phases: BTreeMap<String, Timestamp>,
}

impl Learned {
    /// The value of a variable that nobody set.
    pub(crate) fn get(&self, name: &str) -> Option<OsString> {
        match name {
            TASK_ID => self.task.as_ref().map(OsString::from),
            TASK_FOLDER => self.folder.as_ref().map(OsString::from),
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
        // The container belongs to the task and goes with it; the number is for machines that imitate Fargate.
        let folder = std::env::temp_dir().join(format!("agent-runner-{}", std::process::id()));
        std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        learned.folder = Some(folder);
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
}
