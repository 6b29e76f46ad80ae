//! The client of the API. It speaks to a listener over HTTP, or to the same router inside this process:
//! `run` without a server uses the second, so both take the same path through validation and rendering.

mod problem;
mod stream;

pub(crate) use problem::Problem;
pub(crate) use stream::{Next, Stream};

use axum::body::{Body, to_bytes};
use axum::http;
use contract::Timestamp;
use serde::Deserialize;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};
use tower::ServiceExt;

/// Longer than the API takes to answer or to give up on (10 s), so that its own error is heard.
const PATIENCE: Duration = Duration::from_secs(15);
/// A listener that does not accept within this is taken for absent.
const CONNECT: Duration = Duration::from_secs(5);
/// The most bytes of one answer. A result has no limit of its own; this keeps a mistake from filling memory.
const LARGEST_ANSWER: u64 = 256 * 1024 * 1024;

/// What `/health` calls itself.
pub(crate) const SERVICE: &str = "agent-runner";

/// Percent-encoding of everything but RFC 3986's unreserved characters.
pub(crate) fn encoded(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(b).to_string(),
            _ => format!("%{b:02X}"),
        })
        .collect()
}

/// What a request does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Method {
    #[default]
    Get,
    Post,
    /// With a merge patch (RFC 7396).
    Patch,
}

/// A request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) body: Option<String>,
    /// With its query.
    pub(crate) path: String,
    /// Sent as `Idempotency-Key`.
    pub(crate) idempotency_key: Option<String>,
    /// Sent as `If-Match`, quotes included.
    pub(crate) if_match: Option<String>,
    /// How long the API is asked to wait before it answers.
    pub(crate) wait: Duration,
    /// Instead of the usual patience.
    pub(crate) patience: Option<Duration>,
}

impl Call {
    /// A `GET`.
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self { path: path.into(), ..Self::default() }
    }

    /// A `POST`.
    pub(crate) fn post(path: impl Into<String>, body: Option<String>) -> Self {
        Self { path: path.into(), body, method: Method::Post, ..Self::default() }
    }

    /// A `PATCH` of `desired`, of this version of it if one is given.
    pub(crate) fn patch(path: impl Into<String>, body: String, if_match: Option<String>) -> Self {
        Self { path: path.into(), body: Some(body), method: Method::Patch, if_match, ..Self::default() }
    }

    fn head(&self, uri: String) -> http::request::Builder {
        let (method, kind) = match self.method {
            Method::Get => ("GET", "application/json"),
            Method::Post => ("POST", "application/json"),
            Method::Patch => ("PATCH", "application/merge-patch+json"),
        };
        let mut head = http::Request::builder().method(method).uri(uri);
        if self.body.is_some() {
            head = head.header("content-type", kind);
        }
        for (name, value) in [("idempotency-key", &self.idempotency_key), ("if-match", &self.if_match)] {
            if let Some(value) = value {
                head = head.header(name, value);
            }
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
    /// It answers, and is not ready.
    #[error("{place} is not ready: {message}")]
    Unready { place: String, message: String },
    /// The API says why not.
    #[error("{}", .0.text())]
    Refused(Box<Problem>),
}

impl ClientError {
    /// Whether the same call may well be answered a little later.
    pub(crate) fn passes(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Lost { .. } | Self::Unready { .. } => true,
            Self::Refused(problem) => matches!(problem.status, 503 | 504),
            Self::Foreign { .. } | Self::Unsendable(_) => false,
        }
    }

    /// What the API said, if it was the API.
    pub(crate) fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Refused(problem) => Some(problem),
            _ => None,
        }
    }
}

/// A bearer token; never shown.
#[derive(Clone)]
pub(crate) struct Token(String);

impl Token {
    /// The token in `text`, which may end with a newline.
    pub(crate) fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic())).then(|| Self(text.to_owned()))
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

/// A successful answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) body: Vec<u8>,
    /// The version of `desired`, quotes included.
    pub(crate) etag: Option<String>,
    /// The server's clock, in whole seconds.
    pub(crate) date: Option<Timestamp>,
}

/// Where the API is.
pub(crate) enum Client {
    /// Behind a listener.
    Http {
        url: String,
        agent: ureq::Agent,
        token: Option<Token>,
        /// The last `Date` of an answer in milliseconds; 0 before the first.
        date: AtomicI64,
    },
    /// In this process, on this runtime.
    InProcess { runtime: tokio::runtime::Handle, router: axum::Router },
}

impl Client {
    /// The client of the API at `url`.
    pub(crate) fn http(url: &str) -> Result<Self, ClientError> {
        let url = url.trim_end_matches('/');
        let host = url
            .strip_prefix("http://")
            .filter(|host| !host.is_empty())
            .ok_or_else(|| ClientError::Unsendable(format!("{url}: {URL_FORM}")))?;
        let mut config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT))
            // The API redirects nowhere, and a token must not follow somebody who does.
            .max_redirects(0)
            .user_agent(concat!("agent-runner/", env!("CARGO_PKG_VERSION")));
        if is_local(host) {
            // A proxy would look for the listener on its own machine.
            config = config.proxy(None);
        }
        let agent = config.build().new_agent();
        Ok(Self::Http { url: url.to_owned(), agent, token: None, date: AtomicI64::new(0) })
    }

    /// The same with a token, which goes with every request.
    pub(crate) fn with_token(self, with: Option<Token>) -> Self {
        match self {
            Self::Http { url, agent, date, .. } => Self::Http { url, agent, token: with, date },
            in_process @ Self::InProcess { .. } => in_process,
        }
    }

    /// For people: where this client calls.
    pub(crate) fn place(&self) -> &str {
        match self {
            Self::Http { url, .. } => url,
            Self::InProcess { .. } => "this process",
        }
    }

    /// The server's clock as of its last answer, so that ages are right where this machine's clock is not.
    pub(crate) fn now(&self) -> Timestamp {
        match self {
            Self::Http { date, .. } => Some(date.load(Ordering::Relaxed)).filter(|ms| *ms > 0),
            Self::InProcess { .. } => None,
        }
        .map_or_else(|| SystemTime::now().into(), Timestamp::from_millis)
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

    /// A successful answer.
    pub(crate) fn answer(&self, call: Call) -> Result<Answer, ClientError> {
        let (status, answer) = self.exchange(call)?;
        if (200..300).contains(&status) { Ok(answer) } else { Err(self.refusal(status, &answer.body)) }
    }

    /// Whether a probe (`/readyz`) answers well; what it says otherwise is plain text.
    pub(crate) fn probe(&self, call: Call) -> Result<(), ClientError> {
        let (status, answer) = self.exchange(call)?;
        if (200..300).contains(&status) {
            return Ok(());
        }
        let said: String = String::from_utf8_lossy(&answer.body).chars().take(500).collect();
        let (place, message) = (self.place().to_owned(), crate::output::one_line(said.trim()));
        Err(ClientError::Unready { place, message: format!("HTTP {status}: {message}") })
    }

    /// The body of an answer of any status: `/health` says what is wrong with a 503.
    pub(crate) fn body_of_any(&self, call: Call) -> Result<Vec<u8>, ClientError> {
        Ok(self.exchange(call)?.1.body)
    }

    fn exchange(&self, call: Call) -> Result<(u16, Answer), ClientError> {
        let (status, answer) = match self {
            Self::Http { url, agent, .. } => self.over_http(url, agent, call)?,
            Self::InProcess { runtime, router } => runtime.block_on(in_process(router.clone(), call))?,
        };
        if let (Self::Http { date, .. }, Some(at)) = (self, answer.date) {
            date.store(at.millis(), Ordering::Relaxed);
        }
        Ok((status, answer))
    }

    /// The body of a successful answer.
    pub(crate) fn call(&self, call: Call) -> Result<Vec<u8>, ClientError> {
        Ok(self.answer(call)?.body)
    }

    /// The decoded body of a successful answer.
    pub(crate) fn json<T: serde::de::DeserializeOwned>(&self, call: Call) -> Result<T, ClientError> {
        self.decoded(&self.call(call)?)
    }

    /// A body that should be JSON of this form.
    pub(crate) fn decoded<T: serde::de::DeserializeOwned>(&self, body: &[u8]) -> Result<T, ClientError> {
        serde_json::from_slice(body).map_err(|e| self.foreign(format!("an answer is not as expected ({e})")))
    }

    fn refusal(&self, status: u16, body: &[u8]) -> ClientError {
        match serde_json::from_slice::<Problem>(body) {
            Ok(problem) => ClientError::Refused(Box::new(problem)),
            Err(_) => self.foreign(format!("HTTP {status} without a problem description")),
        }
    }

    fn foreign(&self, what: String) -> ClientError {
        ClientError::Foreign { place: self.place().to_owned(), what }
    }

    fn head(&self, call: &Call, uri: String) -> http::request::Builder {
        let head = call.head(uri);
        match self {
            Self::Http { token: Some(Token(token)), .. } => {
                head.header("authorization", format!("Bearer {token}"))
            }
            _ => head,
        }
    }

    fn over_http(&self, url: &str, agent: &ureq::Agent, call: Call) -> Result<(u16, Answer), ClientError> {
        let patience = Some(call.patience.unwrap_or(PATIENCE) + call.wait);
        let head = self.head(&call, format!("{url}{}", call.path));
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
        let body = body.map_err(|e| self.failure(&e))?;
        Ok((answer.status().as_u16(), Answer { body, ..facts(answer.headers()) }))
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

/// Whether a host, with or without a port, is this machine.
pub(crate) fn is_local(host: &str) -> bool {
    ["127.", "localhost", "[::1]"].iter().any(|start| host.starts_with(start))
}

/// What the header of an answer says.
fn facts(headers: &http::HeaderMap) -> Answer {
    let text = |name| headers.get(name).and_then(|v: &http::HeaderValue| v.to_str().ok());
    let date = text("date").and_then(|t| httpdate::parse_http_date(t).ok()).map(Timestamp::from);
    Answer { body: Vec::new(), etag: text("etag").map(str::to_owned), date }
}

async fn in_process(router: axum::Router, call: Call) -> Result<(u16, Answer), ClientError> {
    let lost = |message: String| ClientError::Lost { place: "this process".to_owned(), message };
    let request = call
        .head(call.path.clone())
        .body(Body::from(call.body.unwrap_or_default()))
        .map_err(|e| ClientError::Unsendable(e.to_string()))?;
    let Ok(answer) = router.oneshot(request).await;
    let (status, facts) = (answer.status().as_u16(), facts(answer.headers()));
    let limit = usize::try_from(LARGEST_ANSWER).unwrap_or(usize::MAX);
    let body = to_bytes(answer.into_body(), limit).await.map_err(|e| lost(e.to_string()))?;
    Ok((status, Answer { body: body.into(), ..facts }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
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
    fn a_cursor_survives_a_query_string() {
        assert_eq!(encoded("a+b/=&ä"), "a%2Bb%2F%3D%26%C3%A4");
    }

    #[test]
    fn a_url_of_another_kind_is_refused_before_it_is_called() {
        for url in ["https://a", "a:8000", "http://", "ftp://a"] {
            assert!(matches!(Client::http(url), Err(ClientError::Unsendable(_))), "{url}");
        }
    }
}
