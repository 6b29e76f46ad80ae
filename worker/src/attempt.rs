//! One attempt from the gate to the outcome.

use crate::agent;
use crate::echo;
use crate::execution::{Ended, Execution, OpenArtifacts, Shelf, Storing};
use crate::patience::Patience;
use crate::reporter::{OpenRecords, Reporter};
use crate::settings::Settings;
use crate::signals::Signals;
use crate::{Exit, log};
use backends::ArtifactsError;
use contract::{Claim, FailureClass, JsonText, PayloadRef, Program};
use sha2::{Digest, Sha256};
use std::io;
use std::time::{Duration, Instant};

/// What an attempt is executed with.
#[derive(Clone, Copy)]
pub(crate) struct Means<'a> {
    pub(crate) records: OpenRecords<'a>,
    pub(crate) artifacts: OpenArtifacts<'a>,
    /// How the worker is told to stop; called when there is something to wait for.
    pub(crate) signals: &'a dyn Fn() -> io::Result<Signals>,
    /// Whether this process may start an agent: every child of the process counts as part of it, so a process
    /// that executes several attempts may not.
    pub(crate) commands: bool,
}

/// An attempt that passed the gate.
pub(crate) struct Run<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) means: Means<'a>,
    pub(crate) claim: &'a Claim,
    pub(crate) reporter: Reporter<'a>,
    /// Watched from the moment on at which there is something to wait for.
    pub(crate) signals: Option<Signals>,
    /// When the attempt has lasted too long.
    pub(crate) guard: Instant,
}

impl Run<'_> {
    /// Between SIGTERM and SIGKILL.
    pub(crate) fn grace(&self) -> Duration {
        Duration::from_secs(self.claim.stop_grace_seconds)
    }
}

/// What to say when the guard had to act.
pub(crate) fn too_long(settings: &Settings, claim: &Claim) -> String {
    let (slack, limit) = (settings.guard.as_secs(), claim.attempt_timeout_seconds);
    format!("the attempt was still running {slack} s after its limit of {limit} s")
}

/// Executes the attempt of `settings`.
pub(crate) fn execute(settings: &Settings, means: Means<'_>) -> Exit {
    let (reporter, claim) = match Reporter::start(settings, means.records) {
        Ok(started) => started,
        Err(exit) => return exit,
    };
    let mut shelf = Shelf::new(means.artifacts);
    let claim = match claim.parse() {
        Ok(claim) => claim,
        Err(e) => {
            // Somebody edited the claim; the next attempt gets a fresh one.
            let execution =
                Execution::failed(FailureClass::TaskFailedToStart, format!("the claim cannot be read: {e}"));
            let outcome = contract::Outcome {
                finished_at: execution.finished_at,
                failure: execution.failure,
                manifest: contract::Manifest::default(),
            };
            return reporter.finish(outcome, None, Duration::ZERO);
        }
    };
    let limit = Duration::from_secs(claim.attempt_timeout_seconds).saturating_add(settings.guard);
    // A limit that no clock reaches is none: as far away as a clock certainly goes.
    let guard = Instant::now()
        .checked_add(limit)
        .unwrap_or_else(|| Instant::now() + Duration::from_secs(u64::from(u32::MAX)));
    let mut run = Run { settings, means, claim: &claim, reporter, signals: None, guard };
    let ended = match (payload(settings, &claim.payload, &mut shelf), &claim.program) {
        (Err(message), _) => Ended::Left(Execution::failed(FailureClass::TaskFailedToStart, message)),
        (Ok(payload), Program::Echo) => echo::execute(&mut run, payload.as_str()),
        (Ok(_), Program::Command { .. }) if !means.commands => {
            let message = "the launch said echo, and the claim says a command";
            Ended::Left(Execution::failed(FailureClass::TaskFailedToStart, message))
        }
        (Ok(payload), Program::Command { argv, pass_env }) => {
            agent::execute(&mut run, payload.as_str(), argv, pass_env)
        }
    };
    let Ended::Left(execution) = ended else { return Exit::Done };
    let grace = run.grace();
    let Run { mut reporter, signals, .. } = run;
    let signals = signals.as_ref();
    let mut storing = Storing { settings, reporter: &mut reporter, signals, grace };
    match storing.store(&mut shelf, claim.number, execution) {
        Some(outcome) => reporter.finish(outcome, signals, grace),
        None => Exit::Done,
    }
}

/// The payload, fetched if it was too large for the claim.
fn payload(settings: &Settings, payload: &PayloadRef, shelf: &mut Shelf<'_>) -> Result<JsonText, String> {
    let (sha256, size) = match payload {
        PayloadRef::Inline(text) => return Ok(text.clone()),
        PayloadRef::Stored { sha256, size } => (sha256, *size),
    };
    let key = PayloadRef::key(&settings.job_id, sha256);
    let mut patience = Patience::of(settings.artifacts_patience);
    let bytes = loop {
        match shelf.get(&key) {
            Ok(Some(bytes)) => break bytes,
            Ok(None) => return Err(format!("the payload {key} is not there")),
            Err(e) => {
                log::line(settings.job_id.as_str(), &e.to_string());
                let again = matches!(e, ArtifactsError::Unavailable { .. });
                if !again || !patience.pause(None, Duration::ZERO) {
                    return Err(e.to_string());
                }
            }
        }
    };
    let found: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
    if bytes.len() as u64 != size || found != *sha256 {
        return Err(format!("the payload {key} has {} bytes and the SHA-256 {found}", bytes.len()));
    }
    let text = String::from_utf8(bytes).map_err(|e| format!("the payload {key} is not UTF-8: {e}"))?;
    JsonText::new(text).map_err(|e| format!("the payload {key} is not JSON: {e}"))
}
