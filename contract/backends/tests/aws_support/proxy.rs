//! A proxy in front of a server that misbehaves as a test tells it to: the faults of a network, and answers of
//! S3 that MiniStack never gives.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A request that came by.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    /// By lower-case name.
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
    /// Which connection it came on, counted from 0.
    pub(crate) connection: usize,
}

impl Request {
    /// The header's value, empty if it is absent.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// What becomes of a request.
#[derive(Debug, Clone)]
pub(crate) enum Fate {
    /// It is carried out and answered.
    Pass,
    /// It is answered with this status and code instead of being carried out.
    Answer(u16, &'static str),
    /// The connection ends before it is carried out.
    Cut,
    /// It is carried out, and the connection ends instead of an answer.
    CutAfter,
    /// It is carried out, and of the body of the answer this many bytes come before the connection ends.
    CutBody(usize),
    /// It is carried out, and of the body of the answer this many bytes come, and then nothing more.
    StallBody(usize),
    /// No byte of the rest of its body is read, and it is never answered.
    Stall,
}

type Rule = Box<dyn FnMut(&Request) -> Fate + Send>;

/// The proxy; it ends with the test process.
pub(crate) struct Proxy {
    port: u16,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Proxy {
    /// Starts one in front of `upstream` (`http://host:port`), where `rule` decides on each request.
    pub(crate) fn start(upstream: &str, rule: impl FnMut(&Request) -> Fate + Send + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let upstream = upstream.strip_prefix("http://").expect("plain HTTP").to_owned();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let rule: Arc<Mutex<Rule>> = Arc::new(Mutex::new(Box::new(rule)));
        let log = seen.clone();
        std::thread::spawn(move || {
            for (number, client) in listener.incoming().enumerate() {
                let Ok(client) = client else { return };
                let serving =
                    Serving { number, upstream: upstream.clone(), rule: rule.clone(), log: log.clone() };
                // A connection that breaks is what this proxy is for.
                std::thread::spawn(move || serving.serve(client));
            }
        });
        Self { port, seen }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The requests so far that `wanted` names.
    pub(crate) fn seen(&self, wanted: impl Fn(&Request) -> bool) -> Vec<Request> {
        self.seen.lock().expect("the log").iter().filter(|request| wanted(request)).cloned().collect()
    }
}

/// `fates` for the requests that `wanted` names, in turn, and no fault for all others and afterwards.
pub(crate) fn script(
    wanted: impl Fn(&Request) -> bool + Send + 'static,
    fates: impl IntoIterator<Item = Fate>,
) -> impl FnMut(&Request) -> Fate + Send + 'static {
    let mut fates = fates.into_iter().collect::<Vec<_>>().into_iter();
    move |request| if wanted(request) { fates.next().unwrap_or(Fate::Pass) } else { Fate::Pass }
}

struct Serving {
    number: usize,
    upstream: String,
    rule: Arc<Mutex<Rule>>,
    log: Arc<Mutex<Vec<Request>>>,
}

impl Serving {
    fn serve(&self, client: TcpStream) -> io::Result<()> {
        let mut reader = BufReader::new(client.try_clone()?);
        let mut client = client;
        loop {
            let Some((first, headers)) = head(&mut reader)? else { return Ok(()) };
            let mut words = first.split(' ');
            let mut word = || words.next().unwrap_or_default().to_owned();
            let (method, target) = (word(), word());
            let mut request = Request { method, target, headers, body: Vec::new(), connection: self.number };
            let fate = (self.rule.lock().expect("the rule"))(&request);
            if matches!(fate, Fate::Stall) {
                self.log.lock().expect("the log").push(request);
                return wait_for_end(&client);
            }
            if request.header("expect").eq_ignore_ascii_case("100-continue") {
                client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            }
            request.body = body(&mut reader, &request.headers)?;
            self.log.lock().expect("the log").push(request.clone());
            match fate {
                Fate::Answer(status, code) => client.write_all(&refusal(&request, status, code))?,
                Fate::Cut => return client.shutdown(Shutdown::Both),
                fate => {
                    let (head, body) = self.forward(&request)?;
                    match fate {
                        Fate::CutAfter => return client.shutdown(Shutdown::Both),
                        Fate::CutBody(bytes) | Fate::StallBody(bytes) => {
                            client.write_all(&head)?;
                            client.write_all(&body[..bytes.min(body.len())])?;
                            if matches!(fate, Fate::CutBody(_)) {
                                return client.shutdown(Shutdown::Both);
                            }
                            return wait_for_end(&client);
                        }
                        _ => client.write_all(&[head, body].concat())?,
                    }
                }
            }
        }
    }

    /// Carries a request out on a connection of its own. The answer's head says how long its body is.
    fn forward(&self, request: &Request) -> io::Result<(Vec<u8>, Vec<u8>)> {
        let mut server = TcpStream::connect(&self.upstream)?;
        let mut text = format!("{} {} HTTP/1.1\r\n", request.method, request.target);
        for (name, value) in &request.headers {
            if !["connection", "expect", "content-length", "transfer-encoding"].contains(&&**name) {
                text += &format!("{name}: {value}\r\n");
            }
        }
        text += &format!("content-length: {}\r\nconnection: close\r\n\r\n", request.body.len());
        server.write_all(text.as_bytes())?;
        server.write_all(&request.body)?;
        let mut reader = BufReader::new(server);
        let (first, headers) = head(&mut reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let empty = request.method == "HEAD" || first.contains(" 204") || first.contains(" 304");
        let body = if empty { Vec::new() } else { body(&mut reader, &headers)? };
        let mut text = format!("{first}\r\n");
        for (name, value) in &headers {
            if !["connection", "content-length", "transfer-encoding"].contains(&&**name) {
                text += &format!("{name}: {value}\r\n");
            }
        }
        let length = match headers.get("content-length").filter(|_| empty) {
            Some(length) => length.clone(),
            None => body.len().to_string(),
        };
        text += &format!("content-length: {length}\r\n\r\n");
        Ok((text.into_bytes(), body))
    }
}

/// Until the other side has had enough.
fn wait_for_end(client: &TcpStream) -> io::Result<()> {
    // Its receive buffer is not read meanwhile, so whoever sends gets stuck; `peek` sees the end only once
    // the buffer is empty, so the state is asked for instead.
    let mut byte = [0];
    client.set_read_timeout(Some(std::time::Duration::from_secs(30)))?;
    while client.peek(&mut byte)? > 0 {
        std::thread::park_timeout(std::time::Duration::from_millis(100));
        if client.take_error()?.is_some() {
            break;
        }
    }
    Ok(())
}

type Headers = HashMap<String, String>;

/// The first line and the headers; `None` at the end of the connection.
fn head(reader: &mut impl BufRead) -> io::Result<Option<(String, Headers)>> {
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line).map(|n| (n > 0).then(|| line.trim_end().to_owned()))
    };
    let Some(first) = line()? else { return Ok(None) };
    let mut headers = Headers::new();
    while let Some(header) = line()?.filter(|header| !header.is_empty()) {
        if let Some((name, value)) = header.split_once(':') {
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    Ok(Some((first, headers)))
}

fn body(reader: &mut impl BufRead, headers: &Headers) -> io::Result<Vec<u8>> {
    if headers.get("transfer-encoding").is_some_and(|encoding| encoding == "chunked") {
        let mut body = Vec::new();
        loop {
            let mut size = String::new();
            reader.read_line(&mut size)?;
            let size = u64::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
            reader.take(size).read_to_end(&mut body)?;
            reader.read_line(&mut String::new())?;
            if size == 0 {
                return Ok(body);
            }
        }
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(body)
}

/// An error as S3 writes it, or as SQS and DynamoDB do for a request in JSON.
fn refusal(request: &Request, status: u16, code: &str) -> Vec<u8> {
    let (kind, text) = if request.header("content-type").starts_with("application/x-amz-json") {
        ("application/x-amz-json-1.0", format!(r#"{{"__type":"{code}","message":"scripted"}}"#))
    } else {
        let xml =
            format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>scripted</Message></Error>");
        ("application/xml", xml)
    };
    let text = if request.method == "HEAD" { String::new() } else { text };
    let length = text.len();
    format!("HTTP/1.1 {status} Scripted\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{text}")
        .into_bytes()
}
