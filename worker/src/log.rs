//! What the worker says about itself, on stderr, which is one append-mode file of all workers: one write per
//! line, so that lines stay whole. Nobody may be listening, so nothing here can fail.

use contract::Timestamp;
use std::io::Write;
use std::time::SystemTime;

/// Writes one line.
pub(crate) fn line(job_id: &str, message: &str) {
    let now = Timestamp::from(SystemTime::now());
    let line = format!("{now} worker pid={} job_id={job_id} {message}\n", std::process::id());
    let _ = std::io::stderr().write_all(line.as_bytes());
}
