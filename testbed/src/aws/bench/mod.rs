//! The benchmark of the system as on AWS, against the double of ECS with AWS's default quotas.
//!
//! | part | is | time |
//! |---|---|---|
//! | [`launches`] | how fast thousands of waiting jobs are launched, and by how many calls of ECS | compressed: see there and in [`compressed`]; a shorter run without compression beside it shows that both say the same |
//! | [`listing`] | what a resync of very many running tasks takes of the read quota | real |
//! | [`dispatch`] | how long the reconciler takes from a hint to the launch, with the real programs and DynamoDB, SQS and S3 as MiniStack has them | real |
//! | [`bill`] | what an echo job takes of requests and units, in the same surroundings with real workers | real, so that a job pays for the resyncs that it lives through |
//!
//! Nothing here was measured on AWS.

pub mod bill;
pub mod compressed;
pub mod dispatch;
pub mod launches;
pub mod listing;
mod prices;
mod workers;

use crate::bench::Failed;
use crate::bench::figures::Goal::{AtLeast, AtMost, Exactly};
use crate::bench::figures::{self, Figure};
use crate::bench::stats;
use contract::Timestamp;
use launches::{Launches, Plan};
use listing::Listing;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// What to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the JSON goes.
    pub out: PathBuf,
    /// Small numbers: shows that everything works, and says little about speed.
    pub short: bool,
    /// How much faster than real time the launches of ten thousand jobs are measured.
    pub factor: u32,
    /// The agent of the job types that are not echo; no job here uses it.
    pub agent: String,
    /// Only the parts whose names are given; empty: all.
    pub only: Vec<String>,
}

/// Launches a second on Fargate, calls of RunTask and tasks alike (Amazon ECS developer guide, "AWS Fargate
/// throttling quotas").
const LAUNCHES_PER_SECOND: f64 = 20.0;
/// Cluster resource read actions a second (Amazon ECS API reference, "Request throttling").
const READS_PER_SECOND: f64 = 20.0;
/// `AGENT_RUNNER_ECS_SNAPSHOT_SECONDS`, by default.
const SNAPSHOT_SECONDS: f64 = 60.0;
/// With the 24 s until it runs a task then takes 50 s, so that at 20 a second 1,000 are there.
const LASTS: Duration = Duration::from_secs(26);

impl Options {
    fn wants(&self, part: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name == part)
    }

    fn size(&self, full: usize, short: usize) -> usize {
        if self.short { short } else { full }
    }
}

/// Runs everything, prints the table and writes the JSON.
///
/// # Errors
/// Something did not work; a goal that is missed is no error.
pub fn run(options: &Options) -> Result<(Vec<Figure>, String), Failed> {
    let mut figures = Vec::new();
    if options.wants("launches") {
        let plan =
            Plan { jobs: options.size(10_000, 400), factor: options.factor, lasts: LASTS, slots: 10_000 };
        eprintln!("launches: {} jobs, time is {} times as fast", plan.jobs, plan.factor);
        figures.extend(of_launches(plan, launches::measure(plan)?, !options.short));
        if !options.short {
            let plan = Plan { jobs: 1200, factor: 1, ..plan };
            eprintln!("launches: {} jobs in real time", plan.jobs);
            figures.extend(of_launches(plan, launches::measure(plan)?, false));
        }
    }
    if options.wants("listing") {
        let tasks = options.size(30_000, 1000);
        eprintln!("listing: {tasks} tasks");
        figures.extend(of_listing(tasks, listing::measure(tasks)?));
    }
    if options.wants("dispatch") {
        let jobs = options.size(500, 20);
        eprintln!("dispatch: {jobs} jobs");
        let times = dispatch::measure(&options.agent, jobs).map_err(Failed::new)?;
        figures.extend(of_dispatch(jobs, &times));
    }
    if options.wants("bill") {
        let jobs = options.size(100, 10);
        eprintln!("bill: {jobs} jobs");
        let (items, dollars) = bill::measure(&options.agent, jobs, 1).map_err(Failed::new)?;
        figures.extend(of_bill(items, dollars));
    }
    if let Some(folder) = options.out.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let json = figures::to_json(&figures, &conditions(options));
    std::fs::write(&options.out, serde_json::to_string_pretty(&json)? + "\n")?;
    let table = figures::to_table(&figures);
    Ok((figures, table))
}

fn of_launches(plan: Plan, measured: Launches, at_a_thousand: bool) -> Vec<Figure> {
    let Plan { jobs, factor, .. } = plan;
    let figure = |name: &str, unit, value: f64| {
        let time = if factor == 1 { "real time".to_owned() } else { format!("time × {factor}") };
        Figure::new(format!("{name}, {jobs} jobs, {time}"), unit, vec![value])
    };
    let rate = 0.95 * LAUNCHES_PER_SECOND;
    let reads = figure("Describe + List", "calls/job", measured.reads);
    vec![
        figure("launches", "tasks/s", measured.rate).goal(AtLeast(rate)),
        figure("the slowest minute", "tasks/s", measured.worst_minute),
        figure("RunTask", "calls/job", measured.run_task).goal(AtMost(1.0)),
        if at_a_thousand { reads.goal(AtMost(0.05)) } else { reads },
        figure("throttled", "% of calls", measured.throttled * 100.0).goal(AtMost(1.0)),
        figure("the most tasks at once", "tasks", measured.most),
        figure("outcome to end, p99", "s", measured.ending_p99),
        figure("took", "s of this machine", measured.took),
    ]
}

fn of_listing(tasks: usize, measured: Listing) -> Vec<Figure> {
    let figure =
        |name: &str, unit, value: f64| Figure::new(format!("{name}, {tasks} tasks"), unit, vec![value]);
    let share = measured.later_calls / (READS_PER_SECOND * SNAPSHOT_SECONDS) * 100.0;
    vec![
        figure("listing after a restart", "s", measured.first).goal(AtMost(SNAPSHOT_SECONDS)),
        figure("its calls", "calls", measured.first_calls),
        figure("a later listing", "s", measured.later).goal(AtMost(SNAPSHOT_SECONDS)),
        figure("its calls", "calls", measured.later_calls),
        figure("of the read quota, one a snapshot", "%", share).goal(AtMost(100.0)),
        figure("throttled reads", "calls", measured.throttled).goal(Exactly(0.0)),
    ]
}

fn of_dispatch(jobs: usize, times: &[f64]) -> Vec<Figure> {
    let figure = |p: f64| {
        Figure::new(format!("hint to RunTask, p{p}, {jobs} jobs"), "ms", vec![stats::percentile(times, p)])
    };
    vec![figure(50.0), figure(99.0).goal(AtMost(50.0))]
}

fn of_bill(items: Vec<bill::Item>, dollars: f64) -> Vec<Figure> {
    let item = |(what, spent, budget)| {
        Figure::new(format!("an echo job: {what}"), "", vec![spent]).goal(AtMost(budget))
    };
    let million = Figure::new(
        "control plane of a million echo jobs (AWS Batch: 0, without an idempotent submit)",
        "dollars",
        vec![dollars],
    );
    let million = million.against("the $27 estimated", &[prices::ESTIMATED]);
    items.into_iter().map(item).chain([million]).collect()
}

fn conditions(options: &Options) -> Value {
    json!({
        "at": Timestamp::from(SystemTime::now()).to_string(),
        "version": env!("CARGO_PKG_VERSION"),
        "short": options.short,
        "optimised": !cfg!(debug_assertions),
        "against": "the double of ECS at AWS's documented default quotas; nothing was measured on AWS",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bill_stands_beside_what_was_estimated_and_what_aws_batch_takes() {
        let table = figures::to_table(&of_bill(vec![("RunTask", 1.0, 1.0)], 35.64));
        let line = table.lines().find(|line| line.contains("a million echo jobs")).expect("a line");
        for part in ["35.6 dollars", "1.32 × the $27 estimated", "AWS Batch: 0, without an idempotent submit"]
        {
            assert!(line.contains(part), "{part}: {line}");
        }
    }
}
