//! The one way in which this crate changes `desired`: read, change, write while it is still what was read.
//! PATCH and the verbs differ in the change only.

use crate::Shared;
use crate::answer::etag;
use crate::author::{Author, LastChange};
use crate::problem::Problem;
use crate::query::IfMatch;
use crate::view::{Head, Seen};
use backends::{RecordsError, Retry, WriteAnswer};
use contract::{Desired, Job, JobId, Raw};

/// Rounds of read and write before a request gives up. Each lost round means that somebody else's edit of
/// the same job went through, so this many in a row is a quarrel of clients, not bad luck.
const ROUNDS: usize = 8;

/// What an edit led to.
pub(crate) struct Edited {
    /// The job with `desired` as it is now.
    pub(crate) job: Job,
    /// Whether this call changed it.
    pub(crate) changed: bool,
}

/// Replaces `desired` of a job by what `change` makes of the job, with the name of its author. `change` is called again
/// after each lost round, with the job as it is then; making of it what is stored already ends the edit without a write.
pub(crate) async fn edit(
    shared: &Shared,
    job_id: &JobId,
    condition: &IfMatch,
    author: &Author,
    mut change: impl FnMut(&Job, &Seen) -> Result<Desired, Problem>,
) -> Result<Edited, Problem> {
    let mut unanswered: Option<Raw<Desired>> = None;
    for _ in 0..ROUNDS {
        let mut job = read(shared, job_id).await?;
        // A write of an earlier round may have happened although no answer came.
        if unanswered.as_ref() == Some(&job.desired) {
            return Ok(Edited { job, changed: true });
        }
        let current = etag(job.desired.text());
        if !condition.allows(&current) {
            return Err(Problem::Changed { current });
        }
        let seen = Seen::of(&job);
        let desired = change(&job, &seen)?;
        if seen.desired.as_ref() == Ok(&desired) {
            return Ok(Edited { job, changed: false });
        }
        let desired = Raw::of(&author.signed(desired));
        match shared.app.records.write_desired(job_id, &job.desired, &desired).await {
            Ok(WriteAnswer::Written) => {
                // From now on the record names this author, so the log is what remembers.
                let last = LastChange::of(&job, &seen, &Head::of(job.desired.text()));
                if last.is_some_and(|last| last.is_direct_edit()) {
                    tracing::info!(%job_id, "desired was edited around the API before this change");
                }
                job.desired = desired;
                job.active = true;
                return Ok(Edited { job, changed: true });
            }
            Ok(WriteAnswer::Conflict) => unanswered = None,
            Ok(WriteAnswer::NotFound) => return Err(Problem::NoJob(job_id.to_string())),
            Err(e) if e.retry() == Retry::Uncertain => unanswered = Some(desired),
            // Our own checks passed, so the store knows something of this record that they do not.
            Err(RecordsError::Refused(message)) => return Err(Problem::Conflict(message)),
            Err(e) => return Err(e.into()),
        }
    }
    Err(Problem::Busy("others kept changing desired of this job meanwhile; ask again"))
}

/// Reads a job.
pub(crate) async fn read(shared: &Shared, job_id: &JobId) -> Result<Job, Problem> {
    shared.app.records.job(job_id).await?.ok_or_else(|| Problem::NoJob(job_id.to_string()))
}
