//! The listener, and the way of a call through faults and throttles.

use super::clock::{Millis, millis};
use super::faults::{Fault, Kind, Subject};
use super::process::Exit;
use super::wire::{Answer, Refused};
use super::world::World;
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

/// The target prefix of ECS.
// AWS service model of ECS, `targetPrefix`.
const TARGET: &str = "AmazonEC2ContainerServiceV20141113.";

/// Longer than any real request; a limit so that a mistake does not eat the memory.
const LARGEST_BODY: usize = 1024 * 1024;

/// Nothing is due: look again after so long.
const IDLE: Duration = Duration::from_secs(3600);

/// The connection is to be closed without an answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Cut {
    #[error("a fault drops the answer")]
    Fault,
    #[error("the request could not be read: {0}")]
    Read(#[from] hyper::Error),
    #[error("the request has more than {LARGEST_BODY} bytes")]
    TooLarge,
}

/// What the server's tasks share.
#[derive(Debug)]
pub(crate) struct Shared {
    world: Mutex<World>,
    /// Counts what happened, for those who wait for something.
    ticks: watch::Sender<u64>,
}

impl Shared {
    pub(crate) fn new(world: World) -> Self {
        Self { world: Mutex::new(world), ticks: watch::Sender::new(0) }
    }

    /// The world, up to date.
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        world.run();
        world
    }

    /// Wakes those who wait.
    pub(crate) fn tick(&self) {
        self.ticks.send_modify(|ticks| *ticks = ticks.wrapping_add(1));
    }

    /// Waits for `delay` in virtual time.
    async fn sleep(&self, delay: Duration) {
        let due = self.world().now + millis(delay);
        let mut ticks = self.ticks.subscribe();
        loop {
            ticks.borrow_and_update();
            let left = {
                let world = self.world();
                if world.now >= due {
                    return;
                }
                world.clock.until(due).unwrap_or(IDLE)
            };
            tokio::select! {
                () = tokio::time::sleep(left) => {}
                _ = ticks.changed() => {}
            }
        }
    }

    /// Waits until the tasks have stopped.
    async fn stopped(&self, tasks: &[String]) {
        let mut ticks = self.ticks.subscribe();
        loop {
            ticks.borrow_and_update();
            let over = tasks.iter().all(|id| self.world().is_over(id));
            if over || ticks.changed().await.is_err() {
                return;
            }
        }
    }

    /// One call of the API: None is a call without an answer.
    async fn call(&self, action: &str, request: &Value) -> Option<Answer> {
        let fault = self.arrive(action, request)?;
        if let Some(Fault { fault: Kind::DelayRequest, .. }) = &fault {
            self.sleep(fault.as_ref().map(Fault::delay).unwrap_or_default()).await;
        }
        let (answer, wait) = self.apply(action, request, fault.as_ref());
        self.tick();
        self.stopped(&wait).await;
        let latency = (action == "RunTask").then(|| self.world().options.run_task_latency);
        if let Some(latency) = latency.filter(|latency| !latency.is_zero()) {
            self.sleep(latency).await;
        }
        match fault.as_ref().map(|fault| fault.fault) {
            Some(Kind::Delay) => self.sleep(fault.map(|fault| fault.delay()).unwrap_or_default()).await,
            Some(Kind::DropAnswerAfterApplying) => return None,
            _ => {}
        }
        Some(answer)
    }

    /// Counts the call and looks for its fault; None drops the request.
    fn arrive(&self, action: &str, request: &Value) -> Option<Option<Fault>> {
        let mut world = self.world();
        world.count(action, |calls| calls.total += 1);
        let fault = world.faults.of_call(action, &Subject::of(request));
        let dropped = fault.as_ref().is_some_and(|fault| fault.fault == Kind::DropRequest);
        if dropped {
            world.count(action, |calls| calls.dropped += 1);
        }
        (!dropped).then_some(fault)
    }

    fn apply(&self, action: &str, request: &Value, fault: Option<&Fault>) -> (Answer, Vec<String>) {
        let mut world = self.world();
        let refused = match fault {
            Some(fault) => refusal(fault),
            None => None,
        };
        let (answer, wait) = match refused.or_else(|| world.throttle(action).err()) {
            Some(refused) => (Err(refused), Vec::new()),
            None => world.answer(action, request),
        };
        // What is to happen at once has happened when the answer is given.
        world.run();
        let dropped = fault.is_some_and(|fault| fault.fault == Kind::DropAnswerAfterApplying);
        world.count(action, |calls| match &answer {
            _ if dropped => calls.dropped += 1,
            Ok(_) => calls.ok += 1,
            Err(refused) if refused.code == "ThrottlingException" => calls.throttled += 1,
            Err(_) => calls.refused += 1,
        });
        (answer, wait)
    }
}

fn refusal(fault: &Fault) -> Option<Refused> {
    match fault.fault {
        Kind::Throttle => Some(Refused::throttled()),
        Kind::Error500 => {
            Some(Refused::new("ServerException", "Service Unavailable. Please try again later."))
        }
        Kind::Refuse => {
            Some(Refused::new(fault.code.as_deref()?, fault.message.as_deref().unwrap_or_default()))
        }
        _ => None,
    }
}

/// Handles timers when they are due, and the ends of processes.
pub(crate) async fn keep_time(shared: Arc<Shared>, mut exits: mpsc::UnboundedReceiver<Exit>) {
    let mut ticks = shared.ticks.subscribe();
    loop {
        ticks.borrow_and_update();
        let left = {
            let world = shared.world();
            let until = |due: Millis| world.clock.until(due);
            world.next().and_then(until).unwrap_or(IDLE)
        };
        tokio::select! {
            () = tokio::time::sleep(left) => {
                drop(shared.world());
                shared.tick();
            }
            Some(exit) = exits.recv() => {
                shared.world().exited(&exit);
                shared.tick();
            }
            _ = ticks.changed() => {}
        }
    }
}

/// Accepts connections for ever.
pub(crate) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // For lack of open files, for example.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let shared = Arc::clone(&shared);
                // A task of its own: a call goes on when its caller has gone away.
                let answer = tokio::spawn(async move { answer(&shared, request).await });
                async move { answer.await.unwrap_or(Err(Cut::Fault)) }
            });
            // A connection that broke, or that a fault broke.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(shared: &Shared, request: Request<Incoming>) -> Result<Response<String>, Cut> {
    let (head, body) = request.into_parts();
    let body = read(body).await?;
    let path = head.uri.path();
    match (&head.method, path) {
        (&Method::POST, "/") => {
            let target = head.headers.get("x-amz-target").and_then(|value| value.to_str().ok());
            let action = target.and_then(|target| target.strip_prefix(TARGET)).unwrap_or_default();
            call(shared, action, &body).await
        }
        (&Method::POST, "/_double/faults") => {
            let scripted = shared.world().script(&body);
            shared.tick();
            Ok(plain(scripted))
        }
        (&Method::POST, "/_double/advance") => {
            let advanced = shared.world().advance(&body);
            shared.tick();
            Ok(plain(advanced))
        }
        (&Method::GET, "/_double/state") => {
            let with_tasks = head.uri.query() != Some("tasks=false");
            Ok(plain(Ok(shared.world().state(with_tasks))))
        }
        (&Method::GET, path) if path.starts_with("/v4/") => {
            let found = shared.world().metadata(path.trim_start_matches("/v4/"));
            Ok(found.map_or_else(|| text(StatusCode::NOT_FOUND, "{}".to_owned()), |all| plain(Ok(all))))
        }
        _ => Ok(text(StatusCode::NOT_FOUND, "{}".to_owned())),
    }
}

async fn call(shared: &Shared, action: &str, body: &[u8]) -> Result<Response<String>, Cut> {
    let id = {
        let id = shared.world().new_id();
        format!("{}-{}-{}-{}-{}", &id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..])
    };
    let answer = match serde_json::from_slice::<Value>(body) {
        Ok(request) if request.is_object() => shared.call(action, &request).await.ok_or(Cut::Fault)?,
        _ => Err(Refused::new("SerializationException", "the body is no JSON object")),
    };
    let (status, body) = match answer {
        Ok(body) => (200, body),
        Err(refused) => (refused.status(), refused.body()),
    };
    let mut response = text(StatusCode::from_u16(status).unwrap_or_default(), body.to_string());
    let headers = response.headers_mut();
    headers.insert("content-type", hyper::header::HeaderValue::from_static("application/x-amz-json-1.1"));
    if let Ok(id) = id.parse() {
        headers.insert("x-amzn-requestid", id);
    }
    Ok(response)
}

fn plain(answer: Result<Value, String>) -> Response<String> {
    match answer {
        Ok(body) => text(StatusCode::OK, body.to_string()),
        Err(mistake) => text(StatusCode::BAD_REQUEST, serde_json::json!({"error": mistake}).to_string()),
    }
}

fn text(status: StatusCode, body: String) -> Response<String> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let json = hyper::header::HeaderValue::from_static("application/json");
    response.headers_mut().insert("content-type", json);
    response
}

async fn read(mut body: Incoming) -> Result<Vec<u8>, Cut> {
    let mut all = Vec::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        if let Ok(data) = frame?.into_data() {
            all.extend_from_slice(&data);
        }
        if all.len() > LARGEST_BODY {
            return Err(Cut::TooLarge);
        }
    }
    Ok(all)
}
