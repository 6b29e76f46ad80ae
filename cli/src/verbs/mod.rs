//! The verbs. Each returns how the program ends, or an error that says what to type next.

mod advice;
mod batch;
mod change;
mod completion;
mod config;
mod describe;
mod doctor;
mod edit;
mod explain;
mod get;
mod habits;
mod healthcheck;
mod logs;
mod reference;
mod resubmit;
mod run;
mod select;
mod set;
mod submit;
mod up;
mod wait;

use crate::args::{Cli, Verb};
use crate::client::{Client, ClientError};
use crate::exit::Exit;
use crate::node::NodeError;
use crate::output::{complain, say};
use crate::request::RequestError;
use crate::settings::{self, TokenError};
use backends::settings::{BadSettings, DotEnvError, Layers};
use clap::Parser;
use contract::JobId;
use reconciler::assembly::AssemblyError;
use std::ffi::OsString;
use std::process::ExitCode;

/// Why a verb could not do its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VerbError {
    /// The API, or the way to it.
    #[error("{0}")]
    Client(#[from] ClientError),
    /// The request cannot be made from the command line.
    #[error("{0}")]
    Request(#[from] RequestError),
    /// Settings are not acceptable.
    #[error("{0}\n`agent-runner config` lists every setting; docs/configuration.md explains them")]
    Settings(#[from] BadSettings),
    /// `.env` is not readable.
    #[error("{0}")]
    DotEnv(#[from] DotEnvError),
    /// The token cannot be had.
    #[error("{0}")]
    Token(#[from] TokenError),
    /// A word of the command line is not acceptable.
    #[error("{0}")]
    Usage(String),
    /// What was asked for cannot be done.
    #[error("{0}")]
    Failed(String),
    /// The same, and what somebody typed is kept.
    #[error("{0}\n{1}")]
    Kept(Box<VerbError>, String),
    /// The parts of an orchestrator could not be put together.
    #[error("{0}")]
    Node(#[from] NodeError),
    /// A part that should run until it is asked to end did not.
    #[error("{0} ended by itself; see the log. {1}")]
    Ended(&'static str, String),
    /// The output cannot be written.
    #[error("the output cannot be written: {0}")]
    Output(#[from] std::io::Error),
}

impl VerbError {
    fn exit(&self) -> Exit {
        match self {
            Self::Kept(error, _) => error.exit(),
            Self::Client(ClientError::Unreachable { .. }) => Exit::Unreachable,
            Self::Client(ClientError::Refused(p)) if matches!(p.status, 401 | 403) => Exit::Denied,
            Self::Client(ClientError::Unsendable(_))
            | Self::Request(_)
            | Self::Settings(_)
            | Self::DotEnv(_)
            | Self::Token(_)
            | Self::Usage(_)
            | Self::Node(NodeError::Assembly(AssemblyError::JobTypes(_))) => Exit::Usage,
            Self::Client(_) | Self::Node(_) | Self::Ended(..) | Self::Failed(_) | Self::Output(_) => {
                Exit::Failed
            }
        }
    }
}

/// The first argument that prints the reference of the command line as Markdown. It is no verb: what completes words in
/// a shell would offer it.
const REFERENCE: &str = "__reference";

/// Everything but the worker.
pub(crate) fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    let done = match words.get(1) {
        Some(first) if first == REFERENCE => reference::reference(),
        _ => habits::understood(words).map_err(VerbError::Usage).and_then(meant),
    };
    done.unwrap_or_else(|error| {
        complain(&error.to_string());
        error.exit()
    })
    .into()
}

/// Does what the words say.
fn meant(words: Vec<OsString>) -> Result<Exit, VerbError> {
    let cli = Cli::parse_from(words);
    let layers = settings::layers(&cli)?;
    for warning in layers.unknown() {
        say(&format!("warning: {warning}"));
    }
    perform(&cli, &layers)
}

fn perform(cli: &Cli, layers: &Layers) -> Result<Exit, VerbError> {
    let api = || client(cli, layers);
    match &cli.verb {
        Verb::Up(_) => up::up(layers),
        Verb::Run(args) => run::run(args, cli, layers),
        Verb::Submit(args) => submit::submit(&api()?, args),
        Verb::Resubmit(args) => resubmit::resubmit(&api()?, args),
        Verb::Get(args) => get::get(&api()?, args),
        Verb::Describe(args) => describe::describe(&api()?, args),
        Verb::Explain(args) => explain::explain(&api()?, args),
        Verb::Logs(args) => logs::logs(&api()?, args),
        Verb::Wait(args) => wait::wait(&api()?, args),
        Verb::Retry(args) => change::change(&api()?, &args.jobs, &change::RETRY, args.force),
        Verb::Cancel(args) => change::change(&api()?, &args.jobs, &change::CANCEL, false),
        Verb::Suspend(args) => change::change(&api()?, args, &change::SUSPEND, false),
        Verb::Resume(args) => change::change(&api()?, args, &change::RESUME, false),
        Verb::Set(args) => set::set(&api()?, args),
        Verb::Edit(args) => edit::edit(&api()?, args),
        Verb::Config(args) => config::config(layers, args),
        Verb::Completion(args) => completion::completion(args),
        Verb::Healthcheck(args) => healthcheck::healthcheck(api(), args),
        Verb::Doctor(args) => doctor::doctor(cli, layers, args),
    }
}

/// The client of the API that flags, environment and `.env` name, with its token.
fn client(cli: &Cli, layers: &Layers) -> Result<Client, VerbError> {
    let token = settings::token(cli, layers)?;
    Ok(Client::http(&settings::url(layers).0)?.with_token(token))
}

/// Checks job ids before any is sent: they become parts of paths. `job/ID` is how kubectl names one.
fn checked(ids: &[String]) -> Result<Vec<JobId>, VerbError> {
    let bare = ids.iter().map(|id| id.strip_prefix("job/").or(id.strip_prefix("jobs/")).unwrap_or(id));
    bare.map(|id| id.parse::<JobId>().map_err(|e| VerbError::Usage(e.to_string()))).collect()
}
