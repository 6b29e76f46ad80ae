//! One file per resource. Each function is a route; its `utoipa::path` is the documentation, and a test
//! compares both with what the router answers.

pub(crate) mod artifacts;
pub(crate) mod attempts;
pub(crate) mod batch;
pub(crate) mod create;
pub(crate) mod download;
pub(crate) mod events;
pub(crate) mod explain;
pub(crate) mod health;
pub(crate) mod job;
pub(crate) mod list;
mod live;
pub(crate) mod logs;
pub(crate) mod patch;
mod position;
pub(crate) mod result;
pub(crate) mod verbs;
