//! Every second something of the team's stack is killed at random while jobs are submitted and executed, and the
//! judge looks at what the agents wrote down. `TESTBED_CHAOS_SECONDS` and `TESTBED_CHAOS_JOBS` make it longer,
//! `TESTBED_SEED` repeats the choices of a run.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use testbed::judge::{Judged, Stored, judge};
use testbed::ledger::Event;
use testbed::team::{Options, Part, Team};
use testbed::{Client, Dice, ledger_agent};

/// How long it may take until everything has ended after the last kill: a reconciler waits for the lease of one
/// that was killed (15 s), a worker that was killed is given up after its lease and the grace (14 s), and the
/// pauses after lost workers double from one second.
const PATIENCE: Duration = Duration::from_secs(240);
const WORKERS: usize = 4;
const SLOTS: u32 = 2;
/// A reconciler is killed once in so many kills: its successor waits 15 s for the lease, and while nobody leads
/// nothing is tried.
const RECONCILER_ONCE_IN: u64 = 20;

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Victim {
    Redis,
    Api,
    Reconciler,
    /// The process of a worker that everything else of it depends on.
    Watchdog,
    /// The process of a worker that has the connections and the agents.
    Member,
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// One victim a second, each kind at least once. Workers are killed early and reconcilers late: nothing executes
/// for 15 s after a reconciler was killed, so that who is killed then has no agent to lose.
fn victims(dice: &mut Dice, seconds: u64) -> Vec<Victim> {
    let others = [Victim::Redis, Victim::Api, Victim::Watchdog, Victim::Member];
    let early = (seconds / 2).min(10);
    let mut all: Vec<Victim> = (0..seconds)
        .map(|n| match n >= early && dice.once_in(RECONCILER_ONCE_IN) {
            true => Victim::Reconciler,
            false => *dice.one_of(&others).expect("one of four"),
        })
        .collect();
    let (mut first, mut later): (Vec<u64>, Vec<u64>) = (0..seconds).partition(|n| *n < early);
    let mut place = |places: &mut Vec<u64>, victim| {
        let at = places.swap_remove(dice.within(0..=places.len() as u64 - 1) as usize);
        all[at as usize] = victim;
    };
    place(&mut first, Victim::Watchdog);
    place(&mut first, Victim::Member);
    for victim in [Victim::Redis, Victim::Api, Victim::Reconciler] {
        place(&mut later, victim);
    }
    all
}

/// Agents that last so long on average keep every slot busy until the last kill, so that whoever is killed has some.
fn busy_ms(seconds: u64, jobs: u64) -> u64 {
    let slots = WORKERS as u64 * u64::from(SLOTS);
    slots * seconds * 1000 / jobs.max(1)
}

/// Attempts whose agent ran when its worker was lost, and was killed: it began and never came to its end, and the
/// attempt is closed for the loss. The judge has seen that each of their jobs succeeded with a later one.
fn lost_with_their_agents(team: &Team) -> usize {
    let lines = team.ledger().lines();
    let is_there = |event: Event, job: &str, number: u64| {
        lines.iter().any(|l| l.event == event && l.job == job && u64::from(l.attempt) == number)
    };
    let lost = |stored: &&Stored| {
        let number = stored.claim["number"].as_u64().expect("a number");
        stored.closing["verdict"]["failed"]["class"] == "WorkerLost"
            && is_there(Event::Start, &stored.job, number)
            && !is_there(Event::End, &stored.job, number)
    };
    team.attempts().iter().filter(lost).count()
}

fn desired(team: &Team, dice: &mut Dice, busy_ms: u64) -> Value {
    let mut payload = json!({
        "ledger": team.ledger().path(),
        "sleep_ms": dice.within(busy_ms / 2..=busy_ms * 3 / 2),
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
    json!({"job_type": "stubborn", "payload": payload, "backoff": backoff, "max_attempts": 10})
}

/// Submits in the course of `span` like a client that must not lose a job: the same key until it is accepted.
fn submit_all(client: &Client, wanted: &[Value], span: Duration, accepted: &Mutex<Vec<String>>) {
    let begin = Instant::now();
    for (n, desired) in wanted.iter().enumerate() {
        let due = span.mul_f64(n as f64 / wanted.len() as f64);
        std::thread::sleep(due.saturating_sub(begin.elapsed()));
        let job_id = client.insist(&format!("chaos-{n}"), desired, PATIENCE).expect("accepted in the end");
        accepted.lock().unwrap().push(job_id);
    }
}

/// A worker: one with a running agent if there is one, since killing an idle one shows little.
fn a_worker(team: &Team, dice: &mut Dice) -> usize {
    let tasks = team.tasks();
    let is_busy = |worker: &usize| {
        team.member(*worker).is_some_and(|member| tasks.iter().any(|task| task.parent == member.pid))
    };
    let busy: Vec<usize> = (0..WORKERS).filter(is_busy).collect();
    let all: Vec<usize> = (0..WORKERS).collect();
    *dice.one_of(if busy.is_empty() { &all } else { &busy }).expect("there are workers")
}

fn kill(team: &mut Team, dice: &mut Dice, victim: Victim) {
    let worker = a_worker(team, dice);
    let part = match victim {
        Victim::Redis => Part::Redis,
        Victim::Api => Part::Api,
        Victim::Reconciler => Part::Reconciler,
        Victim::Watchdog => Part::Worker(worker),
        // There is none for a moment after another one was killed.
        Victim::Member => return team.member(worker).into_iter().for_each(|member| member.kill()),
    };
    team.kill(part);
    std::thread::sleep(dice.millis(0..=200));
    team.launch(part);
}

/// Kills one after the other, a second apart, and starts again what ended for another reason, as a restart policy
/// does; how often what was killed.
fn kill_at_random(team: &mut Team, dice: &mut Dice, victims: &[Victim]) -> BTreeMap<Victim, u32> {
    let (begin, mut counts) = (Instant::now(), BTreeMap::new());
    for (n, victim) in (1..).zip(victims) {
        let due = Duration::from_secs(n) + dice.millis(0..=300);
        std::thread::sleep(due.saturating_sub(begin.elapsed()));
        team.restart_ended();
        kill(team, dice, *victim);
        *counts.entry(*victim).or_default() += 1;
    }
    counts
}

#[test]
fn nothing_is_lost_or_done_twice_when_any_part_of_the_stack_is_killed_every_second() {
    let (seconds, jobs) = (number("TESTBED_CHAOS_SECONDS", 20), number("TESTBED_CHAOS_JOBS", 150));
    let options = Options::new(WORKERS, SLOTS)
        .agent(ledger_agent!())
        .env("AGENT_RUNNER_POOL_LEASE_SECONDS", "4")
        .env("AGENT_RUNNER_RESYNC_SECONDS", "5");
    let Some(mut team) = Team::start(options) else { return };
    let mut dice = Dice::announced("the team's stack killed");
    let victims = victims(&mut dice, seconds);
    let wanted: Vec<Value> = (0..jobs).map(|_| desired(&team, &mut dice, busy_ms(seconds, jobs))).collect();
    let (client, accepted) = (team.client(), Mutex::new(Vec::new()));
    let span = Duration::from_secs(seconds);
    let kills = std::thread::scope(|scope| {
        scope.spawn(|| submit_all(&client, &wanted, span, &accepted));
        kill_at_random(&mut team, &mut dice, &victims)
    });
    let accepted = accepted.into_inner().unwrap();
    team.restart_ended();
    let since = Instant::now();
    for job_id in &accepted {
        client.ended(job_id, PATIENCE.saturating_sub(since.elapsed()));
    }
    testbed::say(&format!("killed: {kills:?}; settled {:.1?} after the last", since.elapsed()));
    assert_eq!(accepted.len() as u64, jobs);
    judge(&team, &accepted, &BTreeMap::new()).accept("the team's stack killed");
    let lost = lost_with_their_agents(&team);
    testbed::say(&format!("workers lost with a running agent, whose job was retried: {lost}"));
    assert!(lost > 0, "no kill hit a worker with a running agent");
    team.expect_nothing_left(Duration::from_secs(60));
    assert!(!team.logs().contains("panicked at"), "{}", team.logs());
}
