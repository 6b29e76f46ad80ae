//! Whether the file that was opened is still the one of its name.

use crate::records::RecordsError;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A database file and its place. SQLite goes on with a file that was removed or replaced as if nothing had
/// happened; what it wrote there, nobody else would ever see.
#[derive(Debug)]
pub(super) struct Home {
    path: PathBuf,
    identity: (u64, u64),
}

impl Home {
    /// The file that has just been opened at `path`.
    pub(super) fn of(path: &Path) -> Result<Self, RecordsError> {
        let identity = identity(path).map_err(|e| RecordsError::Unavailable(e.to_string()))?;
        Ok(Self { path: path.to_owned(), identity })
    }

    /// Its path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Refuses a file that is no longer at its place. Costs one `stat`.
    pub(super) fn check(&self) -> Result<(), RecordsError> {
        let what = match identity(&self.path) {
            Ok(found) if found == self.identity => return Ok(()),
            Ok(_) => "was replaced by another file".to_owned(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => "was removed or renamed".to_owned(),
            Err(e) => return Err(RecordsError::Unavailable(format!("{}: {e}", self.path.display()))),
        };
        let path = self.path.display();
        Err(RecordsError::Unavailable(format!(
            "the database {path} {what} while it was open; put it back, or restart this process to begin with what is there"
        )))
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::metadata(path).map(|found| (found.dev(), found.ino()))
}
