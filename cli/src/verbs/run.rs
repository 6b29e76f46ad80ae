//! `run`: submit, follow, print the result, end as the agent did.

use super::{VerbError, logs, submit};
use crate::args::{Cli, Logs, Run};
use crate::client::{Call, Client, ClientError};
use crate::embedded::Embedded;
use crate::exit::Exit;
use crate::follow::{Progress, Until, View, exit_of, follow};
use crate::{output, request, settings};
use backends::settings::Layers;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

pub(super) fn run(args: &Run, cli: &Cli, layers: &Layers) -> Result<Exit, VerbError> {
    let deadline = args.timeout.map(|timeout| Instant::now() + timeout);
    // A mistake in the request shows before anything is started.
    let body = request::body(&args.job)?;
    let (url, chosen) = settings::url(layers);
    let remote = super::client(cli, layers)?;
    if chosen || remote.is_there() {
        let outcome = Outcome::new(format!("it goes on at {url}"), "");
        return submit_and_follow(&remote, args, body, deadline, Arc::new(outcome));
    }
    let embedded = Embedded::start(&settings::settings(layers)?, layers)?;
    output::say(&format!("nothing answers at {url}: running it here, in {}", embedded.place()));
    // Nobody answers here any more once this program has ended.
    let goes_on = "it goes on with the next `agent-runner up` or `run` here".to_owned();
    let outcome = Outcome::new(goes_on, "`agent-runner up`, and then ");
    let exit = submit_and_follow(embedded.client(), args, body, deadline, Arc::new(outcome));
    embedded.stop();
    exit
}

/// What to say when the program is interrupted.
struct Outcome {
    job_id: Mutex<Option<String>>,
    goes_on: String,
    /// What is to be typed before a verb can reach the job.
    before: &'static str,
}

impl Outcome {
    fn new(goes_on: String, before: &'static str) -> Self {
        Self { job_id: Mutex::new(None), goes_on, before }
    }

    fn left(&self) -> String {
        match &*self.job_id.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(id) => {
                format!("left job {id}: {}; {}`agent-runner cancel {id}` ends it", self.goes_on, self.before)
            }
            // Whether the request arrived is not known here.
            None => format!(
                "no answer to the submission has come; if the job was taken, {}; {}`agent-runner get` shows it",
                self.goes_on, self.before
            ),
        }
    }
}

fn submit_and_follow(
    api: &Client,
    args: &Run,
    body: String,
    deadline: Option<Instant>,
    outcome: Arc<Outcome>,
) -> Result<Exit, VerbError> {
    on_interrupt(outcome.clone())?;
    let first: View = api.decoded(&submit::send(api, body, args.job.idempotency_key.as_ref())?)?;
    *outcome.job_id.lock().unwrap_or_else(PoisonError::into_inner) = Some(first.job_id.clone());
    output::say(&format!("job {} ({})", first.job_id, args.job.job_type.as_deref().unwrap_or_default()));
    let mut progress = Progress::default();
    let mut show = |view: &View| progress.lines(view).iter().for_each(|line| output::say(line));
    show(&first);
    let end = match args.follow {
        true => {
            // What an agent wrote stands between its start and its end.
            let before_end = |view: &View| match view.is_finished() {
                true if view.started_at.is_none() => {}
                true => show(&View { status: "RUNNING".to_owned(), ..view.clone() }),
                false => show(view),
            };
            let id = &first.job_id;
            let end = with_logs(api, id, || follow(api, id, Until::Changed, deadline, before_end))?;
            end.iter().for_each(&mut show);
            end
        }
        false => follow(api, &first.job_id, Until::Changed, deadline, show)?,
    };
    let Some(end) = end else {
        output::say(&format!("the time is over; {}", outcome.left()));
        return Ok(Exit::TimedOut);
    };
    if end.status == "SUCCEEDED" {
        let mut result = api.call(Call::get(format!("/jobs/{}/result", end.job_id)))?;
        if result.last() != Some(&b'\n') {
            result.push(b'\n');
        }
        output::bytes(&result)?;
    }
    Ok(exit_of(api, &end)?)
}

/// How long what an agent wrote last may take to arrive after its job has ended.
const LAST_LINES: Duration = Duration::from_secs(10);

/// Shows on stderr what the agent writes while `work` goes on; stdout is for the result.
fn with_logs(
    api: &Client,
    job_id: &str,
    work: impl FnOnce() -> Result<Option<View>, ClientError>,
) -> Result<Option<View>, ClientError> {
    let args = Logs { id: job_id.to_owned(), follow: true, ..Logs::default() };
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (done, ended) = channel();
        let (args, stop) = (&args, &stop);
        scope.spawn(move || {
            // The job is what counts; its log can be asked for again.
            if let Err(e) = logs::follow(api, args, stop, true, output::chatter) {
                output::say(&format!("warning: {e}"));
            }
            // The other side is gone only after it has stopped waiting.
            let _ = done.send(());
        });
        let end = work();
        if matches!(end, Ok(Some(_))) {
            let _ = ended.recv_timeout(LAST_LINES);
        }
        stop.store(true, Ordering::Relaxed);
        end
    })
}

/// On Ctrl-C or SIGTERM says what becomes of the job, and ends. Nothing has to be cleaned up: the lease of
/// an embedded orchestrator is an operating-system lock, and workers live on by design.
fn on_interrupt(outcome: Arc<Outcome>) -> Result<(), VerbError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let signal = {
        let _within = runtime.enter();
        crate::node::interruption()?
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let signal = runtime.block_on(signal);
        output::say(&outcome.left());
        std::process::exit(128 + signal);
    })?;
    Ok(())
}
