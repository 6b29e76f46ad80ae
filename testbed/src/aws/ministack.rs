//! MiniStack: DynamoDB with its streams, SQS and S3 in one process, for one test.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::stack::free_port;

/// Why a server cannot be had.
pub type Missing = String;

/// Python starts in half a second, on a busy machine in ten.
const READY: Duration = Duration::from_secs(60);
/// One call.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for the end of its input, which is the end of the test process at the latest.
const WATCH: &str = r#""$@" >/dev/null 2>&1 </dev/null & echo $!; read -r end; kill -9 $!; wait $!"#;

/// A program of `make deps`, or in the `PATH`: `ministack`, `aws`.
#[must_use]
pub fn installed(program: &str) -> Option<PathBuf> {
    let named = std::env::var_os(format!("TESTBED_{}", program.to_uppercase())).map(PathBuf::from);
    let venv = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/venv/bin")).join(program);
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&folders).map(|folder| folder.join(program)).collect::<Vec<_>>();
    named.into_iter().chain([venv]).chain(in_path).find(|path| path.is_file())
}

/// A running server; it ends when dropped, or when this process is gone, however it went.
#[derive(Debug)]
pub struct Ministack {
    shell: Child,
    port: u16,
    agent: ureq::Agent,
}

impl Ministack {
    /// Starts one.
    ///
    /// # Errors
    /// It is not installed.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn start() -> Result<Self, Missing> {
        let executable = installed("ministack").ok_or("ministack is not installed; type: make deps")?;
        let port = free_port();
        let mut shell = Command::new("sh")
            .args(["-c", WATCH, "sh"])
            .arg(executable)
            // Without BIND_HOST it listens on every interface.
            .envs([("GATEWAY_PORT", &*port.to_string()), ("BIND_HOST", "127.0.0.1")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| e.to_string())?;
        let mut line = String::new();
        let said = shell.stdout.take().map(|out| BufReader::new(out).read_line(&mut line));
        assert!(said.is_some_and(|read| read.is_ok()), "the shell names the server");
        let config = ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).http_status_as_error(false);
        let server = Self { shell, port, agent: config.proxy(None).build().into() };
        let until = Instant::now() + READY;
        let url = format!("{}/_ministack/ready", server.endpoint());
        while !server.agent.get(&url).call().is_ok_and(|answer| answer.status() == 200) {
            assert!(Instant::now() < until, "ministack does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// The endpoint of every service.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A call in JSON, as somebody beside the system makes it: `service` is the name in a signature.
    ///
    /// # Panics
    /// When it is refused.
    #[must_use]
    pub fn call(&self, service: &str, target: &str, body: &Value) -> Value {
        // The shape of a signature, from which the server reads service, account and Region.
        let unsigned = format!(
            "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, \
             Signature=0"
        );
        let request = self.agent.post(self.endpoint()).header("x-amz-target", target);
        let request = request.header("content-type", "application/x-amz-json-1.0");
        let answer = request.header("authorization", unsigned).send(body.to_string().as_bytes());
        let mut answer = answer.unwrap_or_else(|e| panic!("{target}: {e}"));
        let text = answer.body_mut().read_to_string().unwrap_or_else(|e| panic!("{target}: {e}"));
        assert_eq!(answer.status(), 200, "{target}: {text}");
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{target}: {e}: {text}"))
    }

    /// Makes a queue and names its URL.
    ///
    /// # Panics
    /// When it cannot.
    #[must_use]
    pub fn queue(&self, name: &str, visibility_seconds: u32) -> String {
        let attributes = json!({"VisibilityTimeout": visibility_seconds.to_string()});
        let body = json!({"QueueName": name, "Attributes": attributes});
        self.call("sqs", "AmazonSQS.CreateQueue", &body)["QueueUrl"].as_str().expect("a URL").to_owned()
    }

    /// Makes a bucket.
    ///
    /// # Panics
    /// When it cannot.
    pub fn bucket(&self, name: &str) {
        let answer = self.agent.put(format!("{}/{name}", self.endpoint())).send_empty();
        assert!(answer.is_ok_and(|answer| answer.status() == 200), "no bucket");
    }

    /// The object's content, `None` where there is none.
    ///
    /// # Panics
    /// When no answer comes.
    #[must_use]
    pub fn object(&self, bucket: &str, key: &str) -> Option<Vec<u8>> {
        let mut answer =
            self.agent.get(format!("{}/{bucket}/{key}", self.endpoint())).call().expect("an answer");
        (answer.status() == 200).then(|| answer.body_mut().read_to_vec().expect("a whole answer"))
    }

    /// Every item of a table, as plain JSON.
    ///
    /// # Panics
    /// When the table cannot be read.
    #[must_use]
    pub fn items(&self, table: &str) -> Vec<Value> {
        let (mut items, mut body) = (Vec::new(), json!({"TableName": table, "ConsistentRead": true}));
        loop {
            let page = self.call("dynamodb", "DynamoDB_20120810.Scan", &body);
            items.extend(
                page["Items"].as_array().into_iter().flatten().map(|item| plain(&json!({"M": item}))),
            );
            match page.get("LastEvaluatedKey") {
                Some(key) => body["ExclusiveStartKey"] = key.clone(),
                None => return items,
            }
        }
    }
}

impl Drop for Ministack {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

/// An attribute as the JSON that it stands for.
fn plain(attribute: &Value) -> Value {
    let Some((kind, value)) = attribute.as_object().and_then(|a| a.iter().next()) else { return Value::Null };
    match (kind.as_str(), value) {
        ("M", Value::Object(map)) => map.iter().map(|(name, value)| (name.clone(), plain(value))).collect(),
        ("L", Value::Array(list)) => list.iter().map(plain).collect(),
        ("N", Value::String(number)) => number.parse().unwrap_or(Value::Null),
        ("NULL", _) => Value::Null,
        _ => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_reads_as_the_json_that_it_stands_for() {
        let item =
            json!({"M": {"n": {"N": "7"}, "l": {"L": [{"S": "a"}, {"BOOL": true}]}, "z": {"NULL": true}}});
        assert_eq!(plain(&item), json!({"n": 7, "l": ["a", true], "z": null}));
    }
}
