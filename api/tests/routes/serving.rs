//! Real connections on loopback.

use crate::rig::Rig;
use api::Limits;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

struct Server {
    rig: Rig,
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

async fn server(limits: Limits) -> Server {
    let (rig, app) = Rig::parts(limits);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let ended = tokio::spawn(api::serve(listener, app, async {
        let _ = stopped.await;
    }));
    Server { rig, address, stop, ended }
}

async fn sent(address: SocketAddr, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

async fn rest(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

const CLOSE: &str = "Host: localhost\r\nconnection: close\r\n\r\n";

async fn submitted(address: SocketAddr) -> String {
    let body = r#"{"job_type":"echo"}"#;
    let head = format!(
        "POST /jobs HTTP/1.1\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{CLOSE}",
        body.len()
    );
    let text = rest(sent(address, &format!("{head}{body}")).await).await;
    assert!(text.starts_with("HTTP/1.1 201"), "{text}");
    text.split("\"job_id\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
}

#[tokio::test]
async fn the_shutdown_answers_long_polls_at_once_and_closes_idle_connections() {
    let server = server(Limits { shutdown_grace: Duration::from_secs(60), ..Limits::default() }).await;
    let id = submitted(server.address).await;
    let poll =
        sent(server.address, &format!("GET /jobs/{id}?wait=30s HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
    let idle = TcpStream::connect(server.address).await.unwrap();
    while server.rig.changes.waited_for() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let start = Instant::now();
    server.stop.send(()).unwrap();
    let text = rest(poll).await;
    assert!(text.starts_with("HTTP/1.1 200") && text.contains("\"QUEUED\""), "{text}");
    server.ended.await.unwrap();
    // The poll wanted 30 s, and so does an idle connection unless it is closed.
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    assert_eq!(rest(idle).await, "");
    assert!(TcpStream::connect(server.address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn a_request_that_hangs_is_cut_when_the_grace_is_over() {
    let request_timeout = Duration::from_secs(60);
    let limits = Limits { shutdown_grace: Duration::from_millis(200), request_timeout, ..Limits::default() };
    let server = server(limits).await;
    server.rig.reads_hang();
    let hanging = sent(server.address, "GET /jobs/a HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    // Answered over another connection after the first request was sent, so that one is being handled.
    let probe = format!("GET /livez HTTP/1.1\r\n{CLOSE}");
    assert!(rest(sent(server.address, &probe).await).await.ends_with("ok\n"));
    let start = Instant::now();
    server.stop.send(()).unwrap();
    server.ended.await.unwrap();
    assert!((200..30_000).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
    drop(hanging);
}

#[tokio::test]
async fn half_a_header_does_not_hold_a_connection_for_ever() {
    let request_timeout = Duration::from_secs(60);
    let header_timeout = Duration::from_millis(100);
    let server = server(Limits { header_timeout, request_timeout, ..Limits::default() }).await;
    let start = Instant::now();
    let text = rest(sent(server.address, "GET /livez HTTP/1.1\r\nhos").await).await;
    assert!(!text.contains("200"), "{text}");
    assert!(start.elapsed() < Duration::from_secs(30));
}

#[tokio::test]
async fn half_a_body_is_answered_when_the_time_is_over() {
    let server = server(Limits { request_timeout: Duration::from_millis(100), ..Limits::default() }).await;
    let head = "POST /jobs HTTP/1.1\r\ncontent-type: application/json\r\ncontent-length: 100\r\nHost: localhost\r\n\r\n{";
    let text = rest(sent(server.address, head).await).await;
    assert!(text.starts_with("HTTP/1.1 504") && text.contains("problem:timeout"), "{text}");
}
