//! What is told about one job: why it is where it is, its attempts, its events, its files.

use super::{Any, BrokenSection, FieldProblem, ReasonWord, StatusWord};
use utoipa::ToSchema;

described! {
    /// Why a job is where it is.
    Explanation {
        /// The job.
        job_id: String,
        /// One of four words.
        #[schema(value_type = StatusWord)]
        status: String,
        /// The primary reason.
        #[schema(required = true, value_type = Option<ReasonWord>)]
        reason: Option<String>,
        /// The reason in words.
        message: String,
        /// Everything else that would keep the job from going on. A limit that a job would wait for if nothing else
        /// kept it is told as it is now, and unless more than 1000 jobs are active.
        blockers: Vec<BlockerDocument>,
        /// Since when the reason holds: when the run ended, when the attempt started, else when the reconciler stored
        /// this reason first. Of records that an earlier version wrote it is the newest time that they hold. Null when
        /// nobody can tell.
        #[schema(required = true)]
        since: Option<String>,
        /// What comes next.
        next: NextDocument,
        /// Its place in the line; absent unless it waits for a slot, or when more than 1000 jobs are active.
        position: Option<PositionDocument>,
        /// Fields of desired that cannot be decoded.
        errors: Option<Vec<FieldProblem>>,
        /// The same as a list, as Kubernetes has it: always these six, in this order.
        conditions: Vec<ConditionDocument>,
    }
    /// What holds of a job, and since when. It is told from the records when it is asked for, and stored nowhere.
    ConditionDocument {
        /// `Accepted` (what is wanted can be decoded and launched), `Suspended`, `Admitted` (it has a slot: an attempt is
        /// claimed and not closed), `Running` (the attempt has passed its start gate), `Finished`, `Succeeded`.
        #[schema(rename = "type")]
        kind: String,
        /// `True`, `False` or `Unknown`.
        status: String,
        /// Since when the status is this; null where no record tells. `Accepted` counts from the last change by the API.
        #[schema(required = true)]
        since: Option<String>,
        /// The reason of the job, where it explains the status.
        #[schema(required = true, value_type = Option<ReasonWord>)]
        reason: Option<String>,
        /// The reason in words.
        message: String,
    }
    /// Something else that would keep a job from going on.
    BlockerDocument {
        /// Its word.
        #[schema(value_type = ReasonWord)]
        reason: String,
        /// In words, with the facts.
        message: String,
    }
    /// A place among those that wait for the same limit.
    PositionDocument {
        /// 1 is next.
        place: usize,
        /// How many wait.
        of: usize,
        /// `total`, or `queue <name>`.
        limit: String,
        /// How many jobs hold a slot of this limit.
        running: usize,
    }
    /// What comes next.
    NextDocument {
        /// In words.
        what: String,
        /// When.
        at: Option<String>,
        /// `nobody`, `you` or `operator`.
        who: String,
    }
    /// The attempts of a job.
    AttemptList {
        /// The job.
        job_id: String,
        /// Oldest first.
        attempts: Vec<AttemptDocument>,
    }
    /// An attempt.
    AttemptDocument {
        /// From 1 over the job's life; null when the claim cannot be decoded.
        #[schema(required = true)]
        number: Option<u32>,
        /// The run it belongs to.
        #[schema(required = true)]
        run: Option<u32>,
        /// The first digits of the launch token.
        token: String,
        /// `launching`, `running`, `finished`, `stopping` or `closed`.
        state: String,
        /// RFC 3339, like the others.
        #[schema(required = true)]
        claimed_at: Option<String>,
        /// By the worker's clock.
        #[schema(required = true)]
        started_at: Option<String>,
        /// By the worker's clock.
        #[schema(required = true)]
        heartbeat_at: Option<String>,
        /// By the worker's clock.
        #[schema(required = true)]
        finished_at: Option<String>,
        /// When it was certain that nothing of it is alive.
        #[schema(required = true)]
        closed_at: Option<String>,
        /// Sections that cannot be decoded.
        invalid: Option<Vec<BrokenSection>>,
        /// The start gate.
        #[schema(required = true)]
        gate: Option<Any>,
        /// What the worker reported.
        #[schema(required = true)]
        report: Option<Any>,
        /// How it was closed, with the evidence.
        #[schema(required = true)]
        closing: Option<Any>,
    }
    /// The events of a job.
    EventList {
        /// The job.
        job_id: String,
        /// Oldest first.
        events: Vec<EventDocument>,
    }
    /// Something that happened.
    EventDocument {
        /// RFC 3339.
        at: String,
        /// `created`, `edited`, `claimed`, `started`, `finished`, `closed` or `ended`.
        event: String,
        /// `Normal`, or `Warning` for what somebody may want to look at.
        #[schema(rename = "type")]
        kind: String,
        /// One word for what happened: the reason of an end, the class of a failure, why an attempt was left.
        reason: String,
        /// The attempt.
        attempt: Option<u32>,
        /// In words.
        message: String,
        /// How many such events are told together; the rest is of the last of them.
        count: u64,
    }
    /// The files of a job.
    ArtifactList {
        /// The job.
        job_id: String,
        /// By path.
        artifacts: Vec<ArtifactDocument>,
    }
    /// A file.
    ArtifactDocument {
        /// Below the job's folder.
        path: String,
        /// Bytes.
        size: u64,
        /// Where to get it.
        url: String,
    }
}
