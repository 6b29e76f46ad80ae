//! Who may ask for what: the `Host` header, bearer tokens and their scopes.
//!
//! Without a file of tokens everybody who reaches the listener is the user of this machine, `local`, and the
//! settings allow that on loopback only unless told otherwise. What a token may do is said by its scopes, and
//! none of them includes another.

mod hosts;
mod tokens;

pub use tokens::{Scope, TokensError};

use crate::problem::Problem;
use axum::extract::Request;
use axum::http::{Method, header};
use backends::settings::AccessSettings;
use contract::Timestamp;
use hosts::Hosts;
use std::sync::Arc;
use tokens::TokenFile;

/// Whoever asked: the name of a token, or `local`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Actor(pub(crate) Arc<str>);

/// Decides who may ask for what.
#[derive(Debug, Clone, Default)]
pub struct Access {
    hosts: Hosts,
    tokens: Option<Arc<TokenFile>>,
}

/// Whether `text` could be used as a file of tokens.
///
/// # Errors
/// Everything that is wrong in it.
pub fn check_tokens(text: &str) -> Result<(), String> {
    tokens::parse(text).map(drop)
}

/// What a route asks of its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    /// Nothing: probes and the description of the API.
    Nobody,
    /// Any token; what is at this path is nobody else's business.
    Anybody,
    /// A token with this scope.
    Scope(Scope),
}

fn needs(method: &Method, route: Option<&str>) -> Needs {
    match (method.as_str(), route) {
        (_, None) => Needs::Anybody,
        (_, Some("/health" | "/livez" | "/readyz" | "/openapi.json")) => Needs::Nobody,
        ("GET" | "HEAD", _) => Needs::Scope(Scope::Read),
        ("POST", Some("/jobs" | "/jobs/batch")) => Needs::Scope(Scope::Submit),
        _ => Needs::Scope(Scope::Operate),
    }
}

impl Access {
    /// Reads the file of tokens, if there is one.
    ///
    /// # Errors
    /// [`TokensError`] names the file and everything that is wrong in it.
    pub fn open(settings: &AccessSettings) -> Result<Self, TokensError> {
        let tokens = settings.tokens_file.clone().map(TokenFile::open).transpose()?;
        Ok(Self { hosts: Hosts::new(settings.hosts.clone()), tokens: tokens.map(Arc::new) })
    }

    /// Who asks, if they may ask for this.
    pub(crate) fn check(
        &self,
        request: &Request,
        route: Option<&str>,
        now: Timestamp,
    ) -> Result<Actor, Problem> {
        self.hosts.check(request)?;
        let Some(file) = &self.tokens else {
            // Nobody else's page has a token to send.
            Hosts::check_origin(request)?;
            return Ok(Actor("local".into()));
        };
        let needs = needs(request.method(), route);
        if needs == Needs::Nobody {
            return Ok(Actor("anonymous".into()));
        }
        let token = bearer(request)?;
        let found = file.find(token, now)?;
        match needs {
            Needs::Scope(scope) if !found.scopes.contains(&scope) => {
                Err(Problem::Forbidden { actor: found.name.to_string(), scope: scope.as_str() })
            }
            Needs::Scope(_) | Needs::Anybody | Needs::Nobody => Ok(Actor(found.name.clone())),
        }
    }
}

/// The token of the `Authorization` header.
fn bearer(request: &Request) -> Result<&str, Problem> {
    let refused = |message: &'static str| Problem::Unauthenticated(message);
    let mut sent = request.headers().get_all(header::AUTHORIZATION).iter();
    let value = sent.next().ok_or(refused("a token is needed: send Authorization: Bearer <token>"))?;
    if sent.next().is_some() {
        return Err(refused("there is more than one Authorization header"));
    }
    let text = value.to_str().map_err(|_| refused("the Authorization header is not ASCII"))?;
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("bearer") || token.trim().is_empty() {
        return Err(refused("the Authorization header must be: Bearer <token>"));
    }
    Ok(token.trim())
}
