//! An emulator of DynamoDB with the table of jobs, for the blocks that edit it. That the reconciler follows such edits
//! is tested where DynamoDB is built in.

use crate::page::Block;
use crate::shell;
use serde_json::{Map, Value, json};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use testbed::stack::free_port;
use testbed::{Client, leave_out};

/// The job in the table.
pub(crate) const JOB: &str = "019ab3f0-0000-7000-8000-000000000000";
const GHOST: &str = "019ab3f0-0000-7000-8000-00000000000";
/// Python starts in half a second, on a busy machine in ten.
const READY: Duration = Duration::from_secs(60);

const SCHEMA: &str = "aws dynamodb create-table --table-name agent-runner-jobs --billing-mode PAY_PER_REQUEST \
    --attribute-definitions AttributeName=job_id,AttributeType=S --key-schema AttributeName=job_id,KeyType=HASH";

/// See the module. The emulator ends with this value.
pub(crate) struct Table {
    server: Child,
    folder: TempDir,
    client: Client,
    aws: PathBuf,
}

/// A program of `make deps`, or in the path, or named by `TESTBED_<PROGRAM>`.
fn installed(program: &str) -> Option<PathBuf> {
    let named = std::env::var_os(format!("TESTBED_{}", program.to_uppercase())).map(PathBuf::from);
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/venv/bin").join(program);
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let in_path: Vec<PathBuf> = std::env::split_paths(&folders).map(|folder| folder.join(program)).collect();
    named.into_iter().chain([venv]).chain(in_path).find(|path| path.is_file())
}

impl Table {
    /// Starts on a free port of loopback and stores a job and a ghost; says so where something is missing.
    pub(crate) fn start() -> Option<Self> {
        let (Some(ministack), Some(aws)) = (installed("ministack"), installed("aws")) else {
            leave_out(
                "what runbooks say about DynamoDB",
                "ministack or aws is not installed; type: make deps",
            );
            return None;
        };
        let folder = TempDir::with_prefix("agent-runner-dynamodb-").expect("a folder");
        let port = free_port().to_string();
        let log = File::create(folder.path().join("log")).expect("a log");
        let server = Command::new(ministack)
            // Without BIND_HOST it listens on every interface.
            .envs([("GATEWAY_PORT", &*port), ("BIND_HOST", "127.0.0.1")])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("ministack can be started");
        let client = Client::new(format!("http://127.0.0.1:{port}"));
        let table = Self { server, folder, client, aws };
        let until = Instant::now() + READY;
        while !table
            .client
            .ask("GET", "/_ministack/ready", &[], None)
            .is_ok_and(|answer| answer.status == 200)
        {
            assert!(Instant::now() < until, "ministack does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        table.fill();
        Some(table)
    }

    fn fill(&self) {
        let desired =
            json!({"M": {"job_type": {"S": "echo"}, "max_attempts": {"N": "0"}, "retry": {"N": "0"}}});
        let job = json!({"job_id": {"S": JOB}, "created": {"M": {}}, "desired": desired});
        let ghost = json!({"job_id": {"S": GHOST}, "desired": {"M": {"retry": {"N": "1"}}}});
        self.typed(SCHEMA);
        for item in [job, ghost] {
            self.typed(&format!("aws dynamodb put-item --table-name agent-runner-jobs --item '{item}'"));
        }
    }

    /// A shell that reaches the emulator.
    pub(crate) fn shell(&self, job_id: &str) -> Command {
        let mut shell = shell::shell(self.folder.path());
        let path = shell.get_envs().find(|(name, _)| *name == "PATH").and_then(|(_, value)| value);
        let others = path.map(std::ffi::OsStr::to_owned).unwrap_or_default();
        let beside = self.aws.parent().map(PathBuf::from);
        let paths = beside.into_iter().chain(std::env::split_paths(&others));
        shell.env("PATH", std::env::join_paths(paths).expect("a path"));
        shell.env("AWS_ENDPOINT_URL", self.client.base()).env("AWS_DEFAULT_REGION", "us-east-1");
        shell.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test").env_remove("AWS_PROFILE");
        shell.env("JOB_ID", job_id).env("GHOST", GHOST);
        shell
    }

    /// Where its blocks are typed.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What a command that has to work says.
    pub(crate) fn typed(&self, text: &str) -> Value {
        let output = shell::ended(text, self.shell(JOB));
        assert!(output.status.success(), "{text}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    /// Types a block in that is about [`JOB`].
    pub(crate) fn type_in(&self, page: &str, block: &Block) {
        shell::type_in(page, block, self.shell(JOB));
    }

    /// The block does nothing for an id that is not there.
    pub(crate) fn is_refused(&self, block: &Block, job_id: &str) {
        let output = shell::ended(&block.text, self.shell(job_id));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("ConditionalCheckFailed"), "{}{said}", block.text);
    }

    /// `desired` of the job, without the types of its members.
    pub(crate) fn desired(&self) -> String {
        let key = json!({"job_id": {"S": JOB}});
        let mut answer =
            self.typed(&format!("aws dynamodb get-item --table-name agent-runner-jobs --key '{key}'"));
        let Value::Object(members) = answer["Item"]["desired"]["M"].take() else { panic!("{answer}") };
        let plain = members.into_iter().map(|(name, mut value)| {
            let kind = if value["S"].is_string() { "S" } else { "N" };
            (name, value[kind].take())
        });
        Value::Object(plain.collect::<Map<_, _>>()).to_string()
    }

    /// The ids in the table.
    pub(crate) fn ids(&self) -> Vec<String> {
        let answer = self.typed("aws dynamodb scan --table-name agent-runner-jobs");
        let items = answer["Items"].as_array().expect("items").iter();
        items.map(|item| item["job_id"]["S"].as_str().expect("an id").to_owned()).collect()
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
