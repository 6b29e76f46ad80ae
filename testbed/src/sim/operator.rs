//! People: they submit jobs and edit them over the API, and some write into the records by hand.

use super::jobs::{Action, JobPlan};
use super::records::SimRecords;
use super::world::{State, World};
use backends::records::ApiRecords;
use backends::{NewJob, WriteAnswer};
use contract::{Created, Desired, JobId, Raw, WriteId};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Between two looks at records that somebody edited past the API.
const SCAN: Duration = Duration::from_secs(600);
/// Between two tries of a call that failed.
const AGAIN: Duration = Duration::from_secs(2);

/// Submits a job and does to it what its plan says.
pub(super) async fn accompany(world: Arc<World>, plan: Arc<JobPlan>) {
    tokio::time::sleep(plan.at).await;
    let records = ApiRecords::new(Arc::new(SimRecords { world: world.clone(), host: None }));
    let created = {
        let mut s = world.lock();
        let write = WriteId::from_bits(s.dice.number());
        let at = s.wall();
        Created {
            write,
            at,
            actor: "sim".to_owned(),
            idempotency_key: None,
            body_digest: None,
            desired_digest: None,
        }
    };
    let new = NewJob { job_id: plan.job_id.clone(), created, desired: plan.desired.clone() };
    while records.create(&new).await.is_err() {
        tokio::time::sleep(AGAIN).await;
    }
    let start = Instant::now();
    for (at, action) in &plan.actions {
        tokio::time::sleep_until(start + *at).await;
        act(&records, &plan.job_id, *action).await;
    }
}

/// Reads, changes, writes, until it is done. A job that is gone or broken by hand is left alone or waited
/// for.
async fn act(records: &ApiRecords, job_id: &JobId, action: Action) {
    loop {
        match records.job(job_id).await {
            Ok(None) => return,
            Ok(Some(job)) => {
                if let Ok(mut desired) = job.desired() {
                    change(&mut desired, action);
                    let written = records.write_desired(job_id, &job.desired, &Raw::of(&desired)).await;
                    if written == Ok(WriteAnswer::Written) {
                        return;
                    }
                }
            }
            Err(_) => {}
        }
        tokio::time::sleep(AGAIN).await;
    }
}

fn change(desired: &mut Desired, action: Action) {
    match action {
        Action::Cancel => desired.cancel = true,
        Action::Suspend => desired.suspend = true,
        Action::Resume => desired.suspend = false,
        Action::Retry => desired.retry += 1,
        Action::Priority(priority) => desired.priority = priority,
        Action::FixQueue => desired.queue = Some("wide".to_owned()),
    }
}

/// Edits records by hand until faults end. Each edited job is announced again and again, as a store does
/// that finds such edits with its change feed or a slow scan: a hint alone may be lost.
pub(super) async fn meddle(world: Arc<World>) {
    let mut edited: Vec<JobId> = Vec::new();
    loop {
        let (pause, busy) = {
            let mut s = world.lock();
            let busy = s.chaos.edits && s.faulty();
            (if busy { s.seconds(5..=900) } else { SCAN }, busy)
        };
        tokio::time::sleep(pause).await;
        let mut s = world.lock();
        for job_id in &edited {
            s.announce(job_id);
        }
        if busy && s.faulty() {
            let ids: Vec<JobId> = s.memory.jobs.keys().cloned().collect();
            if let Some(job_id) = s.dice.one_of(&ids).cloned() {
                edit(&world, &mut s, &job_id);
                s.announce(&job_id);
                edited.push(job_id);
                edited.sort_unstable();
                edited.dedup();
            }
        }
    }
}

fn edit(world: &Arc<World>, s: &mut State, job_id: &JobId) {
    let (which, roll) = (s.dice.within(0..=6), s.dice.number());
    let Some(row) = s.memory.jobs.get_mut(job_id) else { return };
    row.edited();
    let what = match which {
        0 | 1 => {
            row.control = None;
            "wipes control"
        }
        2 => {
            row.control = Some(Raw::stored("{\"phase\":\"Asleep\""));
            "breaks control"
        }
        3 => {
            let at = usize::try_from(roll).unwrap_or(0) % row.history.len().max(1);
            row.control = row.history.get(at).cloned();
            row.rewound = true;
            "restores an old control"
        }
        4 => {
            if let Some(mut control) = row.control.as_ref().and_then(|c| c.parse().ok()) {
                (control.tries, control.infra_tries, control.attempt, control.not_before) = (0, 0, 0, None);
                row.control = Some(Raw::of(&control));
            }
            "sets the counts of control to 0"
        }
        5 => {
            row.status = Some(Raw::stored("\"DONE\""));
            "breaks status"
        }
        _ => {
            let good = std::mem::replace(&mut row.desired, Raw::stored("{\"job_type\": 7}"));
            let pause = Duration::from_secs(1 + roll % 600);
            tokio::spawn(heal(world.clone(), job_id.clone(), good, pause));
            "breaks desired"
        }
    };
    s.touch(job_id);
    s.note("operator", &format!("{job_id}: {what}"));
}

/// Puts a broken `desired` right.
async fn heal(world: Arc<World>, job_id: JobId, good: Raw<Desired>, pause: Duration) {
    tokio::time::sleep(pause).await;
    let mut s = world.lock();
    if let Some(row) =
        s.memory.jobs.get_mut(&job_id).filter(|row| Desired::parse(row.desired.text()).is_err())
    {
        row.desired = good;
        row.edited();
        s.touch(&job_id);
        s.note("operator", &format!("{job_id}: puts desired right"));
        s.announce(&job_id);
    }
}
