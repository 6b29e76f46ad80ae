//! DynamoDB Local, AWS's own implementation of DynamoDB for tests: the oracle for what conditions mean.
//!
//! It has no option to bind to loopback only, so it runs in a network namespace of its own, and the threads
//! that talk to it enter that namespace, which needs root. Its licence forbids redistribution: `make deps`
//! fetches it (`fetch-dynamodb-local` beside this file).

use super::{Missing, Server, answers};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// One DynamoDB Local for all tests of a binary; they keep apart by table names.
pub(crate) struct DynamodbLocal {
    namespace: File,
    _server: Server,
}

/// It is alone in its namespace.
const PORT: u16 = 8000;

/// Where it is: a folder named by `TESTBED_DYNAMODB_LOCAL`, or where `make deps` puts it.
fn folder() -> Option<PathBuf> {
    let named = std::env::var_os("TESTBED_DYNAMODB_LOCAL").map(PathBuf::from);
    let installed = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/dynamodb-local"));
    named.into_iter().chain([installed]).find(|folder| folder.join("DynamoDBLocal.jar").is_file())
}

impl DynamodbLocal {
    /// The server of this test process. The calling thread, and those that it starts from now on, are inside
    /// the server's namespace afterwards and reach nothing else.
    ///
    /// # Errors
    /// It is not installed, or this is not root.
    pub(crate) fn enter() -> Result<&'static Self, Missing> {
        static SHARED: OnceLock<Result<DynamodbLocal, Missing>> = OnceLock::new();
        // On a thread of its own: the thread that looks whether the server answers has to enter, too.
        let start = || std::thread::spawn(Self::start).join().expect("a server");
        let server = SHARED.get_or_init(start).as_ref().map_err(Clone::clone)?;
        server.join().map_err(|e| e.to_string())?;
        Ok(server)
    }

    fn join(&self) -> std::io::Result<()> {
        Ok(move_into_link_name_space(self.namespace.as_fd(), Some(LinkNameSpaceType::Network))?)
    }

    fn start() -> Result<Self, Missing> {
        let folder = folder().ok_or("DynamoDB Local is not installed")?;
        if !rustix::process::geteuid().is_root() {
            return Err("its network namespace needs root".to_owned());
        }
        for tool in ["java", "ip", "unshare"] {
            let known = Command::new("sh").args(["-c", &format!("command -v {tool}")]).output();
            if !known.is_ok_and(|found| found.status.success()) {
                return Err(format!("{tool} is not installed"));
            }
        }
        let server = Self::spawn(&folder).map_err(|e| e.to_string())?;
        // `unshare` takes a moment: until then this is our own namespace.
        let own = std::fs::read_link("/proc/thread-self/ns/net").map_err(|e| e.to_string())?;
        let path = format!("/proc/{}/ns/net", server.pid);
        let server = server.ready("unshare", || std::fs::read_link(&path).is_ok_and(|theirs| theirs != own));
        let namespace = File::open(&path).map_err(|e| e.to_string())?;
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(|e| format!("its network namespace cannot be entered: {e}"))?;
        let request = "GET /shell/ HTTP/1.0\r\n\r\n";
        let server = server.ready("DynamoDB Local", || answers(PORT, request, "HTTP/1."));
        Ok(Self { namespace, _server: server })
    }

    fn spawn(folder: &Path) -> std::io::Result<Server> {
        let folder = folder.display();
        let run = format!(
            "ip link set lo up && cd '{folder}' && exec java -Xmx256m -Djava.library.path=./DynamoDBLocal_lib \
             -jar DynamoDBLocal.jar -inMemory -sharedDb -disableTelemetry -port {PORT}"
        );
        Server::start(&["unshare", "--net", "sh", "-c", &run], &[])
    }

    /// The endpoint, within the namespace.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{PORT}")
    }
}
