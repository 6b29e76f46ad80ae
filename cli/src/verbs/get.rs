//! `get`: jobs as a table, as names or as JSON.

use super::{VerbError, checked};
use crate::args::{Get, GetForm};
use crate::client::{Call, Client};
use crate::exit::Exit;
use crate::follow::View;
use crate::output;
use contract::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::time::SystemTime;

#[derive(Debug, Deserialize)]
struct Page {
    jobs: Vec<Box<RawValue>>,
    next_cursor: Option<String>,
}

/// The largest page of the API.
const PAGE: u32 = 500;

pub(super) fn get(api: &Client, args: &Get) -> Result<Exit, VerbError> {
    let jobs = if args.ids.is_empty() { list(api, args)? } else { named(api, &args.ids)? };
    match args.output {
        GetForm::Json if args.ids.len() == 1 => output::data(&format!("{}\n", jobs[0].get()))?,
        GetForm::Json => {
            let all: Vec<&str> = jobs.iter().map(|job| job.get()).collect();
            output::data(&format!("[{}]\n", all.join(",")))?;
        }
        GetForm::Name => {
            let names = views(&jobs).map(|view| view.map(|v| v.job_id + "\n"));
            output::data(&names.collect::<Result<String, _>>()?)?;
        }
        GetForm::Table | GetForm::Wide => {
            let views = views(&jobs).collect::<Result<Vec<_>, _>>()?;
            if views.is_empty() {
                output::say("no jobs");
            } else {
                output::data(&table(&views, args.output == GetForm::Wide, SystemTime::now().into()))?;
            }
        }
    }
    Ok(Exit::Done)
}

fn views(jobs: &[Box<RawValue>]) -> impl Iterator<Item = Result<View, VerbError>> {
    jobs.iter().map(|job| {
        serde_json::from_str(job.get())
            .map_err(|e| VerbError::Usage(format!("a job is not as expected: {e}")))
    })
}

fn named(api: &Client, ids: &[String]) -> Result<Vec<Box<RawValue>>, VerbError> {
    checked(ids)?.iter().map(|id| Ok(api.json(Call::get(format!("/jobs/{id}")))?)).collect()
}

/// Follows the pages until the limit; says so when there are more.
fn list(api: &Client, args: &Get) -> Result<Vec<Box<RawValue>>, VerbError> {
    let filters = [("status", &args.status), ("job_type", &args.job_type)];
    let filters: String =
        filters.iter().filter_map(|(name, v)| Some(format!("&{name}={}", encoded(v.as_ref()?)))).collect();
    let limit = args.limit as usize;
    let (mut jobs, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let size = u32::try_from(limit - jobs.len()).unwrap_or(PAGE).min(PAGE);
        let from = cursor.as_ref().map(|c| format!("&cursor={}", encoded(c))).unwrap_or_default();
        let page: Page = api.json(Call::get(format!("/jobs?limit={size}{filters}{from}")))?;
        jobs.extend(page.jobs);
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(jobs);
        }
        if jobs.len() >= limit {
            output::say(&format!("the newest {}; there may be more, see --limit", jobs.len()));
            return Ok(jobs);
        }
    }
}

/// Percent-encoding of everything but RFC 3986's unreserved characters.
fn encoded(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(b).to_string(),
            _ => format!("%{b:02X}"),
        })
        .collect()
}

fn table(views: &[View], wide: bool, now: Timestamp) -> String {
    let head: &[&str] = if wide {
        &["JOB ID", "STATUS", "REASON", "AGE", "TYPE", "ATTEMPT", "CREATED", "MESSAGE"]
    } else {
        &["JOB ID", "STATUS", "REASON", "AGE"]
    };
    let mut rows = vec![head.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()];
    for view in views {
        let age = view.created_at.map_or("-".into(), |at| age(now.millis_since(at)));
        let reason = view.reason.clone().unwrap_or_else(|| "-".into());
        let mut row = vec![view.job_id.clone(), view.status.clone(), output::one_line(&reason), age];
        if wide {
            let created = view.created_at.map_or("-".into(), |at| at.to_string());
            let job_type = view.job_type.clone().unwrap_or_else(|| "-".into());
            row.extend(
                [job_type, view.attempt.to_string(), created, view.message.clone()]
                    .map(|t| output::one_line(&t)),
            );
        }
        rows.push(row);
    }
    let limit = (!wide).then_some(output::WIDTH);
    let colours = output::stdout_colours();
    let lines = output::columns(&rows, 2, limit).into_iter().map(|mut cells| {
        let word = cells[1].trim_end().to_owned();
        cells[1] = output::status(&word, cells[1].chars().count(), colours);
        cells.concat().trim_end().to_owned() + "\n"
    });
    lines.collect()
}

/// The age in its largest unit, as kubectl shows it.
fn age(millis: i64) -> String {
    let seconds = millis / 1000;
    match seconds {
        0..=119 => format!("{seconds}s"),
        120..=7199 => format!("{}m", seconds / 60),
        7200..=172_799 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(reason: &str) -> View {
        let text = format!(
            r#"{{"job_id":"0192d3b8-7a4f-7000-8000-000000000000","job_type":"echo","status":"FAILED",
                "reason":"{reason}","message":"a\nb","attempt":3,"created_at":"2026-11-22T10:05:12.975Z"}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_table_fits_80_columns_and_a_wide_one_shows_everything() {
        let now = Timestamp::from_millis(1_795_341_912_975 + 130_000);
        let views = [view("MaxAttemptsExceeded"), view("Completed")];
        let narrow = table(&views, false, now);
        assert!(narrow.lines().all(|line| line.chars().count() <= 80), "{narrow}");
        assert!(narrow.contains("MaxAttemptsExceeded"), "{narrow}");
        let wide = table(&views, true, now);
        assert!(
            wide.lines().nth(1).unwrap().ends_with("echo  3        2026-11-22T10:05:12.975Z  a b"),
            "{wide}"
        );
    }

    #[test]
    fn ages_are_short() {
        let ages: Vec<String> = [0, 119_999, 120_000, 7_200_000, 172_800_000].map(age).into();
        assert_eq!(ages, ["0s", "119s", "2m", "2h", "2d"]);
    }

    #[test]
    fn a_cursor_survives_a_query_string() {
        assert_eq!(encoded("a+b/=&ä"), "a%2Bb%2F%3D%26%C3%A4");
    }
}
