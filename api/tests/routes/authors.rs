//! Who changed a job, why, and what shows of edits around the API.

use crate::rig::{Fault, JSON, Rig};
use contract::{JobId, Raw, Reason};
use serde_json::{Value, json};

/// `updated_by`, `change_cause`, and whether there is a time.
fn told(job: &Value) -> (Value, Value, bool) {
    let of = |name: &str| job.get(name).cloned().unwrap_or(Value::Null);
    (of("updated_by"), of("change_cause"), job.get("updated_at").is_some())
}

async fn shown(rig: &Rig, id: &JobId) -> (Value, Value, bool) {
    told(&rig.get(&format!("/jobs/{id}")).await.json())
}

fn nobody() -> (Value, Value, bool) {
    (Value::Null, Value::Null, false)
}

fn direct_edit() -> (Value, Value, bool) {
    (json!("(direct edit)"), Value::Null, false)
}

/// An edit by somebody with a client of the store.
async fn by_hand(rig: &Rig, id: &JobId, edit: impl Fn(&str) -> String) {
    let before = rig.job(id).await.desired;
    rig.store.write_raw(id, &before, &Raw::stored(edit(before.text()))).await;
}

#[tokio::test]
async fn a_change_is_shown_with_who_asked_for_it_and_why() {
    let rig = Rig::new();
    let id = rig.submit(r#"{"job_type":"echo"}"#).await;
    assert_eq!(shown(&rig, &id).await, nobody(), "it is as it was submitted");
    let path = format!("/jobs/{id}");
    let answer =
        rig.patch(&format!("{path}?change_cause=it%20waits%3A%20too%20low"), r#"{"priority":5}"#).await;
    let expected = (json!("local"), json!("it waits: too low"), true);
    assert_eq!((told(&answer.json()), shown(&rig, &id).await), (expected.clone(), expected));
    let first = answer.json()["updated_at"].clone();

    let answer = rig.patch(&path, r#"{"priority":6}"#).await.json();
    assert_eq!(told(&answer), (json!("local"), Value::Null, true), "a cause belongs to one change");
    for verb in ["suspend", "resume", "cancel"] {
        let answer = rig.post(&format!("{path}/{verb}?change_cause=because")).await.json();
        assert_eq!(told(&answer), (json!("local"), json!("because"), true), "{verb}");
    }
    rig.end(&id, Reason::Cancelled).await;
    let answer = rig.post(&format!("{path}/retry?change_cause=again")).await.json();
    assert_eq!(told(&answer), (json!("local"), json!("again"), true));
    assert!(answer["updated_at"].as_str() >= first.as_str(), "{answer}");

    let events = rig.get(&format!("{path}/events")).await.json();
    let edited: Vec<_> =
        events["events"].as_array().unwrap().iter().filter(|e| e["event"] == "edited").collect();
    assert_eq!(edited.len(), 1, "{events}");
    assert_eq!((&edited[0]["message"], &edited[0]["at"]), (&json!("by local: again"), &answer["updated_at"]));
}

#[tokio::test]
async fn what_changes_nothing_has_no_author() {
    let rig = Rig::new();
    let id = rig.submit(r#"{"job_type":"echo","priority":5}"#).await;
    let path = format!("/jobs/{id}");
    let before = rig.get(&path).await;
    for body in ["{}", r#"{"priority":5}"#, r#"{"queue":null}"#] {
        assert_eq!(rig.patch(&format!("{path}?change_cause=x"), body).await.text, before.text, "{body}");
    }
    rig.patch(&format!("{path}?dry_run&change_cause=x"), r#"{"priority":6}"#).await;
    assert_eq!(rig.post(&format!("{path}/resume?change_cause=x")).await.text, before.text);
    // The same meaning in another spelling, as a hand edit may leave it, is no reason to write either.
    by_hand(&rig, &id, |text| text.replace("\"priority\":5", "\"priority\": 5")).await;
    let spaced = rig.get(&path).await;
    assert_eq!(rig.patch(&path, r#"{"priority":5}"#).await.text, spaced.text);
    assert_eq!(told(&spaced.json()), nobody(), "and it means what was submitted");
}

#[tokio::test]
async fn an_edit_around_the_api_shows_until_the_next_one_through_it() {
    let rig = Rig::new();
    let id =
        rig.submit(r#"{"job_type":"echo","payload":{"b":1.50,"a":[1, 2]},"env":{"B":"1","A":"2"}}"#).await;
    let path = format!("/jobs/{id}");
    by_hand(&rig, &id, |text| text.replace("\"suspend\":false", "\"suspend\":true")).await;
    assert_eq!(shown(&rig, &id).await, direct_edit(), "of a job that the API never changed");
    by_hand(&rig, &id, |text| text.replace("\"suspend\":true", "\"suspend\":false")).await;
    assert_eq!(shown(&rig, &id).await, nobody(), "it is as it was submitted again");

    rig.patch(&format!("{path}?change_cause=mine"), r#"{"max_cost_usd":null,"priority":1}"#).await;
    by_hand(&rig, &id, |text| text.replace("1.50", "1.5")).await;
    assert_eq!(shown(&rig, &id).await, direct_edit(), "the payload counts as text");
    let suspended = rig.post(&format!("{path}/suspend")).await.json();
    assert_eq!(told(&suspended), (json!("local"), Value::Null, true));

    // What a store may make of the text: names in another order at every level.
    by_hand(&rig, &id, |text| {
        let sorted: std::collections::BTreeMap<String, &serde_json::value::RawValue> =
            serde_json::from_str(text).unwrap();
        serde_json::to_string(&sorted).unwrap().replace(r#"{"A":"2","B":"1"}"#, r#"{"B":"1","A":"2"}"#)
    })
    .await;
    assert_eq!(shown(&rig, &id).await.0, "local");
}

#[tokio::test]
async fn a_record_that_a_hand_edit_broke_or_stripped_is_a_direct_edit_too() {
    let rig = Rig::new();
    let id = rig.submit(r#"{"job_type":"echo"}"#).await;
    by_hand(&rig, &id, |text| text.replace("\"retry\":0", "\"retry\":0,\"updated\":{}")).await;
    assert_eq!(shown(&rig, &id).await, direct_edit(), "not even its author is left out");
    for (name, value) in [("max_attempts", json!(0)), ("updated", json!(7)), ("updated", Value::Null)] {
        rig.patch(&format!("/jobs/{id}"), r#"{"priority":1,"max_attempts":3}"#).await;
        by_hand(&rig, &id, |text| {
            let mut desired: Value = serde_json::from_str(text).unwrap();
            desired[name] = value.clone();
            desired.to_string()
        })
        .await;
        assert_eq!(shown(&rig, &id).await, direct_edit(), "{name} {value}");
        let mended = rig.patch(&format!("/jobs/{id}?change_cause=mended"), r#"{"max_attempts":4}"#).await;
        assert_eq!(told(&mended.json()), (json!("local"), json!("mended"), true), "{name} {value}");
    }
    rig.mangle(|job| job.desired = Raw::stored("not JSON"));
    assert_eq!(shown(&rig, &id).await, direct_edit());
}

#[tokio::test]
async fn of_records_of_earlier_versions_nobody_can_tell() {
    let rig = Rig::new();
    let id = rig.submit(r#"{"job_type":"echo"}"#).await;
    rig.mangle(|job| {
        let mut created = job.created.parse().unwrap();
        created.desired_digest = None;
        job.created = Raw::of(&created);
    });
    assert_eq!(shown(&rig, &id).await, nobody());
    by_hand(&rig, &id, |text| text.replace("\"retry\":0", "\"retry\":1")).await;
    assert_eq!(shown(&rig, &id).await, nobody());
    let changed = rig.patch(&format!("/jobs/{id}"), r#"{"priority":1}"#).await.json();
    assert_eq!(told(&changed), (json!("local"), Value::Null, true));
}

#[tokio::test]
async fn clients_cannot_say_who_they_are() {
    let rig = Rig::new();
    let id = rig.submit(r#"{"job_type":"echo"}"#).await;
    let path = format!("/jobs/{id}");
    let changed = rig.patch(&path, r#"{"priority":1}"#).await.json();
    let forged = r#"{"job_type":"echo","updated":{"by":"me"},"updated_by":"me","updated_at":"now","change_cause":"x"}"#;
    for answer in [rig.patch(&path, forged).await, rig.send("POST", "/jobs", &[JSON], forged).await] {
        let problem = answer.problem(422, "invalid-fields");
        let mut errors: Vec<_> = problem["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| (e["pointer"].as_str().unwrap(), &e["message"]))
            .collect();
        errors.sort_by_key(|(pointer, _)| *pointer);
        assert_eq!(
            errors.iter().map(|e| e.0).collect::<Vec<_>>(),
            ["/change_cause", "/updated", "/updated_at", "/updated_by"]
        );
        assert!(errors.iter().all(|e| e.1.as_str().unwrap().contains("?change_cause=TEXT")), "{problem}");
    }
    rig.patch(&path, r#"{"updated":null}"#).await.problem(422, "invalid-fields");
    // Whoever sends back what they were shown, with a change in it, says nothing about themselves.
    let mut desired = changed["desired"].clone();
    desired["priority"] = json!(2);
    let answer = rig.patch(&path, &serde_json::to_string_pretty(&desired).unwrap()).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["desired"]["priority"]),
        (200, &json!(2)),
        "{answer:?}"
    );
    rig.patch(&path, &desired.to_string()).await.problem(422, "invalid-fields");
}

#[tokio::test]
async fn a_cause_is_short_one_line_and_given_once() {
    let rig = Rig::new();
    let id = rig.submit(r#"{"job_type":"echo"}"#).await;
    let long = "x".repeat(257);
    for bad in [
        "change_cause=",
        "change_cause=a%0Ab",
        "change_cause=%1B%5B31m",
        &format!("change_cause={long}"),
        "change_cause=a&change_cause=b",
    ] {
        rig.patch(&format!("/jobs/{id}?{bad}"), r#"{"priority":1}"#).await.problem(400, "invalid-query");
        rig.post(&format!("/jobs/{id}/suspend?{bad}")).await.problem(400, "invalid-query");
    }
    let most = "%C3%A4".repeat(256);
    let answer = rig.post(&format!("/jobs/{id}/suspend?change_cause={most}")).await;
    assert_eq!(answer.json()["change_cause"], "ä".repeat(256));
}

#[tokio::test]
async fn a_lost_answer_and_edits_of_others_in_between_leave_one_author() {
    let rig = Rig::new();
    let id = rig.submit(r#"{"job_type":"echo"}"#).await;
    rig.faults([Fault::LosesAnswer]);
    let answer = rig.patch(&format!("/jobs/{id}?change_cause=once"), r#"{"priority":1}"#).await;
    assert_eq!(told(&answer.json()), (json!("local"), json!("once"), true));
    rig.faults([Fault::Overtaken(|d| d.max_attempts += 1)]);
    let answer = rig.patch(&format!("/jobs/{id}?change_cause=twice"), r#"{"priority":2}"#).await.json();
    assert_eq!(
        (&answer["desired"]["max_attempts"], told(&answer)),
        (&json!(4), (json!("local"), json!("twice"), true))
    );
    assert_eq!(shown(&rig, &id).await.1, "twice");
}
