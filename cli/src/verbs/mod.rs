//! The verbs. Each returns how the program ends, or an error that says what to type next.

mod change;
mod config;
mod get;
mod run;
mod submit;
mod up;
mod wait;

use crate::args::{Cli, Verb};
use crate::client::{Client, ClientError};
use crate::exit::Exit;
use crate::node::NodeError;
use crate::output::say;
use crate::request::RequestError;
use crate::settings;
use backends::settings::{BadSettings, DotEnvError, Layers};
use clap::Parser;
use contract::JobId;
use reconciler::assembly::AssemblyError;
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
    /// A word of the command line is not acceptable.
    #[error("{0}")]
    Usage(String),
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
            Self::Client(ClientError::Unreachable { .. }) => Exit::Unreachable,
            Self::Client(ClientError::Unsendable(_))
            | Self::Request(_)
            | Self::Settings(_)
            | Self::DotEnv(_)
            | Self::Usage(_)
            | Self::Node(NodeError::Assembly(AssemblyError::JobTypes(_))) => Exit::Usage,
            Self::Client(_) | Self::Node(_) | Self::Ended(..) | Self::Output(_) => Exit::Failed,
        }
    }
}

/// Everything but the worker.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = settings::layers(&cli).map_err(VerbError::from).and_then(|layers| {
        for warning in layers.unknown() {
            say(&format!("warning: {warning}"));
        }
        perform(&cli, &layers)
    });
    done.unwrap_or_else(|error| {
        say(&format!("error: {error}"));
        error.exit()
    })
    .into()
}

fn perform(cli: &Cli, layers: &Layers) -> Result<Exit, VerbError> {
    match &cli.verb {
        Verb::Up(_) => up::up(layers),
        Verb::Run(args) => run::run(args, layers),
        Verb::Submit(args) => submit::submit(&client(layers)?, args),
        Verb::Get(args) => get::get(&client(layers)?, args),
        Verb::Wait(args) => wait::wait(&client(layers)?, args),
        Verb::Retry(args) => change::change(&client(layers)?, &args.ids, &change::RETRY, args.force),
        Verb::Cancel(args) => change::change(&client(layers)?, &args.ids, &change::CANCEL, false),
        Verb::Suspend(args) => change::change(&client(layers)?, &args.ids, &change::SUSPEND, false),
        Verb::Resume(args) => change::change(&client(layers)?, &args.ids, &change::RESUME, false),
        Verb::Config(args) => config::config(layers, args),
    }
}

fn client(layers: &Layers) -> Result<Client, VerbError> {
    Ok(Client::http(&settings::url(layers).0)?)
}

/// Checks job ids before any is sent: they become parts of paths.
fn checked(ids: &[String]) -> Result<Vec<JobId>, VerbError> {
    ids.iter().map(|id| id.parse::<JobId>().map_err(|e| VerbError::Usage(e.to_string()))).collect()
}
