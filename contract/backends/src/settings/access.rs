//! Who may call the API.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// `AGENT_RUNNER_TOKENS_FILE`, `AGENT_RUNNER_ALLOW_UNAUTHENTICATED` and `AGENT_RUNNER_ALLOWED_HOSTS`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccessSettings {
    /// The file of bearer tokens. `None`: whoever reaches the listener may do everything.
    pub tokens_file: Option<PathBuf>,
    /// Without tokens, listen on other addresses than loopback all the same.
    pub allow_unauthenticated: bool,
    /// Names in the `Host` header that are answered beside `localhost` and IP addresses; `*`: every name.
    pub hosts: Vec<String>,
}

impl AccessSettings {
    /// Why these must not be combined with listening on `address`, as the variable to change.
    pub(super) fn contradiction(&self, address: SocketAddr) -> Option<(&'static str, String)> {
        let open = self.tokens_file.is_none() && !self.allow_unauthenticated;
        (open && !address.ip().is_loopback()).then(|| {
            let why = "whoever reaches this address could run agents here; set AGENT_RUNNER_TOKENS_FILE, listen on \
                       127.0.0.1, or say AGENT_RUNNER_ALLOW_UNAUTHENTICATED=true";
            ("AGENT_RUNNER_LISTEN", why.to_owned())
        })
    }
}

pub(super) fn tokens_file(text: &str, is_file: fn(&Path) -> bool) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if is_file(&path) { Ok(path) } else { Err("there is no such file".to_owned()) }
}

pub(super) fn yes_or_no(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err("true or false".to_owned()),
    }
}

pub(super) fn hosts(text: &str) -> Result<Vec<String>, String> {
    let good = |name: &str| {
        name == "*"
            || (!name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)))
    };
    let names: Vec<String> = text.split(',').map(|name| name.trim().to_ascii_lowercase()).collect();
    match names.iter().find(|name| !good(name)) {
        None => Ok(names),
        Some(bad) => Err(format!("host names without ports, separated by commas, or *; {bad:?} is none")),
    }
}
