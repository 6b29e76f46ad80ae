//! The real worker program with real agents, a SQLite file and a folder of artifacts.

#![cfg(feature = "sqlite")]

mod agent;
mod examples;
mod shipping;
mod stop;
mod support;
