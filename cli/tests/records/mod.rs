//! Answers of the API as they are.

#![allow(dead_code, reason = "each test file uses a part")]

use serde_json::{Value, json};

pub(crate) const FAILED: &str = "019ab3f0-0000-7000-8000-000000000001";
pub(crate) const RUNNING: &str = "019ab3f0-0000-7000-8000-000000000002";
pub(crate) const WAITING: &str = "019ab3f0-0000-7000-8000-000000000003";

/// A job that failed on Fargate, in its second attempt, with a message that tries to clear the screen.
pub(crate) fn failed() -> Value {
    json!({
        "job_id": FAILED, "job_type": "summarize", "payload": {"text": "Hello"}, "status": "FAILED",
        "reason": "MaxAttemptsExceeded", "message": "2 of 2 tries failed;\u{1b}[2J the last one: OutOfMemory",
        "attempt": 2, "created_at": "2026-11-22T11:50:00.000Z", "started_at": "2026-11-22T11:55:31.000Z",
        "finished_at": "2026-11-22T11:58:00.000Z", "updated_by": "ada", "updated_at": "2026-11-22T11:51:00.000Z",
        "change_cause": "it needs\u{1b}[2J a second try",
        "desired": {"job_type": "summarize", "payload": {"text": "Hello"}, "max_attempts": 2, "priority": 0,
            "env": {"MODEL": "small"}, "labels": {"team": "search"}, "suspend": false, "cancel": false, "retry": 0, "max_cost_usd": 1.5,
            "updated": {"by": "ada", "at": "2026-11-22T11:51:00.000Z", "digest": "0123456789abcdef"}},
        "control": {"run": 1, "attempt": 2, "tries": 2, "infra_tries": 1, "phase": "Finished", "cost": 0.0123},
        "created": {"at": "2026-11-22T11:50:00.000Z", "actor": "ci"}, "active": false
    })
}

pub(crate) fn running() -> Value {
    json!({
        "job_id": RUNNING, "job_type": "echo", "payload": {}, "status": "RUNNING", "reason": null, "message": "",
        "attempt": 1, "created_at": "2026-11-22T11:59:00.000Z", "started_at": "2026-11-22T11:59:01.000Z",
        "finished_at": null, "desired": {"job_type": "echo", "payload": {}, "max_attempts": 3}, "control": null,
        "created": {"at": "2026-11-22T11:59:00.000Z", "actor": "local"}, "active": true
    })
}

/// A job whose desired state a hand edit broke.
pub(crate) fn waiting() -> Value {
    json!({
        "job_id": WAITING, "job_type": "echo", "payload": {}, "status": "QUEUED", "reason": "InvalidRecord",
        "message": "max_attempts: 0 is not allowed: 1 to 100", "attempt": 0, "updated_by": "(direct edit)",
        "created_at": "2026-11-19T12:00:00.000Z", "started_at": null, "finished_at": null,
        "invalid": [{"section": "desired", "errors": [{"pointer": "/max_attempts", "value": "0", "message": "1 to 100"}]}],
        "desired": {"job_type": "echo", "payload": {}, "max_attempts": 0}, "control": null,
        "created": {"at": "2026-11-19T12:00:00.000Z", "actor": "local"}, "active": true
    })
}

pub(crate) fn list() -> Value {
    let summary = |job: Value| {
        let mut job = job;
        for name in ["payload", "desired", "control", "created", "active", "invalid"] {
            job.as_object_mut().unwrap().remove(name);
        }
        job
    };
    json!({"jobs": [summary(running()), summary(failed()), summary(waiting())], "next_cursor": null})
}

pub(crate) fn attempts() -> Value {
    json!({"job_id": FAILED, "attempts": [
        {"number": 1, "run": 1, "token": "aaaaaaaa", "state": "closed", "claimed_at": "2026-11-22T11:50:01.000Z",
         "started_at": null, "heartbeat_at": null, "finished_at": null, "closed_at": "2026-11-22T11:52:00.000Z",
         "gate": {"state": "sealed"}, "report": null,
         "closing": {"closed_at": "2026-11-22T11:52:00.000Z", "uses": "Infrastructure",
            "verdict": {"failed": {"class": "SpotInterruption", "message": "the task was taken back"}},
            "evidence": {"task": "ecs:agents/0123", "stop_code": "SpotInterruption",
                "stopped_reason": "Your Spot Task was interrupted.",
                "phases": {"created": "2026-11-22T11:50:02.500Z", "pull_started": "2026-11-22T11:50:09.000Z",
                           "stopped": "2026-11-22T11:51:40.000Z"}}}},
        {"number": 2, "run": 1, "token": "bbbbbbbb", "state": "closed", "claimed_at": "2026-11-22T11:55:30.000Z",
         "started_at": "2026-11-22T11:55:31.000Z", "heartbeat_at": "2026-11-22T11:57:50.000Z",
         "finished_at": "2026-11-22T11:57:58.000Z", "closed_at": "2026-11-22T11:58:00.000Z",
         "gate": {"state": "finished"},
         "report": {"outcome": {"failure": {"class": "OutOfMemory", "exit_code": 137, "message": "killed"},
            "manifest": {"files": [{"path": "stdout.log", "size": 81}]}}},
         "closing": {"closed_at": "2026-11-22T11:58:00.000Z", "uses": "Try",
            "verdict": {"failed": {"class": "OutOfMemory", "message": "killed"}}, "evidence": {"exit_code": 137, "cost": 0.0021}}}
    ]})
}

pub(crate) fn events() -> Value {
    json!({"job_id": FAILED, "events": [
        {"at": "2026-11-22T11:50:00.000Z", "event": "created", "message": "submitted by ci"},
        {"at": "2026-11-22T11:51:00.000Z", "event": "edited", "message": "by ada: it needs a second try"},
        {"at": "2026-11-22T11:55:31.000Z", "event": "started", "attempt": 2, "message": "the worker passed the start gate"},
        {"at": "2026-11-22T11:58:00.000Z", "event": "ended", "message": "FAILED (MaxAttemptsExceeded)", "count": 2}
    ]})
}

pub(crate) fn explained() -> Value {
    json!({"job_id": WAITING, "status": "QUEUED", "reason": "WaitingForQuota",
        "message": "the queue llm runs 4 of 4", "since": "2026-11-22T11:58:00.000Z",
        "next": {"what": "it starts when a slot is free; the job fails at its deadline", "at": "2026-11-23T11:50:00.000Z"},
        "blockers": [{"reason": "Suspended", "message": "the job is held until it is resumed: POST /jobs/{id}/resume"}],
        "position": {"place": 3, "of": 17, "limit": "queue llm"}, "act": "operator"})
}
