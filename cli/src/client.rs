//! The client of the API. It speaks to a listener over HTTP, or to the same router inside this process:
//! `run` without a server uses the second, so both take the same path through validation and rendering.

use axum::body::{Body, to_bytes};
use axum::http;
use serde::Deserialize;
use std::fmt::Write;
use std::time::Duration;
use tower::ServiceExt;

/// Longer than the API takes to answer or to give up on (10 s), so that its own error is heard.
const PATIENCE: Duration = Duration::from_secs(15);
/// A listener that does not accept within this is taken for absent.
const CONNECT: Duration = Duration::from_secs(5);
/// The most bytes of one answer. A result has no limit of its own; this keeps a mistake from filling memory.
const LARGEST_ANSWER: u64 = 256 * 1024 * 1024;

/// What `/health` calls itself.
const SERVICE: &str = "agent-runner";

/// A request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Call {
    /// `GET` if absent.
    pub(crate) body: Option<String>,
    /// Whether to `POST`.
    pub(crate) post: bool,
    /// With its query.
    pub(crate) path: String,
    /// Sent as `Idempotency-Key`.
    pub(crate) idempotency_key: Option<String>,
    /// How long the API is asked to wait before it answers.
    pub(crate) wait: Duration,
}

impl Call {
    /// A `GET`.
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self { path: path.into(), ..Self::default() }
    }

    /// A `POST`.
    pub(crate) fn post(path: impl Into<String>, body: Option<String>) -> Self {
        Self { path: path.into(), body, post: true, ..Self::default() }
    }

    fn method(&self) -> &'static str {
        if self.post { "POST" } else { "GET" }
    }

    fn head(&self, uri: String) -> http::request::Builder {
        let mut head = http::Request::builder().method(self.method()).uri(uri);
        if self.body.is_some() {
            head = head.header("content-type", "application/json");
        }
        if let Some(key) = &self.idempotency_key {
            head = head.header("idempotency-key", key);
        }
        head
    }
}

/// Why a request has no answer to work with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// Nothing answers.
    #[error(
        "no agent-runner answers at {place}: {message}\n\
         start one with `agent-runner up`, or name another with --url or AGENT_RUNNER_URL"
    )]
    Unreachable { place: String, message: String },
    /// The answer did not come; a write may have happened.
    #[error("the answer of {place} did not arrive: {message}")]
    Lost { place: String, message: String },
    /// The request cannot be written down.
    #[error("{0}")]
    Unsendable(String),
    /// Something else answers.
    #[error("what answers at {place} is no agent-runner: {what}\nname the right one with --url")]
    Foreign { place: String, what: String },
    /// The API says why not.
    #[error("{}", .0.text())]
    Refused(Box<Problem>),
}

impl ClientError {
    /// Whether the same call may well be answered a little later.
    pub(crate) fn passes(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Lost { .. } => true,
            Self::Refused(problem) => matches!(problem.status, 503 | 504),
            Self::Foreign { .. } | Self::Unsendable(_) => false,
        }
    }
}

/// RFC 9457, as the API writes it.
#[derive(Debug, Deserialize)]
pub(crate) struct Problem {
    #[serde(default)]
    r#type: String,
    #[serde(default)]
    title: String,
    pub(crate) status: u16,
    #[serde(default)]
    detail: String,
    #[serde(default)]
    errors: Vec<contract::FieldError>,
}

impl Problem {
    /// The stable token of the problem type.
    pub(crate) fn token(&self) -> &str {
        self.r#type.rsplit(':').next().unwrap_or_default()
    }

    /// What happened, why, and what to type next.
    fn text(&self) -> String {
        let mut text = if self.detail.is_empty() { self.title.clone() } else { self.detail.clone() };
        // A single error is in the detail already.
        if self.errors.len() > 1 {
            for error in &self.errors {
                // Writing to a string cannot fail.
                let _ = write!(text, "\n  {error}");
            }
        }
        let next = match self.token() {
            "job-not-found" => "`agent-runner get` lists the jobs",
            "busy" | "store-unavailable" | "artifacts-unavailable" => "try again in a moment",
            "store-uncertain" | "timeout" => "look with `agent-runner get` before you repeat it",
            _ => return text,
        };
        let _ = write!(text, "\n{next}");
        text
    }
}

/// Where the API is.
pub(crate) enum Client {
    /// Behind a listener.
    Http { url: String, agent: ureq::Agent },
    /// In this process, on this runtime.
    InProcess { runtime: tokio::runtime::Handle, router: axum::Router },
}

type Answered = Result<Vec<u8>, ClientError>;

impl Client {
    /// The client of the API at `url`.
    pub(crate) fn http(url: &str) -> Result<Self, ClientError> {
        let url = url.trim_end_matches('/');
        let host = url
            .strip_prefix("http://")
            .filter(|host| !host.is_empty())
            .ok_or_else(|| ClientError::Unsendable(format!("{url}: {URL_FORM}")))?;
        let local = ["127.", "localhost", "[::1]"].iter().any(|start| host.starts_with(start));
        let mut config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT))
            .user_agent(concat!("agent-runner/", env!("CARGO_PKG_VERSION")));
        if local {
            // A proxy would look for the listener on its own machine.
            config = config.proxy(None);
        }
        Ok(Self::Http { url: url.to_owned(), agent: config.build().new_agent() })
    }

    /// For people: where this client calls.
    pub(crate) fn place(&self) -> &str {
        match self {
            Self::Http { url, .. } => url,
            Self::InProcess { .. } => "this process",
        }
    }

    /// Whether an agent-runner answers. Anything else that listens there is not called again.
    pub(crate) fn is_there(&self) -> bool {
        #[derive(Deserialize)]
        struct Health {
            service: String,
        }
        match self.json::<Health>(Call::get("/health")) {
            Ok(health) => health.service == SERVICE,
            // It is one, and says why it cannot serve now.
            Err(ClientError::Refused(_)) => true,
            Err(_) => false,
        }
    }

    /// The body of a successful answer.
    pub(crate) fn call(&self, call: Call) -> Answered {
        let (status, body) = match self {
            Self::Http { url, agent } => self.over_http(url, agent, call)?,
            Self::InProcess { runtime, router } => runtime.block_on(in_process(router.clone(), call))?,
        };
        if (200..300).contains(&status) {
            return Ok(body);
        }
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => Err(ClientError::Refused(Box::new(problem))),
            Err(_) => Err(self.foreign(format!("HTTP {status} without a problem description"))),
        }
    }

    /// The decoded body of a successful answer.
    pub(crate) fn json<T: serde::de::DeserializeOwned>(&self, call: Call) -> Result<T, ClientError> {
        let body = self.call(call)?;
        serde_json::from_slice(&body).map_err(|e| self.foreign(format!("an answer is not as expected ({e})")))
    }

    fn foreign(&self, what: String) -> ClientError {
        ClientError::Foreign { place: self.place().to_owned(), what }
    }

    fn over_http(&self, url: &str, agent: &ureq::Agent, call: Call) -> Result<(u16, Vec<u8>), ClientError> {
        let patience = Some(PATIENCE + call.wait);
        let head = call.head(format!("{url}{}", call.path));
        let unsendable = |e: http::Error| ClientError::Unsendable(e.to_string());
        let answer = match call.body {
            Some(body) => {
                let request = head.body(body).map_err(unsendable)?;
                agent.run(agent.configure_request(request).timeout_global(patience).build())
            }
            None => {
                let request = head.body(()).map_err(unsendable)?;
                agent.run(agent.configure_request(request).timeout_global(patience).build())
            }
        };
        let mut answer = answer.map_err(|e| self.failure(&e))?;
        let body = answer.body_mut().with_config().limit(LARGEST_ANSWER).read_to_vec();
        Ok((answer.status().as_u16(), body.map_err(|e| self.failure(&e))?))
    }

    fn failure(&self, e: &ureq::Error) -> ClientError {
        let (place, message) = (self.place().to_owned(), e.to_string());
        match e {
            ureq::Error::Io(io) if io.kind() == std::io::ErrorKind::ConnectionRefused => {
                ClientError::Unreachable { place, message: "connection refused".to_owned() }
            }
            ureq::Error::HostNotFound
            | ureq::Error::ConnectionFailed
            | ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => {
                ClientError::Unreachable { place, message }
            }
            ureq::Error::Protocol(_) => ClientError::Foreign { place, what: message },
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => ClientError::Unsendable(message),
            _ => ClientError::Lost { place, message },
        }
    }
}

const URL_FORM: &str =
    "http://<host>:<port> is needed; TLS is left to a proxy or a tunnel in front of the API";

async fn in_process(router: axum::Router, call: Call) -> Result<(u16, Vec<u8>), ClientError> {
    let lost = |message: String| ClientError::Lost { place: "this process".to_owned(), message };
    let request = call
        .head(call.path.clone())
        .body(Body::from(call.body.unwrap_or_default()))
        .map_err(|e| ClientError::Unsendable(e.to_string()))?;
    let Ok(answer) = router.oneshot(request).await;
    let status = answer.status().as_u16();
    let limit = usize::try_from(LARGEST_ANSWER).unwrap_or(usize::MAX);
    let body = to_bytes(answer.into_body(), limit).await.map_err(|e| lost(e.to_string()))?;
    Ok((status, body.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write as _};
    use std::net::TcpListener;

    /// The URL of a listener that gives this one answer.
    fn answering(answer: String) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        });
        url
    }

    fn with_body(status: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
    }

    fn error_of(answer: String) -> ClientError {
        Client::http(&answering(answer)).unwrap().call(Call::get("/jobs/x")).unwrap_err()
    }

    #[test]
    fn a_problem_says_what_happened_why_and_what_to_type_next() {
        let body = r#"{"type":"urn:agent-runner:problem:job-not-found","status":404,"detail":"there is no job \"x\""}"#;
        let e = error_of(with_body("404 Not Found", body));
        assert_eq!(e.to_string(), "there is no job \"x\"\n`agent-runner get` lists the jobs");
        let body = r#"{"status":422,"detail":"2 fields are not acceptable","errors":[
            {"pointer":"/a","value":"1","message":"no"},{"pointer":"/b","value":"","message":"is missing"}]}"#;
        let e = error_of(with_body("422 Unprocessable Content", body));
        assert_eq!(
            e.to_string(),
            "2 fields are not acceptable\n  /a: 1 is not allowed: no\n  /b: is missing"
        );
        assert!(!e.passes());
    }

    #[test]
    fn another_server_on_the_port_is_told_from_none() {
        assert!(matches!(error_of(with_body("404 Not Found", "<html>")), ClientError::Foreign { .. }));
        assert!(matches!(error_of("SSH-2.0-OpenSSH\r\n".to_owned()), ClientError::Foreign { .. }));
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let client = Client::http(&format!("http://{free}/")).unwrap();
        let e = client.call(Call::get("/health")).unwrap_err();
        assert!(matches!(e, ClientError::Unreachable { .. }), "{e}");
        assert!(e.to_string().contains("agent-runner up"), "{e}");
    }

    #[test]
    fn an_answer_that_breaks_off_may_be_asked_for_again() {
        let e = error_of("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{".to_owned());
        assert!(e.passes(), "{e}");
    }

    #[test]
    fn a_url_of_another_kind_is_refused_before_it_is_called() {
        for url in ["https://a", "a:8000", "http://", "ftp://a"] {
            assert!(matches!(Client::http(url), Err(ClientError::Unsendable(_))), "{url}");
        }
    }
}
