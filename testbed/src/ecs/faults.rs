//! Scripted faults.

use crate::Dice;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::time::Duration;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
pub enum Kind {
    /// RunTask: `failures[]` says that there is no capacity.
    NoCapacity,
    /// RunTask: `failures[]` says that the vCPU quota is used up.
    QuotaExhausted,
    /// ThrottlingException; nothing is done.
    Throttle,
    /// The error `code` with `message`; nothing is done.
    Refuse,
    /// ServerException (500); nothing is done, but the caller cannot know.
    Error500,
    /// The call is carried out and the connection closed without an answer.
    DropAnswerAfterApplying,
    /// The connection is closed and nothing is done.
    DropRequest,
    /// The call is carried out at once and answered after `seconds`.
    Delay,
    /// The call is carried out after `seconds`, also when the caller has gone away.
    DelayRequest,
    /// RunTask: an ARN, but no task.
    Vanish,
    /// RunTask: PROVISIONING lasts `seconds` longer.
    LaunchAfter,
    /// RunTask: answered only when the task has stopped; its phases take no time.
    LaunchAndFinishBeforeAnswer,
    /// RunTask: the task does not start, for `reason`.
    FailToStart,
    /// Spot takes the capacity back: of `task` now, or of the next launches, after `seconds`.
    SpotInterrupt,
    /// DescribeTasks says MISSING and ListTasks leaves the task out, for `seconds`: `task`, or the next
    /// launches.
    Missing,
    /// ECS forgets `task`, which must have stopped, or the client token `token`.
    Forget,
    /// The container of `task`, or of the next launches, is killed after `seconds`, counted from its start when
    /// that is still to come; as for lack of memory, or for `reason`.
    KillTask,
}

/// When a fault is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// When a call arrives.
    Call,
    /// When RunTask is about to launch; a repetition that is answered from memory is none.
    Launch,
}

impl Kind {
    fn stage(self) -> Stage {
        match self {
            Self::Throttle
            | Self::Refuse
            | Self::Error500
            | Self::DropAnswerAfterApplying
            | Self::DropRequest
            | Self::Delay
            | Self::DelayRequest => Stage::Call,
            _ => Stage::Launch,
        }
    }
}

/// A scripted fault.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What goes wrong.
    pub fault: Kind,
    /// Of which action; RunTask when absent, `*` for any.
    #[serde(default = "run_task")]
    pub action: String,
    /// How often; once when absent.
    #[serde(default = "once")]
    pub times: u32,
    /// Only one of so many matching calls, at random; every one when absent.
    #[serde(default)]
    pub one_in: Option<u64>,
    /// Only calls with this client token.
    #[serde(default)]
    pub token: Option<String>,
    /// Only calls whose `startedBy` begins so: a job's.
    #[serde(default)]
    pub started_by: Option<String>,
    /// Only calls that name this task (ARN or id), or the task that the fault befalls now.
    #[serde(default)]
    pub task: Option<String>,
    /// A duration, in virtual time.
    #[serde(default)]
    pub seconds: f64,
    /// Of [`Kind::Refuse`].
    #[serde(default)]
    pub code: Option<String>,
    /// Of [`Kind::Refuse`].
    #[serde(default)]
    pub message: Option<String>,
    /// Of [`Kind::FailToStart`], and of [`Kind::KillTask`] (empty: none is given).
    #[serde(default)]
    pub reason: Option<String>,
}

fn run_task() -> String {
    "RunTask".to_owned()
}

fn once() -> u32 {
    1
}

// Amazon ECS developer guide, "CannotPullContainer task errors in Amazon ECS".
const CANNOT_PULL: &str = "CannotPullContainerError: pull image manifest has been retried 5 time(s): failed to \
                           resolve ref worker:latest: i/o timeout";

// Amazon ECS developer guide, "OutOfMemory error codes in Amazon ECS".
const OUT_OF_MEMORY: &str = "OutOfMemoryError: Container killed due to memory usage";

impl Fault {
    pub(crate) fn delay(&self) -> Duration {
        Duration::try_from_secs_f64(self.seconds).unwrap_or_default()
    }

    pub(crate) fn start_failure(&self) -> String {
        self.reason.clone().unwrap_or_else(|| CANNOT_PULL.to_owned())
    }

    pub(crate) fn kill_reason(&self) -> String {
        self.reason.clone().unwrap_or_else(|| OUT_OF_MEMORY.to_owned())
    }

    fn matches(&self, action: &str, subject: &Subject<'_>) -> bool {
        (self.action == "*" || self.action == action)
            && self.token.as_deref().is_none_or(|token| subject.token == Some(token))
            && self
                .started_by
                .as_deref()
                .is_none_or(|by| subject.started_by.is_some_and(|it| it.starts_with(by)))
            && (self.task.is_none() || subject.task.is_some_and(|it| it.ends_with(self.task_id())))
    }

    /// The id of `task`.
    pub(crate) fn task_id(&self) -> &str {
        let name = self.task.as_deref().unwrap_or_default();
        name.rsplit('/').next().unwrap_or(name)
    }

    /// It befalls a task or a token now, and no call.
    pub(crate) fn is_immediate(&self) -> bool {
        matches!(self.fault, Kind::SpotInterrupt | Kind::KillTask | Kind::Missing) && self.task.is_some()
            || self.fault == Kind::Forget
    }

    /// What is wrong with the fault itself.
    pub(crate) fn mistake(&self) -> Option<String> {
        let run_task_only = self.fault.stage() == Stage::Launch && self.action != "RunTask";
        let named = self.task.is_some() || self.token.is_some();
        match self.fault {
            _ if run_task_only => Some(format!("{:?} is a fault of RunTask", self.fault)),
            Kind::Refuse if self.code.is_none() => Some("Refuse needs a code".to_owned()),
            Kind::Forget if !named => Some("Forget needs a task or a token".to_owned()),
            _ if Duration::try_from_secs_f64(self.seconds).is_err() => {
                Some("seconds is no duration".to_owned())
            }
            _ => None,
        }
    }
}

/// Whom a call is about.
#[derive(Debug, Default)]
pub(crate) struct Subject<'a> {
    pub(crate) token: Option<&'a str>,
    pub(crate) started_by: Option<&'a str>,
    pub(crate) task: Option<&'a str>,
}

impl<'a> Subject<'a> {
    pub(crate) fn of(request: &'a Value) -> Self {
        Self {
            token: request["clientToken"].as_str(),
            started_by: request["startedBy"].as_str(),
            task: request["task"].as_str(),
        }
    }
}

/// The script.
#[derive(Debug)]
pub(crate) struct Faults {
    waiting: Vec<Fault>,
    dice: Dice,
}

impl Faults {
    pub(crate) fn new(seed: u64) -> Self {
        Self { waiting: Vec::new(), dice: Dice::seeded(seed ^ 0xfa17) }
    }

    pub(crate) fn add(&mut self, fault: Fault) {
        self.waiting.push(fault);
    }

    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
    }

    pub(crate) fn view(&self) -> Value {
        json!(self.waiting)
    }

    /// The first fault of the script that befalls this call.
    pub(crate) fn of_call(&mut self, action: &str, subject: &Subject<'_>) -> Option<Fault> {
        self.take(Stage::Call, action, subject, 1).pop()
    }

    /// Every fault that befalls this launch, one of each kind.
    pub(crate) fn of_launch(&mut self, subject: &Subject<'_>) -> Vec<Fault> {
        self.take(Stage::Launch, "RunTask", subject, usize::MAX)
    }

    fn take(&mut self, stage: Stage, action: &str, subject: &Subject<'_>, most: usize) -> Vec<Fault> {
        let (mut taken, dice): (Vec<Fault>, _) = (Vec::new(), &mut self.dice);
        for fault in &mut self.waiting {
            let another = taken.iter().all(|other| other.fault != fault.fault);
            if taken.len() < most
                && another
                && fault.fault.stage() == stage
                && fault.matches(action, subject)
                && fault.one_in.is_none_or(|n| dice.once_in(n.max(1)))
            {
                fault.times = fault.times.saturating_sub(1);
                taken.push(fault.clone());
            }
        }
        self.waiting.retain(|fault| fault.times > 0);
        taken
    }
}
