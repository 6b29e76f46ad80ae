//! Launching: the folder first, then the worker.

use super::folder::Creation;
use super::holders::spawning;
use super::table::{Entry, Worker};
use super::{Inner, relay, spawn, task_id};
use crate::tasks::{Launch, LaunchAnswer};
use backends::crash::{self, Act};
use contract::desired::Resources;
use contract::{Desired, JsonText, LaunchRequest, Refusal, RefusalKind, TaskId, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::hash_map;
use std::os::unix::net::UnixStream;
use std::process::Child;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// The name of this runtime in a launch request.
const RUNTIME: &str = "process";

#[derive(Serialize)]
struct Request<'a> {
    runtime: &'static str,
    /// Written down for people. One machine is shared by all of its tasks; nothing is set aside for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    resources: Option<&'a Resources>,
}

#[derive(Deserialize)]
struct Addressee {
    runtime: String,
}

/// The request for a job. Nothing in it changes a launch here; it says for which runtime a claim was made.
pub(super) fn request(desired: &Desired) -> LaunchRequest {
    let request = Request { runtime: RUNTIME, resources: desired.resources.as_ref() };
    let text = serde_json::to_string(&request).ok().and_then(|text| JsonText::new(text).ok());
    LaunchRequest(text.expect("a struct of strings and numbers is JSON"))
}

fn is_ours(request: &LaunchRequest) -> bool {
    serde_json::from_str::<Addressee>(request.0.as_str()).is_ok_and(|found| found.runtime == RUNTIME)
}

fn refused(kind: RefusalKind, message: String) -> LaunchAnswer {
    LaunchAnswer::Refused(Refusal { kind, message })
}

impl Inner {
    /// See `Tasks::launch`.
    pub(super) fn launch(self: &Arc<Self>, launch: &Launch) -> LaunchAnswer {
        let token = &launch.token;
        if !is_ours(&launch.request) {
            let message = "the claim was made for another task runtime than processes of this machine";
            return refused(RefusalKind::Misconfigured, message.into());
        }
        let task = task_id(token);
        match self.table().entry(token.clone()) {
            hash_map::Entry::Occupied(entry) => {
                return match entry.get().worker {
                    Worker::Launching => LaunchAnswer::Uncertain("it is being launched".into()),
                    Worker::Child(_) | Worker::Ended(_) | Worker::Adopted => LaunchAnswer::Launched(task),
                };
            }
            hash_map::Entry::Vacant(entry) => {
                entry.insert(Entry::new(Some(launch.job_id.clone()), Instant::now(), Worker::Launching));
            }
        }
        match self.start(launch, &task) {
            Ok((child, socket)) => {
                let pid = child.id();
                if let (Some(socket), Some(records)) = (socket, &self.reports) {
                    let (job_id, token) = (launch.job_id.clone(), token.clone());
                    self.runtime.spawn(relay::serve(socket, records.clone(), job_id, token));
                }
                self.table().entry(token.clone()).and_modify(|entry| entry.worker = Worker::Child(child));
                self.attend(token.clone(), pid);
                LaunchAnswer::Launched(task)
            }
            Err(answer) => {
                self.table().remove(token);
                answer
            }
        }
    }

    /// Makes the folder and spawns the worker. An error is the answer to a launch that made no process.
    fn start(&self, launch: &Launch, task: &TaskId) -> Result<(Child, Option<UnixStream>), LaunchAnswer> {
        let token = &launch.token;
        // Identifiers, times and boot ids need no escapes.
        let line = format!(
            "{{\"job_id\":\"{}\",\"store\":{},\"boot_id\":\"{}\",\"launched_at\":\"{}\"}}\n",
            launch.job_id,
            serde_json::Value::from(self.store.as_str()),
            self.boot_id,
            Timestamp::from(SystemTime::now())
        );
        let lock = match self.root.create(token, &line) {
            Ok(Creation::Created(lock)) => lock,
            // Launched by an orchestrator before this one, which may have died before the spawn. Nobody
            // spawns into a folder that exists: the task is then seen stopped, and never started.
            Ok(Creation::Exists) => return Err(LaunchAnswer::Launched(task.clone())),
            Err(error) => {
                let message = format!("the folder of the task could not be made: {error}");
                return Err(refused(spawn::kind(&error), message));
            }
        };
        let spawned = {
            let _spawning = spawning();
            crash::before(Act::Spawn);
            self.spawner.spawn(lock, &launch.job_id, token, task, &self.root)
        };
        crash::after(Act::Spawn);
        spawned.map_err(|error| match self.root.remove(token) {
            Ok(_) => LaunchAnswer::Refused(self.spawner.refusal(&error)),
            Err(kept) => LaunchAnswer::Uncertain(format!("{error}; its folder cannot be removed: {kept}")),
        })
    }
}
