//! What the threads of a member share.

use super::boot_clock;
use super::children::Children;
use super::folder;
use super::settings::{Invocation, PoolSettings};
use crate::log;
use backends::records::WorkerRecords;
use backends::redis::pool::{Assigned, StopOrder};
use contract::LaunchToken;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What the threads of a member share.
pub(super) struct Crew {
    pub(super) settings: PoolSettings,
    pub(super) invocation: Invocation,
    pub(super) children: Children,
    /// Nothing is started any more.
    pub(super) draining: AtomicBool,
    /// Why no slots are offered, while that is so.
    withdrawn: Mutex<Option<String>>,
    offered: Condvar,
    /// Opened by the first attempt that this process executes, and used by all.
    pub(super) records: Mutex<Option<WorkerRecords>>,
    watchdog: UnixStream,
    /// When the last heartbeat that was acknowledged had been sent: nanoseconds of the boot clock.
    acknowledged: AtomicU64,
    folders: AtomicU64,
    slots: Mutex<Vec<Option<Current>>>,
    freed: Condvar,
}

/// What a slot executes.
struct Current {
    token: LaunchToken,
    grace: Duration,
    /// Executed by this process.
    inside: bool,
    stop: Arc<AtomicBool>,
    waker: UnixStream,
    asked: Option<Instant>,
    kill_at: Option<Instant>,
}

/// How a slot hears of orders for what it executes.
pub(super) struct Ears {
    /// Whether it is to stop.
    pub(super) stop: Arc<AtomicBool>,
    /// Readable after each order; does not block.
    pub(super) wakes: UnixStream,
}

impl Crew {
    pub(super) fn new(settings: PoolSettings, invocation: Invocation, watchdog: UnixStream) -> Self {
        let slots = (0..invocation.slots).map(|_| None).collect();
        Self {
            settings,
            invocation,
            children: Children::default(),
            draining: AtomicBool::new(false),
            withdrawn: Mutex::default(),
            offered: Condvar::new(),
            records: Mutex::default(),
            watchdog,
            acknowledged: AtomicU64::new(0),
            folders: AtomicU64::new(0),
            slots: Mutex::new(slots),
            freed: Condvar::new(),
        }
    }

    fn slots(&self) -> MutexGuard<'_, Vec<Option<Current>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the watchdog that the heartbeat of this time was acknowledged.
    pub(super) fn acknowledged(&self, sent: Duration) {
        let nanos = u64::try_from(sent.as_nanos()).unwrap_or(u64::MAX);
        self.acknowledged.fetch_max(nanos, Ordering::SeqCst);
        // A watchdog that does not read is stopped, and the buffer full; this process then watches alone.
        let _ = (&self.watchdog).write_all(&nanos.to_le_bytes());
    }

    /// A folder for a task, which no other has. Its agent sees the name, so the token is not part of it.
    pub(super) fn folder(&self) -> PathBuf {
        let number = self.folders.fetch_add(1, Ordering::Relaxed);
        self.settings.folder_of(&self.settings.id).join(number.to_string())
    }

    /// The slot is at work on `assigned` from now on.
    pub(super) fn begin(&self, slot: u32, assigned: &Assigned) -> io::Result<Ears> {
        let (wakes, waker) = UnixStream::pair()?;
        wakes.set_nonblocking(true)?;
        waker.set_nonblocking(true)?;
        let stop = Arc::new(AtomicBool::new(false));
        let current = Current {
            token: assigned.token.clone(),
            grace: assigned.grace,
            inside: assigned.inside,
            stop: stop.clone(),
            waker,
            asked: None,
            kill_at: None,
        };
        if let Some(place) = self.slots().get_mut(slot as usize) {
            *place = Some(current);
        }
        Ok(Ears { stop, wakes })
    }

    /// Nothing of what the slot executed is alive; there is nothing to stop any more.
    pub(super) fn over(&self, slot: u32) {
        if let Some(Some(current)) = self.slots().get_mut(slot as usize) {
            current.inside = false;
        }
    }

    /// The slot is free again.
    pub(super) fn end(&self, slot: u32) {
        if let Some(place) = self.slots().get_mut(slot as usize) {
            *place = None;
        }
        self.freed.notify_all();
    }

    /// Stops a task, if it is here. Repeating it changes nothing; the grace counts from the first time.
    pub(super) fn order(&self, order: &StopOrder) {
        let mut slots = self.slots();
        for current in slots.iter_mut().flatten().filter(|current| current.token == order.token) {
            current.stop(order.grace);
        }
    }

    /// Stops every task, each with its own grace and `slack`.
    pub(super) fn stop_all(&self, slack: Duration) {
        for current in self.slots().iter_mut().flatten() {
            current.stop(current.grace.saturating_add(slack));
        }
    }

    /// When the slot's task is to be killed.
    pub(super) fn kill_at(&self, slot: u32) -> Option<Instant> {
        self.slots().get(slot as usize)?.as_ref()?.kill_at
    }

    /// Whether something that this process executes does not end although its grace is over.
    pub(super) fn is_stuck(&self) -> bool {
        let now = Instant::now();
        self.slots()
            .iter()
            .flatten()
            .any(|current| current.inside && current.kill_at.is_some_and(|at| now >= at))
    }

    /// Waits until a slot was freed, or until `until`; whether every slot is free.
    pub(super) fn wait_for_free(&self, at_most: Duration) -> bool {
        let slots = self.slots();
        let waited = self.freed.wait_timeout(slots, at_most).unwrap_or_else(PoisonError::into_inner);
        waited.0.iter().all(Option::is_none)
    }

    /// Whether nothing may be started any more.
    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    fn withdrawn(&self) -> MutexGuard<'_, Option<String>> {
        self.withdrawn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the folder of the tasks: `false` while no task can have one, and nothing is to be taken.
    pub(super) fn look_at_folder(&self) -> bool {
        let place = &self.settings.folder;
        let why = folder::check(place).err().map(|e| format!("{} cannot be written: {e}", place.display()));
        let mut withdrawn = self.withdrawn();
        match (&why, &*withdrawn) {
            (Some(why), before) if before.as_ref() != Some(why) => {
                log::line("-", &format!("UNHEALTHY, no slots are offered: the folder of the tasks {why}"));
            }
            (None, Some(_)) => log::line("-", "the folder of the tasks can be written again"),
            _ => {}
        }
        let is_well = why.is_none();
        *withdrawn = why;
        if is_well {
            self.offered.notify_all();
        }
        is_well
    }

    /// Whether nothing is to be taken because of the folder of the tasks.
    pub(super) fn is_withdrawn(&self) -> bool {
        self.withdrawn().is_some()
    }

    /// Waits until slots are offered, or for `at_most`.
    pub(super) fn wait_until_offered(&self, at_most: Duration) {
        let withdrawn = self.withdrawn();
        if withdrawn.is_some() {
            drop(self.offered.wait_timeout(withdrawn, at_most));
        }
    }

    /// Ends this process when everything that it runs is gone.
    pub(super) fn die(&self, why: &str) -> ! {
        log::line("-", &format!("{why}: everything is killed"));
        self.children.end_all();
        std::process::exit(70)
    }

    /// Kills everything if the heartbeat that was acknowledged last was sent too long ago. Otherwise, when that
    /// will be the case, on the boot clock.
    pub(super) fn check(&self) -> Duration {
        let acknowledged = Duration::from_nanos(self.acknowledged.load(Ordering::SeqCst));
        let until = acknowledged + self.settings.patience();
        if boot_clock::now() >= until {
            self.die("no heartbeat was acknowledged for half the lease");
        }
        if self.is_stuck() {
            self.die("an echo did not end within its grace");
        }
        until
    }
}

impl Current {
    fn stop(&mut self, grace: Duration) {
        let asked = *self.asked.get_or_insert_with(Instant::now);
        // A grace that no clock reaches is none at all.
        let at = asked.checked_add(grace);
        self.kill_at = match (self.kill_at, at) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        // Before the byte: whoever is woken sees it.
        self.stop.store(true, Ordering::SeqCst);
        let _ = self.waker.write(&[0]);
    }
}
