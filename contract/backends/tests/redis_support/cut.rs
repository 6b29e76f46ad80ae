//! A way to the server that loses answers: it forwards what clients send and cuts the connection instead of
//! passing on what comes back.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};

/// The way.
pub(crate) struct Cut {
    port: u16,
    far: Arc<AtomicU16>,
    losing: Arc<AtomicBool>,
    lost: Arc<AtomicUsize>,
}

impl Cut {
    /// A way to the server at `port` that works for now.
    pub(crate) fn to(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let own = listener.local_addr().expect("an address").port();
        let (losing, lost) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let far = Arc::new(AtomicU16::new(port));
        let (flag, count, to) = (losing.clone(), lost.clone(), far.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, to.load(Ordering::SeqCst))) else {
                    continue;
                };
                let back = (server.try_clone().expect("a socket"), client.try_clone().expect("a socket"));
                let (flag, count) = (flag.clone(), count.clone());
                std::thread::spawn(move || answers(back, &flag, &count));
                std::thread::spawn(move || requests(client, server));
            }
        });
        Self { port: own, far, losing, lost }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// New connections reach the server at `port`.
    pub(crate) fn lead_to(&self, port: u16) {
        self.far.store(port, Ordering::SeqCst);
    }

    /// The next answer is lost with its connection; after that the way works again.
    pub(crate) fn lose_one(&self) {
        self.losing.store(true, Ordering::SeqCst);
    }

    /// Answers that were lost.
    pub(crate) fn lost(&self) -> usize {
        self.lost.load(Ordering::SeqCst)
    }
}

fn requests(mut client: TcpStream, mut server: TcpStream) {
    let _ = std::io::copy(&mut client, &mut server);
    let _ = server.shutdown(Shutdown::Both);
}

fn answers((mut server, mut client): (TcpStream, TcpStream), losing: &AtomicBool, lost: &AtomicUsize) {
    let mut bytes = [0; 65536];
    while let Ok(read) = server.read(&mut bytes) {
        if read > 0 && losing.swap(false, Ordering::SeqCst) {
            lost.fetch_add(1, Ordering::SeqCst);
            break;
        }
        if read == 0 || client.write_all(&bytes[..read]).is_err() {
            break;
        }
    }
    let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
}
