//! Conditional writes and consistent reads, and what their errors mean.

use crate::aws::within;
use crate::records::RecordsError;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::interceptors::FinalizerInterceptorContextRef;
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::{BoxError, DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// An item as DynamoDB returns it.
pub(super) type Item = HashMap<String, AttributeValue>;

/// The names of the tables.
#[derive(Debug, Clone)]
pub(super) struct Tables {
    pub(super) jobs: String,
    pub(super) attempts: String,
    pub(super) leases: String,
}

impl Tables {
    pub(super) fn of(prefix: &str) -> Self {
        let table = |name| format!("{prefix}-{name}");
        Self { jobs: table("jobs"), attempts: table("attempts"), leases: table("leases") }
    }
}

/// A string attribute.
pub(super) fn string(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

/// The string in `item` under `name`; nothing else counts.
pub(super) fn string_in<'i>(item: &'i Item, name: &str) -> Option<&'i str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

/// One conditional write of one item. Every name is an alias, so that none is a reserved word.
#[derive(Debug, Clone)]
pub(super) struct Write {
    pub(super) table: String,
    pub(super) key: Item,
    sets: Vec<String>,
    removes: Vec<String>,
    conditions: Vec<String>,
    pub(super) names: HashMap<String, String>,
    pub(super) values: Item,
}

impl Write {
    pub(super) fn to<const N: usize>(table: &str, key: [(&str, &str); N]) -> Self {
        let key = key.into_iter().map(|(name, value)| (name.to_owned(), string(value))).collect();
        Self {
            table: table.to_owned(),
            key,
            sets: Vec::new(),
            removes: Vec::new(),
            conditions: Vec::new(),
            names: HashMap::new(),
            values: Item::new(),
        }
    }

    fn name(&mut self, name: &str) -> String {
        let alias = format!("#{name}");
        self.names.insert(alias.clone(), name.to_owned());
        alias
    }

    fn value(&mut self, value: AttributeValue) -> String {
        let alias = format!(":v{}", self.values.len());
        self.values.insert(alias.clone(), value);
        alias
    }

    pub(super) fn set(mut self, name: &str, value: AttributeValue) -> Self {
        let set = format!("{} = {}", self.name(name), self.value(value));
        self.sets.push(set);
        self
    }

    pub(super) fn remove(mut self, name: &str) -> Self {
        let name = self.name(name);
        self.removes.push(name);
        self
    }

    /// Only if the item exists; `key` is one of its keys.
    pub(super) fn if_there(mut self, key: &str) -> Self {
        let name = self.name(key);
        self.conditions.push(format!("attribute_exists({name})"));
        self
    }

    /// Only while the attribute is this; `None`: absent.
    pub(super) fn if_is(mut self, name: &str, value: Option<&AttributeValue>) -> Self {
        let name = self.name(name);
        let condition = match value {
            Some(value) => format!("{name} = {}", self.value(value.clone())),
            None => format!("attribute_not_exists({name})"),
        };
        self.conditions.push(condition);
        self
    }

    /// Only while the attribute is absent or a number that is not higher.
    pub(super) fn if_at_most(mut self, name: &str, most: u32) -> Self {
        let (name, most) = (self.name(name), self.value(AttributeValue::N(most.to_string())));
        self.conditions.push(format!("(attribute_not_exists({name}) OR {name} <= {most})"));
        self
    }

    /// Only while the member of a map is one of these words.
    pub(super) fn if_member_in(mut self, name: &str, member: &str, words: &[&str]) -> Self {
        let path = format!("{}.{}", self.name(name), self.name(member));
        let words: Vec<_> = words.iter().map(|word| self.value(string(*word))).collect();
        self.conditions.push(format!("{path} IN ({})", words.join(", ")));
        self
    }

    pub(super) fn update(&self) -> String {
        let part = |verb: &str, parts: &[String]| match parts {
            [] => String::new(),
            _ => format!("{verb} {} ", parts.join(", ")),
        };
        part("SET", &self.sets) + &part("REMOVE", &self.removes)
    }

    pub(super) fn condition(&self) -> String {
        self.conditions.join(" AND ")
    }
}

/// What became of a conditional write.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Written {
    /// Stored.
    Done,
    /// The condition did not hold; this is what the item was, `None` if there was none.
    Refused(Option<Item>),
}

/// How long a write waits for a transaction on its item before it tries again, and how often. A transaction
/// takes some 20 ms, and the SDK does not repeat what met one.
const MEETINGS: [Duration; 4] = [
    Duration::from_millis(10),
    Duration::from_millis(30),
    Duration::from_millis(90),
    Duration::from_millis(270),
];

/// Calls again what met a transaction, a few times.
pub(super) async fn patiently<T, F: Future<Output = Result<T, Failure>>>(
    call: impl Fn() -> F,
) -> Result<T, RecordsError> {
    for pause in MEETINGS {
        match call().await {
            Err(Failure::Met) => within(async { tokio::time::sleep(pause).await }).await,
            Err(Failure::Other(error)) => return Err(error),
            Ok(done) => return Ok(done),
        }
    }
    match call().await {
        Err(Failure::Met) => Err(RecordsError::Busy("another transaction is on the same item".to_owned())),
        Err(Failure::Other(error)) => Err(error),
        Ok(done) => Ok(done),
    }
}

/// Why a call failed.
pub(super) enum Failure {
    /// Another transaction was on the same item; nothing was written.
    Met,
    Other(RecordsError),
}

/// Carries out `write` if its condition holds.
pub(super) async fn write(client: &Client, write: &Write) -> Result<Written, RecordsError> {
    patiently(|| write_once(client, write)).await
}

async fn write_once(client: &Client, write: &Write) -> Result<Written, Failure> {
    let doubt = Doubt::default();
    let call = client
        .update_item()
        .table_name(&write.table)
        .set_key(Some(write.key.clone()))
        .update_expression(write.update())
        .condition_expression(write.condition())
        .set_expression_attribute_names(Some(write.names.clone()))
        .set_expression_attribute_values((!write.values.is_empty()).then(|| write.values.clone()))
        // The default, said aloud: the policies of IAM compare it, and nothing tells what they see when it is absent.
        .return_values(ReturnValue::None)
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
        .customize()
        .interceptor(doubt.clone());
    match within(call.send()).await {
        Ok(_) => Ok(Written::Done),
        Err(SdkError::ServiceError(e)) => match e.into_err() {
            UpdateItemError::ConditionalCheckFailedException(refused) => Ok(Written::Refused(refused.item)),
            UpdateItemError::TransactionConflictException(_)
            | UpdateItemError::ReplicatedWriteConflictException(_)
                if !doubt.is_there() =>
            {
                Err(Failure::Met)
            }
            e => Err(Failure::Other(answered(&e, doubt.is_there()))),
        },
        Err(e) => Err(Failure::Other(doubt.failed(&e))),
    }
}

/// Whether a try of a write may have been carried out although no answer says so. The SDK tries again by
/// itself, and what the last try says holds for that try only.
#[derive(Debug, Clone, Default)]
pub(super) struct Doubt(Arc<AtomicBool>);

impl Doubt {
    pub(super) fn is_there(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// The error of a write that no service error ended.
    pub(super) fn failed<E: std::error::Error + Send + Sync + 'static>(
        &self,
        error: &SdkError<E>,
    ) -> RecordsError {
        let text = DisplayErrorContext(error).to_string();
        match error {
            SdkError::ConstructionFailure(_) => RecordsError::Unusable(text),
            SdkError::DispatchFailure(_) if !self.is_there() => RecordsError::Unavailable(text),
            _ => RecordsError::Uncertain(text),
        }
    }
}

impl Intercept for Doubt {
    fn name(&self) -> &'static str {
        "Doubt"
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let doubtful = match context.output_or_error() {
            Some(Ok(_)) => false,
            // An error of the server itself says nothing about the write (developer guide, "Error handling").
            Some(Err(e)) if e.is_operation_error() => {
                context.response().is_none_or(|response| response.status().is_server_error())
            }
            Some(Err(e)) => e.as_connector_error().is_none_or(|e| !never_sent(e)),
            None => true,
        };
        if doubtful {
            self.0.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Whether there was not even a connection.
fn never_sent(error: &aws_sdk_dynamodb::error::ConnectorError) -> bool {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = source {
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|io| io.kind() == std::io::ErrorKind::ConnectionRefused) {
            return true;
        }
        source = error.source();
    }
    false
}

/// The error that the service answered with.
pub(super) fn answered(error: &impl ProvideErrorMetadata, doubt: bool) -> RecordsError {
    let code = error.code().unwrap_or("an error without a code");
    let text = format!("{code}: {}", error.message().unwrap_or_default());
    match code {
        "ResourceNotFoundException" => RecordsError::Unusable(text),
        _ if doubt => RecordsError::Uncertain(text),
        "ValidationException" | "ItemCollectionSizeLimitExceededException" => RecordsError::Refused(text),
        "ProvisionedThroughputExceededException"
        | "ThrottlingException"
        | "RequestLimitExceeded"
        | "LimitExceededException"
        | "TransactionInProgressException"
        | "TransactionConflictException" => RecordsError::Busy(text),
        // Missing rights and expired credentials included: somebody can repair them while this goes on.
        _ => RecordsError::Unavailable(text),
    }
}

/// The error of a call that writes nothing.
pub(super) fn failed_read<E>(error: &SdkError<E>) -> RecordsError
where
    E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    match error {
        SdkError::ServiceError(e) => answered(e.err(), false),
        SdkError::ConstructionFailure(_) => RecordsError::Unusable(DisplayErrorContext(error).to_string()),
        _ => RecordsError::Unavailable(DisplayErrorContext(error).to_string()),
    }
}
