//! What records that nobody can decode cost the others.

use std::time::Duration;
use testbed::sim::poison::{self, cost};

#[test]
fn a_hundred_poisoned_records_of_every_kind_do_not_delay_a_hundred_good_jobs() {
    for seed in 0..10 {
        let (alone, among) = (cost(seed, 0), cost(seed, 100));
        testbed::say(&format!("seed {seed}: alone {alone:?}, among poisoned {among:?}"));
        assert!(among.poisoned_passes >= 100, "nobody looked at the poisoned ones: {among:?}");
        // The same work; a look more or less comes from the order in which calls end.
        assert!(among.passes * 10 <= alone.passes * 11, "seed {seed}: {alone:?}, {among:?}");
        assert!(among.ended * 10 <= alone.ended * 11, "seed {seed}: {alone:?}, {among:?}");
        // A poisoned record is looked at, explained, and left until it changes.
        assert!(among.poisoned_passes <= 100 * 6, "the loop comes back to poisoned records: {among:?}");
    }
}

#[test]
fn a_task_behind_a_record_that_nobody_can_decode_holds_its_slot_until_it_has_stopped() {
    for way in 0..poison::ways() {
        let (stopped, next) = poison::behind_a_running_task(7, way);
        testbed::say(&format!("way {way}: stopped after {stopped:?}, the next one there after {next:?}"));
        assert!(stopped > Duration::from_secs(10), "way {way}: it ran when it was poisoned");
        // No later than the resync after next: nothing announces the end of a task whose worker cannot report.
        assert!(
            next - stopped <= Duration::from_secs(65),
            "way {way}: the slot was kept for {:?}",
            next - stopped
        );
    }
}

#[test]
fn an_agent_without_worker_and_record_is_stopped_as_an_orphan() {
    let stopped: Vec<Duration> = (0..10).filter_map(poison::of_a_deleted_record).collect();
    testbed::say(&format!("stopped after {stopped:?}"));
    assert!(!stopped.is_empty(), "no agent has outlived its worker");
    // A minute of grace, two resyncs, and the grace of a stop. Left alone, agents last for half an hour on average.
    assert!(stopped.iter().all(|after| *after < Duration::from_secs(150)), "{stopped:?}");
}

#[test]
fn a_job_whose_claims_are_refused_keeps_nobody_waiting_for_its_slot() {
    for seed in 0..5 {
        let ended = poison::behind_an_unclaimable_job(seed);
        assert!(ended < Duration::from_secs(30), "seed {seed}: the second job ended after {ended:?}");
    }
}
