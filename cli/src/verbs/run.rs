//! `run`: submit, follow, print the result, end as the agent did.

use super::{VerbError, submit};
use crate::args::Run;
use crate::client::{Call, Client};
use crate::embedded::Embedded;
use crate::exit::Exit;
use crate::follow::{Progress, Until, View, exit_of, follow};
use crate::{output, request, settings};
use backends::settings::Layers;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

pub(super) fn run(args: &Run, layers: &Layers) -> Result<Exit, VerbError> {
    let deadline = args.timeout.map(|timeout| Instant::now() + timeout);
    // A mistake in the request shows before anything is started.
    let body = request::body(&args.job)?;
    let (url, chosen) = settings::url(layers);
    let remote = Client::http(&url)?;
    if chosen || remote.is_there() {
        let goes_on = format!("it goes on at {url}");
        return submit_and_follow(&remote, args, body, deadline, Arc::new(Outcome::new(goes_on)));
    }
    let embedded = Embedded::start(&settings::settings(layers)?, layers)?;
    output::say(&format!("nothing answers at {url}: running it here, in {}", embedded.place()));
    let outcome =
        Arc::new(Outcome::new("it goes on with the next `agent-runner up` or `run` here".to_owned()));
    let exit = submit_and_follow(embedded.client(), args, body, deadline, outcome);
    embedded.stop();
    exit
}

/// What to say when the program is interrupted.
struct Outcome {
    job_id: Mutex<Option<String>>,
    goes_on: String,
}

impl Outcome {
    fn new(goes_on: String) -> Self {
        Self { job_id: Mutex::new(None), goes_on }
    }

    fn left(&self) -> String {
        match &*self.job_id.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(id) => format!("left job {id}: {}; `agent-runner cancel {id}` ends it", self.goes_on),
            None => "nothing was submitted".to_owned(),
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
    let first = submit::view(api, &submit::send(api, body, args.job.idempotency_key.as_ref())?)?;
    *outcome.job_id.lock().unwrap_or_else(PoisonError::into_inner) = Some(first.job_id.clone());
    output::say(&format!("job {} ({})", first.job_id, args.job.job_type));
    let mut progress = Progress::default();
    let mut show = |view: &View| progress.lines(view).iter().for_each(|line| output::say(line));
    show(&first);
    let Some(end) = follow(api, &first.job_id, Until::Changed, deadline, show)? else {
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
