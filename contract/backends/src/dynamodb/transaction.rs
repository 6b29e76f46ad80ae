//! Several conditional writes that happen together or not at all.
//!
//! A transaction costs twice the write units of its parts, so only a claim and a deletion are one.

use super::client::{Doubt, Failure, Item, Write, Written, answered};
use super::job_writes::Met;
use crate::aws::within;
use crate::records::RecordsError;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{
    CancellationReason, Delete, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
};

/// A part of a transaction.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Update(Write),
    Delete(Write),
}

/// Which steps were refused, and what their items were; `None` for a step that would have been carried out.
pub(super) type Reasons = Vec<Option<Written>>;

fn values(write: &Write) -> Option<Item> {
    (!write.values.is_empty()).then(|| write.values.clone())
}

fn item_of(step: &Step) -> Result<TransactWriteItem, RecordsError> {
    let item = TransactWriteItem::builder();
    let all_old = ReturnValuesOnConditionCheckFailure::AllOld;
    let item = match step {
        Step::Update(write) => Update::builder()
            .table_name(&write.table)
            .set_key(Some(write.key.clone()))
            .update_expression(write.update())
            .condition_expression(write.condition())
            .set_expression_attribute_names(Some(write.names.clone()))
            .set_expression_attribute_values(values(write))
            .return_values_on_condition_check_failure(all_old)
            .build()
            .map(|update| item.update(update)),
        Step::Delete(write) => Delete::builder()
            .table_name(&write.table)
            .set_key(Some(write.key.clone()))
            .condition_expression(write.condition())
            .set_expression_attribute_names(Some(write.names.clone()))
            .set_expression_attribute_values(values(write))
            .return_values_on_condition_check_failure(all_old)
            .build()
            .map(|delete| item.delete(delete)),
    };
    item.map(|item| item.build()).map_err(|e| RecordsError::Refused(e.to_string()))
}

/// Carries out all steps, or none and says why. The SDK names each call (`ClientRequestToken`), so a try that
/// it repeats is carried out once.
pub(super) async fn transact(client: &Client, steps: &[Step]) -> Met<Result<(), Reasons>> {
    let doubt = Doubt::default();
    let items: Result<Vec<_>, _> = steps.iter().map(item_of).collect();
    let call = client.transact_write_items().set_transact_items(Some(items.map_err(Failure::Other)?));
    match within(call.customize().interceptor(doubt.clone()).send()).await {
        Ok(_) => Ok(Ok(())),
        Err(SdkError::ServiceError(e)) => match e.into_err() {
            TransactWriteItemsError::TransactionCanceledException(canceled) => {
                understood(canceled.cancellation_reasons.unwrap_or_default()).map(Err)
            }
            TransactWriteItemsError::TransactionInProgressException(_) => Err(Failure::Other(
                RecordsError::Uncertain("the same transaction is still being carried out".to_owned()),
            )),
            e => Err(Failure::Other(answered(&e, doubt.is_there()))),
        },
        Err(e) => Err(Failure::Other(doubt.failed(&e))),
    }
}

/// Nothing was written; why, step by step.
fn understood(reasons: Vec<CancellationReason>) -> Met<Reasons> {
    let code = |reason: &CancellationReason| reason.code().unwrap_or("None").to_owned();
    let first = |wanted: &[&str]| reasons.iter().find(|reason| wanted.contains(&&*code(reason)));
    let said =
        |reason: &CancellationReason| format!("{}: {}", code(reason), reason.message().unwrap_or_default());
    if let Some(reason) = first(&["ValidationError", "ItemCollectionSizeLimitExceeded"]) {
        return Err(Failure::Other(RecordsError::Refused(said(reason))));
    }
    if let Some(reason) = first(&["ThrottlingError", "ProvisionedThroughputExceeded"]) {
        return Err(Failure::Other(RecordsError::Busy(said(reason))));
    }
    let refused = |reason: CancellationReason| {
        (code(&reason) == "ConditionalCheckFailed").then_some(Written::Refused(reason.item))
    };
    // A condition that failed says more than another transaction that happened to be there.
    if first(&["ConditionalCheckFailed"]).is_none() {
        return Err(Failure::Met);
    }
    Ok(reasons.into_iter().map(refused).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dynamodb::client::string;

    fn reason(code: &str) -> CancellationReason {
        CancellationReason::builder().code(code).item("job_id", string(code)).build()
    }

    fn meaning(codes: [&str; 2]) -> Result<Vec<bool>, String> {
        match understood(codes.map(reason).into()) {
            Ok(reasons) => Ok(reasons.iter().map(Option::is_some).collect()),
            Err(Failure::Met) => Err("met".to_owned()),
            Err(Failure::Other(error)) => {
                Err(error.to_string().split(':').next().unwrap_or_default().to_owned())
            }
        }
    }

    #[test]
    fn a_canceled_transaction_says_what_to_do() {
        assert_eq!(meaning(["None", "ConditionalCheckFailed"]), Ok(vec![false, true]));
        assert_eq!(meaning(["ConditionalCheckFailed", "TransactionConflict"]), Ok(vec![true, false]));
        assert_eq!(meaning(["TransactionConflict", "None"]), Err("met".to_owned()));
        let busy = Err("the record store is busy".to_owned());
        assert_eq!(meaning(["ThrottlingError", "None"]), busy);
        assert_eq!(meaning(["ConditionalCheckFailed", "ProvisionedThroughputExceeded"]), busy);
        let refused = Err("the record store refused the write".to_owned());
        assert_eq!(meaning(["None", "ValidationError"]), refused);
    }
}
