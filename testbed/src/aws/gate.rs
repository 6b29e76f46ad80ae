//! A gate in front of one service of the emulator: it counts what passes, and lets nothing pass while the service
//! is to be unreachable.

use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It is carried out and answered.
    Open,
    /// The connection ends; requests that were under way may have been carried out.
    Cut,
    /// Nothing is carried out and nothing answered, as when packets get lost.
    Silent,
}

/// What has passed, by what it does: for DynamoDB and SQS the action, followed by the table's last word or the
/// index; for S3 the method.
#[derive(Debug, Clone, Default)]
pub struct Traffic {
    /// Requests.
    pub requests: BTreeMap<String, u64>,
    /// Write units that DynamoDB named for them.
    pub write_units: BTreeMap<String, f64>,
    /// Read units.
    pub read_units: BTreeMap<String, f64>,
}

impl Traffic {
    /// What has passed since `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let mut new = self.clone();
        for (name, n) in &mut new.requests {
            *n -= before.requests.get(name).copied().unwrap_or(0);
        }
        for (units, old) in
            [(&mut new.write_units, &before.write_units), (&mut new.read_units, &before.read_units)]
        {
            for (name, n) in units {
                *n -= old.get(name).copied().unwrap_or(0.0);
            }
        }
        new.requests.retain(|_, n| *n > 0);
        new
    }

    /// Requests of those kinds that `wanted` names.
    pub fn count(&self, wanted: impl Fn(&str) -> bool) -> u64 {
        self.requests.iter().filter(|(name, _)| wanted(name)).map(|(_, n)| n).sum()
    }
}

/// A request and its answer.
#[derive(Debug)]
pub struct Passed<'m> {
    /// The kind, as in [`Traffic`].
    pub kind: &'m str,
    /// The request's body.
    pub request: &'m [u8],
    /// The answer's body.
    pub answer: &'m [u8],
    /// When the request had come.
    pub asked: Instant,
    /// When the answer is given.
    pub answered: Instant,
}

/// Hears of everything that passes.
#[derive(Clone)]
struct Observer(Arc<dyn Fn(&Passed<'_>) + Send + Sync>);

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}

/// A running gate; it listens until the process ends.
#[derive(Debug, Clone)]
pub struct Gate {
    port: u16,
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    upstream: String,
    way: Mutex<Way>,
    changed: Condvar,
    traffic: Mutex<Traffic>,
    observer: Mutex<Option<Observer>>,
    /// Both ends of the connections that are there.
    connections: Mutex<HashMap<u64, Vec<TcpStream>>>,
    next: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gate {
    /// A gate in front of `upstream`, `http://<host>:<port>`.
    ///
    /// # Errors
    /// No port.
    pub fn start(upstream: &str) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let inner = Arc::new(Inner {
            upstream: upstream.trim_start_matches("http://").to_owned(),
            way: Mutex::new(Way::Open),
            changed: Condvar::new(),
            traffic: Mutex::default(),
            observer: Mutex::default(),
            connections: Mutex::default(),
            next: AtomicU64::new(0),
        });
        let serving = Arc::clone(&inner);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), inner) = (client, Arc::clone(&serving)) else { continue };
                std::thread::spawn(move || {
                    let number = inner.next.fetch_add(1, Ordering::Relaxed);
                    // A connection that breaks is nothing to report: the client notices.
                    let _ = inner.serve(number, client);
                    lock(&inner.connections).remove(&number);
                });
            }
        });
        Ok(Self { port, inner })
    }

    /// The endpoint to give to clients.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// From now on requests go this way; connections that are there end, unless it opens.
    pub fn set(&self, way: Way) {
        *lock(&self.inner.way) = way;
        self.inner.changed.notify_all();
        if way != Way::Open {
            for stream in lock(&self.inner.connections).values().flatten() {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }

    /// From now on `observer` hears of everything that passes, before the client has the answer.
    pub fn observe(&self, observer: impl Fn(&Passed<'_>) + Send + Sync + 'static) {
        *lock(&self.inner.observer) = Some(Observer(Arc::new(observer)));
    }

    /// What has passed so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        lock(&self.inner.traffic).clone()
    }
}

impl Inner {
    fn serve(&self, number: u64, client: TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        lock(&self.connections).insert(number, vec![client.try_clone()?]);
        let mut reader = BufReader::new(client.try_clone()?);
        let (mut client, mut upstream) = (client, None);
        while let Some(message) = Message::read(&mut reader, Some(&mut client), false)? {
            if !self.lets_pass() {
                return client.shutdown(Shutdown::Both);
            }
            let connection = match &mut upstream {
                Some(connection) => connection,
                none => {
                    let server = TcpStream::connect(&self.upstream)?;
                    server.set_nodelay(true)?;
                    lock(&self.connections).entry(number).or_default().push(server.try_clone()?);
                    none.insert((BufReader::new(server.try_clone()?), server))
                }
            };
            let (kind, asked) = (Kind::of(&message), Instant::now());
            connection.1.write_all(&kind.asking_for_the_cost(message.clone()).bytes())?;
            let silent = message.first.starts_with("HEAD ");
            let Some(answer) = Message::read(&mut connection.0, None, silent)? else {
                return client.shutdown(Shutdown::Both);
            };
            self.note(&kind, &answer);
            let observer = lock(&self.observer).clone();
            if let Some(Observer(observer)) = observer {
                let (request, answer) = (&message.body[..], &answer.body[..]);
                observer(&Passed { kind: &kind.name, request, answer, asked, answered: Instant::now() });
            }
            if *lock(&self.way) != Way::Open {
                return client.shutdown(Shutdown::Both);
            }
            client.write_all(&answer.bytes())?;
            if answer.header("connection").eq_ignore_ascii_case("close") {
                return client.shutdown(Shutdown::Both);
            }
        }
        Ok(())
    }

    /// Whether a request is carried out; where nothing is answered this takes until something is again.
    fn lets_pass(&self) -> bool {
        let mut way = lock(&self.way);
        let open = *way == Way::Open;
        while *way == Way::Silent {
            way = self.changed.wait(way).unwrap_or_else(PoisonError::into_inner);
        }
        open
    }

    fn note(&self, kind: &Kind, answer: &Message) {
        let mut traffic = lock(&self.traffic);
        *traffic.requests.entry(kind.name.clone()).or_default() += 1;
        let said: Value = if kind.costs { answer.json() } else { Value::Null };
        let capacity = &said["ConsumedCapacity"];
        let all = capacity.as_array().cloned().unwrap_or_else(|| vec![capacity.clone()]);
        let units: f64 = all.iter().filter_map(|one| one["CapacityUnits"].as_f64()).sum();
        if units > 0.0 {
            let writes = ["UpdateItem", "TransactWriteItems", "PutItem", "DeleteItem"];
            let is_write = writes.iter().any(|action| kind.name.starts_with(action));
            let of_kind = if is_write { &mut traffic.write_units } else { &mut traffic.read_units };
            *of_kind.entry(kind.name.clone()).or_default() += units;
        }
    }
}

/// What a request does.
struct Kind {
    name: String,
    /// DynamoDB says what it cost.
    costs: bool,
}

impl Kind {
    fn of(request: &Message) -> Self {
        let method = request.first.split(' ').next().unwrap_or_default();
        let Some((service, action)) = request.header("x-amz-target").split_once('.') else {
            return Self { name: method.to_owned(), costs: false };
        };
        if !service.starts_with("DynamoDB_") {
            return Self { name: action.to_owned(), costs: false };
        }
        let body = request.json();
        let table = body["TableName"].as_str().unwrap_or_default();
        let table = table.rsplit('-').next().unwrap_or_default();
        let place = body["IndexName"].as_str().unwrap_or(table);
        Self { name: format!("{action} {place}").trim_end().to_owned(), costs: true }
    }

    fn asking_for_the_cost(&self, mut request: Message) -> Message {
        if self.costs {
            let mut body = request.json();
            body["ReturnConsumedCapacity"] = json!("TOTAL");
            request.body = body.to_string().into_bytes();
        }
        request
    }
}

/// A request or an answer, whole.
#[derive(Debug, Clone)]
struct Message {
    first: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// An answer to HEAD: a length and no body.
    bare: bool,
}

/// No request of ours is larger: parts of uploads have 8 MiB.
const LARGEST: u64 = 64 << 20;

impl Message {
    /// Reads one; `None` at the end of the connection. A sender that waits for leave to go on gets it from
    /// `leave`.
    fn read(
        reader: &mut impl BufRead,
        leave: Option<&mut TcpStream>,
        bare: bool,
    ) -> io::Result<Option<Self>> {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut message =
            Self { first: line.trim_end().to_owned(), headers: Vec::new(), body: Vec::new(), bare };
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            message.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        if let Some(leave) = leave.filter(|_| message.header("expect").eq_ignore_ascii_case("100-continue")) {
            leave.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let status = message.first.split(' ').nth(1).unwrap_or_default();
        if !bare && !matches!(status, "204" | "304") {
            message.body = message.read_body(reader)?;
        }
        Ok(Some(message))
    }

    fn read_body(&self, reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        if self.header("transfer-encoding").eq_ignore_ascii_case("chunked") {
            loop {
                let mut size = String::new();
                reader.read_line(&mut size)?;
                let size = u64::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
                reader.take(size.min(LARGEST)).read_to_end(&mut body)?;
                reader.read_line(&mut String::new())?;
                if size == 0 {
                    return Ok(body);
                }
            }
        }
        let length = self.header("content-length").parse::<u64>().unwrap_or(0).min(LARGEST);
        reader.take(length).read_to_end(&mut body)?;
        if (body.len() as u64) < length { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(body) }
    }

    fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    fn bytes(&self) -> Vec<u8> {
        let mut text = format!("{}\r\n", self.first);
        for (name, value) in &self.headers {
            let ours = matches!(&**name, "content-length" | "transfer-encoding" | "expect");
            if !ours || (self.bare && name == "content-length") {
                text.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        if !self.bare {
            text.push_str(&format!("content-length: {}\r\n", self.body.len()));
        }
        text.push_str("\r\n");
        [text.into_bytes(), self.body.clone()].concat()
    }
}

/// The gates of the three services.
#[derive(Debug, Clone)]
pub struct Gates {
    /// Records, the lease.
    pub dynamodb: Gate,
    /// Hints.
    pub sqs: Gate,
    /// Artifacts.
    pub s3: Gate,
    /// Tasks; in front of the emulator until the double is there.
    pub ecs: Gate,
}

impl Gates {
    /// In front of an emulator that has all of them at one address.
    ///
    /// # Errors
    /// No port.
    pub fn start(upstream: &str) -> io::Result<Self> {
        Ok(Self {
            dynamodb: Gate::start(upstream)?,
            sqs: Gate::start(upstream)?,
            s3: Gate::start(upstream)?,
            ecs: Gate::start(upstream)?,
        })
    }

    /// What the SDKs read.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        [("DYNAMODB", &self.dynamodb), ("SQS", &self.sqs), ("S3", &self.s3)]
            .map(|(service, gate)| (format!("AWS_ENDPOINT_URL_{service}"), gate.endpoint()))
            .into()
    }
}

/// Keeps a service away for as long as this lives.
#[derive(Debug)]
pub struct Outage(Gate);

impl Outage {
    /// Begins.
    #[must_use]
    pub fn of(gate: &Gate, way: Way) -> Self {
        gate.set(way);
        Self(gate.clone())
    }

    /// Begins, lasts and ends.
    pub fn lasting(gate: &Gate, way: Way, time: Duration) {
        let outage = Self::of(gate, way);
        std::thread::sleep(time);
        drop(outage);
    }
}

impl Drop for Outage {
    fn drop(&mut self) {
        self.0.set(Way::Open);
    }
}
