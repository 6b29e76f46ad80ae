//! What stands when the operator begins, and what has to stand at the end.

use crate::page::{Mark, Page};
use crate::{root, shell};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::time::Duration;
use testbed::client::word;
use testbed::{Client, Options, Stack};

const SOON: Duration = Duration::from_secs(30);
/// The token of a page that is about tokens.
const TOKEN: &str = "a-token-that-is-to-be-rotated";

/// Types every block that works anywhere, in order, and looks at the job afterwards.
pub(crate) fn perform(page: &Page) {
    testbed::say(&format!("runbook {}", page.name));
    let tokens = page.front("tokens") == Some("yes");
    let mut stack = start(page, tokens);
    let job_id = page.front("job").map(|kind| prepare(&stack, kind)).unwrap_or_default();
    let pid = stack.pid();
    if page.front("orchestrator") == Some("killed") {
        stack.kill();
    }
    for block in page.blocks.iter().filter(|block| block.mark == Mark::Anywhere) {
        let mut shell = shell::shell(stack.folder());
        surroundings(&stack, &mut shell, tokens);
        shell.env("JOB_ID", &job_id).env("ORCHESTRATOR_PID", pid.to_string());
        shell::type_in(&page.name, block, shell);
    }
    if let Some(status) = page.front("after") {
        let job = stack.client().job(&job_id);
        assert_eq!(word(&job, "status"), status, "{}: {job}", page.name);
        if let Some(count) = page.front("attempts") {
            assert_eq!(stack.client().attempts(&job_id).len().to_string(), count, "{}: {job}", page.name);
        }
    }
}

fn start(page: &Page, tokens: bool) -> Stack {
    // One slot where a job has to wait for another.
    let slots = if matches!(page.front("job"), Some("waiting" | "blocked")) { 1 } else { 4 };
    let mut options = Options::default().slots(slots);
    if tokens {
        // `up` reads it relative to its folder; the script writes it before `up` starts.
        let digest: String = Sha256::digest(TOKEN).iter().map(|byte| format!("{byte:02x}")).collect();
        let text =
            format!("[tokens.old]\nsha256 = \"{digest}\"\nscopes = [\"read\", \"submit\", \"operate\"]\n");
        options = options.env("AGENT_RUNNER_TOKENS_FILE", "tokens.toml");
        options.script = Some(format!("cat > tokens.toml <<'END'\n{text}END\nexec \"$@\""));
    }
    let stack = Stack::start(options);
    for shared in ["runbooks", "compose"] {
        std::os::unix::fs::symlink(root().join(shared), stack.folder().join(shared)).expect("a link");
    }
    stack
}

/// The variables that runbooks/README.md asks for, and the settings of the orchestrator, which the blocks start again.
fn surroundings(stack: &Stack, shell: &mut std::process::Command, tokens: bool) {
    let base = stack.client().base().to_owned();
    let listen = base.trim_start_matches("http://").to_owned();
    let settings = stack.command(&[]);
    shell.envs(settings.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.env("AGENT_RUNNER_URL", &base).env("METRICS_URL", &base);
    shell.env("AGENT_RUNNER_LISTEN", listen);
    if tokens {
        shell.env("AGENT_RUNNER_TOKEN", TOKEN);
    }
}

/// The job that the page is about.
fn prepare(stack: &Stack, kind: &str) -> String {
    let client = stack.client();
    let submit = |more: Value| {
        let mut desired = json!({"job_type": "echo"});
        let members = more.as_object().expect("an object");
        desired.as_object_mut().expect("an object").extend(members.clone());
        client.submit(&desired)
    };
    match kind {
        "none" => String::new(),
        "succeeded" => ended(&client, submit(json!({})), "SUCCEEDED"),
        "failed" => {
            ended(&client, submit(json!({"payload": {"fail_times": 1}, "max_attempts": 1})), "FAILED")
        }
        "running" => running(&client, submit(json!({"payload": {"sleep_seconds": 4}}))),
        "endless" => running(&client, submit(json!({"payload": {"sleep_seconds": 600}}))),
        "held" => held(&client, submit(json!({"suspend": true}))),
        "waiting" | "blocked" => {
            // The other job ends soon, or not before somebody ends it.
            let seconds = if kind == "waiting" { 6 } else { 600 };
            running(&client, submit(json!({"payload": {"sleep_seconds": seconds}})));
            let job_id = submit(json!({}));
            client.reason(&job_id, "WaitingForQuota", SOON);
            job_id
        }
        "poisoned" => {
            let job_id = held(&client, submit(json!({"suspend": true})));
            edit(stack, &job_id, "'$.max_attempts', 0");
            client.reason(&job_id, "InvalidRecord", SOON);
            job_id
        }
        "misconfigured" => {
            let job_id = held(&client, submit(json!({"suspend": true})));
            edit(stack, &job_id, "'$.queue', 'nowhere', '$.suspend', json('false')");
            client.reason(&job_id, "Misconfigured", SOON);
            job_id
        }
        other => panic!("no such job: {other}"),
    }
}

fn ended(client: &Client, job_id: String, status: &str) -> String {
    assert_eq!(word(&client.ended(&job_id, SOON), "status"), status);
    job_id
}

fn running(client: &Client, job_id: String) -> String {
    client.status(&job_id, "RUNNING", SOON);
    job_id
}

fn held(client: &Client, job_id: String) -> String {
    client.reason(&job_id, "Suspended", SOON);
    job_id
}

fn edit(stack: &Stack, job_id: &str, changes: &str) {
    let sql = format!("UPDATE jobs SET desired = json_set(desired, {changes}) WHERE job_id = ?1");
    assert_eq!(stack.records().execute(&sql, [job_id]).expect("the edit"), 1);
}
