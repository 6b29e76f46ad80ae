//! Records in the raw form of a store that holds no plain texts: what a script of Redis answers, and an item of
//! DynamoDB. Both are written as JSON here, so that the mutator can change their types, too.
//!
//! Redis: a text is a bulk string, each character below U+0100 one byte of it, so that a text can hold bytes that
//! are no UTF-8; `null` is nil, a whole number an integer, an array an array, anything else a type that no script
//! answers with. DynamoDB: the JSON of its API, `{"claim":{"M":{"number":{"N":"1"}}}}`.

use super::{said, section};
use contract::{Attempt, Claim, Closing, Control, Created, Gate, Job, JobId, Report, StatusView};

#[cfg(feature = "redis")]
pub(super) const REDIS: &[&str] = &[
    r#"["{\"write\":\"0123456789abcdef\",\"at\":1764000000123,\"actor\":\"\"}","{\"job_type\":\"echo\"}",null,"{\"status\":\"QUEUED\"}",1,[["{\"number\":1}","{\"state\":\"started\",\"task\":\"t:1\"}",null,null,"0123456789abcdef0123456789abcdef"]]]"#,
    r#"["{}","{\"job_type\":\"echo\",\"payload\":\"\u00c3\u00a4\"}","{}",null,0,[]]"#,
];

#[cfg(feature = "aws")]
pub(super) const DYNAMO: &[&str] = &[
    r#"{"job_id":{"S":"j-1"},"active_shard":{"S":"3"},"created":{"M":{"write":{"S":"0123456789abcdef"},"at":{"S":"2026-11-22T10:05:12.975Z"},"actor":{"S":"local"}}},"desired":{"M":{"job_type":{"S":"echo"},"payload":{"S":"{\"x\":1.50}"},"max_attempts":{"N":"3"},"cancel":{"BOOL":false},"labels":{"M":{"a":{"S":"b"}}}}},"status":{"M":{"status":{"S":"QUEUED"}}}}"#,
    r#"{"job_id":{"S":"j-1"},"token":{"S":"0123456789abcdef0123456789abcdef"},"claim":{"M":{"number":{"N":"1"},"run":{"N":"1"},"retry":{"N":"0"},"epoch":{"N":"1"},"claimed_at":{"S":"2026-11-22T10:05:12.975Z"},"job_type":{"S":"echo"},"program":{"S":"echo"},"payload":{"M":{"inline":{"S":"{\"x\":1.50}"}}},"attempt_timeout_seconds":{"N":"60"},"start_timeout_seconds":{"N":"60"},"stop_grace_seconds":{"N":"10"},"request":{"S":"{\"a\":[1]}"}}},"gate":{"M":{"state":{"S":"started"},"task":{"S":"t:1"}}},"report":{"S":"{}"},"closing":{"L":[{"SS":["a"]},{"NULL":true},{"B":"ab"},{"NS":["1"]},{"BS":["a"]},{"N":"1.50"}]}}"#,
];

/// Reads the sections of a job; answers whether `desired` was accepted.
fn job(job: &Job) -> bool {
    let _ = section::<Created>(job.created.text());
    let _ = job.control.as_ref().is_some_and(|raw| section::<Control>(raw.text()));
    let _ = job.status.as_ref().is_some_and(|raw| section::<StatusView>(raw.text()));
    said(job.desired()).is_some()
}

/// Reads the sections of an attempt; answers whether one of them was accepted.
fn attempt(attempt: &Attempt) -> bool {
    let claim = section::<Claim>(attempt.claim.text());
    let gate = attempt.gate.as_ref().is_some_and(|raw| section::<Gate>(raw.text()));
    let report = attempt.report.as_ref().is_some_and(|raw| section::<Report>(raw.text()));
    let closing = attempt.closing.as_ref().is_some_and(|raw| section::<Closing>(raw.text()));
    claim || gate || report || closing
}

fn somebody() -> JobId {
    JobId::new("j-1").expect("a good id")
}

#[cfg(feature = "redis")]
pub(super) fn redis(text: &str) -> bool {
    let Ok(answer) = serde_json::from_str(text) else { return false };
    let Ok(Some(loaded)) = backends::redis::loaded(&somebody(), reply(&answer)) else { return false };
    let attempts = loaded.attempts.iter().filter(|a| attempt(a)).count();
    job(&loaded.job) || attempts > 0
}

#[cfg(feature = "redis")]
fn reply(json: &serde_json::Value) -> redis::Value {
    use serde_json::Value;
    match json {
        Value::Null => redis::Value::Nil,
        Value::Bool(is) => redis::Value::Boolean(*is),
        Value::Number(n) => n.as_i64().map_or(redis::Value::Okay, redis::Value::Int),
        Value::Array(items) => redis::Value::Array(items.iter().map(reply).collect()),
        Value::Object(members) => {
            let text = |name: &String| redis::Value::SimpleString(name.clone());
            redis::Value::Map(members.iter().map(|(name, value)| (text(name), reply(value))).collect())
        }
        Value::String(text) => redis::Value::BulkString(
            text.chars()
                .flat_map(|c| match u8::try_from(u32::from(c)) {
                    Ok(byte) => vec![byte],
                    Err(_) => c.to_string().into_bytes(),
                })
                .collect(),
        ),
    }
}

#[cfg(feature = "aws")]
pub(super) fn dynamo(text: &str) -> bool {
    let Ok(serde_json::Value::Object(members)) = serde_json::from_str(text) else { return false };
    let item = members.iter().map(|(name, value)| (name.clone(), value_of(value))).collect();
    let (found, of_attempt) = backends::dynamodb::read_item(&somebody(), &item);
    let attempts = of_attempt.iter().filter(|a| attempt(a)).count();
    job(&found) || attempts > 0
}

/// An attribute's value; what is none of the API's forms is one of the SDK's for a type of later.
#[cfg(feature = "aws")]
fn value_of(json: &serde_json::Value) -> aws_sdk_dynamodb::types::AttributeValue {
    use aws_sdk_dynamodb::primitives::Blob;
    use aws_sdk_dynamodb::types::AttributeValue;
    use serde_json::Value;
    let texts =
        |items: &[Value]| items.iter().filter_map(|i| i.as_str().map(str::to_owned)).collect::<Vec<_>>();
    let blob = |text: String| Blob::new(text.into_bytes());
    let only =
        json.as_object().filter(|members| members.len() == 1).and_then(|members| members.iter().next());
    match only.map(|(kind, value)| (kind.as_str(), value)) {
        Some(("S", Value::String(text))) => AttributeValue::S(text.clone()),
        // The server refuses what is no number.
        Some(("N", Value::String(text))) => AttributeValue::N(text.clone()),
        Some(("BOOL", Value::Bool(is))) => AttributeValue::Bool(*is),
        Some(("NULL", Value::Bool(is))) => AttributeValue::Null(*is),
        Some(("B", Value::String(text))) => AttributeValue::B(blob(text.clone())),
        Some(("SS", Value::Array(items))) => AttributeValue::Ss(texts(items)),
        Some(("NS", Value::Array(items))) => AttributeValue::Ns(texts(items)),
        Some(("BS", Value::Array(items))) => AttributeValue::Bs(texts(items).into_iter().map(blob).collect()),
        Some(("L", Value::Array(items))) => AttributeValue::L(items.iter().map(value_of).collect()),
        Some(("M", Value::Object(members))) => {
            AttributeValue::M(members.iter().map(|(name, value)| (name.clone(), value_of(value))).collect())
        }
        // As an operator may do who does not know the types: the JSON itself.
        _ => AttributeValue::S(json.to_string()),
    }
}
