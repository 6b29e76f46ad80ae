//! The watchdog: see the module.

use super::boot_clock::{self, Timer};
use super::settings::{Invocation, PoolSettings};
use crate::agent::family::{End, Family};
use crate::signals::Signals;
use crate::{Exit, log};
use backends::{Random, SystemRandom};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Before the next member is started; doubled up to [`LONGEST`] while members do not last.
const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(10);
/// A wait that something else ends.
const LONG: Duration = Duration::from_secs(3600);

/// Starts members until it is told to stop.
pub(super) fn run(settings: &PoolSettings, invocation: &Invocation) -> Exit {
    let signals = match Signals::watch() {
        Ok(signals) => signals,
        Err(e) => return at_fault(&format!("signals cannot be watched: {e}")),
    };
    let (mut predecessor, mut pause) = (String::new(), FIRST);
    loop {
        let id = SystemRandom.token().to_string();
        let (end, acknowledged) = match Life::start(settings, invocation, &id, &predecessor) {
            Ok(life) => life.watch(&signals),
            Err(e) => return at_fault(&format!("no member can be started: {e}")),
        };
        // Its processes are gone, so nobody uses it. Left behind it would only take up space.
        let _ = backends::remove_tree(&settings.folder_of(&id));
        if signals.told_to_stop() {
            return if end == End::Exited(0) { Exit::Done } else { Exit::Internal };
        }
        log::line("-", &format!("the member of the pool {end}, and nothing that it ran is alive"));
        pause = if acknowledged { FIRST } else { (pause * 2).min(LONGEST) };
        predecessor = id;
        let until = Instant::now() + pause;
        while Instant::now() < until && !signals.told_to_stop() {
            signals.wait(until);
        }
        if signals.told_to_stop() {
            return Exit::Done;
        }
    }
}

fn at_fault(message: &str) -> Exit {
    log::line("-", message);
    Exit::Internal
}

/// One member and all that it runs.
struct Life {
    family: Family,
    /// The member writes here when each acknowledged heartbeat was sent.
    told: UnixStream,
    timer: Timer,
    patience: Duration,
    /// On the boot clock; from the first acknowledged heartbeat on, since nothing is taken before.
    kill_at: Option<Duration>,
}

impl Life {
    fn start(
        settings: &PoolSettings,
        invocation: &Invocation,
        id: &str,
        predecessor: &str,
    ) -> io::Result<Self> {
        let (told, theirs) = UnixStream::pair()?;
        told.set_nonblocking(true)?;
        let timer = Timer::new()?;
        let mut command = invocation.member(id, predecessor, Stdio::from(OwnedFd::from(theirs)));
        let family = Family::start(&mut command)?;
        Ok(Self { family, told, timer, patience: settings.patience(), kill_at: None })
    }

    /// Watches until nothing of it is alive; whether a heartbeat was ever acknowledged.
    fn watch(mut self, signals: &Signals) -> (End, bool) {
        let (mut killed, mut draining, mut connected) = (false, false, true);
        loop {
            connected = connected && self.hear();
            if let Some(end) = self.family.gone() {
                return (end, self.kill_at.is_some());
            }
            if !killed && self.kill_at.is_some_and(|at| boot_clock::now() >= at) {
                killed = true;
                let silent = self.patience.as_secs_f64();
                log::line(
                    "-",
                    &format!("no heartbeat was acknowledged for {silent} s: everything is killed"),
                );
                self.family.kill();
            }
            if !draining && signals.told_to_stop() {
                draining = true;
                self.family.signal(rustix::process::Signal::TERM);
            }
            let mut beside = Vec::new();
            if connected {
                beside.push(self.told.as_fd());
            }
            if !killed {
                beside.push(self.timer.as_fd());
            }
            let until = self.family.look_again().unwrap_or_else(|| Instant::now() + LONG);
            signals.wait_beside(&beside, until);
        }
    }

    /// Takes note of what the member says. `false`: it will say nothing more.
    fn hear(&mut self) -> bool {
        let mut bytes = [0; 8 * 64];
        loop {
            match self.told.read(&mut bytes) {
                Ok(0) => return false,
                Ok(n) => {
                    // The member writes eight bytes at once, and they stay together.
                    let sent =
                        bytes[..n].chunks_exact(8).filter_map(|b| b.try_into().ok()).map(u64::from_le_bytes);
                    let Some(last) = sent.max() else { continue };
                    let kill_at = Duration::from_nanos(last) + self.patience;
                    self.kill_at = Some(self.kill_at.map_or(kill_at, |at| at.max(kill_at)));
                    if let Err(e) = self.timer.set(kill_at) {
                        log::line("-", &format!("the watchdog has no timer: {e}"));
                        self.family.kill();
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return e.kind() == io::ErrorKind::WouldBlock,
            }
        }
    }
}
