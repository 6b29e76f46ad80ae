//! Questions, which only a person at a terminal can answer, and signs of life, which only a person wants.

use crate::output;
use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Whether somebody can read a question and answer it.
pub(crate) fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks; yes only for a word that says so.
pub(crate) fn confirm(question: &str) -> io::Result<bool> {
    let mut err = io::stderr().lock();
    err.write_all(format!("{question} [y/N] ").as_bytes()).and_then(|()| err.flush())?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok(matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// Between two pictures.
const FRAME: Duration = Duration::from_millis(125);
const PICTURES: &[char] = &['|', '/', '-', '\\'];

/// Shows on a terminal that something is still waited for; goes away without a trace.
pub(crate) struct Spinner {
    running: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Spinner {
    /// Starts, if stderr is a terminal.
    pub(crate) fn start(what: &str) -> Self {
        if !output::stderr_moves() {
            return Self { running: None };
        }
        let (stop, stopped) = channel();
        let what = what.to_owned();
        let since = Instant::now();
        let thread = std::thread::spawn(move || {
            let mut frame = 0;
            while stopped.recv_timeout(FRAME) == Err(RecvTimeoutError::Timeout) {
                let picture = PICTURES[frame % PICTURES.len()];
                draw(&format!("\r{picture} {what}, {} s\x1b[K", since.elapsed().as_secs()));
                frame += 1;
            }
            draw("\r\x1b[K");
        });
        Self { running: Some((stop, thread)) }
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            drop(stop);
            // A spinner that panicked has left a line behind, and nothing else.
            let _ = thread.join();
        }
    }
}

fn draw(text: &str) {
    let mut err = io::stderr().lock();
    let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
}
