//! A pool with a real Redis, real workers and the reconciler's side of it.

mod cable;
mod conformance;
mod cut_off;
mod drain;
mod full;
mod member;
mod redis_server;
mod silence;
mod work;
mod world;
