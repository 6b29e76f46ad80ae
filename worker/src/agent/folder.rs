//! The folder of a task, as the agent finds it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// The agent's working directory below the task's folder.
const WORK: &str = "work";

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
            work: root.join(WORK),
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

/// Empties the working directory of an agent that is gone. What it left there may be what fills the disk on which its
/// outcome cannot be stored, and nobody else would remove it before that is. The folder itself stays: it is a lock.
pub(crate) fn make_room(root: &Path) {
    for entry in fs::read_dir(root.join(WORK)).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        // Best effort: what stays is removed with the task's folder.
        let _ = if is_folder { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_made_in_the_working_directory_only() {
        let root = tempfile::tempdir().unwrap();
        make_room(root.path());
        let Ok(Prepared::Fresh(folder)) = TaskFolder::prepare(root.path(), "{}") else { panic!("fresh") };
        fs::create_dir(folder.work.join("deep")).unwrap();
        for file in [folder.work.join("deep/file"), folder.work.join("file"), folder.artifacts.join("kept")] {
            fs::write(file, "x").unwrap();
        }
        std::os::unix::fs::symlink(&folder.artifacts, folder.work.join("link")).unwrap();
        make_room(root.path());
        assert_eq!(fs::read_dir(&folder.work).unwrap().count(), 0);
        assert!(folder.artifacts.join("kept").exists() && folder.payload.exists());
        assert!(matches!(TaskFolder::prepare(root.path(), "{}"), Ok(Prepared::Used)));
    }

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
