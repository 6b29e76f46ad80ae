//! `describe`: everything about a job on one page: what is wanted, where it is and why, each attempt with
//! its evidence and the phases of its launch, the last events, and what can be typed next.

use super::{VerbError, advice, checked, explain};
use crate::args::Describe;
use crate::client::{Call, Client};
use crate::exit::Exit;
use crate::follow::View;
use crate::output::{self, moment, one_line, wrapped};
use crate::safe::safe;
use crate::tree::Tree;
use contract::{JobId, Timestamp};
use std::fmt::Write;

/// The most characters of a payload that are shown.
const PAYLOAD: usize = 400;

pub(super) fn describe(api: &Client, args: &Describe) -> Result<Exit, VerbError> {
    for (at, id) in checked(&args.ids)?.iter().enumerate() {
        let gap = if at > 0 { "\n\n" } else { "" };
        let text = page(api, id, args.events)?;
        output::data(&format!("{gap}{text}"))?;
    }
    Ok(Exit::Done)
}

fn page(api: &Client, id: &JobId, most_events: usize) -> Result<String, VerbError> {
    let body = api.call(Call::get(format!("/jobs/{id}")))?;
    let (job, view): (Tree, View) = (api.decoded(&body)?, api.decoded(&body)?);
    let attempts: Tree = api.json(Call::get(format!("/jobs/{id}/attempts")))?;
    let events: Tree = api.json(Call::get(format!("/jobs/{id}/events")))?;
    let told: explain::Explanation = api.json(Call::get(format!("/jobs/{id}/explain")))?;
    let now = api.now();
    let mut out = String::new();
    head(&mut out, &job, &view, now);
    out.push_str(&explain::lines(&told, now, output::stdout_colours()));
    broken(&mut out, &job);
    let conditions = explain::conditions(&told, now);
    if !conditions.is_empty() {
        let _ = write!(out, "\nConditions\n{conditions}");
    }
    wanted(&mut out, &job);
    for attempt in attempts.get("attempts").map_or(&[][..], Tree::items) {
        describe_attempt(&mut out, attempt);
    }
    last_events(&mut out, events.get("events").map_or(&[][..], Tree::items), most_events, now);
    let steps = advice::lines(&view);
    if !steps.is_empty() {
        let _ = write!(out, "\nWhat you can type\n{steps}");
    }
    Ok(out)
}

/// Writing to a string cannot fail, here as everywhere below.
fn line(out: &mut String, name: &str, text: &str) {
    let _ = writeln!(out, "{name:<11}{text}");
}

fn head(out: &mut String, job: &Tree, view: &View, now: Timestamp) {
    line(out, "Job", &one_line(&view.job_id));
    line(out, "Type", &one_line(view.job_type.as_deref().unwrap_or("-")));
    if let Some(at) = view.created_at {
        let by = job.at(&["created", "actor"]).map(|actor| format!(", by {}", one_line(&actor.short())));
        line(out, "Created", &format!("{}{}", moment(at, now), by.unwrap_or_default()));
    }
    if let Some(change) = last_change(job) {
        let at = job.get("updated_at").and_then(Tree::text).and_then(|at| at.parse().ok());
        let at = at.map(|at| format!(", {}", moment(at, now))).unwrap_or_default();
        line(out, "Changed", &wrapped(&format!("{change}{at}"), 11, output::WIDTH));
    }
    let control = |name: &str| job.at(&["control", name]).map(Tree::short);
    if let Some(run) = control("run") {
        let tries = control("tries").unwrap_or_else(|| "0".into());
        let most = job.at(&["desired", "max_attempts"]).map_or("?".into(), Tree::short);
        let infrastructure = control("infra_tries").filter(|n| n != "0");
        let more = infrastructure.map(|n| format!(", {n} more lost to infrastructure")).unwrap_or_default();
        let text = format!("run {run}, attempt {}, {tries} of {most} tries used{more}", view.attempt);
        line(out, "Progress", &one_line(&text));
    }
    if let Some(cost) = control("cost").filter(|cost| cost != "null") {
        let most = job.at(&["desired", "max_cost_usd"]).filter(|v| **v != Tree::Null);
        let most = most.map(|most| format!(", at most {}", most.short())).unwrap_or_default();
        line(out, "Cost", &one_line(&format!("about {cost} US dollars for the attempts so far{most}")));
    }
    if let Some(url) = job.get("result_url").and_then(Tree::text) {
        line(out, "Result", &one_line(url));
    }
    if let Some(problem) = job.get("result_problem").and_then(Tree::text) {
        line(out, "Result", &wrapped(problem, 11, output::WIDTH));
    }
}

/// Who changed last what is wanted, and why; `None` when nobody has, or nobody can tell.
pub(super) fn last_change(job: &Tree) -> Option<String> {
    let by = job.get("updated_by").and_then(Tree::text)?;
    let cause = job.get("change_cause").and_then(Tree::text).map(|cause| format!(": {cause}"));
    let by = if by.starts_with('(') { by.to_owned() } else { format!("by {by}") };
    Some(one_line(&format!("{by}{}", cause.unwrap_or_default())))
}

fn broken(out: &mut String, job: &Tree) {
    for section in job.get("invalid").map_or(&[][..], Tree::items) {
        let name = section.get("section").map_or(String::new(), Tree::short);
        // The explanation has named its fields.
        if name == "desired" {
            continue;
        }
        for error in section.get("errors").map_or(&[][..], Tree::items) {
            let of = |member: &str| error.get(member).map_or(String::new(), Tree::short);
            let text = format!("{name}{}: {} is not allowed: {}", of("pointer"), of("value"), of("message"));
            line(out, "Invalid", &wrapped(&text, 11, output::WIDTH));
        }
    }
}

fn wanted(out: &mut String, job: &Tree) {
    out.push_str("\nDesired\n");
    let Some(desired) = job.get("desired") else { return };
    if let Some(text) = desired.text() {
        let _ = writeln!(out, "  {}", wrapped(text, 2, output::WIDTH));
        return;
    }
    for (name, value) in desired.members().iter().filter(|(name, _)| name != "job_type" && name != "updated")
    {
        let (name, text) = (one_line(name), one_line(&value.short()));
        let text = match text.char_indices().nth(PAYLOAD) {
            Some((at, _)) => format!("{}… ({} bytes)", &text[..at], text.len()),
            None => text,
        };
        let _ = writeln!(out, "  {name}: {text}");
    }
}

fn describe_attempt(out: &mut String, attempt: &Tree) {
    let of = |name: &str| attempt.get(name).filter(|v| **v != Tree::Null).map(Tree::short);
    let number = of("number").unwrap_or_else(|| "?".into());
    let run = of("run").unwrap_or_else(|| "?".into());
    let state = of("state").unwrap_or_default();
    let _ = writeln!(out, "\nAttempt {} (run {}): {}", one_line(&number), one_line(&run), one_line(&state));
    let verdict = attempt.at(&["closing", "verdict"]).map(verdict);
    if let Some(verdict) = verdict {
        let uses = match attempt.at(&["closing", "uses"]).and_then(Tree::text) {
            Some("Try") => " (used up a try)",
            Some("Infrastructure") => " (used up an infrastructure try)",
            _ => "",
        };
        field(out, "verdict", &format!("{verdict}{uses}"));
    }
    if let Some(failure) = attempt.at(&["report", "outcome", "failure"]) {
        let of = |name: &str| failure.get(name).map(Tree::short);
        let code = of("exit_code").map(|c| format!(", exit code {c}")).unwrap_or_default();
        field(
            out,
            "agent",
            &format!("{}{code}: {}", of("class").unwrap_or_default(), of("message").unwrap_or_default()),
        );
    }
    for (name, value) in attempt.at(&["closing", "evidence"]).map_or(&[][..], Tree::members) {
        match name.as_str() {
            "phases" => {}
            "cost" => field(out, "cost", &format!("about {} US dollars", value.short())),
            _ => field(out, &name.replace('_', " "), &value.short()),
        }
    }
    phases(out, attempt);
    let files = attempt.at(&["report", "outcome", "manifest", "files"]).map_or(&[][..], Tree::items);
    let files: Vec<String> = files
        .iter()
        .map(|f| {
            format!(
                "{} ({} bytes)",
                f.get("path").map_or("?".into(), Tree::short),
                f.get("size").map_or("?".into(), Tree::short)
            )
        })
        .collect();
    if !files.is_empty() {
        field(out, "files", &files.join(", "));
    }
    for section in attempt.get("invalid").map_or(&[][..], Tree::items) {
        field(out, "invalid", &section.short());
    }
}

fn field(out: &mut String, name: &str, text: &str) {
    let _ = writeln!(out, "  {:<15}{}", one_line(name), wrapped(text, 17, output::WIDTH));
}

fn verdict(verdict: &Tree) -> String {
    if let Some(word) = verdict.text() {
        return word.to_owned();
    }
    let Some((word, told)) = verdict.members().first() else { return verdict.short() };
    let of = |name: &str| told.get(name).map(Tree::short);
    let class = of("class").map(|class| format!(" ({class})")).unwrap_or_default();
    let why = of("message").or(of("why")).map(|why| format!(": {why}")).unwrap_or_default();
    format!("{word}{class}{why}")
}

/// The times of an attempt in their order, each with what passed since the one before.
fn phases(out: &mut String, attempt: &Tree) {
    let time = |value: Option<&Tree>| value.and_then(Tree::text).and_then(|t| t.parse::<Timestamp>().ok());
    let named = ["claimed_at", "started_at", "finished_at", "closed_at"];
    let mut times: Vec<(String, Timestamp)> = named
        .iter()
        .filter_map(|name| Some((name.trim_end_matches("_at").to_owned(), time(attempt.get(name))?)))
        .collect();
    for (name, at) in attempt.at(&["closing", "evidence", "phases"]).map_or(&[][..], Tree::members) {
        times.extend(time(Some(at)).map(|at| (name.clone(), at)));
    }
    times.sort_by_key(|(_, at)| *at);
    let mut before: Option<Timestamp> = None;
    for (name, at) in times {
        let after = before.map(|before| at.millis_since(before));
        let after = after.map(|ms| format!("  +{}.{:03} s", ms / 1000, ms % 1000)).unwrap_or_default();
        field(out, &name, &format!("{at}{after}"));
        before = Some(at);
    }
    let running = attempt.get("state").and_then(Tree::text) == Some("running");
    if let Some(at) = time(attempt.get("heartbeat_at")).filter(|_| running) {
        field(out, "heartbeat", &at.to_string());
    }
}

fn last_events(out: &mut String, events: &[Tree], most: usize, now: Timestamp) {
    let skipped = events.len().saturating_sub(most);
    if events.is_empty() || most == 0 {
        return;
    }
    out.push_str("\nEvents\n");
    if skipped > 0 {
        let _ = writeln!(out, "  ({skipped} earlier ones; see --events)");
    }
    for event in &events[skipped..] {
        let of = |name: &str| event.get(name).filter(|v| **v != Tree::Null).map(Tree::short);
        let at = of("at").or(of("time")).and_then(|t| t.parse::<Timestamp>().ok());
        let age = at.map_or("-".into(), |at| output::age(now.millis_since(at)));
        let word = of("event").unwrap_or_default();
        let attempt = of("attempt").map(|n| format!("#{n}")).unwrap_or_default();
        let count = of("count").filter(|n| n != "1").map(|n| format!(" (x{n})")).unwrap_or_default();
        let message = safe(&of("message").unwrap_or_default()) + &count;
        let begin = format!("  {age:<5} {:<3} {:<9} ", one_line(&attempt), one_line(&word));
        let indent = begin.chars().count();
        let _ =
            writeln!(out, "{}", format!("{begin}{}", wrapped(&message, indent, output::WIDTH)).trim_end());
    }
}
