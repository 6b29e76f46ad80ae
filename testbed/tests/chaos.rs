//! Everything is killed at random moments while jobs are submitted and executed, and the judge looks at
//! what the agents wrote down. `TESTBED_SOAK_SECONDS` makes it go on for longer, `TESTBED_SEED` repeats the
//! choices of a run.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use testbed::judge::judge;
use testbed::{Client, Dice, Options, Stack, ledger_agent};

/// What is killed, and how often the orchestrator at least.
struct Plan {
    what: &'static str,
    jobs: u64,
    orchestrator_kills: u32,
    /// Kill a worker once in so many rounds; 0 never.
    worker_once_in: u64,
    /// Let an operator force retries, suspend and resume at random, too.
    operator: bool,
    /// How long agents work, in milliseconds.
    work: (u64, u64),
}

/// How long it may take until everything has ended after the last kill: pauses after lost workers double
/// from one second, and a few jobs lose several.
const PATIENCE: Duration = Duration::from_secs(120);

fn desired(stack: &Stack, dice: &mut Dice, plan: &Plan) -> Value {
    let mut payload = json!({
        "ledger": stack.ledger().path(),
        "sleep_ms": dice.within(plan.work.0..=plan.work.1),
        "files": dice.within(0..=2),
    });
    if dice.once_in(10) {
        payload["fail_times"] = json!(1);
    }
    if dice.once_in(10) {
        payload["ignore_sigterm"] = json!(true);
        // Longer than the pause after a lost worker: whoever does not wait for its end is found out.
        payload["first_sleep_ms"] = json!(3000);
    }
    let backoff = json!({"initial_seconds": 0});
    // A failure of the agent's own is rare; killed workers use up no try.
    json!({"job_type": "stubborn", "payload": payload, "backoff": backoff, "max_attempts": 10})
}

/// Submits like a client that must not lose a job: the same key until it is accepted.
fn submit_all(client: &Client, wanted: &[Value], accepted: &Mutex<Vec<String>>) {
    for (n, desired) in wanted.iter().enumerate() {
        let job_id = client.insist(&format!("chaos-{n}"), desired, PATIENCE).expect("accepted in the end");
        accepted.lock().unwrap().push(job_id);
    }
}

/// What an operator does to a job at random; whatever comes of it, the job must end well.
fn meddle(client: &Client, dice: &mut Dice, accepted: &Mutex<Vec<String>>) -> Option<()> {
    let job_id = dice.one_of(&accepted.lock().unwrap())?.clone();
    let verbs: &[&str] = if dice.once_in(2) { &["retry?force=true"] } else { &["suspend", "resume"] };
    for verb in verbs {
        // Nobody may be up.
        let _ = client.ask("POST", &format!("/jobs/{job_id}/{verb}"), &[], None);
    }
    Some(())
}

/// Kills until enough was killed and everything is submitted; says how often what was killed.
fn kill_at_random(
    stack: &mut Stack,
    dice: &mut Dice,
    plan: &Plan,
    submitted: &AtomicBool,
    accepted: &Mutex<Vec<String>>,
) -> (u32, u32) {
    let (mut orchestrators, mut workers) = (0, 0);
    let client = stack.client();
    let soak = soak();
    let since = Instant::now();
    while orchestrators < plan.orchestrator_kills
        || !submitted.load(Ordering::SeqCst)
        || since.elapsed() < soak
    {
        std::thread::sleep(dice.millis(5..=400));
        if plan.operator {
            meddle(&client, dice, accepted);
        }
        if plan.worker_once_in > 0 && dice.once_in(plan.worker_once_in) {
            // Sometimes with the orchestrator dead, so that the next one has to find out.
            if dice.once_in(2) {
                stack.kill();
                orchestrators += 1;
            }
            if let Some(worker) = dice.one_of(&stack.workers()) {
                worker.kill();
                workers += 1;
            }
        }
        stack.kill();
        orchestrators += 1;
        std::thread::sleep(dice.millis(0..=50));
        stack.launch();
        // Sometimes it is killed while it starts.
        if !dice.once_in(4) {
            stack.ready();
        }
    }
    (orchestrators, workers)
}

fn soak() -> Duration {
    let seconds = std::env::var("TESTBED_SOAK_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(0))
}

fn chaos(plan: &Plan) {
    let mut dice = Dice::announced(plan.what);
    let mut stack = Stack::start(Options::with_agent(ledger_agent!()).slots(8));
    let client = stack.client();
    // As many as keep the slots busy for as long as it goes on.
    let jobs = plan.jobs + 10 * soak().as_secs();
    let wanted: Vec<Value> = (0..jobs).map(|_| desired(&stack, &mut dice, plan)).collect();
    let (accepted, submitted) = (Mutex::new(Vec::new()), AtomicBool::new(false));
    let (kills, workers) = std::thread::scope(|scope| {
        scope.spawn(|| {
            submit_all(&client, &wanted, &accepted);
            submitted.store(true, Ordering::SeqCst);
        });
        kill_at_random(&mut stack, &mut dice, plan, &submitted, &accepted)
    });
    let accepted = accepted.into_inner().unwrap();
    stack.ready();
    if plan.operator {
        // One that was suspended when the orchestrator was killed before it was resumed.
        for job_id in &accepted {
            let _ = client.post(&format!("/jobs/{job_id}/resume"), &Value::Null).expect(200);
        }
    }
    let since = Instant::now();
    for job_id in &accepted {
        client.ended(job_id, PATIENCE.saturating_sub(since.elapsed()));
    }
    let settled = since.elapsed();
    let what = plan.what;
    testbed::say(&format!(
        "{what}: {kills} orchestrators and {workers} workers killed, settled after {settled:.1?}"
    ));
    assert_eq!(accepted.len() as u64, jobs);
    let findings = judge(&stack, &accepted, &BTreeMap::new());
    findings.accept(what);
    stack.expect_no_process_left(Duration::from_secs(30));
    assert_eq!(client.metric("agent_runner_panics_total"), 0.0);
}

#[test]
fn nothing_is_lost_or_done_twice_when_the_orchestrator_is_killed_at_random_moments() {
    chaos(&Plan {
        what: "orchestrator killed",
        jobs: 200,
        orchestrator_kills: 20,
        worker_once_in: 0,
        operator: false,
        work: (0, 200),
    });
}

#[test]
fn nothing_is_lost_or_done_twice_when_orchestrator_and_workers_are_killed_at_random_moments() {
    chaos(&Plan {
        what: "orchestrator and workers killed",
        jobs: 200,
        orchestrator_kills: 20,
        worker_once_in: 2,
        operator: true,
        work: (20, 400),
    });
}

#[test]
fn a_full_load_survives_one_kill_and_settles_soon_after_the_restart() {
    let mut stack = Stack::start(Options::with_agent(ledger_agent!()).slots(8));
    let client = stack.client();
    let payload = json!({"ledger": stack.ledger().path(), "sleep_ms": 100});
    let desired = json!({"job_type": "ledger", "payload": payload});
    let job_ids: Vec<String> = (0..200).map(|_| client.submit(&desired)).collect();
    stack.kill();
    stack.launch();
    stack.ready();
    let since = Instant::now();
    for job_id in &job_ids {
        let job = client.ended(job_id, PATIENCE);
        assert_eq!(job["attempt"], 1, "{job}");
    }
    testbed::say(&format!("200 jobs in flight, one kill: settled {:.1?} after the restart", since.elapsed()));
    judge(&stack, &job_ids, &BTreeMap::new()).accept("one kill");
    stack.expect_no_process_left(Duration::from_secs(20));
}
