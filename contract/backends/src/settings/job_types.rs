//! The job-types file.

use contract::JobTypes;
use contract::decode::FieldError;
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
#[error("{}:{message}", .file.display())]
pub struct JobTypesError {
    /// Which file.
    pub file: PathBuf,
    /// Why: behind a space, or every error of the file on lines of its own.
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
        let text = std::fs::read_to_string(file).map_err(|e| failed(format!(" {e}")))?;
        JobTypes::parse(&text).map_err(|invalid| {
            let line = |e: &FieldError| match e.pointer.as_str() {
                // No TOML at all; that error shows the place by itself.
                "" => format!("\n{}", e.message.trim_end()),
                _ => format!("\n  {e}"),
            };
            failed(invalid.errors.iter().map(line).collect())
        })
    }
}

/// The file at `path` if it is one, else the built-in job types.
pub(super) fn at(path: &str, is_file: fn(&Path) -> bool) -> JobTypesAt {
    let path = PathBuf::from(path);
    if is_file(&path) { JobTypesAt::File(path) } else { JobTypesAt::BuiltIn }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_the_file_is_said_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("types.toml");
        let said = |text: &str| {
            std::fs::write(&file, text).unwrap();
            JobTypesAt::File(file.clone())
                .read()
                .unwrap_err()
                .to_string()
                .replace(&*file.to_string_lossy(), "F")
        };
        let broken = said("[job_types.x\n");
        assert!(broken.starts_with("F:\nTOML parse error at line 1, column 13\n"), "{broken}");
        assert!(!broken.ends_with('\n'), "{broken:?}");
        let fields = said("[job_types.x]\ncommand = [\"a\"]\ndefaults = { max_attempts = 0 }\n");
        assert!(fields.starts_with("F:\n  /job_types/x/"), "{fields}");
        let missing = JobTypesAt::File(folder.path().join("none.toml")).read().unwrap_err().to_string();
        assert!(missing.contains("none.toml: No such file"), "{missing}");
    }
}
