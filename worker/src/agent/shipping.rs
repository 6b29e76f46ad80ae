//! Shipping the logs of a running agent, piece by piece, on a thread of its own: a store that is slow must not
//! keep the worker from its heartbeat. What cannot be shipped is tried again with the next piece; the whole log
//! is stored at the end in any case, so nothing here can fail an attempt.

use crate::drive::block_on;
use crate::execution::now;
use crate::settings::Settings;
use crate::{log, stores};
use backends::{Artifacts, ArtifactsError, Content};
use contract::live_log::{self, LogPiece};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};

/// The most bytes of one piece.
const PIECE: usize = 1024 * 1024;

/// A running shipment; ends when this is dropped.
pub(super) struct Shipping {
    _end: Sender<()>,
}

struct Shipped {
    file: File,
    /// Where its pieces go.
    folder: String,
    /// Bytes that are shipped.
    upto: u64,
}

impl Shipping {
    /// Ships the logs at these paths, by name, of the attempt with this folder. `None`: the settings say not to,
    /// or there is no thread for it.
    pub(super) fn start(
        settings: &Settings,
        attempt_folder: &str,
        logs: [(&str, &PathBuf); 2],
    ) -> Option<Self> {
        let pause = settings.log_shipping?;
        let mut shipped = Vec::with_capacity(logs.len());
        for (name, path) in logs {
            let file = File::open(path).ok()?;
            shipped.push(Shipped { file, folder: live_log::folder(attempt_folder, name), upto: 0 });
        }
        let (end, ended) = channel();
        let settings = settings.clone();
        let ship = move || while_running(&settings, pause, &ended, &mut shipped);
        // Without it the logs are there when the attempt ends.
        std::thread::Builder::new().name("log-shipping".to_owned()).spawn(ship).ok()?;
        Some(Self { _end: end })
    }
}

fn while_running(
    settings: &Settings,
    pause: std::time::Duration,
    ended: &Receiver<()>,
    logs: &mut [Shipped],
) {
    let mut artifacts: Option<Box<dyn Artifacts>> = None;
    let mut complained = false;
    // The first pause spares short attempts all of this.
    while ended.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
        match ship(settings, &mut artifacts, logs) {
            Ok(()) => complained = false,
            Err(e) if complained => drop(e),
            Err(e) => {
                complained = true;
                log::line(settings.job_id.as_str(), &format!("the live log is behind: {e}"));
            }
        }
    }
}

fn ship(
    settings: &Settings,
    artifacts: &mut Option<Box<dyn Artifacts>>,
    logs: &mut [Shipped],
) -> Result<(), ArtifactsError> {
    for log in logs {
        while let Some(bytes) = log.news().unwrap_or_default() {
            let store = match artifacts {
                Some(store) => store,
                None => artifacts.insert(stores::artifacts(settings)?),
            };
            let piece = LogPiece { offset: log.upto, shipped_at: now() };
            block_on(store.put(&piece.key(&log.folder), Content::Bytes(&bytes)))?;
            log.upto += bytes.len() as u64;
        }
    }
    Ok(())
}

impl Shipped {
    /// What was written since the last piece.
    fn news(&self) -> io::Result<Option<Vec<u8>>> {
        let length = self.file.metadata()?.len();
        let size = usize::try_from(length.saturating_sub(self.upto)).unwrap_or(PIECE).min(PIECE);
        if size == 0 {
            return Ok(None);
        }
        let mut bytes = vec![0; size];
        self.file.read_exact_at(&mut bytes, self.upto)?;
        Ok(Some(bytes))
    }
}
