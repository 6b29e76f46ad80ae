//! Checks of the job record.
#![allow(missing_docs, clippy::missing_panics_doc, reason = "checks are named by sentences and panic")]

use super::Fixture;
use crate::clock::fresh_token;
use crate::conformance::fixtures::{
    at, claim, closing, desired, edited, finished, job_id, launching, new_job, new_job_of, outcome, report,
    task, updated, waiting, write,
};
use crate::conformance::wait::all;
use crate::records::{CreateAnswer, GateAnswer, StartAnswer, WriteAnswer};
use contract::{Control, Desired, JsonText, LeaveReason, Raw, Status};

pub async fn a_created_job_is_read_back_as_it_was_given(f: &Fixture) {
    let new = f.job().await;
    let job = f.records.job(&new.job_id).await.unwrap().unwrap();
    assert_eq!(job, f.load(&new.job_id).await.job);
    assert_eq!((&job.job_id, job.active), (&new.job_id, true));
    assert_eq!(job.created.parse().unwrap(), new.created);
    assert_eq!((job.desired(), job.desired), (Ok(new.desired.clone()), desired(&new)));
    assert_eq!((job.control, job.status), (None, None));
    assert_eq!(f.records.job(&job_id()).await, Ok(None));
    assert_eq!(f.records.load(&job_id()).await, Ok(None));
}

pub async fn a_creation_repeated_with_its_write_id_is_the_same_one_and_any_other_meets_it(f: &Fixture) {
    let new = f.job().await;
    assert_eq!(f.records.create(&new).await, Ok(CreateAnswer::Created));
    let mut other = new_job();
    other.job_id = new.job_id.clone();
    other.desired.priority = 7;
    match f.records.create(&other).await {
        Ok(CreateAnswer::Exists(job)) => assert_eq!(job.created.parse().unwrap(), new.created),
        answer => panic!("{answer:?}"),
    }
    assert_eq!(f.load(&new.job_id).await.job.desired, desired(&new));
}

pub async fn of_concurrent_creations_of_one_key_one_is_stored(f: &Fixture) {
    let shared = job_id();
    let news: Vec<_> = (0..8)
        .map(|priority| {
            let mut new = new_job();
            new.job_id = shared.clone();
            new.desired.priority = priority;
            new
        })
        .collect();
    let answers = all(news.iter().map(|new| f.records.create(new)).collect()).await;
    let won: Vec<_> = answers.iter().map(|a| matches!(a, Ok(CreateAnswer::Created))).collect();
    assert_eq!(won.iter().filter(|won| **won).count(), 1, "{answers:?}");
    let winner = won.iter().position(|won| *won).unwrap();
    assert_eq!(f.load(&shared).await.job.desired, desired(&news[winner]));
}

pub async fn a_large_payload_survives_byte_by_byte(f: &Fixture) {
    let mut wanted = Desired::new("echo");
    let text = format!("{{\"b\": 1.50, \"a\": \"{}\"}}", "ä\\u00e4".repeat(30_000));
    wanted.payload = JsonText::new(text.clone()).unwrap();
    let new = new_job_of(wanted);
    assert_eq!(f.records.create(&new).await, Ok(CreateAnswer::Created));
    assert_eq!(f.load(&new.job_id).await.job.desired().unwrap().payload.as_str(), text);
}

pub async fn desired_is_written_over_the_expected_text_only_and_a_repeat_counts_as_done(f: &Fixture) {
    let new = f.job().await;
    let (old, next, other) = (desired(&new), edited(&desired(&new), 1), edited(&desired(&new), 2));
    let write = |from: Raw<Desired>, to: Raw<Desired>| {
        let job_id = new.job_id.clone();
        async move { f.records.write_desired(&job_id, &from, &to).await }
    };
    assert_eq!(write(other.clone(), next.clone()).await, Ok(WriteAnswer::Conflict));
    // The same value in another text is another edit.
    let spaced = Raw::stored(format!("{} ", old.text()));
    assert_eq!(write(spaced, next.clone()).await, Ok(WriteAnswer::Conflict));
    assert_eq!(f.load(&new.job_id).await.job.desired, old);
    assert_eq!(write(old.clone(), next.clone()).await, Ok(WriteAnswer::Written));
    assert_eq!(write(old.clone(), next.clone()).await, Ok(WriteAnswer::Written), "the answer was lost");
    assert_eq!(write(old, other).await, Ok(WriteAnswer::Conflict));
    assert_eq!(f.load(&new.job_id).await.job.desired, next);
}

pub async fn who_changed_desired_and_why_is_kept_beside_an_edit_by_others(f: &Fixture) {
    let new = f.job().await;
    let (old, noted) = (desired(&new), updated(&desired(&new), 1));
    assert_eq!(f.records.write_desired(&new.job_id, &old, &noted).await, Ok(WriteAnswer::Written));
    let job = f.load(&new.job_id).await.job;
    assert_eq!(job.desired, noted);
    assert_eq!(job.created.parse().unwrap().desired_digest, new.created.desired_digest);
    // As somebody leaves it who does not know of it.
    let by_hand = edited(&noted, 2);
    assert_eq!(f.records.write_desired(&new.job_id, &noted, &by_hand).await, Ok(WriteAnswer::Written));
    let read = f.load(&new.job_id).await.job;
    assert_eq!(read.desired().unwrap().updated, job.desired().unwrap().updated);
    let control = waiting();
    let seen = f.records.write_control(&new.job_id, write(None, &read.desired, &control, false)).await;
    assert_eq!(seen, Ok(WriteAnswer::Written));
}

pub async fn of_concurrent_edits_of_one_text_one_is_stored(f: &Fixture) {
    let new = f.job().await;
    let old = desired(&new);
    let edits: Vec<_> = (1..9).map(|priority| edited(&old, priority)).collect();
    let writes = edits.iter().map(|next| f.records.write_desired(&new.job_id, &old, next));
    let answers = all(writes.collect()).await;
    let won: Vec<_> = answers.iter().map(|a| *a == Ok(WriteAnswer::Written)).collect();
    assert_eq!(won.iter().filter(|won| **won).count(), 1, "{answers:?}");
    let winner = won.iter().position(|won| *won).unwrap();
    assert_eq!(f.load(&new.job_id).await.job.desired, edits[winner]);
}

pub async fn control_is_written_only_while_control_and_desired_are_as_seen(f: &Fixture) {
    let new = f.job().await;
    let (seen, unseen) = (desired(&new), edited(&desired(&new), 1));
    let (first, second) = (waiting(), waiting());
    let write = |expected: Option<Raw<Control>>, seen: Raw<Desired>, next: Control| {
        let job_id = new.job_id.clone();
        async move { f.records.write_control(&job_id, write(expected.as_ref(), &seen, &next, false)).await }
    };
    let (one, two) = (Raw::of(&first), Raw::of(&second));
    assert_eq!(write(Some(two.clone()), seen.clone(), first.clone()).await, Ok(WriteAnswer::Conflict));
    assert_eq!(write(None, unseen.clone(), first.clone()).await, Ok(WriteAnswer::Conflict));
    assert_eq!(f.load(&new.job_id).await.job.control, None);
    assert_eq!(write(None, seen.clone(), first).await, Ok(WriteAnswer::Written));
    assert_eq!(write(None, seen.clone(), second.clone()).await, Ok(WriteAnswer::Conflict));
    assert_eq!(write(Some(two.clone()), seen.clone(), waiting()).await, Ok(WriteAnswer::Conflict));
    assert_eq!(write(Some(one.clone()), unseen, second.clone()).await, Ok(WriteAnswer::Conflict));
    assert_eq!(f.load(&new.job_id).await.job.control, Some(one.clone()));
    assert_eq!(write(Some(one), seen, second).await, Ok(WriteAnswer::Written));
    assert_eq!(f.load(&new.job_id).await.job.control, Some(two));
}

pub async fn a_control_write_repeated_with_its_version_counts_as_done(f: &Fixture) {
    let new = f.job().await;
    let (seen, control) = (desired(&new), waiting());
    for _ in 0..2 {
        let answer = f.records.write_control(&new.job_id, write(None, &seen, &control, false)).await;
        assert_eq!(answer, Ok(WriteAnswer::Written));
    }
    // Even when somebody edited the job since.
    let answer = f.records.write_desired(&new.job_id, &seen, &edited(&seen, 1)).await;
    assert_eq!(answer, Ok(WriteAnswer::Written));
    let answer = f.records.write_control(&new.job_id, write(None, &seen, &control, false)).await;
    assert_eq!(answer, Ok(WriteAnswer::Written));
    // But not when another write followed it.
    let seen = edited(&seen, 1);
    let next = waiting();
    let answer =
        f.records.write_control(&new.job_id, write(Some(&Raw::of(&control)), &seen, &next, false)).await;
    assert_eq!(answer, Ok(WriteAnswer::Written));
    let answer = f.records.write_control(&new.job_id, write(None, &seen, &control, false)).await;
    assert_eq!(answer, Ok(WriteAnswer::Conflict));
}

pub async fn control_and_status_are_written_together(f: &Fixture) {
    let (new, token, claimed) = f.claimed().await;
    let job = f.load(&new.job_id).await.job;
    assert_eq!(job.status.unwrap().parse().unwrap(), claimed.parse().unwrap().view());
    let done = finished(1, &token, at(100));
    let answer =
        f.records.write_control(&new.job_id, write(Some(&claimed), &desired(&new), &done, true)).await;
    assert_eq!(answer, Ok(WriteAnswer::Written));
    let job = f.load(&new.job_id).await.job;
    assert_eq!((job.view(), job.view().status), (done.view(), Status::Succeeded));
}

pub async fn the_active_mark_is_cleared_by_a_settled_control_and_set_by_an_edit(f: &Fixture) {
    let new = f.job().await;
    let (seen, first) = (desired(&new), waiting());
    let answer = f.records.write_control(&new.job_id, write(None, &seen, &first, false)).await;
    assert_eq!(answer, Ok(WriteAnswer::Written));
    assert!(f.load(&new.job_id).await.job.active);
    let first = Raw::of(&first);
    let done = finished(1, &fresh_token(), at(100));
    let answer = f.records.write_control(&new.job_id, write(Some(&first), &seen, &done, true)).await;
    assert_eq!(answer, Ok(WriteAnswer::Written));
    assert!(!f.load(&new.job_id).await.job.active);
    let next = edited(&seen, 1);
    assert_eq!(f.records.write_desired(&new.job_id, &seen, &next).await, Ok(WriteAnswer::Written));
    assert!(f.load(&new.job_id).await.job.active);
    // A settled write that has not seen the edit does not clear it.
    let (done, again) = (Raw::of(&done), finished(1, &fresh_token(), at(100)));
    let answer = f.records.write_control(&new.job_id, write(Some(&done), &seen, &again, true)).await;
    assert_eq!(answer, Ok(WriteAnswer::Conflict));
    assert!(f.load(&new.job_id).await.job.active);
}

pub async fn a_job_is_deleted_with_its_attempts_while_it_is_as_seen(f: &Fixture) {
    let (new, token, control) = f.claimed().await;
    let seen = desired(&new);
    assert_eq!(f.records.seal(&new.job_id, &token, LeaveReason::Cancelled).await, Ok(GateAnswer::Written));
    assert_eq!(f.records.close(&new.job_id, &token, &closing()).await, Ok(WriteAnswer::Written));
    let (other, edit) = (Raw::of(&waiting()), edited(&seen, 1));
    assert_eq!(f.records.delete(&new.job_id, &other, &seen).await, Ok(WriteAnswer::Conflict));
    assert_eq!(f.records.delete(&new.job_id, &control, &edit).await, Ok(WriteAnswer::Conflict));
    assert_eq!(f.load(&new.job_id).await.attempts.len(), 1);
    assert_eq!(f.records.delete(&new.job_id, &control, &seen).await, Ok(WriteAnswer::Written));
    assert_eq!(f.records.load(&new.job_id).await, Ok(None));
    assert_eq!(f.records.delete(&new.job_id, &control, &seen).await, Ok(WriteAnswer::NotFound));
    // A job that comes back under the same key has nothing of the old one.
    assert_eq!(f.records.create(&new).await, Ok(CreateAnswer::Created));
    let loaded = f.load(&new.job_id).await;
    assert_eq!((loaded.attempts.len(), loaded.job.control), (0, None));
}

pub async fn writes_need_their_record_and_make_no_ghosts(f: &Fixture) {
    let (r, id, token) = (&f.records, job_id(), fresh_token());
    let (seen, control) = (desired(&new_job()), waiting());
    assert_eq!(r.write_desired(&id, &seen, &edited(&seen, 1)).await, Ok(WriteAnswer::NotFound));
    for expected in [None, Some(&Raw::of(&waiting()))] {
        let answer = r.write_control(&id, write(expected, &seen, &control, false)).await;
        assert_eq!(answer, Ok(WriteAnswer::NotFound));
    }
    let answer = r.claim(&id, &token, &claim(1), None, &seen, &launching(1, &token)).await;
    assert_eq!(answer, Ok(WriteAnswer::NotFound));
    assert_eq!(r.delete(&id, &Raw::of(&control), &seen).await, Ok(WriteAnswer::NotFound));
    assert_eq!(r.load(&id).await, Ok(None));
    // No job, and then a job without this attempt.
    let known = f.job().await.job_id;
    for id in [&id, &known] {
        assert_eq!(r.seal(id, &token, LeaveReason::Cancelled).await, Ok(GateAnswer::NotFound));
        assert_eq!(r.close(id, &token, &closing()).await, Ok(WriteAnswer::NotFound));
        assert_eq!(r.start(id, &token, &task("a"), &report(1)).await, Ok(StartAnswer::NotFound));
        assert_eq!(r.heartbeat(id, &token, &task("a"), &report(1)).await, Ok(GateAnswer::NotFound));
        assert_eq!(r.finish(id, &token, &task("a"), &outcome()).await, Ok(GateAnswer::NotFound));
    }
    assert_eq!(f.load(&known).await.attempts, []);
    assert_eq!(r.load(&id).await, Ok(None));
}

pub async fn a_broken_desired_blocks_nothing_and_can_be_edited_away(f: &Fixture) {
    let new = f.job().await;
    for text in ["{", "[]", r#"{"job_type":"echo","max_attempts":"three"}"#, "{\"job_type\": \"echo\" }  "] {
        f.tamper(&new.job_id, None, "desired", Some(text)).await;
        let job = f.load(&new.job_id).await.job;
        assert_eq!(job.desired.text(), text);
        // The reconciler says InvalidRecord, and that condition compares the broken text.
        let (control, expected) = (waiting(), job.control);
        let answer = f
            .records
            .write_control(&new.job_id, write(expected.as_ref(), &job.desired, &control, false))
            .await;
        assert_eq!(answer, Ok(WriteAnswer::Written), "{text}");
    }
    let broken = Raw::stored("{\"job_type\": \"echo\" }  ");
    let answer = f.records.write_desired(&new.job_id, &broken, &desired(&new)).await;
    assert_eq!(answer, Ok(WriteAnswer::Written));
    assert_eq!(f.load(&new.job_id).await.job.desired(), Ok(new.desired));
}

pub async fn a_wiped_control_can_be_written_anew_and_the_attempts_are_still_there(f: &Fixture) {
    let (new, token, control) = f.claimed().await;
    f.tamper(&new.job_id, None, "control", None).await;
    let loaded = f.load(&new.job_id).await;
    assert_eq!((loaded.job.control, loaded.attempts.len()), (None, 1));
    let next = waiting();
    let answer =
        f.records.write_control(&new.job_id, write(Some(&control), &desired(&new), &next, false)).await;
    assert_eq!(answer, Ok(WriteAnswer::Conflict));
    let answer = f.records.write_control(&new.job_id, write(None, &desired(&new), &next, false)).await;
    assert_eq!(answer, Ok(WriteAnswer::Written));
    assert_eq!(f.load(&new.job_id).await.attempts[0].token, token);
}
