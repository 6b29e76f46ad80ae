//! The log of a program that stays up: to stderr, in the form that the settings ask for.

use crate::settings::{LogFormat, Settings};
use std::io;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

/// Sets the log up with `filter`, in the syntax of `AGENT_RUNNER_LOG`.
pub fn init(filter: &str, format: LogFormat, colours: bool) {
    // The settings have checked the syntax.
    let filter: Targets = filter.parse().unwrap_or_else(|_| Targets::new().with_default(LevelFilter::INFO));
    let layer = fmt::layer().with_writer(io::stderr).with_ansi(colours);
    let layer = match format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    // Fails only when a log is set up already, which then serves as well.
    let _ = tracing_subscriber::registry().with(layer.with_filter(filter)).try_init();
}

/// Sets the log up as a server does: colours for a terminal, unless `NO_COLOR` is set.
pub fn of_server(settings: &Settings) {
    use std::io::IsTerminal;
    let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    init(&settings.log, settings.log_format, colours);
}
