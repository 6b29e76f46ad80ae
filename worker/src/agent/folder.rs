//! The folder of a task, as the agent finds it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Paths below a task's folder.
#[derive(Debug)]
pub(super) struct TaskFolder {
    /// The agent's working directory.
    pub(super) work: PathBuf,
    pub(super) payload: PathBuf,
    pub(super) result: PathBuf,
    pub(super) artifacts: PathBuf,
    pub(super) stdout: PathBuf,
    pub(super) stderr: PathBuf,
}

/// Whether the folder is fresh.
#[derive(Debug)]
pub(super) enum Prepared {
    Fresh(TaskFolder),
    /// Some process has executed the agent here, or was about to.
    Used,
}

impl TaskFolder {
    /// Makes what the agent needs below `root`. Making `work/` can succeed once only; it is a second lock
    /// behind the gate, which lets a process pass again that calls itself by the same task id.
    pub(super) fn prepare(root: &Path, payload: &str) -> io::Result<Prepared> {
        let folder = Self {
            work: root.join("work"),
            payload: root.join("payload.json"),
            result: root.join("result.json"),
            artifacts: root.join("artifacts"),
            stdout: root.join(crate::execution::STDOUT_LOG),
            stderr: root.join(crate::execution::STDERR_LOG),
        };
        match fs::create_dir(&folder.work) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Ok(Prepared::Used),
            made => made?,
        }
        fs::create_dir(&folder.artifacts)?;
        fs::write(&folder.payload, payload)?;
        Ok(Prepared::Fresh(folder))
    }

    /// The payload, to be read.
    pub(super) fn payload_file(&self) -> io::Result<File> {
        File::open(&self.payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_folder_is_prepared_once() {
        let root = tempfile::tempdir().unwrap();
        let Prepared::Fresh(folder) = TaskFolder::prepare(root.path(), "{\"a\":1.0}").unwrap() else {
            panic!("the folder is fresh");
        };
        assert_eq!(fs::read_to_string(&folder.payload).unwrap(), "{\"a\":1.0}");
        assert!(matches!(TaskFolder::prepare(root.path(), "{}").unwrap(), Prepared::Used));
        assert_eq!(fs::read_to_string(&folder.payload).unwrap(), "{\"a\":1.0}");
        assert!(TaskFolder::prepare(&root.path().join("missing"), "{}").is_err());
    }
}
