//! Reading items that anybody may have written, for tests.

use super::client::Item;
use super::read::{attempt_of, job_of};
use super::section::{Section, attribute, text};
use contract::{Attempt, Job, JobId, Raw};

/// The job that an item is read as, and the attempt, if it has a token.
///
/// # Panics
/// When a section has another value after it was stored again, or its text does not come to rest.
#[must_use]
pub fn read_item(job_id: &JobId, item: &Item) -> (Job, Option<Attempt>) {
    let (job, attempt) = (job_of(job_id.clone(), item), attempt_of(job_id, item));
    stays(Some(&job.created));
    stays(Some(&job.desired));
    stays(job.control.as_ref());
    stays(job.status.as_ref());
    if let Some(attempt) = &attempt {
        stays(Some(&attempt.claim));
        stays(attempt.gate.as_ref());
        stays(attempt.report.as_ref());
        stays(attempt.closing.as_ref());
    }
    (job, attempt)
}

/// A text by hand may be spelled otherwise once it was stored as a map, and then never again.
fn stays<T: Section>(section: Option<&Raw<T>>) {
    let Some(section) = section else { return };
    let again: Raw<T> = text(&attribute::<T>(section.text()));
    assert_eq!(T::own_text(again.text()), T::own_text(section.text()), "another value of {}", section.text());
    let rest: Raw<T> = text(&attribute::<T>(again.text()));
    assert_eq!(rest.text(), again.text(), "the text does not come to rest");
}
