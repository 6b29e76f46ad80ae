//! A scripted API: answers as told, and remembers what it was asked. Its clock stands still, so that ages
//! are the same in every run.

#![allow(dead_code, reason = "each test file uses a part")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// The time of every answer.
const DATE: &str = "Sun, 22 Nov 2026 12:00:00 GMT";

/// A request that came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// Method and path with its query.
    pub(crate) line: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// An answer to a request; the first that fits and was not given yet, else the last that fits.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    line: String,
    status: u16,
    body: String,
    more: String,
    /// Fits every line that contains this.
    below: Option<String>,
    after: Duration,
}

/// The answer to `line` ("GET /jobs/a?wait=1").
pub(crate) fn told(line: &str, status: u16, body: impl Into<String>) -> Told {
    Told {
        line: line.to_owned(),
        status,
        body: body.into(),
        more: String::new(),
        below: None,
        after: Duration::ZERO,
    }
}

/// A refusal.
pub(crate) fn refused(line: &str, status: u16, token: &str, detail: &str) -> Told {
    let body = serde_json::json!({
        "type": format!("urn:agent-runner:problem:{token}"), "title": token, "status": status, "detail": detail,
    });
    told(line, status, body.to_string())
}

impl Told {
    /// With one more line of header.
    pub(crate) fn with(mut self, header: &str) -> Self {
        self.more.push_str(header);
        self.more.push_str("\r\n");
        self
    }
}

/// A running API; ends with its test.
pub(crate) struct Double {
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Double {
    pub(crate) fn of(answers: Vec<Told>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let ended = Arc::new(AtomicBool::new(false));
        let thread = {
            let (asked, ended) = (asked.clone(), ended.clone());
            std::thread::spawn(move || {
                let mut left: Vec<Option<Told>> = answers.into_iter().map(Some).collect();
                for stream in listener.incoming() {
                    if ended.load(Ordering::SeqCst) {
                        return;
                    }
                    // A client that goes away in the middle is no failure of the double.
                    let _ = serve(stream.unwrap(), &mut left, &asked);
                }
            })
        };
        Self { url, asked, ended, thread: Some(thread) }
    }

    /// An API that takes its time for the same answer to every request below a path.
    pub(crate) fn slow(after: Duration, path: &str, body: &str) -> Self {
        let mut answer = told("", 200, body);
        answer.below = Some(path.to_owned());
        answer.after = after;
        Self::of(vec![answer])
    }

    /// What was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The lines of what was asked so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.line).collect()
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.url.strip_prefix("http://").unwrap());
        let _ = self.thread.take().unwrap().join();
    }
}

fn serve(stream: TcpStream, left: &mut [Option<Told>], all: &Mutex<Vec<Asked>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let line = first.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.trim_end().split_once(": ") else { break };
        headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let length = headers.iter().find(|(n, _)| n == "content-length").map_or(0, |(_, v)| v.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body = String::from_utf8(body).unwrap();
    all.lock().unwrap().push(Asked { line: line.clone(), headers, body });
    let answer = next(left, &line);
    // The answer is late on purpose.
    std::thread::sleep(answer.after);
    let kind = if answer.status < 400 { "application/json" } else { "application/problem+json" };
    write!(
        &stream,
        "HTTP/1.1 {} X\r\ndate: {DATE}\r\ncontent-type: {kind}\r\n{}content-length: {}\r\nconnection: close\r\n\r\n{}",
        answer.status,
        answer.more,
        answer.body.len(),
        answer.body
    )
}

fn next(left: &mut [Option<Told>], line: &str) -> Told {
    let fit = |told: &Told| told.line == line || told.below.as_ref().is_some_and(|path| line.contains(path));
    let fits: Vec<usize> = (0..left.len()).filter(|at| left[*at].as_ref().is_some_and(fit)).collect();
    match fits.as_slice() {
        [] => refused(line, 404, "path-not-found", &format!("nothing is scripted for {line}")),
        [last] => left[*last].clone().unwrap(),
        [first, ..] => left[*first].take().unwrap(),
    }
}
