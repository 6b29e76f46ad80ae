//! A worker's side of the pool. Each [`Member`] is one blocking connection; a worker has several, because one
//! that waits can say nothing else.

use super::PoolError;
use super::scripts::Scripts;
use crate::redis::link::{ANSWER, CONNECT};
use contract::{JobId, LaunchToken};
use redis::{Client, Connection, RedisResult, Script, ScriptInvocation};
use std::time::Duration;

/// One connection of a worker. After an error the next call connects again.
pub struct Member {
    client: Client,
    scripts: Scripts,
    worker: String,
    connection: Option<Connection>,
}

/// An assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assigned {
    /// Of which attempt.
    pub token: LaunchToken,
    /// Of which job.
    pub job_id: JobId,
    /// Whether the worker's own process may execute it.
    pub inside: bool,
    /// Between SIGTERM and SIGKILL.
    pub grace: Duration,
}

/// The answer to a slot that asks for work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// To be executed by this slot and by nobody else.
    Assigned(Assigned),
    /// None waits, or the worker drains.
    Nothing,
    /// The worker was struck off: others may execute by now what it had.
    StruckOff,
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done<'a> {
    /// Exit code of what executed it.
    pub code: Option<i32>,
    /// Signal that ended it.
    pub signal: Option<i32>,
    /// A word.
    pub stop_code: &'a str,
    /// In words.
    pub reason: &'a str,
}

/// A task to be stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StopOrder {
    /// Which.
    pub token: LaunchToken,
    /// Between SIGTERM and SIGKILL.
    pub grace: Duration,
}

impl Member {
    /// Names the server and the worker; connecting is left to the first call.
    ///
    /// # Errors
    /// [`PoolError::Url`].
    pub fn new(url: &str, worker: &str) -> Result<Self, PoolError> {
        let client = Client::open(url).map_err(|e| PoolError::Url(e.to_string()))?;
        let db = client.get_connection_info().redis_settings().db();
        Ok(Self { client, scripts: Scripts::of(db), worker: worker.to_owned(), connection: None })
    }

    /// Makes a call with `patience` for its answer, over a new connection if the last one broke.
    fn with<T>(
        &mut self,
        patience: Duration,
        call: impl FnOnce(&mut Connection, &Scripts, &str) -> RedisResult<T>,
    ) -> Result<T, PoolError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.client.get_connection_with_timeout(CONNECT)?,
        };
        connection.set_read_timeout(Some(patience))?;
        connection.set_write_timeout(Some(patience))?;
        let answer = call(&mut connection, &self.scripts, &self.worker)?;
        // Kept only after an answer: one that comes too late must not be taken for the next one's.
        self.connection = Some(connection);
        Ok(answer)
    }

    fn script<T: redis::FromRedisValue>(
        &mut self,
        patience: Duration,
        choose: impl FnOnce(&Scripts) -> &Script,
        args: impl FnOnce(&mut ScriptInvocation<'_>),
    ) -> Result<T, PoolError> {
        self.with(patience, |connection, scripts, worker| {
            let mut call = choose(scripts).arg(worker);
            args(&mut call);
            call.invoke(connection)
        })
    }

    /// Registers the worker. `predecessor`: another worker that, with all it ran, was seen ended.
    ///
    /// # Errors
    /// [`PoolError`].
    pub fn register(
        &mut self,
        slots: u32,
        lease: Duration,
        host: &str,
        beat: u64,
        predecessor: &str,
    ) -> Result<(), PoolError> {
        let lease = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX);
        self.script(
            ANSWER,
            |s| &s.register,
            |call| {
                call.arg(slots).arg(lease).arg(host).arg(beat).arg(predecessor);
            },
        )
    }

    /// Says that the worker is alive; what it is to stop. `None`: it was struck off.
    ///
    /// # Errors
    /// [`PoolError`].
    pub fn beat(&mut self, beat: u64, patience: Duration) -> Result<Option<Vec<StopOrder>>, PoolError> {
        let answer: Vec<String> = self.script(
            patience.min(ANSWER),
            |s| &s.beat,
            |call| {
                call.arg(beat);
            },
        )?;
        let Some(("1", orders)) = answer.split_first().map(|(first, rest)| (first.as_str(), rest)) else {
            return Ok(None);
        };
        Ok(Some(orders.chunks_exact(2).filter_map(|pair| order(&pair[0], &pair[1])).collect()))
    }

    /// Takes what waits longest. A slot that has an assignment already gets that one again.
    ///
    /// # Errors
    /// [`PoolError`].
    pub fn take(&mut self, slot: u32) -> Result<Taken, PoolError> {
        let answer: Vec<String> = self.script(
            ANSWER,
            |s| &s.take,
            |call| {
                call.arg(slot);
            },
        )?;
        taken(&answer)
    }

    /// Says how a task ended, and takes the next one.
    ///
    /// # Errors
    /// [`PoolError`].
    pub fn done(&mut self, slot: u32, token: &LaunchToken, done: &Done<'_>) -> Result<Taken, PoolError> {
        let number = |n: Option<i32>| n.map(|n| n.to_string()).unwrap_or_default();
        let answer: Vec<String> = self.script(
            ANSWER,
            |s| &s.done,
            |call| {
                call.arg(slot).arg(token.as_str()).arg(number(done.code)).arg(number(done.signal));
                call.arg(done.stop_code).arg(done.reason);
            },
        )?;
        taken(&answer)
    }

    /// Gives back what was taken and never started.
    ///
    /// # Errors
    /// [`PoolError`].
    pub fn hand_back(&mut self, slot: u32, token: &LaunchToken) -> Result<(), PoolError> {
        self.script(
            ANSWER,
            |s| &s.hand_back,
            |call| {
                call.arg(slot).arg(token.as_str());
            },
        )
    }

    /// From here on nothing is handed to the worker.
    ///
    /// # Errors
    /// [`PoolError`].
    pub fn drain(&mut self) -> Result<(), PoolError> {
        self.script(ANSWER, |s| &s.drain, |_| {})
    }

    /// Whether the worker offers no slots although it is up: nothing is handed to it then.
    ///
    /// # Errors
    /// [`PoolError`].
    pub fn withdraw(&mut self, withdrawn: bool) -> Result<(), PoolError> {
        self.script(
            ANSWER,
            |s| &s.withdraw,
            |call| {
                call.arg(u8::from(withdrawn));
            },
        )
    }

    /// Leaves the pool. `false`: a slot still has an assignment.
    ///
    /// # Errors
    /// [`PoolError`].
    pub fn leave(&mut self) -> Result<bool, PoolError> {
        self.script(ANSWER, |s| &s.leave, |_| {})
    }

    /// Waits until an assignment may wait, or for `at_most`, in whole milliseconds.
    ///
    /// # Errors
    /// [`PoolError`].
    pub fn wait_for_work(&mut self, at_most: Duration) -> Result<(), PoolError> {
        self.pop("agent-runner:pool:wake", at_most).map(|_| ())
    }

    /// Waits for an order, or for `at_most`.
    ///
    /// # Errors
    /// [`PoolError`].
    pub fn wait_for_order(&mut self, at_most: Duration) -> Result<Option<StopOrder>, PoolError> {
        let popped = self.pop(&format!("agent-runner:pool:orders:{}", self.worker), at_most)?;
        Ok(popped.and_then(|text| text.split_once(' ').and_then(|(token, grace)| order(token, grace))))
    }

    fn pop(&mut self, key: &str, at_most: Duration) -> Result<Option<String>, PoolError> {
        let popped: Option<(String, String)> = self.with(at_most + ANSWER, |connection, _, _| {
            redis::cmd("BLPOP").arg(key).arg(at_most.as_secs_f64()).query(connection)
        })?;
        Ok(popped.map(|(_, text)| text))
    }
}

fn order(token: &str, grace: &str) -> Option<StopOrder> {
    Some(StopOrder { token: LaunchToken::new(token).ok()?, grace: millis(grace) })
}

/// A grace that is no number is none: whoever asks wants the task gone.
fn millis(text: &str) -> Duration {
    Duration::from_millis(text.parse().unwrap_or(0))
}

fn taken(answer: &[String]) -> Result<Taken, PoolError> {
    let words: Vec<&str> = answer.iter().map(String::as_str).collect();
    match words[..] {
        ["-1"] => Ok(Taken::StruckOff),
        ["0"] => Ok(Taken::Nothing),
        ["1", token, job_id, inside, grace] => {
            let broken = |e: &dyn std::fmt::Display| PoolError::Unavailable(format!("an assignment: {e}"));
            Ok(Taken::Assigned(Assigned {
                token: LaunchToken::new(token).map_err(|e| broken(&e))?,
                job_id: JobId::new(job_id).map_err(|e| broken(&e))?,
                inside: inside == "1",
                grace: millis(grace),
            }))
        }
        _ => Err(PoolError::Unavailable(format!("an answer of {} words", words.len()))),
    }
}
