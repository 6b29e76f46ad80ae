//! Hints: what the scripts publish, and what the server tells of keys that no script spoke of.
//!
//! One connection per subscription, followed by a task until the subscriber is gone. Within one round of the
//! server's event loop the messages of the scripts come first and the names of the changed keys after them,
//! so a changed key of which no message spoke was changed by hand. (By hand and by a script within one
//! round, some 100 µs, looks like the script alone; the resync finds it.)

use super::link::Link;
use super::subscription::{Heard, Subscription};
use crate::hints::{ChannelHints, Hint, HintSender, HintsError, Interest};
use contract::JobId;
use redis::{PushInfo, PushKind, RedisError, Value};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// Between two tries to connect.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

const JOB: &str = "agent-runner:job:";
const ATTEMPT: &str = "agent-runner:attempt:";

/// An open subscription.
struct Session {
    subscription: Subscription,
    ear: Ear,
}

/// Subscribes; changes are heard from the return on.
pub(super) async fn subscribe(link: Arc<Link>, interest: Interest) -> Result<ChannelHints, HintsError> {
    let session = open(&link, interest).await.map_err(|e| HintsError::Unavailable(e.to_string()))?;
    let (sender, hints) = ChannelHints::new();
    tokio::spawn(follow(link, interest, session, sender));
    Ok(hints)
}

async fn open(link: &Link, interest: Interest) -> Result<Session, RedisError> {
    let mut subscription = Subscription::open(link).await?;
    let channel = |name: &str| format!("agent-runner:{name}@{}", link.db());
    // The messages first: a key must not be named before the message that speaks of it can come.
    subscription.listen_to(&channel("status")).await?;
    let mut ear = Ear { interest, tracked: false, spoken: HashSet::new() };
    if interest == Interest::Reconcile {
        subscription.listen_to(&channel("hints")).await?;
        let mut track = redis::cmd("CLIENT");
        track.arg("TRACKING").arg("ON").arg("BCAST").arg("PREFIX").arg(JOB).arg("PREFIX").arg(ATTEMPT);
        match subscription.query::<()>(&track).await {
            Err(e) if !e.is_io_error() => {
                tracing::warn!(error = %e, "the server does not tell of edits by hand; the resync finds them");
            }
            done => {
                done?;
                ear.tracked = true;
            }
        }
    }
    Ok(Session { subscription, ear })
}

/// Follows one session after the other, until the subscriber is gone.
async fn follow(link: Arc<Link>, interest: Interest, mut session: Session, sender: HintSender) {
    loop {
        listen(&mut session, &sender).await;
        if sender.is_closed() {
            return;
        }
        tracing::warn!("the feed of changes broke off");
        let mut pause = FIRST_PAUSE;
        session = loop {
            match open(&link, interest).await {
                Ok(session) => break session,
                Err(e) => tracing::debug!(error = %e, "the feed of changes cannot be opened"),
            }
            tokio::time::sleep(pause).await;
            if sender.is_closed() {
                return;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        };
        tracing::info!("the feed of changes is open again");
        sender.send(Hint::Resync);
    }
}

/// Passes hints on until the session breaks or the subscriber is gone.
async fn listen(session: &mut Session, sender: &HintSender) {
    while !sender.is_closed() {
        match session.subscription.next().await {
            Heard::Push(push) => session.ear.hear(&push, |hint| sender.send(hint)),
            Heard::Nothing => {}
            Heard::Broken => return,
        }
    }
}

/// Makes hints of pushes.
struct Ear {
    interest: Interest,
    /// Whether the server names changed keys; where it does not, nothing would ever be taken from `spoken`.
    tracked: bool,
    /// Keys of which a message spoke and that the server has not named yet.
    spoken: HashSet<String>,
}

impl Ear {
    fn hear(&mut self, push: &PushInfo, mut hint: impl FnMut(Hint)) {
        match push.kind {
            PushKind::Message => {
                if let Some(Value::BulkString(message)) = push.data.get(1) {
                    self.message(&String::from_utf8_lossy(message), hint);
                }
            }
            PushKind::Invalidate => match push.data.first() {
                Some(Value::Array(keys)) => {
                    for key in keys {
                        if let Value::BulkString(key) = key {
                            self.changed(&String::from_utf8_lossy(key), &mut hint);
                        }
                    }
                }
                // Everything was deleted.
                _ => hint(Hint::Resync),
            },
            _ => {}
        }
    }

    /// `<kind> <job id> <tokens…>`. d: `desired` was written; c: `control`, and with a token an attempt; x:
    /// the job was deleted with its attempts; s: the attempt has started; g: its gate moved otherwise; r:
    /// something else of the attempt was written.
    fn message(&mut self, message: &str, mut hint: impl FnMut(Hint)) {
        let mut words = message.split(' ');
        let (Some(kind), Some(id)) = (words.next(), words.next()) else { return };
        let wanted = match self.interest {
            Interest::Reconcile => matches!(kind, "d" | "s" | "g" | "x"),
            Interest::Status => matches!(kind, "c" | "x"),
        };
        if self.tracked {
            if matches!(kind, "d" | "c" | "x") {
                self.spoken.insert(format!("{JOB}{id}"));
            }
            let tokens = words.filter(|token| !token.is_empty());
            self.spoken.extend(tokens.map(|token| format!("{ATTEMPT}{id}:{token}")));
        }
        if wanted && let Ok(job_id) = JobId::new(id) {
            hint(if kind == "s" { Hint::Unhurried(job_id) } else { Hint::Job(job_id) });
        }
    }

    fn changed(&mut self, key: &str, mut hint: impl FnMut(Hint)) {
        if self.spoken.remove(key) {
            return;
        }
        let id = key
            .strip_prefix(JOB)
            .or_else(|| key.strip_prefix(ATTEMPT).and_then(|rest| rest.split(':').next()))
            .and_then(|id| JobId::new(id).ok());
        if let Some(job_id) = id {
            hint(Hint::Job(job_id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(ear: &mut Ear, message: &str) -> Vec<Hint> {
        let mut hints = Vec::new();
        ear.message(message, |hint| hints.push(hint));
        hints
    }

    fn named(ear: &mut Ear, keys: &[&str]) -> Vec<Hint> {
        let keys = keys.iter().map(|key| Value::BulkString(key.as_bytes().to_vec())).collect();
        let push = PushInfo { kind: PushKind::Invalidate, data: vec![Value::Array(keys)] };
        let mut hints = Vec::new();
        ear.hear(&push, |hint| hints.push(hint));
        hints
    }

    #[test]
    fn a_changed_key_of_which_no_script_spoke_was_changed_by_hand() {
        let mut ear = Ear { interest: Interest::Reconcile, tracked: true, spoken: HashSet::new() };
        let hint = vec![Hint::Job(JobId::new("a").unwrap())];
        assert_eq!(said(&mut ear, "d a"), hint);
        assert_eq!(named(&mut ear, &["agent-runner:job:a"]), []);
        assert_eq!(named(&mut ear, &["agent-runner:job:a"]), hint);
        assert_eq!(said(&mut ear, "r a t"), []);
        assert_eq!(named(&mut ear, &["agent-runner:attempt:a:t"]), []);
        assert_eq!(named(&mut ear, &["agent-runner:attempt:a:t"]), hint);
        assert_eq!(said(&mut ear, "s a t"), [Hint::Unhurried(JobId::new("a").unwrap())]);
        assert_eq!(named(&mut ear, &["agent-runner:attempt:a:t"]), []);
        assert_eq!(said(&mut ear, "c a t"), []);
        assert_eq!(named(&mut ear, &["agent-runner:attempt:a:t", "agent-runner:job:a"]), []);
        assert_eq!(said(&mut ear, "x a t u"), hint);
        let gone = ["agent-runner:attempt:a:t", "agent-runner:attempt:a:u", "agent-runner:job:a"];
        assert_eq!(named(&mut ear, &gone), []);
        assert!(ear.spoken.is_empty());
    }

    #[test]
    fn a_subscriber_to_statuses_hears_of_control_and_deletions_only() {
        let mut ear = Ear { interest: Interest::Status, tracked: false, spoken: HashSet::new() };
        let heard: Vec<usize> = ["d a", "s a t", "g a t", "r a t", "c a", "x a "]
            .iter()
            .map(|m| said(&mut ear, m).len())
            .collect();
        assert_eq!(heard, [0, 0, 0, 0, 1, 1]);
        assert!(ear.spoken.is_empty());
    }

    #[test]
    fn where_the_server_names_no_keys_none_are_remembered() {
        let mut ear = Ear { interest: Interest::Reconcile, tracked: false, spoken: HashSet::new() };
        assert_eq!(said(&mut ear, "d a"), [Hint::Job(JobId::new("a").unwrap())]);
        assert!(ear.spoken.is_empty());
    }

    #[test]
    fn a_flushed_database_is_a_reason_to_compare_everything() {
        let mut ear = Ear { interest: Interest::Reconcile, tracked: true, spoken: HashSet::new() };
        let mut hints = Vec::new();
        ear.hear(&PushInfo { kind: PushKind::Invalidate, data: vec![Value::Nil] }, |h| hints.push(h));
        assert_eq!(hints, [Hint::Resync]);
    }
}
