//! `doctor`: what is wrong between this machine and the orchestrator, and what to do about it. Every check
//! is one line that begins with ok, warn or fail.

use super::VerbError;
use crate::args::{Cli, ConfigForm, Doctor, Filters};
use crate::client::{Call, Client, ClientError, SERVICE, is_local};
use crate::exit::Exit;
use crate::{output, settings};
use backends::settings::Layers;
use serde::Deserialize;
use serde_json::json;
use std::os::unix::fs::MetadataExt;
use std::time::SystemTime;

/// A lease is renewed every few seconds; one this old says that nobody reconciles (the API says so in
/// explanations from the same age on).
const STALE_LEASE_MS: i64 = 60_000;
/// Ages and deadlines that people compare by eye are wrong by more than they notice.
const SKEW_WARN_MS: i64 = 5_000;
/// Signed requests to AWS fail at five minutes.
const SKEW_FAIL_MS: i64 = 300_000;
/// Several full comparisons at the default of 30 s were left out.
const STALE_RESYNC_SECONDS: f64 = 120.0;
/// The most jobs whose ids are named.
const NAMED: usize = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Mark {
    Ok,
    Warn,
    Fail,
}

impl Mark {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One check.
struct Line {
    mark: Mark,
    check: &'static str,
    found: String,
    /// What to do.
    act: String,
}

fn line(mark: Mark, check: &'static str, found: impl Into<String>, act: impl Into<String>) -> Line {
    Line { mark, check, found: found.into(), act: act.into() }
}

#[derive(Deserialize)]
struct Health {
    service: String,
    version: String,
    status: String,
    store: String,
    error: Option<String>,
    reconciler: Option<Holder>,
}

#[derive(Deserialize)]
struct Holder {
    holder: String,
    #[serde(alias = "age_ms")]
    lease_age_ms: i64,
    #[serde(default)]
    released: bool,
}

pub(super) fn doctor(cli: &Cli, layers: &Layers, args: &Doctor) -> Result<Exit, VerbError> {
    let (url, chosen) = settings::url(layers);
    let plain = Client::http(&url)?;
    let mut lines = Vec::new();
    let reached = connection(&plain, &url, chosen, &mut lines);
    if reached {
        lines.push(clock(&plain));
        match super::client(cli, layers) {
            Ok(api) => {
                lines.extend(token(cli, &plain, &api, layers, &url));
                lines.extend(records(&api));
                lines.extend(metrics(&api, args));
            }
            Err(e) => lines.push(line(Mark::Fail, "token", first(&e.to_string()), rest(&e.to_string()))),
        }
    }
    show(&lines, args.output)?;
    let worst = lines.iter().map(|l| l.mark).max().unwrap_or(Mark::Ok);
    Ok(match worst {
        Mark::Fail if !reached => Exit::Unreachable,
        Mark::Fail => Exit::Failed,
        Mark::Ok | Mark::Warn => Exit::Done,
    })
}

fn show(lines: &[Line], form: ConfigForm) -> Result<(), VerbError> {
    if form == ConfigForm::Json {
        let rows: Vec<_> = lines
            .iter()
            .map(|l| json!({ "result": l.mark.word(), "check": l.check, "found": l.found, "act": l.act }))
            .collect();
        output::data(&format!("{:#}\n", json!(rows)))?;
        return Ok(());
    }
    for l in lines {
        let found = output::wrapped(&l.found, 17, output::WIDTH);
        let act = match l.act.as_str() {
            "" => String::new(),
            act => format!("{:17}{}\n", "", output::wrapped(&format!("-> {act}"), 17, output::WIDTH)),
        };
        output::data(&format!("{:<6}{:<11}{found}\n{act}", l.mark.word(), l.check))?;
    }
    Ok(())
}

fn first(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn rest(text: &str) -> String {
    text.lines().skip(1).collect::<Vec<_>>().join(" ")
}

/// Whether an agent-runner answers, in which version, with which store and under whose lease.
fn connection(api: &Client, url: &str, chosen: bool, lines: &mut Vec<Line>) -> bool {
    let whose = if chosen { "AGENT_RUNNER_URL or --url" } else { "the default address" };
    let body = match api.body_of_any(Call::get("/health")) {
        Ok(body) => body,
        Err(e) => {
            let (found, act) = (first(&e.to_string()).to_owned(), rest(&e.to_string()));
            lines.push(line(Mark::Fail, "connection", format!("{found} ({whose})"), act));
            return false;
        }
    };
    let Some(health) = serde_json::from_slice::<Health>(&body).ok().filter(|h| h.service == SERVICE) else {
        let found = format!("what answers at {url} is no agent-runner ({whose})");
        lines.push(line(Mark::Fail, "connection", found, "name the right one with --url"));
        return false;
    };
    lines.push(line(Mark::Ok, "connection", format!("{url} answers ({whose})"), ""));
    lines.push(version(&health.version));
    lines.push(match health.status.as_str() {
        "ok" => line(Mark::Ok, "store", format!("{} answers the API", health.store), ""),
        _ => {
            let why = health.error.unwrap_or_default();
            let act = "look at the store itself and at the API's log";
            line(Mark::Fail, "store", format!("{} does not answer the API: {why}", health.store), act)
        }
    });
    lines.push(lease(health.reconciler.as_ref()));
    true
}

fn version(theirs: &str) -> Line {
    let ours = env!("CARGO_PKG_VERSION");
    if theirs == ours {
        return line(Mark::Ok, "version", format!("{ours}, here and there"), "");
    }
    let found = format!("the server is {theirs}, this client {ours}");
    line(Mark::Warn, "version", found, "use the same version of both; a verb may be refused otherwise")
}

fn lease(holder: Option<&Holder>) -> Line {
    let start = "start one: `agent-runner up`, or the service `reconciler` of your deployment";
    match holder {
        None => line(Mark::Fail, "reconciler", "none has ever run on these records", start),
        Some(h) if h.released => line(
            Mark::Fail,
            "reconciler",
            format!("{} has ended, and no other has taken over", h.holder),
            start,
        ),
        Some(h) if h.lease_age_ms > STALE_LEASE_MS => {
            let age = output::age(h.lease_age_ms);
            let found = format!("{} has not renewed its lease for {age}", h.holder);
            line(
                Mark::Fail,
                "reconciler",
                found,
                format!("look whether it lives and reaches the store; {start}"),
            )
        }
        Some(h) => {
            let age = output::age(h.lease_age_ms);
            line(Mark::Ok, "reconciler", format!("{} works; its lease was renewed {age} ago", h.holder), "")
        }
    }
}

/// The server's clock against this one, as well as a header in whole seconds can tell.
fn clock(api: &Client) -> Line {
    let here: contract::Timestamp = SystemTime::now().into();
    let skew = here.millis() - api.now().millis();
    // The header is cut to the second, so up to one second late is no difference.
    let off = if (0..1000).contains(&skew) { 0 } else { skew };
    let (way, size) = if off > 0 { ("ahead of", off) } else { ("behind", -off) };
    let found = format!("this clock is {} s {way} the server's", size / 1000);
    match size {
        0..=SKEW_WARN_MS => line(Mark::Ok, "clock", "this clock and the server's agree", ""),
        ..=SKEW_FAIL_MS => {
            line(Mark::Warn, "clock", found, "set both by NTP; times of agents are their machines'")
        }
        _ => line(Mark::Fail, "clock", found, "set both by NTP: signed requests and deadlines go wrong"),
    }
}

/// Whether the API wants a token, and takes ours.
fn token(cli: &Cli, plain: &Client, api: &Client, layers: &Layers, url: &str) -> Vec<Line> {
    let probe = || Call::get("/jobs?limit=1");
    let wanted = matches!(plain.call(probe()), Err(ClientError::Refused(p)) if matches!(p.status, 401 | 403));
    let given = cli.token_file.is_some() || layers.get(settings::TOKEN).is_some();
    let mut lines = vec![match (api.call(probe()), wanted, given) {
        (Ok(_), false, false) => line(Mark::Ok, "token", "none is given, and the API wants none", ""),
        (Ok(_), false, true) => line(Mark::Ok, "token", "one is given, although the API wants none", ""),
        (Ok(_), true, _) => line(Mark::Ok, "token", "the API takes the one that is given", ""),
        (Err(ClientError::Refused(p)), _, false) if p.status == 401 => line(
            Mark::Fail,
            "token",
            "the API wants one, and none is given",
            "set AGENT_RUNNER_TOKEN, or give --token-file",
        ),
        (Err(e), ..) => line(Mark::Fail, "token", first(&e.to_string()), rest(&e.to_string())),
    }];
    if lines[0].mark == Mark::Ok && wanted {
        lines.extend(scopes(api));
    }
    let host = url.strip_prefix("http://").unwrap_or(url);
    if given && !is_local(host) {
        let act = "reach the API by a tunnel or a TLS proxy on this machine (ssh -L, SSM port forwarding)";
        lines.push(line(Mark::Warn, "transport", format!("the token goes to {host} unencrypted"), act));
    }
    if let Some(file) = &cli.token_file {
        let mode = std::fs::metadata(file).map_or(0, |m| m.mode());
        if mode & 0o077 != 0 {
            let found = format!("others may read {}", file.display());
            lines.push(line(Mark::Warn, "token file", found, format!("chmod 600 {}", file.display())));
        }
    }
    lines
}

/// What the token may do, told by requests that change nothing whatever the answer: no batch may be empty,
/// and a dry run of a job that nobody has.
fn scopes(api: &Client) -> Option<Line> {
    let submit = api.call(Call::post("/jobs/batch", Some("{\"jobs\":[]}".to_owned())));
    let operate = api.call(Call::patch("/jobs/doctor?dry_run=true", "{}".to_owned(), None));
    let may = |answer: Result<Vec<u8>, ClientError>| match answer {
        Ok(_) => Some(true),
        Err(e) => e.problem().map(|p| p.status != 403),
    };
    let (submit, operate) = (may(submit)?, may(operate)?);
    let word = |may: bool| if may { "may" } else { "may not" };
    let found = format!("it may read, {} submit and {} operate", word(submit), word(operate));
    Some(match submit && operate {
        true => line(Mark::Ok, "scopes", found, ""),
        false => line(Mark::Warn, "scopes", found, "enough to look; ask for a token with more to do more"),
    })
}

/// Jobs that wait for somebody.
fn records(api: &Client) -> Vec<Line> {
    let queued = Filters { status: vec!["QUEUED".to_owned()], ..Filters::default() };
    let found = super::select::list(api, &queued, 500).and_then(|found| Ok((found.views(api)?, found.more)));
    let (views, more) = match found {
        Ok(found) => found,
        Err(e) => return vec![line(Mark::Fail, "records", first(&e.to_string()), rest(&e.to_string()))],
    };
    let many = if more { "at least " } else { "" };
    let of = |reason: &str| -> Vec<&str> {
        let with = views.iter().filter(|view| view.reason.as_deref() == Some(reason));
        with.map(|view| view.job_id.as_str()).collect()
    };
    let mut lines = vec![line(Mark::Ok, "records", format!("{many}{} jobs wait", views.len()), "")];
    for (reason, verb) in [("InvalidRecord", "edit"), ("Misconfigured", "explain")] {
        let ids = of(reason);
        if ids.is_empty() {
            continue;
        }
        let named = ids.iter().take(NAMED).map(|id| output::one_line(id)).collect::<Vec<_>>().join(", ");
        let dots = if ids.len() > NAMED { ", …" } else { "" };
        let found = format!("{many}{} {reason}: {named}{dots}", ids.len());
        lines.push(line(Mark::Warn, "records", found, format!("agent-runner {verb} {}", ids[0])));
    }
    lines
}

/// What the reconciler counts.
fn metrics(api: &Client, args: &Doctor) -> Vec<Line> {
    let from = match args.metrics_url.as_deref().map(Client::http).transpose() {
        Ok(from) => from,
        Err(e) => return vec![line(Mark::Fail, "metrics", e.to_string(), "")],
    };
    let from = from.as_ref().unwrap_or(api);
    let text = match from.call(Call::get("/metrics")) {
        Ok(body) => String::from_utf8_lossy(&body).into_owned(),
        Err(e) => return vec![line(Mark::Fail, "metrics", first(&e.to_string()), rest(&e.to_string()))],
    };
    let Some(resync) = sum(&text, "agent_runner_last_resync_timestamp_seconds") else {
        let found = format!("{} has no metrics of a reconciler", from.place());
        let act = "name the reconciler's own address (AGENT_RUNNER_METRICS_LISTEN) with --metrics-url";
        return vec![line(Mark::Warn, "metrics", found, act)];
    };
    #[allow(clippy::cast_precision_loss, reason = "milliseconds since 1970 are far below 2^53")]
    let late = api.now().millis() as f64 / 1000.0 - resync;
    let mut lines = Vec::new();
    if resync > 0.0 && late > STALE_RESYNC_SECONDS {
        let found = format!("the last full comparison ended {} ago", output::age(late as i64 * 1000));
        lines.push(line(
            Mark::Warn,
            "metrics",
            found,
            "read the reconciler's log: a store or the runtime may be slow",
        ));
    }
    for (name, mark, what, act) in COUNTERS {
        let count = sum(&text, name).unwrap_or(0.0);
        if count > 0.0 {
            lines.push(line(*mark, "metrics", format!("{count} {what}"), *act));
        }
    }
    if lines.is_empty() {
        lines.push(line(
            Mark::Ok,
            "metrics",
            "no orphans, invalid records, failing looks, panics or broken invariants",
            "",
        ));
    }
    lines
}

/// What should be zero, now or since the reconciler's start.
const COUNTERS: &[(&str, Mark, &str, &str)] = &[
    (
        "agent_runner_invalid_records",
        Mark::Warn,
        "records that cannot be decoded",
        "`agent-runner get --reason InvalidRecord` finds them; `agent-runner edit` repairs one",
    ),
    (
        "agent_runner_jobs_failing_passes",
        Mark::Fail,
        "jobs at which every look of the reconciler fails now",
        "the reconciler's log says why (\"pass failed\"): often a store is full or away",
    ),
    (
        "agent_runner_orphan_tasks_total",
        Mark::Warn,
        "orphan tasks were stopped: tasks with our mark and no open attempt",
        "look in the reconciler's log whose they were; two orchestrators may share one runtime",
    ),
    (
        "agent_runner_panics_total",
        Mark::Warn,
        "passes panicked",
        "the reconciler's log names the jobs; report it with that line",
    ),
    (
        "agent_runner_invariant_broken_total",
        Mark::Fail,
        "broken invariants",
        "the reconciler's log names invariant and job; suspend that job and report it",
    ),
];

/// The sum of a metric over its labels; `None` when it is not there.
fn sum(text: &str, name: &str) -> Option<f64> {
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        rest.starts_with([' ', '{']).then(|| rest.rsplit(' ').next())?.and_then(|v| v.parse::<f64>().ok())
    });
    values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_summed_over_its_labels_and_no_other_is_taken_for_it() {
        let text = "# HELP a_total x\na_total{x=\"1 2\"} 1\na_total{x=\"b\"} 2\na_total_more 7\nb 3.5\n";
        assert_eq!(sum(text, "a_total"), Some(3.0));
        assert_eq!(sum(text, "b"), Some(3.5));
        assert_eq!(sum(text, "c"), None);
    }

    #[test]
    fn a_lease_that_nobody_renews_is_a_failure() {
        let of = |lease_age_ms, released| Holder { holder: "h".into(), lease_age_ms, released };
        assert_eq!(lease(None).mark, Mark::Fail);
        assert_eq!(lease(Some(&of(0, true))).mark, Mark::Fail);
        assert_eq!(lease(Some(&of(STALE_LEASE_MS + 1, false))).mark, Mark::Fail);
        assert_eq!(lease(Some(&of(STALE_LEASE_MS, false))).mark, Mark::Ok);
    }
}
