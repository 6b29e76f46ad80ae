//! `completion`: the script with which a shell completes words.

use super::VerbError;
use crate::args::{Cli, Completion, Shell};
use crate::exit::Exit;
use crate::output;
use clap::CommandFactory;
use clap_complete::Shell as Known;

pub(super) fn completion(args: &Completion) -> Result<Exit, VerbError> {
    let shell = match args.shell {
        Shell::Bash => Known::Bash,
        Shell::Zsh => Known::Zsh,
        Shell::Fish => Known::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "agent-runner", &mut script);
    output::bytes(&script)?;
    Ok(Exit::Done)
}
