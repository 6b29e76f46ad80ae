//! The reads that a decision follows: strongly consistent.

use super::client::{Item, failed_read, string, string_in};
use super::records::DynamoRecords;
use super::section::{Section, text};
use crate::aws::within;
use crate::records::{Loaded, RecordsError};
use aws_sdk_dynamodb::types::AttributeValue;
use contract::{Attempt, Claim, Job, JobId, LaunchToken, Raw};
use futures_util::future::try_join;

/// A section that is always there; one that a hand edit removed has no text.
pub(super) fn section<T: Section>(item: &Item, name: &str) -> Raw<T> {
    optional_section(item, name).unwrap_or_else(|| Raw::stored(""))
}

/// A section that may be absent.
pub(super) fn optional_section<T: Section>(item: &Item, name: &str) -> Option<Raw<T>> {
    item.get(name).map(text)
}

pub(super) fn job_of(job_id: JobId, item: &Item) -> Job {
    Job {
        job_id,
        created: section(item, "created"),
        desired: section(item, "desired"),
        control: optional_section(item, "control"),
        status: optional_section(item, "status"),
        active: item.contains_key("active_shard"),
    }
}

/// The job id of an item. A key that was made by hand may be anything.
pub(super) fn job_id_of(item: &Item) -> Option<JobId> {
    match JobId::new(string_in(item, "job_id").unwrap_or_default()) {
        Ok(job_id) => Some(job_id),
        Err(e) => {
            tracing::warn!(error = %e, "skipped a job without a proper id");
            None
        }
    }
}

pub(super) fn attempt_of(job_id: &JobId, item: &Item) -> Option<Attempt> {
    match LaunchToken::new(string_in(item, "token").unwrap_or_default()) {
        Ok(token) => Some(Attempt {
            job_id: job_id.clone(),
            token,
            claim: section(item, "claim"),
            gate: optional_section(item, "gate"),
            report: optional_section(item, "report"),
            closing: optional_section(item, "closing"),
        }),
        // Made by hand. No launch can have used it, because nothing launches without a token.
        Err(e) => {
            tracing::warn!(%job_id, error = %e, "skipped an attempt without a token");
            None
        }
    }
}

/// How often a load is repeated when the job changed between its parts.
const AGAIN: usize = 3;

/// Whether the parts of a load contradict each other, which they do for a moment while somebody claims.
fn contradict(job: &Job, attempts: &[Attempt]) -> bool {
    let control = job.control.as_ref().and_then(|control| control.parse().ok());
    let named = control.and_then(|control| control.token);
    let missing = named.as_ref().is_some_and(|token| attempts.iter().all(|a| a.token != *token));
    missing || attempts.iter().any(|a| a.closing.is_none() && Some(&a.token) != named.as_ref())
}

impl DynamoRecords {
    pub(super) async fn read_job(&self, job_id: &JobId) -> Result<Option<Job>, RecordsError> {
        let call =
            self.client.get_item().table_name(&self.tables.jobs).key("job_id", string(job_id.as_str()));
        let answer = within(call.consistent_read(true).send()).await.map_err(|e| failed_read(&e))?;
        Ok(answer.item.map(|item| job_of(job_id.clone(), &item)))
    }

    /// Every attempt of a job, in the order of their numbers.
    pub(super) async fn read_attempts(&self, job_id: &JobId) -> Result<Vec<Attempt>, RecordsError> {
        let mut attempts = Vec::new();
        let mut start: Option<Item> = None;
        loop {
            let call = self
                .client
                .query()
                .table_name(&self.tables.attempts)
                .consistent_read(true)
                .key_condition_expression("#job_id = :job_id")
                .expression_attribute_names("#job_id", "job_id")
                .expression_attribute_values(":job_id", string(job_id.as_str()))
                .set_exclusive_start_key(start);
            let page = within(call.send()).await.map_err(|e| failed_read(&e))?;
            attempts
                .extend(page.items.unwrap_or_default().iter().filter_map(|item| attempt_of(job_id, item)));
            start = more(page.last_evaluated_key);
            if start.is_none() {
                break;
            }
        }
        attempts.sort_by_cached_key(|a| (a.claim.parse().map_or(u32::MAX, |c| c.number), a.token.clone()));
        Ok(attempts)
    }

    /// A job and its attempts. They are two reads; where they do not fit together, the job is read again, and
    /// if it has not changed meanwhile, both are of one moment.
    pub(super) async fn read_all(&self, job_id: &JobId) -> Result<Option<Loaded>, RecordsError> {
        let (mut job, mut attempts) = try_join(self.read_job(job_id), self.read_attempts(job_id)).await?;
        for _ in 0..AGAIN {
            let Some(first) = job else { return Ok(None) };
            if !contradict(&first, &attempts) {
                return Ok(Some(Loaded { job: first, attempts }));
            }
            let second = self.read_job(job_id).await?;
            if second.as_ref() == Some(&first) {
                return Ok(Some(Loaded { job: first, attempts }));
            }
            job = second;
            attempts = self.read_attempts(job_id).await?;
        }
        Ok(job.map(|job| Loaded { job, attempts }))
    }

    /// The claim of an attempt, and nothing else of it: a worker may read no more. It is written with the item and
    /// never changes, so that half the price is enough wherever the item is seen at all.
    pub(super) async fn read_claim(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
    ) -> Result<Option<Raw<Claim>>, RecordsError> {
        match self.read_claim_as(job_id, token, false).await? {
            None => self.read_claim_as(job_id, token, true).await,
            found => Ok(found),
        }
    }

    async fn read_claim_as(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        consistent: bool,
    ) -> Result<Option<Raw<Claim>>, RecordsError> {
        let call = self
            .client
            .get_item()
            .table_name(&self.tables.attempts)
            .key("job_id", string(job_id.as_str()))
            .key("token", string(token.as_str()))
            .projection_expression("#job_id, #token, #claim")
            .expression_attribute_names("#job_id", "job_id")
            .expression_attribute_names("#token", "token")
            .expression_attribute_names("#claim", "claim")
            .consistent_read(consistent);
        let answer = within(call.send()).await.map_err(|e| failed_read(&e))?;
        Ok(answer.item.map(|item| section(&item, "claim")))
    }
}

/// The start of the next page; an empty key means the end with some servers.
pub(super) fn more(key: Option<Item>) -> Option<Item> {
    key.filter(|key: &Item| !key.is_empty())
}

/// A key that is a string.
pub(super) fn key(names: &[(&str, &str)]) -> std::collections::HashMap<String, AttributeValue> {
    names.iter().map(|(name, value)| ((*name).to_owned(), string(*value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::fixtures::{closing, launching, waiting};
    use contract::Control;

    fn token(number: u128) -> LaunchToken {
        LaunchToken::from_bits(number)
    }

    fn job(control: Option<Control>) -> Job {
        let mut job = job_of(JobId::new("a").unwrap(), &Item::new());
        job.control = control.as_ref().map(Raw::of);
        job
    }

    /// An attempt; closed or not.
    fn attempt(number: u128, closed: bool) -> Attempt {
        let item = Item::from([("token".to_owned(), string(token(number).as_str()))]);
        let mut attempt = attempt_of(&JobId::new("a").unwrap(), &item).unwrap();
        attempt.closing = closed.then(|| Raw::of(&closing()));
        attempt
    }

    #[test]
    fn parts_contradict_each_other_when_the_named_attempt_is_missing_or_another_is_open() {
        let names = |number| job(Some(launching(1, &token(number))));
        for (job, attempts, expected) in [
            (job(None), vec![], false),
            (job(Some(waiting())), vec![attempt(1, true), attempt(2, true)], false),
            (names(1), vec![attempt(1, false)], false),
            (names(1), vec![attempt(1, true)], false),
            (names(2), vec![attempt(1, true), attempt(2, false)], false),
            (names(1), vec![], true),
            (names(2), vec![attempt(1, true)], true),
            (job(None), vec![attempt(1, false)], true),
            (job(Some(waiting())), vec![attempt(1, false)], true),
            (names(2), vec![attempt(1, false), attempt(2, false)], true),
        ] {
            assert_eq!(contradict(&job, &attempts), expected, "{job:?} {attempts:?}");
        }
    }
}
