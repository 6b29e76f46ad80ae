//! Why a job is where it is: no state without an explanation.

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
