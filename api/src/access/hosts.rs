//! The `Host` header. A web page can let its own name point at 127.0.0.1 and then call what listens there from
//! its visitor's browser (DNS rebinding); such a request carries the page's name, which is not one of ours. Beside it the
//! `Origin` header, which says whose page a request comes from.

use crate::problem::Problem;
use axum::extract::Request;
use axum::http::{Method, header};
use std::net::{Ipv4Addr, Ipv6Addr};

/// Names that are answered beside `localhost` and IP addresses, in lower case.
#[derive(Debug, Clone, Default)]
pub(super) struct Hosts {
    names: Vec<String>,
}

impl Hosts {
    pub(super) fn new(names: Vec<String>) -> Self {
        Self { names }
    }

    /// Refuses a request for somebody else. One without the header comes from no browser.
    pub(super) fn check(&self, request: &Request) -> Result<(), Problem> {
        let Some(value) = request.headers().get(header::HOST) else { return Ok(()) };
        let text = value.to_str().unwrap_or_default();
        if self.allows(text) { Ok(()) } else { Err(Problem::Misdirected(text.chars().take(80).collect())) }
    }

    /// Refuses a write that a web page of another place sends. A browser lets it do so without asking, where a request
    /// has no body to declare; the page learns no answer, and the job is cancelled nevertheless.
    pub(super) fn check_origin(request: &Request) -> Result<(), Problem> {
        let Some(origin) = request.headers().get(header::ORIGIN) else { return Ok(()) };
        if matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
            return Ok(());
        }
        let origin = origin.to_str().unwrap_or_default();
        let place = ["http://", "https://"].iter().find_map(|scheme| origin.strip_prefix(scheme));
        let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
        match place.zip(host) {
            Some((place, host)) if place.eq_ignore_ascii_case(host) => Ok(()),
            _ => Err(Problem::CrossSite(origin.chars().take(80).collect())),
        }
    }

    fn allows(&self, host: &str) -> bool {
        let name = without_port(host).trim_end_matches('.').to_ascii_lowercase();
        let literal = name.parse::<Ipv4Addr>().is_ok()
            || name
                .strip_prefix('[')
                .and_then(|n| n.strip_suffix(']'))
                .is_some_and(|n| n.parse::<Ipv6Addr>().is_ok());
        literal || name == "localhost" || self.names.iter().any(|known| known == "*" || *known == name)
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_localhost_and_listed_names_are_answered_and_nothing_else() {
        let hosts = Hosts::new(vec!["orchestrator".into()]);
        for good in
            ["localhost", "LOCALHOST:8000", "127.0.0.1:8000", "[::1]:8000", "10.0.0.7", "orchestrator:8000"]
        {
            assert!(hosts.allows(good), "{good}");
        }
        for bad in [
            "evil.example",
            "localhost.evil.example:8000",
            "127.0.0.1.evil.example",
            "",
            "orchestrator2",
            "localhost:x",
        ] {
            assert!(!hosts.allows(bad), "{bad}");
        }
        assert!(Hosts::new(vec!["*".into()]).allows("anything"));
    }
}
