//! The body of a submission, made from the command line. What it may hold is for the API to say; here it is
//! only brought together, with the payload byte for byte as it was given.

use crate::args::NewJob;
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
    /// `--set` is not understood.
    #[error("--set {text}: {message}")]
    Set { text: String, message: String },
}

const HINT: &str = "quote it for the shell, as in --payload '{\"message\":\"hello\"}'";

/// The text of the request.
pub(crate) fn body(job: &NewJob) -> Result<String, RequestError> {
    let mut fields = Map::new();
    for text in &job.set {
        set(&mut fields, text).map_err(|message| RequestError::Set { text: text.clone(), message })?;
    }
    let mut members: BTreeMap<String, JsonText> =
        fields.iter().map(|(name, value)| (name.clone(), JsonText::of(value))).collect();
    members.insert("job_type".to_owned(), JsonText::of(&Value::String(job.job_type.clone())));
    if let Some(payload) = payload(job)? {
        members.insert("payload".to_owned(), payload);
    }
    Ok(serde_json::to_string(&members).expect("a map of JSON texts serialises"))
}

fn payload(job: &NewJob) -> Result<Option<JsonText>, RequestError> {
    let read_error = |place: String| move |error| RequestError::Read { place, error };
    let text = if let Some(text) = &job.payload {
        text.clone()
    } else if let Some(file) = &job.payload_file {
        std::fs::read_to_string(file).map_err(read_error(file.display().to_string()))?
    } else if job.stdin.is_some() {
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
    let (first, rest) = match path.split_once('.') {
        Some((first, rest)) => (first, Some(rest)),
        None => (path, None),
    };
    if first == "job_type" || first == "payload" {
        return Err(format!("{first} has its own place on the command line"));
    }
    let string = rest.is_some() && matches!(first, "env" | "labels");
    let value = match serde_json::from_str(value) {
        Ok(json) if !string => json,
        _ => Value::String(value.to_owned()),
    };
    let Some(rest) = rest else {
        fields.insert(first.to_owned(), value);
        return Ok(());
    };
    // Names of variables and labels may hold dots; no other object has objects inside.
    match fields.entry(first).or_insert_with(|| Value::Object(Map::new())) {
        Value::Object(inner) => drop(inner.insert(rest.to_owned(), value)),
        _ => return Err(format!("{first} was set to something that has no {rest}")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(set: &[&str], payload: Option<&str>) -> NewJob {
        NewJob {
            job_type: "echo".into(),
            stdin: None,
            payload: payload.map(Into::into),
            payload_file: None,
            set: set.iter().map(|s| (*s).to_owned()).collect(),
            idempotency_key: None,
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
}
