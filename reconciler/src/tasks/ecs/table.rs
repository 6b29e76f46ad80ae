//! What is known of tasks, between two questions. Passes are answered from here, because asking for each of them
//! would use up the read quota: AWS counts calls, and one call can tell of 100 tasks.
//!
//! That a task is alive may be long past; that it has stopped stays true; that there is none is never answered
//! from here, because absence counts only when it was looked for after the question.

use super::view::Described;
use crate::tasks::{ABSENCE_GRACE, TaskState, TaskView};
use contract::attempt::phase;
use contract::{JobId, LaunchToken, TaskId, Timestamp};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// How long the tasks of a closed attempt are not listed: their worker is about to end.
const LEAVING: Duration = Duration::from_secs(60);
/// How long something is kept that nobody asks for: ECS itself tells of stopped tasks for an hour.
const KEPT: Duration = Duration::from_secs(2 * 3600);

/// One task.
#[derive(Debug)]
struct Entry {
    job_id: JobId,
    token: LaunchToken,
    state: TaskState,
    worker_gone: bool,
    version: i64,
    phases: BTreeMap<String, Timestamp>,
    /// When this process first heard of it.
    known_since: Instant,
    /// When it was last known to exist.
    seen_at: Instant,
    /// ECS did not know it when it was last asked.
    missing: bool,
    /// It is going to end: by our request, or because ECS says so.
    ending: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Table {
    tasks: HashMap<TaskId, Entry>,
    by_job: HashMap<JobId, BTreeSet<TaskId>>,
    by_token: HashMap<LaunchToken, JobId>,
    /// Tasks of the cluster that are not ours.
    foreign: HashSet<TaskId>,
    /// Closed attempts.
    left: HashMap<LaunchToken, Instant>,
    /// When the last complete listing began.
    pub(super) listed: Option<Instant>,
    /// Of whom to ask soon.
    pub(super) ask: BTreeSet<TaskId>,
}

/// What is known of the tasks of an attempt.
#[derive(Debug)]
pub(super) enum Known {
    /// All that was asked for.
    Enough(Vec<TaskView>),
    /// Not enough: of these one should ask. None: of the mark of the attempt.
    Ask(Vec<TaskId>),
}

impl Table {
    /// What is known of an attempt since `fresh`.
    pub(super) fn of(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        started: Option<&TaskId>,
        fresh: Instant,
    ) -> Known {
        let mut ask: BTreeSet<TaskId> = started.cloned().into_iter().collect();
        let (mut views, mut old) = (Vec::new(), false);
        for (task, entry) in self.of_attempt(job_id, token, started) {
            ask.insert(task.clone());
            old |= !entry.missing && entry.state == TaskState::Alive && entry.seen_at < fresh;
            if !entry.missing {
                views.push(view(task, entry));
            }
        }
        let found = match started {
            Some(started) => views.iter().any(|v| v.task == *started),
            None => !views.is_empty(),
        };
        if found && !old { Known::Enough(views) } else { Known::Ask(ask.into_iter().collect()) }
    }

    /// The same, without asking any further.
    pub(super) fn views(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        started: Option<&TaskId>,
    ) -> Vec<TaskView> {
        let present = self.of_attempt(job_id, token, started).filter(|(_, entry)| !entry.missing);
        present.map(|(task, entry)| view(task, entry)).collect()
    }

    fn of_attempt<'a>(
        &'a self,
        job_id: &JobId,
        token: &'a LaunchToken,
        started: Option<&'a TaskId>,
    ) -> impl Iterator<Item = (&'a TaskId, &'a Entry)> {
        let of_job = self.by_job.get(job_id).into_iter().flatten();
        let entries = of_job.filter_map(|task| self.tasks.get_key_value(task));
        entries.filter(move |(task, entry)| entry.token == *token || Some(*task) == started)
    }

    /// Every task that is known to exist, but for those that are leaving.
    pub(super) fn all(&self) -> Vec<TaskView> {
        let leaving = |token| self.left.get(token).is_some_and(|at| at.elapsed() < LEAVING);
        let shown = self.tasks.iter().filter(|(_, e)| !e.missing && !leaving(&e.token));
        shown.map(|(task, entry)| view(task, entry)).collect()
    }

    /// RunTask says that this task is that of the attempt, and perhaps when it was made. It is no description: what
    /// has only been told of may be missing for a while.
    pub(super) fn launched(
        &mut self,
        job_id: &JobId,
        token: &LaunchToken,
        task: &TaskId,
        created: Option<Timestamp>,
    ) {
        if !self.tasks.contains_key(task) {
            self.add(job_id, token, task, TaskState::Alive, 0);
        }
        if let (Some(entry), Some(at)) = (self.tasks.get_mut(task), created) {
            entry.phases.entry(phase::CREATED.to_owned()).or_insert(at);
        }
    }

    fn add(&mut self, job_id: &JobId, token: &LaunchToken, task: &TaskId, state: TaskState, version: i64) {
        let now = Instant::now();
        let entry = Entry {
            job_id: job_id.clone(),
            token: token.clone(),
            state,
            worker_gone: false,
            version,
            phases: BTreeMap::new(),
            known_since: now,
            seen_at: now,
            missing: false,
            ending: false,
        };
        self.by_job.entry(job_id.clone()).or_default().insert(task.clone());
        self.by_token.insert(token.clone(), job_id.clone());
        self.tasks.insert(task.clone(), entry);
    }

    /// The job of a task that runs by this description, and by what was known did not yet.
    pub(super) fn starts(&self, described: &Described) -> Option<JobId> {
        let entry = self.tasks.get(&described.task)?;
        let runs = |phases: &BTreeMap<String, Timestamp>| phases.contains_key(phase::STARTED);
        (runs(&described.phases) && !runs(&entry.phases)).then(|| entry.job_id.clone())
    }

    /// Takes in a description that was asked for at `asked`. Answers with the job if something of it has ended
    /// that was not known to have.
    pub(super) fn described(&mut self, described: Described, asked: Instant) -> Option<JobId> {
        let Described { task, of, version, state, worker_gone, ending, phases } = described;
        if !self.tasks.contains_key(&task) {
            let Some((job_id, token)) = &of else {
                self.foreign.insert(task);
                return None;
            };
            self.add(job_id, token, &task, TaskState::Alive, version);
        }
        let entry = self.tasks.get_mut(&task)?;
        entry.seen_at = entry.seen_at.max(asked);
        entry.missing = false;
        // Answers overtake each other; what has stopped does not run again.
        if version < entry.version || entry.state != TaskState::Alive {
            return None;
        }
        let news = (state != TaskState::Alive) || (worker_gone && !entry.worker_gone);
        (entry.version, entry.state, entry.worker_gone) = (version, state, worker_gone);
        entry.ending |= ending;
        entry.phases.extend(phases);
        if entry.ending && entry.state == TaskState::Alive {
            self.ask.insert(task);
        }
        news.then(|| entry.job_id.clone())
    }

    /// ECS says that it does not know this task. A task that RunTask has just told of is believed in for a
    /// while: reads lag behind. Answers with the job if the task was not missing before.
    pub(super) fn missing(&mut self, task: &TaskId, asked: Instant) -> Option<JobId> {
        let entry = self.tasks.get_mut(task)?;
        if entry.state != TaskState::Alive {
            return None;
        }
        if entry.version == 0 && entry.known_since.elapsed() < ABSENCE_GRACE {
            entry.seen_at = entry.seen_at.max(asked);
            if entry.ending {
                self.ask.insert(task.clone());
            }
            return None;
        }
        let news = !std::mem::replace(&mut entry.missing, true);
        news.then(|| entry.job_id.clone())
    }

    /// Takes in a complete listing of running tasks that began at `began`; answers whom to describe: those that
    /// are new, those that are running no more, and those that were last seen before they ran.
    pub(super) fn listed(&mut self, running: &HashSet<TaskId>, began: Instant) -> Vec<TaskId> {
        self.foreign.retain(|task| running.contains(task));
        let (tasks, left) = (&mut self.tasks, &self.left);
        let gone = |task: &TaskId, e: &Entry| {
            // Nobody asks any more: its attempt is closed, and it runs no more.
            let over = left.contains_key(&e.token) && !running.contains(task) && e.seen_at < began;
            over || e.seen_at.elapsed() > KEPT
        };
        let forgotten: Vec<TaskId> =
            tasks.iter().filter(|(t, e)| gone(t, e)).map(|(t, _)| t.clone()).collect();
        let mut ask: Vec<TaskId> = Vec::new();
        for (task, entry) in tasks.iter_mut() {
            if entry.state != TaskState::Alive || entry.missing {
                continue;
            }
            let runs = running.contains(task);
            if runs {
                entry.seen_at = entry.seen_at.max(began);
            }
            let leaving = left.contains_key(&entry.token);
            if !leaving && (!runs || !entry.phases.contains_key(phase::STARTED)) {
                ask.push(task.clone());
            }
        }
        ask.extend(running.iter().filter(|t| !self.foreign.contains(*t) && !tasks.contains_key(*t)).cloned());
        for task in forgotten {
            self.remove(&task);
        }
        self.left.retain(|_, at| at.elapsed() < KEPT);
        ask.sort();
        ask
    }

    /// The listing and its descriptions are complete.
    pub(super) fn complete(&mut self, began: Instant) {
        self.listed = self.listed.max(Some(began));
    }

    /// Somebody asked ECS to stop this task.
    pub(super) fn stopping(&mut self, task: &TaskId) {
        if let Some(entry) = self.tasks.get_mut(task) {
            entry.ending = true;
            self.ask.insert(task.clone());
        }
    }

    /// Something has happened to a task of this job. Answers whether there is anybody to ask.
    pub(super) fn heard_of(&mut self, job_id: &JobId) -> bool {
        let tasks = self.by_job.get(job_id).into_iter().flatten();
        let open = tasks.filter(|task| {
            self.tasks
                .get(*task)
                .is_some_and(|e| e.state == TaskState::Alive && !self.left.contains_key(&e.token))
        });
        let before = self.ask.len();
        self.ask.extend(open.cloned().collect::<Vec<_>>());
        self.ask.len() > before
    }

    /// Attempts that have a task and are not closed.
    pub(super) fn open(&self) -> usize {
        self.by_token.keys().filter(|token| !self.left.contains_key(*token)).count()
    }

    /// Whether somebody waits for one of these to end.
    pub(super) fn any_ending(&self) -> bool {
        self.ask.iter().any(|task| self.tasks.get(task).is_some_and(|e| e.ending))
    }

    /// The attempt is closed.
    pub(super) fn forget(&mut self, token: &LaunchToken) {
        let Some(job_id) = self.by_token.get(token) else { return };
        let of_job: Vec<TaskId> = self.by_job.get(job_id).into_iter().flatten().cloned().collect();
        for task in of_job {
            let Some(entry) = self.tasks.get(&task).filter(|e| e.token == *token) else { continue };
            if entry.missing || entry.state != TaskState::Alive {
                self.remove(&task);
            } else {
                self.ask.remove(&task);
                self.left.insert(token.clone(), Instant::now());
            }
        }
    }

    fn remove(&mut self, task: &TaskId) {
        let Some(entry) = self.tasks.remove(task) else { return };
        self.ask.remove(task);
        let Some(of_job) = self.by_job.get_mut(&entry.job_id) else { return };
        of_job.remove(task);
        if !of_job.iter().any(|other| self.tasks.get(other).is_some_and(|e| e.token == entry.token)) {
            self.by_token.remove(&entry.token);
        }
        if of_job.is_empty() {
            self.by_job.remove(&entry.job_id);
        }
    }

    /// The launch phases of a task, as far as known.
    pub(super) fn phases(&self, task: &TaskId) -> BTreeMap<String, Timestamp> {
        self.tasks.get(task).map(|e| e.phases.clone()).unwrap_or_default()
    }
}

fn view(task: &TaskId, entry: &Entry) -> TaskView {
    let now = Timestamp::from(SystemTime::now());
    let created = entry.phases.get(phase::CREATED);
    let age = created.map(|at| Duration::from_millis(now.millis_since(*at).unsigned_abs()));
    TaskView {
        task: task.clone(),
        token: entry.token.clone(),
        job_id: entry.job_id.clone(),
        state: entry.state.clone(),
        worker_gone: entry.worker_gone,
        age: age.unwrap_or_else(|| entry.known_since.elapsed()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::Evidence;

    fn job() -> JobId {
        JobId::new("job-1").unwrap()
    }

    fn token() -> LaunchToken {
        LaunchToken::from_bits(1)
    }

    fn task(n: u32) -> TaskId {
        TaskId::new(format!("arn:task/{n}")).unwrap()
    }

    fn described(version: i64, state: TaskState) -> Described {
        Described {
            task: task(1),
            of: Some((job(), token())),
            version,
            state,
            worker_gone: false,
            ending: false,
            phases: BTreeMap::new(),
        }
    }

    fn stopped() -> TaskState {
        TaskState::Stopped(Box::default())
    }

    async fn pass(seconds: u64) {
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }

    fn seen(table: &Table, fresh: Instant) -> Option<usize> {
        match table.of(&job(), &token(), Some(&task(1)), fresh) {
            Known::Enough(views) => Some(views.len()),
            Known::Ask(_) => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_arn_without_a_task_is_believed_in_for_the_grace_and_then_missing() {
        let mut table = Table::default();
        table.launched(&job(), &token(), &task(1), None);
        pass(59).await;
        assert_eq!(table.missing(&task(1), Instant::now()), None);
        assert_eq!(seen(&table, Instant::now()), Some(1));
        pass(1).await;
        assert_eq!(table.missing(&task(1), Instant::now()), Some(job()), "news");
        assert_eq!(table.missing(&task(1), Instant::now()), None, "no news");
        assert_eq!(
            seen(&table, Instant::now()),
            None,
            "absence is asked for again, never answered from here"
        );
        assert_eq!(table.views(&job(), &token(), Some(&task(1))), []);
        table.described(described(3, TaskState::Alive), Instant::now());
        assert_eq!(seen(&table, Instant::now()), Some(1), "it was only hidden");
    }

    #[tokio::test(start_paused = true)]
    async fn that_a_task_is_alive_grows_old_and_that_it_has_stopped_does_not() {
        let mut table = Table::default();
        table.described(described(1, TaskState::Alive), Instant::now());
        pass(10).await;
        assert_eq!(seen(&table, Instant::now()), None);
        assert_eq!(seen(&table, Instant::now() - Duration::from_secs(10)), Some(1));
        assert_eq!(table.described(described(2, stopped()), Instant::now()), Some(job()), "news");
        pass(3000).await;
        assert_eq!(seen(&table, Instant::now()), Some(1));
        assert_eq!(table.described(described(2, stopped()), Instant::now()), None, "no news");
        table.missing(&task(1), Instant::now());
        assert_eq!(seen(&table, Instant::now()), Some(1), "ECS forgets; the table does not");
    }

    #[tokio::test(start_paused = true)]
    async fn answers_that_overtake_each_other_do_not_bring_a_task_back() {
        let mut table = Table::default();
        table.described(described(5, stopped()), Instant::now());
        table.described(described(9, TaskState::Alive), Instant::now());
        let views = table.views(&job(), &token(), None);
        assert_eq!(views[0].state, TaskState::Stopped(Box::<Evidence>::default()));
        let mut table = Table::default();
        let phases = BTreeMap::from([(phase::STARTED.to_owned(), Timestamp::from_millis(1))]);
        table.described(Described { phases, ..described(5, TaskState::Alive) }, Instant::now());
        let old = Described { worker_gone: true, ..described(4, TaskState::Alive) };
        assert_eq!(table.described(old, Instant::now()), None);
        assert!(!table.views(&job(), &token(), None)[0].worker_gone);
    }

    #[tokio::test(start_paused = true)]
    async fn a_listing_asks_for_what_is_new_gone_or_not_yet_running_and_never_for_what_is_closed() {
        let mut table = Table::default();
        table.launched(&job(), &token(), &task(1), None);
        pass(1).await;
        let running = HashSet::from([task(1), task(2)]);
        assert_eq!(table.listed(&running, Instant::now()), [task(1), task(2)], "not seen running, and new");
        let phases = BTreeMap::from([(phase::STARTED.to_owned(), Timestamp::from_millis(1))]);
        table.described(Described { phases, ..described(2, TaskState::Alive) }, Instant::now());
        table.described(Described { task: task(2), of: None, ..described(1, stopped()) }, Instant::now());
        pass(60).await;
        assert_eq!(table.listed(&running, Instant::now()), [], "running as before, and not ours");
        pass(60).await;
        assert_eq!(table.listed(&HashSet::new(), Instant::now()), [task(1)], "gone");
        table.forget(&token());
        assert!(!table.heard_of(&job()) && table.all().is_empty(), "it is about to end");
        pass(60).await;
        assert_eq!(table.listed(&running, Instant::now()), [task(2)], "foreign again");
        assert_eq!(table.all().len(), 1, "60 s later it is still there: an orphan");
        pass(60).await;
        assert_eq!(table.listed(&HashSet::new(), Instant::now()), []);
        assert!(table.tasks.is_empty() && table.by_job.is_empty() && table.by_token.is_empty());
    }
}
