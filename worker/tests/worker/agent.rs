//! What an agent gets, and what becomes of what it leaves.

use crate::support::{World, command, echo, eventually, lives, shell};
use contract::{FailureClass, Gate, Program};
use std::collections::BTreeSet;
use std::io::Read;
use std::process::Stdio;

#[test]
fn echo_says_who_it_is_and_reports_its_result() {
    let w = World::new(&echo(r#"{"message": "Hello, World!"}"#));
    w.run();
    assert!(w.stored("result.json").unwrap().contains(r#""payload":{"message": "Hello, World!"}"#));
    assert_eq!(w.manifest(), ["result.json", "stdout.log", "stderr.log"]);
    assert!(matches!(w.gate(), Some(Gate::Finished { task }) if task.as_str().starts_with("process:0011")));
    let lines = w.lock_lines();
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["boot_id"].as_str().unwrap().len(), 36);
    assert!(lines[0]["pid"].as_u64().unwrap() > 1 && lines[0]["start_time"].as_u64().unwrap() > 0);
    assert!(w.lock_is_free());
    assert_eq!(w.log(), "", "a worker with nothing to say is silent");
}

#[test]
fn an_agent_gets_its_payload_and_leaves_result_files_and_logs() {
    let w = World::new(&shell(
        "cat > from-stdin; cmp from-stdin \"$AGENT_RUNNER_PAYLOAD\" && echo same
         printf complaint >&2
         mkdir \"$AGENT_RUNNER_ARTIFACTS/deep\"
         pwd > \"$AGENT_RUNNER_ARTIFACTS/deep/pwd\"
         ln -s /etc/passwd \"$AGENT_RUNNER_ARTIFACTS/link\"
         echo \"{\\\"attempt\\\": $AGENT_RUNNER_ATTEMPT, \\\"of\\\": \\\"$AGENT_RUNNER_JOB_ID\\\"}\" \
             > \"$AGENT_RUNNER_RESULT\"",
    ));
    w.run();
    assert_eq!(w.outcome().unwrap().failure, None);
    assert_eq!(w.manifest(), ["result.json", "stdout.log", "stderr.log", "artifacts/deep/pwd"]);
    assert_eq!(w.stored("result.json").unwrap(), "{\"attempt\": 1, \"of\": \"j\"}\n");
    assert_eq!(w.stored("stdout.log").unwrap(), "same\n");
    let told = "complaint\n[agent-runner: artifacts/link is not a regular file and was left out]\n";
    assert_eq!(w.stored("stderr.log").unwrap(), told);
    assert_eq!(w.read("task/work/from-stdin").unwrap(), r#"{"text": "Hello"}"#);
    assert!(w.stored("artifacts/deep/pwd").unwrap().ends_with("/task/work\n"));
    assert!(w.log().contains("artifacts/link is not a regular file"), "{}", w.log());
    let lines = w.lock_lines();
    assert!(lines[1]["agent_pid"].as_u64() > Some(1) && lines[1]["agent_start_time"].as_u64() > Some(0));
}

#[test]
fn an_agent_without_a_result_file_succeeds_with_an_empty_object() {
    let w = World::new(&command(&["true"]));
    w.run();
    assert_eq!(w.outcome().unwrap().failure, None);
    assert_eq!(w.stored("result.json").unwrap(), "{}");
    assert_eq!(w.stored("stdout.log").unwrap(), "");
    assert_eq!(w.stored("stderr.log").unwrap(), "");
}

#[test]
fn the_environment_of_an_agent_is_built_from_nothing() {
    let mut claim = shell("env -0 > variables");
    let Program::Command { pass_env, .. } = &mut claim.program else { unreachable!() };
    *pass_env = ["SECRET", "NOT_THERE", "AGENT_RUNNER_LAUNCH_TOKEN"].map(str::to_owned).into();
    claim.env = [("OWN", "with = and\nlines"), ("TZ", "Asia/Tokyo"), ("AGENT_RUNNER_ATTEMPT", "9")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    let mut w = World::new(&claim);
    for (name, value) in [("SECRET", "s3cret"), ("OTHER", "x"), ("TZ", "UTC"), ("LANG", "C"), ("LC_ALL", "C")]
    {
        w.env.insert(name.to_owned(), value.to_owned());
    }
    w.run();
    let text = w.read("task/work/variables").unwrap();
    let found: BTreeSet<&str> = text.split_terminator('\0').collect();
    let names: BTreeSet<&str> = found.iter().filter_map(|entry| entry.split('=').next()).collect();
    let mut wanted = BTreeSet::from([
        "PATH",
        "HOME",
        "LANG",
        "LC_ALL",
        "TZ",
        "SECRET",
        "OWN",
        "AGENT_RUNNER_JOB_ID",
        "AGENT_RUNNER_ATTEMPT",
        "AGENT_RUNNER_PAYLOAD",
        "AGENT_RUNNER_RESULT",
        "AGENT_RUNNER_ARTIFACTS",
        // Made by the shell itself.
        "PWD",
        "OLDPWD",
        "SHLVL",
        "_",
    ]);
    if std::env::var_os("TMPDIR").is_some() {
        wanted.insert("TMPDIR");
    }
    assert!(names.is_subset(&wanted), "{names:?}");
    for entry in ["SECRET=s3cret", "OWN=with = and\nlines", "TZ=Asia/Tokyo", "AGENT_RUNNER_ATTEMPT=1"] {
        assert!(found.contains(entry), "{entry:?} is not in {found:?}");
    }
    assert!(!text.contains("00112233445566778899aabbccddeeff") && !text.contains("sqlite:"), "{text}");
    assert!(w.log().contains("pass_env names NOT_THERE"), "{}", w.log());
    let told = "[agent-runner: pass_env names NOT_THERE, which the worker does not have]\n";
    assert_eq!(w.stored("stderr.log").unwrap(), told);
}

#[test]
fn a_relative_path_of_the_command_means_a_file_beside_the_job_types() {
    let w = World::new(&command(&["sh", "agents/a.sh", "agents/none.sh"]));
    std::fs::create_dir(w.folder.path().join("agents")).unwrap();
    std::fs::write(w.folder.path().join("agents/a.sh"), "echo \"$1\"").unwrap();
    w.run();
    assert_eq!(w.stored("stdout.log").unwrap(), "agents/none.sh\n");
}

#[test]
fn an_exit_code_other_than_0_is_a_failure_with_logs_and_files_and_without_a_result() {
    let w = World::new(&shell(
        "echo '{}' > $AGENT_RUNNER_RESULT; echo x > $AGENT_RUNNER_ARTIFACTS/x; echo no >&2; exit 3",
    ));
    let (class, code, message) = w.run_to_failure();
    assert_eq!((class, code), (FailureClass::NonZeroExitCode, Some(3)));
    assert_eq!(message, "the agent ended with exit code 3");
    assert_eq!(w.manifest(), ["stdout.log", "stderr.log", "artifacts/x"]);
    assert_eq!(w.stored("stderr.log").unwrap(), "no\n");
}

#[test]
fn an_agent_that_somebody_killed_says_so() {
    let (class, code, message) = World::new(&shell("kill -9 $$")).run_to_failure();
    assert_eq!((class, code), (FailureClass::NonZeroExitCode, Some(137)));
    assert!(message.contains("SIGKILL (9)") && message.contains("short of memory"), "{message}");
    let (_, code, message) = World::new(&shell("kill -15 $$")).run_to_failure();
    assert_eq!(code, Some(143));
    assert!(message.ends_with("was ended by SIGTERM (15)"), "{message}");
}

#[test]
fn a_result_that_is_not_json_is_a_failure_that_keeps_the_logs() {
    let w = World::new(&shell("echo it went well | tee $AGENT_RUNNER_RESULT"));
    let (class, code, message) = w.run_to_failure();
    assert_eq!((class, code), (FailureClass::InvalidResult, Some(0)));
    assert!(message.starts_with("the result is not one JSON value"), "{message}");
    assert_eq!(w.manifest(), ["stdout.log", "stderr.log"]);
    assert_eq!(w.stored("stdout.log").unwrap(), "it went well\n");
}

#[test]
fn an_artifact_with_a_name_that_no_key_can_have_is_refused_by_name() {
    let w = World::new(&shell("echo x > \"$AGENT_RUNNER_ARTIFACTS/a\\\\b\""));
    let (class, _, message) = w.run_to_failure();
    assert_eq!(class, FailureClass::InvalidResult);
    assert!(message.contains("a\\\\b"), "{message}");
}

#[test]
fn a_command_that_cannot_be_started_is_not_tried_as_infrastructure() {
    for argv in [&["no-such-program-anywhere"][..], &["/etc/passwd"], &["/"], &["sh\0"]] {
        let w = World::new(&command(argv));
        let (class, code, message) = w.run_to_failure();
        assert_eq!((class, code), (FailureClass::CommandNotStarted, None), "{argv:?}: {message}");
        assert_eq!(w.manifest(), ["stdout.log", "stderr.log"]);
        assert!(!class.is_infrastructure());
    }
}

#[test]
fn a_log_is_cut_at_its_limit_with_a_mark_and_the_agent_is_not_held_up() {
    let w = World::new(&shell("head -c 12582912 /dev/zero; echo short >&2; echo done > done"));
    w.run();
    assert_eq!(w.outcome().unwrap().failure, None);
    let log = w.stored("stdout.log").unwrap();
    let (kept, mark) = log.split_at(10 * 1024 * 1024);
    assert!(kept.bytes().all(|b| b == 0));
    assert_eq!(mark, "\n[agent-runner cut this log here: 10485760 bytes kept, 2097152 dropped]\n");
    assert_eq!(w.stored("stderr.log").unwrap(), "short\n");
}

#[test]
fn a_log_can_be_read_while_the_agent_runs() {
    let w = World::new(&shell("echo first; while [ ! -e go ]; do sleep 0.01; done; echo second"));
    let worker = w.start();
    eventually("the line is there", || w.read("task/stdout.log").filter(|log| log == "first\n"));
    std::fs::write(w.folder.path().join("task/work/go"), "").unwrap();
    assert_eq!(worker.wait().code(), Some(0));
    assert_eq!(w.stored("stdout.log").unwrap(), "first\nsecond\n");
}

#[test]
fn a_log_that_a_stranger_holds_open_is_cut_and_holds_nobody_up() {
    let w = World::new(&shell("echo hello; echo $$ > pid; while [ ! -e go ]; do sleep 0.01; done"));
    let worker = w.start();
    let pid = w.wait_for("pid");
    let pipe = format!("/proc/{}/fd/1", pid.trim());
    let held = std::fs::File::options().write(true).open(pipe).unwrap();
    std::fs::write(w.folder.path().join("task/work/go"), "").unwrap();
    assert_eq!(worker.wait().code(), Some(0));
    assert_eq!(w.outcome().unwrap().failure, None);
    assert_eq!(w.stored("stdout.log").unwrap(), "hello\n");
    assert!(w.log().contains("stdout.log was cut"), "{}", w.log());
    drop(held);
}

#[test]
fn what_an_agent_leaves_running_is_gone_before_the_outcome() {
    let script = "sleep 1000 & echo $! > in-group
         setsid sh -c 'sleep 1000 & echo $! > grandchild; echo $$ > daemon; exec sleep 1000' &
         while [ ! -s daemon ]; do sleep 0.01; done";
    let w = World::new(&shell(script));
    w.run();
    assert_eq!(w.outcome().unwrap().failure, None);
    for name in ["in-group", "daemon", "grandchild"] {
        let pid = w.read(&format!("task/work/{name}")).unwrap();
        assert!(!lives(&pid), "{name} ({pid}) lives");
    }
    assert!(w.lock_is_free());
}

#[test]
fn files_that_cannot_be_stored_are_the_infrastructures_failure() {
    let mut w = World::new(&shell("echo hello"));
    std::fs::write(w.folder.path().join("artifacts"), "a file in the place of the folder").unwrap();
    w.env.insert("AGENT_RUNNER_ARTIFACTS_PATIENCE_SECONDS".to_owned(), "1".to_owned());
    let (class, _, message) = w.run_to_failure();
    assert_eq!(class, FailureClass::ArtifactsNotStored);
    assert!(message.contains("ot a directory"), "{message}");
    assert!(w.log().lines().count() > 3, "it was tried once only: {}", w.log());
}

#[test]
fn an_outage_of_the_artifacts_that_passes_costs_nothing() {
    let mut w = World::new(&shell("echo hello"));
    let place = w.folder.path().join("artifacts");
    std::fs::write(&place, "a file in the place of the folder").unwrap();
    w.env.insert("AGENT_RUNNER_ARTIFACTS_PATIENCE_SECONDS".to_owned(), "60".to_owned());
    let worker = w.start();
    eventually("the worker complains", || w.log().contains("could not be").then_some(()));
    std::fs::remove_file(&place).unwrap();
    assert_eq!(worker.wait().code(), Some(0));
    assert_eq!(w.outcome().unwrap().failure, None);
    assert_eq!(w.stored("stdout.log").unwrap(), "hello\n");
}

#[test]
fn a_closed_stderr_disturbs_nobody() {
    let mut claim = command(&["true"]);
    let Program::Command { pass_env, .. } = &mut claim.program else { unreachable!() };
    pass_env.push("NOT_THERE".to_owned());
    let w = World::new(&claim);
    let (mut reader, writer) = std::io::pipe().unwrap();
    let worker = w.start_with(Stdio::from(writer));
    drop(std::mem::replace(&mut reader, std::io::pipe().unwrap().0));
    assert_eq!(worker.wait().code(), Some(0));
    assert_eq!(w.outcome().unwrap().failure, None);
    assert_eq!(reader.read(&mut [0]).unwrap(), 0);
}
