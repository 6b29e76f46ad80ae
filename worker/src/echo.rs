//! The built-in job type `echo`: gives its payload back. It is executed inside the worker, needs neither
//! task folder nor signals unless it sleeps, and can be told to fail, so that retries can be shown and
//! tested without an agent.
//!
//! | member of the payload | meaning |
//! |---|---|
//! | `sleep_seconds` | number, at least 0: how long to take |
//! | `fail_with_exit_code` | 1 to 255: fail with this exit code, in every attempt; 0 is no failure |
//! | `fail_times` | integer: fail only while the attempt's number is at most this; alone with exit code 1 |

use crate::attempt::{Run, too_long};
use crate::execution::{Ended, Execution, LeftFile, STDERR_LOG, STDOUT_LOG, now};
use crate::reporter::Beat;
use contract::attempt::RESULT_FILE;
use contract::{Failure, FailureClass};
use serde::Deserialize;
use std::time::{Duration, Instant};

/// `EX_USAGE` of sysexits.h, for an option that cannot be understood.
const EX_USAGE: i32 = 64;

#[derive(Debug, Default, PartialEq, Deserialize)]
struct Options {
    sleep_seconds: Option<f64>,
    fail_with_exit_code: Option<u8>,
    fail_times: Option<u32>,
}

impl Options {
    /// Reads the options of a payload. Whatever is no object has none.
    fn of(payload: &str) -> Result<Self, String> {
        if !payload.starts_with('{') {
            return Ok(Self::default());
        }
        let options: Self = serde_json::from_str(payload).map_err(|e| format!("an option of echo: {e}"))?;
        options.sleep()?;
        Ok(options)
    }

    fn sleep(&self) -> Result<Duration, String> {
        let seconds = self.sleep_seconds.unwrap_or(0.0);
        Duration::try_from_secs_f64(seconds).map_err(|e| format!("sleep_seconds {seconds}: {e}"))
    }

    /// The exit code to fail with in attempt `number`.
    fn exit_code(&self, number: u32) -> Option<i32> {
        let code = match (self.fail_with_exit_code, self.fail_times) {
            (Some(code), None) => code,
            (code, Some(times)) if number <= times => code.unwrap_or(1),
            (_, _) => 0,
        };
        (code != 0).then_some(code.into())
    }
}

/// Executes an attempt of type `echo`.
pub(crate) fn execute(run: &mut Run<'_>, payload: &str) -> Ended {
    let number = run.claim.number;
    let fails = |exit_code, message| Failure {
        class: FailureClass::NonZeroExitCode,
        exit_code: Some(exit_code),
        message,
    };
    let failure = match Options::of(payload) {
        Err(mistake) => Some(fails(EX_USAGE, mistake)),
        Ok(options) => match sleep(run, options.sleep().unwrap_or_default()) {
            Slept::Lost => return Ended::Lost,
            Slept::Failed(failure) => Some(failure),
            Slept::Well => options.exit_code(number).map(|code| {
                let message = format!("echo failed in attempt {number}, as its payload asked");
                fails(code, message)
            }),
        },
    };
    Ended::Left(left(run, payload, failure))
}

fn left(run: &Run<'_>, payload: &str, failure: Option<Failure>) -> Execution {
    let (job_id, number) = (&run.settings.job_id, run.claim.number);
    let finished_at = now();
    let said = format!("echo: job {job_id}, attempt {number}, a payload of {} bytes\n", payload.len());
    let complaint = failure.as_ref().map_or_else(String::new, |f| format!("{}\n", f.message));
    let mut files = Vec::with_capacity(3);
    if failure.is_none() {
        let started_at = run.reporter.report().started_at;
        let result = format!(
            "{{\"job_id\":\"{job_id}\",\"attempt\":{number},\"payload\":{payload},\
             \"started_at\":\"{started_at}\",\"finished_at\":\"{finished_at}\"}}"
        );
        files.push(LeftFile::bytes(RESULT_FILE, result));
    }
    files.push(LeftFile::bytes(STDOUT_LOG, said));
    files.push(LeftFile::bytes(STDERR_LOG, complaint));
    Execution { finished_at, failure, files }
}

enum Slept {
    Well,
    Lost,
    Failed(Failure),
}

fn sleep(run: &mut Run<'_>, duration: Duration) -> Slept {
    if duration.is_zero() {
        return Slept::Well;
    }
    let failed = |class, message: String| Slept::Failed(Failure { class, exit_code: None, message });
    let signals = match (run.means.signals)() {
        Ok(signals) => run.signals.insert(signals),
        Err(e) => return failed(FailureClass::TaskFailedToStart, format!("no signals: {e}")),
    };
    // A time that no clock reaches lies behind the guard anyway.
    let end = Instant::now().checked_add(duration).unwrap_or(run.guard);
    loop {
        if signals.told_to_stop() {
            return failed(FailureClass::Interrupted, "echo was told to stop".to_owned());
        }
        match run.reporter.beat() {
            Beat::Kept => {}
            Beat::Left => return failed(FailureClass::Interrupted, "the attempt was left".to_owned()),
            Beat::Lost => return Slept::Lost,
        }
        let now = Instant::now();
        if now >= end {
            return Slept::Well;
        }
        if now >= run.guard {
            return failed(FailureClass::AttemptTimeout, too_long(run.settings, run.claim));
        }
        signals.wait(end.min(run.guard).min(run.reporter.due()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn echo_fails_as_often_and_with_the_code_that_the_payload_asks_for() {
        for (payload, codes) in [
            (r#"{"fail_with_exit_code":3}"#, [Some(3), Some(3), Some(3)]),
            (r#"{"fail_times":2}"#, [Some(1), Some(1), None]),
            (r#"{"fail_times":1,"fail_with_exit_code":7}"#, [Some(7), None, None]),
            (r#"{"fail_with_exit_code":0}"#, [None, None, None]),
            (r#"{"message":"Hello"}"#, [None, None, None]),
            ("\"fail_times\"", [None, None, None]),
            ("[{\"fail_times\":9}]", [None, None, None]),
        ] {
            let options = Options::of(payload).unwrap();
            assert_eq!([1, 2, 3].map(|n| options.exit_code(n)), codes, "{payload}");
        }
    }

    #[test]
    fn an_option_that_makes_no_sense_is_a_failure_and_not_ignored() {
        for payload in [
            r#"{"sleep_seconds":"1"}"#,
            r#"{"sleep_seconds":-1}"#,
            r#"{"fail_with_exit_code":256}"#,
            r#"{"fail_times":-1}"#,
        ] {
            assert!(Options::of(payload).is_err(), "{payload} was accepted");
        }
    }
}
