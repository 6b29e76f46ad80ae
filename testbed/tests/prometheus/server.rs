//! A Prometheus server on a free port of loopback, which ends with the value that holds it.

use crate::compose;
use serde_json::Value;
use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use testbed::client::word;
use testbed::stack::free_port;
use testbed::{Client, leave_out};

/// How long anything may take until Prometheus knows it, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is scraped.
pub(crate) struct Target {
    /// The name of the scrape job.
    pub(crate) job: &'static str,
    /// `host:port`.
    pub(crate) address: String,
}

/// One series of an answer.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) labels: Value,
    pub(crate) value: f64,
}

/// Whether the server and its tool are there; says so otherwise.
pub(crate) fn installed() -> bool {
    let there =
        |program: &str| Command::new(program).arg("--version").output().is_ok_and(|o| o.status.success());
    let all = there("prometheus") && there("promtool");
    if !all {
        leave_out("metrics and alerts with a real Prometheus", "not installed; type: make deps");
    }
    all
}

/// See the module.
pub(crate) struct Prometheus {
    server: Child,
    client: Client,
    folder: TempDir,
}

impl Prometheus {
    /// Starts with the rules that are shipped, scrapes four times a second, and waits until it is ready.
    pub(crate) fn start(targets: &[Target]) -> Self {
        let folder = TempDir::with_prefix("agent-runner-prometheus-").expect("a folder");
        let config = folder.path().join("prometheus.yml");
        std::fs::write(&config, config_of(targets)).expect("a file");
        let port = free_port();
        let log = File::create(folder.path().join("prometheus.log")).expect("a log");
        let server = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("prometheus can be started");
        let client = Client::new(format!("http://127.0.0.1:{port}"));
        let started = Self { server, client, folder };
        started.wait("being ready", || {
            started.client.ask("GET", "/-/ready", &[], None).is_ok_and(|answer| answer.status == 200)
        });
        started
    }

    /// Waits until `so`.
    pub(crate) fn wait(&self, what: &str, mut so: impl FnMut() -> bool) {
        let until = Instant::now() + PATIENCE;
        while !so() {
            let log =
                || std::fs::read_to_string(self.folder.path().join("prometheus.log")).unwrap_or_default();
            assert!(Instant::now() < until, "waited for {what} of Prometheus\n{}", log());
            // Prometheus tells nobody when it has scraped: a client can only ask again.
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The data of an answer of its API.
    pub(crate) fn get(&self, path: &str) -> Value {
        self.client.get(path).expect(200).body["data"].take()
    }

    /// The answer to a query, or what is wrong with it.
    pub(crate) fn ask(&self, query: &str) -> Result<Vec<Series>, String> {
        let path = format!("/api/v1/query?query={}", encoded(query));
        let mut answer = self.client.get(&path);
        if answer.status != 200 {
            return Err(format!("{query}: {}", answer.text));
        }
        let Value::Array(found) = answer.body["data"]["result"].take() else {
            return Err(format!("{query} has no series: {}", answer.text));
        };
        let series = found.into_iter().map(|mut one| {
            let value = one["value"][1].as_str().and_then(|text| text.parse().ok());
            Series { labels: one["metric"].take(), value: value.expect("a number") }
        });
        Ok(series.collect())
    }

    /// The answer to a query.
    pub(crate) fn query(&self, query: &str) -> Vec<Series> {
        self.ask(query).unwrap_or_else(|why| panic!("{why}"))
    }

    /// Waits until a query has one series, with such a value.
    pub(crate) fn until(&self, query: &str, what: &str, wanted: impl Fn(f64) -> bool) {
        self.wait(what, || matches!(&self.query(query)[..], [one] if wanted(one.value)));
    }

    /// Waits until this many targets answer.
    pub(crate) fn until_all_targets_are_up(&self, count: usize) {
        self.wait("targets that are up", || {
            let up = self.query("up == 1");
            up.len() == count
        });
    }

    /// The alerts by name: state and health of their rules.
    pub(crate) fn alerts(&self) -> Vec<(String, String, String)> {
        let data = self.get("/api/v1/rules?type=alert");
        let groups = data["groups"].as_array().expect("groups");
        let rules = groups.iter().flat_map(|group| group["rules"].as_array().expect("rules"));
        let words = |rule: &Value| ["name", "state", "health"].map(|member| word(rule, member).to_owned());
        rules.map(|rule| words(rule).into()).collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn config_of(targets: &[Target]) -> String {
    let scrapes = targets.iter().map(|Target { job, address }| {
        format!("  - job_name: {job}\n    static_configs:\n      - targets: [\"{address}\"]\n")
    });
    format!(
        "global:\n  scrape_interval: 250ms\n  scrape_timeout: 250ms\n  evaluation_interval: 250ms\n\
         rule_files:\n  - {}\nscrape_configs:\n{}",
        compose().join("prometheus/alerts.yml").display(),
        scrapes.collect::<String>()
    )
}

/// Percent-encoding of everything that is not certain to mean itself.
fn encoded(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b'.' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}
