//! `get`: jobs as a table, as names, as JSON or YAML.

use super::VerbError;
use super::select::{self, Found};
use crate::args::{Get, GetForm};
use crate::client::Client;
use crate::exit::Exit;
use crate::follow::View;
use crate::output;
use crate::tree::Tree;
use contract::Timestamp;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Between two looks of `--watch`.
const AGAIN: Duration = Duration::from_secs(1);
/// How long the API may be away while it is watched.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn get(api: &Client, args: &Get) -> Result<Exit, VerbError> {
    let found = look(api, args)?;
    if args.watch {
        return watch(api, args, found);
    }
    let text = match args.output {
        GetForm::Json if args.ids.len() == 1 => format!("{}\n", found.jobs[0].get()),
        GetForm::Json => {
            let all: Vec<&str> = found.jobs.iter().map(|job| job.get()).collect();
            format!("[{}]\n", all.join(","))
        }
        GetForm::Yaml if args.ids.len() == 1 => yaml(&found.jobs[0])?,
        GetForm::Yaml => {
            let all: Result<Vec<Tree>, _> = found.jobs.iter().map(|job| tree(job)).collect();
            Tree::List(all?).yaml()
        }
        GetForm::Name => found.views(api)?.into_iter().map(|view| view.job_id + "\n").collect(),
        GetForm::Table | GetForm::Wide => match found.views(api)?.as_slice() {
            [] => {
                output::say("no jobs");
                String::new()
            }
            views => table(views, args.output == GetForm::Wide, true, api.now()),
        },
    };
    output::data(&text)?;
    if found.more {
        output::say(&format!("the newest {}; there may be more, see --limit", found.jobs.len()));
    }
    Ok(Exit::Done)
}

fn look(api: &Client, args: &Get) -> Result<Found, VerbError> {
    match args.ids.is_empty() {
        true => select::list(api, &args.filters, args.limit),
        false => select::named(api, &args.ids),
    }
}

fn tree(job: &RawValue) -> Result<Tree, VerbError> {
    Tree::of_json(job.get()).map_err(|e| VerbError::Usage(format!("a job is not as expected: {e}")))
}

fn yaml(job: &RawValue) -> Result<String, VerbError> {
    Ok(tree(job)?.yaml())
}

/// Shows every job, and then each that is not as it was shown last.
fn watch(api: &Client, args: &Get, mut found: Found) -> Result<Exit, VerbError> {
    let deadline = args.timeout.map(|timeout| Instant::now() + timeout);
    let mut shown: BTreeMap<String, (String, Option<String>, u32)> = BTreeMap::new();
    let mut first = true;
    loop {
        let views = found.views(api)?;
        let mut text = String::new();
        // Newest first reads well in a table; what follows below it should be in the order of time.
        let order: Vec<usize> =
            if first { (0..views.len()).collect() } else { (0..views.len()).rev().collect() };
        for at in order {
            let view = &views[at];
            let state = (view.status.clone(), view.reason.clone(), view.attempt);
            if shown.insert(view.job_id.clone(), state.clone()).as_ref() == Some(&state) {
                continue;
            }
            text.push_str(&match args.output {
                GetForm::Json => format!("{}\n", found.jobs[at].get()),
                GetForm::Yaml => format!("---\n{}", yaml(&found.jobs[at])?),
                GetForm::Name => format!("{}\n", view.job_id),
                form @ (GetForm::Table | GetForm::Wide) => {
                    let head = std::mem::take(&mut first);
                    table(std::slice::from_ref(view), form == GetForm::Wide, head, api.now())
                }
            });
        }
        first = false;
        output::data(&text)?;
        let ended = !args.ids.is_empty() && views.iter().all(View::is_finished);
        if ended || deadline.is_some_and(|d| Instant::now() >= d) {
            return Ok(if ended { Exit::Done } else { Exit::TimedOut });
        }
        std::thread::sleep(
            AGAIN.min(deadline.map_or(AGAIN, |d| d.saturating_duration_since(Instant::now()))),
        );
        found = look_again(api, args)?;
    }
}

/// A look that outlasts a restart of the server.
fn look_again(api: &Client, args: &Get) -> Result<Found, VerbError> {
    let since = Instant::now();
    loop {
        match look(api, args) {
            Err(VerbError::Client(e)) if e.passes() && since.elapsed() < PATIENCE => {
                std::thread::sleep(AGAIN)
            }
            other => return other,
        }
    }
}

const HEAD: &[&str] = &["JOB ID", "TYPE", "STATUS", "REASON", "AGE"];
const WIDE_HEAD: &[&str] = &["JOB ID", "TYPE", "STATUS", "REASON", "AGE", "ATTEMPT", "CREATED", "MESSAGE"];
/// The longest id, type, status, reason and age that are usual: rows that come one by one stand below each other.
const USUAL: [usize; 5] = [36, 4, 9, 19, 4];
/// What is cut where a table is too wide, in this order: the reason as long as every one of them can be told from the
/// others, the type, then both further, at last an id that somebody chose longer than a UUID.
const SQUEEZED: [(usize, usize); 4] = [(3, 14), (1, 9), (3, 8), (0, 20)];

fn table(views: &[View], wide: bool, head: bool, now: Timestamp) -> String {
    let words = if wide { WIDE_HEAD } else { HEAD };
    let mut rows = vec![words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()];
    rows.extend(views.iter().map(|view| row(view, wide, now)));
    let limit = (!wide).then_some(output::WIDTH);
    let colours = output::stdout_colours();
    let lines = output::columns(&rows, &USUAL, &SQUEEZED, limit).into_iter().map(|mut cells| {
        let word = cells[2].trim_end().to_owned();
        cells[2] = output::status(&word, cells[2].chars().count(), colours);
        cells.concat().trim_end().to_owned() + "\n"
    });
    lines.skip(usize::from(!head)).collect()
}

fn row(view: &View, wide: bool, now: Timestamp) -> Vec<String> {
    let age = view.created_at.map_or("-".into(), |at| output::age(now.millis_since(at)));
    let reason = view.reason.clone().unwrap_or_else(|| "-".into());
    let job_type = view.job_type.as_deref().unwrap_or("-");
    let mut row: Vec<String> =
        [&view.job_id, job_type, &view.status, &reason, &age].map(output::one_line).into();
    if wide {
        let created = view.created_at.map_or("-".into(), |at| at.to_string());
        let more = [&view.attempt.to_string(), &created, &view.message];
        row.extend(more.map(|text| output::one_line(text)));
    }
    row
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
        let mut long = view("Completed");
        long.job_id = "a".repeat(64);
        let views = [view("MaxAttemptsExceeded"), view("Completed"), long];
        let narrow = table(&views, false, true, now);
        assert!(narrow.lines().all(|line| line.chars().count() <= 80), "{narrow}");
        assert!(table(&views[..2], false, true, now).contains("MaxAttemptsExceeded"), "{narrow}");
        let wide = table(&views, true, true, now);
        let first = wide.lines().nth(1).unwrap();
        assert!(first.ends_with("2m    3        2026-11-22T10:05:12.975Z  a b"), "{wide}");
        assert!(!table(&views, false, false, now).contains("JOB ID"));
        let mut summary = view("InsufficientCapacity");
        summary.job_type = Some("summarize".to_owned());
        let narrow = table(std::slice::from_ref(&summary), false, false, now);
        assert!(
            narrow.contains("  summarize  FAILED     Insufficient") && narrow.trim_end().len() <= 82,
            "{narrow}"
        );
        summary.job_type = Some("summarize-every-page-of-a-book".to_owned());
        let narrow = table(std::slice::from_ref(&summary), false, false, now);
        assert!(narrow.contains("summarize…") || narrow.contains("summariz…"), "{narrow}");
        assert!(narrow.lines().all(|line| line.chars().count() <= 80), "{narrow}");
    }
}
