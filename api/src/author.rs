//! Who changed `desired` last, and whether somebody did so around the API.
//!
//! Each change by the API is stored with its author and a digest of the result; a new job has the digest in
//! `created`. Whoever edits a record with a client of the store knows of neither, so a digest that does not fit tells of
//! them. Records of versions before this have none: then nobody can tell.

use crate::answer::hex;
use crate::merge::members;
use crate::view::{Head, Seen};
use contract::{Desired, Job, Timestamp, Updated};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What stands in place of a name when nobody gave one. No token can have this name.
const DIRECT_EDIT: &str = "(direct edit)";

/// Who asks for a change, since when and why.
pub(crate) struct Author {
    pub(crate) by: Arc<str>,
    /// Fixed at the first look, so that a write whose answer was lost recognises itself.
    pub(crate) at: Timestamp,
    pub(crate) cause: Option<String>,
}

impl Author {
    /// `desired` as this author leaves it.
    pub(crate) fn signed(&self, desired: Desired) -> Desired {
        let digest = digest(&desired.to_text());
        let updated = Updated { by: self.by.to_string(), at: self.at, cause: self.cause.clone(), digest };
        Desired { updated: Some(updated), ..desired }
    }
}

/// The last change of `desired`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LastChange {
    /// A name, or [`DIRECT_EDIT`].
    pub(crate) by: String,
    pub(crate) at: Option<Timestamp>,
    pub(crate) cause: Option<String>,
}

impl LastChange {
    /// `None`: it is as it was created, or nobody can tell.
    pub(crate) fn of(job: &Job, seen: &Seen, head: &Head<'_>) -> Option<Self> {
        let noted = head.updated.map(|raw| serde_json::from_str::<Updated>(raw.get()).ok());
        let created = seen.created.as_ref().ok().and_then(|c| c.desired_digest.as_deref());
        let expected = match &noted {
            Some(Some(updated)) => Some(updated.digest.as_str()),
            // Not as the API writes it.
            Some(None) => Some(""),
            None => created,
        }?;
        if digest(job.desired.text()) != expected {
            return Some(Self { by: DIRECT_EDIT.to_owned(), at: None, cause: None });
        }
        noted.flatten().map(|Updated { by, at, cause, .. }| Self { by, at: Some(at), cause })
    }

    pub(crate) fn is_direct_edit(&self) -> bool {
        self.at.is_none()
    }
}

/// 64 bits of SHA-256 in hex over everything in `desired` but who changed it: enough to tell edits apart. It is the
/// same however a store spells the text: in another order, with other spaces, `1` for `1.0`. Only the payload is
/// carried as text by every store and counts as such.
pub(crate) fn digest(desired: &str) -> String {
    let mut hash = Sha256::new();
    match members(desired) {
        None => hash.update(desired),
        Some(all) => {
            for (name, value) in all.iter().filter(|(name, _)| *name != "updated") {
                hash.update(format!("{name:?}:"));
                match serde_json::from_str(value.get()) {
                    Ok(known) if name != "payload" => feed(&mut hash, &known),
                    _ => hash.update(value.get()),
                }
            }
        }
    }
    hex(&hash.finalize()[..8])
}

fn feed(hash: &mut Sha256, value: &Value) {
    match value {
        Value::Object(members) => {
            hash.update("{");
            for (name, value) in members.iter().collect::<BTreeMap<_, _>>() {
                hash.update(format!("{name:?}:"));
                feed(hash, value);
            }
            hash.update("}");
        }
        Value::Array(items) => {
            hash.update("[");
            items.iter().for_each(|item| feed(hash, item));
            hash.update("]");
        }
        Value::Number(number) => hash.update(format!("{:?},", number.as_f64())),
        Value::Null | Value::Bool(_) | Value::String(_) => hash.update(format!("{value},")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_that_of_the_meaning_however_a_store_spells_it() {
        let text = r#"{"job_type":"e","payload":{"b":1.50},"max_cost_usd":1.0,"env":{"B":"1","A":"2"}}"#;
        let same = [
            r#"{"env":{"A":"2","B":"1"},"max_cost_usd":1,"job_type":"e","payload":{"b":1.50}}"#,
            r#"{ "job_type": "e", "payload":{"b":1.50},"max_cost_usd":1.0,"env":{"B":"1","A":"2"},"updated":{"by":"x"}}"#,
        ];
        let other = [
            r#"{"job_type":"e","payload":{"b":1.5},"max_cost_usd":1.0,"env":{"B":"1","A":"2"}}"#,
            r#"{"job_type":"e","payload":{"b":1.50},"max_cost_usd":1.5,"env":{"B":"1","A":"2"}}"#,
            r#"{"job_type":"e","payload":{"b":1.50},"max_cost_usd":1.0,"env":{"B":"2","A":"1"}}"#,
            r#"{"job_type":"e","payload":{"b":1.50},"max_cost_usd":1.0,"env":{"B":"1"},"A":"2"}"#,
            r#"{"job_type":"e","payload":{"b":1.50},"max_cost_usd":1.0}"#,
            "not JSON",
        ];
        assert_eq!(digest(text).len(), 16);
        same.iter().for_each(|same| assert_eq!(digest(same), digest(text), "{same}"));
        other.iter().for_each(|other| assert_ne!(digest(other), digest(text), "{other}"));
    }
}
