//! Executing a command as an agent.
//!
//! The contract with the agent, for any language:
//!
//! * a fresh working directory, which is also its `HOME`;
//! * `AGENT_RUNNER_JOB_ID`, `AGENT_RUNNER_ATTEMPT`;
//! * the payload as the file `AGENT_RUNNER_PAYLOAD` and on stdin;
//! * its result, any JSON up to 1 MiB, goes to the file `AGENT_RUNNER_RESULT` (no file: the result is `{}`),
//!   further files into the folder `AGENT_RUNNER_ARTIFACTS`;
//! * stdout and stderr become the logs;
//! * exit 0 is success, anything else a failure; a result counts only with exit 0;
//! * SIGTERM means stop; SIGKILL follows after the grace period, to the whole process group;
//! * whatever it left running when it ends is killed.
//!
//! Program and arguments that contain a slash, are relative and exist below the directory in which the
//! worker was started mean those files; see [`environment`] for what the agent's environment holds.
//!
//! The task's folder: `work/` (the working directory), `payload.json`, `result.json`, `artifacts/`,
//! `stdout.log`, `stderr.log`. Who looks into it sees the logs grow.

mod capture;
mod collect;
mod environment;
pub(crate) mod family;
mod folder;
mod shipping;

use crate::attempt::{Run, too_long};
use crate::execution::{Ended, Execution, STDERR_LOG, STDOUT_LOG, now};
use crate::proc;
use crate::reporter::Beat;
use crate::signals::Signals;
use backends::crash::{self, Act};
use capture::Capture;
use contract::{Attempt, Failure, FailureClass};
use family::{End, Family};
pub(crate) use folder::make_room;
use folder::{Prepared, TaskFolder};
use rustix::process::Signal;
use shipping::Shipping;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

/// How long the logs may stay open after the last process of the agent is gone. Only a process that is no
/// descendant of ours can still hold them then.
const DRAIN: Duration = Duration::from_secs(2);

/// Executes `argv`.
pub(crate) fn execute(run: &mut Run<'_>, payload: &str, argv: &[String], pass_env: &[String]) -> Ended {
    let fails = |message: String| Ended::Left(Execution::failed(FailureClass::TaskFailedToStart, message));
    crash::before(Act::Prepare);
    let prepared = TaskFolder::prepare(&run.settings.task_folder, payload);
    crash::after(Act::Prepare);
    let folder = match prepared {
        Ok(Prepared::Fresh(folder)) => folder,
        Ok(Prepared::Used) => {
            // Another process of this task got here first, and it is the one to report.
            run.reporter.say("this task has executed its agent already");
            return Ended::Lost;
        }
        Err(e) => return fails(format!("the task's folder cannot be prepared: {e}")),
    };
    match (run.means.signals)() {
        Ok(signals) => run.signals = Some(signals),
        Err(e) => return fails(format!("signals cannot be watched: {e}")),
    }
    let mut agent = match spawn(run, &folder, argv, pass_env) {
        Ok(agent) => agent,
        Err(failure) => {
            let files = collect::empty_logs();
            return Ended::Left(Execution { finished_at: now(), failure: Some(failure), files });
        }
    };
    let attempt_folder = Attempt::folder(&run.settings.job_id, run.claim.number, &run.settings.token);
    let logs = [(STDOUT_LOG, &folder.stdout), (STDERR_LOG, &folder.stderr)];
    let shipping = Shipping::start(run.settings, &attempt_folder, logs);
    let Watched { end, stopped, lost } = watch(run, &mut agent.family);
    drop(shipping);
    for note in agent.capture.finish(DRAIN) {
        run.reporter.say(&note);
    }
    agent.remarks.iter().for_each(|note| remark(&folder, note));
    if lost {
        return Ended::Lost;
    }
    let finished_at = now();
    let failure = stopped.map(|why| stop_failure(run, why, &end)).or_else(|| end_failure(&end));
    Ended::Left(collect::left(&folder, finished_at, failure, |note| {
        run.reporter.say(note);
        remark(&folder, note);
    }))
}

/// Tells whoever looks at the job: the end of its stderr is what they read, and not the worker's own log.
fn remark(folder: &TaskFolder, note: &str) {
    let write = || {
        let mut log = File::options().read(true).append(true).open(&folder.stderr)?;
        let mut last = *b"\n";
        if let Some(at) = log.metadata()?.len().checked_sub(1) {
            log.read_exact_at(&mut last, at)?;
        }
        let begin = if last == *b"\n" { "" } else { "\n" };
        writeln!(log, "{begin}[agent-runner: {note}]")
    };
    // Where the disk is full the worker's own log has to do.
    let _: std::io::Result<()> = write();
}

/// A running agent.
struct Agent {
    family: Family,
    capture: Capture,
    /// What its owner should know, whatever becomes of it.
    remarks: Vec<String>,
}

fn spawn(run: &Run<'_>, folder: &TaskFolder, argv: &[String], pass_env: &[String]) -> Result<Agent, Failure> {
    let fails = |class, message| Failure { class, exit_code: None, message };
    let prepared = |e: std::io::Error| {
        fails(FailureClass::TaskFailedToStart, format!("the agent cannot be started: {e}"))
    };
    let Some((program, args)) = argv.split_first() else {
        return Err(fails(FailureClass::CommandNotStarted, "the command is empty".to_owned()));
    };
    let here = std::env::current_dir().map_err(prepared)?;
    let found = environment::of(run.settings, run.claim, folder, pass_env, |name| std::env::var_os(name));
    let mut remarks = Vec::new();
    for name in found.missing {
        remarks.push(format!("pass_env names {name}, which the worker does not have"));
    }
    remarks.iter().for_each(|note| run.reporter.say(note));
    let logs = Capture::prepare(folder).map_err(prepared)?;
    let mut command = Command::new(environment::absolute(&here, program));
    command
        .args(args.iter().map(|arg| environment::absolute(&here, arg)))
        .env_clear()
        .envs(found.variables)
        .current_dir(&folder.work)
        .process_group(0)
        .stdin(folder.payload_file().map_err(prepared)?)
        .stdout(logs.stdout)
        .stderr(logs.stderr);
    // Held by the agent and all that it starts, and by us until it has it.
    let lock = run.settings.has_lock().then(proc::inheritable_lock).transpose().map_err(prepared)?;
    crash::before(Act::Agent);
    let started = Family::start(&mut command);
    crash::after(Act::Agent);
    let family = started.map_err(|e| {
        let class = if is_the_commands_fault(&e) {
            FailureClass::CommandNotStarted
        } else {
            FailureClass::TaskFailedToStart
        };
        fails(class, format!("{program:?} cannot be started: {e}"))
    })?;
    drop(lock);
    // Closes our ends of the agent's pipes.
    drop(command);
    crash::before(Act::IntroduceAgent);
    let introduced = if run.settings.has_lock() { proc::introduce_agent(family.pid()) } else { Ok(()) };
    crash::after(Act::IntroduceAgent);
    // An agent that nobody could find again, or whose output nobody reads, is killed by the drop.
    let capture = introduced.and_then(|()| logs.reading.start()).map_err(prepared)?;
    Ok(Agent { family, capture, remarks })
}

/// Whether trying again elsewhere or later cannot help.
fn is_the_commands_fault(e: &std::io::Error) -> bool {
    use rustix::io::Errno;
    let errno = Errno::from_io_error(e);
    e.kind() == std::io::ErrorKind::InvalidInput
        || matches!(
            errno,
            Some(
                Errno::NOENT
                    | Errno::ACCESS
                    | Errno::PERM
                    | Errno::NOEXEC
                    | Errno::ISDIR
                    | Errno::NOTDIR
                    | Errno::LOOP
                    | Errno::NAMETOOLONG
                    | Errno::TOOBIG
            )
        )
}

/// How the wait for an agent ended. Every process of it is gone.
struct Watched {
    end: End,
    /// Why the worker stopped it, if it did.
    stopped: Option<FailureClass>,
    /// The attempt was taken away.
    lost: bool,
}

/// Waits until the agent and everything it started is gone. Told to stop, or when the attempt lasts too
/// long, it asks the agent's group to stop and kills it after the grace period; so it does when it hears that the
/// attempt was left before it hears the signal. When the attempt is lost it kills at once.
fn watch(run: &mut Run<'_>, family: &mut Family) -> Watched {
    let grace = run.grace();
    let mut stopped = None;
    let mut kill_at = None;
    let (mut left, mut lost) = (false, false);
    loop {
        if let Some(end) = family.gone() {
            return Watched { end, stopped, lost };
        }
        if !left && !lost {
            match run.reporter.beat() {
                Beat::Kept => {}
                Beat::Left => left = true,
                Beat::Lost => {
                    lost = true;
                    family.kill();
                }
            }
        }
        let now = Instant::now();
        // Its own end was first, whatever is asked while the rest of it is cleared away.
        if stopped.is_none() && !lost && !family.has_ended() {
            let asked = left || run.signals.as_ref().is_some_and(Signals::told_to_stop);
            stopped = match (asked, now >= run.guard) {
                (true, _) => Some(FailureClass::Interrupted),
                (false, true) => Some(FailureClass::AttemptTimeout),
                (false, false) => None,
            };
            if stopped.is_some() {
                family.signal(Signal::TERM);
                kill_at = Some(now + grace);
            }
        }
        if kill_at.is_some_and(|at| now >= at) {
            family.kill();
            kill_at = None;
        }
        let due = (!left && !lost).then(|| run.reporter.due());
        let guard = (stopped.is_none() && !lost && !family.has_ended()).then_some(run.guard);
        // Without any of them only the end of a child is waited for, which is a signal.
        let until = [due, guard, kill_at, family.look_again()].into_iter().flatten().min();
        if let Some(signals) = &run.signals {
            signals.wait(until.unwrap_or(now + run.settings.heartbeat));
        }
    }
}

fn stop_failure(run: &Run<'_>, class: FailureClass, end: &End) -> Failure {
    let message = match class {
        FailureClass::AttemptTimeout => too_long(run.settings, run.claim),
        _ => format!("the worker was told to stop, and so was the agent, which {end}"),
    };
    Failure { class, exit_code: Some(end.exit_code()), message }
}

fn end_failure(end: &End) -> Option<Failure> {
    let hint = match end {
        End::Exited(0) => return None,
        // SIGKILL, on every system that has signals.
        End::Signalled(9) => "; the worker did not do that: possibly the kernel, short of memory",
        _ => "",
    };
    Some(Failure {
        class: FailureClass::NonZeroExitCode,
        exit_code: Some(end.exit_code()),
        message: format!("the agent {end}{hint}"),
    })
}
