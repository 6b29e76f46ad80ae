//! What happens at a terminal: questions are asked there and progress is drawn, and nowhere else.

mod lab;
mod records;

use lab::Lab;
use lab::double::{Double, Told, told};
use records::{FAILED, RUNNING, list, running};
use std::io::{Read, Write};
use std::process::Stdio;
use std::time::Duration;

/// What a verb shows on a terminal on which `typed` is typed, its exit code, and what it prints to a pipe.
fn at_terminal(
    lab: &Lab,
    api: &Double,
    words: &[&str],
    typed: &str,
    variables: &[(&str, &str)],
) -> (String, Option<i32>, String) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap().into_string().unwrap();
    let theirs = std::fs::OpenOptions::new().read(true).write(true).open(name).unwrap();
    let mut command = lab.command(words);
    command.env("AGENT_RUNNER_URL", &api.url).env("TERM", "xterm").env_remove("NO_COLOR");
    command.envs(variables.iter().copied());
    command
        .stdin(Stdio::from(theirs.try_clone().unwrap()))
        .stderr(Stdio::from(theirs))
        .stdout(Stdio::piped());
    let child = command.spawn().unwrap();
    // The command holds the other end of the terminal as well.
    drop(command);
    let mut ours = std::fs::File::from(ours);
    ours.write_all(typed.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let mut shown = Vec::new();
    // Linux ends a terminal without writers with an error.
    let _ = ours.read_to_end(&mut shown);
    let out = String::from_utf8(output.stdout).unwrap();
    (String::from_utf8_lossy(&shown).into_owned(), output.status.code(), out)
}

fn cancelling() -> Vec<Told> {
    let mut two = list();
    two["jobs"].as_array_mut().unwrap().truncate(2);
    vec![
        told("GET /jobs?limit=500&label=team", 200, two.to_string()),
        told(&format!("POST /jobs/{RUNNING}/cancel"), 200, running().to_string()),
        told(&format!("POST /jobs/{FAILED}/cancel"), 200, running().to_string()),
    ]
}

#[test]
fn a_person_is_shown_the_jobs_and_asked_before_they_are_changed() {
    let lab = Lab::new();
    let api = Double::of(cancelling());
    let (shown, code, out) = at_terminal(&lab, &api, &["cancel", "-l", "team"], "y\n", &[]);
    assert!(shown.contains(RUNNING) && shown.contains("cancel these 2 jobs? [y/N]"), "{shown}");
    assert_eq!((code, out.lines().count(), api.lines().len()), (Some(0), 2, 3));
    for no in ["n\n", "\n", "yeah\n"] {
        let api = Double::of(cancelling());
        let (shown, code, out) = at_terminal(&lab, &api, &["cancel", "-l", "team"], no, &[]);
        assert!(shown.contains("nothing was done"), "{shown}");
        assert_eq!((code, out.as_str(), api.lines().len()), (Some(0), "", 1), "{no:?}");
    }
}

#[test]
fn an_edit_asks_before_it_writes_and_keeps_the_text_when_the_answer_is_no() {
    let lab = Lab::new();
    let mut job = running();
    job["desired"]["priority"] = 0.into();
    let mut after = job["desired"].clone();
    after["priority"] = 5.into();
    let preview =
        serde_json::json!({"etag": "\"v1\"", "desired": after, "changes": [{"pointer": "/priority"}]});
    let answers = || {
        vec![
            told(&format!("GET /jobs/{RUNNING}"), 200, job.to_string()).with("etag: \"v1\""),
            told(&format!("PATCH /jobs/{RUNNING}?dry_run=true"), 200, preview.to_string()),
            told(&format!("PATCH /jobs/{RUNNING}"), 200, job.to_string()),
        ]
    };
    let variables = [("TMPDIR", lab.path("").display().to_string())];
    let variables = [("VISUAL", "sed -i -e 's/^priority: 0/priority: 5/'"), ("TMPDIR", &variables[0].1)];
    let kept = || std::fs::read_dir(lab.path("")).unwrap().count();
    let api = Double::of(answers());
    let (shown, code, out) = at_terminal(&lab, &api, &["edit", RUNNING], "n\n", &variables);
    assert!(shown.contains("write this? [y/N]") && shown.contains("--from"), "{shown}");
    assert!(out.contains("-priority: 0\n+priority: 5\n"), "{out}");
    assert_eq!((code, api.lines().len(), kept()), (Some(0), 2, 2), "the text and what it was made from");
    let api = Double::of(answers());
    let (_, code, out) = at_terminal(&lab, &api, &["edit", RUNNING], "y\n", &variables);
    assert!(out.ends_with("changed\n"), "{out}");
    assert_eq!((code, api.lines().len(), kept()), (Some(0), 3, 2), "only the one that was refused is kept");
}

#[test]
fn progress_is_drawn_and_wiped_at_a_terminal_that_can_and_not_elsewhere() {
    let lab = Lab::new();
    let slow = || Double::slow(Duration::from_millis(500), "/jobs/", &running().to_string());
    let words = ["wait", RUNNING, "--timeout", "300ms"];
    let (shown, code, _) = at_terminal(&lab, &slow(), &words, "", &[]);
    assert!(shown.contains("waiting for 1 of 1 jobs") && shown.contains("\r\u{1b}[K"), "{shown:?}");
    assert_eq!(code, Some(124));
    let (shown, _, _) = at_terminal(&lab, &slow(), &words, "", &[("TERM", "dumb")]);
    assert!(!shown.contains("waiting for") && !shown.contains('\u{1b}'), "{shown:?}");
    let piped = lab.command(&words).env("AGENT_RUNNER_URL", &slow().url).output().unwrap();
    assert!(!String::from_utf8_lossy(&piped.stderr).contains("waiting for"), "{piped:?}");
}
