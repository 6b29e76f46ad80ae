//! The member: heartbeats, orders, slots, and the way out.

use super::boot_clock::{self, Timer};
use super::crew::Crew;
use super::health;
use super::settings::{Invocation, PoolSettings};
use super::slot;
use crate::signals::{Signals, poll_until};
use crate::{Exit, log};
use backends::redis::pool::{Member, PoolError};
use rustix::event::{PollFd, PollFlags};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long to wait for an order before the connection is used once more.
const ORDERS: Duration = Duration::from_secs(5);
/// After a call that failed.
const AGAIN: Duration = Duration::from_millis(200);
/// Between two tries to leave the pool. A slot that becomes free ends the wait.
const LEAVE_AGAIN: Duration = Duration::from_millis(200);
/// What an attempt that is stopped to drain gets on top of its grace, to store its logs and to report.
const SLACK: Duration = Duration::from_secs(5);
/// A wait that a signal ends.
const LONG: Duration = Duration::from_secs(3600);

/// Works for the pool until it is told to stop.
pub(super) fn run(settings: PoolSettings, invocation: Invocation) -> Exit {
    match start(settings, invocation) {
        Ok((crew, signals)) => serve(&crew, &signals),
        Err(e) => {
            log::line("-", &format!("the member of the pool cannot start: {e}"));
            Exit::Internal
        }
    }
}

fn start(settings: PoolSettings, invocation: Invocation) -> io::Result<(Arc<Crew>, Signals)> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let signals = Signals::watch()?;
    let watchdog = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let heard = watchdog.try_clone()?;
    let crew = Arc::new(Crew::new(settings, invocation, watchdog));
    let watching = crew.clone();
    spawn("lifeline", move || {
        // The watchdog never writes.
        while matches!((&heard).read(&mut [0]), Err(e) if e.kind() == io::ErrorKind::Interrupted) {}
        watching.die("the watchdog is gone")
    })?;
    Ok((crew, signals))
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name(name.into()).spawn(work).map(drop)
}

fn serve(crew: &Arc<Crew>, signals: &Signals) -> Exit {
    let (mut registered, mut tries) = (false, 0);
    while !registered {
        if signals.told_to_stop() {
            return Exit::Done;
        }
        if !crew.look_at_folder() {
            signals.wait(Instant::now() + 5 * AGAIN);
            continue;
        }
        tries += 1;
        registered = match work(crew, tries) {
            Ok(()) => true,
            Err(e) => {
                log::line("-", &format!("the pool cannot be joined: {e}"));
                signals.wait(Instant::now() + 5 * AGAIN);
                false
            }
        };
    }
    while !signals.told_to_stop() {
        signals.wait(Instant::now() + LONG);
    }
    drain(crew)
}

/// Registers, and starts the threads. `beat`: higher with each try, since an earlier one may have been heard.
fn work(crew: &Arc<Crew>, beat: u64) -> Result<(), PoolError> {
    let settings = &crew.settings;
    let connection = || Member::new(&settings.url, &settings.id);
    let (mut heart, ears) = (connection()?, connection()?);
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let sent = boot_clock::now();
    heart.register(crew.invocation.slots, settings.lease, &host, beat, &settings.predecessor)?;
    crew.acknowledged(sent);
    note_health(settings, sent);
    // From here on others count on this worker, and threads of it may run: a second try would give slots a second one.
    if let Err(e) = start_threads(crew, beat, heart, ears) {
        crew.die(&format!("the pool was joined, and cannot be worked in: {e}"));
    }
    let (slots, lease) = (crew.invocation.slots, settings.lease.as_secs());
    log::line("-", &format!("in the pool as {} with {slots} slots and a lease of {lease} s", settings.id));
    Ok(())
}

/// Starts the threads.
fn start_threads(crew: &Arc<Crew>, beat: u64, heart: Member, ears: Member) -> Result<(), PoolError> {
    let settings = &crew.settings;
    let failed = |e: io::Error| PoolError::Unavailable(format!("no thread: {e}"));
    let (own, timer) = (crew.clone(), Timer::new().map_err(failed)?);
    spawn("watch", move || watch(&own, &timer)).map_err(failed)?;
    let own = crew.clone();
    spawn("heartbeats", move || beats(&own, beat, heart)).map_err(failed)?;
    let own = crew.clone();
    spawn("orders", move || orders(&own, ears)).map_err(failed)?;
    for slot in 0..crew.invocation.slots {
        let (own, member) = (crew.clone(), Member::new(&settings.url, &settings.id)?);
        spawn("slot", move || slot::run(&own, slot, member)).map_err(failed)?;
    }
    Ok(())
}

/// Ends everything when it is time. Waits for nothing but its clock: a call to a server that stands still can
/// last longer than any limit that the client knows.
fn watch(crew: &Crew, timer: &Timer) {
    loop {
        let until = crew.check().min(boot_clock::now() + crew.settings.beat_every());
        if let Err(e) = timer.set(until) {
            crew.die(&format!("there is no timer: {e}"));
        }
        poll_until(&mut [PollFd::new(timer, PollFlags::IN)], Instant::now() + LONG);
    }
}

/// Says that the worker is alive, and hears what it is to stop in case an order was lost.
fn beats(crew: &Crew, mut number: u64, mut member: Member) {
    let every = crew.settings.beat_every();
    let mut failing = false;
    loop {
        std::thread::sleep(every);
        number += 1;
        let sent = boot_clock::now();
        match member.beat(number, every * 2) {
            Ok(Some(stops)) => {
                failing = false;
                crew.acknowledged(sent);
                stops.iter().for_each(|order| crew.order(order));
                tend(crew, &mut member, sent);
            }
            Ok(None) => crew.die("the worker was struck off the pool"),
            Err(e) => {
                if !failing {
                    log::line("-", &e.to_string());
                }
                failing = true;
            }
        }
    }
}

/// Offers slots only while tasks can have their folders, and is healthy only then. What fails here comes again with
/// the next heartbeat.
fn tend(crew: &Crew, member: &mut Member, sent: Duration) {
    let before = crew.is_withdrawn();
    let is_well = crew.look_at_folder();
    if is_well {
        note_health(&crew.settings, sent);
    }
    if (before || !is_well) && member.withdraw(!is_well).is_err() {
        log::line("-", "the pool could not be told whether slots are offered");
    }
}

/// Here and not in the watchdog, which waits for no disk.
fn note_health(settings: &PoolSettings, sent: Duration) {
    if let Err(e) = health::note(&settings.folder, sent + settings.patience()) {
        log::line("-", &format!("the health of the worker cannot be written down: {e}"));
    }
}

fn orders(crew: &Crew, mut member: Member) {
    loop {
        match member.wait_for_order(ORDERS) {
            Ok(order) => order.iter().for_each(|order| crew.order(order)),
            // Said by the heartbeats.
            Err(_) => std::thread::sleep(AGAIN),
        }
    }
}

/// Takes nothing more, and waits for what runs; then stops it.
fn drain(crew: &Crew) -> Exit {
    crew.draining.store(true, Ordering::SeqCst);
    let until = Instant::now() + crew.settings.drain;
    log::line("-", "told to stop: nothing more is taken");
    let mut member = match Member::new(&crew.settings.url, &crew.settings.id) {
        Ok(member) => member,
        Err(e) => crew.die(&e.to_string()),
    };
    let mut drained = false;
    let mut stopped = false;
    loop {
        drained = drained || member.drain().is_ok();
        if drained && matches!(member.leave(), Ok(true)) {
            return Exit::Done;
        }
        let idle = crew.wait_for_free(LEAVE_AGAIN);
        if idle && Instant::now() >= until {
            // The pool is away, or an answer was lost: silence tells it that this worker is gone.
            return Exit::Done;
        }
        if !stopped && Instant::now() >= until {
            stopped = true;
            log::line("-", "what still runs is stopped");
            crew.stop_all(SLACK);
        }
    }
}
