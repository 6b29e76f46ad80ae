//! The bodies as the OpenAPI document describes them. They are described here and not derived from what is
//! serialised, because most answers are stored text that is passed on as it is. Words come from the
//! contract; tests compare the fields with real answers.

use crate::problem::FieldProblem;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{Object, ObjectBuilder, OneOfBuilder, Ref, Schema, SchemaType, Type};
use utoipa::{PartialSchema, ToSchema};

/// One of a closed set of words of the contract.
macro_rules! word {
    ($($name:ident = $words:ty;)*) => { $(
        struct $name;
        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                words(<$words>::ALL.iter().map(|w| w.as_str())).into()
            }
        }
        impl ToSchema for $name {}
    )* };
}
word! {
    StatusWord = contract::Status;
    ReasonWord = contract::Reason;
    CapacityWord = contract::desired::Capacity;
    ActionWord = contract::desired::FailureAction;
    ClassWord = contract::FailureClass;
}

fn words(all: impl Iterator<Item = &'static str>) -> Object {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(all)).build()
}

macro_rules! described {
    ($($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident: $kind:ty,)* })*) => { $(
        $(#[$doc])*
        #[derive(ToSchema)]
        #[allow(dead_code, reason = "describes a body in the OpenAPI document")]
        pub(crate) struct $name { $($(#[$fdoc])* $field: $kind,)* }
    )* };
}

mod told;
pub(crate) use told::{ArtifactList, AttemptList, EventList, Explanation};

/// Any JSON value, null among them.
pub(crate) struct Any;

impl PartialSchema for Any {
    fn schema() -> RefOr<Schema> {
        // All of them by name: utoipa cannot read back a schema that leaves the type out.
        let all = [Type::Object, Type::Array, Type::String, Type::Number, Type::Boolean, Type::Null];
        let any = ObjectBuilder::new().schema_type(SchemaType::from_iter(all));
        any.description(Some("Any JSON value.")).into()
    }
}

impl ToSchema for Any {}

described! {
    /// What is wanted of a job. Everything but `job_type` has a default, which the job type may set.
    JobRequest {
        /// An entry of the job-types file, or `echo`. Never changes.
        #[schema(example = "echo", required = true)]
        job_type: String,
        /// Any JSON value up to 256 KiB, nested at most 100 deep, handed to the agent unchanged; default `{}`.
        payload: Option<Any>,
        /// Tries per run that count; default 3.
        #[schema(minimum = 1, maximum = 100)]
        max_attempts: Option<u32>,
        /// From the start of an attempt to its stop; default 3600.
        #[schema(minimum = 1, maximum = 1123200)]
        attempt_timeout_seconds: Option<u64>,
        /// From the claim of an attempt until its worker must have started; default 600.
        #[schema(minimum = 1, maximum = 86400)]
        start_timeout_seconds: Option<u64>,
        /// Over waiting and all tries of a run; default 86400.
        #[schema(minimum = 1, maximum = 1123200)]
        active_deadline_seconds: Option<u64>,
        /// The pause before the next try.
        backoff: Option<BackoffRequest>,
        /// Rules that decide on a failed attempt before the budgets do; the first match decides.
        failure_policy: Option<FailurePolicyRequest>,
        /// Higher goes first; default 0.
        #[schema(minimum = -1000, maximum = 1000)]
        priority: Option<i32>,
        /// A named concurrency limit of the job-types file.
        queue: Option<String>,
        /// The size of the task; a combination that Fargate offers.
        resources: Option<ResourcesRequest>,
        /// Default `on_demand`.
        #[schema(value_type = Option<CapacityWord>)]
        capacity: Option<String>,
        /// Environment of the agent: at most 100 names, names and values together at most 16 KiB.
        #[schema(value_type = Object, required = false)]
        env: Option<String>,
        /// For people and filters: at most 32; names of up to 63 characters, values of up to 256 bytes.
        #[schema(value_type = Object, required = false)]
        labels: Option<String>,
        /// Default 604800: seven days.
        #[schema(minimum = 0, maximum = 315360000)]
        ttl_seconds_after_finished: Option<u64>,
        /// Fails the job when its estimated cost passes this.
        #[schema(minimum = 0.000001, maximum = 1000000.0)]
        max_cost_usd: Option<f64>,
        /// Hold the job.
        suspend: Option<bool>,
        /// End the job as FAILED/Cancelled.
        cancel: Option<bool>,
        /// Grows by one for each forced retry; never shrinks.
        #[schema(minimum = 0, maximum = 1000000000)]
        retry: Option<u64>,
    }
    /// `min(initial_seconds * factor^n, max_seconds)`, with 10 % jitter.
    BackoffRequest {
        /// Default 10.
        #[schema(minimum = 0, maximum = 86400)]
        initial_seconds: Option<u64>,
        /// Default 2.
        #[schema(minimum = 1, maximum = 10)]
        factor: Option<u32>,
        /// Default 300.
        #[schema(minimum = 0, maximum = 86400)]
        max_seconds: Option<u64>,
    }
    /// Ordered rules.
    FailurePolicyRequest {
        /// At most 20.
        #[schema(max_items = 20)]
        rules: Vec<FailureRuleRequest>,
    }
    /// Matches when every list that is there holds the attempt's value.
    FailureRuleRequest {
        /// Exit codes of the agent.
        exit_codes: Option<Vec<i32>>,
        /// Failure classes.
        #[schema(value_type = Option<Vec<ClassWord>>)]
        classes: Option<Vec<String>>,
        /// Stop codes of the task runtime, verbatim. None is known of an attempt whose worker reported how the agent ended; of one that was told to stop (`Interrupted`) it is.
        stop_codes: Option<Vec<String>>,
        /// What to do.
        #[schema(value_type = ActionWord)]
        action: String,
    }
    /// The size of a task.
    ResourcesRequest {
        /// 1024 units are one vCPU.
        #[schema(minimum = 256, maximum = 16384)]
        cpu: u32,
        /// MiB.
        #[schema(minimum = 512, maximum = 122880)]
        memory_mib: u32,
        /// 21 to 200.
        #[schema(minimum = 21, maximum = 200)]
        ephemeral_storage_gib: Option<u32>,
    }
    /// A job: flat fields, then the sections as stored. Launch tokens are cut to their first eight digits.
    JobDocument {
        /// The job.
        job_id: String,
        /// Null when a hand edit made it unreadable, like the next.
        #[schema(required = true)]
        job_type: Option<String>,
        /// As submitted.
        #[schema(required = true)]
        payload: Option<Any>,
        /// One of four words.
        #[schema(value_type = StatusWord)]
        status: String,
        /// Why the job waits or how it ended.
        #[schema(required = true, value_type = Option<ReasonWord>)]
        reason: Option<String>,
        /// The reason in words.
        message: String,
        /// Attempts so far.
        attempt: u32,
        /// RFC 3339, like the next two.
        #[schema(required = true)]
        created_at: Option<String>,
        /// When the last attempt started.
        #[schema(required = true)]
        started_at: Option<String>,
        /// When the run ended.
        #[schema(required = true)]
        finished_at: Option<String>,
        /// Who changed `desired` last; `(direct edit)` when somebody did so around the API. Absent when it is as
        /// submitted, or when nobody can tell.
        updated_by: Option<String>,
        /// RFC 3339.
        updated_at: Option<String>,
        /// What they gave as `change_cause`.
        change_cause: Option<String>,
        /// Once there, and not above 1 MiB.
        result: Option<Any>,
        /// Once there.
        result_url: Option<String>,
        /// Why a result that is there cannot be shown.
        result_problem: Option<String>,
        /// Sections that cannot be decoded.
        invalid: Option<Vec<BrokenSection>>,
        /// What is wanted.
        desired: Any,
        /// The reconciler's memory; null before its first look.
        #[schema(required = true)]
        control: Option<Any>,
        /// Who asked, and when.
        created: Any,
        /// The index mark.
        active: bool,
    }
    /// A section that a hand edit broke.
    BrokenSection {
        /// Its name.
        section: String,
        /// What is wrong.
        errors: Vec<FieldProblem>,
    }
    /// A job of a listing.
    JobSummary {
        /// The job.
        job_id: String,
        /// Null when it cannot be decoded.
        #[schema(required = true)]
        job_type: Option<String>,
        /// One of four words.
        #[schema(value_type = StatusWord)]
        status: String,
        /// Why the job waits or how it ended.
        #[schema(required = true, value_type = Option<ReasonWord>)]
        reason: Option<String>,
        /// The reason in words.
        message: String,
        /// Attempts so far.
        attempt: u32,
        /// RFC 3339, like the next two.
        #[schema(required = true)]
        created_at: Option<String>,
        /// When the last attempt started.
        #[schema(required = true)]
        started_at: Option<String>,
        /// When the run ended.
        #[schema(required = true)]
        finished_at: Option<String>,
        /// As submitted.
        #[schema(value_type = Object)]
        labels: String,
    }
    /// A page of jobs.
    JobList {
        /// Newest first; may be fewer than asked for although more follow.
        jobs: Vec<JobSummary>,
        /// Send as `cursor` to go on; null at the end.
        #[schema(required = true)]
        next_cursor: Option<String>,
    }
    /// Many jobs.
    BatchRequest {
        /// 1 to 500.
        #[schema(min_items = 1, max_items = 500)]
        jobs: Vec<JobRequest>,
    }
    /// What became of each job of a batch, in its order.
    BatchAnswer {
        /// One for each job.
        results: Vec<BatchResult>,
    }
    /// What became of one job of a batch.
    BatchResult {
        /// The status that `POST /jobs` would have had.
        status: u16,
        /// The job, if it is stored.
        job_id: Option<String>,
        /// The job as `POST /jobs` shows it, if it is stored.
        job: Option<JobDocument>,
        /// Why it is not stored.
        #[schema(value_type = Option<Object>)]
        problem: Option<String>,
    }
    /// What a patch would change.
    DryRun {
        /// True.
        dry_run: bool,
        /// The job.
        job_id: String,
        /// Of `desired` as it is.
        etag: String,
        /// Member by member.
        changes: Vec<ChangeDocument>,
        /// As it would be stored.
        desired: Any,
        /// What the reconciler would do first.
        decision: DecisionDocument,
    }
    /// A change.
    ChangeDocument {
        /// JSON pointer.
        pointer: String,
        /// Absent when there was nothing.
        before: Option<Any>,
        /// Absent when there is nothing any more.
        after: Option<Any>,
    }
    /// The decision core's answer for the records as they are, a free slot and no news of running tasks.
    DecisionDocument {
        /// `write`, `do` or `wait`.
        kind: String,
        /// The effect's name, when `do`.
        effect: Option<String>,
        /// In words.
        why: Option<String>,
        /// The reason that the job would show.
        #[schema(value_type = Option<ReasonWord>)]
        reason: Option<String>,
        /// The status that the job would show, when `write`.
        #[schema(value_type = Option<StatusWord>)]
        status: Option<String>,
        /// The reason in words, when `write`.
        message: Option<String>,
        /// When it is looked at again, when `wait`.
        until: Option<String>,
    }
    /// The body of a retry.
    RetryRequest {
        /// Also when the job has not ended.
        force: Option<bool>,
    }
    /// Whether the store answers, and who reconciles.
    HealthDocument {
        /// `agent-runner`
        service: String,
        /// Of this program.
        version: String,
        /// `ok` or `unavailable`.
        status: String,
        /// As configured.
        store: String,
        /// Why it is unavailable.
        error: Option<String>,
        /// Null when no reconciler ever ran.
        #[schema(required = true)]
        reconciler: Option<HolderDocument>,
    }
    /// The holder of the lease.
    HolderDocument {
        /// Who.
        holder: String,
        /// Counts take-overs.
        epoch: u64,
        /// Since the last renewal.
        lease_age_ms: i64,
        /// Whether it was given back.
        released: bool,
    }
}

/// The answer to a PATCH: the job, or with `dry_run` the changes.
pub(crate) struct PatchAnswer;

impl PartialSchema for PatchAnswer {
    fn schema() -> RefOr<Schema> {
        let either = ["JobDocument", "DryRun"].map(Ref::from_schema_name);
        RefOr::T(Schema::OneOf(either.into_iter().fold(OneOfBuilder::new(), OneOfBuilder::item).build()))
    }
}

impl ToSchema for PatchAnswer {}
