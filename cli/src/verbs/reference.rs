//! The reference of the command line, rendered from what parses it.

use super::VerbError;
use crate::args::Cli;
use crate::exit::{self, Exit};
use crate::output;
use clap::{Arg, Command, CommandFactory};
use std::fmt::Write;

const HEAD: &str = "\
# Command line

<!-- Rendered from cli/src/args; rewrite it with UPDATE=1 cargo test -p agent-runner --test documents -->

`agent-runner` is a whole orchestrator (`up`, `run`) and the client of a running one; the client verbs use its
HTTP API and nothing else. Data goes to stdout, everything said about it to stderr. Progress is drawn, colours
are used and questions are asked only at a terminal; `NO_COLOR` and `TERM=dumb` are honoured. What agents and
records say is shown without the control characters that a terminal obeys, unless `--raw` asks for them.

Job ids are given in full; `job ID`, `job/ID` and `get jobs` are understood as kubectl's. A verb that changes jobs
takes ids or filters (`-l`, `--status`, `--type`); with filters it lists the ids that it found and acts on those, once
somebody has agreed or with `--yes`. Without a terminal and without `--yes` nothing is done.

An API that wants a bearer token gets it from the variable `AGENT_RUNNER_TOKEN` or from the file that
`--token-file` names.

";

pub(super) fn reference() -> Result<Exit, VerbError> {
    let mut program = Cli::command();
    program.build();
    let mut out = HEAD.to_owned();
    options(&mut out, &program, "Options of every verb", true);
    for verb in program.get_subcommands().filter(|verb| !verb.is_hide_set() && verb.get_name() != "help") {
        of_verb(&mut out, verb);
    }
    let (_, codes) = exit::HELP.split_once('\n').unwrap_or(("", exit::HELP));
    // Writing to a string cannot fail, here as everywhere below.
    let _ = write!(out, "## Exit codes\n\n```text\n{codes}\n```\n");
    output::data(&out)?;
    Ok(Exit::Done)
}

fn of_verb(out: &mut String, verb: &Command) {
    let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
    let usage = verb.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").trim();
    let _ = write!(out, "## {}\n\n{about}.\n\n```text\n{usage}\n```\n\n", verb.get_name());
    let mut positionals: Vec<&Arg> = verb.get_positionals().collect();
    positionals.sort_by_key(|arg| arg.get_index());
    positionals.into_iter().for_each(|arg| row(out, arg));
    options(out, verb, "", false);
    if let Some(text) = verb.get_after_help() {
        let _ = write!(out, "```text\n{text}\n```\n\n");
    }
}

fn options(out: &mut String, of: &Command, head: &str, global: bool) {
    let wanted = |arg: &&Arg| {
        let name = arg.get_long().unwrap_or_default();
        arg.is_global_set() == global && !arg.is_hide_set() && !matches!(name, "help" | "version")
    };
    let all: Vec<&Arg> = of.get_arguments().filter(|arg| !arg.is_positional()).filter(wanted).collect();
    if !head.is_empty() {
        let _ = write!(out, "## {head}\n\n");
    }
    all.iter().for_each(|arg| row(out, arg));
    let positionals = of.get_positionals().next().is_some();
    if !all.is_empty() || (!global && positionals) {
        out.push('\n');
    }
}

fn row(out: &mut String, arg: &Arg) {
    let value = arg.get_value_names().filter(|_| arg.get_action().takes_values());
    let value = value.map(|names| {
        let shown = |n: &clap::builder::Str| if n == "-" { n.to_string() } else { format!("<{n}>") };
        names.iter().map(shown).collect::<Vec<_>>().join(" ")
    });
    let long = arg.get_long().map(|long| format!("--{long}"));
    let short = arg.get_short().map(|short| format!("-{short}"));
    let mut name = [short, long].into_iter().flatten().collect::<Vec<_>>().join(", ");
    if let Some(value) = value {
        let gap = if name.is_empty() { "" } else { " " };
        let _ = write!(name, "{gap}{value}");
    }
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let default: Vec<String> =
        arg.get_default_values().iter().map(|v| v.to_string_lossy().into_owned()).collect();
    let mut more = Vec::new();
    let words: Vec<String> = arg
        .get_possible_values()
        .iter()
        .filter(|v| !v.is_hide_set())
        .map(|v| format!("`{}`", v.get_name()))
        .collect();
    if arg.get_action().takes_values() && !words.is_empty() && words[0] != "`-`" {
        more.push(words.join(", "));
    }
    if arg.get_action().takes_values() && !default.is_empty() {
        more.push(format!("default `{}`", default.join(",")));
    }
    let more = if more.is_empty() { String::new() } else { format!(" ({})", more.join("; ")) };
    let _ = writeln!(out, "- `{name}`: {help}{more}");
}
