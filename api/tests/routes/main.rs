//! The API as its clients see it, in process: the router over SQLite in a temporary folder.

mod access;
mod agreement;
mod authors;
mod batch;
mod broken;
mod create;
mod downloads;
mod edge;
mod edits;
mod explained;
mod list;
mod live;
mod outputs;
mod polls;
mod reference;
mod rig;
mod serving;
