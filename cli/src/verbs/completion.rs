//! `completion`: the script with which a shell completes words.

use super::VerbError;
use crate::args::{Cli, Completion, Shell};
use crate::exit::Exit;
use crate::output;
use clap::CommandFactory;
use clap_complete::Shell as Known;

/// How the script for bash names the program where it says what to complete, and where it finds out which verb was
/// typed. The two differ for a name with a hyphen, so nothing behind the verb would be completed (clap issue 6421).
const MISNAMED: &str = "agent__subcmd__runner";
const NAMED: &str = "agent__runner";

pub(super) fn completion(args: &Completion) -> Result<Exit, VerbError> {
    let shell = match args.shell {
        Shell::Bash => Known::Bash,
        Shell::Zsh => Known::Zsh,
        Shell::Fish => Known::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "agent-runner", &mut script);
    let script = String::from_utf8_lossy(&script).replace(MISNAMED, NAMED);
    output::data(&script)?;
    Ok(Exit::Done)
}
