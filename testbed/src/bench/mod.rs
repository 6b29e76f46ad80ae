//! The benchmark of the main job: everything in one run, interleaved, medians over the rounds.
//!
//! Machines that share their cores change speed by tens of percent within minutes. What is compared is
//! therefore measured in the same round, one after the other, and compared round by round; a figure is the
//! median of its rounds.
//!
//! Nothing is deleted before the end: ext4 without a journal keeps the inodes of deleted files apart for
//! minutes and passes over each of them whenever a file is made, which would make every round slower than
//! the one before, the programs it is compared with included. A run that follows another one within five
//! minutes can still suffer from that.

pub mod creation;
pub mod figures;
pub mod http;
pub mod idle;
pub mod killed;
pub mod latency;
pub mod load;
pub mod node;
#[cfg(feature = "redis")]
pub mod pool;
pub mod resync;
mod run;
pub mod stats;

pub use run::{Options, run};

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Why a measurement broke off.
pub struct Failed(String);

impl Failed {
    /// With these words.
    pub fn new(words: impl Into<String>) -> Self {
        Self(words.into())
    }
}

impl<E: std::error::Error> From<E> for Failed {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Makes a folder that nobody has used before.
fn new_folder(work: &Path, name: &str) -> Result<PathBuf, Failed> {
    static NEXT: AtomicUsize = AtomicUsize::new(1);
    let folder = work.join(format!("{name}-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// What is executed; absolute paths.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The release build of `agent-runner`, which is also the worker.
    pub agent_runner: PathBuf,
    /// `peers/echo.c`
    pub echo: PathBuf,
    /// `peers/agent.c`
    pub agent: PathBuf,
}

impl Programs {
    /// Compiles the C programs into `work`, statically, as small programs are shipped.
    ///
    /// # Errors
    /// No C compiler, or no static libc.
    pub fn build(agent_runner: &Path, work: &Path) -> Result<Self, Failed> {
        let build = |name: &str, source: &str| {
            let (from, to) = (work.join(format!("{name}.c")), work.join(name));
            std::fs::write(&from, source)?;
            let status = Command::new("cc").args(["-static", "-O2", "-o"]).arg(&to).arg(&from).status()?;
            if status.success() { Ok(to) } else { Err(Failed::new(format!("cc could not build {name}"))) }
        };
        Ok(Self {
            agent_runner: std::fs::canonicalize(agent_runner)?,
            echo: build("echo", include_str!("../../peers/echo.c"))?,
            agent: build("agent", include_str!("../../peers/agent.c"))?,
        })
    }
}
