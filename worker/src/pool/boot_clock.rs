//! The time since the machine was started, which goes on while it sleeps, and a timer by it.

use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// The time since the machine was started.
pub(super) fn now() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    let (seconds, nanos) = (u64::try_from(now.tv_sec), u32::try_from(now.tv_nsec));
    Duration::new(seconds.unwrap_or(0), nanos.unwrap_or(0))
}

/// Readable from a point in time on.
#[derive(Debug)]
pub(super) struct Timer(OwnedFd);

impl Timer {
    pub(super) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        Ok(Self(timerfd_create(TimerfdClockId::Boottime, flags)?))
    }

    /// Replaces the point in time.
    pub(super) fn set(&self, at: Duration) -> io::Result<()> {
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        // Zero would mean never.
        let at = at.max(Duration::from_nanos(1));
        let it_value = Timespec {
            tv_sec: i64::try_from(at.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: at.subsec_nanos().into(),
        };
        let spec = Itimerspec { it_interval: zero, it_value };
        timerfd_settime(&self.0, TimerfdTimerFlags::ABSTIME, &spec)?;
        Ok(())
    }
}

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signals::poll_until;
    use rustix::event::{PollFd, PollFlags};
    use std::time::Instant;

    #[test]
    fn a_timer_is_readable_from_its_time_on_and_not_before() {
        let timer = Timer::new().unwrap();
        let ready = |for_ms| {
            let until = Instant::now() + Duration::from_millis(for_ms);
            poll_until(&mut [PollFd::new(&timer, PollFlags::IN)], until)
        };
        timer.set(now() + Duration::from_secs(3600)).unwrap();
        assert!(!ready(1));
        timer.set(now() + Duration::from_millis(20)).unwrap();
        assert!(ready(10_000));
        timer.set(Duration::ZERO).unwrap();
        assert!(ready(0), "a time that has passed");
    }
}
