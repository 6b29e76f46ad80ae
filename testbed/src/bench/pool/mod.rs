//! The benchmark of the team's stack: echoes through Redis and a pool of warm workers, against BullMQ and Celery
//! with the same settings of Redis, in one run, interleaved, ratios round by round.
//!
//! What each does for a job, from the first submission until the last job of a thousand has ended:
//!
//! | | agent-runner | BullMQ | Celery |
//! |---|---|---|---|
//! | is handed its jobs | over HTTP, 8 connections | over HTTP, 8 connections (`front.js`) | by calls in its own client, 8 threads: no HTTP, in its favour |
//! | says "accepted" | when Redis has stored the job | the same | the same |
//! | its two workers | are up and warm; 1 or 5 slots each | the same; one thread each | the same; a process per slot |
//! | an echo | is written to a file, and copied to the job's plain path | is written to a file under another name and renamed, and returned | the same |
//! | logs | two files | none | none |
//! | has ended when | Redis has stored SUCCEEDED, after the result was read and its checksum compared | Redis has stored the result | the same |
//! | its worker dies | the attempt is retried when it is proven dead | the job is given to another after 30 s of silence, whether or not the first still runs | the job is lost (default) |
//! | keeps | job, every attempt, launch and outcome, for 7 days | the job and its result | the result for a day |

mod peers;

use super::figures::Goal::{AtLeast, AtMost};
use super::figures::{self, Figure};
use super::http::{Http, member};
use super::{Failed, load, stats};
use crate::team::{self, Team};
use contract::Timestamp;
use peers::{BullMq, Celery};
use redis::Connection;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};
use tempfile::TempDir;

/// What to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder of the release builds of API, reconciler and worker.
    pub programs: PathBuf,
    /// The same of another version, to be compared with.
    pub before: Option<PathBuf>,
    /// Where the JSON goes.
    pub out: PathBuf,
    /// Where the peers are installed.
    pub peers: PathBuf,
    /// How often.
    pub rounds: usize,
    /// Jobs of each measurement.
    pub jobs: usize,
    /// Jobs, one after the other, whose time from submission to SUCCEEDED is taken.
    pub samples: usize,
    /// Which `appendfsync`.
    pub fsync: Vec<&'static str>,
    /// How many slots each worker has.
    pub slots: Vec<u32>,
    /// Whether the peers are left out: for looking at nothing but this project.
    pub alone: bool,
}

/// Slots of each worker.
pub const SLOTS: [u32; 2] = [1, 5];
/// `appendfsync`.
pub const FSYNC: [&str; 2] = ["always", "everysec"];
const WORKERS: usize = 2;
/// Jobs before the first that counts.
const WARM_UP: usize = 20;
/// Between two looks: half a percent of the time that a thousand jobs take.
const LOOK: Duration = Duration::from_millis(4);
const PATIENCE: Duration = Duration::from_secs(180);

/// The folders of everything that was measured, which are removed when nothing is measured any more. ext4 without a
/// journal gives out no inode that was removed within the last one to six minutes, and looks at each of them again
/// whenever somebody makes a file: after the removal of some thousand files the next ones cost twenty times as much.
#[derive(Default)]
struct Remains(Vec<Arc<TempDir>>);

impl Remains {
    fn folder(&mut self) -> Result<Arc<TempDir>, Failed> {
        let folder = Arc::new(TempDir::new()?);
        self.0.push(Arc::clone(&folder));
        Ok(folder)
    }
}

/// What was measured with one `appendfsync` and one number of slots.
#[derive(Default)]
struct Series {
    ours: Vec<Measured>,
    before: Vec<Measured>,
    bullmq: Vec<f64>,
    celery: Vec<f64>,
}

#[derive(Debug, Clone, Copy)]
struct Measured {
    rate: f64,
    p50: f64,
    p99: f64,
}

/// Runs everything, prints the table and writes the JSON.
///
/// # Errors
/// Something did not work; a goal that is missed is no error.
pub fn run(options: &Options) -> Result<String, Failed> {
    if !team::is_installed() {
        return Err(Failed::new("redis-server is not installed; type: make deps"));
    }
    let peers = (BullMq::installed(&options.peers)?, Celery::installed(&options.peers)?);
    let versions = json!({
        "agent-runner": peers::first_line(&program(&options.programs), &["--version"]),
        "bullmq": peers.0.version,
        "node": peers.0.node,
        "celery": peers.1.version,
        "redis": peers::first_line("redis-server", &["--version"]),
    });
    eprintln!("versions: {versions:#}");
    let load_before = load_average();
    let settings: Vec<(&'static str, u32)> =
        options.fsync.iter().flat_map(|f| options.slots.iter().map(|slots| (*f, *slots))).collect();
    let mut all: Vec<Series> = settings.iter().map(|_| Series::default()).collect();
    let mut remains = Remains::default();
    for round in 1..=options.rounds {
        for (&(fsync, slots), series) in settings.iter().zip(&mut all) {
            eprintln!("round {round} of {}: appendfsync {fsync}, {WORKERS} × {slots}", options.rounds);
            one_round(options, fsync, slots, &peers, series, &mut remains)?;
        }
    }
    let figures: Vec<Figure> = settings
        .iter()
        .zip(&all)
        .flat_map(|((fsync, slots), series)| series.figures(fsync, *slots))
        .collect();
    let json = figures::to_json(&figures, &conditions(options, &versions, &load_before));
    if let Some(folder) = options.out.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(&options.out, serde_json::to_string_pretty(&json)? + "\n")?;
    Ok(figures::to_table(&figures))
}

fn one_round(
    options: &Options,
    fsync: &'static str,
    slots: u32,
    (bullmq, celery): &(BullMq, Celery),
    series: &mut Series,
    remains: &mut Remains,
) -> Result<(), Failed> {
    series.ours.push(ours(&options.programs, options, fsync, slots, remains)?);
    if let Some(before) = &options.before {
        series.before.push(ours(before, options, fsync, slots, remains)?);
    }
    if options.alone {
        return Ok(());
    }
    series.bullmq.push(bullmq.rate(fsync, WORKERS, slots, options.jobs, remains)?);
    series.celery.push(celery.rate(fsync, WORKERS, slots, options.jobs, remains)?);
    Ok(())
}

fn rates(measured: &[Measured]) -> Vec<f64> {
    measured.iter().map(|m| m.rate).collect()
}

impl Series {
    fn figures(&self, fsync: &str, slots: u32) -> Vec<Figure> {
        let setting = format!("{fsync}, {WORKERS} × {slots}");
        let rate =
            |who: &str, samples: Vec<f64>| Figure::new(format!("{who} ({setting})"), "jobs/s", samples);
        let ours = || rate("agent-runner over HTTP", rates(&self.ours));
        let of = |name: &str, measured: &[Measured], get: fn(&Measured) -> f64| {
            let name = format!("submit → SUCCEEDED, {name} ({setting})");
            Figure::new(name, "ms", measured.iter().map(get).collect())
        };
        let mut all = if self.bullmq.is_empty() {
            vec![ours()]
        } else {
            vec![
                ours().against("BullMQ", &self.bullmq).goal(AtLeast(1.0)),
                ours().against("Celery", &self.celery).goal(AtLeast(4.0)),
                rate("BullMQ over HTTP", self.bullmq.clone()),
                rate("Celery, no HTTP", self.celery.clone()),
            ]
        };
        all.extend([
            of("p50", &self.ours, |m| m.p50).goal(AtMost(6.0)),
            of("p99", &self.ours, |m| m.p99).goal(AtMost(15.0)),
        ]);
        if !self.before.is_empty() {
            all.push(ours().against("before", &rates(&self.before)));
            all.push(rate("before, over HTTP", rates(&self.before)));
            all.push(of("p50, before", &self.before, |m| m.p50));
            all.push(of("p99, before", &self.before, |m| m.p99));
        }
        all
    }
}

fn ours(
    programs: &Path,
    options: &Options,
    fsync: &'static str,
    slots: u32,
    remains: &mut Remains,
) -> Result<Measured, Failed> {
    let stack = team::Options {
        programs: Some(programs.to_owned()),
        fsync,
        ..team::Options::new(WORKERS, slots).env("AGENT_RUNNER_LOG", "warn")
    };
    let team = Team::start(stack).ok_or_else(|| Failed::new("no redis-server"))?;
    remains.0.push(team.keep_folder());
    let address: SocketAddr = team.client().base().trim_start_matches("http://").parse()?;
    let times = latencies(address, options.samples)?;
    let mut redis = team.redis().connect();
    let start = Instant::now();
    post(address, load::ECHO, options.jobs)?;
    wait_until("all jobs are settled", || Ok(active(&mut redis)? == 0))?;
    let rate = options.jobs as f64 / start.elapsed().as_secs_f64();
    check_succeeded(&team, WARM_UP + options.samples + options.jobs)?;
    Ok(Measured { rate, p50: stats::percentile(&times, 50.0), p99: stats::percentile(&times, 99.0) })
}

/// Posts `jobs` times `body` over as many connections as the benchmark of the main job uses.
fn post(address: SocketAddr, body: &str, jobs: usize) -> Result<(), Failed> {
    let next = AtomicUsize::new(0);
    load::on_threads(load::CONNECTIONS, || {
        let mut http = Http::connect(address)?;
        while next.fetch_add(1, Ordering::Relaxed) < jobs {
            http.create(body)?;
        }
        Ok(())
    })
}

/// Milliseconds from submission to SUCCEEDED, as a client sees it through a long poll.
fn latencies(address: SocketAddr, samples: usize) -> Result<Vec<f64>, Failed> {
    let mut http = Http::connect(address)?;
    let mut times = Vec::with_capacity(samples);
    for n in 0..WARM_UP + samples {
        let start = Instant::now();
        let job_id = http.create(load::ECHO)?;
        let answer = http.get(&format!("/jobs/{job_id}?wait=30s&until=finished"))?;
        if member(answer, "status") != Some("SUCCEEDED") {
            return Err(Failed::new(format!("not SUCCEEDED: {answer}")));
        }
        if n >= WARM_UP {
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    Ok(times)
}

/// Jobs that are not settled (`agent-runner:active:<0-f>`).
fn active(redis: &mut Connection) -> Result<usize, Failed> {
    let mut pipe = redis::pipe();
    for digit in "0123456789abcdef".chars() {
        pipe.scard(format!("agent-runner:active:{digit}"));
    }
    Ok(pipe.query::<Vec<usize>>(redis)?.iter().sum())
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> Result<bool, Failed>) -> Result<(), Failed> {
    let until = Instant::now() + PATIENCE;
    while !is_so()? {
        if Instant::now() > until {
            return Err(Failed::new(format!("not within {PATIENCE:?}: {what}")));
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// Each job is SUCCEEDED, with a result that can be read.
fn check_succeeded(team: &Team, expected: usize) -> Result<(), Failed> {
    let jobs = crate::judge::Judged::jobs(team);
    for (job_id, (status, _)) in &jobs {
        let result = std::fs::read(team.artifacts().join(format!("jobs/{job_id}/result.json")))?;
        if status["status"] != "SUCCEEDED" || result.is_empty() {
            return Err(Failed::new(format!("{job_id}: {status}")));
        }
    }
    if jobs.len() == expected {
        Ok(())
    } else {
        Err(Failed::new(format!("{} of {expected} jobs", jobs.len())))
    }
}

fn load_average() -> String {
    std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim().to_owned()
}

fn conditions(options: &Options, versions: &Value, load_before: &str) -> Value {
    json!({
        "date": Timestamp::from(SystemTime::now()),
        "rounds": options.rounds,
        "jobs": options.jobs,
        "samples": options.samples,
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "kernel": peers::first_line("uname", &["-sr"]),
        "load_average": [load_before, load_average()],
        "versions": versions,
        "commit": peers::first_line("git", &["describe", "--always", "--dirty"]),
        "redis_settings": "appendonly yes, save '', maxmemory-policy noeviction, loopback",
    })
}

fn program(folder: &Path) -> String {
    folder.join("agent-runner-api").to_string_lossy().into_owned()
}
