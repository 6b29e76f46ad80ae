//! Everything that the double knows, and its virtual time.

use super::bucket::Bucket;
use super::clock::{Clock, Millis, millis};
use super::definitions::Definitions;
use super::events::Outbox;
use super::faults::Faults;
use super::options::Options;
use super::process::{Exit, Room};
use super::task::Task;
use super::tokens::Tokens;
use super::wire::{Answer, Refused};
use crate::Dice;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;

/// Something that happens later.
#[derive(Debug)]
pub(crate) enum Timer {
    /// A task enters its next phase.
    Step { task: String, generation: u32 },
    /// A simulated container ends.
    Ends { task: String },
    /// The stop timeout is over.
    Kill { task: String },
    /// ECS forgets a stopped task.
    Forget { task: String },
    /// Spot takes the capacity back.
    Interrupt { task: String },
    /// The host kills the container.
    HostKill { task: String, reason: String },
    /// An event arrives.
    Deliver { event: Value },
}

/// How often an action was called, and how the calls ended.
#[derive(Debug, Default, Clone, serde::Serialize)]
pub(crate) struct Calls {
    pub(crate) total: u64,
    pub(crate) ok: u64,
    pub(crate) throttled: u64,
    pub(crate) refused: u64,
    /// Answers that a fault dropped, after the call was applied or before.
    pub(crate) dropped: u64,
}

/// The throttles.
#[derive(Debug)]
pub(crate) struct Buckets {
    pub(crate) modify: Bucket,
    pub(crate) read: Bucket,
    pub(crate) run_task: Bucket,
    pub(crate) launches: Bucket,
    pub(crate) spot_launches: Bucket,
    pub(crate) definition_modify: Bucket,
    pub(crate) definition_read: Bucket,
}

/// All of it.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) options: Options,
    pub(crate) clock: Clock,
    /// The time of what is being handled, at or before the clock's.
    pub(crate) now: Millis,
    pub(crate) tasks: BTreeMap<String, Task>,
    pub(crate) by_started: BTreeMap<String, BTreeSet<String>>,
    pub(crate) definitions: Definitions,
    pub(crate) tokens: Tokens,
    pub(crate) buckets: Buckets,
    pub(crate) faults: Faults,
    pub(crate) calls: BTreeMap<String, Calls>,
    /// Containers that were started, by client token; kept for ever.
    pub(crate) executions: BTreeMap<String, u32>,
    /// Containers that were started while another one of the same `startedBy` was alive.
    pub(crate) overlaps: u64,
    pub(crate) launched: u64,
    pub(crate) dice: Dice,
    pub(crate) ids: Dice,
    pub(crate) outbox: Outbox,
    pub(crate) room: Room,
    pub(crate) exits: UnboundedSender<Exit>,
    timers: BTreeMap<(Millis, u64), Timer>,
    timers_set: u64,
}

impl World {
    pub(crate) fn new(options: Options, room: Room, exits: UnboundedSender<Exit>) -> Self {
        let clock = Clock::new(options.time_scale);
        let now = clock.now();
        let q = options.quotas;
        let buckets = Buckets {
            modify: Bucket::new(q.modify, now),
            read: Bucket::new(q.read, now),
            run_task: Bucket::new(q.run_task, now),
            launches: Bucket::new(q.launches, now),
            spot_launches: Bucket::new(q.spot_launches, now),
            definition_modify: Bucket::new(q.definition_modify, now),
            definition_read: Bucket::new(q.definition_read, now),
        };
        // Ids must differ between two doubles of the same seed: records outlive a double.
        let ids = Dice::seeded(now.rotate_left(20) ^ u64::from(std::process::id()) ^ room.number());
        Self {
            clock,
            now,
            tasks: BTreeMap::new(),
            by_started: BTreeMap::new(),
            definitions: Definitions::new(),
            tokens: Tokens::default(),
            buckets,
            faults: Faults::new(options.seed),
            calls: BTreeMap::new(),
            executions: BTreeMap::new(),
            overlaps: 0,
            launched: 0,
            dice: Dice::seeded(options.seed),
            ids,
            outbox: Outbox::new(&options),
            room,
            exits,
            timers: BTreeMap::new(),
            timers_set: 0,
            options,
        }
    }

    pub(crate) fn arn_prefix(&self) -> String {
        format!("arn:aws:ecs:{}:{}", self.options.region, self.options.account)
    }

    /// The name of a cluster that exists.
    // Amazon ECS API reference, ClusterNotFoundException; "If you do not specify a cluster, the default
    // cluster is assumed".
    pub(crate) fn cluster(&self, given: Option<&str>) -> Result<String, Refused> {
        let given = given.filter(|name| !name.is_empty()).unwrap_or("default");
        let name = match given.rsplit_once(":cluster/") {
            Some((prefix, name)) if prefix == self.arn_prefix() => name,
            _ => given,
        };
        let found = self.options.clusters.iter().find(|cluster| *cluster == name);
        found.cloned().ok_or_else(|| Refused::new("ClusterNotFoundException", "Cluster not found."))
    }

    /// Sets a timer.
    pub(crate) fn after(&mut self, delay: Duration, timer: Timer) {
        self.timers_set += 1;
        self.timers.insert((self.now + millis(delay), self.timers_set), timer);
    }

    /// When the next timer is due.
    pub(crate) fn next(&self) -> Option<Millis> {
        self.timers.first_key_value().map(|((due, _), _)| *due)
    }

    /// Handles what is due. Each timer is handled at its own time, so that a late look changes no duration.
    pub(crate) fn run(&mut self) {
        let until = self.clock.now();
        while let Some(entry) = self.timers.first_entry() {
            let due = entry.key().0;
            if due > until {
                break;
            }
            let timer = entry.remove();
            self.now = self.now.max(due);
            self.fire(timer);
        }
        self.now = self.now.max(until);
    }

    fn fire(&mut self, timer: Timer) {
        match timer {
            Timer::Step { task, generation } => self.step(&task, generation),
            Timer::Ends { task } => self.simulated_end(&task, None),
            Timer::Kill { task } => self.kill(&task),
            Timer::Forget { task } => self.forget(&task),
            Timer::Interrupt { task } => self.interrupt(&task),
            Timer::HostKill { task, reason } => self.host_kill(&task, reason),
            Timer::Deliver { event } => self.outbox.deliver(event),
        }
    }

    /// Answers a call that passed the throttles and the faults of calls.
    pub(crate) fn answer(&mut self, action: &str, request: &Value) -> (Answer, Vec<String>) {
        let answer = match action {
            "RunTask" => return self.run_task(request),
            "StopTask" => self.stop_task(request),
            "DescribeTasks" => self.describe_tasks(request),
            "ListTasks" => self.list_tasks(request),
            "RegisterTaskDefinition" => self.register(request),
            "DescribeTaskDefinition" => self.describe_definition(request),
            "DeregisterTaskDefinition" => self.deregister(request),
            // Common error of the JSON protocols.
            _ => Err(Refused::new("UnknownOperationException", "")),
        };
        (answer, Vec::new())
    }

    /// Takes one token of each bucket of the action.
    // Amazon ECS API reference, "Request throttling for the Amazon ECS API".
    pub(crate) fn throttle(&mut self, action: &str) -> Result<(), Refused> {
        let (buckets, now) = (&mut self.buckets, self.now);
        let mut of_action: Vec<&mut Bucket> = match action {
            // The bucket of Fargate is per call of RunTask and comes on top of that of modify actions.
            "RunTask" => vec![&mut buckets.modify, &mut buckets.run_task],
            "StopTask" => vec![&mut buckets.modify],
            "DescribeTasks" | "ListTasks" => vec![&mut buckets.read],
            "RegisterTaskDefinition" | "DeregisterTaskDefinition" => vec![&mut buckets.definition_modify],
            "DescribeTaskDefinition" => vec![&mut buckets.definition_read],
            _ => Vec::new(),
        };
        if !of_action.iter_mut().all(|bucket| bucket.has(1, now)) {
            return Err(Refused::throttled());
        }
        of_action.iter_mut().for_each(|bucket| bucket.take(1));
        Ok(())
    }

    /// Counts a call.
    pub(crate) fn count(&mut self, action: &str, note: impl FnOnce(&mut Calls)) {
        note(self.calls.entry(action.to_owned()).or_default());
    }

    /// 32 hexadecimal digits.
    pub(crate) fn new_id(&mut self) -> String {
        format!("{:016x}{:016x}", self.ids.number(), self.ids.number())
    }

    /// What tests look at.
    pub(crate) fn state(&self, with_tasks: bool) -> Value {
        let mut by_status: BTreeMap<&str, u64> = BTreeMap::new();
        for task in self.tasks.values() {
            *by_status.entry(task.last.word()).or_default() += 1;
        }
        let mut state = json!({
            "now": super::clock::seconds(self.now),
            "launched": self.launched,
            "alive": self.tasks.values().filter(|task| task.is_alive()).count(),
            "overlaps": self.overlaps,
            "by_status": by_status,
            "calls": self.calls,
            "executions": self.executions,
            "tokens": self.tokens.view(),
            "faults": self.faults.view(),
            "events": self.outbox.counts(),
        });
        if with_tasks {
            let tasks = self.tasks.values().map(|task| {
                let mut view = task.described(true);
                view["clientToken"] = json!(task.client_token);
                view
            });
            state["tasks"] = tasks.collect();
        }
        state
    }
}
