//! Asking a program of ours on this machine whether it is well, as a container's health check does: the images
//! hold no shell and no curl, so a program asks itself.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// How long an answer may take. Docker and ECS wait longer than this for a health check.
const PATIENCE: Duration = Duration::from_secs(3);

/// Whether `GET path` at `address` is answered with 200.
///
/// # Errors
/// What came instead, for people.
pub fn ask(address: SocketAddr, path: &str) -> Result<(), String> {
    let address = SocketAddr::new(reachable(address.ip()), address.port());
    let failed = |e: std::io::Error| format!("http://{address}{path}: {e}");
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(failed)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(failed)?;
    let mut answer = String::new();
    stream.take(16 * 1024).read_to_string(&mut answer).map_err(failed)?;
    let status = answer.split(' ').nth(1).unwrap_or_default();
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body).trim();
    if status == "200" { Ok(()) } else { Err(format!("http://{address}{path}: {status} {body}")) }
}

/// What listens on every address answers on loopback.
fn reachable(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn answered_with(answer: &'static str) -> Result<(), String> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), listener.local_addr().unwrap().port());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let read = stream.read(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&request[..read]).into_owned()
        });
        let found = ask(address, "/readyz");
        assert!(server.join().unwrap().starts_with("GET /readyz HTTP/1.1\r\nhost: 127.0.0.1:"));
        found
    }

    #[test]
    fn only_the_status_200_is_good_and_anything_else_is_told() {
        assert_eq!(answered_with("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n"), Ok(()));
        let e = answered_with("HTTP/1.1 503 Service Unavailable\r\n\r\nno store\n").unwrap_err();
        assert!(e.ends_with("/readyz: 503 no store"), "{e}");
        assert!(answered_with("").is_err());
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(ask(closed, "/readyz").is_err());
    }
}
