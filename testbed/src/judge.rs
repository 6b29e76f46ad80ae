//! The judge: compares what the records say with what the agents wrote down outside of the system, and
//! names everything that the promises do not allow.

use crate::ledger::{self, Event, Line};
use crate::stack::Stack;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// What the judge looked at and found.
#[derive(Debug, Default)]
pub struct Findings {
    /// A sentence for each broken promise.
    pub mistakes: Vec<String>,
    /// Jobs looked at.
    pub jobs: usize,
    /// Attempts on record.
    pub attempts: usize,
    /// Executions in the ledger.
    pub executions: usize,
    /// How attempts were closed, with counts.
    pub causes: BTreeMap<String, usize>,
}

impl Findings {
    /// Says what was looked at.
    ///
    /// # Panics
    /// When a promise was broken.
    pub fn accept(&self, what: &str) {
        let (jobs, attempts, executions) = (self.jobs, self.attempts, self.executions);
        let causes: Vec<String> = self.causes.iter().map(|(cause, n)| format!("{cause} {n}")).collect();
        let causes = causes.join(", ");
        crate::say(&format!("{what}: {jobs} jobs, {attempts} attempts ({causes}), {executions} executions"));
        assert!(self.mistakes.is_empty(), "{what}: broken promises:\n{}", self.mistakes.join("\n"));
    }
}

/// An attempt as it is stored; a section that is absent is null.
#[derive(Debug, Clone, Default)]
pub struct Stored {
    /// The job.
    pub job: String,
    /// The launch token.
    pub token: String,
    /// Section.
    pub claim: Value,
    /// Section.
    pub gate: Value,
    /// Section.
    pub report: Value,
    /// Section.
    pub closing: Value,
}

/// What can be judged.
pub trait Judged {
    /// What the agents wrote down.
    fn lines(&self) -> Vec<Line>;
    /// The sections `status` and `control` of each job, null where absent.
    fn jobs(&self) -> BTreeMap<String, (Value, Value)>;
    /// Every attempt, those of a job in their order.
    fn attempts(&self) -> Vec<Stored>;
    /// The content of an artifact, `None` if there is none.
    fn file(&self, key: &str) -> Option<Vec<u8>>;
}

impl Judged for Stack {
    fn lines(&self) -> Vec<Line> {
        self.ledger().lines()
    }

    fn jobs(&self) -> BTreeMap<String, (Value, Value)> {
        let records = self.records();
        let mut statement =
            records.prepare("SELECT job_id, status, control FROM jobs").expect("the jobs can be read");
        let rows = statement.query_map([], |row| Ok((row.get(0)?, (json(row, 1)?, json(row, 2)?))));
        rows.expect("the jobs can be read").map(|row| row.expect("a job")).collect()
    }

    fn attempts(&self) -> Vec<Stored> {
        let records = self.records();
        let sql = "SELECT job_id, token, claim, gate, report, closing FROM attempts ORDER BY seq";
        let mut statement = records.prepare(sql).expect("the attempts can be read");
        let rows = statement.query_map([], |row| {
            let (job, token) = (row.get(0)?, row.get(1)?);
            let (claim, gate) = (json(row, 2)?, json(row, 3)?);
            Ok(Stored { job, token, claim, gate, report: json(row, 4)?, closing: json(row, 5)? })
        });
        rows.expect("the attempts can be read").map(|row| row.expect("an attempt")).collect()
    }

    fn file(&self, key: &str) -> Option<Vec<u8>> {
        std::fs::read(self.artifacts().join(key)).ok()
    }
}

fn json(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Value> {
    let text = row.get::<_, Option<String>>(column)?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default())
}

/// One attempt on record.
struct Attempt {
    job: String,
    number: u32,
    run: u64,
    started: bool,
    closing: Option<Value>,
    manifest: Vec<Value>,
    folder: String,
}

/// Judges what has settled: every job of `accepted` must have ended as `expected` says (by id; SUCCEEDED
/// where it says nothing).
#[must_use]
pub fn judge(judged: &impl Judged, accepted: &[String], expected: &BTreeMap<String, &str>) -> Findings {
    let (lines, jobs) = (judged.lines(), judged.jobs());
    let attempts: Vec<Attempt> = judged.attempts().into_iter().map(Attempt::of).collect();
    let mut found = Findings {
        mistakes: ledger::mistakes(&lines),
        jobs: accepted.len(),
        attempts: attempts.len(),
        executions: lines.iter().filter(|line| line.event == Event::Start).count(),
        causes: BTreeMap::new(),
    };
    for attempt in &attempts {
        *found.causes.entry(cause(attempt)).or_default() += 1;
    }
    executions_are_on_record(&lines, &attempts, &mut found);
    for job in accepted {
        let of_job: Vec<&Attempt> = attempts.iter().filter(|a| a.job == *job).collect();
        let expected = expected.get(job).copied().unwrap_or("SUCCEEDED");
        match jobs.get(job) {
            Some(sections) => judge_job(judged, sections, job, expected, &of_job, &mut found),
            None => found.mistakes.push(format!("job {job} was accepted and is lost")),
        }
    }
    found
}

impl Attempt {
    fn of(stored: Stored) -> Self {
        let Stored { job, token, claim, gate, report, closing } = stored;
        let number = claim["number"].as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
        let files = report.pointer("/outcome/manifest/files").and_then(Value::as_array);
        let folder = format!("jobs/{job}/attempts/{number}-{}", &token[..8]);
        Self {
            job,
            number,
            run: claim["run"].as_u64().unwrap_or(0),
            started: !gate["task"].is_null() || !gate["started"].is_null(),
            closing: (!closing.is_null()).then_some(closing),
            manifest: files.cloned().unwrap_or_default(),
            folder,
        }
    }
}

fn cause(attempt: &Attempt) -> String {
    let Some(closing) = &attempt.closing else { return "open".to_owned() };
    let verdict = &closing["verdict"];
    let word = |pointer: &str| verdict.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    verdict
        .as_str()
        .map(str::to_owned)
        .or_else(|| word("/failed/class"))
        .or_else(|| word("/left/why"))
        .unwrap_or_else(|| "no cause".to_owned())
}

/// Every execution belongs to an attempt on record whose gate it passed; nothing is executed on the side.
fn executions_are_on_record(lines: &[Line], attempts: &[Attempt], found: &mut Findings) {
    let on_record: BTreeSet<(&str, u32)> =
        attempts.iter().filter(|a| a.started).map(|a| (a.job.as_str(), a.number)).collect();
    for line in lines.iter().filter(|line| line.event == Event::Start) {
        if !on_record.contains(&(&line.job, line.attempt)) {
            let (job, attempt) = (&line.job, line.attempt);
            found
                .mistakes
                .push(format!("attempt {attempt} of job {job} was executed without passing a gate"));
        }
    }
}

fn judge_job(
    judged: &impl Judged,
    (status, control): &(Value, Value),
    job: &str,
    expected: &str,
    attempts: &[&Attempt],
    found: &mut Findings,
) {
    let word = status["status"].as_str().unwrap_or("QUEUED");
    if word != expected {
        found.mistakes.push(format!("job {job} is {word}, not {expected}: {status}"));
    }
    let mut numbers = BTreeSet::new();
    for (at, attempt) in attempts.iter().enumerate() {
        let number = attempt.number;
        if attempt.started && !numbers.insert(number) {
            found.mistakes.push(format!("two attempts of job {job} have the number {number}"));
        }
        let cause = cause(attempt);
        // Only a forced retry, which begins another run, may follow a success.
        let later = |next: &&Attempt| next.number > number && next.run == attempt.run;
        let has_next = attempts.iter().skip(at + 1).any(later);
        if matches!(cause.as_str(), "open" | "no cause") || (has_next && cause == "succeeded") {
            found.mistakes.push(format!("attempt {number} of job {job} is closed as {cause:?}"));
        }
    }
    if word == "SUCCEEDED" {
        let number = control.pointer("/accepted/number").and_then(Value::as_u64).unwrap_or(0);
        match attempts.iter().find(|a| u64::from(a.number) == number && cause(a) == "succeeded") {
            Some(accepted) => judge_files(judged, job, accepted, found),
            None => {
                found.mistakes.push(format!("job {job} accepted attempt {number}, which did not succeed"))
            }
        }
    }
}

/// The result is readable as the manifest describes it, and at its plain path too.
fn judge_files(judged: &impl Judged, job: &str, accepted: &Attempt, found: &mut Findings) {
    if !accepted.manifest.iter().any(|file| file["path"] == "result.json") {
        found.mistakes.push(format!("the manifest of job {job} names no result"));
    }
    for file in &accepted.manifest {
        let path = file["path"].as_str().unwrap_or_default();
        let bytes = judged.file(&format!("{}/{path}", accepted.folder)).unwrap_or_default();
        let sha256: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        if file["size"].as_u64() != Some(bytes.len() as u64) || file["sha256"] != sha256 {
            found.mistakes.push(format!("{path} of job {job} is not as its manifest says: {file}"));
        }
        let plain = format!("jobs/{job}/result.json");
        if path == "result.json" && judged.file(&plain).as_deref() != Some(&bytes) {
            found.mistakes.push(format!("the plain result of job {job} is not that of its accepted attempt"));
        }
    }
}
