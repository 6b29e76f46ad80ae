//! Which jobs a verb is about: ids that were typed, or what a filter finds. A verb that changes jobs acts on
//! ids that were listed before and confirmed, never on whatever the filter would find a moment later.

use super::{VerbError, checked};
use crate::args::Filters;
use crate::client::{Call, Client, encoded};
use crate::follow::View;
use crate::{ask, output};
use contract::JobId;
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Debug, Deserialize)]
struct Page {
    jobs: Vec<Box<RawValue>>,
    next_cursor: Option<String>,
}

/// The largest page of the API.
const PAGE: u32 = 500;
/// The most jobs that one verb takes from a filter.
const MOST: u32 = 10_000;

/// Jobs as the API lists them, newest first.
pub(super) struct Found {
    pub(super) jobs: Vec<Box<RawValue>>,
    /// Whether the limit ended the listing.
    pub(super) more: bool,
}

impl Found {
    /// Their flat fields.
    pub(super) fn views(&self, api: &Client) -> Result<Vec<View>, VerbError> {
        self.jobs.iter().map(|job| Ok(api.decoded(job.get().as_bytes())?)).collect()
    }
}

/// Follows the pages until the limit.
pub(super) fn list(api: &Client, filters: &Filters, limit: u32) -> Result<Found, VerbError> {
    let mut query = String::new();
    let status: Vec<String> = filters.status.iter().map(|word| word.to_ascii_uppercase()).collect();
    for (name, values) in [("status", &status), ("reason", &filters.reason), ("label", &filters.labels)] {
        for value in values {
            query.push_str(&format!("&{name}={}", encoded(value)));
        }
    }
    if let Some(job_type) = &filters.job_type {
        query.push_str(&format!("&job_type={}", encoded(job_type)));
    }
    let limit = limit as usize;
    let (mut jobs, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let size = u32::try_from(limit - jobs.len()).unwrap_or(PAGE).min(PAGE);
        let from = cursor.as_ref().map(|c| format!("&cursor={}", encoded(c))).unwrap_or_default();
        let page: Page = api.json(Call::get(format!("/jobs?limit={size}{query}{from}")))?;
        jobs.extend(page.jobs);
        cursor = page.next_cursor;
        if cursor.is_none() || jobs.len() >= limit {
            return Ok(Found { jobs, more: cursor.is_some() });
        }
    }
}

/// The jobs that were named.
pub(super) fn named(api: &Client, ids: &[String]) -> Result<Found, VerbError> {
    let jobs = checked(ids)?.into_iter().map(|id| Ok(api.json(Call::get(format!("/jobs/{id}")))?));
    Ok(Found { jobs: jobs.collect::<Result<_, VerbError>>()?, more: false })
}

/// The ids that were typed or that a filter finds.
pub(super) fn ids(api: &Client, ids: &[String], filters: &Filters) -> Result<Vec<JobId>, VerbError> {
    if !ids.is_empty() {
        return checked(ids);
    }
    let found = list(api, filters, MOST)?;
    if found.more {
        return Err(VerbError::Usage(format!("more than {MOST} jobs match; give a narrower filter")));
    }
    let names: Vec<String> = found.views(api)?.into_iter().map(|view| view.job_id).collect();
    checked(&names)
}

/// The ids to change. Typing an id is agreeing to it; what a filter found is shown and asked about.
/// `None`: nothing matches, or the answer was no.
pub(super) fn confirmed(
    api: &Client,
    typed: &[String],
    filters: &Filters,
    verb: &str,
    yes: bool,
) -> Result<Option<Vec<JobId>>, VerbError> {
    let found = ids(api, typed, filters)?;
    if !typed.is_empty() {
        return Ok(Some(found));
    }
    if found.is_empty() {
        output::say("no job matches; nothing was done");
        return Ok(None);
    }
    output::say(&format!("{} would be about:", verb));
    found.iter().for_each(|id| output::say(&format!("  {id}")));
    let count = match found.len() {
        1 => "this job".to_owned(),
        n => format!("these {n} jobs"),
    };
    if yes {
        return Ok(Some(found));
    }
    if !ask::can_ask() {
        let message = format!(
            "nothing was done: nobody is at a terminal to agree to {count}\n\
             add --yes to {verb} whatever will match, or type: agent-runner {verb} {}",
            found.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        );
        return Err(VerbError::Usage(message));
    }
    if ask::confirm(&format!("{verb} {count}?"))? {
        Ok(Some(found))
    } else {
        output::say("nothing was done");
        Ok(None)
    }
}
