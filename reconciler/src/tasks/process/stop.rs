//! Stopping: SIGTERM to the worker, which stops its agent, kills what is left of it after the grace, and stores the
//! logs. SIGKILL to everything that is the task's when the worker has not ended some time after the grace, or is gone.
//! Nothing is signalled by number alone (see `recorded`).

use super::folder::Probe;
use super::holders::holders;
use super::recorded::{Identity, Target, signal, signal_group};
use super::table::{Entry, Worker};
use super::{Inner, LookAt};
use backends::crash::{self, Act};
use contract::LaunchToken;
use rustix::process::{Pid, Signal, getpgid};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::warn;

/// How often the holders of a lock are looked for when they are killed: one that forks while it is being
/// looked for leaves a child that only the next look finds.
const ROUNDS: u32 = 3;

/// Between two looks for somebody who has to be there.
const PAUSE: Duration = Duration::from_millis(10);

/// What a living worker has besides the grace. It alone sees all that its agent has started, whatever groups and
/// sessions they made, and it counts the grace from a moment later than this process does.
const BESIDES: Duration = Duration::from_secs(2);

/// What a call of stop has to do.
enum Step {
    Terminate,
    Wait,
    /// The grace is over, and what the worker has besides it is not.
    KillIn(Duration),
    Kill,
}

impl Inner {
    /// See `Tasks::stop`; the task is alive.
    pub(super) async fn stop(self: &Arc<Self>, token: &LaunchToken, grace: Duration) -> Result<(), String> {
        let inner = self.clone();
        let owned = token.clone();
        match self.step(token, grace) {
            Step::Wait => Ok(()),
            Step::KillIn(rest) => {
                self.kill_later(token, rest, Duration::ZERO);
                Ok(())
            }
            Step::Kill => blocking(self, move || inner.kill(&owned)).await,
            Step::Terminate => {
                self.kill_later(token, grace, BESIDES);
                match self.signal_child(token, Signal::TERM) {
                    Some(answer) => answer.map_err(words),
                    None => blocking(self, move || inner.terminate(&owned)).await,
                }
            }
        }
    }

    fn step(&self, token: &LaunchToken, grace: Duration) -> Step {
        let now = Instant::now();
        let mut table = self.table();
        let entry = table.entry(token.clone()).or_insert_with(|| Entry::new(None, now, Worker::Adopted));
        let asked_before = entry.stopping.is_some();
        let first = *entry.stopping.get_or_insert(now);
        let besides = if grace.is_zero() || entry.exit().is_some() { Duration::ZERO } else { BESIDES };
        let asked_for = now.duration_since(first);
        if asked_for >= grace + besides {
            Step::Kill
        } else if asked_for >= grace {
            Step::KillIn(grace + besides - asked_for)
        } else if asked_before {
            Step::Wait
        } else {
            Step::Terminate
        }
    }

    /// Kills after `grace`, and a living worker so much later, even if nobody asks again.
    fn kill_later(self: &Arc<Self>, token: &LaunchToken, grace: Duration, besides: Duration) {
        let (inner, token) = (self.clone(), token.clone());
        self.runtime.spawn(async move {
            tokio::time::sleep(grace).await;
            if matches!(inner.look(&token), LookAt::Alive(known) if !known.worker_gone) {
                tokio::time::sleep(besides).await;
            }
            // Without its folder a task can be found by what it holds only, which the kill looks for.
            if !matches!(inner.look(&token), LookAt::Stopped(..)) {
                let killing = inner.clone();
                if let Err(error) = blocking(&inner, move || killing.kill(&token)).await {
                    warn!(%error, "a task cannot be killed");
                }
            }
        });
    }

    /// Signals the worker if it is our child. The table's lock is held meanwhile, so nobody reaps it.
    fn signal_child(&self, token: &LaunchToken, sent: Signal) -> Option<io::Result<()>> {
        let mut table = self.table();
        let entry = table.get_mut(token)?;
        if !entry.worker_lives() {
            return None;
        }
        let Worker::Child(child) = &entry.worker else { return None };
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw)?;
        let sending = signal(pid, sent);
        Some(if sent == Signal::KILL { sending.and(signal_group(pid, sent)) } else { sending })
    }

    /// The task's processes that its lock file names and that still exist: the worker, the agent.
    fn recorded_targets(&self, token: &LaunchToken) -> (Option<Target>, Option<Target>) {
        let recorded = self.recorded(token);
        if recorded.boot_id.as_deref() != Some(&*self.boot_id) {
            return (None, None);
        }
        (recorded.worker.and_then(Identity::open), recorded.agent.and_then(Identity::open))
    }

    /// Asks a task to stop that is not our child: its worker, or without one whatever is left.
    fn terminate(&self, token: &LaunchToken) -> Result<(), String> {
        let (worker, agent) = self.recorded_targets(token);
        if let Some(worker) = worker {
            return worker.signal(Signal::TERM).map_err(words);
        }
        let mut answer = Answer::default();
        if let Some(agent) = &agent {
            answer.note(agent.signal_group(Signal::TERM));
        }
        // Once is enough: to some programs a second SIGTERM means "now".
        let group = agent.as_ref().map(Target::pid);
        match self.holders(token) {
            Ok(found) => {
                for holder in found.iter().filter(|h| group.is_none() || getpgid(Some(h.pid())).ok() != group)
                {
                    answer.note(holder.signal(Signal::TERM));
                }
            }
            Err(error) => answer.unsupported(error),
        }
        answer.result()
    }

    /// The task's processes. One that moves the lock from one descriptor to another just while its files are read, as a
    /// shell does for what it starts, is missed; then nobody is found although the lock is held, and the next look
    /// finds it.
    fn holders(&self, token: &LaunchToken) -> io::Result<Vec<Target>> {
        for _ in 1..ROUNDS {
            let found = holders(token)?;
            if !found.is_empty() || !matches!(self.root.probe(token), Ok(Probe::Held(_))) {
                return Ok(found);
            }
            std::thread::sleep(PAUSE);
        }
        holders(token)
    }

    /// Kills whatever is left of the task.
    fn kill(&self, token: &LaunchToken) -> Result<(), String> {
        crash::before(Act::Kill);
        let mut answer = Answer::default();
        // The worker first, so that it does not take its agent's death for an outcome.
        if let Some(sent) = self.signal_child(token, Signal::KILL) {
            answer.note(sent);
        }
        let (worker, agent) = self.recorded_targets(token);
        for target in [worker, agent].iter().flatten() {
            answer.note(target.signal_group(Signal::KILL).and(target.signal(Signal::KILL)));
        }
        for _ in 0..ROUNDS {
            match self.holders(token) {
                Ok(found) if found.is_empty() => break,
                Ok(found) => found.iter().for_each(|holder| answer.note(holder.signal(Signal::KILL))),
                Err(error) => {
                    answer.unsupported(error);
                    break;
                }
            }
        }
        crash::after(Act::Kill);
        answer.result()
    }
}

/// What came of several signals.
#[derive(Default)]
struct Answer {
    sent: bool,
    error: Option<io::Error>,
}

impl Answer {
    fn note(&mut self, answer: io::Result<()>) {
        match answer {
            Ok(()) => self.sent = true,
            Err(error) => self.error = Some(error),
        }
    }

    /// Where holders cannot be found, recorded processes have to do.
    fn unsupported(&mut self, error: io::Error) {
        if !self.sent {
            self.error.get_or_insert(error);
        }
    }

    /// Nobody to signal is a success: the last holder has just ended.
    fn result(self) -> Result<(), String> {
        self.error.map_or(Ok(()), |error| Err(words(error)))
    }
}

fn words(error: io::Error) -> String {
    format!("the task cannot be signalled: {error}")
}

async fn blocking(
    inner: &Inner,
    work: impl FnOnce() -> Result<(), String> + Send + 'static,
) -> Result<(), String> {
    inner.runtime.spawn_blocking(work).await.map_err(|error| error.to_string())?
}
