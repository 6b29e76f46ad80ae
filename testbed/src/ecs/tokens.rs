//! What RunTask remembers of client tokens.

use super::clock::{Millis, seconds};
use super::task::Task;
use super::wire::{Answer, Refused};
use super::world::World;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const HOUR: Millis = 3_600_000;
const DAY: Millis = 24 * HOUR;

/// A call that was carried out.
#[derive(Debug)]
struct Remembered {
    parameters: Value,
    arns: Vec<String>,
    failures: Vec<Value>,
    at: Millis,
    /// When each task that is gone from the double's memory had stopped.
    stopped: BTreeMap<String, Millis>,
}

/// By cluster and token.
// Amazon ECS API reference, "Ensuring idempotency": requests are idempotent per cluster.
#[derive(Debug, Default)]
pub(crate) struct Tokens(BTreeMap<(String, String), Remembered>);

impl Tokens {
    pub(crate) fn view(&self) -> Value {
        let all = self.0.iter().map(|((cluster, token), known)| {
            json!({
                "cluster": cluster, "token": token, "taskArns": known.arns, "failures": known.failures,
                "at": seconds(known.at),
            })
        });
        all.collect()
    }

    /// Forgets a token as if its time were over.
    pub(crate) fn forget(&mut self, token: &str) {
        self.0.retain(|(_, known), _| known != token);
    }

    pub(crate) fn knows(&self, token: &str) -> bool {
        self.0.keys().any(|(_, known)| known == token)
    }

    /// A task is about to be forgotten; its token may outlive it.
    pub(crate) fn task_forgotten(&mut self, task: &Task, stopped: Millis) {
        let Some(token) = &task.client_token else { return };
        if let Some(known) = self.0.get_mut(&(task.cluster.clone(), token.clone())) {
            known.stopped.insert(task.arn.clone(), stopped);
        }
    }
}

/// The parameters that two calls of the same token must share. "Region/AZ differences excepted" is not
/// imitated: the double is one Region.
fn parameters(request: &Value) -> Value {
    let mut parameters = request.clone();
    if let Some(members) = parameters.as_object_mut() {
        members.remove("clientToken");
        members.remove("cluster");
    }
    parameters
}

impl World {
    /// The answer of an earlier call with this token, if it is still known.
    // Amazon ECS API reference, "Ensuring idempotency".
    pub(crate) fn replay(&mut self, cluster: &str, token: &str, request: &Value) -> Option<Answer> {
        let key = (cluster.to_owned(), token.to_owned());
        if self.token_expired(&key)? {
            self.tokens.0.remove(&key);
            return None;
        }
        let known = self.tokens.0.get(&key)?;
        if known.parameters != parameters(request) {
            // Amazon ECS API reference, ConflictException: "The `resourceIds` are the existing task ARNs
            // which are already associated with the `clientToken`".
            let mut refused = Refused::new(
                "ConflictException",
                "The provided clientToken is already in use with a different RunTask request.",
            );
            refused.resource_ids = Some(known.arns.clone());
            return Some(Err(refused));
        }
        let tasks: Vec<Value> = known.arns.iter().map(|arn| self.replayed(arn)).collect();
        // Original failures are returned as well. "Older than one hour only as a number" has no documented
        // shape and is not imitated: they come back whole.
        Some(Ok(json!({"tasks": tasks, "failures": known.failures})))
    }

    /// A task of a replayed answer.
    // Same page: of a task that stopped less than an hour ago only ARN and statuses are returned.
    fn replayed(&self, arn: &str) -> Value {
        let task = arn.rsplit('/').next().and_then(|id| self.tasks.get(id));
        match task {
            Some(task) if !task.is_stopped() => task.described(true),
            _ => json!({"taskArn": arn, "lastStatus": "STOPPED", "desiredStatus": "STOPPED"}),
        }
    }

    /// Whether a known token's time is over.
    // Same page: the lower of 24 hours and the lifetime of the resource plus one hour; with several tasks the
    // last one to stop counts. How long a token without a task is remembered is not documented; 24 hours
    // here.
    fn token_expired(&self, key: &(String, String)) -> Option<bool> {
        let known = self.tokens.0.get(key)?;
        let mut until = known.at + DAY;
        let stopped: Option<Vec<Millis>> = known.arns.iter().map(|arn| self.stopped_at(known, arn)).collect();
        if let Some(last) = stopped.and_then(|all| all.into_iter().max()) {
            until = until.min(last + HOUR);
        }
        Some(self.now >= until)
    }

    /// When a task stopped; a task that vanished never lived.
    fn stopped_at(&self, known: &Remembered, arn: &str) -> Option<Millis> {
        match arn.rsplit('/').next().and_then(|id| self.tasks.get(id)) {
            Some(task) => task.times.stopped,
            None => Some(known.stopped.get(arn).copied().unwrap_or(known.at)),
        }
    }

    /// Remembers a completed call, `failures` and all.
    pub(crate) fn remember(&mut self, cluster: &str, token: &str, request: &Value, answer: &Value) {
        let arns = answer["tasks"].as_array().into_iter().flatten();
        let arns = arns.filter_map(|task| task["taskArn"].as_str().map(str::to_owned)).collect();
        let remembered = Remembered {
            parameters: parameters(request),
            arns,
            failures: answer["failures"].as_array().cloned().unwrap_or_default(),
            at: self.now,
            stopped: BTreeMap::new(),
        };
        self.tokens.0.insert((cluster.to_owned(), token.to_owned()), remembered);
    }
}
