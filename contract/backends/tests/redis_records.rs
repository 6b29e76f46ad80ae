//! `RedisRecords` against the conformance suite, on a server of its own per check.

#![cfg(all(feature = "conformance", feature = "redis"))]

mod redis_support;

use backends::RedisRecords;
use backends::conformance::records::{Fixture, Tamper};
use redis_support::{RedisServer, block_on};
use std::sync::Arc;

fn open(how: fn(&str) -> Arc<RedisRecords>) -> Fixture {
    let server = Arc::new(RedisServer::start_or_end());
    let vandal = server.clone();
    Fixture {
        records: how(&server.url()),
        tamper: Box::new(move |edit| {
            tamper(&vandal, &edit);
            Box::pin(std::future::ready(()))
        }),
        block_on: |future| block_on(future),
        guard: Box::new(server),
    }
}

fn tamper(server: &RedisServer, edit: &Tamper) {
    let Tamper { job_id, token, section, text } = edit;
    let key = match token {
        None => format!("agent-runner:job:{job_id}"),
        Some(token) => format!("agent-runner:attempt:{job_id}:{token}"),
    };
    match text {
        Some(text) => server.cli(&["HSET", &key, section, text]),
        None => server.cli(&["HDEL", &key, section]),
    };
}

mod orchestrator {
    use super::{RedisRecords, block_on, open};
    backends::records_conformance!(|| open(|url| block_on(RedisRecords::open(url)).unwrap()));
}

mod worker {
    use super::{RedisRecords, open};
    backends::records_conformance!(|| open(|url| RedisRecords::lazy(url).unwrap()));
}
