//! Logs of running attempts, in the pieces that workers ship.

use crate::outputs::{start, succeed};
use crate::rig::Rig;
use backends::{Artifacts, Content};
use contract::live_log::{self, LogPiece};
use contract::{Attempt, JobId, LaunchToken, Timestamp};

async fn ship(rig: &Rig, id: &JobId, token: &LaunchToken, offset: u64, at: i64, text: &str) {
    let folder = live_log::folder(&Attempt::folder(id, 1, token), "stdout.log");
    let key = LogPiece { offset, shipped_at: Timestamp::from_millis(at) }.key(&folder);
    rig.artifacts.put(&key, Content::Bytes(text.as_bytes())).await.unwrap();
}

async fn running() -> (Rig, JobId, LaunchToken) {
    let rig = Rig::new();
    let id = rig.submit(r#"{"job_type":"echo"}"#).await;
    let token = rig.claim(&id).await;
    start(&rig, &id, &token).await;
    (rig, id, token)
}

#[tokio::test]
async fn the_log_of_a_running_attempt_is_what_was_shipped_so_far() {
    let (rig, id, token) = running().await;
    let logs = format!("/jobs/{id}/logs");
    ship(&rig, &id, &token, 0, 1_000, "one\ntwo\n").await;
    ship(&rig, &id, &token, 8, 3_000, "three\n").await;
    let answer = rig.get(&logs).await;
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (200, "one\ntwo\nthree\n"));
    assert_eq!(answer.header("agent-runner-attempt"), "1");
    assert_eq!(rig.get(&format!("{logs}?tail=2")).await.text, "two\nthree\n");
    assert_eq!(rig.get(&format!("{logs}?since=1970-01-01T00:00:02Z")).await.text, "three\n");
    assert_eq!(rig.get(&format!("{logs}?since=1970-01-01T00:00:03Z")).await.text, "");
    assert_eq!(rig.get(&format!("{logs}?since=10m")).await.text, "", "these pieces are from 1970");
    rig.get(&format!("{logs}?since=soon")).await.problem(400, "invalid-query");
    let listed = rig.get(&format!("/jobs/{id}/artifacts")).await.json();
    assert_eq!(listed["artifacts"].as_array().unwrap().len(), 0, "pieces are no artifacts");
}

#[tokio::test]
async fn a_piece_that_was_shipped_again_with_more_counts_once_and_a_gap_ends_the_log() {
    let (rig, id, token) = running().await;
    ship(&rig, &id, &token, 0, 1_000, "one\n").await;
    // The answer to the first was lost, and more had been written when it was repeated.
    ship(&rig, &id, &token, 0, 2_000, "one\ntwo\n").await;
    ship(&rig, &id, &token, 8, 3_000, "three\n").await;
    ship(&rig, &id, &token, 99, 4_000, "lost\n").await;
    assert_eq!(rig.get(&format!("/jobs/{id}/logs")).await.text, "one\ntwo\nthree\n");
}

#[tokio::test]
async fn whoever_follows_gets_the_rest_as_it_comes_and_the_end_with_the_attempt() {
    let (rig, id, token) = running().await;
    ship(&rig, &id, &token, 0, 1_000, "one\n").await;
    let path = format!("/jobs/{id}/logs?follow=true");
    let ends = async {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        ship(&rig, &id, &token, 4, 2_000, "two\n").await;
        tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
        succeed(&rig, &id, &token, b"{}", b"one\ntwo\nthree\n").await;
    };
    let (answer, ()) = tokio::join!(rig.get(&path), ends);
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (200, "one\ntwo\nthree\n"));
    // One that has ended is followed to its end at once.
    assert_eq!(rig.get(&format!("{path}&tail=1")).await.text, "three\n");
}
