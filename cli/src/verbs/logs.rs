//! `logs`: what the agent of a job wrote, live or stored; the API reads whichever there is.

use super::{VerbError, checked};
use crate::args::{Logs, Stream as Which};
use crate::client::{Call, Client, ClientError, Next, Problem, Stream, encoded};
use crate::exit::Exit;
use crate::follow::View;
use crate::output;
use crate::safe::Safe;
use serde::Deserialize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long one wait for bytes takes, after which it is looked whether anybody still wants them.
const GLANCE: Duration = Duration::from_millis(200);
/// Silence after which the job is asked whether it still runs: a connection that broke without a word
/// looks like an agent that has nothing to say.
const SILENCE: Duration = Duration::from_secs(15);
/// How long the API may be away while logs are followed.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn logs(api: &Client, args: &Logs) -> Result<Exit, VerbError> {
    let id = checked(std::slice::from_ref(&args.id))?.remove(0);
    let args = Logs { id: id.to_string(), ..args.clone() };
    if args.follow {
        return follow(api, &args, &AtomicBool::new(false), false, output::bytes);
    }
    let attempt = if args.previous { Some(previous(api, &args.id)?) } else { args.attempt };
    let something = match args.stream {
        None => both(api, &args, attempt)?,
        Some(which) => print(api, &args, attempt, which, "")?,
    };
    if !something {
        let to = args.stream.map(|which| format!(" to {}", name(which))).unwrap_or_default();
        let since = args.since.as_ref().map(|since| format!(" since {since}")).unwrap_or_default();
        output::say(&format!("nothing was written{to}{since}"));
    }
    Ok(Exit::Done)
}

fn name(which: Which) -> &'static str {
    match which {
        Which::Stdout => "stdout",
        Which::Stderr => "stderr",
    }
}

/// One stream after the other. An attempt that left one of them has left what it could. Says whether there was
/// anything.
fn both(api: &Client, args: &Logs, attempt: Option<u32>) -> Result<bool, VerbError> {
    let first = print(api, args, attempt, Which::Stdout, "--- stdout");
    match (first, print(api, args, attempt, Which::Stderr, "--- stderr")) {
        (Err(e), Err(_)) => Err(e),
        (Err(VerbError::Client(e)), Ok(something)) | (Ok(something), Err(VerbError::Client(e)))
            if e.problem().is_some_and(is_absent) =>
        {
            Ok(something)
        }
        (first, second) => Ok(first? | second?),
    }
}

/// Prints one stream, under a heading for people if there is anything; says whether there is.
fn print(
    api: &Client,
    args: &Logs,
    attempt: Option<u32>,
    which: Which,
    heading: &str,
) -> Result<bool, VerbError> {
    let stream = api.stream(&Call::get(path(args, which, attempt, true))).map_err(told)?;
    let mut printer = Printer::new(args.raw, false, output::bytes);
    let mut heading = Some(heading).filter(|text| !text.is_empty());
    let mut something = false;
    loop {
        match stream.next(PATIENCE)? {
            Next::Bytes(bytes) => {
                something = true;
                heading.take().into_iter().for_each(output::say);
                printer.push(&bytes)?;
            }
            Next::Nothing => return Err(silent(api).into()),
            Next::End => return printer.finish().map(|()| something),
        }
    }
}

/// Follows one stream or, line by line, both.
pub(super) fn follow(
    api: &Client,
    args: &Logs,
    stop: &AtomicBool,
    quiet: bool,
    show: Show,
) -> Result<Exit, VerbError> {
    let one = |which, lines, quiet| Follower { api, args, which, lines, stop, quiet, show }.follow();
    if let Some(which) = args.stream {
        return one(which, false, quiet);
    }
    std::thread::scope(|scope| {
        let stderr = scope.spawn(|| one(Which::Stderr, true, true));
        let stdout = one(Which::Stdout, true, quiet);
        if stdout.is_err() {
            stop.store(true, Ordering::Relaxed);
        }
        let stderr = stderr.join().unwrap_or_else(|_| Err(VerbError::Failed("stderr was lost".to_owned())));
        stdout.and(stderr)
    })
}

fn silent(api: &Client) -> ClientError {
    let message = format!("no byte of the log for {} s", PATIENCE.as_secs());
    ClientError::Lost { place: api.place().to_owned(), message }
}

/// The attempt before the last one.
fn previous(api: &Client, id: &str) -> Result<u32, VerbError> {
    #[derive(Deserialize)]
    struct All {
        attempts: Vec<One>,
    }
    #[derive(Deserialize)]
    struct One {
        number: Option<u32>,
    }
    let all: All = api.json(Call::get(format!("/jobs/{id}/attempts")))?;
    let mut numbers: Vec<u32> = all.attempts.iter().filter_map(|a| a.number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    match numbers.as_slice() {
        [.., previous, _] => Ok(*previous),
        _ => {
            let had = numbers.len();
            let message = format!("job {id} has had {had} attempt(s), so there is no previous one");
            Err(VerbError::Failed(format!("{message}\nleave --previous out to see what there is")))
        }
    }
}

/// The path of a request; only its begin is limited by `--tail` and `--since`.
fn path(args: &Logs, which: Which, attempt: Option<u32>, begin: bool) -> String {
    let mut path = format!("/jobs/{}/logs?stream={}", args.id, name(which));
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            path.push_str(&format!("&{name}={}", encoded(&value)));
        }
    };
    add("attempt", attempt.map(|n| n.to_string()));
    add("tail", args.tail.filter(|_| begin).map(|n| n.to_string()));
    add("since", args.since.clone().filter(|_| begin));
    add("follow", args.follow.then(|| "true".to_owned()));
    path
}

/// An older server cannot follow; its refusal does not say so.
fn told(e: ClientError) -> VerbError {
    let old = |what: &str, instead: &str| {
        VerbError::Failed(format!("this server {what}; it is older than this client\n{instead}"))
    };
    match e.problem() {
        Some(p) if p.refuses_parameter("follow") => {
            old("cannot follow logs", "leave -f out; `agent-runner wait` tells when the attempt has ended")
        }
        // A value that is not understood is named; a parameter that is not known has none.
        Some(p) if p.refuses_parameter("since") && p.errors.iter().all(|e| e.value.is_empty()) => {
            old("does not know --since", "use --tail instead")
        }
        _ => e.into(),
    }
}

/// Writes a log to where it belongs.
pub(super) type Show = fn(&[u8]) -> std::io::Result<()>;

/// A line that is longer is not waited for.
const LONGEST_LINE: usize = 64 * 1024;

struct Printer {
    safe: Option<Safe>,
    /// The begin of a line, where two streams must not mix within one.
    held: Option<Vec<u8>>,
    show: Show,
}

impl Printer {
    fn new(raw: bool, lines: bool, show: Show) -> Self {
        Self { safe: (!raw).then(Safe::default), held: lines.then(Vec::new), show }
    }

    fn push(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match &mut self.safe {
            None => self.put(bytes),
            Some(safe) => {
                let text = safe.push(bytes);
                self.put(text.as_bytes())
            }
        }
    }

    fn put(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let Some(held) = &mut self.held else { return (self.show)(bytes) };
        held.extend_from_slice(bytes);
        let end = match held.iter().rposition(|b| *b == b'\n') {
            Some(at) => at + 1,
            None if held.len() > LONGEST_LINE => held.len(),
            None => return Ok(()),
        };
        let rest = held.split_off(end);
        (self.show)(&std::mem::replace(held, rest))
    }

    fn finish(mut self) -> Result<(), VerbError> {
        if let Some(safe) = self.safe.take() {
            let text = safe.finish();
            self.put(text.as_bytes())?;
        }
        if let Some(mut held) = self.held.filter(|held| !held.is_empty()) {
            held.push(b'\n');
            (self.show)(&held)?;
        }
        Ok(())
    }
}

/// Follows one attempt after the other until the job has ended.
struct Follower<'a> {
    api: &'a Client,
    args: &'a Logs,
    which: Which,
    /// Whether another stream is shown beside this one.
    lines: bool,
    /// Set when nobody wants more.
    stop: &'a AtomicBool,
    /// Whether somebody else says where the job is.
    quiet: bool,
    show: Show,
}

impl Follower<'_> {
    fn follow(&self) -> Result<Exit, VerbError> {
        let mut shown = None::<u32>;
        let mut waiting = false;
        while !self.stop.load(Ordering::Relaxed) {
            let number = self.args.attempt.or(shown.map(|n| n + 1));
            match self.api.stream(&Call::get(path(self.args, self.which, number, shown.is_none()))) {
                Ok(stream) => {
                    let attempt = stream.attempt.or(number).unwrap_or(1);
                    if attempt > 1 && !self.quiet {
                        output::say(&format!("attempt {attempt}"));
                    }
                    self.attempt(&stream)?;
                    shown = Some(attempt);
                }
                Err(e) if e.problem().is_some_and(is_absent) => {
                    if !std::mem::replace(&mut waiting, true) && !self.quiet && shown.is_none() {
                        output::say(&e.problem().map(Problem::what).unwrap_or_default());
                    }
                    let job: View = look(self.api, &self.args.id)?;
                    if job.is_finished() && number.is_none_or(|n| n >= job.attempt) {
                        return Ok(Exit::Done);
                    }
                    // An attempt that others came after leaves nothing any more.
                    shown = number.filter(|n| job.attempt > *n).or(shown);
                    std::thread::sleep(GLANCE);
                    continue;
                }
                Err(e) => return Err(told(e)),
            }
            if self.args.attempt.is_some() || !self.more(shown)? {
                return Ok(Exit::Done);
            }
        }
        Ok(Exit::Done)
    }

    /// Shows one attempt to its end.
    fn attempt(&self, stream: &Stream) -> Result<(), VerbError> {
        let mut printer = Printer::new(self.args.raw, self.lines, self.show);
        let mut heard = Instant::now();
        while !self.stop.load(Ordering::Relaxed) {
            match stream.next(GLANCE) {
                Ok(Next::Bytes(bytes)) => {
                    heard = Instant::now();
                    printer.push(&bytes)?;
                }
                Ok(Next::Nothing) if heard.elapsed() < SILENCE => {}
                Ok(Next::Nothing) => {
                    heard = Instant::now();
                    let job: View = look(self.api, &self.args.id)?;
                    if job.is_finished() {
                        // The end of the stream was lost; nothing more can come.
                        break;
                    }
                }
                Ok(Next::End) => break,
                Err(e) => {
                    printer.finish()?;
                    let again = format!("agent-runner logs -f --tail 20 {}", self.args.id);
                    return Err(VerbError::Failed(format!("{e}\ngo on with: {again}")));
                }
            }
        }
        printer.finish()
    }

    /// Waits until there is an attempt after `shown`; `false` when none comes any more.
    fn more(&self, shown: Option<u32>) -> Result<bool, VerbError> {
        while !self.stop.load(Ordering::Relaxed) {
            let job = look(self.api, &self.args.id)?;
            if job.attempt > shown.unwrap_or(0) && job.status != "QUEUED" {
                return Ok(true);
            }
            if job.is_finished() {
                return Ok(false);
            }
            std::thread::sleep(GLANCE);
        }
        Ok(false)
    }
}

fn is_absent(problem: &Problem) -> bool {
    problem.token() == "not-there"
}

/// Reads the job, over a restart of the server.
fn look(api: &Client, id: &str) -> Result<View, ClientError> {
    let since = Instant::now();
    loop {
        match api.json(Call::get(format!("/jobs/{id}"))) {
            Err(e) if e.passes() && since.elapsed() < PATIENCE => std::thread::sleep(GLANCE),
            other => return other,
        }
    }
}
