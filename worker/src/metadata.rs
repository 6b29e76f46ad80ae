//! What a worker on Fargate asks its platform: which task it is, and when its image was pulled.
//!
//! The task metadata endpoint, version 4, is plain HTTP on a link-local address (Amazon ECS developer guide, "Task
//! metadata endpoint version 4"). One question at the start needs no HTTP client.

use contract::attempt::phase;
use contract::{TaskId, Timestamp};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// The variable that Fargate sets.
pub(crate) const ENDPOINT: &str = "ECS_CONTAINER_METADATA_URI_V4";
/// One question. The endpoint is on the same host.
const ANSWER: Duration = Duration::from_secs(2);
/// All of them; a worker that never learns who it is makes room for the next attempt.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(250);
/// A task with ten containers is described in some 20 KB.
const LONGEST: u64 = 1 << 20;

/// What the platform says of this task.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Platform {
    /// Its ARN.
    pub(crate) task: TaskId,
    /// Launch phases.
    pub(crate) phases: BTreeMap<String, Timestamp>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Task {
    #[serde(rename = "TaskARN")]
    task_arn: TaskId,
    pull_started_at: Option<String>,
    pull_stopped_at: Option<String>,
}

/// Asks the endpoint at `base`, again and again for a while.
///
/// # Errors
/// The last failure, in words.
pub(crate) fn ask(base: &str) -> Result<Platform, String> {
    ask_for(base, PATIENCE)
}

fn ask_for(base: &str, patience: Duration) -> Result<Platform, String> {
    let until = Instant::now() + patience;
    loop {
        let why = match get(base).map_err(|e| e.to_string()).and_then(|body| read(&body)) {
            Ok(platform) => return Ok(platform),
            Err(why) => why,
        };
        if Instant::now() >= until {
            return Err(format!("{ENDPOINT}={base} does not say which task this is: {why}"));
        }
        std::thread::sleep(PAUSE);
    }
}

fn get(base: &str) -> io::Result<Vec<u8>> {
    let rest = base.strip_prefix("http://").ok_or_else(|| io::Error::other("http:// is expected"))?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let address = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    let address = address.to_socket_addrs()?.next().ok_or_else(|| io::Error::other("no address"))?;
    let mut stream = TcpStream::connect_timeout(&address, ANSWER)?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.set_write_timeout(Some(ANSWER))?;
    // HTTP/1.0: the answer ends with the connection and is not chunked.
    let path = path.trim_end_matches('/');
    stream.write_all(format!("GET /{path}/task HTTP/1.0\r\nHost: {host}\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.take(LONGEST).read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.ok_or_else(|| io::Error::other("the answer was cut off"))?;
    let head = String::from_utf8_lossy(&answer[..end]);
    let first = head.lines().next().unwrap_or_default();
    if first.split(' ').nth(1) != Some("200") {
        return Err(io::Error::other(first.to_owned()));
    }
    Ok(answer.split_off(end + 4))
}

fn read(body: &[u8]) -> Result<Platform, String> {
    let task: Task = serde_json::from_slice(body).map_err(|e| e.to_string())?;
    let times = [(phase::PULL_STARTED, task.pull_started_at), (phase::PULL_STOPPED, task.pull_stopped_at)];
    // A time that cannot be read is worth as much as none.
    let phases = times.into_iter().filter_map(|(name, at)| Some((name.to_owned(), at?.parse().ok()?)));
    Ok(Platform { task: task.task_arn, phases: phases.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    const ARN: &str = "arn:aws:ecs:us-west-2:111122223333:task/default/158d1c8083dd49d6b527399fd6414f5c";

    /// Answers one connection after the other; `base` and the requests that came.
    fn endpoint(answers: Vec<String>) -> (String, std::thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}/v4/158d1c80", listener.local_addr().unwrap());
        let serving = std::thread::spawn(move || {
            let mut requests = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; 1024];
                let n = stream.read(&mut request).unwrap();
                requests.push(String::from_utf8_lossy(&request[..n]).lines().next().unwrap().to_owned());
                stream.write_all(answer.as_bytes()).unwrap();
            }
            requests
        });
        (base, serving)
    }

    fn ok(body: &str) -> String {
        format!("HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{body}")
    }

    #[test]
    fn a_task_learns_its_arn_and_when_its_image_was_pulled_also_after_failures() {
        let body = format!(
            "{{\"Cluster\":\"default\",\"TaskARN\":\"{ARN}\",\"PullStartedAt\":\"2026-11-22T10:05:12.975123456Z\",\
             \"PullStoppedAt\":\"soon\"}}"
        );
        let busy = "HTTP/1.0 503 Service Unavailable\r\n\r\n".to_owned();
        let (base, serving) = endpoint(vec![busy, ok("{\"TaskAR"), String::new(), ok(&body)]);
        let found = ask(&base).unwrap();
        assert_eq!(found.task.as_str(), ARN);
        assert_eq!(found.phases.len(), 1);
        assert_eq!(found.phases[phase::PULL_STARTED].to_string(), "2026-11-22T10:05:12.975Z");
        assert!(serving.join().unwrap().iter().all(|line| line == "GET /v4/158d1c80/task HTTP/1.0"));
    }

    #[test]
    fn an_endpoint_that_never_says_it_is_given_up_with_the_reason() {
        let (base, serving) = endpoint(vec!["HTTP/1.0 404 Not Found\r\n\r\n".to_owned()]);
        let why = ask_for(&base, Duration::ZERO).unwrap_err();
        assert!(why.ends_with("does not say which task this is: HTTP/1.0 404 Not Found"), "{why}");
        serving.join().unwrap();
        assert!(ask_for("https://169.254.170.2/v4/x", Duration::ZERO).unwrap_err().contains("http://"));
    }
}
