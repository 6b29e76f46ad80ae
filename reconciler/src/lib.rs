//! The reconciler: a level-triggered loop that makes tasks agree with job records.
//!
//! A hint or the resync puts a *key* into the work queue; a pass over the key reads the record, its attempts
//! and the observed tasks, asks [`plan::plan`] what to do, does one thing, looks again, and at most four
//! times. Hints and resync share this one path, so a lost hint costs time and nothing else.
//!
//! | module | holds |
//! |---|---|
//! | `lead` | the lease and what runs while it is held |
//! | `queue`, `work`, `apply` | keys, passes, effects |
//! | `echo` | own writes that come back as hints |
//! | `observe`, `facts` | what a decision is made from |
//! | `admission`, `board` | slots and gauges, in memory |
//! | `scan` | edits of ended jobs that nobody announced |
//! | `resync` | the full comparison, orphans, collection |
//! | `pace` | pauses after errors |
//! | [`assembly`] | the parts, put together from the settings |
//! | [`tasks`] | the port to what executes attempts |

mod admission;
mod apply;
pub mod assembly;
mod board;
mod dry_run;
mod echo;
mod facts;
mod lead;
mod metrics;
mod observe;
mod pace;
mod queue;
mod resync;
mod room;
mod scan;
pub mod serve;
pub mod tasks;
mod work;

pub use dry_run::dry_run;
pub use lead::run;
pub use metrics::Metrics;

use backends::records::ReconcilerRecords;
use backends::{Artifacts, Clock, Hints, Lease, Random};
use contract::JobTypes;
use plan::{Limits, Policy};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tasks::Tasks;

/// What the reconciler works with.
#[derive(Clone)]
pub struct Parts {
    /// The records, as the reconciler may write them.
    pub records: ReconcilerRecords,
    /// Where results are published.
    pub artifacts: Arc<dyn Artifacts>,
    /// What executes attempts.
    pub tasks: Arc<dyn Tasks>,
    /// Leadership.
    pub lease: Arc<dyn Lease>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// What tokens, write ids and the spread of pauses are drawn from.
    pub random: Arc<dyn Random>,
    /// What job types there are.
    pub job_types: Arc<JobTypes>,
    /// Constants of the decisions.
    pub policy: Policy,
    /// The most jobs that hold an attempt at once.
    pub max_concurrent_tasks: u32,
    /// Between two full comparisons.
    pub resync_interval: Duration,
    /// Between the beginnings of two scans over ended jobs.
    pub scan_interval: Duration,
    /// Who this is, for people who look at the lease.
    pub holder: String,
}

impl Parts {
    fn limits(&self) -> Limits {
        let queues: BTreeMap<String, u32> = self.job_types.queues.clone();
        Limits { total: self.max_concurrent_tasks, queues }
    }
}

/// The hints are apart from [`Parts`] because they have one reader.
pub type BoxedHints = Box<dyn Hints>;
