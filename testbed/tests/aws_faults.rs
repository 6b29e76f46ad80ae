//! The system as on AWS when ECS fails in every way that the double knows, reconcilers are killed and paused, hints
//! get lost and repeated, and a service cannot be reached. The judge looks at what the agents wrote down.
//!
//! `TESTBED_SEED` repeats the choices of a run. `TESTBED_LONG` makes it 500 jobs instead of 60, and outages of 30 s
//! instead of 5.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use testbed::aws::{AwsStack, Options, Outage, Way};
use testbed::ecs::Post;
use testbed::judge::judge;
use testbed::pump::Treatment;
use testbed::{Client, Dice, leave_out, ledger_agent};

/// What was missed by ECS is believed gone after a minute and looked for again after another.
const PATIENCE: Duration = Duration::from_secs(300);

/// Each of these has the machine for itself.
static TURN: Mutex<()> = Mutex::new(());

struct Play {
    stack: AwsStack,
    dice: Dice,
    what: &'static str,
    job_ids: Vec<String>,
    expected: BTreeMap<String, &'static str>,
    _turn: MutexGuard<'static, ()>,
}

fn long() -> bool {
    std::env::var_os("TESTBED_LONG").is_some()
}

impl Play {
    fn begin(what: &'static str, change: impl FnOnce(&mut Options)) -> Option<Self> {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let mut options = Options::with_agent(ledger_agent!());
        change(&mut options);
        let stack = AwsStack::start(options).inspect_err(|why| leave_out(what, why)).ok()?;
        let dice = Dice::announced(what);
        Some(Self { stack, dice, what, job_ids: Vec::new(), expected: BTreeMap::new(), _turn: turn })
    }

    fn client(&self) -> Client {
        self.stack.client()
    }

    /// A job of the mixture: most succeed, some after failures of their own, some fail for good.
    fn job(&mut self) -> (Value, &'static str) {
        let dice = &mut self.dice;
        let mut payload = json!({
            "ledger": self.stack.ledger().path(), "sleep_ms": dice.within(0..=1500), "files": dice.within(0..=2),
        });
        let mut job = json!({"job_type": "ledger", "max_attempts": 10, "backoff": {"initial_seconds": 0},
            "start_timeout_seconds": 30});
        let mut end = "SUCCEEDED";
        match dice.within(0..=9) {
            0 | 1 => payload["fail_times"] = json!(1),
            2 => {
                (payload["exit"], job["max_attempts"], end) = (json!(4), json!(1), "FAILED");
            }
            3 => job["capacity"] = json!("spot"),
            4 => job["capacity"] = json!("spot_then_on_demand"),
            _ => {}
        }
        job["payload"] = payload;
        (job, end)
    }

    /// Submits so many, whatever fails meanwhile.
    fn submit(&mut self, jobs: u64) {
        for _ in 0..jobs {
            let (job, end) = self.job();
            let key = format!("job-{}", self.job_ids.len());
            let job_id = self.client().insist(&key, &job, PATIENCE).expect("accepted in the end");
            self.expected.insert(job_id.clone(), end);
            self.job_ids.push(job_id);
        }
    }

    /// Submits jobs that last until they are cancelled, and cancels them.
    fn cancel_some(&mut self, jobs: u64) {
        let payload = json!({"ledger": self.stack.ledger().path(), "sleep_ms": 600_000});
        let job = json!({"job_type": "ledger", "payload": payload});
        let (client, mut all) = (self.client(), Vec::new());
        for n in 0..jobs {
            all.push(client.insist(&format!("cancelled-{n}"), &job, PATIENCE).expect("accepted"));
        }
        for job_id in all {
            std::thread::sleep(self.dice.millis(0..=2000));
            let _ = client.post(&format!("/jobs/{job_id}/cancel"), &Value::Null).expect(200);
            self.expected.insert(job_id.clone(), "FAILED");
            self.job_ids.push(job_id);
        }
    }

    /// Nothing is lost, nothing was done twice, nothing is left.
    fn end(self, leader: usize) {
        let since = Instant::now();
        self.stack.expect_ended(&self.job_ids, PATIENCE);
        self.stack.expect_no_task_left(PATIENCE);
        let settled = since.elapsed();
        judge(&self.stack, &self.job_ids, &self.expected).accept(self.what);
        let calls = &self.stack.double().state()["calls"];
        let epoch = self.stack.account.leader().map(|lease| lease["epoch"].clone());
        testbed::say(&format!("{}: settled after {settled:.1?}, epoch {epoch:?}, {calls}", self.what));
        assert_eq!(self.stack.metrics(leader).metric("agent_runner_panics_total"), 0.0);
    }
}

/// Every fault of the double, each once in some calls. Delays are in time that runs 20 times faster.
fn every_fault() -> Value {
    let mut all = vec![
        // Longer than the client waits: 300 s are 15 s here.
        json!({"fault": "DelayRequest", "seconds": 300, "times": 2, "one_in": 20}),
        json!({"fault": "Delay", "seconds": 300, "times": 2, "one_in": 20}),
        json!({"fault": "Delay", "seconds": 20, "action": "*", "times": 10, "one_in": 10}),
        json!({"fault": "Throttle", "action": "*", "times": 20, "one_in": 15}),
        json!({"fault": "Error500", "action": "*", "times": 20, "one_in": 15}),
        json!({"fault": "DropRequest", "action": "*", "times": 20, "one_in": 15}),
        json!({"fault": "DropAnswerAfterApplying", "action": "*", "times": 20, "one_in": 15}),
        json!({"fault": "Refuse", "code": "InvalidParameterException", "times": 5, "one_in": 15,
            "message": "Error retrieving security group information: Request limit exceeded (ErrorCode: RequestLimitExceeded)"}),
        json!({"fault": "Vanish", "times": 3, "one_in": 15}),
        json!({"fault": "LaunchAfter", "seconds": 60, "times": 5, "one_in": 10}),
        json!({"fault": "LaunchAndFinishBeforeAnswer", "times": 3, "one_in": 10}),
        json!({"fault": "Missing", "seconds": 100, "times": 5, "one_in": 8}),
        json!({"fault": "KillTask", "seconds": 5, "times": 5, "one_in": 8}),
        json!({"fault": "KillTask", "seconds": 0, "times": 3, "one_in": 8, "reason": ""}),
    ];
    for fault in ["NoCapacity", "QuotaExhausted", "FailToStart", "SpotInterrupt"] {
        all.push(json!({"fault": fault, "times": 5, "one_in": 8, "seconds": 40}));
    }
    Value::Array(all)
}

/// ECS forgets stopped tasks, and tokens of them, long before their hour is over. Some are forgotten already.
fn forget_some(play: &mut Play) {
    let state = play.stack.double().state();
    let tasks = state["tasks"].as_array().cloned().unwrap_or_default();
    let stopped: Vec<&Value> = tasks.iter().filter(|task| task["lastStatus"] == "STOPPED").collect();
    if let Some(task) = play.dice.one_of(&stopped) {
        let _ = play.stack.faults(&json!([{"fault": "Forget", "token": task["clientToken"]}]));
    }
    if let Some(task) = play.dice.one_of(&stopped) {
        let _ = play.stack.faults(&json!([{"fault": "Forget", "task": task["taskArn"]}]));
    }
}

#[test]
fn nothing_is_lost_or_done_twice_whatever_ecs_does() {
    let Some(mut play) = Play::begin("every fault of ECS", |options| {
        options.slots = 16;
        options.resync_seconds = 5;
        options.task_events =
            Post { duplicate_one_in: 5, lose_one_in: 5, delay_up_to: Duration::from_secs(20) };
        options.records_hints = Treatment { lose_one_in: 5, copies: 2, shuffle: true, seed: 7 };
    }) else {
        return;
    };
    assert!(play.stack.faults(&every_fault()));
    let rounds = if long() { 50 } else { 6 };
    for _ in 0..rounds {
        play.submit(9);
        play.cancel_some(1);
        forget_some(&mut play);
    }
    play.end(0);
}

#[test]
fn a_killed_leader_is_followed_by_another_and_a_paused_one_does_no_harm_when_it_wakes() {
    let Some(mut play) = Play::begin("reconcilers killed and paused", |options| options.resync_seconds = 2)
    else {
        return;
    };
    play.submit(8);
    std::thread::sleep(play.dice.millis(0..=3000));
    play.stack.kill_reconciler(0);
    play.submit(8);
    play.stack.relaunch_reconciler(0);
    play.stack.launch_reconciler();
    let before = epoch(&play);
    // Whoever leads now is paused, in the middle of something.
    until(&play, "a new leader", |epoch| epoch > before);
    play.submit(8);
    std::thread::sleep(play.dice.millis(0..=3000));
    let leader = leader(&play);
    play.stack.pause_reconciler(leader);
    let before = epoch(&play);
    play.submit(4);
    until(&play, "another leader", |epoch| epoch > before);
    play.submit(4);
    std::thread::sleep(play.dice.millis(0..=1000));
    play.stack.continue_reconciler(leader);
    play.end(1 - leader);
}

fn epoch(play: &Play) -> u64 {
    play.stack.account.leader().and_then(|lease| lease["epoch"].as_u64()).unwrap_or(0)
}

/// Which of the two reconcilers leads.
fn leader(play: &Play) -> usize {
    let lease = play.stack.account.leader().expect("a lease");
    let holder = lease["holder"].as_str().unwrap_or_default().to_owned();
    let is = |number: &usize| holder.starts_with(&format!("pid {} ", play.stack.reconciler_pid(*number)));
    [0, 1].into_iter().find(is).unwrap_or_else(|| panic!("none of ours leads: {lease}"))
}

/// Waits for a take-over: the lease of 20 s, and the time until somebody looks.
fn until(play: &Play, what: &str, wanted: impl Fn(u64) -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !wanted(epoch(play)) {
        assert!(Instant::now() < until, "{what} does not come\n{}", play.stack.logs());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn without_any_hint_the_resync_alone_brings_every_job_to_its_end() {
    let Some(mut play) = Play::begin("all hints lost", |options| {
        options.resync_seconds = 1;
        options.records_hints.lose_one_in = 1;
        options.task_events.lose_one_in = 1;
    }) else {
        return;
    };
    play.submit(16);
    play.cancel_some(1);
    play.end(0);
}

#[test]
fn hints_that_come_a_hundred_times_do_nothing_twice() {
    let Some(mut play) = Play::begin("every hint a hundred times", |options| {
        options.records_hints.copies = 100;
        options.event_copies = 100;
    }) else {
        return;
    };
    play.submit(16);
    play.cancel_some(1);
    play.end(0);
}

#[test]
fn services_that_cannot_be_reached_for_a_while_delay_jobs_and_lose_none() {
    let Some(mut play) = Play::begin("services away", |options| options.resync_seconds = 2) else { return };
    let time = Duration::from_secs(if long() { 30 } else { 5 });
    let gates = play.stack.gates.clone();
    for (name, gate) in [("SQS", gates.sqs), ("S3", gates.s3), ("DynamoDB", gates.dynamodb)] {
        for way in [Way::Silent, Way::Cut] {
            play.submit(5);
            std::thread::sleep(play.dice.millis(0..=2500));
            testbed::say(&format!("{name} goes away: {way:?}"));
            let outage = Outage::of(&gate, way);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    std::thread::sleep(time);
                    drop(outage);
                });
                // Clients come meanwhile, and are let in when it is over.
                play.submit(2);
            });
        }
    }
    play.end(0);
}
