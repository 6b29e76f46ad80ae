//! The slow scan over finished jobs, for hand edits that no hint announced.
//!
//! It reads the table, because an index that held what an operator may change would cost a write more at each
//! write. Its cost follows history (a read unit per 8 KB), so the caller gives it a budget and a pace.

use super::client::{Item, failed_read, string_in};
use super::read::{job_id_of, job_of, key, more};
use super::records::DynamoRecords;
use crate::aws::within;
use crate::records::{RecordsError, ScanPage};
use futures_util::future::try_join_all;

/// Parts of the table that are scanned at the same time. A page of 1 MB takes some 100 ms, so one after the
/// other 10 MB/s at the most.
const SEGMENTS: usize = 4;

/// Where each segment stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Start,
    /// Behind this job.
    After(String),
    End,
}

/// A JSON list of a text per segment: empty at its start, the last key that was read, `null` at its end. A key
/// that was made by hand may be any text.
fn places(cursor: Option<&str>) -> Option<Vec<Place>> {
    let Some(cursor) = cursor else { return Some(vec![Place::Start; SEGMENTS]) };
    let texts: Vec<Option<String>> = serde_json::from_str(cursor).ok()?;
    let place = |text: Option<String>| match text {
        None => Place::End,
        Some(text) if text.is_empty() => Place::Start,
        Some(text) => Place::After(text),
    };
    (texts.len() == SEGMENTS).then(|| texts.into_iter().map(place).collect())
}

fn cursor(places: &[Place]) -> Option<String> {
    let text = |place: &Place| match place {
        Place::Start => Some(String::new()),
        Place::After(key) => Some(key.clone()),
        Place::End => None,
    };
    let texts: Vec<_> = places.iter().map(text).collect();
    texts.iter().any(Option::is_some).then(|| serde_json::json!(texts).to_string())
}

impl DynamoRecords {
    pub(super) async fn scan_page(&self, at: Option<&str>, budget: usize) -> Result<ScanPage, RecordsError> {
        let places =
            places(at).ok_or_else(|| RecordsError::Refused("the cursor is not one of a scan".to_owned()))?;
        let open = places.iter().filter(|place| **place != Place::End).count();
        // A budget that is smaller than the number of segments is spent on the first of them.
        let share = budget.max(1).div_ceil(open.max(1));
        let mut left = budget.max(1);
        let shares: Vec<_> = places
            .iter()
            .map(|place| {
                let share = if *place == Place::End { 0 } else { share.min(left) };
                left -= share;
                share
            })
            .collect();
        let segments = places.into_iter().zip(shares).enumerate();
        let parts =
            try_join_all(segments.map(|(at, (place, share))| self.scan_segment(at, place, share))).await?;
        let (items, places): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        let job = |item: Item| Some(job_of(job_id_of(&item)?, &item));
        Ok(ScanPage { jobs: items.into_iter().flatten().filter_map(job).collect(), next: cursor(&places) })
    }

    async fn scan_segment(
        &self,
        segment: usize,
        place: Place,
        share: usize,
    ) -> Result<(Vec<Item>, Place), RecordsError> {
        if share == 0 {
            return Ok((Vec::new(), place));
        }
        let start = match &place {
            Place::After(id) => Some(key(&[("job_id", id)])),
            Place::Start | Place::End => None,
        };
        let number = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
        let call = self
            .client
            .scan()
            .table_name(&self.tables.jobs)
            .segment(number(segment))
            .total_segments(number(SEGMENTS))
            .limit(number(share))
            .filter_expression("attribute_not_exists(#active_shard)")
            .expression_attribute_names("#active_shard", "active_shard")
            .set_exclusive_start_key(start);
        let page = within(call.send()).await.map_err(|e| failed_read(&e))?;
        let last = more(page.last_evaluated_key);
        let next = last.as_ref().and_then(|key| string_in(key, "job_id"));
        let next = next.map_or(Place::End, |key| Place::After(key.to_owned()));
        Ok((page.items.unwrap_or_default(), next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_leads_to_where_the_scan_stood() {
        let stood = [Place::After("a-1".to_owned()), Place::End, Place::Start, Place::After("b".to_owned())];
        let text = cursor(&stood).unwrap();
        assert_eq!(text, r#"["a-1",null,"","b"]"#);
        assert_eq!(places(Some(&text)).unwrap(), stood);
        assert_eq!(cursor(&vec![Place::End; SEGMENTS]), None);
        for bad in ["", "a", "[]", r#"["a"]"#, "[1,2,3,4]", r#"["a","b","c","d","e"]"#] {
            assert_eq!(places(Some(bad)), None, "{bad}");
        }
    }
}
