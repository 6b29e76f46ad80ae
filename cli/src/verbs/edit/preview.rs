//! What the API answers to a change that is only asked about.

use crate::output::{self, wrapped};
use crate::tree::Tree;
use serde::Deserialize;

/// The answer to `PATCH …?dry_run=true`.
#[derive(Debug, Deserialize)]
pub(in crate::verbs) struct Preview {
    /// Of `desired` as it is.
    pub(super) etag: String,
    /// As it would be stored.
    pub(super) desired: Tree,
    #[serde(default)]
    changes: Vec<Tree>,
    #[serde(default)]
    decision: Option<Decision>,
}

/// What the reconciler would do first.
#[derive(Debug, Deserialize)]
struct Decision {
    #[serde(default)]
    kind: String,
    effect: Option<String>,
    why: Option<String>,
    status: Option<String>,
    reason: Option<String>,
    message: Option<String>,
    until: Option<String>,
}

impl Preview {
    /// Whether anything would be different.
    pub(super) fn changes_something(&self) -> bool {
        !self.changes.is_empty()
    }

    /// Each change, and what would come of it.
    pub(in crate::verbs) fn text(&self) -> String {
        let mut out = String::new();
        for change in &self.changes {
            let of =
                |name: &str| change.get(name).map_or("(default)".to_owned(), |v| output::one_line(&v.json()));
            let pointer = change.get("pointer").map_or(String::new(), Tree::short);
            out.push_str(&format!("  {}: {} -> {}\n", output::one_line(&pointer), of("before"), of("after")));
        }
        if self.changes.is_empty() {
            out.push_str("  nothing\n");
        }
        out.push_str(&self.decision());
        out
    }

    /// What the reconciler would do first, on a line.
    pub(super) fn decision(&self) -> String {
        let Some(decision) = &self.decision else { return String::new() };
        let text = decision.text();
        format!("The reconciler would {}\n", wrapped(&text, 2, output::WIDTH))
    }
}

impl Decision {
    fn text(&self) -> String {
        let why = self.why.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
        let reason = self.reason.as_ref().map(|r| format!(" {r}")).unwrap_or_default();
        match self.kind.as_str() {
            "do" => format!("{}{why}", self.effect.as_deref().unwrap_or("act")),
            "write" => {
                let status = self.status.as_deref().unwrap_or("its notes");
                let message = self.message.as_ref().filter(|m| !m.is_empty());
                let message = message.map(|m| format!(": {m}")).unwrap_or_default();
                format!("write {status}{reason}{message}{why}")
            }
            _ => {
                let until = self.until.as_ref().map(|at| format!(" until {at}")).unwrap_or_default();
                format!("wait:{}{until}", if reason.is_empty() { " nothing to do" } else { &reason })
            }
        }
    }
}
