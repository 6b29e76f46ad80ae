//! Dies at every crash point, before and after everything that leaves a trace outside of a process, starts
//! again, and compares where that leads with a run in which nothing died.
//!
//! `CRASH_POINTS` runs only those whose names contain it, as in `CRASH_POINTS=worker.put:after`.
//! `CRASH_OCCURRENCES=all` dies at each occurrence of a point, and not only at its first and in the middle.

#[path = "crash_points/scenario.rs"]
mod scenario;

use backends::crash::{Act, Moment, Point, Side};
use contract::attempt::{Budget, Evidence, ManifestEntry, Verdict};
use contract::desired::Capacity;
use contract::{LaunchToken, LeaveReason, TaskId};
use plan::{ClaimDraft, Decision, Effect};
use scenario::{Aim, AttemptEnd, End, JobEnd, run};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::Instant;

/// Runs at once. Most of a run is waiting for agents and pauses.
const AT_ONCE: usize = 4;

/// What carrying out a decision passes, the whole of it first. Without a wildcard: a new decision or effect
/// does not compile before somebody has said where a process can die in it.
fn acts_of(decision: &Decision) -> &'static [Act] {
    let effect = match decision {
        Decision::Write { .. } => return &[Act::Control],
        Decision::Wait { .. } => return &[],
        Decision::Do { effect, .. } => effect,
    };
    match effect {
        Effect::Claim { .. } => &[Act::Claim, Act::Put],
        Effect::Launch { .. } => &[Act::Launch, Act::Folder, Act::Spawn],
        Effect::Seal { .. } => &[Act::Seal],
        Effect::Stop { .. } => &[Act::Stop, Act::Kill],
        Effect::Publish { .. } => &[Act::Publish, Act::Link, Act::Relink],
        Effect::Close { .. } => &[Act::Close, Act::Forget, Act::Remove],
        Effect::Collect => &[Act::Collect, Act::Erase, Act::Delete],
    }
}

/// One of each effect.
fn effects() -> Vec<Effect> {
    let token = LaunchToken::new("0".repeat(32)).unwrap();
    let control = json!({
        "version": "0".repeat(16), "epoch": 1, "run": 1, "attempt": 1, "tries": 0, "infra_tries": 0,
        "phase": "Launching", "seen_retry": 0, "run_started_at": "2026-11-22T10:00:00.000Z",
    });
    let control = Box::new(serde_json::from_value(control).unwrap());
    let draft = ClaimDraft { number: 1, run: 1, retry: 0, capacity: Capacity::OnDemand };
    let result = ManifestEntry { path: "result.json".to_owned(), size: 2, sha256: String::new() };
    let task = TaskId::new("process:0").unwrap();
    vec![
        Effect::Claim { draft, control },
        Effect::Launch { token: token.clone() },
        Effect::Seal { token: token.clone(), why: LeaveReason::Cancelled },
        Effect::Stop { token: token.clone(), task, grace_seconds: 1 },
        Effect::Publish { token: token.clone(), number: 1, result },
        Effect::Close {
            token,
            verdict: Verdict::Succeeded,
            uses: Budget::Nothing,
            evidence: Box::new(Evidence::default()),
        },
        Effect::Collect,
    ]
}

/// The runs: each point at its first occurrence and one in the middle, where there are as many, and twice in a
/// row where dying does not keep it from coming again.
fn aims(passed: &BTreeMap<Point, u64>) -> Vec<Aim> {
    let all = std::env::var("CRASH_OCCURRENCES").is_ok_and(|text| text == "all");
    let only = std::env::var("CRASH_POINTS").unwrap_or_default();
    let mut aims = Vec::new();
    for point in Point::all() {
        let alone =
            point.side == Side::Worker && matches!(point.act, Act::Start | Act::Heartbeat | Act::Finish);
        if alone {
            // A worker goes to the store itself only when the orchestrator that spawned it is dead.
            let orphaned = Point { side: Side::Orchestrator, act: Act::Spawn, moment: Moment::After };
            aims.push(Aim(vec![(orphaned, 1), (point, 1)]));
            continue;
        }
        let count = *passed.get(&point).unwrap_or_else(|| panic!("nothing passes {point}"));
        // The second call of a kill finds nothing to do, or comes too late to happen.
        let count = if point.act == Act::Kill { 1 } else { count };
        let occurrences = if all { (1..=count).collect() } else { BTreeSet::from([1, count / 2 + 1]) };
        aims.extend(occurrences.into_iter().map(|n| Aim(vec![(point, n)])));
        if point.side == Side::Orchestrator && point.moment == Moment::Before {
            // What was not done is done again, and the next orchestrator dies there, too.
            aims.push(Aim(vec![(point, 1), (point, 2)]));
        }
    }
    aims.retain(|aim| aim.to_string().contains(&only));
    aims
}

fn is_infrastructure(attempt: &AttemptEnd) -> bool {
    attempt.uses == "Infrastructure"
}

/// What of the end of a job is other than it may be.
fn compare(name: &str, job: &JobEnd, undisturbed: &JobEnd, bereft: Option<&str>) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut equal = |what: &str, is: String, should: String| {
        if is != should {
            wrong.push(format!("{name}: {what} is {is}, not {should}"));
        }
    };
    equal("the status", job.status.clone(), undisturbed.status.clone());
    equal("the reason", job.reason.clone(), undisturbed.reason.clone());
    let lost: Vec<&AttemptEnd> = job.attempts.iter().filter(|a| is_infrastructure(a)).collect();
    let own = |attempts: &[AttemptEnd]| -> Vec<String> {
        let own = attempts.iter().filter(|a| !is_infrastructure(a));
        own.map(|a| format!("{} {} {}", a.verdict, a.uses, a.executed)).collect()
    };
    let (is, mut should) = (own(&job.attempts), own(&undisturbed.attempts));
    // The operator came before the attempt that would have followed the lost one, and took nothing away.
    let untouched = bereft == Some(name) && matches!(name, "cancelled" | "retried") && !lost.is_empty();
    if untouched && is.len() < should.len() {
        should.remove(0);
    }
    equal("what was not lost", format!("{is:?}"), format!("{should:?}"));
    let numbers: Vec<u64> = job.attempts.iter().map(|a| a.number).collect();
    equal("the attempts", format!("{numbers:?}"), format!("{:?}", Vec::from_iter(1..=numbers.len() as u64)));
    let executed = job.attempts.iter().filter(|a| a.executed).count();
    equal("the number of executions", job.executions.to_string(), executed.to_string());
    let mut result = undisturbed.result.clone();
    if !result.is_null() {
        result["attempt"] = json!(job.attempts.len());
    }
    equal("the result", job.result.to_string(), result.to_string());
    for attempt in lost {
        // A launch that was cut off between its folder and its worker: nobody spawns into a folder that exists.
        let cut_off = attempt.stop_code == "NeverStarted" && !attempt.executed;
        let died = bereft == Some(name) && matches!(&*attempt.stop_code, "WorkerSignaled" | "WorkerGone");
        if !cut_off && !died {
            wrong.push(format!("{name}: an attempt failed for no cause of ours: {attempt:?}"));
        }
    }
    wrong
}

/// Of the job whose worker died an attempt was lost for that cause, unless the outcome was stored already or an
/// operator was about to take the attempt away.
fn cause_is_told(aim: &Aim, end: &End) -> Vec<String> {
    let Some(name) = end.bereft else { return Vec::new() };
    let reported =
        |point: &Point| matches!(point.act, Act::AskFinish | Act::Finish) && point.moment == Moment::After;
    let tells = |a: &AttemptEnd| {
        let left = matches!(&*a.verdict, "Cancelled" | "Retried");
        matches!(&*a.stop_code, "WorkerSignaled" | "WorkerGone") && (is_infrastructure(a) || left)
    };
    let attempts = &end.jobs[name].attempts;
    let told = attempts.iter().filter(|a| tells(a)).count();
    let reported = aim.0.iter().any(|(point, _)| reported(point));
    let lost = attempts.iter().filter(|a| is_infrastructure(a) && tells(a)).count();
    if (reported && lost == 0) || (!reported && told >= 1 && lost <= 1) {
        return Vec::new();
    }
    vec![format!("{name}: a worker died, and its attempts say {attempts:?}")]
}

/// What is wrong with a run.
fn wrong_with(aim: &Aim, undisturbed: &End) -> Vec<String> {
    let end = match catch_unwind(AssertUnwindSafe(|| run(aim))) {
        Ok(end) => end,
        Err(panic) => {
            let literal = || panic.downcast_ref::<&str>().map(|&words| words.to_owned());
            let words = panic.downcast_ref::<String>().cloned().or_else(literal);
            return vec![words.unwrap_or_else(|| "it panicked".to_owned())];
        }
    };
    let compared =
        end.jobs.iter().flat_map(|(name, job)| compare(name, job, &undisturbed.jobs[name], end.bereft));
    compared.chain(cause_is_told(aim, &end)).collect()
}

#[test]
fn dying_anywhere_loses_nothing_and_does_nothing_twice() {
    let started = Instant::now();
    let undisturbed = run(&Aim(Vec::new()));
    every_effect_passes_its_points(&undisturbed);
    let aims = aims(&undisturbed.passed);
    let (count, points) =
        (aims.len(), aims.iter().flat_map(|aim| &aim.0).map(|(p, _)| p).collect::<BTreeSet<_>>().len());
    let (queue, wrong) = (Mutex::new(aims.into_iter()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().unwrap().next();
                    let Some(aim) = next else { return };
                    let found = wrong_with(&aim, &undisturbed);
                    wrong.lock().unwrap().extend(found.into_iter().map(|what| format!("{aim}: {what}")));
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    let took = started.elapsed();
    testbed::say(&format!("{points} crash points, {count} runs, {} wrong, {took:.1?}", wrong.len()));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What the reconciler counted as done has passed the points that are meant for it, each time.
fn every_effect_passes_its_points(undisturbed: &End) {
    for effect in effects() {
        let (name, done) = (effect.name(), undisturbed.effects[effect.name()]);
        assert!(done > 0, "the scenario has no {name}");
        let acts = acts_of(&Decision::Do { effect, why: "" });
        for moment in [Moment::Before, Moment::After] {
            let point = Point { side: Side::Orchestrator, act: acts[0], moment };
            let passed = undisturbed.passed.get(&point).copied().unwrap_or(0);
            // A seal is not even tried when another look shows that the gate has moved.
            let each_time = passed == done || (acts[0] == Act::Seal && 0 < passed && passed < done);
            assert!(each_time, "{name} was carried out {done} times, and passed {point} {passed} times");
        }
    }
}

#[test]
fn every_effect_has_its_points_and_every_point_a_name() {
    let effects = effects();
    let names: Vec<&str> = effects.iter().map(Effect::name).collect();
    assert_eq!(names, Effect::NAMES);
    for effect in effects {
        let name = effect.name();
        for act in acts_of(&Decision::Do { effect, why: "" }) {
            assert!(act.sides().contains(&Side::Orchestrator), "{name}: {act:?} is not the orchestrator's");
        }
    }
    let points: BTreeSet<String> = Point::all().iter().map(Point::to_string).collect();
    assert_eq!(points.len(), Point::all().len(), "two points have one name");
}
