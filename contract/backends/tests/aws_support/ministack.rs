//! MiniStack: DynamoDB with its streams, SQS, S3 and more, in one process.

use super::{Missing, Server, answers, free_port};
use std::path::PathBuf;
use std::sync::OnceLock;

/// One MiniStack for all tests of a binary; they keep apart by names of their own (tables, queues, buckets).
pub(crate) struct Ministack {
    port: u16,
    _server: Server,
}

/// Where it is: named by `TESTBED_MINISTACK`, in the virtual environment of `make deps`, or in the `PATH`.
fn executable() -> Option<PathBuf> {
    let named = std::env::var_os("TESTBED_MINISTACK").map(PathBuf::from);
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&folders).map(|folder| folder.join("ministack")).collect::<Vec<_>>();
    let installed = std::iter::once(root.join("target/venv/bin/ministack")).chain(in_path);
    named.into_iter().chain(installed).find(|path| path.is_file())
}

impl Ministack {
    /// The server of this test process.
    ///
    /// # Errors
    /// It is not installed.
    pub(crate) fn shared() -> Result<&'static Self, Missing> {
        static SHARED: OnceLock<Result<Ministack, Missing>> = OnceLock::new();
        SHARED.get_or_init(Self::start).as_ref().map_err(Clone::clone)
    }

    /// A server of one's own, for tests that stop it or need it empty.
    ///
    /// # Errors
    /// It is not installed.
    pub(crate) fn start() -> Result<Self, Missing> {
        let executable = executable().ok_or("ministack is not installed")?;
        let executable = executable.to_str().ok_or("its path is not UTF-8")?;
        let port = free_port();
        // Without BIND_HOST it listens on every interface.
        let environment = [("GATEWAY_PORT", &*port.to_string()), ("BIND_HOST", "127.0.0.1")];
        let server = Server::start(&[executable], &environment).map_err(|e| e.to_string())?;
        let request = "GET /_ministack/ready HTTP/1.0\r\n\r\n";
        let server = server.ready("ministack", || answers(port, request, "HTTP/1.1 200"));
        Ok(Self { port, _server: server })
    }

    /// The endpoint of every service.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The process, to be stopped and continued.
    pub(crate) fn pid(&self) -> u32 {
        self._server.pid
    }
}
