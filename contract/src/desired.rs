//! What is wanted of a job. Written by the API and by operators, read by the reconciler; nobody else
//! changes it.

use crate::class::FailureClass;
use crate::cost::Usd;
use crate::decode::{FieldError, Fields, Invalid};
use crate::json::JsonText;
use crate::status::words;
use crate::updated::{self, Updated};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// The largest payload in bytes. DynamoDB's item limit is 400 KB, and the job holds more than its payload.
pub const PAYLOAD_LIMIT: usize = 256 * 1024;
/// The most environment bytes (names and values). A claim carries them to the worker.
pub const ENV_LIMIT: usize = 16 * 1024;
/// The longest duration that is accepted, 13 days: Fargate retires tasks after about 14.
pub const LONGEST_SECONDS: i64 = 13 * 86_400;

/// The highest number of forced retries. It only grows, so a slip of the finger must not put it where no further one fits.
pub const MAX_RETRY: i64 = 1_000_000_000;

/// The desired state of a job. Every field has a default except `job_type`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Desired {
    /// Which entry of the job-types file, or the built-in `echo`. Never changes.
    pub job_type: String,
    /// Handed to the agent unchanged.
    pub payload: JsonText,
    /// Tries per run that count, 1 to 100. Infrastructure failures do not count.
    pub max_attempts: u32,
    /// Seconds from passing the start gate to being stopped.
    pub attempt_timeout_seconds: u64,
    /// Seconds from the claim until a task must have passed the start gate.
    pub start_timeout_seconds: u64,
    /// Seconds from the start of a run until the job is failed, over waiting and all tries. Time spent
    /// suspended does not count: resuming starts it again.
    pub active_deadline_seconds: u64,
    /// Pause before the next try.
    pub backoff: Backoff,
    /// Rules that decide on a failed attempt before the budgets do.
    #[serde(skip_serializing_if = "FailurePolicy::is_empty")]
    pub failure_policy: FailurePolicy,
    /// Higher goes first among jobs that wait for the same limit.
    pub priority: i32,
    /// A named concurrency limit of the job-types file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// Size of the task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Which capacity to run on.
    pub capacity: Capacity,
    /// Environment of the agent, added to what the contract defines.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// For people and filters.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Seconds after its end until the job and its artifacts are deleted.
    pub ttl_seconds_after_finished: u64,
    /// The job is failed when its estimated cost passes this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_cost_usd: Option<Usd>,
    /// Hold: nothing is launched, and a running attempt is stopped without using up a try.
    pub suspend: bool,
    /// End the job as FAILED/Cancelled.
    pub cancel: bool,
    /// Grows by one for each forced retry; never shrinks.
    pub retry: u64,
    /// Who changed the rest last; absent until the API did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated: Option<Updated>,
}

/// Pause before try n of a run: `min(initial · factor^(n-2), max)` seconds, ± 10 % by the job's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Backoff {
    /// Before the second try, in seconds.
    pub initial_seconds: u64,
    /// Multiplies the pause after each further failure.
    pub factor: u32,
    /// The longest pause in seconds.
    pub max_seconds: u64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { initial_seconds: 10, factor: 2, max_seconds: 300 }
    }
}

/// Ordered rules; the first that matches decides.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct FailurePolicy {
    /// At most 20.
    pub rules: Vec<FailureRule>,
}

impl FailurePolicy {
    fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

/// Matches when every non-empty list contains the attempt's value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct FailureRule {
    /// Exit codes of the agent, 0 to 255.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub exit_codes: BTreeSet<i32>,
    /// Failure classes.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub classes: BTreeSet<FailureClass>,
    /// `stopCode`s of the task runtime, verbatim.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub stop_codes: BTreeSet<String>,
    /// What to do.
    pub action: FailureAction,
}

words! {
    /// What a failure rule does.
    FailureAction {
        /// Try again, using up one of `max_attempts`.
        Retry = "Retry",
        /// Fail the job at once.
        Fail = "Fail",
        /// Try again without using up a try (the infrastructure budget still applies).
        Ignore = "Ignore",
    }
}

words! {
    /// Which capacity a task runs on.
    Capacity {
        /// Never taken back.
        OnDemand = "on_demand",
        /// Cheaper, may be taken back.
        Spot = "spot",
        /// Spot until it fails too often, then on demand.
        SpotThenOnDemand = "spot_then_on_demand",
    }
}

/// Size of a task. Must be a combination that Fargate offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Resources {
    /// 1024 units are one vCPU.
    pub cpu: u32,
    /// MiB.
    pub memory_mib: u32,
    /// GiB, 21 to 200; absent is the 20 GiB that every task has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ephemeral_storage_gib: Option<u32>,
}

impl Desired {
    /// A job of type `job_type` with every default.
    #[must_use]
    pub fn new(job_type: impl Into<String>) -> Self {
        Self {
            job_type: job_type.into(),
            payload: JsonText::empty_object(),
            max_attempts: 3,
            attempt_timeout_seconds: 3600,
            start_timeout_seconds: 600,
            active_deadline_seconds: 86_400,
            backoff: Backoff::default(),
            failure_policy: FailurePolicy::default(),
            priority: 0,
            queue: None,
            resources: None,
            capacity: Capacity::OnDemand,
            env: BTreeMap::new(),
            labels: BTreeMap::new(),
            ttl_seconds_after_finished: 7 * 86_400,
            max_cost_usd: None,
            suspend: false,
            cancel: false,
            retry: 0,
            updated: None,
        }
    }

    /// Reads a desired state from JSON text: a merged patch or a stored section.
    ///
    /// # Errors
    /// [`Invalid`] with every error of the text, not only the first.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let mut errors = Vec::new();
        match read(text, &mut errors, updated::stored) {
            Some(desired) if errors.is_empty() => Ok(desired),
            _ => Err(Invalid { errors }),
        }
    }

    /// Reads what can be read of a request, with defaults for the rest, so that further checks can add to the
    /// errors. `None`: there is not even a job type.
    pub(crate) fn parse_request(text: &str) -> (Option<Self>, Vec<FieldError>) {
        let mut errors = Vec::new();
        let refused = |f: &mut Fields<'_>| {
            updated::refused(f);
            None
        };
        (read(text, &mut errors, refused), errors)
    }

    /// The text that is stored.
    ///
    /// # Panics
    /// Never: maps have string keys.
    #[must_use]
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("a desired state serialises")
    }
}

fn read(
    text: &str,
    errors: &mut Vec<FieldError>,
    updated: impl FnOnce(&mut Fields<'_>) -> Option<Updated>,
) -> Option<Desired> {
    let mut f = Fields::of(text, "", errors);
    let job_type = f.string("job_type", |name| check_name(name, 64));
    if job_type.is_none() && !f.has_error("job_type") {
        f.error("job_type", "", "is missing; it names the kind of job, for example \"echo\"");
    }
    let mut d = Desired::new(job_type.clone().unwrap_or_default());
    if let Some(payload) = f.raw_with_null("payload") {
        if payload.as_str().len() > PAYLOAD_LIMIT {
            let size = payload.as_str().len();
            f.error("payload", "", format!("{size} bytes; at most {PAYLOAD_LIMIT} are allowed"));
        } else if let Err(why) = payload.is_readable() {
            f.error("payload", "", why);
        }
        d.payload = payload;
    }
    set(&mut d.max_attempts, f.integer("max_attempts", 1..=100));
    set(&mut d.attempt_timeout_seconds, f.integer("attempt_timeout_seconds", 1..=LONGEST_SECONDS));
    set(&mut d.start_timeout_seconds, f.integer("start_timeout_seconds", 1..=86_400));
    set(&mut d.active_deadline_seconds, f.integer("active_deadline_seconds", 1..=LONGEST_SECONDS));
    if let Some(backoff) = f.object("backoff", read_backoff) {
        d.backoff = backoff;
    }
    if let Some(policy) = f.object("failure_policy", read_policy) {
        d.failure_policy = policy;
    }
    set(&mut d.priority, f.integer("priority", -1000..=1000));
    d.queue = f.string("queue", |name| check_name(name, 64));
    d.resources = f.object("resources", read_resources).flatten();
    if let Some(capacity) = f.word("capacity") {
        d.capacity = capacity;
    }
    d.env = f.strings("env", 100, check_env).unwrap_or_default();
    let env_bytes: usize = d.env.iter().map(|(k, v)| k.len() + v.len()).sum();
    if env_bytes > ENV_LIMIT {
        f.error("env", "", format!("{env_bytes} bytes of names and values; at most {ENV_LIMIT} are allowed"));
    }
    d.labels = f.strings("labels", 32, check_label).unwrap_or_default();
    set(&mut d.ttl_seconds_after_finished, f.integer("ttl_seconds_after_finished", 0..=3650 * 86_400));
    d.max_cost_usd = f.micros("max_cost_usd", 1_000_000).map(Usd);
    d.suspend = f.boolean("suspend").unwrap_or(false);
    d.cancel = f.boolean("cancel").unwrap_or(false);
    set(&mut d.retry, f.integer("retry", 0..=MAX_RETRY));
    d.updated = updated(&mut f);
    f.finish();
    job_type.map(|_| d)
}

fn set<T: TryFrom<i64>>(field: &mut T, found: Option<i64>) {
    if let Some(value) = found.and_then(|n| T::try_from(n).ok()) {
        *field = value;
    }
}

fn read_backoff(f: &mut Fields<'_>) -> Backoff {
    let mut b = Backoff::default();
    set(&mut b.initial_seconds, f.integer("initial_seconds", 0..=86_400));
    set(&mut b.factor, f.integer("factor", 1..=10));
    set(&mut b.max_seconds, f.integer("max_seconds", 0..=86_400));
    b
}

fn read_policy(f: &mut Fields<'_>) -> FailurePolicy {
    let mut rules = Vec::new();
    for (at, item) in f.list("rules", 20).unwrap_or_default() {
        let mut r = f.nested(&item, at);
        let exit_codes = r.integers("exit_codes", 0..=255);
        let classes = r.words("classes");
        let stop_codes = r.words("stop_codes");
        let action = r.word("action");
        if action.is_none() && !r.has_error("action") {
            r.error("action", "", "is missing; one of Retry, Fail, Ignore");
        }
        r.finish();
        if let Some(action) = action {
            rules.push(FailureRule { exit_codes, classes, stop_codes, action });
        }
    }
    FailurePolicy { rules }
}

fn read_resources(f: &mut Fields<'_>) -> Option<Resources> {
    let cpu = f.integer("cpu", 256..=16_384);
    let memory_mib = f.integer("memory_mib", 512..=122_880);
    let storage = f.integer("ephemeral_storage_gib", 21..=200);
    for (name, found) in [("cpu", cpu), ("memory_mib", memory_mib)] {
        if found.is_none() && !f.has_error(name) {
            f.error(name, "", "is missing; resources need cpu and memory_mib");
        }
    }
    let found = Resources {
        cpu: u32::try_from(cpu?).ok()?,
        memory_mib: u32::try_from(memory_mib?).ok()?,
        ephemeral_storage_gib: storage.and_then(|n| u32::try_from(n).ok()),
    };
    match check_fargate(found.cpu, found.memory_mib) {
        Err((Size::Cpu, message)) => f.error("cpu", &found.cpu.to_string(), message),
        Err((Size::Memory, message)) => f.error("memory_mib", &found.memory_mib.to_string(), message),
        Ok(()) => {}
    }
    Some(found)
}

/// Which of the two is wrong.
#[derive(Debug)]
enum Size {
    Cpu,
    Memory,
}

/// The combinations of CPU and memory that Fargate offers (Amazon ECS developer guide, "Fargate task
/// definition considerations", task size).
fn check_fargate(cpu: u32, memory: u32) -> Result<(), (Size, String)> {
    let (least, most, step) = match cpu {
        256 if [512, 1024, 2048].contains(&memory) => return Ok(()),
        256 => return Err((Size::Memory, "with cpu 256: 512, 1024 or 2048".into())),
        512 => (1024, 4096, 1024),
        1024 => (2048, 8192, 1024),
        2048 => (4096, 16_384, 1024),
        4096 => (8192, 30_720, 1024),
        8192 => (16_384, 61_440, 4096),
        16_384 => (32_768, 122_880, 8192),
        _ => return Err((Size::Cpu, "one of 256, 512, 1024, 2048, 4096, 8192, 16384".into())),
    };
    if (least..=most).contains(&memory) && (memory - least).is_multiple_of(step) {
        Ok(())
    } else {
        Err((Size::Memory, format!("with cpu {cpu}: {least} to {most} in steps of {step}")))
    }
}

/// Names of job types and queues: also used in metric labels, ARNs and file names.
pub(crate) fn check_name(name: &str, longest: usize) -> Result<(), String> {
    let fine = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_' || b == b'.';
    if !name.is_empty() && name.len() <= longest && name.bytes().all(fine) && !name.starts_with('.') {
        Ok(())
    } else {
        Err(format!("1 to {longest} of A-Z, a-z, 0-9, '-', '_' and '.', not starting with '.'"))
    }
}

fn check_env(name: &str, value: &str) -> Result<(), String> {
    let start = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    if !start || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') || name.len() > 128 {
        return Err(
            "environment names are 1 to 128 of A-Z, a-z, 0-9 and '_', not starting with a digit".into()
        );
    }
    if name.starts_with("AGENT_RUNNER_") {
        return Err("names starting with AGENT_RUNNER_ are set by the worker".into());
    }
    if value.contains('\0') {
        return Err("environment values cannot contain a NUL character".into());
    }
    Ok(())
}

/// Whether a job can have this label.
///
/// # Errors
/// What is allowed.
pub fn check_label(name: &str, value: &str) -> Result<(), String> {
    let fine = |b: u8| b.is_ascii_alphanumeric() || b"-_./".contains(&b);
    if name.is_empty() || name.len() > 63 || !name.bytes().all(fine) {
        return Err("label names are 1 to 63 of A-Z, a-z, 0-9, '-', '_', '.' and '/'".into());
    }
    if value.len() > 256 || value.chars().any(char::is_control) {
        return Err("label values have at most 256 bytes and no control characters".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(text: &str) -> Vec<String> {
        Desired::parse(text).unwrap_err().errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_shortest_request_gets_every_default() {
        let d = Desired::parse(r#"{"job_type":"echo"}"#).unwrap();
        assert_eq!(d, Desired::new("echo"));
        assert_eq!((d.max_attempts, d.active_deadline_seconds), (3, 86_400));
    }

    #[test]
    fn a_desired_state_survives_being_stored() {
        let text = r#"{"job_type":"echo","payload":{"b":1.50,"a":[]},"max_attempts":5,"queue":"gpu",
            "failure_policy":{"rules":[{"exit_codes":[3],"classes":["OutOfMemory"],"action":"Fail"}]},
            "resources":{"cpu":512,"memory_mib":2048},"env":{"A":"b"},"labels":{"team/x":"y"},
            "max_cost_usd":1.25,"retry":2}"#;
        let d = Desired::parse(text).unwrap();
        assert_eq!(d.payload.as_str(), r#"{"b":1.50,"a":[]}"#);
        assert_eq!(d.max_cost_usd, Some(Usd(1_250_000)));
        assert_eq!(Usd(1_250_000).to_string(), "1.25");
        assert_eq!([0, 1, 10_000_000].map(|n| Usd(n).to_string()), ["0", "0.000001", "10"]);
        assert_eq!(Desired::parse(&d.to_text()).unwrap(), d);
    }

    #[test]
    fn all_errors_are_reported_at_once_with_place_value_and_what_is_allowed() {
        let found = errors(
            r#"{"job_type":"echo","max_atempts":2,"priority":"high","backoff":{"factor":0},
                "failure_policy":{"rules":[{"exit_codes":[300],"action":"Stop"}]}}"#,
        );
        assert_eq!(
            found,
            [
                "/backoff/factor: 0 is not allowed: a whole number from 1 to 10",
                "/failure_policy/rules/0/exit_codes: [300] is not allowed: whole numbers from 0 to 255",
                "/failure_policy/rules/0/action: \"Stop\" is not allowed: none of Retry, Fail, Ignore",
                "/priority: \"high\" is not allowed: a whole number from -1000 to 1000",
                "/max_atempts: \"max_atempts\" is not known; did you mean \"max_attempts\"?",
            ]
        );
    }

    #[test]
    fn texts_that_are_no_object_are_refused_with_the_reason() {
        assert!(errors("[]")[0].contains("an object is needed"));
        assert!(errors("{")[0].contains("not valid JSON"));
        assert!(errors("{}")[0].starts_with("/job_type: is missing"));
    }

    #[test]
    fn only_sizes_that_fargate_offers_are_accepted() {
        assert!(check_fargate(256, 512).is_ok() && check_fargate(16_384, 122_880).is_ok());
        for (cpu, memory) in [(256, 4096), (512, 512), (1024, 2500), (8192, 17_408), (300, 512)] {
            assert!(check_fargate(cpu, memory).is_err(), "{cpu} cpu with {memory} MiB");
        }
        for (cpu, memory, wrong) in [
            (300, 512, "/resources/cpu: 300 is not allowed: one of 256"),
            (512, 512, "/resources/memory_mib:"),
        ] {
            let text = format!(r#"{{"job_type":"e","resources":{{"cpu":{cpu},"memory_mib":{memory}}}}}"#);
            assert!(errors(&text)[0].contains(wrong), "{:?}", errors(&text));
        }
    }

    #[test]
    fn the_environment_cannot_imitate_the_worker() {
        let found = errors(r#"{"job_type":"e","env":{"AGENT_RUNNER_JOB_ID":"x","9":"y"}}"#);
        assert_eq!(found.len(), 2, "{found:?}");
    }

    #[test]
    fn any_json_is_a_payload_even_null() {
        assert_eq!(Desired::parse(r#"{"job_type":"e","payload":null}"#).unwrap().payload.as_str(), "null");
        assert_eq!(Desired::parse(r#"{"job_type":"e","payload":7}"#).unwrap().payload.as_str(), "7");
        let unreadable = Desired::parse(r#"{"job_type":"e","payload":"\ud800"}"#).unwrap_err();
        assert_eq!(unreadable.errors[0].pointer, "/payload");
    }
}
