//! Stopping, losing the attempt, dying.

use crate::support::{WORKER, World, command, echo, eventually, lives, shell};
use contract::{FailureClass, Gate, LeaveReason};
use rustix::process::{Pid, Signal};
use std::process::ExitStatus;

/// Says its pid and waits for ever, with a child.
const WAITS: &str = "sleep 1000 & echo $! > child; echo $$ > pid; wait";

#[test]
fn a_sealed_attempt_is_not_executed() {
    let w = World::new(&shell("echo ran > ran"));
    w.seal(LeaveReason::Cancelled);
    w.run();
    assert!(w.read("task/work/ran").is_none());
    assert!(!w.folder.path().join("artifacts").exists());
    assert!(matches!(w.gate(), Some(Gate::Sealed { started: None, .. })));
}

#[test]
fn an_attempt_that_does_not_exist_is_not_executed() {
    let mut w = World::new(&shell("echo ran > ran"));
    w.env.insert("AGENT_RUNNER_LAUNCH_TOKEN".to_owned(), "0".repeat(32));
    w.run();
    assert!(w.read("task/work/ran").is_none());
    assert_eq!(w.gate(), None);
}

#[test]
fn a_second_worker_of_the_same_task_does_not_execute_the_agent_again() {
    let w = World::new(&shell("echo ran >> ../runs; echo > pid; while [ ! -e go ]; do sleep 0.01; done"));
    let first = w.start();
    w.wait_for("pid");
    // The lock is held by the first, so this one gets a stdin that is none.
    let second = std::process::Command::new(env!("CARGO_BIN_EXE_agent-runner-worker"))
        .envs(&w.env)
        .stdin(std::fs::File::create(w.folder.path().join("other-lock")).unwrap())
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&second.stderr).contains("executed its agent already"));
    assert_eq!(w.outcome(), None);
    std::fs::write(w.folder.path().join("task/work/go"), "").unwrap();
    assert_eq!(first.wait().code(), Some(0));
    assert_eq!(w.outcome().unwrap().failure, None);
    assert_eq!(w.read("task/runs").unwrap(), "ran\n");
}

#[test]
fn an_attempt_whose_task_was_taken_for_stopped_loses_its_agent_at_once() {
    for why in [LeaveReason::TaskGone, LeaveReason::Superseded] {
        // Deaf to SIGTERM: with the grace period it would take 20 s.
        let w = World::new(&shell(&format!("trap '' TERM; {WAITS}")));
        let worker = w.start();
        let pid = w.wait_for("pid");
        let first = w.report().unwrap().heartbeat_at;
        eventually("a heartbeat comes", || (w.report().unwrap().heartbeat_at > first).then_some(()));
        w.seal(why);
        let start = std::time::Instant::now();
        assert_eq!(worker.wait().code(), Some(0));
        assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
        assert!(!lives(&pid) && !lives(&w.wait_for("child")));
        assert_eq!(w.outcome(), None);
        assert!(!w.folder.path().join("artifacts").exists(), "a sealed attempt stored something");
        assert!(w.log().contains("the attempt was taken away"), "{}", w.log());
    }
}

#[test]
fn an_attempt_that_was_left_on_purpose_gives_its_agent_the_grace_period() {
    // The reconciler seals first and signals then; heartbeats come in between and after. With and without the signal.
    for signalled in [true, false] {
        let tidy = "trap 'for i in 1 2 3 4 5 6; do sleep 0.5; done; echo tidy; exit 0' TERM";
        let w = World::new(&shell(&format!("{tidy}; {WAITS}")));
        let worker = w.start();
        let pid = w.wait_for("pid");
        w.seal(LeaveReason::Cancelled);
        if signalled {
            worker.signal(Signal::TERM);
        }
        assert_eq!(worker.wait().code(), Some(0));
        assert!(!lives(&pid) && !lives(&w.wait_for("child")));
        assert_eq!(w.outcome(), None, "nobody wants it any more");
        assert_eq!(w.stored("stdout.log").unwrap(), "tidy\n", "{}", w.log());
    }
}

#[test]
fn an_attempt_that_was_left_is_killed_after_the_grace_period() {
    let mut claim = shell(&format!("trap '' TERM; {WAITS}"));
    claim.stop_grace_seconds = 1;
    let w = World::new(&claim);
    let worker = w.start();
    let pid = w.wait_for("pid");
    w.seal(LeaveReason::AttemptTimeout);
    assert_eq!(worker.wait().code(), Some(0));
    assert!(!lives(&pid) && !lives(&w.wait_for("child")));
    assert_eq!(w.outcome(), None);
}

#[test]
fn a_sleeping_echo_notices_that_it_was_sealed() {
    let w = World::new(&echo(r#"{"sleep_seconds":1000}"#));
    let worker = w.start();
    eventually("the gate is passed", || w.gate());
    w.seal(LeaveReason::Cancelled);
    assert_eq!(worker.wait().code(), Some(0));
    assert_eq!(w.outcome(), None);
}

#[test]
fn a_worker_that_is_told_to_stop_stops_its_agent_and_says_so() {
    // An agent that cleans up and exits 0 was interrupted all the same.
    let script = format!("trap 'echo cleaned up; exit 0' TERM; {WAITS}");
    let w = World::new(&shell(&script));
    let worker = w.start();
    let pid = w.wait_for("pid");
    worker.signal(Signal::TERM);
    assert_eq!(worker.wait().code(), Some(0));
    let (class, code, message) = w.failure();
    assert_eq!((class, code), (FailureClass::Interrupted, Some(0)));
    assert!(message.contains("told to stop"), "{message}");
    assert_eq!(w.stored("stdout.log").unwrap(), "cleaned up\n");
    assert!(!lives(&pid) && !lives(&w.wait_for("child")));
}

#[test]
fn an_agent_that_is_deaf_to_sigterm_is_killed_after_the_grace_period() {
    let mut claim = shell(&format!("trap '' TERM; {WAITS}"));
    claim.stop_grace_seconds = 1;
    let w = World::new(&claim);
    let worker = w.start();
    w.wait_for("pid");
    let start = std::time::Instant::now();
    worker.signal(Signal::TERM);
    assert_eq!(worker.wait().code(), Some(0));
    assert!(start.elapsed().as_millis() >= 1000, "{:?}", start.elapsed());
    let (class, code, message) = w.failure();
    assert_eq!((class, code), (FailureClass::Interrupted, Some(137)), "{message}");
    assert!(!lives(&w.wait_for("child")));
}

#[test]
fn a_sleeping_echo_can_be_stopped() {
    let w = World::new(&echo(r#"{"sleep_seconds":1000}"#));
    let worker = w.start();
    // The signals are watched a moment after the gate; before that a stop is a death.
    eventually("a heartbeat comes", || w.report().filter(|report| report.heartbeat_at > report.started_at));
    worker.signal(Signal::TERM);
    assert_eq!(worker.wait().code(), Some(0));
    assert_eq!(w.failure().0, FailureClass::Interrupted);
    assert_eq!(w.manifest(), ["stdout.log", "stderr.log"]);
}

#[test]
fn an_attempt_that_nobody_stops_is_stopped_by_its_worker() {
    for mut claim in [shell(WAITS), echo(r#"{"sleep_seconds":1000}"#)] {
        claim.attempt_timeout_seconds = 1;
        let mut w = World::new(&claim);
        w.env.insert("AGENT_RUNNER_GUARD_SECONDS".to_owned(), "0".to_owned());
        let (class, _, message) = w.run_to_failure();
        assert_eq!(class, FailureClass::AttemptTimeout);
        assert!(message.contains("its limit of 1 s"), "{message}");
        assert!(w.lock_is_free());
    }
}

#[test]
fn an_agent_that_outlives_its_worker_holds_the_lock_and_can_be_found() {
    // Scripts use the low descriptors for themselves, which must not close the lock.
    let w = World::new(&shell(&format!(
        "exec 3>x 4>x 5>x 6>x 7>x 8>x 9>x 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-; {WAITS}"
    )));
    let worker = w.start();
    let pid = w.wait_for("pid");
    // The second line follows the start of the agent.
    let lines = eventually("the agent is written down", || Some(w.lock_lines()).filter(|l| l.len() == 2));
    let held = std::fs::read_dir(format!("/proc/{}/fd", pid.trim())).unwrap().find_map(|fd| {
        let path = fd.unwrap().path();
        let number: u32 = path.file_name()?.to_str()?.parse().ok()?;
        std::fs::read_link(path).ok()?.ends_with("task/lock").then_some(number)
    });
    assert!(held.is_some_and(|number| number >= 100), "the agent holds the lock as {held:?}");
    worker.signal(Signal::KILL);
    worker.wait();
    assert!(lives(&pid));
    assert!(!w.lock_is_free());
    let agent = i32::try_from(lines[1]["agent_pid"].as_i64().unwrap()).unwrap();
    assert_eq!(agent.to_string(), pid.trim());
    rustix::process::kill_process_group(Pid::from_raw(agent).unwrap(), Signal::KILL).unwrap();
    eventually("the lock is free", || w.lock_is_free().then_some(()));
}

#[test]
fn a_worker_that_cannot_say_who_it_is_executes_nothing() {
    let w = World::new(&command(&["touch", "ran"]));
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_agent-runner-worker"))
        .envs(&w.env)
        .stdin(std::fs::File::open("/dev/full").unwrap())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(70));
    assert_eq!(w.gate(), None);
}

#[test]
fn a_worker_that_was_started_wrongly_names_every_mistake() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_agent-runner-worker"))
        .env_clear()
        .env("AGENT_RUNNER_JOB_ID", "Not An Id")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(70));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("\"Not An Id\" is not a job id"), "{said}");
    assert!(said.contains("AGENT_RUNNER_TASK_FOLDER is not set"), "{said}");
}

#[test]
fn a_store_that_does_not_exist_is_no_reason_to_make_one() {
    let mut w = World::new(&echo("{}"));
    let missing = w.folder.path().join("missing.db");
    w.env.insert("AGENT_RUNNER_RECORDS".to_owned(), format!("sqlite:{}", missing.display()));
    // SQLite reports a missing file as one that cannot be opened, which may pass; the worker is not waited
    // for.
    let worker = w.start();
    eventually("the worker complains", || w.log().contains("the gate cannot be passed").then_some(()));
    drop(worker);
    assert!(!missing.exists());
}

/// As in a container that somebody executes a command in: there is no group of a session's leader to go to. In the
/// session of its orchestrator a worker that is stopped would be hung up on when that dies.
fn leaves_a_session_without_a_leader(before: &str) {
    let w = World::new(&shell("echo > started; until [ -e go ]; do sleep 0.01; done"));
    // Job control makes the worker the leader of a process group, as the orchestrator does.
    let leader = "set -m; (while kill -0 $$ 2>&-; do sleep 0.01; done; exec \"$0\") &";
    let ended = w.command("setsid").args(["bash", "-c", &format!("{before}{leader}"), WORKER]).status();
    assert!(ended.as_ref().is_ok_and(ExitStatus::success), "{ended:?}");
    w.wait_for("started");
    let pid = w.lock_lines()[0]["pid"].as_i64().unwrap();
    let worker = Pid::from_raw(pid.try_into().unwrap()).unwrap();
    assert_eq!(rustix::process::getsid(Some(worker)), Ok(worker));
    std::fs::write(w.folder.path().join("task/work/go"), "").unwrap();
    eventually("the worker ends", || w.lock_is_free().then_some(()));
    assert_eq!(w.outcome().unwrap().failure, None);
}

#[test]
fn a_session_without_a_leader_is_left_too() {
    leaves_a_session_without_a_leader("");
}

#[test]
fn a_session_without_a_leader_is_left_also_where_ends_of_children_are_ignored() {
    leaves_a_session_without_a_leader("trap '' CHLD; ");
}

/// As in `docker run -it`, where a Ctrl-C is for the orchestrator and everybody in its group.
#[test]
fn a_session_that_the_orchestrator_leads_is_left_too() {
    let w = World::new(&shell("echo > started; until [ -e go ]; do sleep 0.01; done"));
    let script = "set -m; \"$0\" & wait";
    let mut leader = w.command("setsid").args(["-w", "bash", "-c", script, WORKER]).spawn().unwrap();
    w.wait_for("started");
    let pid = w.lock_lines()[0]["pid"].as_i64().unwrap();
    let worker = Pid::from_raw(pid.try_into().unwrap()).unwrap();
    assert_eq!(rustix::process::getsid(Some(worker)), Ok(worker));
    std::fs::write(w.folder.path().join("task/work/go"), "").unwrap();
    assert!(leader.wait().unwrap().success());
    assert_eq!(w.outcome().unwrap().failure, None);
}
