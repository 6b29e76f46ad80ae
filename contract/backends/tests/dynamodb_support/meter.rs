//! What calls cost, and what they mention, as the SDK sends them.

use aws_sdk_dynamodb::config::interceptors::{
    AfterDeserializationInterceptorContextRef, BeforeSerializationInterceptorContextMut,
};
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use aws_sdk_dynamodb::operation::get_item::{GetItemInput, GetItemOutput};
use aws_sdk_dynamodb::operation::query::{QueryInput, QueryOutput};
use aws_sdk_dynamodb::operation::transact_write_items::{TransactWriteItemsInput, TransactWriteItemsOutput};
use aws_sdk_dynamodb::operation::update_item::{UpdateItemInput, UpdateItemOutput};
use aws_sdk_dynamodb::types::{ConsumedCapacity, ReturnConsumedCapacity};
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// What was counted since it was last taken.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Count {
    /// Calls that write; a transaction is one.
    pub(crate) writes: u32,
    pub(crate) reads: u32,
    pub(crate) write_units: f64,
    pub(crate) read_units: f64,
    /// `UpdateItem <table>`: the top-level attributes that it mentioned, keys included. What IAM sees as
    /// `dynamodb:Attributes`.
    pub(crate) mentioned: BTreeSet<(String, BTreeSet<String>)>,
    /// Operations that were called.
    pub(crate) operations: BTreeSet<&'static str>,
}

/// Has every answer say what it cost, and adds it up.
#[derive(Debug, Clone, Default)]
pub(crate) struct Meter(Arc<Mutex<Count>>);

type Names = Option<HashMap<String, String>>;

impl Meter {
    pub(crate) fn take(&self) -> Count {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    fn mention<V>(
        &self,
        table: Option<&String>,
        key: Option<&HashMap<String, V>>,
        names: &Names,
        expressions: &str,
    ) {
        // An alias behind a dot names a member of a map, which IAM does not see.
        let mut all: BTreeSet<String> = key.into_iter().flat_map(|key| key.keys().cloned()).collect();
        for (alias, name) in names.iter().flatten() {
            let top =
                expressions.match_indices(alias.as_str()).any(|(at, _)| !expressions[..at].ends_with('.'));
            if top {
                all.insert(name.clone());
            }
        }
        let table = table.map(|table| table.rsplit('-').next().unwrap_or_default().to_owned());
        self.0.lock().unwrap().mentioned.insert((table.unwrap_or_default(), all));
    }

    fn cost(&self, capacity: Option<&ConsumedCapacity>, write: bool) {
        let units = capacity.and_then(ConsumedCapacity::capacity_units).unwrap_or_default();
        let mut count = self.0.lock().unwrap();
        if write {
            count.write_units += units;
        } else {
            count.read_units += units;
        }
    }
}

fn expressions(parts: [Option<&String>; 2]) -> String {
    parts.into_iter().flatten().cloned().collect::<Vec<_>>().join(" ")
}

impl Intercept for Meter {
    fn name(&self) -> &'static str {
        "Meter"
    }

    fn modify_before_serialization(
        &self,
        context: &mut BeforeSerializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let input = context.input_mut();
        if let Some(input) = input.downcast_mut::<UpdateItemInput>() {
            input.return_consumed_capacity = Some(ReturnConsumedCapacity::Indexes);
            let said = expressions([input.update_expression.as_ref(), input.condition_expression.as_ref()]);
            self.mention(
                input.table_name.as_ref(),
                input.key.as_ref(),
                &input.expression_attribute_names,
                &said,
            );
            self.0.lock().unwrap().operations.insert("UpdateItem");
        } else if let Some(input) = input.downcast_mut::<TransactWriteItemsInput>() {
            input.return_consumed_capacity = Some(ReturnConsumedCapacity::Indexes);
            for item in input.transact_items.iter().flatten() {
                if let Some(update) = &item.update {
                    let said =
                        expressions([Some(&update.update_expression), update.condition_expression.as_ref()]);
                    let names = &update.expression_attribute_names;
                    self.mention(Some(&update.table_name), Some(&update.key), names, &said);
                }
            }
            self.0.lock().unwrap().operations.insert("TransactWriteItems");
        } else if let Some(input) = input.downcast_mut::<GetItemInput>() {
            input.return_consumed_capacity = Some(ReturnConsumedCapacity::Indexes);
            let said = expressions([input.projection_expression.as_ref(), None]);
            self.mention(
                input.table_name.as_ref(),
                input.key.as_ref(),
                &input.expression_attribute_names,
                &said,
            );
            self.0.lock().unwrap().operations.insert("GetItem");
        } else if let Some(input) = input.downcast_mut::<QueryInput>() {
            input.return_consumed_capacity = Some(ReturnConsumedCapacity::Indexes);
            self.0.lock().unwrap().operations.insert("Query");
        }
        Ok(())
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Ok(output) = context.output_or_error() else { return Ok(()) };
        if let Some(output) = output.downcast_ref::<UpdateItemOutput>() {
            self.cost(output.consumed_capacity(), true);
            self.0.lock().unwrap().writes += 1;
        } else if let Some(output) = output.downcast_ref::<TransactWriteItemsOutput>() {
            output.consumed_capacity().iter().for_each(|capacity| self.cost(Some(capacity), true));
            self.0.lock().unwrap().writes += 1;
        } else if let Some(output) = output.downcast_ref::<GetItemOutput>() {
            self.cost(output.consumed_capacity(), false);
            self.0.lock().unwrap().reads += 1;
        } else if let Some(output) = output.downcast_ref::<QueryOutput>() {
            self.cost(output.consumed_capacity(), false);
            self.0.lock().unwrap().reads += 1;
        }
        Ok(())
    }
}
