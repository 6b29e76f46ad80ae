//! Listings. They come from indexes, which lag by some 10 ms and are for people and resyncs only.

use super::client::{Item, failed_read, string, string_in};
use super::order::{Cursor, day_name, day_of};
use super::read::{job_id_of, job_of, key, more};
use super::records::DynamoRecords;
use super::schema::{active_shards, expiry_shards, spread};
use crate::aws::within;
use crate::records::{ListQuery, Listed, Page, RecordsError, Revision};
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes};
use contract::{JobId, Timestamp};
use futures_util::future::try_join_all;
use std::collections::HashMap;
use std::time::SystemTime;

/// The most jobs on a page: as many items as one `BatchGetItem` returns (API reference).
const PAGE_JOBS: usize = 100;
/// Days that one page looks through at the most; jobs may be kept for ten years after their end.
const PAGE_DAYS: i64 = 64;
/// 2026-01-01. No job is older than this program.
const FIRST_DAY: i64 = 20_454;
/// Pages of expired jobs are not longer than what one query returns anyway.
const MOST_EXPIRED: usize = 10_000;

/// A query of an index: its name, the partition, and a condition on the range key.
struct Find<'q> {
    index: &'static str,
    hash: (&'static str, String),
    range: Option<(&'static str, &'static str, AttributeValue)>,
    newest_first: bool,
    limit: usize,
    names: &'q [&'static str],
}

impl DynamoRecords {
    async fn find(&self, find: Find<'_>) -> Result<Vec<Item>, RecordsError> {
        let mut found = Vec::new();
        let mut start: Option<Item> = None;
        while found.len() < find.limit {
            let (name, value) = &find.hash;
            let mut condition = "#hash = :hash".to_owned();
            let left = i32::try_from(find.limit - found.len()).unwrap_or(i32::MAX);
            let mut call = self
                .client
                .query()
                .table_name(&self.tables.jobs)
                .index_name(find.index)
                .expression_attribute_names("#hash", *name)
                .expression_attribute_values(":hash", string(value.clone()))
                .scan_index_forward(!find.newest_first)
                .limit(left)
                .set_exclusive_start_key(start);
            if let Some((name, comparison, value)) = &find.range {
                condition.push_str(&format!(" AND #range {comparison} :range"));
                call = call
                    .expression_attribute_names("#range", *name)
                    .expression_attribute_values(":range", value.clone());
            }
            let aliases: Vec<_> = find.names.iter().map(|name| format!("#p_{name}")).collect();
            for (alias, name) in aliases.iter().zip(find.names) {
                call = call.expression_attribute_names(alias, *name);
            }
            let call = call.key_condition_expression(condition).projection_expression(aliases.join(", "));
            let page = within(call.send()).await.map_err(|e| failed_read(&e))?;
            found.extend(page.items.unwrap_or_default());
            start = more(page.last_evaluated_key);
            if start.is_none() {
                break;
            }
        }
        Ok(found)
    }

    /// The keys of active jobs. The index holds the id of the last `desired` that the API wrote, so the
    /// revision changes at once with that. What operators and workers write is not in the index (each heartbeat
    /// would cost a write more): hints and the runtime's own listing announce it, and to find what nobody
    /// announced, every revision also changes once per [`look_again`](super::DynamoOptions::look_again), each
    /// job's at another moment.
    pub(super) async fn find_active(&self) -> Result<Vec<(JobId, Revision)>, RecordsError> {
        let shards = active_shards().map(|shard| {
            self.find(Find {
                index: "active",
                hash: ("active_shard", shard),
                range: None,
                newest_first: false,
                limit: usize::MAX,
                names: &["job_id", "rev"],
            })
        });
        let now = self.started.elapsed().as_millis();
        let items = try_join_all(shards).await?.into_iter().flatten();
        let revision = |item: Item| {
            let job_id = job_id_of(&item)?;
            let period = self.options.look_again.as_millis().max(1);
            let moment = u128::from(spread(&["look again", job_id.as_str()])) % period;
            let looks = ((now + moment) / period).to_string();
            let revision = spread(&[string_in(&item, "rev").unwrap_or_default(), &looks]);
            Some((job_id, Revision(revision.cast_signed())))
        };
        Ok(items.filter_map(revision).collect())
    }

    pub(super) async fn find_expired(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<JobId>, RecordsError> {
        let limit = limit.min(MOST_EXPIRED);
        let shards = expiry_shards().map(|shard| {
            self.find(Find {
                index: "expiring",
                hash: ("expiry_shard", shard),
                range: Some(("expires_at", "<=", AttributeValue::N(now.millis().to_string()))),
                newest_first: false,
                limit,
                names: &["job_id", "expires_at"],
            })
        });
        let at = |item: &Item| item.get("expires_at")?.as_n().ok()?.parse::<i64>().ok();
        let mut expired: Vec<_> = try_join_all(shards).await?.into_iter().flatten().collect();
        expired.sort_by_cached_key(|item| at(item).unwrap_or(i64::MAX));
        Ok(expired.iter().filter_map(job_id_of).take(limit).collect())
    }

    /// The jobs of a day, newest first, as places and keys.
    async fn find_day(&self, day: i64, before: &str, limit: usize) -> Result<Vec<Item>, RecordsError> {
        self.find(Find {
            index: "by_day",
            hash: ("day", day_name(day)),
            range: Some(("created_order", "<", string(before))),
            newest_first: true,
            limit,
            names: &["job_id", "day", "created_order"],
        })
        .await
    }

    /// Walks back day by day, more days at once the more of them were empty.
    pub(super) async fn find_page(&self, query: &ListQuery) -> Result<Page, RecordsError> {
        let limit = query.limit.clamp(1, PAGE_JOBS);
        let Cursor { mut day, before } = match &query.cursor {
            // Another machine's clock may be ahead.
            None => Cursor::from(day_of(SystemTime::now().into()) + 1),
            Some(text) => Cursor::parse(text)
                .ok_or_else(|| RecordsError::Refused("the cursor is not one of a listing".to_owned()))?,
        };
        let first_day = day;
        let last = FIRST_DAY.max(day - PAGE_DAYS);
        let mut places: Vec<Item> = Vec::new();
        let mut at_once = 2;
        while places.len() < limit && day >= last {
            let first = last.max(day + 1 - at_once);
            let left = limit - places.len();
            let after_all = Cursor::from(day).before;
            let before = |day| if day == first_day { &before } else { &after_all };
            let days = (first..=day).rev().map(|day| self.find_day(day, before(day), left));
            places.extend(try_join_all(days).await?.into_iter().flatten());
            day = first - 1;
            at_once *= 2;
        }
        let next = if places.len() >= limit {
            places.truncate(limit);
            places.last().and_then(Cursor::after)
        } else {
            // Nothing more in all these days: go on below them.
            (day >= FIRST_DAY).then(|| Cursor::from(day))
        };
        let next = next.map(|cursor| cursor.text());
        let ids: Vec<_> = places.iter().filter_map(job_id_of).collect();
        let mut items = self.get_many(&ids).await?;
        let listed = |id: JobId| items.remove(id.as_str()).map(|item| Listed { job: job_of(id, &item) });
        Ok(Page { jobs: ids.into_iter().filter_map(listed).collect(), next })
    }

    /// Jobs by their keys; those that are gone are missing.
    async fn get_many(&self, ids: &[JobId]) -> Result<HashMap<String, Item>, RecordsError> {
        let mut found = HashMap::new();
        let mut keys: Vec<_> = ids.iter().map(|id| key(&[("job_id", id.as_str())])).collect();
        while !keys.is_empty() {
            let wanted = KeysAndAttributes::builder().set_keys(Some(std::mem::take(&mut keys))).build();
            let wanted = wanted.map_err(|e| RecordsError::Refused(e.to_string()))?;
            let call = self.client.batch_get_item().request_items(&self.tables.jobs, wanted);
            let answer = within(call.send()).await.map_err(|e| failed_read(&e))?;
            let items = answer.responses.unwrap_or_default().remove(&self.tables.jobs).unwrap_or_default();
            if items.is_empty() && answer.unprocessed_keys.as_ref().is_some_and(|left| !left.is_empty()) {
                return Err(RecordsError::Busy("no job of the page could be read now".to_owned()));
            }
            found.extend(
                items.into_iter().filter_map(|item| Some((string_in(&item, "job_id")?.to_owned(), item))),
            );
            // An answer ends at 16 MB.
            let left = answer.unprocessed_keys.unwrap_or_default().remove(&self.tables.jobs);
            keys = left.map(|left| left.keys).unwrap_or_default();
        }
        Ok(found)
    }
}
