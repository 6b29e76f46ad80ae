//! Sample values, fresh ones for each check, so that checks may share a store.

use crate::clock::{fresh_token, fresh_write_id};
use crate::records::{ControlWrite, NewJob};
use contract::{
    Accepted, Budget, Claim, Closing, Control, Created, Desired, Evidence, JobId, JsonText, LaunchRequest,
    LeaveReason, Outcome, PayloadRef, Phase, Program, Raw, Reason, Report, TaskId, Timestamp, Updated,
    Verdict,
};
use std::collections::BTreeMap;

/// A moment in 2026, `seconds` later.
#[must_use]
pub fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_790_000_000_000).plus_seconds(seconds)
}

/// A job id that nothing else uses.
///
/// # Panics
/// Never: the text is a good id.
#[must_use]
pub fn job_id() -> JobId {
    JobId::new(format!("check-{}", fresh_token())).expect("a good id")
}

/// A task id made of `name`.
///
/// # Panics
/// When `name` has spaces.
#[must_use]
pub fn task(name: &str) -> TaskId {
    TaskId::new(format!("task:{name}")).expect("a good id")
}

/// An echo job with a payload.
#[must_use]
pub fn new_job() -> NewJob {
    let mut desired = Desired::new("echo");
    desired.payload = JsonText::of(&serde_json::json!({"message": "Hello, World! ä"}));
    new_job_of(desired)
}

/// A job that wants `desired`.
#[must_use]
pub fn new_job_of(desired: Desired) -> NewJob {
    let created = Created {
        write: fresh_write_id(),
        at: at(0),
        actor: "somebody".to_owned(),
        idempotency_key: Some("a key".to_owned()),
        body_digest: None,
        desired_digest: Some("0123456789abcdef".to_owned()),
    };
    NewJob { job_id: job_id(), created, desired }
}

/// What a reconciler remembers of a job that waits.
#[must_use]
pub fn waiting() -> Control {
    Control {
        version: fresh_write_id(),
        epoch: 1,
        run: 1,
        attempt: 0,
        token: None,
        tries: 0,
        infra_tries: 0,
        refusals: 0,
        phase: Phase::Waiting,
        not_before: Some(at(5)),
        reason: Some(Reason::WaitingForQuota),
        reason_since: None,
        message: "4 of 4 slots are taken".to_owned(),
        blockers: Vec::new(),
        seen_retry: 0,
        run_started_at: at(0),
        suspended: false,
        started_at: None,
        finished_at: None,
        expires_at: None,
        accepted: None,
        cost: None,
    }
}

/// What a reconciler remembers of a job whose attempt `number` it has claimed.
#[must_use]
pub fn launching(number: u32, token: &contract::LaunchToken) -> Control {
    let (phase, reason) = (Phase::Launching, Some(Reason::Launching));
    Control { attempt: number, token: Some(token.clone()), phase, reason, not_before: None, ..waiting() }
}

/// What a reconciler remembers of a job that succeeded; it may be deleted from `expires_at` on.
#[must_use]
pub fn finished(number: u32, token: &contract::LaunchToken, expires_at: Timestamp) -> Control {
    Control {
        phase: Phase::Finished,
        reason: Some(Reason::Completed),
        started_at: Some(at(1)),
        finished_at: Some(at(2)),
        expires_at: Some(expires_at),
        accepted: Some(Accepted { number, token: token.clone() }),
        ..launching(number, token)
    }
}

/// The claim of attempt `number`.
///
/// # Panics
/// Never: the texts are good JSON.
#[must_use]
pub fn claim(number: u32) -> Claim {
    Claim {
        number,
        run: 1,
        retry: 0,
        epoch: 1,
        claimed_at: at(number.into()),
        job_type: "echo".to_owned(),
        program: Program::Echo,
        payload: PayloadRef::Inline(JsonText::new(r#"{"b":1.50,"a":[]}"#).expect("good JSON")),
        env: BTreeMap::from([("NAME".to_owned(), "value".to_owned())]),
        attempt_timeout_seconds: 60,
        start_timeout_seconds: 60,
        stop_grace_seconds: 1,
        request: LaunchRequest(JsonText::new(r#"{"size": 1}"#).expect("good JSON")),
    }
}

/// The report of a worker that is at it.
#[must_use]
pub fn report(heartbeat: u64) -> Report {
    Report {
        started_at: at(1),
        heartbeat_at: at(heartbeat),
        outcome: None,
        phases: std::collections::BTreeMap::new(),
    }
}

/// The report of a worker that is done.
#[must_use]
pub fn outcome() -> Report {
    let outcome = Outcome { finished_at: at(2), failure: None, manifest: contract::Manifest::default() };
    Report { outcome: Some(outcome), ..report(2) }
}

/// The end of an attempt that was left.
#[must_use]
pub fn closing() -> Closing {
    Closing {
        write: fresh_write_id(),
        closed_at: at(3),
        verdict: Verdict::Left { why: LeaveReason::Cancelled },
        uses: Budget::Nothing,
        evidence: Evidence::default(),
    }
}

/// `new` as it is stored.
#[must_use]
pub fn desired(new: &NewJob) -> Raw<Desired> {
    Raw::of(&new.desired)
}

/// `raw` with another priority: an edit that any reader can tell.
///
/// # Panics
/// When `raw` cannot be decoded.
#[must_use]
pub fn edited(raw: &Raw<Desired>, priority: i32) -> Raw<Desired> {
    let mut desired = Desired::parse(raw.text()).expect("a good text");
    desired.priority = priority;
    Raw::of(&desired)
}

/// `raw` with another priority, as the API writes it: with who did so and why.
///
/// # Panics
/// When `raw` cannot be decoded.
#[must_use]
pub fn updated(raw: &Raw<Desired>, priority: i32) -> Raw<Desired> {
    let mut desired = Desired::parse(edited(raw, priority).text()).expect("a good text");
    let (cause, digest) = (Some("ä cause: \"why\"".to_owned()), "0123456789abcdef".to_owned());
    desired.updated = Some(Updated { by: "somebody".to_owned(), at: at(1), cause, digest });
    Raw::of(&desired)
}

/// A write of `control` by somebody who knows every attempt.
#[must_use]
pub fn write<'a>(
    expected: Option<&'a Raw<Control>>,
    seen: &'a Raw<Desired>,
    control: &'a Control,
    settled: bool,
) -> ControlWrite<'a> {
    ControlWrite { expected, seen, newest: u32::MAX, control, settled }
}
