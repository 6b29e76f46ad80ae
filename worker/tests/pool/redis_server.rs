//! A Redis server of a test's own.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server on loopback that ends with the test.
pub(crate) struct RedisServer {
    process: Child,
    pub(crate) port: u16,
    _folder: tempfile::TempDir,
}

impl RedisServer {
    /// Starts one. `None`: it is not installed, and nobody insists.
    pub(crate) fn start() -> Option<Self> {
        // Somebody else may take the port before the server has it.
        for _ in 0..10 {
            let folder = tempfile::tempdir().unwrap();
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let spawned = Command::new("redis-server")
                .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", ""])
                .arg("--dir")
                .arg(folder.path())
                .stdout(Stdio::null())
                .spawn();
            let Ok(process) = spawned else {
                let missing = "redis-server is not installed; type: make deps";
                assert!(std::env::var_os("TEST_EVERYTHING").is_none(), "{missing}");
                eprintln!("left out: {missing}");
                return None;
            };
            let mut server = Self { process, port, _folder: folder };
            if server.answers() {
                return Some(server);
            }
        }
        panic!("no Redis server could be started");
    }

    /// Whether it is this one that answers: another test may have been given the same port.
    fn answers(&mut self) -> bool {
        let start = Instant::now();
        let client = redis::Client::open(self.url()).unwrap();
        let ours = format!("process_id:{}\r\n", self.process.id());
        while start.elapsed() < Duration::from_secs(10) {
            let info = client
                .get_connection_with_timeout(Duration::from_secs(1))
                .and_then(|mut connection| redis::cmd("INFO").arg("server").query::<String>(&mut connection));
            if let Ok(info) = info {
                return info.contains(&ours);
            }
            if self.process.try_wait().unwrap().is_some() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
