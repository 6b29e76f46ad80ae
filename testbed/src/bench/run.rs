//! The run: what is measured in which order, and against which goal.

use super::creation::{self, Speed};
use super::figures::Goal::{AtLeast, AtMost, Exactly};
use super::figures::{self, Figure};
use super::idle::{self, Idle};
use super::killed::{self, Verdict};
use super::latency::{self, Latency};
use super::resync::{self, Resync, Sizes};
use super::{Failed, Programs, load};
use contract::Timestamp;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime};

/// What to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The release build of `agent-runner`.
    pub agent_runner: PathBuf,
    /// Where the JSON goes; the data of the measured programs lies beside it.
    pub out: PathBuf,
    /// How often.
    pub rounds: usize,
    /// Small numbers: shows that everything works, and says nothing about speed.
    pub short: bool,
    /// Only the parts whose names are given (`load`, `latency`, `creation`, `killed`, `idle`, `resync`);
    /// empty: all.
    pub only: Vec<String>,
}

impl Options {
    fn wants(&self, part: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name == part)
    }

    fn size(&self, full: usize, short: usize) -> usize {
        if self.short { short } else { full }
    }
}

/// Every value of every round.
#[derive(Default)]
struct Rounds {
    plain: Vec<f64>,
    worker: Vec<f64>,
    xargs: Vec<f64>,
    process: Vec<f64>,
    power: Vec<f64>,
    latency: Vec<Latency>,
    posts: Vec<Speed>,
    commits: Vec<Speed>,
    killed: Vec<Verdict>,
}

/// Runs everything, prints the table and writes the JSON.
///
/// # Errors
/// Something did not work; a goal that is missed is no error.
pub fn run(options: &Options) -> Result<String, Failed> {
    let folder = options.out.parent().ok_or_else(|| Failed::new("the output has no folder"))?;
    let work = std::path::absolute(folder)?.join(format!("work-{}", std::process::id()));
    std::fs::create_dir_all(&work)?;
    let programs = Programs::build(&options.agent_runner, &work)?;
    let mut rounds = Rounds::default();
    for round in 1..=options.rounds {
        eprintln!("round {round} of {}", options.rounds);
        one_round(options, &programs, &work, &mut rounds)?;
    }
    let mut figures = rounds.figures(options);
    if options.wants("idle") {
        eprintln!("idle");
        let span = Duration::from_secs(options.size(20, 1) as u64);
        figures.extend(of_idle(idle::measure(&programs, &work, span, options.size(1000, 50))?));
    }
    if options.wants("resync") {
        eprintln!("resync");
        let sizes = Sizes {
            active: options.size(100_000, 1000),
            finished: options.size(1_000_000, 2000),
            changed: 100,
            samples: options.size(options.rounds.max(5), 2),
        };
        figures.extend(of_resync(resync::measure(&programs, &work, sizes)?, sizes));
    }
    std::fs::remove_dir_all(&work)?;
    let json = figures::to_json(&figures, &conditions(options));
    std::fs::write(&options.out, serde_json::to_string_pretty(&json)? + "\n")?;
    Ok(figures::to_table(&figures))
}

fn one_round(
    options: &Options,
    programs: &Programs,
    work: &std::path::Path,
    rounds: &mut Rounds,
) -> Result<(), Failed> {
    if options.wants("load") {
        let jobs = options.size(1000, 50);
        // Both yardsticks before and after, because the machine may change its speed in between.
        let before = (load::c_program(programs, work, jobs)?, load::worker(programs, work, jobs)?);
        rounds.process.push(load::orchestrated(programs, work, "process", jobs)?);
        let after = (load::c_program(programs, work, jobs)?, load::worker(programs, work, jobs)?);
        rounds.plain.push(harmonic(before.0, after.0));
        rounds.worker.push(harmonic(before.1, after.1));
        rounds.xargs.push(load::xargs(programs, work, jobs)?);
        rounds.power.push(load::orchestrated(programs, work, "power", jobs)?);
    }
    if options.wants("latency") {
        rounds.latency.push(latency::measure(programs, work, options.size(200, 20))?);
    }
    if options.wants("creation") {
        let span = Duration::from_millis(options.size(2000, 200) as u64);
        rounds.commits.push(creation::commits(work, span)?);
        rounds.posts.push(creation::posts(programs, work, span)?);
    }
    if options.wants("killed") {
        rounds.killed.push(killed::measure(programs, work, options.size(200, 40))?);
    }
    Ok(())
}

/// The rate of both runs together.
fn harmonic(a: f64, b: f64) -> f64 {
    2.0 / (1.0 / a + 1.0 / b)
}

impl Rounds {
    fn figures(&self, options: &Options) -> Vec<Figure> {
        let mut all = Vec::new();
        if options.wants("load") {
            all.extend(self.of_load());
        }
        if options.wants("latency") {
            all.extend(self.of_latency());
        }
        if options.wants("creation") {
            all.extend(self.of_creation());
        }
        if options.wants("killed") {
            all.extend(self.of_killed(options.size(200, 40)));
        }
        all
    }

    fn of_load(&self) -> Vec<Figure> {
        let rate = |name: &str, samples: &Vec<f64>| Figure::new(name, "jobs/s", samples.clone());
        let process = rate("A: jobs over HTTP, durability process", &self.process);
        let power = rate("A: jobs over HTTP, durability power", &self.power);
        vec![
            process.clone().against("W", &self.worker).goal(AtLeast(0.7)),
            process.against("S", &self.plain).goal(AtLeast(0.4)),
            power.clone().against("W", &self.worker),
            power.against("S", &self.plain),
            rate("W: our worker, spawn and wait, no reports", &self.worker)
                .against("S", &self.plain)
                .goal(AtLeast(0.5)),
            rate("S: static C program, spawn and wait", &self.plain),
            rate("xargs -P4 with the C program", &self.xargs).against("S", &self.plain),
        ]
    }

    fn of_latency(&self) -> Vec<Figure> {
        let of = |name: &str, get: fn(&Latency) -> f64| {
            Figure::new(name, "ms", self.latency.iter().map(get).collect())
        };
        vec![
            of("submit → agent's first instruction, p50", |l| l.started_p50).goal(AtMost(4.0)),
            of("submit → agent's first instruction, p99", |l| l.started_p99).goal(AtMost(12.0)),
            of("submit → SUCCEEDED, p50", |l| l.succeeded_p50).goal(AtMost(8.0)),
            of("submit → SUCCEEDED, p99", |l| l.succeeded_p99),
        ]
    }

    fn of_creation(&self) -> Vec<Figure> {
        let of = |speeds: &[Speed], get: fn(&Speed) -> f64| speeds.iter().map(get).collect::<Vec<f64>>();
        let raw_rate = of(&self.commits, |s| s.rate);
        let raw_p99 = of(&self.commits, |s| s.p99_ms);
        vec![
            Figure::new("POST /jobs, 8 connections, durability power", "/s", of(&self.posts, |s| s.rate))
                .against("raw", &raw_rate)
                .goal(AtLeast(3.0)),
            Figure::new("the same, p99", "ms", of(&self.posts, |s| s.p99_ms))
                .against("raw", &raw_p99)
                .goal(AtMost(3.0)),
            Figure::new("raw single-row FULL commits", "/s", raw_rate),
            Figure::new("the same, p99", "ms", raw_p99),
        ]
    }

    fn of_killed(&self, jobs: usize) -> Vec<Figure> {
        let of = |name: String, unit, get: fn(&Verdict) -> f64| {
            Figure::new(name, unit, self.killed.iter().map(get).collect())
        };
        // A count is judged in its worst round, not in the median.
        let worst =
            |name: String, get: fn(&Verdict) -> usize, all: fn(usize, usize) -> usize, start: usize| {
                let count = self.killed.iter().map(get).fold(start, all);
                Figure::new(name, "", vec![count as f64])
            };
        vec![
            worst(format!("kill -9 with {jobs} jobs: SUCCEEDED"), |v| v.succeeded, usize::min, jobs)
                .goal(Exactly(jobs as f64)),
            worst("kill -9: attempts that started twice".into(), |v| v.twice, usize::max, 0)
                .goal(Exactly(0.0)),
            worst("kill -9: overlaps within a job".into(), |v| v.overlaps, usize::max, 0).goal(Exactly(0.0)),
            of("kill -9: restart → all ended".into(), "s", |v| v.settled_seconds).goal(AtMost(5.0)),
        ]
    }
}

fn of_idle(idle: Idle) -> Vec<Figure> {
    vec![
        Figure::new("idle up: CPU", "% of a core", vec![idle.cpu_percent]).goal(AtMost(0.1)),
        Figure::new("idle up: resident memory", "MB", vec![idle.rss_mb]).goal(AtMost(30.0)),
        Figure::new("the same after the jobs of A", "MB", vec![idle.rss_after_mb]).goal(AtMost(30.0)),
    ]
}

fn of_resync(r: Resync, sizes: Sizes) -> Vec<Figure> {
    let Sizes { active, finished, changed, .. } = sizes;
    vec![
        Figure::new(format!("full resync, {active} active"), "ms", r.alone.clone()).goal(AtMost(100.0)),
        Figure::new(format!("the same beside {finished} finished"), "ms", r.beside)
            .against("without", &r.alone)
            .goal(AtMost(1.5)),
        Figure::new(format!("{changed} of them changed: commit → last pass"), "ms", r.changed)
            .goal(AtMost(5.0)),
        Figure::new("start → every active record looked at once", "ms", vec![r.first_look]),
    ]
}

fn conditions(options: &Options) -> Value {
    let first_line = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).lines().next()?.trim().to_owned())
    };
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    json!({
        "date": Timestamp::from(SystemTime::now()),
        "rounds": options.rounds,
        "short": options.short,
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "cpu": model,
        "kernel": first_line("uname", &["-sr"]),
        "commit": first_line("git", &["describe", "--always", "--dirty"]),
        "agent_runner": first_line(&options.agent_runner.to_string_lossy(), &["--version"]),
        "rustc": first_line("rustc", &["--version"]),
        "cc": first_line("cc", &["--version"]),
        "xargs": first_line("xargs", &["--version"]),
        "sqlite": rusqlite::version(),
    })
}
