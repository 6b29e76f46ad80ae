//! `submit -f`: many jobs from a file with one JSON object per line. Each line is answered separately, so
//! that one bad line keeps none of the others from being submitted.

use super::VerbError;
use crate::args::SubmitForm;
use crate::client::{Call, Client, ClientError};
use crate::exit::Exit;
use crate::output;
use crate::tree::Tree;
use contract::json::JsonText;
use serde::Deserialize;
use std::io::Read;
use std::path::Path;

/// The most jobs of one request.
const JOBS: usize = 500;
/// The most bytes of one request: the API takes 8 MiB.
const BYTES: usize = 8 * 1024 * 1024 - 64 * 1024;

/// A line of the file.
struct Line {
    number: usize,
    text: JsonText,
}

#[derive(Deserialize)]
struct Answers {
    results: Vec<Tree>,
}

pub(super) fn submit(api: &Client, file: &Path, form: SubmitForm) -> Result<Exit, VerbError> {
    let text = read(file)?;
    let (lines, mut refused) = lines(&text);
    let mut accepted = 0;
    let mut refusals = Refusals::default();
    for batch in batches(&lines) {
        let texts: Vec<&str> = batch.iter().map(|line| line.text.as_str()).collect();
        let body = format!("{{\"jobs\":[{}]}}", texts.join(","));
        let answers = send(api, body).map_err(|e| ended(e, batch, accepted))?;
        if answers.results.len() != batch.len() {
            let message = format!("{} lines were sent and {} answered", batch.len(), answers.results.len());
            return Err(VerbError::Failed(format!(
                "{message}; look with `agent-runner get` what was submitted"
            )));
        }
        for (line, answer) in batch.iter().zip(&answers.results) {
            match answer.get("job_id").and_then(Tree::text) {
                Some(job_id) => {
                    accepted += 1;
                    let job = answer.get("job").map(Tree::json).filter(|_| form == SubmitForm::Json);
                    output::data(&format!("{}\n", job.unwrap_or_else(|| job_id.to_owned())))?;
                }
                None => {
                    refused += 1;
                    refusals.add(line.number, why(answer));
                }
            }
        }
    }
    refusals.tell();
    if form == SubmitForm::Table || refused > 0 {
        output::say(&format!("{accepted} submitted, {refused} refused"));
    }
    Ok(if refused == 0 { Exit::Done } else { Exit::Failed })
}

/// Refused lines that wait to be told: as many in a row as have the same fault are told at once, because what is
/// wrong with the server is wrong with each of thousands.
#[derive(Default)]
struct Refusals {
    first: usize,
    last: usize,
    count: usize,
    why: String,
}

impl Refusals {
    fn add(&mut self, number: usize, why: String) {
        if self.count > 0 && self.why != why {
            self.tell();
        }
        if self.count == 0 {
            (self.first, self.why) = (number, why);
        }
        self.last = number;
        self.count += 1;
    }

    fn tell(&mut self) {
        if self.count > 0 {
            output::complain(&self.text());
        }
        self.count = 0;
    }

    fn text(&self) -> String {
        let Self { first, last, count, why } = self;
        match count {
            1 => format!("line {first}: {why}"),
            _ if last - first + 1 == *count => format!("lines {first} to {last}: {why}"),
            _ => format!("{count} of lines {first} to {last}: {why}"),
        }
    }
}

/// When the answer is lost the request is repeated once, and its key sees to it that each line is one job.
fn send(api: &Client, body: String) -> Result<Answers, ClientError> {
    let key = backends::clock::fresh_token().as_str().to_owned();
    let call = Call { idempotency_key: Some(key), ..Call::post("/jobs/batch", Some(body)) };
    match api.json(call.clone()) {
        Err(ClientError::Lost { .. }) => api.json(call),
        other => other,
    }
}

fn read(file: &Path) -> Result<String, VerbError> {
    let mut text = String::new();
    let read = match file == Path::new("-") {
        true => std::io::stdin().read_to_string(&mut text).map(drop),
        false => std::fs::read_to_string(file).map(|all| text = all),
    };
    read.map_err(|e| VerbError::Usage(format!("{} cannot be read: {e}", file.display())))?;
    Ok(text)
}

/// The lines that can be sent, and how many cannot.
fn lines(text: &str) -> (Vec<Line>, usize) {
    let mut refused = 0;
    let mut lines = Vec::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let number = at + 1;
        match JsonText::new(line.to_owned()) {
            Ok(text) if text.as_str().trim_start().starts_with('{') => lines.push(Line { number, text }),
            Ok(_) => {
                refused += 1;
                output::complain(&format!(
                    "line {number}: an object is needed, as in {{\"job_type\":\"echo\"}}"
                ));
            }
            Err(e) => {
                refused += 1;
                output::complain(&format!("line {number}: not JSON: {e}"));
            }
        }
    }
    (lines, refused)
}

/// As many lines at once as one request takes.
fn batches(lines: &[Line]) -> Vec<&[Line]> {
    let mut all = Vec::new();
    let (mut begin, mut bytes) = (0, 0);
    for (at, line) in lines.iter().enumerate() {
        let size = line.text.as_str().len() + 1;
        if at > begin && (at - begin == JOBS || bytes + size > BYTES) {
            all.push(&lines[begin..at]);
            (begin, bytes) = (at, 0);
        }
        bytes += size;
    }
    if begin < lines.len() {
        all.push(&lines[begin..]);
    }
    all
}

fn why(answer: &Tree) -> String {
    let of = |name| answer.at(&["problem", name]);
    let mut text = of("detail").or(of("title")).map_or_else(|| "refused".to_owned(), Tree::short);
    let errors = of("errors").map_or(&[][..], Tree::items);
    if errors.len() > 1 {
        for error in errors {
            let part = |name| error.get(name).map_or(String::new(), Tree::short);
            text.push_str(&format!(
                "\n  {}: {} is not allowed: {}",
                part("pointer"),
                part("value"),
                part("message")
            ));
        }
    }
    text
}

/// What is to be said when a request came to nothing.
fn ended(e: ClientError, batch: &[Line], accepted: usize) -> VerbError {
    let first = batch.first().map_or(0, |line| line.number);
    let last = batch.last().map_or(0, |line| line.number);
    match e {
        ClientError::Refused(p) if p.is_unknown_path() => VerbError::Failed(
            "this server takes no batches; it is older than this client\n\
             submit the jobs one by one with `agent-runner submit`"
                .to_owned(),
        ),
        ClientError::Lost { .. } => VerbError::Failed(format!(
            "{e}\nlines {first} to {last} may have been submitted, later ones were not, {accepted} were before; \
             look with `agent-runner get`"
        )),
        e if accepted > 0 => VerbError::Failed(format!("{e}\nlines {first} and later were not submitted")),
        e => e.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(count: usize, bytes: usize) -> Vec<Line> {
        let text = JsonText::new(format!("{{\"a\":\"{}\"}}", "x".repeat(bytes))).unwrap();
        (0..count).map(|number| Line { number, text: text.clone() }).collect()
    }

    #[test]
    fn lines_in_a_row_that_have_the_same_fault_are_told_at_once() {
        let mut refusals = Refusals::default();
        let mut told = |number, why: &str| {
            refusals.add(number, why.to_owned());
            refusals.text()
        };
        assert_eq!(told(2, "full"), "line 2: full");
        assert_eq!(told(3, "full"), "lines 2 to 3: full");
        assert_eq!(told(7, "full"), "3 of lines 2 to 7: full");
        assert_eq!(told(8, "bad"), "line 8: bad");
        assert_eq!(told(9, "full"), "line 9: full");
    }

    #[test]
    fn no_request_is_larger_than_the_api_takes() {
        let sizes = |lines: &[Line]| batches(lines).iter().map(|b| b.len()).collect::<Vec<_>>();
        assert_eq!(sizes(&some(1201, 10)), [500, 500, 201]);
        assert_eq!(sizes(&some(70, 250 * 1024)), [32, 32, 6]);
        assert_eq!(sizes(&some(2, 2 * BYTES)), [1, 1], "too large a line is refused by the API alone");
        assert_eq!(sizes(&[]), Vec::<usize>::new());
    }
}
