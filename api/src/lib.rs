//! The HTTP API: it writes desired records and reads everything.
//!
//! It never launches and never decides: a request is answered when the wish is stored, and the reconciler
//! does the rest. It writes the sections `created` and `desired` only ([`backends::ApiRecords`] has no other
//! writes).
//!
//! [`router`] makes an `axum::Router` of an [`App`]; `routes/` holds one file per resource; [`Problem`] is
//! every error there is; [`Access`] says who may ask; the private modules are the middleware (`edge`), long polls ([`Changes`]), the
//! compare-and-set loop of every edit (`edit`) and how a job is shown (`view`).
//!
//! Answers are compact JSON ending with a newline; `?pretty` indents them. Launch tokens are never shown
//! whole: whoever knows one may report on its attempt.

mod access;
mod answer;
mod author;
mod body;
mod changes;
mod conditions;
mod decision;
mod edge;
mod edit;
mod layout;
mod merge;
mod metrics;
mod openapi;
mod problem;
mod query;
mod router;
mod routes;
mod schema;
mod serve;
mod view;

pub use access::{Access, Scope, TokensError, check_tokens};
pub use changes::{Changes, MOST_WAITERS};
pub use edge::Limits;
pub use metrics::Metrics;
pub use openapi::document;
pub use problem::Problem;
pub use router::{paths, router};
pub use serve::serve;

use backends::records::ApiRecords;
use backends::{Artifacts, Clock, Lease};
use contract::{JobTypes, Supports};
use std::sync::Arc;

/// What the API works with.
pub struct App {
    /// The records, with the API's writes.
    pub records: ApiRecords,
    /// Results, logs and files.
    pub artifacts: Arc<dyn Artifacts>,
    /// Which job types may be asked for.
    pub job_types: Arc<JobTypes>,
    /// What the task runtime can honour.
    pub supports: Supports,
    /// Asked for who reconciles; never taken here.
    pub lease: Arc<dyn Lease>,
    /// Wall-clock time for `created.at`.
    pub clock: Arc<dyn Clock>,
    /// The record store as it is configured (`sqlite:data/agent-runner.db`), shown by `/health`. Must hold
    /// no password.
    pub store: String,
    /// What is counted here.
    pub metrics: Metrics,
    /// What `/metrics` shows: the registry of `metrics`, and others of the same process.
    pub registries: Vec<prometheus::Registry>,
    /// Wakes long polls.
    pub changes: Arc<Changes>,
    /// Who may ask for what.
    pub access: Access,
    /// Bounds on requests.
    pub limits: Limits,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App")
            .field("store", &self.store)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// The state behind every route.
pub(crate) struct Shared {
    pub(crate) app: App,
    /// Requests that may be answered at once.
    pub(crate) requests: tokio::sync::Semaphore,
}

impl Shared {
    /// Whoever asks for a change now.
    pub(crate) fn author(&self, access::Actor(by): access::Actor, cause: Option<String>) -> author::Author {
        author::Author { by, at: self.app.clock.now(), cause }
    }
}
