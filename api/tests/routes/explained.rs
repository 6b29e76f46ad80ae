//! Why a job is where it is: no state without an explanation.

use crate::outputs::{start, succeed};
use crate::rig::Rig;
use contract::{Phase, Reason, Timestamp};
use serde_json::{Value, json};

async fn explained(rig: &Rig, id: &contract::JobId) -> Value {
    rig.get(&format!("/jobs/{id}/explain")).await.json()
}

#[track_caller]
fn is_whole(told: &Value) {
    let text = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
    let next = &told["next"];
    assert!(text(&next["what"]), "{told}");
    assert!(["nobody", "you", "operator"].contains(&next["who"].as_str().unwrap_or_default()), "{told}");
    assert!(text(&told["since"]), "{told}");
    let kinds: Vec<_> =
        told["conditions"].as_array().unwrap().iter().map(|c| c["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["Accepted", "Suspended", "Admitted", "Running", "Finished", "Succeeded"]);
    for blocker in told["blockers"].as_array().unwrap() {
        assert!(text(&blocker["reason"]) && text(&blocker["message"]), "{told}");
    }
}

#[tokio::test]
async fn every_phase_with_every_reason_and_blocker_is_explained() {
    let rig = Rig::new();
    let id = rig.submit(r#"{"job_type":"echo"}"#).await;
    is_whole(&explained(&rig, &id).await);
    let reasons: Vec<_> = Reason::ALL.iter().copied().map(Some).chain([None]).collect();
    for phase in Phase::ALL {
        for (at, reason) in reasons.iter().enumerate() {
            let blocker = Reason::ALL[at % Reason::ALL.len()];
            rig.control(&id, |c| {
                (c.phase, c.reason, c.blockers) = (*phase, *reason, vec![blocker]);
                (c.started_at, c.finished_at) =
                    (Some(Timestamp::from_millis(1)), Some(Timestamp::from_millis(2)));
            })
            .await;
            let told = explained(&rig, &id).await;
            is_whole(&told);
            assert_eq!(told["reason"], json!(reason), "{told}");
        }
    }
}

#[tokio::test]
async fn an_attempt_that_is_being_stopped_is_not_said_to_work() {
    let rig = Rig::new();
    let id = rig.submit(r#"{"job_type":"echo"}"#).await;
    let next = async |reason| {
        rig.control(&id, |c| (c.phase, c.reason) = (Phase::Running, reason)).await;
        explained(&rig, &id).await["next"]["what"].as_str().unwrap().to_owned()
    };
    assert!(next(None).await.starts_with("the agent works"));
    assert!(next(Some(Reason::Cancelled)).await.contains("is being stopped"));
}

#[tokio::test]
async fn a_hold_is_told_since_the_change_that_asked_for_it() {
    let rig = Rig::new();
    let id = rig.submit(r#"{"job_type":"echo"}"#).await;
    rig.control(&id, |c| c.run_started_at = Timestamp::from_millis(1)).await;
    let held = rig.post(&format!("/jobs/{id}/suspend")).await.json();
    rig.control(&id, |c| c.reason = Some(Reason::Suspended)).await;
    assert_eq!(explained(&rig, &id).await["since"], held["updated_at"]);
    rig.control(&id, |c| {
        (c.reason, c.not_before) = (Some(Reason::WaitingForQuota), Some(Timestamp::from_millis(7)))
    })
    .await;
    assert_eq!(
        explained(&rig, &id).await["since"],
        Timestamp::from_millis(7).to_string(),
        "the pause ended then"
    );
}

#[tokio::test]
async fn a_blocking_configuration_is_named() {
    let rig = Rig::new();
    let id = rig.submit(r#"{"job_type":"agent"}"#).await;
    rig.control(&id, |c| (c.reason, c.blockers) = (Some(Reason::Suspended), vec![Reason::Misconfigured]))
        .await;
    rig.mangle(|job| {
        job.desired = contract::Raw::stored(job.desired.text().replace("\"agent\"", "\"agnet\""))
    });
    let told = explained(&rig, &id).await;
    assert!(told["blockers"][0]["message"].as_str().unwrap().contains("did you mean \"agent\""), "{told}");
}

#[tokio::test]
async fn what_keeps_a_job_from_asking_for_a_slot_does_not_hide_that_there_is_none() {
    let rig = Rig::new();
    let id = rig.submit(r#"{"job_type":"echo","queue":"q"}"#).await;
    let other = rig.submit(r#"{"job_type":"echo","queue":"q"}"#).await;
    for reason in [Reason::Suspended, Reason::Misconfigured, Reason::BackingOff] {
        rig.control(&id, |c| c.reason = Some(reason)).await;
        rig.control(&other, |c| c.phase = Phase::Running).await;
        let told = explained(&rig, &id).await;
        assert_eq!(told["blockers"][0]["reason"], "WaitingForQuota", "{told}");
        assert_eq!(told["blockers"][0]["message"], "every slot of queue \"q\" is taken; 1 running");
        assert!(told["position"].is_null(), "it is not in the line: {told}");
        rig.control(&other, |c| (c.phase, c.reason) = (Phase::Waiting, None)).await;
        assert_eq!(explained(&rig, &id).await["blockers"], json!([]), "{reason}");
    }
}

#[tokio::test]
async fn a_reason_is_told_since_it_was_stored_first() {
    let rig = Rig::new();
    let id = rig.submit(r#"{"job_type":"echo"}"#).await;
    let at = Timestamp::from_millis(4_000_000_000_000);
    for reason in Reason::ALL.iter().filter(|r| **r != Reason::InvalidRecord) {
        for phase in [Phase::Waiting, Phase::Launching, Phase::Running] {
            rig.control(&id, |c| (c.phase, c.reason, c.reason_since) = (phase, Some(*reason), Some(at)))
                .await;
            assert_eq!(explained(&rig, &id).await["since"], at.to_string(), "{phase} {reason}");
        }
    }
    // A direct edit that nobody has looked at: the stored time is that of another reason.
    rig.mangle(|job| job.desired = contract::Raw::stored(r#"{"job_type":"echo","priority":"high"}"#));
    let told = explained(&rig, &id).await;
    assert_eq!((&told["reason"], &told["since"]), (&json!("InvalidRecord"), &Value::Null));
    rig.control(&id, |c| (c.reason, c.reason_since) = (Some(Reason::InvalidRecord), Some(at))).await;
    assert_eq!(explained(&rig, &id).await["since"], at.to_string());
}

/// Status and time of each condition, and the words of one.
fn conditions(told: &Value) -> Vec<(&str, &str, Option<&str>)> {
    let all = told["conditions"].as_array().unwrap().iter();
    all.map(|c| (c["type"].as_str().unwrap(), c["status"].as_str().unwrap(), c["since"].as_str())).collect()
}

fn reason_of(told: &Value, kind: &str) -> (Value, Value) {
    let all = told["conditions"].as_array().unwrap();
    let found = all.iter().find(|c| c["type"] == kind).unwrap();
    (found["reason"].clone(), found["message"].clone())
}

#[tokio::test]
async fn conditions_say_what_holds_and_since_when_from_the_first_second_to_the_end() {
    let rig = Rig::new();
    let id = rig.submit(r#"{"job_type":"echo"}"#).await;
    let job = rig.get(&format!("/jobs/{id}")).await.json();
    let made = job["created_at"].as_str().unwrap();
    let now = explained(&rig, &id).await;
    let (t, f) = ("True", "False");
    let waits = [
        ("Accepted", t, Some(made)),
        ("Suspended", f, None),
        ("Admitted", f, Some(made)),
        ("Running", f, Some(made)),
        ("Finished", f, Some(made)),
        ("Succeeded", "Unknown", None),
    ];
    assert_eq!(conditions(&now), waits);
    assert_eq!(reason_of(&now, "Admitted").0, "PendingEvaluation");

    let token = rig.claim(&id).await;
    let attempts = rig.get(&format!("/jobs/{id}/attempts")).await.json();
    let claimed = attempts["attempts"][0]["claimed_at"].as_str().unwrap();
    let now = explained(&rig, &id).await;
    assert_eq!(conditions(&now)[2..4], [("Admitted", t, Some(claimed)), ("Running", f, Some(made))]);
    assert_eq!(reason_of(&now, "Running").0, "Launching");

    start(&rig, &id, &token).await;
    let now = explained(&rig, &id).await;
    let at = |second: i64| Timestamp::from_millis(4_000_000_000_000 + second * 1000).to_string();
    assert_eq!(conditions(&now)[2..4], [("Admitted", t, Some(claimed)), ("Running", t, Some(&*at(1)))]);

    let other = rig.submit(r#"{"job_type":"echo"}"#).await;
    let token = rig.claim(&other).await;
    succeed(&rig, &other, &token, b"{}", b"").await;
    let now = explained(&rig, &other).await;
    let (closed, ended) = (at(3), at(4));
    let expected = [
        ("Admitted", f, Some(&*closed)),
        ("Running", f, Some(&*closed)),
        ("Finished", t, Some(&*ended)),
        ("Succeeded", t, Some(&*ended)),
    ];
    assert_eq!(conditions(&now)[2..], expected);
    assert_eq!(reason_of(&now, "Succeeded").0, "Completed");
    rig.end(&other, Reason::Cancelled).await;
    assert_eq!(conditions(&explained(&rig, &other).await)[5].1, f);
}

#[tokio::test]
async fn a_hold_a_broken_record_and_an_unreadable_memory_are_conditions() {
    let rig = Rig::new();
    let id = rig.submit(r#"{"job_type":"echo"}"#).await;
    let at = Timestamp::from_millis(4_000_000_000_000);
    let held = rig.post(&format!("/jobs/{id}/suspend")).await.json();
    let told = explained(&rig, &id).await;
    assert_eq!(
        conditions(&told)[..2],
        [("Accepted", "True", held["updated_at"].as_str()), ("Suspended", "True", None),]
    );
    rig.control(&id, |c| {
        (c.reason, c.reason_since, c.suspended) = (Some(Reason::Suspended), Some(at), true);
        c.message = "suspend is set".to_owned();
    })
    .await;
    let told = explained(&rig, &id).await;
    assert_eq!(conditions(&told)[1], ("Suspended", "True", Some(&*at.to_string())));
    assert_eq!(reason_of(&told, "Suspended"), (json!("Suspended"), json!("suspend is set")));

    rig.mangle(|job| job.desired = contract::Raw::stored(r#"{"job_type":"echo","priority":"high"}"#));
    let told = explained(&rig, &id).await;
    assert_eq!(conditions(&told)[..2], [("Accepted", "False", None), ("Suspended", "False", None)]);
    let (reason, message) = reason_of(&told, "Accepted");
    assert!(reason == "InvalidRecord" && message.as_str().unwrap().contains("/priority"), "{told}");

    rig.mangle(|job| {
        job.desired = contract::Raw::stored(r#"{"job_type":"echo"}"#);
        job.control = Some(contract::Raw::stored("gone"));
    });
    let told = explained(&rig, &id).await;
    assert_eq!(conditions(&told)[0], ("Accepted", "True", None), "a direct edit leaves no time");
    assert_eq!(conditions(&told)[2..4], [("Admitted", "Unknown", None), ("Running", "Unknown", None)]);
}
