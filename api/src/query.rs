//! Reading what a request carries beside its body: the job's id, query parameters, conditions.

use crate::problem::Problem;
use axum::extract::{FromRequestParts, Query, RawPathParams};
use axum::http::request::Parts;
use contract::JobId;
use contract::decode::{FieldError, Invalid, unknown};
use std::ops::RangeInclusive;
use std::time::Duration;

/// Query parameters. Take each known one once, then call [`Params::finish`], which reports everything that
/// is wrong, unknown names included: a misspelt filter must not list everything.
pub(crate) struct Params {
    pairs: Vec<(String, String)>,
    known: Vec<&'static str>,
    errors: Vec<FieldError>,
}

impl<S: Sync> FromRequestParts<S> for Params {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::of(parts.uri.query().map(|_| &parts.uri))
    }
}

impl Params {
    fn of(uri: Option<&axum::http::Uri>) -> Result<Self, Problem> {
        let pairs = match uri {
            None => Vec::new(),
            Some(uri) => {
                let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri)
                    .map_err(|e| Problem::Query(Invalid::one("?", "", e.body_text())))?;
                pairs
            }
        };
        Ok(Self { pairs, known: Vec::new(), errors: Vec::new() })
    }

    fn refuse(&mut self, name: &str, value: &str, message: impl Into<String>) {
        let value = value.chars().take(120).collect();
        self.errors.push(FieldError { pointer: format!("?{name}"), value, message: message.into() });
    }

    /// Every value of a parameter.
    pub(crate) fn all(&mut self, name: &'static str) -> Vec<String> {
        self.known.push(name);
        self.pairs.iter().filter(|(n, _)| n == name).map(|(_, v)| v.clone()).collect()
    }

    /// The value of a parameter that may be given once.
    pub(crate) fn one(&mut self, name: &'static str) -> Option<String> {
        let mut found = self.all(name);
        if found.len() > 1 {
            let message = format!("is given {} times; once is allowed", found.len());
            self.refuse(name, "", message);
        }
        found.pop()
    }

    /// A value that `read` understands; `read` answers with what is allowed otherwise.
    pub(crate) fn read<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.one(name)?;
        match read(&text) {
            Ok(value) => Some(value),
            Err(message) => {
                self.refuse(name, &text, message);
                None
            }
        }
    }

    /// Every value of a parameter that may be repeated.
    pub(crate) fn read_all<T>(
        &mut self,
        name: &'static str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let mut found = Vec::new();
        for text in self.all(name) {
            match read(&text) {
                Ok(value) => found.push(value),
                Err(message) => self.refuse(name, &text, message),
            }
        }
        found
    }

    /// A whole number within `allowed`.
    pub(crate) fn number(&mut self, name: &'static str, allowed: RangeInclusive<u32>) -> Option<u32> {
        self.read(name, |text| {
            text.parse()
                .ok()
                .filter(|n| allowed.contains(n))
                .ok_or_else(|| format!("a whole number from {} to {}", allowed.start(), allowed.end()))
        })
    }

    /// True when the parameter is there, unless it says `false` or `0`.
    pub(crate) fn flag(&mut self, name: &'static str) -> bool {
        self.read(name, |text| match text {
            "" | "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err("true or false".to_owned()),
        })
        .unwrap_or(false)
    }

    /// A time span: `30s`, `500ms`, `1m`, or a number of seconds.
    pub(crate) fn duration(&mut self, name: &'static str) -> Option<Duration> {
        self.read(name, |text| match text.parse::<u32>() {
            Ok(seconds) => Ok(Duration::from_secs(seconds.into())),
            Err(_) => humantime::parse_duration(text)
                .map_err(|_| "a time span such as 30s, 500ms, 1m or a number of seconds".to_owned()),
        })
    }

    /// Why a change is asked for.
    pub(crate) fn change_cause(&mut self) -> Option<String> {
        self.read("change_cause", |text| contract::updated::check_cause(text).map(|()| text.to_owned()))
    }

    /// Reports everything that is wrong. Every answer can be asked for in a readable form, see `crate::edge`.
    pub(crate) fn finish(mut self) -> Result<(), Problem> {
        self.flag("pretty");
        let known = std::mem::take(&mut self.known);
        for (name, _) in std::mem::take(&mut self.pairs) {
            if !known.contains(&name.as_str()) {
                let message = unknown(&name, known.iter().copied());
                self.refuse(&name, "", message);
            }
        }
        if self.errors.is_empty() { Ok(()) } else { Err(Problem::Query(Invalid { errors: self.errors })) }
    }
}

/// The job that the path names. Text that is no job id names no job.
pub(crate) struct Id(pub(crate) JobId);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text = path_part(parts, state, "id").await?;
        JobId::new(text.clone()).map(Self).map_err(|_| Problem::NoJob(text.chars().take(80).collect()))
    }
}

/// The rest of the path, for artifacts.
pub(crate) struct Rest(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Rest {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        path_part(parts, state, "path").await.map(Self)
    }
}

async fn path_part<S: Send + Sync>(parts: &mut Parts, state: &S, name: &str) -> Result<String, Problem> {
    let all = RawPathParams::from_request_parts(parts, state).await.map_err(|_| Problem::NoRoute)?;
    let found = all.iter().find(|(n, _)| *n == name).map(|(_, value)| value.to_owned());
    found.ok_or(Problem::NoRoute)
}

/// The versions of `desired` that a write may replace.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum IfMatch {
    /// The header was not sent, or is `*`: whatever is there.
    Any,
    /// One of these entity tags, quotes included.
    OneOf(Vec<String>),
}

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut tags = Vec::new();
        let sent = parts.headers.contains_key(axum::http::header::IF_MATCH);
        for value in parts.headers.get_all(axum::http::header::IF_MATCH) {
            let text = value.to_str().map_err(|_| Problem::Header("If-Match is not ASCII".to_owned()))?;
            for tag in text.split(',').map(str::trim).filter(|t| !t.is_empty()) {
                match tag {
                    "*" => return Ok(Self::Any),
                    // A weak tag never matches here (RFC 9110, 13.1.1), but it is no mistake to send one.
                    _ if tag.ends_with('"') && (tag.starts_with('"') || tag.starts_with("W/\"")) => {
                        tags.push(tag.to_owned());
                    }
                    _ => {
                        let message = format!("If-Match holds {tag:?}; entity tags are quoted, or *");
                        return Err(Problem::Header(message));
                    }
                }
            }
        }
        match sent {
            false => Ok(Self::Any),
            // An empty condition is a client's lost variable, not a wish to overwrite.
            true if tags.is_empty() => Err(Problem::Header("If-Match holds no entity tag".to_owned())),
            true => Ok(Self::OneOf(tags)),
        }
    }
}

impl IfMatch {
    /// Whether `etag` may be replaced.
    pub(crate) fn allows(&self, etag: &str) -> bool {
        match self {
            Self::Any => true,
            Self::OneOf(tags) => tags.iter().any(|tag| tag == etag),
        }
    }
}
