//! The load generator's HTTP client: one keep-alive connection, one request at a time, no allocation per
//! header. It shares two cores with what it measures, so it does as little as HTTP/1.1 allows.

use super::Failed;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longer than the longest long poll.
const TIMEOUT: Duration = Duration::from_secs(90);

/// A connection.
#[derive(Debug)]
pub struct Http {
    stream: TcpStream,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Http {
    /// Connects.
    ///
    /// # Errors
    /// Nobody listens.
    pub fn connect(address: SocketAddr) -> Result<Self, Failed> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        Ok(Self { stream, request: Vec::new(), answer: Vec::new() })
    }

    /// Sends a GET and returns the body of a 200.
    ///
    /// # Errors
    /// Any other status, and no answer.
    pub fn get(&mut self, path: &str) -> Result<&str, Failed> {
        self.request.clear();
        write!(self.request, "GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
        self.exchange(200)
    }

    /// Posts a new job and returns its id.
    ///
    /// # Errors
    /// Any other status than 201, and no answer.
    pub fn create(&mut self, body: &str) -> Result<String, Failed> {
        self.request.clear();
        let size = body.len();
        write!(
            self.request,
            "POST /jobs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             content-length: {size}\r\n\r\n{body}"
        )?;
        let answer = self.exchange(201)?;
        Ok(member(answer, "job_id").ok_or_else(|| Failed::new(format!("no job_id in {answer}")))?.to_owned())
    }

    fn exchange(&mut self, expected: u16) -> Result<&str, Failed> {
        self.stream.write_all(&self.request)?;
        self.answer.clear();
        let (body, end) = loop {
            if let Some(head) = find(&self.answer, b"\r\n\r\n") {
                let body = head + 4;
                let size = content_length(&self.answer[..head])
                    .ok_or_else(|| Failed::new("an answer without Content-Length"))?;
                if self.answer.len() >= body + size {
                    break (body, body + size);
                }
            }
            self.receive()?;
        };
        let text = std::str::from_utf8(&self.answer[..end])?;
        let status: u16 = text.get(9..12).and_then(|code| code.parse().ok()).unwrap_or(0);
        if status == expected { Ok(&text[body..]) } else { Err(Failed::new(text)) }
    }

    fn receive(&mut self) -> Result<(), Failed> {
        let old = self.answer.len();
        self.answer.resize(old + 16 * 1024, 0);
        let n = self.stream.read(&mut self.answer[old..])?;
        self.answer.truncate(old + n);
        if n == 0 { Err(Failed::new("the connection was closed")) } else { Ok(()) }
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|w| w == what)
}

fn content_length(head: &[u8]) -> Option<usize> {
    std::str::from_utf8(head).ok()?.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    })
}

/// The first member `name` of a JSON text whose value is a string without escapes, as ids, words and times
/// are. Cheaper than parsing the whole answer.
#[must_use]
pub fn member<'a>(json: &'a str, name: &str) -> Option<&'a str> {
    let key = format!("\"{name}\":\"");
    let start = json.find(&key)? + key.len();
    let end = json[start..].find('"')?;
    Some(&json[start..start + end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn an_answer_in_pieces_is_put_together_and_the_connection_is_kept() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            for (head, body) in [("201 Created", "{\"job_id\":\"j-1\"}"), ("404 Not Found", "no")] {
                let n = stream.read(&mut request).unwrap();
                assert!(request[..n].starts_with(b"POST /jobs") || request[..n].starts_with(b"GET /x"));
                let size = body.len();
                write!(stream, "HTTP/1.1 {head}\r\nContent-Length: {size}\r\n").unwrap();
                stream.write_all(b"\r\n").unwrap();
                stream.write_all(body.as_bytes()).unwrap();
            }
        });
        let mut http = Http::connect(address).unwrap();
        assert_eq!(http.create("{}").unwrap(), "j-1");
        assert!(http.get("/x").unwrap_err().to_string().contains("404"));
        server.join().unwrap();
    }
}
