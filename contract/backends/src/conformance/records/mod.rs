//! What every store of records must do. [`records_conformance`](crate::records_conformance) turns each
//! check into a test. Each check uses jobs of its own, so they may share one store.

mod attempts;
mod jobs;
mod listings;

pub use attempts::*;
pub use jobs::*;
pub use listings::*;

use super::fixtures;
use crate::records::{CreateAnswer, Loaded, NewJob, RecordsBackend, WriteAnswer};
use contract::{Attempt, Control, JobId, LaunchToken, Raw};
use std::pin::Pin;
use std::sync::Arc;

/// A section that a check breaks by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tamper {
    /// Of which job.
    pub job_id: JobId,
    /// Of which of its attempts; `None`: of the job.
    pub token: Option<LaunchToken>,
    /// `desired`, `control`, `status`, `claim`, `gate`, `report` or `closing`.
    pub section: &'static str,
    /// What to store, as it is; `None`: remove the section.
    pub text: Option<&'static str>,
}

/// Stores what no write of the port would store, past all defences of the store.
pub type TamperFn = Box<dyn Fn(Tamper) -> Pin<Box<dyn Future<Output = ()>>>>;

/// A store to be checked.
pub struct Fixture {
    /// The store.
    pub records: Arc<dyn RecordsBackend>,
    /// Breaks a record.
    pub tamper: TamperFn,
    /// Drives a future to its end on the calling thread.
    pub block_on: fn(Pin<Box<dyn Future<Output = ()> + '_>>),
    /// Dropped at the end: a temporary folder, a server.
    pub guard: Box<dyn std::any::Any>,
}

/// Makes one test of each check: `records_conformance!(fixture)`, where `fixture()` opens a
/// [`Fixture`](crate::conformance::records::Fixture).
#[macro_export]
macro_rules! records_conformance {
    ($fixture:expr) => {
        $crate::records_conformance!(@each $fixture,
            a_created_job_is_read_back_as_it_was_given
            a_creation_repeated_with_its_write_id_is_the_same_one_and_any_other_meets_it
            of_concurrent_creations_of_one_key_one_is_stored
            a_large_payload_survives_byte_by_byte
            desired_is_written_over_the_expected_text_only_and_a_repeat_counts_as_done
            who_changed_desired_and_why_is_kept_beside_an_edit_by_others
            of_concurrent_edits_of_one_text_one_is_stored
            control_is_written_only_while_control_and_desired_are_as_seen
            control_is_written_by_who_has_seen_the_newest_attempt_only
            a_control_write_repeated_with_its_version_counts_as_done
            control_and_status_are_written_together
            the_active_mark_is_cleared_by_a_settled_control_and_set_by_an_edit
            a_job_is_deleted_with_its_attempts_while_it_is_as_seen
            writes_need_their_record_and_make_no_ghosts
            a_broken_desired_blocks_nothing_and_can_be_edited_away
            a_wiped_control_can_be_written_anew_and_the_attempts_are_still_there
            a_draft_is_stored_once_and_needs_its_job
            attempts_come_in_the_order_of_their_numbers
            a_claim_stores_the_attempt_and_the_control_that_names_it
            of_concurrent_claims_one_wins
            a_claim_is_refused_while_another_attempt_is_open
            a_claim_whose_number_was_used_is_refused
            the_gate_lets_exactly_one_task_pass
            a_started_gate_answers_its_own_task_again
            a_sealed_gate_lets_nobody_pass_and_keeps_who_started
            a_finished_gate_cannot_be_sealed
            start_and_seal_at_once_leave_one_winner
            reports_need_the_gate
            an_outcome_and_the_finished_gate_are_one_write
            an_attempt_is_closed_once
            an_end_and_the_control_that_follows_are_stored_together
            an_end_stands_although_the_control_that_follows_meets_a_conflict
            a_gate_that_cannot_be_decoded_refuses_everybody_with_its_text
            every_change_of_a_job_or_its_attempts_changes_its_revision
            a_listing_is_newest_first_and_its_pages_hold_every_job_once
            expired_jobs_are_listed_from_their_time_on
            broken_sections_never_fail_a_listing);
    };
    (@each $fixture:expr, $($check:ident)*) => {
        $(#[test]
        fn $check() {
            let fixture: $crate::conformance::records::Fixture = $fixture();
            (fixture.block_on)(Box::pin($crate::conformance::records::$check(&fixture)));
        })*
    };
}

impl Fixture {
    /// Stores a sample job.
    async fn job(&self) -> NewJob {
        let new = fixtures::new_job();
        assert_eq!(self.records.create(&new).await, Ok(CreateAnswer::Created));
        new
    }

    /// Stores a sample job with a claimed attempt.
    async fn claimed(&self) -> (NewJob, LaunchToken, Raw<Control>) {
        let new = self.job().await;
        let token = crate::clock::fresh_token();
        let control = fixtures::launching(1, &token);
        let seen = fixtures::desired(&new);
        let answer =
            self.records.claim(&new.job_id, &token, &fixtures::claim(1), None, &seen, &control).await;
        assert_eq!(answer, Ok(WriteAnswer::Written));
        (new, token, Raw::of(&control))
    }

    async fn load(&self, job_id: &JobId) -> Loaded {
        self.records.load(job_id).await.expect("an answer").expect("a job")
    }

    async fn attempt(&self, job_id: &JobId, token: &LaunchToken) -> Attempt {
        let loaded = self.load(job_id).await;
        loaded.attempts.into_iter().find(|attempt| attempt.token == *token).expect("an attempt")
    }

    async fn tamper(
        &self,
        job_id: &JobId,
        token: Option<&LaunchToken>,
        section: &'static str,
        text: Option<&'static str>,
    ) {
        (self.tamper)(Tamper { job_id: job_id.clone(), token: token.cloned(), section, text }).await;
    }
}
