//! What operators do to records with a raw client, and what becomes of it.

use super::{Store, native_value};
use aws_sdk_dynamodb::types::AttributeValue::{self, N, S, Ss};
use backends::clock::fresh_token;
use backends::conformance::fixtures as fx;
use backends::{
    CreateAnswer, DynamoOptions, DynamoRecords, GateAnswer, NewJob, RecordsBackend, RecordsError,
    StartAnswer, WriteAnswer,
};
use contract::{Gate, JobId, LeaveReason, Raw};
use std::collections::HashMap;
use std::sync::Arc;

/// Makes one test of each check, on a server.
#[macro_export]
macro_rules! by_hand_on {
    ($place:expr) => {
        $crate::by_hand_on!(@each $place,
            a_single_field_of_desired_is_edited_in_place
            a_desired_pasted_as_a_string_is_read_and_compared_and_replaced_by_a_map
            a_desired_that_was_removed_can_be_seen_and_written_anew
            a_set_in_place_of_a_map_is_an_error_that_names_the_field_and_can_be_edited_away
            numbers_in_another_spelling_are_the_same_numbers
            values_at_the_edges_are_stored
            a_gate_written_as_a_string_is_a_gate
            an_attempt_is_not_closed_before_its_gate
            an_attempt_that_was_deleted_is_not_claimed_by_its_control
            keys_that_are_no_ids_are_skipped
            a_job_with_more_attempts_than_a_transaction_holds_is_deleted_with_all
            a_desired_that_does_not_fit_is_refused_in_words);
    };
    (@each $place:expr, $($check:ident)*) => {
        $(#[test]
        fn $check() {
            if let Some(store) = $crate::dynamodb_support::Store::at($place) {
                $crate::dynamodb_support::run($crate::dynamodb_support::by_hand::$check(store));
            }
        })*
    };
}

fn records(store: &Store) -> Arc<DynamoRecords> {
    DynamoRecords::new(store.client.clone(), &store.prefix, DynamoOptions::default())
}

async fn job(records: &DynamoRecords) -> NewJob {
    let new = fx::new_job();
    assert_eq!(records.create(&new).await, Ok(CreateAnswer::Created));
    new
}

async fn set(store: &Store, id: &JobId, name: &str, value: AttributeValue) {
    store.edit("jobs", &HashMap::from([("job_id", id.as_str())]), name, Some(value)).await;
}

/// `aws dynamodb update-item --update-expression "SET desired.<field> = :value"`
async fn set_field(store: &Store, id: &JobId, field: &str, value: AttributeValue) {
    let call = store.client.update_item().table_name(format!("{}-jobs", store.prefix));
    call.key("job_id", S(id.as_str().to_owned()))
        .update_expression("SET desired.#field = :value")
        .expression_attribute_names("#field", field)
        .expression_attribute_values(":value", value)
        .send()
        .await
        .expect("an edit of one field");
}

pub(crate) async fn a_single_field_of_desired_is_edited_in_place(store: Store) {
    let records = records(&store);
    let new = job(&records).await;
    let (id, seen) = (&new.job_id, fx::desired(&new));
    set_field(&store, id, "cancel", AttributeValue::Bool(true)).await;
    let stored = records.job(id).await.unwrap().unwrap();
    let mut expected = new.desired.clone();
    expected.cancel = true;
    assert_eq!(stored.desired(), Ok(expected));
    // Nobody decides over an edit that he has not seen.
    let next = fx::waiting();
    assert_eq!(
        records.write_control(id, fx::write(None, &seen, &next, true)).await,
        Ok(WriteAnswer::Conflict)
    );
    assert_eq!(records.write_desired(id, &seen, &fx::edited(&seen, 1)).await, Ok(WriteAnswer::Conflict));
    assert_eq!(
        records.write_control(id, fx::write(None, &stored.desired, &next, true)).await,
        Ok(WriteAnswer::Written)
    );
}

pub(crate) async fn a_desired_pasted_as_a_string_is_read_and_compared_and_replaced_by_a_map(store: Store) {
    let records = records(&store);
    let new = job(&records).await;
    let id = &new.job_id;
    for text in [new.desired.to_text(), r#"{ "job_type": "echo" }"#.to_owned()] {
        set(&store, id, "desired", S(text.clone())).await;
        let stored = records.job(id).await.unwrap().unwrap();
        assert_eq!((stored.desired.text(), stored.desired().unwrap().job_type.as_str()), (&*text, "echo"));
        let (control, next) = (stored.control, fx::waiting());
        let answer =
            records.write_control(id, fx::write(control.as_ref(), &stored.desired, &next, false)).await;
        assert_eq!(answer, Ok(WriteAnswer::Written), "{text}");
        let edited = fx::edited(&stored.desired, 3);
        assert_eq!(records.write_desired(id, &stored.desired, &edited).await, Ok(WriteAnswer::Written));
        set_field(&store, id, "priority", N("4".to_owned())).await;
        assert_eq!(records.job(id).await.unwrap().unwrap().desired().unwrap().priority, 4);
    }
}

pub(crate) async fn a_desired_that_was_removed_can_be_seen_and_written_anew(store: Store) {
    let records = records(&store);
    let new = job(&records).await;
    let id = &new.job_id;
    store.edit("jobs", &HashMap::from([("job_id", id.as_str())]), "desired", None).await;
    let stored = records.job(id).await.unwrap().unwrap();
    assert_eq!(stored.desired.text(), "");
    assert!(stored.desired().is_err());
    let answer = records.write_control(id, fx::write(None, &stored.desired, &fx::waiting(), false)).await;
    assert_eq!(answer, Ok(WriteAnswer::Written));
    assert_eq!(
        records.write_desired(id, &stored.desired, &fx::desired(&new)).await,
        Ok(WriteAnswer::Written)
    );
    assert_eq!(records.job(id).await.unwrap().unwrap().desired(), Ok(new.desired));
}

pub(crate) async fn a_set_in_place_of_a_map_is_an_error_that_names_the_field_and_can_be_edited_away(
    store: Store,
) {
    let records = records(&store);
    let new = job(&records).await;
    let id = &new.job_id;
    let bytes = AttributeValue::B(aws_sdk_dynamodb::primitives::Blob::new(*b"hi"));
    for (field, value) in
        [("env", Ss(vec!["A=b".to_owned()])), ("cancel", bytes), ("payload", S("hi".to_owned()))]
    {
        set_field(&store, id, field, value).await;
        let stored = records.job(id).await.unwrap().unwrap();
        let error = stored.desired().unwrap_err().to_string();
        assert!(error.contains(&format!("/{field}")), "{error}");
        // The reconciler says InvalidRecord, on the condition that it is still so.
        let next = fx::waiting();
        let answer = records
            .write_control(id, fx::write(stored.control.as_ref(), &stored.desired, &next, false))
            .await;
        assert_eq!(answer, Ok(WriteAnswer::Written), "{field}");
        let answer = records.write_desired(id, &stored.desired, &fx::desired(&new)).await;
        assert_eq!(answer, Ok(WriteAnswer::Written), "{field}");
    }
    assert_eq!(records.job(id).await.unwrap().unwrap().desired(), Ok(new.desired));
}

pub(crate) async fn numbers_in_another_spelling_are_the_same_numbers(store: Store) {
    let records = records(&store);
    let new = job(&records).await;
    let (id, mut control) = (&new.job_id, None);
    for spelling in ["7", "7.00", "0.7e1"] {
        set_field(&store, id, "priority", N(spelling.to_owned())).await;
        let stored = records.job(id).await.unwrap().unwrap();
        assert_eq!(stored.desired().unwrap().priority, 7, "{spelling}");
        let next = fx::waiting();
        let answer =
            records.write_control(id, fx::write(control.as_ref(), &stored.desired, &next, false)).await;
        assert_eq!(answer, Ok(WriteAnswer::Written), "{spelling}");
        control = Some(Raw::of(&next));
    }
}

pub(crate) async fn values_at_the_edges_are_stored(store: Store) {
    let records = records(&store);
    let new = job(&records).await;
    let (id, mut last) = (&new.job_id, fx::desired(&new));
    let deep = format!(r#"{{"job_type":"echo","deep":{}1{}}}"#, "[".repeat(28), "]".repeat(28));
    let digits = "12345678901234567890123456789012345678";
    for text in [
        r#"{"job_type":"echo","env":{"A":""},"queue":null}"#.to_owned(),
        format!(r#"{{"job_type":"echo","max_cost_usd":{digits}}}"#),
        format!(r#"{{"job_type":"echo","max_cost_usd":-0.{digits}}}"#),
        r#"{"job_type":"echo","max_cost_usd":9.9E+125}"#.to_owned(),
        r#"{"job_type":"echo","max_cost_usd":1E-130}"#.to_owned(),
        r#"{"job_type":"echo","max_cost_usd":1e400}"#.to_owned(),
        r#"{"":1}"#.to_owned(),
        "{}".to_owned(),
        "[[],{}]".to_owned(),
        deep,
        format!("{}1{}", "[".repeat(100), "]".repeat(100)),
    ] {
        let next = Raw::stored(text.clone());
        assert_eq!(records.write_desired(id, &last, &next).await, Ok(WriteAnswer::Written), "{text}");
        last = records.job(id).await.unwrap().unwrap().desired;
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).map_err(|e| e.to_string());
        assert_eq!(value(last.text()), value(&text));
        assert_eq!(records.write_desired(id, &next, &next).await, Ok(WriteAnswer::Written), "{text}");
    }
}

pub(crate) async fn a_gate_written_as_a_string_is_a_gate(store: Store) {
    let records = records(&store);
    let (new, token, task) = (job(&records).await, fresh_token(), fx::task("a"));
    let id = &new.job_id;
    assert_eq!(records.draft(id, &token, &fx::claim(1)).await, Ok(WriteAnswer::Written));
    let gate = Raw::of(&Gate::Started { task: task.clone() });
    let key = HashMap::from([("job_id", id.as_str()), ("token", token.as_str())]);
    store.edit("attempts", &key, "gate", Some(S(gate.text().to_owned()))).await;
    let answer = records.start(id, &token, &task, &fx::report(1)).await;
    assert!(matches!(answer, Ok(StartAnswer::Started(_))), "{answer:?}");
    assert_eq!(records.heartbeat(id, &token, &task, &fx::report(2)).await, Ok(GateAnswer::Written));
    assert_eq!(records.seal(id, &token, LeaveReason::Cancelled).await, Ok(GateAnswer::Written));
    let sealed = Raw::of(&Gate::Sealed { why: LeaveReason::Cancelled, started: Some(task) });
    assert_eq!(records.load(id).await.unwrap().unwrap().attempts[0].gate, Some(sealed));
}

pub(crate) async fn an_attempt_is_not_closed_before_its_gate(store: Store) {
    let records = records(&store);
    let (new, token) = (job(&records).await, fresh_token());
    let id = &new.job_id;
    assert_eq!(records.draft(id, &token, &fx::claim(1)).await, Ok(WriteAnswer::Written));
    let refused = |answer| matches!(answer, Err(RecordsError::Refused(_)));
    assert!(refused(records.close(id, &token, &fx::closing()).await));
    records.start(id, &token, &fx::task("a"), &fx::report(1)).await.unwrap();
    assert!(refused(records.close(id, &token, &fx::closing()).await), "it may still be executed");
    assert_eq!(records.load(id).await.unwrap().unwrap().attempts[0].closing, None);
}

pub(crate) async fn an_attempt_that_was_deleted_is_not_claimed_by_its_control(store: Store) {
    let records = records(&store);
    let (new, token) = (job(&records).await, fresh_token());
    let (id, seen, control) = (&new.job_id, fx::desired(&new), fx::launching(1, &token));
    let claim = fx::claim(1);
    let claim_now = || records.claim(id, &token, &claim, None, &seen, &control);
    assert_eq!(claim_now().await, Ok(WriteAnswer::Written));
    let delete = store.client.delete_item().table_name(format!("{}-attempts", store.prefix));
    let delete = delete.key("job_id", S(id.as_str().to_owned())).key("token", S(token.as_str().to_owned()));
    delete.send().await.unwrap();
    assert_eq!(claim_now().await, Ok(WriteAnswer::Conflict));
    let loaded = records.load(id).await.unwrap().unwrap();
    assert_eq!((loaded.job.control, loaded.attempts.len()), (Some(Raw::of(&control)), 0));
}

pub(crate) async fn keys_that_are_no_ids_are_skipped(store: Store) {
    let records = records(&store);
    let (new, token) = (job(&records).await, fresh_token());
    let id = &new.job_id;
    assert_eq!(records.draft(id, &token, &fx::claim(1)).await, Ok(WriteAnswer::Written));
    let odd =
        native_value(serde_json::json!({"job_id": "Not An Id", "active_shard": "a0", "day": "2026-11-22",
        "created_order": "zzz", "expiry_shard": "e0", "expires_at": 1, "desired": 7}));
    let attempt = native_value(serde_json::json!({"job_id": id.as_str(), "token": "no token"}));
    for (table, item) in [("jobs", odd), ("attempts", attempt)] {
        let put = store.client.put_item().table_name(format!("{}-{table}", store.prefix));
        put.set_item(item.as_m().ok().cloned()).send().await.unwrap();
    }
    assert_eq!(records.load(id).await.unwrap().unwrap().attempts.len(), 1);
    assert_eq!(records.list_active().await.unwrap().len(), 1);
    assert_eq!(records.list_expired(fx::at(0), 10).await, Ok(Vec::new()));
    let page = records.list(&Default::default()).await.unwrap();
    assert!(page.jobs.iter().all(|listed| listed.job.job_id == *id));
    assert_eq!(records.scan_finished(None, 100).await.unwrap().jobs, Vec::new());
}

pub(crate) async fn a_job_with_more_attempts_than_a_transaction_holds_is_deleted_with_all(store: Store) {
    let records = records(&store);
    let (new, control) = (job(&records).await, fx::waiting());
    let (id, seen, raw) = (&new.job_id, fx::desired(&new), Raw::of(&control));
    assert_eq!(
        records.write_control(id, fx::write(None, &seen, &control, false)).await,
        Ok(WriteAnswer::Written)
    );
    for number in 1..=201 {
        let token = fresh_token();
        assert_eq!(records.draft(id, &token, &fx::claim(number)).await, Ok(WriteAnswer::Written));
        if number < 201 {
            assert_eq!(records.seal(id, &token, LeaveReason::Superseded).await, Ok(GateAnswer::Written));
            assert_eq!(records.close(id, &token, &fx::closing()).await, Ok(WriteAnswer::Written));
        }
    }
    assert_eq!(records.delete(id, &raw, &seen).await, Ok(WriteAnswer::Conflict), "one is open");
    let loaded = records.load(id).await.unwrap().unwrap();
    let open = &loaded.attempts[200];
    assert_eq!((loaded.attempts.len(), &open.closing), (201, &None));
    assert_eq!(records.seal(id, &open.token, LeaveReason::Superseded).await, Ok(GateAnswer::Written));
    assert_eq!(records.close(id, &open.token, &fx::closing()).await, Ok(WriteAnswer::Written));
    assert_eq!(records.delete(id, &Raw::of(&fx::waiting()), &seen).await, Ok(WriteAnswer::Conflict));
    assert_eq!(records.load(id).await.unwrap().unwrap().attempts.len(), 201);
    assert_eq!(records.delete(id, &raw, &seen).await, Ok(WriteAnswer::Written));
    assert_eq!(records.create(&new).await, Ok(CreateAnswer::Created));
    assert_eq!(records.load(id).await.unwrap().unwrap().attempts.len(), 0);
}

pub(crate) async fn a_desired_that_does_not_fit_is_refused_in_words(store: Store) {
    let records = records(&store);
    let payload = |bytes: usize| contract::JsonText::new(format!("\"{}\"", "x".repeat(bytes - 2))).unwrap();
    // The largest that the API accepts, with the largest environment, and with what a job has beside it.
    let mut desired = contract::Desired::new("echo");
    desired.payload = payload(contract::desired::PAYLOAD_LIMIT);
    desired.env = (0..16).map(|n| (format!("N{n}"), "x".repeat(1000))).collect();
    let new = fx::new_job_of(desired.clone());
    assert_eq!(records.create(&new).await, Ok(CreateAnswer::Created));
    let mut control = fx::waiting();
    control.message = "x".repeat(8192);
    let answer =
        records.write_control(&new.job_id, fx::write(None, &fx::desired(&new), &control, false)).await;
    assert_eq!(answer, Ok(WriteAnswer::Written));
    desired.payload = payload(380_000);
    let answer = records.create(&fx::new_job_of(desired.clone())).await;
    let Err(error @ RecordsError::Refused(_)) = answer else { panic!("{answer:?}") };
    assert!(error.to_string().contains("at most 368640 are allowed"), "{error}");
    let edit = Raw::stored(desired.to_text());
    let answer = records.write_desired(&new.job_id, &fx::desired(&new), &edit).await;
    assert!(matches!(answer, Err(RecordsError::Refused(_))), "{answer:?}");
}
