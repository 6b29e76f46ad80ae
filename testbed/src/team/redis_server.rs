//! A redis-server for one team, and a look at what is in it beside the system.

use crate::stack::free_port;
use redis::{Client, Commands, Connection};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take to start, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whether there is a redis-server to start.
#[must_use]
pub fn is_installed() -> bool {
    Command::new("redis-server").arg("--version").output().is_ok_and(|output| output.status.success())
}

/// A server with its folder.
#[derive(Debug)]
pub struct RedisServer {
    port: u16,
    folder: PathBuf,
    fsync: &'static str,
    running: Option<Child>,
}

/// What the pool holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolContent {
    /// Tasks that are not forgotten.
    pub tasks: Vec<String>,
    /// Entries of the list of waiting tasks.
    pub waiting: usize,
    /// Workers that are not struck off.
    pub workers: usize,
}

impl RedisServer {
    /// Starts a server in `folder`, which exists, on a free port.
    ///
    /// # Panics
    /// When it does not answer.
    #[must_use]
    pub fn start(folder: PathBuf, fsync: &'static str) -> Self {
        let mut server = Self { port: free_port(), folder, fsync, running: None };
        server.run();
        server
    }

    /// Starts the server again, in the same folder, and waits until it answers.
    ///
    /// # Panics
    /// When it runs already, or does not answer.
    pub fn run(&mut self) {
        assert!(self.running.is_none(), "redis-server runs already");
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &self.port.to_string(), "--save", ""])
            .args(["--appendonly", "yes", "--appendfsync", self.fsync, "--loglevel", "warning"])
            .args(["--maxmemory-policy", "noeviction", "--logfile", "redis.log"])
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server can be started");
        // Not any server that may have come to this port before ours.
        let ours = format!("process_id:{}\r", child.id());
        self.running = Some(child);
        let until = Instant::now() + PATIENCE;
        loop {
            let answer = self.try_connect().and_then(|mut c| {
                let info: String = redis::cmd("INFO").arg("server").query(&mut c)?;
                redis::cmd("PING").query::<String>(&mut c)?;
                Ok(info)
            });
            if answer.is_ok_and(|info| info.contains(&ours)) {
                return;
            }
            assert!(Instant::now() < until, "redis-server does not answer");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.running.take() {
            let _ = (child.kill(), child.wait());
        }
    }

    /// Its process, if it runs.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        self.running.as_ref().map(|child| child.id().cast_signed())
    }

    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// As the settings name it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    fn try_connect(&self) -> redis::RedisResult<Connection> {
        let connection = Client::open(self.url())?.get_connection_with_timeout(PATIENCE)?;
        connection.set_read_timeout(Some(PATIENCE))?;
        Ok(connection)
    }

    /// A connection, beside those of the system.
    ///
    /// # Panics
    /// When the server does not answer.
    #[must_use]
    pub fn connect(&self) -> Connection {
        self.try_connect().expect("redis-server answers")
    }

    /// The slots of every worker of the pool.
    ///
    /// # Panics
    /// When the server does not answer.
    #[must_use]
    pub fn slots(&self) -> u32 {
        let mut c = self.connect();
        let workers: Vec<String> = c.smembers("agent-runner:pool:workers").expect("the workers");
        let slots = |id: &String| -> u32 {
            let slots: Option<u32> =
                c.hget(format!("agent-runner:pool:worker:{id}"), "slots").expect("a worker");
            slots.unwrap_or(0)
        };
        workers.iter().map(slots).sum()
    }

    /// What the pool holds.
    ///
    /// # Panics
    /// When the server does not answer.
    #[must_use]
    pub fn pool(&self) -> PoolContent {
        let mut c = self.connect();
        PoolContent {
            tasks: c.smembers("agent-runner:pool:tasks").expect("the tasks"),
            waiting: c.llen("agent-runner:pool:waiting").expect("the waiting tasks"),
            workers: c.scard("agent-runner:pool:workers").expect("the workers"),
        }
    }

    /// What redis-cli says, as an operator would type it.
    ///
    /// # Panics
    /// When there is no redis-cli.
    #[must_use]
    pub fn cli(&self, arguments: &[&str]) -> String {
        let port = self.port.to_string();
        let output = Command::new("redis-cli").args(["-p", &port]).args(arguments).output();
        let output = output.expect("redis-cli");
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    }
}

/// Ends with whatever used it, also where that broke off.
impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}
