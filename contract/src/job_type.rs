//! The job-types file: which job types exist, what they execute, and the named concurrency limits.
//!
//! ```toml
//! [job_types.summarize]
//! command = ["python3", "agents/summarize.py"]
//! pass_env = ["ANTHROPIC_API_KEY"]
//! stop_grace_seconds = 20
//! defaults = { max_attempts = 5, queue = "llm" }
//! limits = { attempt_timeout_seconds = 900 }
//!
//! [queues.llm]
//! max_running = 4
//! ```

use crate::attempt::Program;
use crate::decode::{FieldError, Invalid, unknown};
use crate::desired::{Capacity, Desired, check_name};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Seconds between SIGTERM and SIGKILL where a job type says nothing.
pub const STOP_GRACE_SECONDS: u64 = 10;
/// The longest grace: Fargate's `stopTimeout` ends at 120 s.
pub const LONGEST_STOP_GRACE_SECONDS: u64 = 120;

/// The checked content of the job-types file; `echo` is always there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobTypes {
    /// By name.
    pub types: BTreeMap<String, JobType>,
    /// Named limits: how many jobs of the queue may hold an attempt at once.
    pub queues: BTreeMap<String, u32>,
}

/// One job type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobType {
    /// What it executes.
    pub program: Program,
    /// Seconds between SIGTERM and SIGKILL.
    pub stop_grace_seconds: u64,
    /// Members of a request that does not name them.
    pub defaults: Map<String, Value>,
    /// The largest values that are accepted, by field name.
    pub limits: BTreeMap<String, i64>,
    /// The ECS task definition that runs it, with its revision; absent for that of the settings.
    pub task_definition: Option<String>,
    /// Security groups of its tasks on ECS; none for those of the settings.
    pub security_groups: Vec<String>,
}

/// What the task runtime can honour; a request for the rest is refused, never ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Supports {
    /// `capacity` other than `on_demand`.
    pub spot: bool,
    /// `max_cost_usd`.
    pub cost: bool,
}

/// Fields that `limits` may name.
const LIMITED: [&str; 8] = [
    "max_attempts",
    "attempt_timeout_seconds",
    "start_timeout_seconds",
    "active_deadline_seconds",
    "ttl_seconds_after_finished",
    "priority",
    "cpu",
    "memory_mib",
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    job_types: BTreeMap<String, Entry>,
    #[serde(default)]
    queues: BTreeMap<String, Queue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    command: Vec<String>,
    #[serde(default)]
    pass_env: Vec<String>,
    stop_grace_seconds: Option<u64>,
    #[serde(default)]
    defaults: Map<String, Value>,
    #[serde(default)]
    limits: BTreeMap<String, i64>,
    task_definition: Option<String>,
    #[serde(default)]
    security_groups: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Queue {
    max_running: u32,
}

impl Default for JobTypes {
    fn default() -> Self {
        let echo = JobType {
            program: Program::Echo,
            stop_grace_seconds: STOP_GRACE_SECONDS,
            defaults: Map::new(),
            limits: BTreeMap::new(),
            task_definition: None,
            security_groups: Vec::new(),
        };
        Self { types: BTreeMap::from([("echo".to_owned(), echo)]), queues: BTreeMap::new() }
    }
}

impl JobTypes {
    /// Reads the file's text.
    ///
    /// # Errors
    /// Every error, with the place in the file.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let file: File = toml::from_str(text).map_err(|e| Invalid::one("", "", e.to_string()))?;
        let mut found = Self::default();
        let mut errors = Vec::new();
        for (name, queue) in file.queues {
            let at = format!("/queues/{name}");
            if let Err(message) = check_name(&name, 64) {
                errors.push(FieldError { pointer: at.clone(), value: name.clone(), message });
            }
            found.queues.insert(name, queue.max_running);
        }
        for (name, mut entry) in file.job_types {
            cap_defaults(&name, &mut entry);
            check_entry(&name, &entry, &found.queues, &mut errors);
            let job_type = JobType {
                program: Program::Command { argv: entry.command, pass_env: entry.pass_env },
                stop_grace_seconds: entry.stop_grace_seconds.unwrap_or(STOP_GRACE_SECONDS),
                defaults: entry.defaults,
                limits: entry.limits,
                task_definition: entry.task_definition,
                security_groups: entry.security_groups,
            };
            found.types.insert(name, job_type);
        }
        if errors.is_empty() { Ok(found) } else { Err(Invalid { errors }) }
    }

    /// Reads a request for a new job: its members over the defaults of its job type, then checked with
    /// [`JobTypes::check`].
    ///
    /// # Errors
    /// Every error of the request.
    pub fn request(&self, body: &str, supports: Supports) -> Result<Desired, Invalid> {
        let (desired, mut errors) = Desired::parse_request(&self.with_defaults(body));
        if let Some(Err(more)) = desired.as_ref().map(|d| self.check(d, supports)) {
            errors.extend(more.errors);
        }
        match desired {
            Some(desired) if errors.is_empty() => Ok(desired),
            _ => Err(Invalid { errors }),
        }
    }

    /// The request body with the job type's defaults added, member by member as text, so that the payload
    /// stays byte for byte what the client sent.
    fn with_defaults(&self, body: &str) -> String {
        use crate::json::JsonText;
        let Ok(mut members) = serde_json::from_str::<BTreeMap<String, JsonText>>(body) else {
            return body.to_owned();
        };
        let name = members.get("job_type").and_then(|n| serde_json::from_str::<String>(n.as_str()).ok());
        let Some(defaults) = name.and_then(|n| self.types.get(&n)).map(|t| &t.defaults) else {
            return body.to_owned();
        };
        if defaults.is_empty() {
            return body.to_owned();
        }
        for (key, value) in defaults {
            members.entry(key.clone()).or_insert_with(|| JsonText::of(value));
        }
        serde_json::to_string(&members).unwrap_or_else(|_| body.to_owned())
    }

    /// Checks what depends on the job-types file and on the task runtime.
    ///
    /// # Errors
    /// Every error.
    pub fn check(&self, desired: &Desired, supports: Supports) -> Result<(), Invalid> {
        let mut errors = Vec::new();
        let mut refuse = |field: &str, value: String, message: String| {
            errors.push(FieldError { pointer: format!("/{field}"), value, message });
        };
        let quoted = |text: &str| format!("{text:?}");
        match self.types.get(&desired.job_type) {
            None => {
                let message = unknown(&desired.job_type, self.types.keys().map(String::as_str));
                refuse("job_type", quoted(&desired.job_type), message);
            }
            Some(job_type) => {
                for (field, most) in &job_type.limits {
                    if let Some(n) = limited(desired, field).filter(|n| n > most) {
                        let message = format!("job type {:?} allows at most {most}", desired.job_type);
                        refuse(field, n.to_string(), message);
                    }
                }
            }
        }
        if let Some(queue) = desired.queue.as_ref().filter(|q| !self.queues.contains_key(*q)) {
            let known: Vec<&str> = self.queues.keys().map(String::as_str).collect();
            let message = if known.is_empty() {
                "no queue is defined in the job-types file".to_owned()
            } else {
                unknown(queue, known.into_iter())
            };
            refuse("queue", quoted(queue), message);
        }
        if desired.capacity != Capacity::OnDemand && !supports.spot {
            let message = "not supported by this task runtime; only \"on_demand\" is";
            refuse("capacity", quoted(desired.capacity.as_str()), message.to_owned());
        }
        if let Some(usd) = desired.max_cost_usd.filter(|_| !supports.cost) {
            let message = "not supported by this task runtime, which costs nothing per job";
            refuse("max_cost_usd", usd.to_string(), message.to_owned());
        }
        if errors.is_empty() { Ok(()) } else { Err(Invalid { errors }) }
    }
}

/// Whether an ECS task definition is named with its revision. Without one ECS takes the latest, so that a
/// repeated launch could ask for something else than the first one.
#[must_use]
pub fn has_revision(definition: &str) -> bool {
    let family = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    let name = definition.rsplit_once(":task-definition/").map_or(definition, |(_, name)| name);
    name.rsplit_once(':').is_some_and(|(name, revision)| {
        !name.is_empty() && name.chars().all(family) && revision.parse::<u32>().is_ok_and(|n| n > 0)
    })
}

fn limited(desired: &Desired, field: &str) -> Option<i64> {
    let seconds = |n: u64| i64::try_from(n).ok();
    match field {
        "max_attempts" => Some(desired.max_attempts.into()),
        "attempt_timeout_seconds" => seconds(desired.attempt_timeout_seconds),
        "start_timeout_seconds" => seconds(desired.start_timeout_seconds),
        "active_deadline_seconds" => seconds(desired.active_deadline_seconds),
        "ttl_seconds_after_finished" => seconds(desired.ttl_seconds_after_finished),
        "priority" => Some(desired.priority.into()),
        "cpu" => desired.resources.map(|r| r.cpu.into()),
        "memory_mib" => desired.resources.map(|r| r.memory_mib.into()),
        _ => None,
    }
}

/// A limit below what a field is by default is its default: a request that does not name the field keeps to it.
fn cap_defaults(name: &str, entry: &mut Entry) {
    let usual = Desired::new(name);
    for (field, most) in &entry.limits {
        if limited(&usual, field).is_some_and(|n| n > *most) {
            entry.defaults.entry(field.clone()).or_insert_with(|| Value::from(*most));
        }
    }
}

fn check_entry(name: &str, entry: &Entry, queues: &BTreeMap<String, u32>, errors: &mut Vec<FieldError>) {
    let at = format!("/job_types/{name}");
    let mut refuse = |place: &str, value: String, message: String| {
        errors.push(FieldError { pointer: format!("{at}{place}"), value, message });
    };
    if let Err(message) = check_name(name, 64) {
        refuse("", name.to_owned(), message);
    }
    if name == "echo" {
        refuse("", name.to_owned(), "echo is built in; choose another name".to_owned());
    }
    if entry.command.first().is_none_or(|program| program.is_empty()) {
        let message = "a list of at least one word: the program and its arguments";
        refuse("/command", format!("{:?}", entry.command), message.to_owned());
    }
    for variable in &entry.pass_env {
        if variable.is_empty() || variable.contains('=') || variable.starts_with("AGENT_RUNNER_") {
            let message = "names of environment variables, without '=' and not starting with AGENT_RUNNER_";
            refuse("/pass_env", variable.clone(), message.to_owned());
        }
    }
    if let Some(grace) = entry.stop_grace_seconds.filter(|g| *g > LONGEST_STOP_GRACE_SECONDS) {
        refuse("/stop_grace_seconds", grace.to_string(), format!("0 to {LONGEST_STOP_GRACE_SECONDS}"));
    }
    if let Some(definition) = entry.task_definition.as_ref().filter(|d| !has_revision(d)) {
        let message = "an ARN or <family>:<revision>; a claim holds the revision that it launches";
        refuse("/task_definition", format!("{definition:?}"), message.to_owned());
    }
    for field in entry.limits.keys().filter(|f| !LIMITED.contains(&f.as_str())) {
        refuse(&format!("/limits/{field}"), String::new(), unknown(field, LIMITED.into_iter()));
    }
    let mut sample = entry.defaults.clone();
    for forbidden in ["job_type", "payload", "retry", "cancel", "updated"] {
        if sample.remove(forbidden).is_some() {
            let message = "belongs to a single job and has no default";
            refuse(&format!("/defaults/{forbidden}"), String::new(), message.to_owned());
        }
    }
    sample.insert("job_type".to_owned(), Value::String(name.to_owned()));
    match Desired::parse(&Value::Object(sample).to_string()) {
        Err(invalid) => {
            for e in invalid.errors {
                refuse(&format!("/defaults{}", e.pointer), e.value, e.message);
            }
        }
        Ok(d) => {
            if let Some(queue) = d.queue.as_ref().filter(|q| !queues.contains_key(*q)) {
                let message = unknown(queue, queues.keys().map(String::as_str));
                refuse("/defaults/queue", queue.clone(), message);
            }
            for (field, most) in &entry.limits {
                if let Some(n) = limited(&d, field).filter(|n| n > most) {
                    refuse(
                        &format!("/defaults/{field}"),
                        n.to_string(),
                        format!("at most the type's own limit, {most}"),
                    );
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Supports = Supports { spot: false, cost: false };

    #[test]
    fn a_request_takes_the_defaults_of_its_job_type_and_wins_over_them() {
        let types = JobTypes::parse(
            "[job_types.a]\ncommand=['x']\ndefaults={max_attempts=5,priority=7}\n[queues.q]\nmax_running=1",
        )
        .unwrap();
        let d = types.request(r#"{"job_type":"a","priority":1,"payload":{"x":1.0}}"#, NOTHING).unwrap();
        assert_eq!((d.max_attempts, d.priority, d.payload.as_str()), (5, 1, r#"{"x":1.0}"#));
    }

    #[test]
    fn what_the_runtime_cannot_honour_is_refused_with_all_other_errors() {
        let body = r#"{"job_type":"ehco","capacity":"spot","max_cost_usd":1,"queue":"q","retries":1}"#;
        let errors = JobTypes::default().request(body, NOTHING).unwrap_err().errors;
        let text: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(text.len(), 5, "{text:?}");
        assert!(text[0].contains("did you mean \"retry\""), "{text:?}");
        assert!(text[1].contains("did you mean \"echo\""), "{text:?}");
        assert!(text[3].contains("not supported by this task runtime"), "{text:?}");
        let all = Supports { spot: true, cost: true };
        assert!(JobTypes::default().request(r#"{"job_type":"echo","capacity":"spot"}"#, all).is_ok());
    }

    #[test]
    fn a_task_definition_is_named_with_its_revision() {
        for good in ["worker:1", "arn:aws:ecs:us-east-1:111122223333:task-definition/agent-runner-worker:12"]
        {
            assert!(has_revision(good), "{good}");
        }
        for bad in
            ["worker", "worker:", "worker:0", ":1", "arn:aws:ecs:us-east-1:1:task-definition/w", "a b:1"]
        {
            assert!(!has_revision(bad), "{bad}");
        }
        let e = JobTypes::parse("[job_types.a]\ncommand=['x']\ntask_definition='worker'").unwrap_err();
        assert!(e.to_string().starts_with("/job_types/a/task_definition"), "{e}");
    }

    #[test]
    fn limits_of_a_job_type_are_enforced() {
        let types =
            JobTypes::parse("[job_types.a]\ncommand=['x']\nlimits={attempt_timeout_seconds=60}").unwrap();
        let body = r#"{"job_type":"a","attempt_timeout_seconds":61}"#;
        let e = types.request(body, NOTHING).unwrap_err().to_string();
        assert_eq!(e, "/attempt_timeout_seconds: 61 is not allowed: job type \"a\" allows at most 60");
    }

    #[test]
    fn a_limit_below_the_usual_value_is_the_default() {
        let limits = "limits={attempt_timeout_seconds=60,max_attempts=9,cpu=256}";
        let types = JobTypes::parse(&format!("[job_types.a]\ncommand=['x']\n{limits}")).unwrap();
        let d = types.request(r#"{"job_type":"a"}"#, NOTHING).unwrap();
        assert_eq!((d.attempt_timeout_seconds, d.max_attempts), (60, 3));
        let defaults = "defaults={attempt_timeout_seconds=61}";
        let e = JobTypes::parse(&format!("[job_types.a]\ncommand=['x']\n{defaults}\n{limits}")).unwrap_err();
        let said = "/job_types/a/defaults/attempt_timeout_seconds: 61 is not allowed: at most the type's own limit, 60";
        assert_eq!(e.to_string(), said);
    }

    #[test]
    fn every_mistake_in_the_file_is_named() {
        let e = JobTypes::parse(
            "[job_types.echo]\ncommand=[]\npass_env=['A=B']\ndefaults={max_atempts=1,retry=1}\nlimits={cpus=1}",
        )
        .unwrap_err();
        assert_eq!(e.errors.len(), 6, "{e}");
        assert!(JobTypes::parse("[job_type.a]").unwrap_err().to_string().contains("job_type"));
    }
}
