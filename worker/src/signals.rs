//! Signals as events of the one wait loop: SIGTERM and SIGINT mean stop, SIGCHLD that a child has ended.
//! Watched only where the worker waits for something; a signal before or after does what it does by
//! default, and the task's end is then all the evidence there is.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::{SIGCHLD, SIGINT, SIGTERM};
use signal_hook::{flag, low_level::pipe};
use std::io::{self, Read};
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// The signals that arrived since [`Signals::watch`].
#[derive(Debug)]
pub(crate) struct Signals {
    wakes: UnixStream,
    stop: Arc<AtomicBool>,
}

impl Signals {
    /// Starts watching.
    ///
    /// # Errors
    /// No descriptors left.
    pub(crate) fn watch() -> io::Result<Self> {
        let (wakes, waker) = UnixStream::pair()?;
        wakes.set_nonblocking(true)?;
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT] {
            // Before the pipe: actions run in this order, so whoever is woken sees the flag.
            flag::register(signal, stop.clone())?;
            pipe::register(signal, waker.try_clone()?)?;
        }
        pipe::register(SIGCHLD, waker)?;
        Ok(Self { wakes, stop })
    }

    /// Is told through these in place of signals: `stop` is set and then something written to `wakes`, which
    /// does not block.
    #[cfg(all(feature = "redis", target_os = "linux"))]
    pub(crate) fn told_by(wakes: UnixStream, stop: Arc<AtomicBool>) -> Self {
        Self { wakes, stop }
    }

    /// Whether somebody told the worker to stop.
    pub(crate) fn told_to_stop(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Waits until `until`, or for a signal that has not been waited for yet.
    pub(crate) fn wait(&self, until: Instant) {
        self.wait_beside(&[], until);
    }

    /// Waits for one of `others` as well.
    pub(crate) fn wait_beside(&self, others: &[BorrowedFd<'_>], until: Instant) {
        let mut fds = vec![PollFd::new(&self.wakes, PollFlags::IN)];
        fds.extend(others.iter().map(|other| PollFd::from_borrowed_fd(*other, PollFlags::IN)));
        if poll_until(&mut fds, until) {
            let mut bytes = [0; 64];
            while matches!((&self.wakes).read(&mut bytes), Ok(n) if n > 0) {}
        }
    }
}

/// Waits until one of `fds` is ready or `until` has come; whether one is ready.
pub(crate) fn poll_until(fds: &mut [PollFd<'_>], until: Instant) -> bool {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(fds, Some(&left)) {
            Err(rustix::io::Errno::INTR) => {}
            answer => return answer.is_ok_and(|ready| ready > 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_wait_ends_with_a_signal_or_its_time() {
        let signals = Signals::watch().unwrap();
        let start = Instant::now();
        signals.wait(start + Duration::from_millis(20));
        assert!(start.elapsed() >= Duration::from_millis(20));
        assert!(!signals.told_to_stop());
        signal_hook::low_level::raise(SIGTERM).unwrap();
        signals.wait(start + Duration::from_secs(3600));
        assert!(signals.told_to_stop());
    }
}
