//! `__bench-echo <artifacts folder> <job id>`: the echo of the benchmark's figure W, which says how much of
//! a short job is the start of the worker and the storing of its files. Nothing else calls it, it needs no
//! setting, and it reports to nobody.

use crate::Exit;
use crate::drive::block_on;
use crate::execution::{STDERR_LOG, STDOUT_LOG, now};
use backends::{Artifacts, Content, DirArtifacts, Durability};
use contract::attempt::RESULT_FILE;
use contract::{Attempt, JobId, LaunchToken};
use std::ffi::OsString;
use std::path::Path;

/// The argument.
const NAME: &str = "__bench-echo";
const PAYLOAD: &str = r#"{"message":"Hello, World!"}"#;

/// What is to be echoed where, if the arguments ask for it.
pub(crate) fn asked(mut args: impl Iterator<Item = OsString>) -> Option<(OsString, OsString)> {
    args.find(|arg| arg == NAME)?;
    Some((args.next()?, args.next()?))
}

/// Stores what an echo leaves.
pub(crate) fn echo((folder, job_id): (OsString, OsString)) -> Exit {
    match store(Path::new(&folder), &job_id.to_string_lossy()) {
        Ok(()) => Exit::Done,
        Err(e) => {
            crate::log::line(NAME, &e);
            Exit::Internal
        }
    }
}

fn store(folder: &Path, job_id: &str) -> Result<(), String> {
    let job_id = JobId::new(job_id).map_err(|e| e.to_string())?;
    let token = LaunchToken::new("0".repeat(32)).map_err(|e| e.to_string())?;
    let artifacts = DirArtifacts::open(folder, Durability::Process).map_err(|e| e.to_string())?;
    let attempt = Attempt::folder(&job_id, 1, &token);
    let (started_at, finished_at) = (now(), now());
    let result = format!(
        "{{\"job_id\":\"{job_id}\",\"attempt\":1,\"payload\":{PAYLOAD},\
         \"started_at\":\"{started_at}\",\"finished_at\":\"{finished_at}\"}}"
    );
    let said = format!("echo: job {job_id}, attempt 1, a payload of {} bytes\n", PAYLOAD.len());
    for (name, text) in [(RESULT_FILE, result), (STDOUT_LOG, said), (STDERR_LOG, String::new())] {
        let key = format!("{attempt}/{name}");
        block_on(artifacts.put(&key, Content::Bytes(text.as_bytes()))).map_err(|e| e.to_string())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_echo_of_the_benchmark_leaves_the_files_of_an_attempt() {
        let folder = tempfile::tempdir().unwrap();
        let args = ["agent-runner", "__worker", NAME, folder.path().to_str().unwrap(), "job-1"];
        let asked = asked(args.iter().map(OsString::from)).unwrap();
        assert_eq!(echo(asked), Exit::Done);
        let attempt = folder.path().join("jobs/job-1/attempts/1-00000000");
        let result = std::fs::read_to_string(attempt.join(RESULT_FILE)).unwrap();
        assert!(result.contains("\"job_id\":\"job-1\"") && result.contains(PAYLOAD), "{result}");
        assert!(attempt.join(STDOUT_LOG).exists() && attempt.join(STDERR_LOG).exists());
        assert_eq!(super::asked(["agent-runner", "__worker"].iter().map(OsString::from)), None);
    }
}
