//! A document whose commands somebody types who has the repository and nothing else, from its first block to its last.

use crate::page::{Block, Mark, Page};
use crate::{root, shell};
use rustix::process::{Pid, Signal, kill_process};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use testbed::Client;
use testbed::client::word;
use testbed::executable::agent_runner;
use testbed::stack::free_port;

const SOON: Duration = Duration::from_secs(30);
/// The part of a command that stays up until Ctrl-C.
const UP: &str = "cargo run --release -- up\n";
/// What is built already.
const CARGO: &str =
    "#!/bin/sh\n[ \"$1 $2 $3\" = 'run --release --' ] || exit 9\nshift 3\nexec agent-runner \"$@\"\n";

/// An orchestrator that a block started; ends with this value.
struct Up(Child);

impl Up {
    /// Ctrl-C.
    fn interrupt(mut self) {
        let pid = Pid::from_raw(i32::try_from(self.0.id()).expect("a pid")).expect("a pid");
        kill_process(pid, Signal::INT).expect("it runs");
        let status = self.0.wait().expect("its end");
        assert!(status.success(), "after Ctrl-C: {status}");
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Types the blocks of a page in a folder as a checkout is one; how many there were.
pub(crate) fn perform(page: &Page) -> usize {
    let blocks: Vec<&Block> = page.blocks.iter().filter(|block| block.mark == Mark::Anywhere).collect();
    if blocks.is_empty() {
        return 0;
    }
    testbed::say(&format!("document {}", page.name));
    let folder = checkout();
    let address = format!("127.0.0.1:{}", free_port());
    let client = Client::new(format!("http://{address}"));
    let mut up = None;
    for block in &blocks {
        let text = block.text.replace("localhost:8000", &address);
        let block = Block { section: block.section.clone(), mark: block.mark, text };
        let mut shell = shell::shell(folder.path());
        surroundings(&mut shell, folder.path(), &address);
        if up.is_some() {
            shell.env("AGENT_RUNNER_URL", client.base());
        }
        if block.text == UP {
            up = Some(start(shell, &block, &client));
            continue;
        }
        shell::type_in(&page.name, &block, shell);
        if up.is_some() {
            settle(&client);
        }
        if block.text.contains("$.retry") {
            let newest = client.get("/jobs?limit=1").expect(200).body["jobs"][0].clone();
            assert_eq!((word(&newest, "status"), &newest["attempt"]), ("SUCCEEDED", &2.into()), "{newest}");
        }
    }
    if let Some(up) = up {
        up.interrupt();
    }
    blocks.len()
}

fn checkout() -> TempDir {
    let folder = TempDir::with_prefix("agent-runner-document-").expect("a folder");
    let at = folder.path();
    for folder in ["bin", "target/release"] {
        std::fs::create_dir_all(at.join(folder)).expect("a folder");
    }
    std::fs::write(at.join("bin/cargo"), CARGO).expect("a file");
    std::fs::set_permissions(at.join("bin/cargo"), PermissionsExt::from_mode(0o755)).expect("a mode");
    std::os::unix::fs::symlink(agent_runner(), at.join("target/release/agent-runner")).expect("a link");
    for shared in ["agents", "job-types.toml"] {
        std::os::unix::fs::symlink(root().join(shared), at.join(shared)).expect("a link");
    }
    folder
}

fn surroundings(shell: &mut Command, folder: &Path, address: &str) {
    let path = shell.get_envs().find(|(name, _)| *name == "PATH").and_then(|(_, value)| value);
    let others = path.map(std::ffi::OsStr::to_owned).unwrap_or_default();
    let paths = std::iter::once(folder.join("bin")).chain(std::env::split_paths(&others));
    shell.env("PATH", std::env::join_paths(paths).expect("a path"));
    shell.env("AGENT_RUNNER_LISTEN", address);
}

fn start(mut shell: Command, block: &Block, client: &Client) -> Up {
    let child = shell.args(["-c", &block.text]).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let up = Up(child.expect("bash can be started"));
    let until = Instant::now() + SOON;
    while !client.ask("GET", "/readyz", &[], None).is_ok_and(|answer| answer.status == 200) {
        assert!(Instant::now() < until, "nothing answers after {}", block.text);
        std::thread::sleep(Duration::from_millis(20));
    }
    up
}

/// All jobs have ended well.
fn settle(client: &Client) {
    let jobs = client.get("/jobs?limit=500").expect(200).body["jobs"].clone();
    for job in jobs.as_array().expect("jobs") {
        let ended = client.ended(word(job, "job_id"), SOON);
        assert_eq!(word(&ended, "status"), "SUCCEEDED", "{ended}");
    }
}

/// Each command of the block is a target of the Makefile, or a script that one of them starts.
pub(crate) fn is_part_of_ci(page: &str, block: &Block) {
    let makefile = std::fs::read_to_string(root().join("Makefile")).expect("the Makefile");
    for line in block.text.lines() {
        let mut words = line.split_whitespace();
        let known = match (words.next(), words.next()) {
            (Some("make"), Some(target)) => makefile.contains(&format!("\n{target}:")),
            (Some(script), _) => root().join(script).is_file() && makefile.contains(script),
            _ => false,
        };
        assert!(known, "{page}: no check is called {line:?}");
    }
}
