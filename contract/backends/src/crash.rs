//! Crash points: before and after everything that leaves a trace outside of the process, a test can let the
//! process die as by `kill -9`.
//!
//! The calls are there in every build and do nothing, at no cost, unless the feature `crash-points` is on, which
//! no program that is shipped has. With it two variables, which workers inherit, arm them:
//!
//! | variable | meaning |
//! |---|---|
//! | `AGENT_RUNNER_CRASH_FOLDER` | where occurrences are counted, over all processes: a file for each point |
//! | `AGENT_RUNNER_CRASH_AT` | where to die, as in `orchestrator.close:before#1,worker.put:after#2`; unset: count only |
//!
//! A point fires once: whoever comes later finds a higher count. What died leaves its process id, and of a
//! worker the job, in the file `<point>#<occurrence>`.

use std::fmt;

/// Which process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// API and reconciler.
    Orchestrator,
    /// A worker.
    Worker,
}

/// When.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Moment {
    /// Nothing of the act was done.
    Before,
    /// The act was done, and nobody knows.
    After,
}

macro_rules! acts {
    ($($(#[$about:meta])+ $act:ident = $name:literal of $($side:ident)+;)+) => {
        /// What leaves a trace outside of the process.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Act {
            $($(#[$about])+ $act,)+
        }

        impl Act {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$act,)+];

            /// Its name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$act => $name,)+
                }
            }

            /// Who does it where tasks are processes and the records are in SQLite.
            #[must_use]
            pub const fn sides(self) -> &'static [Side] {
                match self {
                    $(Self::$act => &[$(Side::$side,)+],)+
                }
            }
        }
    };
}

acts! {
    /// [`crate::RecordsBackend::create`]
    Create = "create" of Orchestrator;
    /// [`crate::RecordsBackend::write_desired`]
    Desired = "desired" of Orchestrator;
    /// [`crate::RecordsBackend::write_control`]
    Control = "control" of Orchestrator;
    /// [`crate::RecordsBackend::claim`]; a draft alone is the first half of it.
    Claim = "claim" of Orchestrator;
    /// [`crate::RecordsBackend::seal`]
    Seal = "seal" of Orchestrator;
    /// [`crate::RecordsBackend::close`]
    Close = "close" of Orchestrator;
    /// [`crate::RecordsBackend::delete`]
    Delete = "delete" of Orchestrator;
    /// [`crate::RecordsBackend::start`], the gate: for a worker, or by one that has lost its orchestrator.
    Start = "start" of Orchestrator Worker;
    /// [`crate::RecordsBackend::heartbeat`], likewise.
    Heartbeat = "heartbeat" of Orchestrator Worker;
    /// [`crate::RecordsBackend::finish`], likewise.
    Finish = "finish" of Orchestrator Worker;
    /// A worker lets its orchestrator carry a report; see [`crate::relay`].
    AskStart = "ask-start" of Worker;
    /// Likewise.
    AskHeartbeat = "ask-heartbeat" of Worker;
    /// Likewise.
    AskFinish = "ask-finish" of Worker;
    /// The whole of a launch.
    Launch = "launch" of Orchestrator;
    /// A task's folder, ready and locked, gets its name.
    Folder = "folder" of Orchestrator;
    /// The worker is spawned into its folder.
    Spawn = "spawn" of Orchestrator;
    /// A task is asked to stop.
    Stop = "stop" of Orchestrator;
    /// Whatever is left of a task after the grace is killed.
    Kill = "kill" of Orchestrator;
    /// The whole of a publication.
    Publish = "publish" of Orchestrator;
    /// The first result of a job is linked.
    Link = "link" of Orchestrator;
    /// A later one replaces it.
    Relink = "relink" of Orchestrator;
    /// A closed attempt's task is forgotten.
    Forget = "forget" of Orchestrator;
    /// The folder of a task is removed; before that its lock file is gone.
    Remove = "remove" of Orchestrator;
    /// The whole of a collection.
    Collect = "collect" of Orchestrator;
    /// The artifacts of a job are deleted.
    Erase = "erase" of Orchestrator;
    /// The whole of storing an artifact.
    Put = "put" of Orchestrator Worker;
    /// Its content is written under a name that nobody reads.
    Draft = "draft" of Orchestrator Worker;
    /// It gets its name.
    Rename = "rename" of Orchestrator Worker;
    /// A worker writes into the lock file who it is.
    Introduce = "introduce" of Worker;
    /// It prepares its agent's folder.
    Prepare = "prepare" of Worker;
    /// It starts the agent.
    Agent = "agent" of Worker;
    /// It writes into the lock file who the agent is.
    IntroduceAgent = "introduce-agent" of Worker;
}

/// A place to die.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Point {
    /// Who.
    pub side: Side,
    /// Doing what.
    pub act: Act,
    /// When.
    pub moment: Moment,
}

impl Point {
    /// All of them.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let of = |act: Act| act.sides().iter().map(move |side| (*side, act));
        let moments = [Moment::Before, Moment::After];
        let of = Act::ALL.iter().copied().flat_map(of);
        of.flat_map(|(side, act)| moments.map(|moment| Self { side, act, moment })).collect()
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = match self.side {
            Side::Orchestrator => "orchestrator",
            Side::Worker => "worker",
        };
        let moment = match self.moment {
            Moment::Before => "before",
            Moment::After => "after",
        };
        write!(f, "{side}.{}:{moment}", self.act.name())
    }
}

/// Dies here if a test says so.
#[cfg(not(feature = "crash-points"))]
#[inline(always)]
pub const fn before(_: Act) {}

/// Dies here if a test says so.
#[cfg(not(feature = "crash-points"))]
#[inline(always)]
pub const fn after(_: Act) {}

#[cfg(feature = "crash-points")]
pub use armed::{after, before};

#[cfg(feature = "crash-points")]
mod armed {
    use super::{Act, Moment, Point, Side};
    use std::fs::File;
    use std::io::{self, Seek, Write};
    use std::path::PathBuf;
    use std::sync::{Mutex, OnceLock, PoisonError};

    /// What the variables say.
    struct Armed {
        folder: PathBuf,
        side: Side,
        /// Points with their occurrences, counted from 1.
        at: Vec<(Point, u64)>,
    }

    static ARMED: OnceLock<Option<Armed>> = OnceLock::new();

    /// Held from counting an occurrence to dying at it: what another thread would still count in a process that
    /// is about to die could be the occurrence at which the next process is to die.
    static COUNTING: Mutex<()> = Mutex::new(());

    /// Dies here if a test says so.
    pub fn before(act: Act) {
        pass(act, Moment::Before);
    }

    /// Dies here if a test says so.
    pub fn after(act: Act) {
        pass(act, Moment::After);
    }

    fn pass(act: Act, moment: Moment) {
        let Some(armed) = ARMED.get_or_init(Armed::read) else { return };
        let point = Point { side: armed.side, act, moment };
        let here = armed.at.iter().filter(|(at, _)| *at == point);
        let _counting = COUNTING.lock().unwrap_or_else(PoisonError::into_inner);
        let occurrence = armed.count(point).expect("occurrences of crash points can be counted");
        if here.into_iter().any(|(_, n)| *n == occurrence) {
            armed.die(point, occurrence);
        }
    }

    impl Armed {
        fn read() -> Option<Self> {
            let folder = PathBuf::from(std::env::var_os("AGENT_RUNNER_CRASH_FOLDER")?);
            let at = std::env::var("AGENT_RUNNER_CRASH_AT").unwrap_or_default();
            let at = at.split(',').filter(|one| !one.is_empty());
            // One that is mistyped would never fire, and a test would pass.
            let at = at.map(|one| parse(one).unwrap_or_else(|| panic!("{one} is no crash point"))).collect();
            let worker = std::env::var_os("AGENT_RUNNER_LAUNCH_TOKEN").is_some();
            let side = if worker { Side::Worker } else { Side::Orchestrator };
            Some(Self { folder, side, at })
        }

        /// Counts an occurrence: a byte at the end of a file, which the kernel lets only one process have.
        fn count(&self, point: Point) -> io::Result<u64> {
            let path = self.folder.join(point.to_string());
            let mut file = File::options().append(true).create(true).open(path)?;
            file.write_all(b".")?;
            file.stream_position()
        }

        fn die(&self, point: Point, occurrence: u64) -> ! {
            let pid = rustix::process::getpid();
            let job = std::env::var("AGENT_RUNNER_JOB_ID").unwrap_or_default();
            let path = self.folder.join(format!("{point}#{occurrence}"));
            std::fs::write(path, format!("{pid} {job}")).expect("a crash can be told");
            // As from outside, and without a dump of the memory; the rest is never reached.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            std::process::abort();
        }
    }

    fn parse(text: &str) -> Option<(Point, u64)> {
        let (name, occurrence) = text.split_once('#')?;
        let point = Point::all().into_iter().find(|point| point.to_string() == name)?;
        Some((point, occurrence.parse().ok().filter(|n| *n > 0)?))
    }
}
