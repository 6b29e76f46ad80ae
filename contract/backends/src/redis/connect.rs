//! How every Redis client of this project is configured.

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, RedisResult};
use std::time::Duration;

/// Connecting. A server that takes longer is away, and whoever waits tries again.
pub(crate) const CONNECT: Duration = Duration::from_secs(2);
/// One command. A server that saves in the foreground or runs a slow script pauses for less.
pub(crate) const RESPONSE: Duration = Duration::from_secs(5);
/// Between two tries to connect again: a server that restarts is back within a second.
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(1)];
/// Tries to connect before a command fails. Callers have patience of their own, and say what is wrong.
const TRIES: usize = 2;

/// Opens a connection that connects again by itself. A command whose connection broke fails, and is repeated
/// by nobody but the caller, who knows whether that is right.
///
/// # Errors
/// The URL is not usable. A server that is away is none: the first command says so.
pub(crate) fn open(url: &str) -> RedisResult<ConnectionManager> {
    let config = ConnectionManagerConfig::new()
        .set_connection_timeout(Some(CONNECT))
        .set_response_timeout(Some(RESPONSE))
        .set_min_delay(PAUSES[0])
        .set_max_delay(PAUSES[1])
        .set_number_of_retries(TRIES);
    ConnectionManager::new_lazy_with_config(Client::open(url)?, config)
}
