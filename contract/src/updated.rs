//! Who changed `desired` last, and why. The API writes it with each of its changes, for people; nothing decides on it.
//!
//! It stands inside `desired`, so that one write changes both. Somebody who edits a record with a client of the store
//! leaves it as it is, and that is how such an edit shows: `digest` does not fit the rest any more.

use crate::decode::Fields;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// The last change by the API.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Updated {
    /// Who asked for it.
    pub by: String,
    /// When the API was asked.
    pub at: Timestamp,
    /// Why, in their words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Of the rest of `desired`; see `api`. It tells edits apart and proves nothing.
    pub digest: String,
}

/// The longest cause in characters.
pub const CAUSE_LIMIT: usize = 256;
/// What people may try to set: the member of `desired`, and the names under which a job shows what it holds.
pub const NAMES: [&str; 4] = ["updated", "updated_by", "updated_at", "change_cause"];
/// What they are told.
pub const REFUSED: &str = "only the API writes it; say why with ?change_cause=TEXT";

/// Whether `cause` can be kept.
///
/// # Errors
/// What is allowed.
pub fn check_cause(cause: &str) -> Result<(), String> {
    let length = cause.chars().count();
    if (1..=CAUSE_LIMIT).contains(&length) && !cause.chars().any(char::is_control) {
        Ok(())
    } else {
        Err(format!("1 to {CAUSE_LIMIT} characters, none of them a control character"))
    }
}

/// Reads what a store holds. What is not as the API writes it counts as absent: a record is not invalid for it.
pub(crate) fn stored(f: &mut Fields<'_>) -> Option<Updated> {
    f.unlisted("updated").and_then(|text| serde_json::from_str(text.as_str()).ok())
}

/// Refuses what a request cannot hold.
pub(crate) fn refused(f: &mut Fields<'_>) {
    for name in NAMES {
        if let Some(text) = f.unlisted(name) {
            f.error(name, text.as_str(), REFUSED);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::Desired;

    #[test]
    fn it_survives_being_stored_and_makes_no_record_invalid() {
        let text = r#"{"job_type":"echo","updated":{"by":"ada","at":"2026-11-22T10:05:12.975Z","cause":"why","digest":"0123456789abcdef"}}"#;
        let desired = Desired::parse(text).unwrap();
        assert_eq!(
            desired.updated.as_ref().map(|u| (u.by.as_str(), u.cause.as_deref())),
            Some(("ada", Some("why")))
        );
        assert_eq!(Desired::parse(&desired.to_text()).unwrap(), desired);
        for strange in ["7", "\"ada\"", "{}", "null", r#"{"by":1}"#] {
            let text = format!(r#"{{"job_type":"echo","updated":{strange}}}"#);
            assert_eq!(Desired::parse(&text).unwrap(), Desired::new("echo"), "{strange}");
        }
    }

    #[test]
    fn a_request_that_holds_it_is_told_who_writes_it() {
        let text = r#"{"job_type":"echo","updated":{},"updated_by":"ada","updated_at":1,"change_cause":"x"}"#;
        let (_, errors) = Desired::parse_request(text);
        let pointers: Vec<&str> = errors.iter().map(|e| e.pointer.as_str()).collect();
        assert_eq!(pointers, ["/updated", "/updated_by", "/updated_at", "/change_cause"]);
        assert!(errors.iter().all(|e| e.message == REFUSED), "{errors:?}");
    }

    #[test]
    fn a_cause_is_short_and_is_one_line() {
        assert!(check_cause("the input was wrong: 3 ≠ 4").is_ok());
        assert!(check_cause(&"ä".repeat(CAUSE_LIMIT)).is_ok());
        for bad in ["", "a\nb", "\u{1b}[31m", "\u{85}", &"x".repeat(CAUSE_LIMIT + 1)] {
            assert!(check_cause(bad).is_err(), "{bad:?}");
        }
    }
}
