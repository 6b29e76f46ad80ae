//! A running `agent-runner up` in a folder of its own, and what the operating system says about it.

use super::http::Http;
use super::{Failed, Programs, new_folder};
use rusqlite::{Connection, OpenFlags};
use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How to start a node.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Everything of the node lies here; used again by a node that continues another one's work.
    pub folder: PathBuf,
    /// `AGENT_RUNNER_MAX_CONCURRENT_TASKS`
    pub slots: usize,
    /// `AGENT_RUNNER_DURABILITY`
    pub durability: &'static str,
    /// The text of the job-types file.
    pub job_types: Option<String>,
    /// `AGENT_RUNNER_RESYNC_SECONDS`
    pub resync_seconds: u32,
}

impl Setup {
    /// An empty node with the default settings but for the slots.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn fresh(work: &Path, name: &str, slots: usize) -> Result<Self, Failed> {
        let folder = new_folder(work, name)?;
        Ok(Self { folder, slots, durability: "process", job_types: None, resync_seconds: 30 })
    }

    /// The database file.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.folder.join("agent-runner.db")
    }

    /// The folder of artifacts.
    #[must_use]
    pub fn artifacts(&self) -> PathBuf {
        self.folder.join("artifacts")
    }

    /// A read-only connection to the database.
    ///
    /// # Errors
    /// There is none yet.
    pub fn look(&self) -> Result<Look, Failed> {
        let db = Connection::open_with_flags(self.database(), OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        db.busy_timeout(Duration::from_secs(5))?;
        Ok(Look { db })
    }

    /// Starts a node and waits until it answers and leads.
    ///
    /// # Errors
    /// It does not come up within ten seconds.
    pub fn start(&self, programs: &Programs) -> Result<Node, Failed> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let folder = self.folder.display();
        let mut command = Command::new(&programs.agent_runner);
        command
            .arg("up")
            .current_dir(&self.folder)
            .env("AGENT_RUNNER_RECORDS", format!("sqlite:{}", self.database().display()))
            .env("AGENT_RUNNER_ARTIFACTS", format!("file:{folder}/artifacts"))
            .env("AGENT_RUNNER_TASKS_DIR", format!("{folder}/tasks"))
            .env("AGENT_RUNNER_LISTEN", address.to_string())
            .env("AGENT_RUNNER_MAX_CONCURRENT_TASKS", self.slots.to_string())
            .env("AGENT_RUNNER_DURABILITY", self.durability)
            .env("AGENT_RUNNER_RESYNC_SECONDS", self.resync_seconds.to_string())
            .stdin(Stdio::null())
            .stdout(File::create(self.folder.join("up.out"))?)
            .stderr(File::options().create(true).append(true).open(self.folder.join("up.log"))?);
        if let Some(text) = &self.job_types {
            let file = self.folder.join("job-types.toml");
            std::fs::write(&file, text)?;
            command.env("AGENT_RUNNER_JOB_TYPES", file);
        }
        let mut node = Node { child: command.spawn()?, address };
        node.wait_until_it_leads()?;
        Ok(node)
    }
}

/// A running node; killed when dropped.
#[derive(Debug)]
pub struct Node {
    child: Child,
    /// Where its API listens.
    pub address: SocketAddr,
}

impl Node {
    fn wait_until_it_leads(&mut self) -> Result<(), Failed> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Err(Failed::new(format!("up ended with {status}")));
            }
            match self.metrics(["agent_runner_leader"]) {
                Ok([leads]) if leads >= 1.0 => return Ok(()),
                Err(e) if Instant::now() > deadline => return Err(e),
                Ok(_) | Err(_) => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    }

    /// A connection to its API.
    ///
    /// # Errors
    /// It does not listen.
    pub fn http(&self) -> Result<Http, Failed> {
        Http::connect(self.address)
    }

    /// The values of metrics, each named as in the text format (`name` or `name{label="value"}`), of one
    /// moment.
    ///
    /// # Errors
    /// It does not answer, or has no such metric.
    pub fn metrics<const N: usize>(&self, names: [&str; N]) -> Result<[f64; N], Failed> {
        let mut http = self.http()?;
        let text = http.get("/metrics")?;
        let mut values = [0.0; N];
        for (value, name) in values.iter_mut().zip(names) {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            *value = line.ok_or_else(|| Failed::new(format!("no metric {name}")))?.parse()?;
        }
        Ok(values)
    }

    /// Processor time that its threads have used.
    ///
    /// # Errors
    /// It is gone.
    pub fn cpu(&self) -> Result<Duration, Failed> {
        let mut nanoseconds = 0;
        for thread in std::fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            // First field: time on a processor, in ns (Documentation/scheduler/sched-stats.rst).
            let text = std::fs::read_to_string(thread?.path().join("schedstat"))?;
            nanoseconds += text.split(' ').next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
        }
        Ok(Duration::from_nanos(nanoseconds))
    }

    /// Resident memory in MB (10^6 bytes).
    ///
    /// # Errors
    /// It is gone.
    pub fn rss_mb(&self) -> Result<f64, Failed> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let kib =
            text.lines().find_map(|l| l.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok());
        let kib: f64 = kib.ok_or_else(|| Failed::new("no VmRSS"))?;
        Ok(kib * 1024.0 / 1e6)
    }

    /// Ends it with SIGTERM.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub fn end(mut self) -> Result<(), Failed> {
        if let Some(pid) = rustix::process::Pid::from_raw(i32::try_from(self.child.id())?) {
            rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        }
        self.child.wait()?;
        Ok(())
    }

    /// Ends it with SIGKILL.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub fn kill(mut self) -> Result<(), Failed> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Looks into a node's database beside it. A look costs an index scan; it takes no lock that a writer
/// waits for.
#[derive(Debug)]
pub struct Look {
    db: Connection,
}

impl Look {
    /// Jobs that are not settled.
    ///
    /// # Errors
    /// SQLite's.
    pub fn active(&self) -> Result<usize, Failed> {
        self.count("SELECT count(*) FROM jobs WHERE active = 1")
    }

    /// The only number that `sql` returns.
    ///
    /// # Errors
    /// SQLite's.
    pub fn count(&self, sql: &str) -> Result<usize, Failed> {
        let count: i64 = self.db.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
        Ok(usize::try_from(count)?)
    }

    /// Waits until no job is active.
    ///
    /// # Errors
    /// That has not come after `limit`.
    pub fn wait_until_settled(&self, limit: Duration) -> Result<(), Failed> {
        let deadline = Instant::now() + limit;
        while self.active()? > 0 {
            if Instant::now() > deadline {
                let left = self.active()?;
                return Err(Failed::new(format!("{left} jobs have not settled within {limit:?}")));
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Checks that `expected` jobs exist, and that each is SUCCEEDED with a published result that names it.
    ///
    /// # Errors
    /// Which is not.
    pub fn check_succeeded(&self, expected: usize, artifacts: &Path) -> Result<(), Failed> {
        let mut statement =
            self.db.prepare_cached("SELECT job_id, json_extract(status, '$.status') FROM jobs")?;
        let mut rows = statement.query([])?;
        let mut found = 0;
        while let Some(row) = rows.next()? {
            let (job_id, status): (String, Option<String>) = (row.get(0)?, row.get(1)?);
            let path = artifacts.join("jobs").join(&job_id).join("result.json");
            let result = std::fs::read_to_string(&path)?;
            if status.as_deref() != Some("SUCCEEDED") || result.is_empty() {
                return Err(Failed::new(format!("{job_id} is {status:?}, result {result}")));
            }
            found += 1;
        }
        if found == expected { Ok(()) } else { Err(Failed::new(format!("{found} of {expected} jobs exist"))) }
    }
}

/// Between two looks: half a percent of the time that a thousand jobs take.
const LOOK: Duration = Duration::from_millis(4);
