//! What the API says when it refuses.

use serde::Deserialize;
use std::fmt::Write;

/// RFC 9457, as the API writes it.
#[derive(Debug, Deserialize)]
pub(crate) struct Problem {
    #[serde(default)]
    r#type: String,
    #[serde(default)]
    title: String,
    pub(crate) status: u16,
    #[serde(default)]
    pub(crate) detail: String,
    #[serde(default)]
    pub(crate) errors: Vec<contract::FieldError>,
}

impl Problem {
    /// The stable token of the problem type.
    pub(crate) fn token(&self) -> &str {
        self.r#type.rsplit(':').next().unwrap_or_default()
    }

    /// Whether the server has no such path or method: it is older than this client.
    pub(crate) fn is_unknown_path(&self) -> bool {
        matches!(self.token(), "path-not-found" | "method-not-allowed")
    }

    /// Whether the server does not know this query parameter, or not this value of it.
    pub(crate) fn refuses_parameter(&self, name: &str) -> bool {
        self.token() == "invalid-query"
            && self.errors.iter().any(|e| e.pointer.trim_start_matches('?') == name)
    }

    /// What happened and why, without what to type.
    pub(crate) fn what(&self) -> String {
        let mut text = if self.detail.is_empty() { self.title.clone() } else { self.detail.clone() };
        // A single error is in the detail already.
        if self.errors.len() > 1 {
            for error in &self.errors {
                // Writing to a string cannot fail.
                let _ = write!(text, "\n  {error}");
            }
        }
        text
    }

    /// What happened, why, and what to type next.
    pub(crate) fn text(&self) -> String {
        let next = match (self.token(), self.status) {
            (_, 401) => {
                "set AGENT_RUNNER_TOKEN or give --token-file with a token that this API knows; \
                 `agent-runner doctor` checks it"
            }
            (_, 403) => "ask the operator for a token with this scope (read, submit or operate)",
            ("job-not-found", _) => "`agent-runner get` lists the jobs",
            // Nothing passes here: the operator has to act, and the detail says how.
            ("store-unavailable", _) if self.detail.contains("read-only") => return self.what(),
            ("busy" | "store-unavailable" | "artifacts-unavailable", _) => "try again in a moment",
            ("store-uncertain" | "timeout", _) => "look with `agent-runner get` before you repeat it",
            ("path-not-found" | "method-not-allowed", _) => {
                "the server may be older than this client: `agent-runner doctor` compares the versions"
            }
            _ => return self.what(),
        };
        format!("{}\n{next}", self.what())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_by_itself_is_to_be_tried_again_and_a_read_only_database_is_not() {
        let said = |detail: &str| {
            let text = format!(
                r#"{{"type":"urn:agent-runner:problem:store-unavailable","status":503,"detail":"{detail}"}}"#
            );
            serde_json::from_str::<Problem>(&text).unwrap().text()
        };
        assert!(said("the record store is not available: full").ends_with("\ntry again in a moment"));
        let read_only =
            "the record store is not available: the database is read-only (…); this process needs …";
        assert_eq!(said(read_only), read_only);
    }
}
