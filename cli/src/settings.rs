//! From flags, environment and `.env` to [`Settings`].

use crate::args::{Cli, SettingFlags, Verb};
use crate::client::Token;
use backends::settings::{BadSettings, DotEnvError, Layers, Machine, Settings, address};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

/// The layers of this process, with the flags of the command line on top.
pub(crate) fn layers(cli: &Cli) -> Result<Layers, DotEnvError> {
    let none = SettingFlags::default();
    let (flags, listen) = match &cli.verb {
        Verb::Up(up) => (&up.settings, up.listen.as_ref()),
        Verb::Run(run) => (&run.settings, None),
        _ => (&none, None),
    };
    let all = [
        ("AGENT_RUNNER_URL", cli.url.as_ref()),
        ("AGENT_RUNNER_LISTEN", listen),
        ("AGENT_RUNNER_RECORDS", flags.records.as_ref()),
        ("AGENT_RUNNER_ARTIFACTS", flags.artifacts.as_ref()),
        ("AGENT_RUNNER_TASKS_DIR", flags.tasks_dir.as_ref()),
        ("AGENT_RUNNER_JOB_TYPES", flags.job_types.as_ref()),
        ("AGENT_RUNNER_MAX_CONCURRENT_TASKS", flags.max_concurrent_tasks.as_ref()),
        ("AGENT_RUNNER_DURABILITY", flags.durability.as_ref()),
        ("AGENT_RUNNER_LOG", flags.log.as_ref()),
        ("AGENT_RUNNER_LOG_FORMAT", flags.log_format.as_ref()),
    ];
    let set = all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.clone())));
    Layers::of_process(set, Path::new(""))
}

/// The API token: from a file, else from the environment or `.env`.
pub(crate) fn token(cli: &Cli, layers: &Layers) -> Result<Option<Token>, TokenError> {
    let (text, place) = match &cli.token_file {
        Some(file) => {
            let place = file.display().to_string();
            let text = std::fs::read_to_string(file);
            (text.map_err(|error| TokenError::Read { place: place.clone(), error })?, place)
        }
        None => match layers.get(TOKEN) {
            Some(text) => (text, TOKEN.to_owned()),
            None => return Ok(None),
        },
    };
    Token::new(&text).map(Some).ok_or(TokenError::Form { place })
}

/// The variable that holds the API token.
pub(crate) const TOKEN: &str = "AGENT_RUNNER_TOKEN";

/// Why there is no token to send.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    /// The file.
    #[error(
        "the token cannot be read from {place}: {error}\ngive --token-file a file that holds a token and nothing else"
    )]
    Read { place: String, error: std::io::Error },
    /// What it holds.
    #[error("{place} holds no token: one line of printable ASCII without spaces is needed")]
    Form { place: String },
}

/// The settings that the layers give.
pub(crate) fn settings(layers: &Layers) -> Result<Settings, BadSettings> {
    Settings::read(|name| layers.get(name), Machine::this())
}

/// The API to call, and whether somebody chose it. A client reads no other setting than these two: an agent
/// that calls `agent-runner` has an environment in which names of settings mean something else.
pub(crate) fn url(layers: &Layers) -> (String, bool) {
    if let Some(url) = layers.get("AGENT_RUNNER_URL") {
        return (url, true);
    }
    let listen = layers.get("AGENT_RUNNER_LISTEN").and_then(|text| address(&text).ok());
    let address = listen.unwrap_or(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 8000));
    (format!("http://{}", reachable(address)), false)
}

/// The address by which this machine reaches a listener: one that listens on every address is called on
/// loopback.
pub(crate) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(values: &[(&str, &str)]) -> Layers {
        Layers::new([], values.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())), [])
    }

    #[test]
    fn the_url_is_the_chosen_one_or_where_up_listens() {
        assert_eq!(url(&layers(&[])), ("http://127.0.0.1:8000".into(), false));
        assert_eq!(url(&layers(&[("AGENT_RUNNER_URL", "http://h:1")])), ("http://h:1".into(), true));
        assert_eq!(
            url(&layers(&[("AGENT_RUNNER_LISTEN", "0.0.0.0:9")])),
            ("http://127.0.0.1:9".into(), false)
        );
        assert_eq!(
            url(&layers(&[("AGENT_RUNNER_LISTEN", "localhost:9")])),
            ("http://127.0.0.1:9".into(), false)
        );
        assert_eq!(url(&layers(&[("AGENT_RUNNER_LISTEN", "[::]:9")])), ("http://[::1]:9".into(), false));
    }
}
