//! Long polls.

use crate::rig::Rig;
use backends::{ChannelHints, Hint};
use contract::{Phase, Reason};
use std::time::{Duration, Instant};

/// Waits until a poll watches the job. There is no event for it, so it looks each time others have run.
async fn watched(rig: &Rig) {
    let watching = async {
        while rig.changes.waited_for() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), watching).await.expect("the poll was answered at once");
}

/// What takes less than the second until a poll reads again, unless the machine is busy, which it is not three
/// times in a row.
async fn quick(attempt: impl AsyncFn() -> Duration) {
    let mut tries = Vec::new();
    while tries.iter().all(|took| *took >= Duration::from_millis(900)) {
        assert!(tries.len() < 3, "answered by the re-read only: {tries:?}");
        tries.push(attempt().await);
    }
}

#[tokio::test]
async fn a_poll_is_answered_when_the_status_changes() {
    quick(answered).await;
}

async fn answered() -> Duration {
    let rig = Rig::new();
    let id = rig.submit(r#"{"job_type":"echo"}"#).await;
    let (hints, source) = ChannelHints::new();
    let follower = tokio::spawn(rig.changes.clone().follow(source));
    let start = Instant::now();
    let poll = async { rig.get(&format!("/jobs/{id}?wait=30s")).await.json() };
    let run = async {
        watched(&rig).await;
        rig.control(&id, |c| c.message = "no other status".to_owned()).await;
        hints.send(Hint::Job(id.clone()));
        rig.control(&id, |c| c.phase = Phase::Running).await;
        hints.send(Hint::Job(id.clone()));
    };
    let (job, ()) = tokio::join!(poll, run);
    assert_eq!(job["status"], "RUNNING");
    let took = start.elapsed();
    assert_eq!(rig.changes.waited_for(), 0);
    drop(hints);
    follower.await.unwrap();
    took
}

#[tokio::test]
async fn without_hints_the_change_is_found_by_reading_again() {
    let rig = Rig::new();
    let id = rig.submit(r#"{"job_type":"echo"}"#).await;
    let poll = async { rig.get(&format!("/jobs/{id}?wait=30s")).await.json() };
    let run = async {
        watched(&rig).await;
        rig.control(&id, |c| c.phase = Phase::Running).await;
    };
    let start = Instant::now();
    assert_eq!(tokio::join!(poll, run).0["status"], "RUNNING");
    assert!(start.elapsed() < Duration::from_secs(15), "answered at the end of the wait only");
}

#[tokio::test]
async fn until_finished_waits_for_the_end_and_not_for_the_end_of_the_run_before() {
    let rig = Rig::new();
    let id = rig.submit(r#"{"job_type":"echo"}"#).await;
    rig.end(&id, Reason::Completed).await;
    let path = format!("/jobs/{id}?wait=30s&until=finished");
    assert_eq!(rig.get(&path).await.json()["status"], "SUCCEEDED", "at once");
    rig.post(&format!("/jobs/{id}/retry")).await;
    let poll = async { rig.get(&path).await.json() };
    let run = async {
        watched(&rig).await;
        rig.control(&id, |c| c.phase = Phase::Running).await;
        rig.changes.announce(&Hint::Job(id.clone()));
        rig.end(&id, Reason::NonZeroExitCode).await;
        rig.changes.announce(&Hint::Job(id.clone()));
    };
    assert_eq!(tokio::join!(poll, run).0["reason"], "NonZeroExitCode");
}

#[tokio::test]
async fn the_wait_ends_with_the_job_as_it_is() {
    let rig = Rig::new();
    let id = rig.submit(r#"{"job_type":"echo"}"#).await;
    quick(async || {
        let start = Instant::now();
        let job = rig.get(&format!("/jobs/{id}?wait=50ms")).await;
        assert_eq!((job.status.as_u16(), &job.json()["status"]), (200, &"QUEUED".into()));
        assert!(start.elapsed() >= Duration::from_millis(50), "{:?}", start.elapsed());
        start.elapsed()
    })
    .await;
    rig.get(&format!("/jobs/{id}?wait=soon&until=then")).await.problem(400, "invalid-query");
    rig.get("/jobs/nobody?wait=30s").await.problem(404, "job-not-found");
    assert_eq!(rig.changes.waited_for(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_longer_wish_is_cut_to_a_minute() {
    let rig = Rig::new();
    let id = {
        tokio::time::resume();
        let id = rig.submit(r#"{"job_type":"echo"}"#).await;
        tokio::time::pause();
        id
    };
    let start = tokio::time::Instant::now();
    assert_eq!(rig.get(&format!("/jobs/{id}?wait=1h")).await.status, 200);
    assert_eq!(start.elapsed().as_secs(), 60);
}
