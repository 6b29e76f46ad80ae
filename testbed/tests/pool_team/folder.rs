//! A worker whose folder of tasks cannot be written.

use crate::SOON;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use testbed::judge::judge;
use testbed::ledger_agent;
use testbed::team::{Options, Part, Team};

/// A file stands where the folder has to be: that stops root as well.
fn spoil(team: &Team, worker: usize) -> PathBuf {
    let (folder, aside) = (team.tasks_folder(worker), team.folder().join(format!("aside-{worker}")));
    if folder.exists() {
        std::fs::rename(&folder, &aside).unwrap();
    }
    std::fs::write(&folder, "in the way").unwrap();
    folder
}

#[test]
fn a_worker_that_cannot_write_its_folder_offers_no_slots_and_spoils_no_job() {
    let Some(mut team) = Team::start(Options::new(2, 2).agent(ledger_agent!())) else { return };
    let client = team.client();
    team.until_slots(4, SOON);
    assert!(team.is_healthy(0) && team.is_healthy(1), "{}", team.logs());
    let in_the_way = spoil(&team, 0);
    assert!(!team.is_healthy(0) && team.is_healthy(1), "{}", team.logs());
    let payload = json!({"ledger": team.ledger().path(), "sleep_ms": 20, "files": 1});
    let desired = json!({"job_type": "ledger", "payload": payload});
    let job_ids: Vec<String> = (0..20).map(|_| client.submit(&desired)).collect();
    for job_id in &job_ids {
        client.ended(job_id, SOON);
    }
    let found = judge(&team, &job_ids, &BTreeMap::new());
    found.accept("20 jobs beside a worker without a folder");
    assert_eq!((found.attempts, found.executions), (20, 20), "an attempt failed there\n{}", team.logs());
    team.until_slots(2, SOON);
    assert!(team.logs().contains("UNHEALTHY, no slots are offered"), "{}", team.logs());
    std::fs::remove_file(in_the_way).unwrap();
    team.until_slots(4, SOON);
    // The same from the start.
    let in_the_way = spoil(&team, 2);
    team.launch(Part::Worker(2));
    team.until_logged("tasks-2 cannot be written", SOON);
    assert_eq!(team.redis().slots(), 4, "it has registered");
    assert!(!team.is_healthy(2));
    std::fs::remove_file(in_the_way).unwrap();
    team.until_slots(6, SOON);
    team.expect_nothing_left(SOON);
}
