//! Following a job to its end, and what its end means for the exit code.

use crate::client::{Call, Client, ClientError};
use crate::exit::Exit;
use crate::output;
use contract::Timestamp;
use serde::Deserialize;
use std::time::{Duration, Instant};

/// The flat fields of a job. Words are kept as text, so that a newer server can say what this client does
/// not know.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct View {
    pub(crate) job_id: String,
    #[serde(default)]
    pub(crate) job_type: Option<String>,
    pub(crate) status: String,
    #[serde(default)]
    pub(crate) reason: Option<String>,
    #[serde(default)]
    pub(crate) message: String,
    #[serde(default)]
    pub(crate) attempt: u32,
    #[serde(default)]
    pub(crate) created_at: Option<Timestamp>,
    #[serde(default)]
    pub(crate) started_at: Option<Timestamp>,
    #[serde(default)]
    pub(crate) finished_at: Option<Timestamp>,
}

impl View {
    /// A job of which no more is known.
    pub(crate) fn new(job_id: &str, status: &str, reason: Option<&str>) -> Self {
        Self {
            job_id: job_id.to_owned(),
            job_type: None,
            status: status.to_owned(),
            reason: reason.map(str::to_owned),
            message: String::new(),
            attempt: 0,
            created_at: None,
            started_at: None,
            finished_at: None,
        }
    }

    /// Whether the job has ended.
    pub(crate) fn is_finished(&self) -> bool {
        self.status == "SUCCEEDED" || self.status == "FAILED"
    }

    /// Reason and message, on one line.
    pub(crate) fn why(&self) -> String {
        let why = [self.reason.as_deref().unwrap_or_default(), &self.message];
        let why: Vec<&str> = why.into_iter().filter(|text| !text.is_empty()).collect();
        output::one_line(&why.join(": "))
    }
}

/// What a long poll waits for.
#[derive(Clone, Copy)]
pub(crate) enum Until<'a> {
    /// Any other status, to show it.
    Changed,
    /// The end.
    Finished,
    /// A view of this kind, or the end.
    Reached(&'a dyn Fn(&View) -> bool),
}

impl Until<'_> {
    fn is_reached(&self, view: &View) -> bool {
        match self {
            Self::Reached(kind) => kind(view) || view.is_finished(),
            Self::Changed | Self::Finished => view.is_finished(),
        }
    }
}

/// How long the API is asked to wait for a change at most; its own limit is 60 s.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How long it is asked to wait at first. A status that changes between two polls is not seen by the second
/// as a change, so the polls of a job that has just changed are short.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// How long a restart of the server may take before following it is given up.
const PATIENCE: Duration = Duration::from_secs(60);
/// The pause between two calls that fail.
const PAUSE: Duration = Duration::from_millis(200);

/// Follows a job until it has ended or `deadline` has come (`None` then); `seen` hears of every view.
pub(crate) fn follow(
    api: &Client,
    job_id: &str,
    until: Until<'_>,
    deadline: Option<Instant>,
    mut seen: impl FnMut(&View),
) -> Result<Option<View>, ClientError> {
    let mut failing_since: Option<Instant> = None;
    let (mut patience, word) = match until {
        Until::Changed | Until::Reached(_) => (FIRST_WAIT, "changed"),
        Until::Finished => (LONGEST_WAIT, "finished"),
    };
    let mut last: Option<(String, u32)> = None;
    loop {
        let left = deadline.map_or(LONGEST_WAIT, |d| d.saturating_duration_since(Instant::now()));
        let wait = left.min(patience);
        let path = format!("/jobs/{job_id}?wait={}ms&until={word}", wait.as_millis());
        match api.json::<View>(Call { wait, ..Call::get(path) }) {
            Ok(view) => {
                failing_since = None;
                seen(&view);
                if until.is_reached(&view) {
                    return Ok(Some(view));
                }
                let now = Some((view.status, view.attempt));
                let same = now == last || matches!(until, Until::Finished);
                patience = if same { (patience * 2).min(LONGEST_WAIT) } else { FIRST_WAIT };
                last = now;
            }
            Err(e) if e.passes() => {
                let since = *failing_since.get_or_insert_with(|| {
                    output::say(&format!("waiting: {e}"));
                    Instant::now()
                });
                if since.elapsed() > PATIENCE {
                    return Err(e);
                }
                std::thread::sleep(PAUSE.min(left));
            }
            Err(e) => return Err(e),
        }
        if deadline.is_some_and(|d| Instant::now() >= d) {
            return Ok(None);
        }
    }
}

/// Shows the progress of one job: a line for each status it has had, with its time. A job can pass through
/// a status between two looks; its times tell.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    shown: Option<(String, u32)>,
}

impl Progress {
    /// The lines that `view` adds.
    pub(crate) fn lines(&mut self, view: &View) -> Vec<String> {
        let now = (view.status.clone(), view.attempt);
        if self.shown.as_ref() == Some(&now) {
            return Vec::new();
        }
        let mut lines = Vec::new();
        if self.shown.is_none() {
            lines.push(line("QUEUED", view.created_at, view.created_at, ""));
        }
        let running_shown =
            self.shown.as_ref().is_some_and(|(s, attempt)| s == "RUNNING" && *attempt == view.attempt);
        if view.status != "QUEUED" && !running_shown && view.started_at.is_some() {
            let attempt = format!("attempt {}", view.attempt);
            lines.push(line("RUNNING", view.started_at, view.created_at, &attempt));
        }
        if view.is_finished() {
            let why = if view.status == "SUCCEEDED" { String::new() } else { view.why() };
            lines.push(line(&view.status, view.finished_at, view.created_at, &why));
        } else if view.status == "QUEUED" && self.shown.is_some() {
            lines.push(line("QUEUED", None, None, &view.why()));
        }
        self.shown = Some(now);
        lines
    }
}

fn line(status: &str, at: Option<Timestamp>, since: Option<Timestamp>, more: &str) -> String {
    let at = at.unwrap_or_else(|| std::time::SystemTime::now().into());
    let after = since.map(|since| at.millis_since(since)).filter(|ms| *ms > 0);
    let after = after.map_or(String::new(), |ms| format!("+{}.{:03} s", ms / 1000, ms % 1000));
    let word = output::status(status, 9, output::stderr_colours());
    format!("{at}  {word}  {after:<10}  {}", output::one_line(more)).trim_end().to_owned()
}

/// One attempt as far as the exit code needs it.
#[derive(Debug, Deserialize)]
struct AttemptView {
    #[serde(default)]
    report: Option<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
struct Attempts {
    attempts: Vec<AttemptView>,
}

/// The exit code that the end of a job means, whatever its agent's was.
pub(crate) fn exit_of_end(view: &View) -> Exit {
    match (view.status.as_str(), view.reason.as_deref().unwrap_or_default()) {
        ("SUCCEEDED", _) => Exit::Done,
        (_, "Cancelled") => Exit::Cancelled,
        (_, "DeadlineExceeded" | "AttemptTimeout" | "StartTimeout") => Exit::TimeLimit,
        _ => Exit::JobFailed,
    }
}

/// The exit code that the end of a job means: that of its agent, where the agent ended it.
pub(crate) fn exit_of(api: &Client, view: &View) -> Result<Exit, ClientError> {
    match exit_of_end(view) {
        Exit::JobFailed => {
            let all: Attempts = api.json(Call::get(format!("/jobs/{}/attempts", view.job_id)))?;
            let last = all.attempts.last().and_then(|a| a.report.as_ref());
            Ok(agent_code(last).map_or(Exit::JobFailed, Exit::Agent))
        }
        exit => Ok(exit),
    }
}

/// The agent's exit code in the report of an attempt that failed by it.
fn agent_code(report: Option<&serde_json::Value>) -> Option<u8> {
    let failure = report?.pointer("/outcome/failure")?;
    let by_itself = failure.get("class")?.as_str()? == "NonZeroExitCode";
    let code = u8::try_from(failure.get("exit_code")?.as_i64()?).ok()?;
    (by_itself && code != 0).then_some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(status: &str, attempt: u32, times: [Option<i64>; 3]) -> View {
        let [created_at, started_at, finished_at] = times.map(|t| t.map(Timestamp::from_millis));
        let reason = (status == "FAILED").then_some("NonZeroExitCode");
        View { attempt, created_at, started_at, finished_at, ..View::new("j", status, reason) }
    }

    fn words(lines: &[String]) -> Vec<&str> {
        lines.iter().map(|l| l.split_whitespace().nth(1).unwrap()).collect()
    }

    #[test]
    fn a_job_that_ends_between_two_looks_still_shows_every_status_with_its_time() {
        let lines = Progress::default().lines(&view("SUCCEEDED", 1, [Some(1000), Some(1004), Some(1010)]));
        assert_eq!(words(&lines), ["QUEUED", "RUNNING", "SUCCEEDED"]);
        assert_eq!(lines[1], "1970-01-01T00:00:01.004Z  RUNNING    +0.004 s    attempt 1");
        assert!(lines[2].starts_with("1970-01-01T00:00:01.010Z"), "{lines:?}");
    }

    #[test]
    fn nothing_is_shown_twice_and_every_attempt_is_shown() {
        let mut p = Progress::default();
        assert_eq!(words(&p.lines(&view("QUEUED", 0, [Some(1), None, None]))), ["QUEUED"]);
        assert!(p.lines(&view("QUEUED", 0, [Some(1), None, None])).is_empty());
        assert_eq!(words(&p.lines(&view("RUNNING", 1, [Some(1), Some(2), None]))), ["RUNNING"]);
        assert_eq!(words(&p.lines(&view("QUEUED", 1, [Some(1), Some(2), None]))), ["QUEUED"]);
        assert_eq!(words(&p.lines(&view("RUNNING", 2, [Some(1), Some(5), None]))), ["RUNNING"]);
        assert_eq!(words(&p.lines(&view("FAILED", 2, [Some(1), Some(5), Some(6)]))), ["FAILED"]);
    }

    #[test]
    fn only_an_exit_code_of_the_agent_itself_is_passed_on() {
        let code = |text: &str| agent_code(Some(&serde_json::from_str(text).unwrap()));
        let report = |class: &str, code: i32| {
            format!(r#"{{"outcome":{{"failure":{{"class":"{class}","exit_code":{code}}}}}}}"#)
        };
        assert_eq!(code(&report("NonZeroExitCode", 7)), Some(7));
        assert_eq!(code(&report("AttemptTimeout", 143)), None);
        assert_eq!(code(&report("NonZeroExitCode", 0)), None, "0 would read as success");
        assert_eq!(code(&report("NonZeroExitCode", 256)), None, "its low byte would read as success");
        assert_eq!(code(r#"{"outcome":{}}"#), None);
    }
}
