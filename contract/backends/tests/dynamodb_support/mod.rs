//! Tables of their own for each test, on a server.
#![allow(dead_code, reason = "each test binary uses some of this")]

pub(crate) mod by_hand;
pub(crate) mod listings;
pub(crate) mod meter;
pub(crate) mod suites;

use super::aws_support::{ACCESS_KEY, DynamodbLocal, Ministack, Missing, REGION, leave_out};
use aws_config::{BehaviorVersion, Region};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{Builder, Credentials};
use aws_sdk_dynamodb::types::AttributeValue;
use backends::clock::fresh_write_id;
use backends::conformance::records::Tamper;
use backends::dynamodb::schema::ensure_tables;
use serde_json::Value;
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::LazyLock;

/// One runtime for all tests, so that connections outlive the call that opened them, as they do in a program.
/// Its threads are where the thread is that needs it first: in the server's network namespace, if it has one.
static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
});

/// Drives a future to its end on the calling thread.
pub(crate) fn block_on(future: Pin<Box<dyn Future<Output = ()> + '_>>) {
    RUNTIME.block_on(future);
}

/// As [`block_on`], with an answer.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    RUNTIME.block_on(future)
}

/// The configuration of a client of `endpoint`.
pub(crate) fn config(endpoint: &str) -> Builder {
    let (id, secret) = ACCESS_KEY;
    Builder::new()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .endpoint_url(endpoint)
        .region(Region::new(REGION))
        .credentials_provider(Credentials::new(id, secret, None, None, "test"))
}

/// Where the tables are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Where {
    Ministack,
    DynamodbLocal,
}

impl Where {
    fn endpoint(self) -> Result<String, Missing> {
        match self {
            Self::Ministack => Ministack::shared().map(Ministack::endpoint),
            Self::DynamodbLocal => DynamodbLocal::enter().map(DynamodbLocal::endpoint),
        }
    }
}

/// Tables that nothing else uses.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    pub(crate) endpoint: String,
    pub(crate) client: Client,
    pub(crate) prefix: String,
}

impl Store {
    /// Makes them. `None`, after a word about it, where the server cannot be had.
    pub(crate) fn at(place: Where) -> Option<Self> {
        let endpoint = match place.endpoint() {
            Ok(endpoint) => endpoint,
            Err(why) => {
                leave_out(&format!("DynamoDB on {place:?}"), &why);
                return None;
            }
        };
        let client = Client::from_conf(config(&endpoint).build());
        let prefix = format!("test-{}", fresh_write_id());
        run(ensure_tables(&client, &prefix)).expect("tables");
        Some(Self { endpoint, client, prefix })
    }

    /// As [`Store::at`], for a binary of which no check can do without: where there is no server the whole
    /// binary ends, because a check of a suite cannot be left out by its fixture.
    pub(crate) fn at_or_end(place: Where) -> Self {
        Self::at(place).unwrap_or_else(|| std::process::exit(0))
    }

    /// As an operator with a raw client would.
    pub(crate) async fn tamper(&self, edit: &Tamper) {
        let Tamper { job_id, token, section, text } = edit;
        let mut key = HashMap::from([("job_id", job_id.as_str())]);
        key.extend(token.as_ref().map(|token| ("token", token.as_str())));
        let table = if token.is_some() { "attempts" } else { "jobs" };
        self.edit(table, &key, section, text.map(native)).await;
    }

    /// Sets or removes an attribute of an item that exists.
    pub(crate) async fn edit(
        &self,
        table: &str,
        key: &HashMap<&str, &str>,
        name: &str,
        value: Option<AttributeValue>,
    ) {
        let key =
            key.iter().map(|(name, value)| ((*name).to_owned(), AttributeValue::S((*value).to_owned())));
        let expression = if value.is_some() { "SET #name = :value" } else { "REMOVE #name" };
        let call = self
            .client
            .update_item()
            .table_name(format!("{}-{table}", self.prefix))
            .set_key(Some(key.collect()))
            .condition_expression("attribute_exists(job_id)")
            .update_expression(expression)
            .expression_attribute_names("#name", name)
            .set_expression_attribute_values(
                value.map(|value| HashMap::from([(":value".to_owned(), value)])),
            );
        call.send().await.expect("a hand edit");
    }
}

/// `text` as an operator would store it: a native value if it is JSON without spaces, a string otherwise.
fn native(text: &str) -> AttributeValue {
    match serde_json::from_str::<Value>(text) {
        Ok(value) if !text.contains(' ') => native_value(value),
        _ => AttributeValue::S(text.to_owned()),
    }
}

/// A JSON value as the attribute that `aws dynamodb` users write for it.
pub(crate) fn native_value(value: Value) -> AttributeValue {
    match value {
        Value::Null => AttributeValue::Null(true),
        Value::Bool(value) => AttributeValue::Bool(value),
        Value::Number(number) => AttributeValue::N(number.to_string()),
        Value::String(text) => AttributeValue::S(text),
        Value::Array(items) => AttributeValue::L(items.into_iter().map(native_value).collect()),
        Value::Object(map) => {
            AttributeValue::M(map.into_iter().map(|(name, value)| (name, native_value(value))).collect())
        }
    }
}
