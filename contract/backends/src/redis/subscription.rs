//! A connection on which the server speaks unasked.
//!
//! Who only listens does not notice that a connection is dead when nobody says so: a cable was pulled, a firewall
//! has forgotten it. So the server is asked whether it is still there whenever nothing was heard for a while.

use super::link::Link;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, FromRedisValue, PushInfo, PushKind, RedisError};
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// When nothing was heard for this long, the server is asked whether it is still there.
const QUIET: Duration = Duration::from_secs(5);

/// What was heard.
pub(super) enum Heard {
    /// The server said something.
    Push(PushInfo),
    /// Nothing for a while; the server is there.
    Nothing,
    /// The connection broke, and something may have been missed.
    Broken,
}

/// A connection of its own, and what the server said on it.
pub(super) struct Subscription {
    connection: MultiplexedConnection,
    pushes: UnboundedReceiver<PushInfo>,
}

impl Subscription {
    /// Opens one that listens to nothing yet.
    pub(super) async fn open(link: &Link) -> Result<Self, RedisError> {
        let (to, pushes) = unbounded_channel();
        let connection = link.connect(move |push| to.send(push).map_err(|_| ())).await?;
        Ok(Self { connection, pushes })
    }

    /// Listens to a channel from the return on.
    pub(super) async fn listen_to(&mut self, channel: &str) -> Result<(), RedisError> {
        self.connection.subscribe(channel).await
    }

    /// Sends a command over this connection.
    pub(super) async fn query<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, RedisError> {
        command.query_async(&mut self.connection).await
    }

    /// What the server says next. A wait that is given up loses nothing.
    pub(super) async fn next(&mut self) -> Heard {
        match tokio::time::timeout(QUIET, self.pushes.recv()).await {
            Ok(Some(push)) if push.kind != PushKind::Disconnection => Heard::Push(push),
            Ok(_) => Heard::Broken,
            Err(_) if self.query::<()>(&redis::cmd("PING")).await.is_ok() => Heard::Nothing,
            Err(_) => Heard::Broken,
        }
    }
}
