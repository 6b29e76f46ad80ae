//! The slow scan over ended jobs, for edits that nobody announced. A store that hears of every edit by itself
//! answers with nothing; DynamoDB, where an edit by hand sets no mark and its hint may be lost, with every job.
//!
//! It reads a page, pauses, and so on, so that its cost per second is small and bounded: with a page of at most
//! a megabyte (Query and Scan, DynamoDB API reference) every tenth of a second, a gigabyte of records is read in
//! less than two minutes, at half a unit for 4 KB.

use crate::work::Work;
use backends::RecordsError;
use contract::Job;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Items read at once.
const PAGE: usize = 1000;
/// Between two pages.
const PAUSE: Duration = Duration::from_millis(100);

/// Scans over and over, a scan per interval.
pub(crate) async fn scans(work: Arc<Work>) {
    loop {
        let began = Instant::now();
        if let Err(error) = scan(&work).await {
            tracing::warn!(%error, "the scan over ended jobs was cut off; it begins again at its next time");
        }
        tokio::time::sleep_until(began + work.parts.scan_interval).await;
    }
}

async fn scan(work: &Work) -> Result<(), RecordsError> {
    let mut cursor = None;
    loop {
        let page = work.parts.records.scan_finished(cursor.as_deref(), PAGE).await;
        let page = work.metrics.stored("scan", page)?;
        for job in page.jobs.iter().filter(|job| differs(job)) {
            tracing::info!(job_id = %job.job_id, "an ended job was edited, and no hint said so");
            work.queue.push(job.job_id.clone());
        }
        cursor = page.next;
        if cursor.is_none() {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether a pass over an ended job might find something to do: only a forced retry and the TTL act on one. What
/// cannot be decoded is looked at too, because a pass says so in its reason.
fn differs(job: &Job) -> bool {
    let (Ok(desired), Some(Ok(control))) = (job.desired(), job.control.as_ref().map(|raw| raw.parse()))
    else {
        return true;
    };
    let expires_at = control.finished_at.map(|at| at.plus_seconds(desired.ttl_seconds_after_finished));
    desired.retry != control.seen_retry || control.expires_at != expires_at
}

#[cfg(test)]
mod tests {
    use super::*;
    use backends::conformance::fixtures;
    use contract::{Control, Raw};

    fn ended(change: impl FnOnce(&mut Control)) -> Job {
        let new = fixtures::new_job();
        let ttl = new.desired.ttl_seconds_after_finished;
        let token = backends::clock::fresh_token();
        let mut control = fixtures::finished(1, &token, fixtures::at(0));
        control.finished_at = Some(fixtures::at(5));
        control.expires_at = Some(fixtures::at(5).plus_seconds(ttl));
        control.seen_retry = new.desired.retry;
        change(&mut control);
        Job {
            job_id: new.job_id,
            created: Raw::of(&new.created),
            desired: Raw::of(&new.desired),
            control: Some(Raw::of(&control)),
            status: None,
            active: false,
        }
    }

    #[test]
    fn an_ended_job_is_looked_at_when_its_retry_or_ttl_changed_or_it_cannot_be_read() {
        assert!(!differs(&ended(|_| {})));
        let mut retried = ended(|_| {});
        let mut desired = retried.desired().unwrap();
        desired.retry += 1;
        retried.desired = Raw::of(&desired);
        assert!(differs(&retried));
        let mut kept = ended(|_| {});
        desired.retry -= 1;
        desired.ttl_seconds_after_finished += 1;
        kept.desired = Raw::of(&desired);
        assert!(differs(&kept));
        assert!(differs(&Job { control: None, ..ended(|_| {}) }));
        assert!(differs(&Job { desired: Raw::stored("{"), ..ended(|_| {}) }));
        assert!(differs(&ended(|c| c.finished_at = None)));
    }
}
