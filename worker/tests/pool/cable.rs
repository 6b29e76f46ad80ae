//! A way to Redis that can let nothing through, without a word to either side.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The way.
pub(crate) struct Cable {
    port: u16,
    /// Nothing passes, on any connection.
    pub(crate) cut: Arc<AtomicBool>,
    opened: Arc<AtomicUsize>,
    silent: Arc<AtomicUsize>,
}

/// One connection over it.
#[derive(Clone)]
struct Strand {
    number: usize,
    cut: Arc<AtomicBool>,
    silent: Arc<AtomicUsize>,
}

impl Cable {
    pub(crate) fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let cable = Self {
            port: listener.local_addr().unwrap().port(),
            cut: Arc::default(),
            opened: Arc::default(),
            silent: Arc::default(),
        };
        let (cut, opened, silent) = (cable.cut.clone(), cable.opened.clone(), cable.silent.clone());
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let Ok(far) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                let number = opened.fetch_add(1, Ordering::SeqCst);
                let strand = Strand { number, cut: cut.clone(), silent: silent.clone() };
                let back = (far.try_clone().unwrap(), near.try_clone().unwrap());
                for (from, to) in [(near, far), back] {
                    let strand = strand.clone();
                    std::thread::spawn(move || strand.carry(from, to));
                }
            }
        });
        cable
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// Nothing passes any more on the connections that there are; new ones work. So many there are.
    pub(crate) fn silence(&self) -> usize {
        let opened = self.opened.load(Ordering::SeqCst);
        self.silent.store(opened, Ordering::SeqCst);
        opened
    }
}

impl Strand {
    fn is_silent(&self) -> bool {
        self.cut.load(Ordering::SeqCst) || self.number < self.silent.load(Ordering::SeqCst)
    }

    fn carry(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut bytes = [0; 4096];
        while let Ok(n @ 1..) = from.read(&mut bytes) {
            if !self.is_silent() && to.write_all(&bytes[..n]).is_err() {
                return;
            }
        }
    }
}
