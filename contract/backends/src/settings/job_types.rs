//! The job-types file.

use contract::JobTypes;
use std::path::{Path, PathBuf};

/// The job-types file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobTypesAt {
    /// None: only the built-in job types exist.
    BuiltIn,
    /// This file.
    File(PathBuf),
}

/// The job-types file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {message}", .file.display())]
pub struct JobTypesError {
    /// Which file.
    pub file: PathBuf,
    /// Why; every error of the file, a line each.
    pub message: String,
}

impl JobTypesAt {
    /// Reads the job types.
    ///
    /// # Errors
    /// [`JobTypesError`].
    pub fn read(&self) -> Result<JobTypes, JobTypesError> {
        let Self::File(file) = self else { return Ok(JobTypes::default()) };
        let failed = |message: String| JobTypesError { file: file.clone(), message };
        let text = std::fs::read_to_string(file).map_err(|e| failed(e.to_string()))?;
        JobTypes::parse(&text).map_err(|invalid| {
            let errors: Vec<String> = invalid.errors.iter().map(|e| format!("\n  {e}")).collect();
            failed(errors.concat())
        })
    }
}

/// The file at `path` if it is one, else the built-in job types.
pub(super) fn at(path: &str, is_file: fn(&Path) -> bool) -> JobTypesAt {
    let path = PathBuf::from(path);
    if is_file(&path) { JobTypesAt::File(path) } else { JobTypesAt::BuiltIn }
}
