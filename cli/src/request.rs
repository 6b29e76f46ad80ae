//! The body of a submission, made from the command line. What it may hold is for the API to say; here it is
//! only brought together, with the payload byte for byte as it was given.

use crate::args::{NewJob, Payload};
use contract::json::JsonText;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::io::Read;

/// Why there is no body to send.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    /// The payload is not JSON.
    #[error("the payload is not JSON: {error}\n{hint}")]
    Payload { error: serde_json::Error, hint: &'static str },
    /// The payload cannot be read.
    #[error("the payload cannot be read from {place}: {error}")]
    Read { place: String, error: std::io::Error },
    /// What another job wanted cannot be taken over.
    #[error("what the job wants is not readable: {error}\n`agent-runner describe` shows it as it is stored")]
    Stored { error: serde_json::Error },
    /// An assignment is not understood.
    #[error("{text}: {message}")]
    Set { text: String, message: String },
}

const HINT: &str = "quote it for the shell, as in --payload '{\"message\":\"hello\"}'";

/// The text of the request.
pub(crate) fn body(job: &NewJob) -> Result<String, RequestError> {
    let mut members = members(&job.set)?;
    let job_type = job.job_type.clone().unwrap_or_default();
    members.insert("job_type".to_owned(), JsonText::of(&Value::String(job_type)));
    if let Some(payload) = payload(&job.payload, job.stdin.is_some())? {
        members.insert("payload".to_owned(), payload);
    }
    Ok(text(&members))
}

/// The request for a job that wants what `desired` says, but for the overrides. What makes a run of it
/// end, wait or start again belongs to the old job.
pub(crate) fn again(
    desired: &str,
    job_type: Option<&str>,
    overrides: &[String],
    other: &Payload,
) -> Result<String, RequestError> {
    let stored: BTreeMap<String, JsonText> =
        serde_json::from_str(desired).map_err(|error| RequestError::Stored { error })?;
    let mut all: BTreeMap<String, JsonText> = stored
        .into_iter()
        .filter(|(name, _)| !matches!(name.as_str(), "retry" | "cancel" | "suspend" | "updated"))
        .collect();
    let fields = fields(overrides)?;
    for (name, value) in &fields {
        let before = all.get(name).and_then(|text| serde_json::from_str::<Value>(text.as_str()).ok());
        let value = match (before, value) {
            // `backoff.factor=3` leaves the other members as they were.
            (Some(Value::Object(mut old)), Value::Object(new)) => {
                old.extend(new.clone());
                Value::Object(old)
            }
            (_, value) => value.clone(),
        };
        all.insert(name.clone(), JsonText::of(&value));
    }
    if let Some(job_type) = job_type {
        all.insert("job_type".to_owned(), JsonText::of(&Value::String(job_type.to_owned())));
    }
    if let Some(payload) = payload(other, false)? {
        all.insert("payload".to_owned(), payload);
    }
    Ok(text(&all))
}

/// The merge patch that sets and unsets fields.
pub(crate) fn patch(assignments: &[String], unset: &[String]) -> Result<String, RequestError> {
    let mut all = fields(assignments)?;
    for name in unset {
        let refused = |message: String| RequestError::Set { text: name.clone(), message };
        let (first, rest) = split(name);
        match rest {
            None => drop(all.insert(first.to_owned(), Value::Null)),
            Some(rest) => put(&mut all, first, rest, Value::Null).map_err(refused)?,
        }
    }
    Ok(Value::Object(all).to_string())
}

fn text(members: &BTreeMap<String, JsonText>) -> String {
    serde_json::to_string(members).expect("a map of JSON texts serialises")
}

fn members(assignments: &[String]) -> Result<BTreeMap<String, JsonText>, RequestError> {
    let fields = fields(assignments)?;
    Ok(fields.iter().map(|(name, value)| (name.clone(), JsonText::of(value))).collect())
}

fn fields(assignments: &[String]) -> Result<Map<String, Value>, RequestError> {
    let mut fields = Map::new();
    for text in assignments {
        set(&mut fields, text).map_err(|message| RequestError::Set { text: text.clone(), message })?;
    }
    Ok(fields)
}

fn payload(from: &Payload, stdin: bool) -> Result<Option<JsonText>, RequestError> {
    let read_error = |place: String| move |error| RequestError::Read { place, error };
    let text = if let Some(text) = &from.payload {
        text.clone()
    } else if let Some(file) = &from.payload_file {
        std::fs::read_to_string(file).map_err(read_error(file.display().to_string()))?
    } else if stdin {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(read_error("stdin".to_owned()))?;
        text
    } else {
        return Ok(None);
    };
    JsonText::new(text).map(Some).map_err(|error| RequestError::Payload { error, hint: HINT })
}

/// Sets the field that `text` names, as in `backoff.factor=2`. A value that is JSON is taken as JSON, any
/// other as a string; values of `env` and `labels` are strings always.
fn set(fields: &mut Map<String, Value>, text: &str) -> Result<(), String> {
    let (path, value) = text.split_once('=').ok_or("FIELD=VALUE is needed, as in max_attempts=1")?;
    let (first, rest) = split(path);
    if first == "job_type" || first == "payload" {
        return Err(format!(
            "{first} is not set this way; submit and resubmit have options for it, edit shows it"
        ));
    }
    let string = rest.is_some() && matches!(first, "env" | "labels");
    let value = match serde_json::from_str(value) {
        Ok(json) if !string => json,
        _ => Value::String(value.to_owned()),
    };
    match rest {
        None => drop(fields.insert(first.to_owned(), value)),
        Some(rest) => put(fields, first, rest, value)?,
    }
    Ok(())
}

/// Names of variables and labels may hold dots; no other object has objects inside.
fn split(path: &str) -> (&str, Option<&str>) {
    path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)))
}

fn put(fields: &mut Map<String, Value>, first: &str, rest: &str, value: Value) -> Result<(), String> {
    match fields.entry(first).or_insert_with(|| Value::Object(Map::new())) {
        Value::Object(inner) => {
            inner.insert(rest.to_owned(), value);
            Ok(())
        }
        _ => Err(format!("{first} was set to something that has no {rest}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(set: &[&str], payload: Option<&str>) -> NewJob {
        NewJob {
            job_type: Some("echo".into()),
            payload: Payload { payload: payload.map(Into::into), payload_file: None },
            set: set.iter().map(|s| (*s).to_owned()).collect(),
            ..NewJob::default()
        }
    }

    #[test]
    fn the_payload_is_sent_as_it_was_written_and_fields_as_what_they_are() {
        let set = ["max_attempts=1", "queue=llm", "backoff.factor=3", "labels.a.b=7", "suspend=true"];
        let text = body(&job(&set, Some("{\"b\":1.50,\"a\":[ ]}"))).unwrap();
        assert_eq!(
            text,
            r#"{"backoff":{"factor":3},"job_type":"echo","labels":{"a.b":"7"},"max_attempts":1,"payload":{"b":1.50,"a":[ ]},"queue":"llm","suspend":true}"#
        );
        assert!(contract::Desired::parse(&text).is_ok());
    }

    #[test]
    fn what_cannot_be_sent_is_refused_with_what_to_type() {
        let e = body(&job(&[], Some("{message:hello}"))).unwrap_err().to_string();
        assert!(e.contains("not JSON") && e.contains("--payload '{"), "{e}");
        for bad in ["max_attempts", "payload=1", "job_type=x"] {
            assert!(body(&job(&[bad], None)).is_err(), "{bad}");
        }
        assert!(body(&job(&["backoff=1", "backoff.factor=2"], None)).is_err());
    }

    #[test]
    fn a_job_is_wanted_again_without_what_ended_it() {
        let desired = r#"{"job_type":"echo","payload":{"b":1.50, "a":[ ]},"backoff":{"factor":2,"max_seconds":9},
            "retry":3,"cancel":true,"suspend":true,"priority":1,"updated":{"by":"ada"}}"#;
        let set = ["backoff.factor=3".to_owned(), "priority=2".to_owned()];
        let text = again(desired, Some("other"), &set, &Payload::default()).unwrap();
        assert_eq!(
            text,
            r#"{"backoff":{"factor":3,"max_seconds":9},"job_type":"other","payload":{"b":1.50, "a":[ ]},"priority":2}"#
        );
        assert!(again("\"text\"", None, &[], &Payload::default()).is_err());
    }

    #[test]
    fn a_patch_sets_and_unsets() {
        let words = |all: &[&str]| all.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        let text =
            patch(&words(&["priority=5", "env.KEY=7", "queue=null"]), &words(&["env.A.B", "resources"]));
        assert_eq!(
            text.unwrap(),
            r#"{"env":{"A.B":null,"KEY":"7"},"priority":5,"queue":null,"resources":null}"#
        );
    }
}
