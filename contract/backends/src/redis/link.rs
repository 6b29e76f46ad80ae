//! The connection: opened when it is first needed, shared by all calls, and opened anew after it broke.
//!
//! The client's own connection manager is not used, because it does not tell whether a command that failed
//! was sent: "could not connect" means that nothing was written, "no answer" that it may have been. Nor does it
//! connect again when answers stay away without a word, as behind a firewall that has forgotten the connection.

use super::scripts::Scripts;
use crate::records::RecordsError;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ConnectionInfo, ErrorKind, FromRedisValue, IntoConnectionInfo,
    ProtocolVersion, PushInfo, PushKind, RedisError, Script, ScriptInvocation,
};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long connecting may take. A server that takes longer is away, and whoever waits tries again.
pub(super) const CONNECT: Duration = Duration::from_secs(2);
/// How long an answer may take. A server that syncs each write to a busy disk can stand still for seconds.
pub(super) const ANSWER: Duration = Duration::from_secs(5);
/// After a failed try to connect, calls fail at once for this long instead of queuing up for further tries.
const COOL_DOWN: Duration = Duration::from_millis(50);
/// Commands under way before callers wait: as many as an API and a reconciler have in flight.
const IN_FLIGHT: usize = 1024;

/// A key that never exists.
const WRITTEN: &str = "agent-runner:nothing";

/// Why a call failed.
#[derive(Debug)]
pub(super) enum Fault {
    /// Nothing was sent.
    NotSent(String),
    /// It was sent, and no answer came.
    NoAnswer(String),
    /// The server's answer.
    Answered(RecordsError),
}

impl Fault {
    /// What it means for a write.
    pub(super) fn of_write(self) -> RecordsError {
        match self {
            Self::NotSent(text) => RecordsError::Unavailable(text),
            Self::NoAnswer(text) => RecordsError::Uncertain(text),
            Self::Answered(error) => error,
        }
    }

    /// What it means for a read.
    pub(super) fn of_read(self) -> RecordsError {
        match self {
            Self::NotSent(text) | Self::NoAnswer(text) => RecordsError::Unavailable(text),
            Self::Answered(error) => error,
        }
    }
}

/// A connection that is open as far as known.
#[derive(Clone)]
struct Open {
    connection: MultiplexedConnection,
    /// Set when the server closed it.
    dead: Arc<AtomicBool>,
}

#[derive(Default)]
struct Slot {
    open: Option<Open>,
    failed: Option<(Instant, String)>,
}

/// The way to the server, for all that one process does there.
pub(super) struct Link {
    client: Client,
    pub(super) scripts: Scripts,
    slot: Mutex<Slot>,
    connecting: tokio::sync::Mutex<()>,
    /// The server has said that it cannot write, and has not written since.
    refuses: AtomicBool,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

impl Link {
    /// To the server that `url` names; nothing is opened yet.
    pub(super) fn new(url: &str) -> Result<Arc<Self>, RecordsError> {
        if url.starts_with("rediss://") {
            return Err(RecordsError::Unusable(super::NO_TLS.to_owned()));
        }
        // The error of the parser may repeat the URL, and with it a password.
        let unusable = |e: RedisError| RecordsError::Unusable(e.category().to_owned());
        let info: ConnectionInfo = url.into_connection_info().map_err(unusable)?;
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let scripts = Scripts::of(settings.db());
        let client = Client::open(info.set_redis_settings(settings)).map_err(unusable)?;
        Ok(Arc::new(Self {
            client,
            scripts,
            slot: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
            refuses: AtomicBool::new(false),
        }))
    }

    /// The number of the database.
    pub(super) fn db(&self) -> i64 {
        self.client.get_connection_info().redis_settings().db()
    }

    /// A connection of its own whose pushes go to `pushes`.
    pub(super) async fn connect(
        &self,
        pushes: impl Fn(PushInfo) -> Result<(), ()> + Send + Sync + 'static,
    ) -> Result<MultiplexedConnection, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(ANSWER))
            .set_pipeline_buffer_size(IN_FLIGHT)
            .set_push_sender(pushes);
        self.client.get_multiplexed_async_connection_with_config(&config).await
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn current(&self) -> Option<Open> {
        self.slot().open.clone().filter(|open| !open.dead.load(Ordering::Acquire))
    }

    async fn open(&self) -> Result<Open, Fault> {
        if let Some(open) = self.current() {
            return Ok(open);
        }
        let _one_at_a_time = self.connecting.lock().await;
        if let Some(open) = self.current() {
            return Ok(open);
        }
        if let Some((at, why)) = &self.slot().failed
            && at.elapsed() < COOL_DOWN
        {
            return Err(Fault::NotSent(why.clone()));
        }
        let dead = Arc::new(AtomicBool::new(false));
        let flag = dead.clone();
        let opened = self
            .connect(move |push: PushInfo| {
                if push.kind == PushKind::Disconnection {
                    flag.store(true, Ordering::Release);
                }
                Ok(())
            })
            .await;
        match opened {
            Ok(connection) => {
                let open = Open { connection, dead };
                *self.slot() = Slot { open: Some(open.clone()), failed: None };
                Ok(open)
            }
            Err(e) => {
                let why = e.to_string();
                *self.slot() = Slot { open: None, failed: Some((Instant::now(), why.clone())) };
                Err(match fault(&e) {
                    // Refused credentials are the server's answer; whatever else happened, nothing was sent.
                    Fault::Answered(error @ RecordsError::Unusable(_)) => Fault::Answered(error),
                    _ => Fault::NotSent(why),
                })
            }
        }
    }

    /// Sends `command` and decodes the answer.
    pub(super) async fn query<T: FromRedisValue>(&self, command: &redis::Cmd) -> Result<T, Fault> {
        let mut open = self.open().await?;
        let answer = command.query_async(&mut open.connection).await;
        answer.map_err(|e| self.failed(&open, &e))
    }

    /// Calls a script with what `fill` adds to the call.
    pub(super) async fn call<T: FromRedisValue>(
        &self,
        script: impl Fn(&Scripts) -> &Script,
        arguments: &[&[u8]],
    ) -> Result<T, Fault> {
        let mut call: ScriptInvocation<'_> = script(&self.scripts).prepare_invoke();
        for argument in arguments {
            call.arg(*argument);
        }
        self.invoke(&call).await
    }

    /// Calls a script, of this module or another's.
    pub(super) async fn invoke<T: FromRedisValue>(&self, call: &ScriptInvocation<'_>) -> Result<T, Fault> {
        let mut open = self.open().await?;
        let answer = call.invoke_async(&mut open.connection).await;
        answer.map_err(|e| self.failed(&open, &e))
    }

    /// Whether the server writes, as far as it has said. Once it has refused it is asked for a write that changes
    /// nothing: nothing is put at the start of a text that is not there, so the key is not even made.
    pub(super) async fn writable(&self) -> Result<(), Fault> {
        if !self.refuses.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut nothing = redis::cmd("SETRANGE");
        nothing.arg(WRITTEN).arg(0).arg("");
        self.query::<i64>(&nothing).await?;
        self.refuses.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Gives the connection up if the error is one of the connection, or the server takes no writes because another
    /// has taken its place: a new connection may reach that one.
    fn failed(&self, open: &Open, error: &RedisError) -> Fault {
        let fault = fault(error);
        let replaced = error.code().is_some_and(|code| in_script(code, error.detail()) == "READONLY");
        if replaced || matches!(fault, Fault::NoAnswer(_)) {
            open.dead.store(true, Ordering::Release);
        }
        if matches!(fault, Fault::Answered(RecordsError::Unavailable(_))) {
            self.refuses.store(true, Ordering::Relaxed);
        }
        fault
    }
}

/// What an error means, once the command was sent.
fn fault(error: &RedisError) -> Fault {
    let text = error.to_string();
    match error.kind() {
        ErrorKind::Io | ErrorKind::Parse => Fault::NoAnswer(text),
        ErrorKind::AuthenticationFailed | ErrorKind::InvalidClientConfig | ErrorKind::RESP3NotSupported => {
            Fault::Answered(RecordsError::Unusable(text))
        }
        _ => match error.code() {
            Some(code) => Fault::Answered(answered(code, error.detail(), text)),
            None => Fault::Answered(RecordsError::Unusable(text)),
        },
    }
}

/// The server refuses for now; a script that it refused has written nothing, because it refuses the first
/// write or none.
const NOT_NOW: &[&str] = &["LOADING", "BUSY", "TRYAGAIN", "MASTERDOWN", "CLUSTERDOWN"];
/// The server cannot write.
const CANNOT: &[&str] = &["OOM", "READONLY", "MISCONF", "NOREPLICAS"];
/// Whoever runs the server has to act, or this program is not meant for it.
const NEVER: &[&str] = &["NOAUTH", "WRONGPASS", "NOPERM", "NOPROTO"];

/// The code of an error, also of one that a script's command met: servers before 7.0 wrap it, as in "ERR Error running
/// script (…): -OOM …".
fn in_script<'a>(code: &'a str, detail: Option<&'a str>) -> &'a str {
    let inner = detail.and_then(|d| d.split(" -").nth(1)).and_then(|d| d.split(' ').next());
    inner.filter(|_| code == "ERR").unwrap_or(code)
}

fn answered(code: &str, detail: Option<&str>, text: String) -> RecordsError {
    let inner = in_script(code, detail);
    let is = |codes: &[&str]| codes.contains(&inner);
    if is(NOT_NOW) {
        RecordsError::Busy(text)
    } else if is(CANNOT) || detail.is_some_and(|d| d.contains("max number of clients")) {
        RecordsError::Unavailable(text)
    } else if is(NEVER) || detail.is_some_and(|d| d.contains("unknown command")) {
        RecordsError::Unusable(text)
    } else {
        RecordsError::Refused(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::Retry;

    #[test]
    fn what_the_server_says_has_its_class() {
        for (code, detail, retry) in [
            ("LOADING", "Redis is loading the dataset in memory", Retry::Later),
            ("BUSY", "Redis is busy running a script", Retry::Later),
            ("OOM", "command not allowed when used memory > 'maxmemory'.", Retry::Later),
            ("READONLY", "You can't write against a read only replica.", Retry::Later),
            ("MISCONF", "Errors writing to the AOF file: No space left on device", Retry::Later),
            ("ERR", "Error running script (call to f_1): @user_script:1: -OOM command not", Retry::Later),
            ("ERR", "max number of clients reached", Retry::Later),
            ("NOPERM", "this user has no permissions to run the 'evalsha' command", Retry::Never),
            ("NOAUTH", "Authentication required.", Retry::Never),
            ("WRONGTYPE", "Operation against a key holding the wrong kind of value", Retry::Never),
            ("ERR", "value is not an integer or out of range", Retry::Never),
        ] {
            assert_eq!(answered(code, Some(detail), String::new()).retry(), retry, "{code} {detail}");
        }
    }

    #[test]
    fn what_was_not_sent_is_not_written_and_what_was_not_answered_may_be() {
        let lost = RedisError::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        assert_eq!(fault(&lost).of_write().retry(), Retry::Uncertain);
        assert_eq!(fault(&lost).of_read().retry(), Retry::Later);
        assert_eq!(Fault::NotSent(String::new()).of_write().retry(), Retry::Later);
    }

    #[test]
    fn a_url_that_cannot_be_used_is_not_repeated() {
        let error = Link::new("redis://me:secret@host:port/0").unwrap_err();
        assert_eq!(error.retry(), Retry::Never);
        assert!(!error.to_string().contains("secret"), "{error}");
        let error = Link::new("rediss://me:secret@host/0").unwrap_err().to_string();
        assert!(error.contains("TLS to Redis is not built in") && !error.contains("secret"), "{error}");
    }
}
