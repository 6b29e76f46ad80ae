//! Asking ECS: listings, descriptions, and who waits for them.

use super::answer::{throttled, words};
use super::budget::Class;
use super::request::started_by;
use super::table::Known;
use super::view::Described;
use super::{Inner, TaskView};
use aws_sdk_ecs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ecs::operation::describe_tasks::DescribeTasksOutput;
use backends::Hint;
use contract::{JobId, LaunchToken, TaskId};
use std::collections::HashSet;
use std::error::Error;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// "A list of up to 100 task IDs" (DescribeTasks); ListTasks gives as many at once.
const MOST: usize = 100;
/// Between two descriptions that events asked for. At 17 events a second one call then tells of 68 tasks.
const GATHER: Duration = Duration::from_secs(4);
/// Between two of them while somebody waits for a task to end, and after an error.
const GATHER_ENDING: Duration = Duration::from_secs(1);

/// Why a task is described.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// Somebody looks at its job, or has just heard of it.
    ByLooks,
    /// A listing shows what nobody may have heard of: that it runs is told, too.
    ByListing,
}

impl Inner {
    /// What is known of an attempt's tasks, asking where that is not enough.
    pub(super) async fn observe(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        started: Option<&TaskId>,
    ) -> Result<Vec<TaskView>, String> {
        let now = Instant::now();
        // A snapshot's age, and as much again for the next one to come.
        let fresh = now.checked_sub(self.snapshot * 2).unwrap_or(now);
        let (known, listed) = {
            let table = self.table();
            (table.of(job_id, token, started, fresh), table.listed)
        };
        let mut ask = match known {
            Known::Enough(views) => return Ok(views),
            Known::Ask(ask) => ask,
        };
        if listed.is_none_or(|at| at < fresh) {
            // Others will ask the same, as after a start.
            self.list_since(now).await?;
            match self.table().of(job_id, token, started, now) {
                Known::Enough(views) => return Ok(views),
                Known::Ask(more) => ask = more,
            }
        }
        if ask.is_empty() {
            // Finds running tasks only; a stopped one is not found by its mark.
            ask = self.list(Some(&started_by(job_id, token))).await?.into_iter().collect();
        }
        self.describe(&ask, Asked::ByLooks).await?;
        Ok(self.table().views(job_id, token, started))
    }

    /// Every task.
    pub(super) async fn all(&self) -> Result<Vec<TaskView>, String> {
        let now = Instant::now();
        let fresh = now.checked_sub(self.snapshot).unwrap_or(now);
        let listed = self.table().listed;
        if listed.is_none_or(|at| at <= fresh) {
            self.list_since(now).await?;
        }
        Ok(self.table().all())
    }

    /// Makes sure that there is a complete listing that began after `since`.
    async fn list_since(&self, since: Instant) -> Result<(), String> {
        let _turn = self.listing.lock().await;
        if self.table().listed.is_some_and(|at| at >= since) {
            return Ok(());
        }
        let began = Instant::now();
        let running = self.list(None).await?;
        let ask = self.table().listed(&running, began);
        self.describe(&ask, Asked::ByListing).await?;
        self.table().complete(began);
        Ok(())
    }

    /// All pages of a listing. "It's possible the number of results to be fewer than maxResults" (ListTasks, API
    /// reference), and none is fewer, too.
    async fn list(&self, mark: Option<&str>) -> Result<HashSet<TaskId>, String> {
        let (mut running, mut next) = (HashSet::new(), None);
        loop {
            let (page, more) = self.list_page(mark, next).await?;
            running.extend(page);
            next = more;
            if next.is_none() {
                return Ok(running);
            }
        }
    }

    async fn list_page(
        &self,
        mark: Option<&str>,
        next: Option<String>,
    ) -> Result<(Vec<TaskId>, Option<String>), String> {
        self.read.take(Class::Second).await;
        // `startedBy` must be the only filter; RUNNING is what is listed by default, and includes those that are
        // on their way to it.
        let call = self.client.list_tasks().cluster(&self.cluster);
        let call = call.set_started_by(mark.map(str::to_owned)).set_next_token(next);
        let page = call.send().await.map_err(|error| self.failed(&error))?;
        let arns = page.task_arns.unwrap_or_default();
        Ok((arns.into_iter().filter_map(|arn| TaskId::new(arn).ok()).collect(), page.next_token))
    }

    /// Asks for these tasks and takes in the answers.
    async fn describe(&self, tasks: &[TaskId], why: Asked) -> Result<(), String> {
        for some in tasks.chunks(MOST) {
            self.describe_some(some, why).await?;
        }
        Ok(())
    }

    async fn describe_some(&self, tasks: &[TaskId], why: Asked) -> Result<(), String> {
        self.read.take(Class::Second).await;
        let asked = Instant::now();
        let call = self.client.describe_tasks().cluster(&self.cluster);
        let call = call.set_tasks(Some(tasks.iter().map(|task| task.as_str().to_owned()).collect()));
        let answer = call.send().await.map_err(|error| self.failed(&error))?;
        let Told { described, missing, complete } = told(tasks, &answer);
        let mut table = self.table();
        for task in missing {
            if let Some(job_id) = table.missing(task, asked) {
                self.hints.send(Hint::Job(job_id));
            }
        }
        for one in described {
            let started = if why == Asked::ByListing { table.starts(&one) } else { None };
            if let Some(job_id) = table.described(one, asked).or(started) {
                self.hints.send(Hint::Job(job_id));
            }
        }
        if complete { Ok(()) } else { Err("DescribeTasks told of only some of the tasks".into()) }
    }

    fn failed<E, R>(&self, error: &SdkError<E, R>) -> String
    where
        E: ProvideErrorMetadata + Error + 'static,
        R: Debug,
    {
        if throttled(error) {
            self.read.throttled();
        }
        words(error)
    }
}

/// What an answer tells of the tasks that were asked for.
struct Told<'a> {
    described: Vec<Described>,
    missing: Vec<&'a TaskId>,
    /// It tells of each of them.
    complete: bool,
}

fn told<'a>(tasks: &'a [TaskId], answer: &DescribeTasksOutput) -> Told<'a> {
    let described: Vec<Described> = answer.tasks().iter().filter_map(Described::of).collect();
    // Whatever else a failure says, it is not that there is no such task.
    let missing = answer.failures().iter().filter(|failure| failure.reason() == Some("MISSING"));
    let missing: HashSet<&str> = missing.filter_map(|failure| failure.arn()).collect();
    let missing: Vec<&TaskId> = tasks.iter().filter(|task| missing.contains(task.as_str())).collect();
    let complete =
        tasks.iter().all(|task| described.iter().any(|d| d.task == *task) || missing.contains(&task));
    Told { described, missing, complete }
}

/// Describes the tasks that something was heard of. Nobody waits for it: whatever has ended is told by a hint.
pub(super) async fn keep_asking(inner: Arc<Inner>) {
    let mut last: Option<Instant> = None;
    loop {
        let (some, ending) = {
            let table = inner.table();
            (!table.ask.is_empty(), table.any_ending())
        };
        let pause = if ending { GATHER_ENDING } else { GATHER };
        match last.map(|at| at + pause) {
            _ if !some => inner.ask.notified().await,
            Some(due) if Instant::now() < due => tokio::select! {
                () = tokio::time::sleep_until(due) => {}
                // Perhaps somebody waits for an end now.
                () = inner.ask.notified() => {}
            },
            Some(_) | None => {
                last = Some(Instant::now());
                let tasks: Vec<TaskId> = {
                    let mut table = inner.table();
                    let tasks: Vec<TaskId> = table.ask.iter().take(MOST).cloned().collect();
                    table.ask.retain(|task| !tasks.contains(task));
                    tasks
                };
                if let Err(why) = inner.describe_some(&tasks, Asked::ByLooks).await {
                    tracing::debug!(%why, "tasks could not be described; they are asked for again");
                    inner.table().ask.extend(tasks);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_ecs::types::{Failure, Task};

    #[test]
    fn a_task_that_an_answer_leaves_out_is_neither_there_nor_missing() {
        let tasks = ["a", "b"].map(|id| TaskId::new(format!("arn:task/{id}")).unwrap());
        let answer = |reason: Option<&str>| {
            let task = Task::builder().task_arn("arn:task/a").last_status("RUNNING").build();
            let failure = reason.map(|reason| Failure::builder().arn("arn:task/b").reason(reason).build());
            DescribeTasksOutput::builder().tasks(task).set_failures(failure.map(|one| vec![one])).build()
        };
        for (reason, missing, complete) in [
            (None, None, false),
            (Some("ACCESS_DENIED"), None, false),
            (Some("MISSING"), Some(&tasks[1]), true),
        ] {
            let answer = answer(reason);
            let told = told(&tasks, &answer);
            assert_eq!(told.described[0].task, tasks[0]);
            assert_eq!((told.missing.first().copied(), told.complete), (missing, complete), "{reason:?}");
        }
    }
}
