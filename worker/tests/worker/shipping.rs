//! Logs of a running agent.

use crate::support::{World, eventually, shell};
use contract::live_log::LogPiece;
use std::collections::BTreeMap;

/// The pieces of stdout by their place.
fn pieces(w: &World) -> BTreeMap<u64, String> {
    let folder = w.artifacts().join("live/stdout.log");
    let Ok(found) = std::fs::read_dir(folder) else { return BTreeMap::new() };
    found
        .filter_map(|entry| {
            let entry = entry.unwrap();
            let piece = LogPiece::of_key(entry.file_name().to_str()?)?;
            Some((piece.offset, std::fs::read_to_string(entry.path()).unwrap()))
        })
        .collect()
}

#[test]
fn what_a_running_agent_writes_is_shipped_piece_by_piece() {
    let mut w = World::new(&shell(
        "echo one; while [ ! -e more ]; do sleep 0.02; done; echo two; while [ ! -e end ]; do sleep 0.02; done; echo three",
    ));
    w.env.insert("AGENT_RUNNER_LOG_SHIPPING_SECONDS".into(), "1".into());
    let worker = w.start();
    eventually("the first line is shipped", || {
        (pieces(&w) == [(0, "one\n".to_owned())].into()).then_some(())
    });
    std::fs::write(w.folder.path().join("task/work/more"), "").unwrap();
    eventually("the second line is shipped", || {
        (pieces(&w) == [(0, "one\n".to_owned()), (4, "two\n".to_owned())].into()).then_some(())
    });
    std::fs::write(w.folder.path().join("task/work/end"), "").unwrap();
    assert_eq!(worker.wait().code(), Some(0), "{}", w.log());
    assert_eq!(w.stored("stdout.log").unwrap(), "one\ntwo\nthree\n");
    assert_eq!(w.manifest(), ["result.json", "stdout.log", "stderr.log"], "pieces are not in the manifest");
}

#[test]
fn a_short_attempt_ships_nothing_and_a_store_that_takes_nothing_harms_no_agent() {
    let w = World::new(&shell("echo one"));
    w.run();
    assert!(pieces(&w).is_empty());
    let mut w = World::new(&shell("echo one; sleep 1.3; mv ../../hidden ../../artifacts"));
    w.env.insert("AGENT_RUNNER_LOG_SHIPPING_SECONDS".into(), "1".into());
    // A file where the folder of artifacts would be.
    std::fs::write(w.folder.path().join("artifacts"), "").unwrap();
    let worker = w.start();
    eventually("the worker complains", || w.log().contains("the live log is behind").then_some(()));
    std::fs::remove_file(w.folder.path().join("artifacts")).unwrap();
    std::fs::create_dir(w.folder.path().join("hidden")).unwrap();
    assert_eq!(worker.wait().code(), Some(0), "{}", w.log());
    assert_eq!(w.stored("stdout.log").unwrap(), "one\n");
}
