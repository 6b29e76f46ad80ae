//! A machine with tasks whose workers are a shell script. What a worker does follows from the job's name.

use async_trait::async_trait;
use backends::{ChannelHints, Hint, Hints};
use contract::{Evidence, JobId, JsonText, LaunchRequest, LaunchToken, TaskId};
use reconciler::tasks::conformance::{Play, Stage};
use reconciler::tasks::process::{ProcessOptions, ProcessTasks};
use reconciler::tasks::{Launch, LaunchAnswer, Observed, TaskState, TaskView, Tasks};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// A grace that no test outwaits.
pub(crate) const LONG: Duration = Duration::from_secs(600);

/// The worker. As the real one, it writes who it is into the file that is its stdin, starts its agent in a
/// session of its own with that file inherited, and writes who the agent is.
const WORKER: &str = r#"
ready() { if [ -p "$SCRATCH/$AGENT_RUNNER_JOB_ID" ]; then echo ready > "$SCRATCH/$AGENT_RUNNER_JOB_ID"; fi; }
start_of() { cut -d' ' -f22 "/proc/$1/stat"; }
echo "{\"boot_id\":\"$(cat /proc/sys/kernel/random/boot_id)\",\"pid\":$$,\"start_time\":$(start_of $$)}" >&0
exec 3<&0
case "$AGENT_RUNNER_JOB_ID" in
lasts-*) ready; exec sleep 600 ;;
ignores-*) trap '' TERM; ready; exec sleep 600 ;;
exits-*) code=${AGENT_RUNNER_JOB_ID#exits-}; exit "${code%%-*}" ;;
leaves-files-*) mkdir -p "$AGENT_RUNNER_TASK_FOLDER/a/b"; echo x > "$AGENT_RUNNER_TASK_FOLDER/a/b/c"; exit 0 ;;
tells-*) env > "$SCRATCH/env"; pwd > "$SCRATCH/cwd"; echo words >&2; echo lost; exit 0 ;;
agent-*|deaf-agent-*|unrecorded-agent-*)
    case "$AGENT_RUNNER_JOB_ID" in deaf-*) trap '' TERM ;; esac
    setsid sleep 600 <&3 3<&- & agent=$!
    case "$AGENT_RUNNER_JOB_ID" in
    unrecorded-*) echo $agent > "$SCRATCH/agent" ;;
    *) echo "{\"agent_pid\":$agent,\"agent_start_time\":$(start_of $agent)}" >&0 ;;
    esac
    ready; wait ;;
esac
"#;

/// A machine of its own.
pub(crate) struct Machine {
    pub(crate) scratch: tempfile::TempDir,
    pub(crate) tasks: ProcessTasks,
    pub(crate) hints: ChannelHints,
    launches: u128,
}

impl Machine {
    pub(crate) fn new() -> Self {
        Self::where_tasks(|_| ())
    }

    /// A machine whose folder of tasks is `left` in some state before the orchestrator starts.
    pub(crate) fn where_tasks(left: impl FnOnce(&Path)) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().join("tasks");
        std::fs::create_dir(&root).unwrap();
        left(&root);
        std::fs::write(scratch.path().join("worker.sh"), WORKER).unwrap();
        let (tasks, hints) = Self::open(&scratch);
        Self { scratch, tasks, hints, launches: 0 }
    }

    fn open(scratch: &tempfile::TempDir) -> (ProcessTasks, ChannelHints) {
        let (sender, hints) = ChannelHints::new();
        let mut options = Self::options(scratch);
        options.hints = sender;
        (ProcessTasks::new(options).unwrap(), hints)
    }

    /// The options of this machine, with hints that go nowhere.
    pub(crate) fn options(scratch: &tempfile::TempDir) -> ProcessOptions {
        ProcessOptions {
            folder: scratch.path().join("tasks"),
            store: "ours".to_owned(),
            program: "/bin/sh".into(),
            args: vec![scratch.path().join("worker.sh").into()],
            env: vec![("SCRATCH".into(), OsString::from(scratch.path()))],
            cwd: scratch.path().to_owned(),
            hints: ChannelHints::new().0,
            reports: None,
        }
    }

    /// Starts the orchestrator's part anew. The processes stay children of the test, which reaps them.
    pub(crate) fn reopen(&mut self) {
        (self.tasks, self.hints) = Self::open(&self.scratch);
    }

    pub(crate) fn folder(&self, token: &LaunchToken) -> PathBuf {
        self.scratch.path().join("tasks").join(token.as_str())
    }

    /// A launch of a worker that does what `name` says. A pipe of the job's name tells when it is at it.
    pub(crate) fn launch_of(&mut self, name: &str) -> Launch {
        self.launches += 1;
        let job_id = JobId::new(format!("{name}-{}", self.launches)).unwrap();
        let request = LaunchRequest(JsonText::new("{\"runtime\":\"process\"}").unwrap());
        // Distinct tokens, as if random, also over machines: holders are found by token.
        let bits = u128::from(std::process::id()) << 64 | rand_bits();
        Launch { job_id, token: LaunchToken::from_bits(bits), stop_grace: LONG, request }
    }

    /// Launches, and waits until the worker is at what it does.
    pub(crate) async fn started(&mut self, name: &str) -> (Launch, TaskId) {
        let launch = self.launch_of(name);
        let pipe = self.scratch.path().join(launch.job_id.as_str());
        make_pipe(&pipe);
        let task = self.launched(&launch).await;
        let reading = tokio::task::spawn_blocking(move || std::fs::read_to_string(pipe).unwrap());
        assert_eq!(tokio::time::timeout(PATIENCE, reading).await.unwrap().unwrap(), "ready\n");
        (launch, task)
    }

    pub(crate) async fn launched(&self, launch: &Launch) -> TaskId {
        match self.tasks.launch(launch).await {
            LaunchAnswer::Launched(task) => task,
            other => panic!("the launch was answered with {other:?}"),
        }
    }

    /// What is seen of the attempt: `None` for nothing.
    pub(crate) async fn view(&self, launch: &Launch) -> Option<TaskView> {
        match self.tasks.observe(&launch.job_id, &launch.token, None).await {
            Observed::Known(views) => {
                assert!(views.len() <= 1);
                views.into_iter().next()
            }
            Observed::Unknown(why) => panic!("nothing was observed: {why}"),
        }
    }

    pub(crate) async fn state(&self, launch: &Launch) -> Option<TaskState> {
        self.view(launch).await.map(|view| view.state)
    }

    pub(crate) async fn is_alive(&self, launch: &Launch) -> bool {
        self.state(launch).await == Some(TaskState::Alive)
    }

    /// The jobs of the next hints.
    pub(crate) async fn hinted(&mut self) -> Vec<JobId> {
        let hints = tokio::time::timeout(PATIENCE, self.hints.next()).await.expect("a hint comes").unwrap();
        let job = |hint| match hint {
            Hint::Job(job_id) | Hint::Unhurried(job_id) | Hint::Control(job_id, _) => job_id,
            Hint::Resync => panic!("a hint without a job"),
        };
        hints.into_iter().map(job).collect()
    }

    /// Waits for the end of a task, by hints alone: whoever polls does not see that one is missing.
    pub(crate) async fn ended(&mut self, launch: &Launch) -> Evidence {
        loop {
            assert!(self.hinted().await.contains(&launch.job_id));
            match self.state(launch).await {
                Some(TaskState::Alive) => {}
                Some(TaskState::Stopped(evidence)) => return *evidence,
                None => panic!("the task is forgotten"),
            }
        }
    }

    /// A member of the task's lock file, which is one number.
    pub(crate) fn recorded(&self, launch: &Launch, member: &str) -> i32 {
        let text = std::fs::read_to_string(self.folder(&launch.token).join("lock")).unwrap();
        let mut lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let found = lines.find_map(|line| line.get(member).and_then(serde_json::Value::as_i64));
        found.unwrap_or_else(|| panic!("no {member} in {text}")).try_into().unwrap()
    }
}

fn rand_bits() -> u128 {
    use std::hash::{BuildHasher, RandomState};
    u128::from(RandomState::new().hash_one(0))
}

fn make_pipe(path: &std::path::Path) {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

/// The state letter of a process; `None` when it is gone.
pub(crate) fn letter(pid: i32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Waits until a process has ended. It gives up its files, and so the lock, a moment before.
pub(crate) fn wait_for_end(pid: i32) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::process::{Pid, PidfdFlags, pidfd_open};
    // An error means that it is gone already.
    let Ok(handle) = pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty()) else { return };
    let patience = Timespec { tv_sec: PATIENCE.as_secs().cast_signed(), tv_nsec: 0 };
    let ended = poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&patience)).unwrap();
    assert_eq!(ended, 1, "process {pid} still runs");
}

pub(crate) fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

impl Drop for Machine {
    /// Kills what still runs, until nothing does: workers and agents start in this machine's folder.
    fn drop(&mut self) {
        let ours = self.scratch.path().canonicalize().unwrap();
        let running = |entry: std::fs::DirEntry| {
            let pid = rustix::process::Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
            (std::fs::read_link(entry.path().join("cwd")).ok()? == ours).then_some(pid)
        };
        let all = || std::fs::read_dir("/proc").unwrap().flatten().filter_map(running).collect::<Vec<_>>();
        let mut found = all();
        while !found.is_empty() {
            for pid in found {
                // It may have ended since.
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
            found = all();
        }
    }
}

#[async_trait]
impl Stage for Machine {
    fn tasks(&self) -> &dyn Tasks {
        &self.tasks
    }

    fn launch(&mut self, play: Play) -> Launch {
        let launch = match play {
            Play::Lasts => self.launch_of("lasts"),
            Play::Exits(code) => return self.launch_of(&format!("exits-{code}")),
            Play::Ignores => self.launch_of("ignores"),
        };
        make_pipe(&self.scratch.path().join(launch.job_id.as_str()));
        launch
    }

    async fn playing(&mut self, launch: &Launch) {
        let pipe = self.scratch.path().join(launch.job_id.as_str());
        tokio::task::spawn_blocking(move || std::fs::read_to_string(pipe).unwrap()).await.unwrap();
    }

    async fn restart(&mut self) {
        self.reopen();
    }

    async fn changed(&mut self) {
        self.hints.next().await.unwrap();
    }

    async fn clear(&mut self) {
        let Observed::Known(views) = self.tasks.list().await else { panic!("nothing was listed") };
        for view in views {
            self.tasks.stop(&view.task, Duration::ZERO).await.unwrap();
        }
    }
}
