//! Request bodies: content type, size and UTF-8, before anybody looks at the JSON.

use crate::problem::Problem;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use contract::decode::{FieldError, MOST_ERRORS, below};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeSet;
use std::fmt;

/// The largest request body in bytes. A payload is at most 256 KiB (`contract`), and JSON escapes can make
/// it several times longer on the wire.
pub(crate) const BODY_LIMIT: usize = 1024 * 1024;

/// A JSON body as text. Its syntax is checked where it is parsed, once.
pub(crate) struct JsonBody(pub(crate) String);

/// The largest body of a batch in bytes.
pub(crate) const BATCH_LIMIT: usize = 8 * 1024 * 1024;

/// A JSON body with many jobs, as text.
pub(crate) struct BatchBody(pub(crate) String);

/// A merge patch as text: `application/merge-patch+json` (RFC 7396), or plain JSON.
pub(crate) struct PatchBody(pub(crate) String);

/// A JSON body that may be missing; an empty one counts as missing.
pub(crate) struct OptionalBody(pub(crate) Option<String>);

const JSON: &str = "application/json";
const PATCH: &str = "application/merge-patch+json";

impl<S: Send + Sync> FromRequest<S> for JsonBody {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_type(request.headers(), &[JSON]) {
            return Err(Problem::MediaType { wanted: JSON });
        }
        text(request, state, BODY_LIMIT).await.map(Self)
    }
}

impl<S: Send + Sync> FromRequest<S> for BatchBody {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_type(request.headers(), &[JSON]) {
            return Err(Problem::MediaType { wanted: JSON });
        }
        text(request, state, BATCH_LIMIT).await.map(Self)
    }
}

impl<S: Send + Sync> FromRequest<S> for PatchBody {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_type(request.headers(), &[PATCH, JSON]) {
            return Err(Problem::MediaType { wanted: "application/merge-patch+json or application/json" });
        }
        text(request, state, BODY_LIMIT).await.map(Self)
    }
}

impl<S: Send + Sync> FromRequest<S> for OptionalBody {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let is_json = is_type(request.headers(), &[JSON]);
        let text = text(request, state, BODY_LIMIT).await?;
        match (text.trim().is_empty(), is_json) {
            (true, _) => Ok(Self(None)),
            (false, true) => Ok(Self(Some(text))),
            (false, false) => Err(Problem::MediaType { wanted: JSON }),
        }
    }
}

/// Whether the content type is one of `wanted`; parameters such as `charset` do not matter.
fn is_type(headers: &HeaderMap, wanted: &[&str]) -> bool {
    let sent = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let sent = sent.split(';').next().unwrap_or_default().trim();
    wanted.iter().any(|w| sent.eq_ignore_ascii_case(w))
}

async fn text<S: Send + Sync>(request: Request, state: &S, limit: usize) -> Result<String, Problem> {
    let bytes = Bytes::from_request(request, state).await.map_err(|e| match e.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::TooLarge { limit },
        _ => Problem::Syntax(format!("it could not be read: {e}")),
    })?;
    String::from_utf8(Vec::from(bytes)).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        Problem::Syntax(format!("it is not UTF-8 (at byte {at})"))
    })
}

/// The error of `text` if it is not JSON at all: then there are no fields to speak of.
pub(crate) fn syntax(text: &str) -> Option<Problem> {
    match serde_json::from_str::<IgnoredAny>(text) {
        Ok(_) => None,
        // serde_json's message ends with "at line … column …".
        Err(e) => Some(Problem::Syntax(e.to_string())),
    }
}

/// Members of a body that are there more than once. Readers take the first of them or the last, so what is meant cannot
/// be told. A payload is carried as it is and not looked into.
pub(crate) fn repeated(text: &str) -> Vec<FieldError> {
    let mut found = Vec::new();
    let walk = Walk { at: String::new(), found: &mut found };
    // What else is wrong with the text is reported by whoever reads it.
    let _ = walk.deserialize(&mut serde_json::Deserializer::from_str(text));
    found
}

/// Looks for repeated members at and below a place.
struct Walk<'f> {
    /// JSON pointer.
    at: String,
    found: &'f mut Vec<FieldError>,
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let mut names = BTreeSet::new();
        while let Some(name) = members.next_key::<String>()? {
            let at = below(&self.at, &name);
            if at == "/payload" {
                members.next_value::<IgnoredAny>()?;
            } else {
                members.next_value_seed(Walk { at: at.clone(), found: &mut *self.found })?;
            }
            if !names.insert(name) && self.found.len() < MOST_ERRORS {
                let pointer = at.chars().take(120).collect();
                let message = "is given more than once; once is allowed".to_owned();
                self.found.push(FieldError { pointer, value: String::new(), message });
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let mut index = 0;
        while items
            .next_element_seed(Walk { at: format!("{}/{index}", self.at), found: &mut *self.found })?
            .is_some()
        {
            index += 1;
        }
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}
