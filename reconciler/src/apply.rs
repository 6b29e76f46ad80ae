//! Carrying out effects. Each is idempotent, and each leaves what it learned either in the records or in the
//! facts, so that planning again sees it.

use crate::facts::Fact;
use crate::room::Became;
use crate::tasks::{Launch, LaunchAnswer};
use crate::work::{PassError, Work};
use backends::crash::{self, Act};
use backends::{
    ArtifactsError, Closed, Content, ControlWrite, GateAnswer, Loaded, Publication, Retry, WriteAnswer,
};
use contract::attempt::{INLINE_PAYLOAD, ManifestEntry, RefusalKind, Verdict};
use contract::desired::Capacity;
use contract::{
    Attempt, Claim, Closing, Control, Desired, JobId, JsonText, LaunchRequest, LaunchToken, LeaveReason,
    PayloadRef, Raw, TaskId,
};
use plan::{ClaimDraft, Decision, Effect, LaunchSaid, Published, Snapshot, TasksSeen};
use sha2::{Digest, Sha256};
use std::time::Duration;

/// Whether the pass can go on with what it has in hand.
pub(crate) enum Then {
    /// The snapshot is up to date with this effect.
    GoOn,
    /// What was loaded is up to date with this effect; the snapshot is not.
    LookAgain,
    /// Read again.
    Reload,
}

/// The first pause after a launch call without a clear answer; doubled each time, up to [`UNCLEAR_LONGEST`].
const UNCLEAR_FIRST: u64 = 1_000;
/// The longest such pause: well within the time in which the same token may be used again.
const UNCLEAR_LONGEST: u64 = 30_000;

/// Whether a claim was not made and has no better chance the next time.
fn is_for_good(error: &PassError) -> bool {
    match error {
        PassError::Records { error, .. } => error.retry() == Retry::Never,
        PassError::Artifacts(error) => !matches!(error, ArtifactsError::Unavailable { .. }),
        PassError::Lease(_) | PassError::Stop(_) | PassError::Deposed { .. } => false,
    }
}

impl Work {
    /// Carries out one effect.
    pub(crate) async fn apply(
        &self,
        loaded: &mut Loaded,
        snapshot: &mut Snapshot,
        effect: Effect,
        launched: &mut Option<LaunchToken>,
    ) -> Result<Then, PassError> {
        match effect {
            Effect::Claim { draft, control } => {
                let claimed = self.claim(loaded, snapshot, &draft, *control).await;
                if claimed.as_ref().is_err_and(is_for_good) {
                    // Its next try fails as well: nobody else may wait for its slot until then.
                    self.grant(self.admission.release(&snapshot.job_id));
                }
                claimed
            }
            Effect::Launch { token } => self.launch(loaded, &token, launched).await,
            Effect::Seal { token, why } => self.seal(loaded, &token, why).await,
            Effect::Stop { token, task, grace_seconds } => self.stop(&token, &task, grace_seconds).await,
            Effect::Publish { token, number, result } => {
                self.publish(snapshot, &token, number, &result).await
            }
            Effect::Close { token, verdict, uses, evidence } => {
                self.count_duplicates(snapshot, &token);
                let closed_at = self.parts.clock.now();
                let write = self.parts.random.write_id();
                let closing = Closing { write, closed_at, verdict, uses, evidence: *evidence };
                self.close(loaded, snapshot, &token, closing).await
            }
            Effect::Collect => self.collect(loaded).await,
        }
    }

    /// The launch request for a job on this capacity. `desired`, which holds the payload, is copied only where the
    /// decision core has resolved `spot_then_on_demand` to something else than it says.
    pub(crate) fn request(&self, desired: &Desired, capacity: Capacity) -> LaunchRequest {
        if capacity == desired.capacity {
            return self.parts.tasks.request(desired);
        }
        self.parts.tasks.request(&Desired { capacity, ..desired.clone() })
    }

    async fn claim(
        &self,
        loaded: &mut Loaded,
        snapshot: &Snapshot,
        draft: &ClaimDraft,
        mut control: Control,
    ) -> Result<Then, PassError> {
        // The plan claims only what decodes and what the job types know; anything else is not reached.
        let Ok(desired) = &snapshot.desired else { return Ok(Then::Reload) };
        let Some(job_type) = self.parts.job_types.types.get(&desired.job_type) else {
            return Ok(Then::Reload);
        };
        let claim = Claim {
            number: draft.number,
            run: draft.run,
            retry: draft.retry,
            epoch: self.epoch,
            claimed_at: self.parts.clock.now(),
            job_type: desired.job_type.clone(),
            program: job_type.program.clone(),
            payload: self.payload(&loaded.job.job_id, desired).await?,
            env: desired.env.clone(),
            attempt_timeout_seconds: desired.attempt_timeout_seconds,
            start_timeout_seconds: desired.start_timeout_seconds,
            stop_grace_seconds: job_type.stop_grace_seconds,
            request: self.request(desired, draft.capacity),
        };
        let token = self.parts.random.token();
        control.token = Some(token.clone());
        self.stamp(&mut control);
        // Before the call: whatever its answer is, the claim is not older than this.
        let now = self.parts.clock.monotonic();
        self.facts.note(&token, |f| f.claimed = Some(now));
        let job = &mut loaded.job;
        let answer = self
            .parts
            .records
            .claim(&job.job_id, &token, &claim, job.control.as_ref(), &job.desired, &control)
            .await;
        // Without an answer the attempt may be there; each later try has a token of its own.
        let may_be_there = matches!(&answer, Ok(WriteAnswer::Written))
            || answer.as_ref().is_err_and(|e| e.retry() == Retry::Uncertain);
        if !may_be_there {
            self.facts.forget(&token);
        }
        if self.stored("claim", answer)? != WriteAnswer::Written {
            return Ok(Then::Reload);
        }
        tracing::debug!(job_id = %job.job_id, attempt = draft.number, run = draft.run, "attempt claimed");
        job.status = Some(Raw::of(&control.view()));
        job.control = Some(Raw::of(&control));
        loaded.attempts.push(Attempt {
            job_id: job.job_id.clone(),
            token,
            claim: Raw::of(&claim),
            gate: None,
            report: None,
            closing: None,
        });
        Ok(Then::LookAgain)
    }

    /// Small payloads travel in the claim, larger ones as an artifact named by their content.
    async fn payload(&self, job_id: &JobId, desired: &Desired) -> Result<PayloadRef, PassError> {
        let text: &JsonText = &desired.payload;
        if text.as_str().len() <= INLINE_PAYLOAD {
            return Ok(PayloadRef::Inline(text.clone()));
        }
        let bytes = text.as_str().as_bytes();
        let sha256: String = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
        let stored = self.parts.artifacts.put(&PayloadRef::key(job_id, &sha256), Content::Bytes(bytes)).await;
        let stored = self.metrics.stored("artifacts", stored)?;
        Ok(PayloadRef::Stored { sha256: stored.sha256, size: stored.size })
    }

    async fn launch(
        &self,
        loaded: &Loaded,
        token: &LaunchToken,
        launched: &mut Option<LaunchToken>,
    ) -> Result<Then, PassError> {
        let Some(attempt) = loaded.attempts.iter().find(|a| a.token == *token) else {
            return Ok(Then::Reload);
        };
        let Ok(claim) = attempt.claim.parse() else { return Ok(Then::Reload) };
        let launch = Launch {
            job_id: attempt.job_id.clone(),
            token: token.clone(),
            stop_grace: Duration::from_secs(claim.stop_grace_seconds),
            request: claim.request,
        };
        let now = self.parts.clock.monotonic();
        self.facts.note(token, |f| f.launch_called = Some(now));
        crash::before(Act::Launch);
        let answer = self.parts.tasks.launch(&launch).await;
        crash::after(Act::Launch);
        let (label, job_id) = (label(&answer), &attempt.job_id);
        self.metrics.launches.with_label_values(&[label]).inc();
        self.metrics.asked_runtime("launch", matches!(answer, LaunchAnswer::Launched(_)));
        match &answer {
            // The name of a task may hold its token, which is a capability and never logged.
            LaunchAnswer::Launched(_) => {
                tracing::debug!(%job_id, attempt = claim.number, token = token.prefix(), "task launched");
                *launched = Some(token.clone());
            }
            // Time heals the others. This one waits for an operator, whom an alarm on errors calls.
            LaunchAnswer::Refused(refusal) if refusal.kind == RefusalKind::Misconfigured => {
                tracing::error!(%job_id, attempt = claim.number, message = %refusal.message, "launch refused");
            }
            LaunchAnswer::Refused(refusal) => {
                tracing::warn!(%job_id, attempt = claim.number, kind = %refusal.kind, message = %refusal.message,
                    "launch refused");
            }
            LaunchAnswer::Uncertain(why) => {
                tracing::warn!(%job_id, attempt = claim.number, %why, "launch without a clear answer");
            }
        }
        let wall = self.parts.clock.now();
        if let Some(demand) = self.parts.tasks.demand(&launch.request) {
            self.grant(self.admission.launched(job_id, demand, became(&answer), wall));
        }
        let answered = self.parts.clock.monotonic();
        self.facts.note(token, |f| {
            f.launch_called = Some(answered);
            remember(f, answer, wall);
        });
        Ok(Then::LookAgain)
    }

    async fn seal(&self, loaded: &Loaded, token: &LaunchToken, why: LeaveReason) -> Result<Then, PassError> {
        let job_id = &loaded.job.job_id;
        if why == LeaveReason::TaskGone && self.gate_has_moved(loaded, token).await? {
            return Ok(Then::Reload);
        }
        let answer = self.stored("seal", self.parts.records.seal(job_id, token, why).await)?;
        match answer {
            GateAnswer::Written => tracing::info!(%job_id, token = token.prefix(), %why, "attempt sealed"),
            GateAnswer::Refused(_) => {
                tracing::info!(%job_id, token = token.prefix(), "the outcome came first")
            }
            GateAnswer::NotFound => {}
        }
        Ok(Then::Reload)
    }

    /// A task is looked at after its record was read, so a short one is often gone by then because it has
    /// reported. Reading again is cheaper than a seal that comes second.
    async fn gate_has_moved(&self, loaded: &Loaded, token: &LaunchToken) -> Result<bool, PassError> {
        let again = self.stored("load", self.parts.records.load(&loaded.job.job_id).await)?;
        let gate = |l: &Loaded| l.attempts.iter().find(|a| a.token == *token).map(|a| a.gate.clone());
        Ok(again.as_ref().and_then(gate) != gate(loaded))
    }

    async fn stop(&self, token: &LaunchToken, task: &TaskId, grace_seconds: u64) -> Result<Then, PassError> {
        let now = self.parts.clock.monotonic();
        self.facts.note(token, |f| f.stop_asked = Some(now));
        crash::before(Act::Stop);
        let stopped = self.parts.tasks.stop(task, Duration::from_secs(grace_seconds)).await;
        crash::after(Act::Stop);
        self.metrics.asked_runtime("stop", stopped.is_ok());
        stopped.map_err(PassError::Stop)?;
        Ok(Then::LookAgain)
    }

    async fn publish(
        &self,
        snapshot: &mut Snapshot,
        token: &LaunchToken,
        number: u32,
        result: &ManifestEntry,
    ) -> Result<Then, PassError> {
        crash::before(Act::Publish);
        let answer = self.parts.artifacts.publish(&snapshot.job_id, number, token, result).await;
        crash::after(Act::Publish);
        let answer = self.metrics.stored("artifacts", answer)?;
        let published = match answer {
            Publication::Published | Publication::Newer { .. } => Published::Done,
            Publication::Unreadable(why) => Published::Unreadable(why),
        };
        if let Some(view) = snapshot.attempts.iter_mut().find(|a| a.token == *token) {
            view.published = Some(published.clone());
        }
        self.facts.note(token, |f| f.published = Some(published));
        Ok(Then::GoOn)
    }

    /// Tasks of an attempt beyond the first: the gate made them harmless, but a runtime that makes many of
    /// them has forgotten launch tokens.
    fn count_duplicates(&self, snapshot: &Snapshot, token: &LaunchToken) {
        let seen = snapshot.attempts.iter().find(|a| a.token == *token).map_or(0, |a| a.tasks.seen.len());
        self.metrics.duplicates.inc_by(seen.saturating_sub(1) as u64);
    }

    /// Closes the attempt. What follows from that is decided beforehand, so that a `control` that is to be
    /// written can be in the same transaction.
    async fn close(
        &self,
        loaded: &mut Loaded,
        snapshot: &mut Snapshot,
        token: &LaunchToken,
        closing: Closing,
    ) -> Result<Then, PassError> {
        note_closed(snapshot, token, &closing);
        let next = match self.decide(snapshot) {
            Decision::Write { mut control, settled, why } => {
                tracing::debug!(job_id = %snapshot.job_id, why, reason = ?control.reason, "write");
                self.stamp(&mut control);
                Some((control, settled))
            }
            Decision::Do { .. } | Decision::Wait { .. } => None,
        };
        let closed = self.store_end(loaded, token, &closing, next.as_ref()).await?;
        self.facts.forget(token);
        crash::before(Act::Forget);
        self.parts.tasks.forget(token).await;
        crash::after(Act::Forget);
        if closed.closing != WriteAnswer::Written {
            // Another reconciler closed it; its verdict is the one that counts.
            return Ok(Then::Reload);
        }
        self.note_end(&loaded.job.job_id, token, &closing);
        let Some(attempt) = loaded.attempts.iter_mut().find(|a| a.token == *token) else {
            return Ok(Then::Reload);
        };
        attempt.closing = Some(Raw::of(&closing));
        match (next, closed.control) {
            (Some((control, settled)), Some(WriteAnswer::Written)) => {
                self.written(loaded, snapshot, *control, settled);
                Ok(Then::GoOn)
            }
            (None, _) => Ok(Then::GoOn),
            (Some(_), _) => Ok(Then::Reload),
        }
    }

    async fn store_end(
        &self,
        loaded: &Loaded,
        token: &LaunchToken,
        closing: &Closing,
        next: Option<&(Box<Control>, bool)>,
    ) -> Result<Closed, PassError> {
        let (job, records) = (&loaded.job, &self.parts.records);
        let Some((control, settled)) = next else {
            let closing = self.stored("close", records.close(&job.job_id, token, closing).await)?;
            return Ok(Closed { closing, control: None });
        };
        let expected = job.control.as_ref();
        let newest = loaded.newest();
        let write = ControlWrite { expected, seen: &job.desired, newest, control, settled: *settled };
        self.stored("close", records.close_and_write(&job.job_id, token, closing, write).await)
    }

    /// Counts and tells what the end of an attempt means.
    fn note_end(&self, job_id: &JobId, token: &LaunchToken, closing: &Closing) {
        self.metrics.spend(closing.evidence.cost);
        if let Verdict::Failed { class, message } = &closing.verdict {
            self.metrics.failures.with_label_values(&[class.as_str()]).inc();
            tracing::info!(%job_id, token = token.prefix(), %class, %message, "attempt failed");
        }
    }

    /// Artifacts first: a record without artifacts is collected again, artifacts without a record never.
    async fn collect(&self, loaded: &Loaded) -> Result<Then, PassError> {
        let job = &loaded.job;
        let Some(control) = &job.control else { return Ok(Then::Reload) };
        crash::before(Act::Collect);
        self.metrics.stored("artifacts", self.parts.artifacts.delete_job(&job.job_id).await)?;
        if has_stored_payload(loaded) {
            self.metrics.stored("artifacts", self.parts.artifacts.delete_payloads(&job.job_id).await)?;
        }
        self.stored("delete", self.parts.records.delete(&job.job_id, control, &job.desired).await)?;
        crash::after(Act::Collect);
        tracing::info!(job_id = %job.job_id, "job collected");
        Ok(Then::Reload)
    }
}

/// Whether a payload of the job may lie among the artifacts. Most are in their claims, and looking costs a request.
fn has_stored_payload(loaded: &Loaded) -> bool {
    let large = loaded.job.desired().is_ok_and(|desired| desired.payload.as_str().len() > INLINE_PAYLOAD);
    let stored = |attempt: &Attempt| {
        attempt.claim.parse().map_or(true, |claim| matches!(claim.payload, PayloadRef::Stored { .. }))
    };
    large || loaded.attempts.iter().any(stored)
}

/// The attempt is closed: the snapshot says so too, and no more than it says of any closed attempt.
fn note_closed(snapshot: &mut Snapshot, token: &LaunchToken, closing: &Closing) {
    if let Some(view) = snapshot.attempts.iter_mut().find(|a| a.token == *token) {
        view.closing = Some(closing.clone());
        view.mine_for_ms = None;
        view.launch = LaunchSaid::Nothing;
        view.tasks = TasksSeen::default();
        view.stop_asked = false;
        view.published = None;
    }
}

fn became(answer: &LaunchAnswer) -> Became<'_> {
    match answer {
        LaunchAnswer::Launched(_) => Became::Task,
        LaunchAnswer::Refused(refusal) => match refusal.kind {
            RefusalKind::Capacity | RefusalKind::Quota => Became::NoRoom(refusal),
            RefusalKind::Throttled | RefusalKind::Misconfigured => Became::Neither,
        },
        LaunchAnswer::Uncertain(_) => Became::Neither,
    }
}

fn label(answer: &LaunchAnswer) -> &'static str {
    match answer {
        LaunchAnswer::Launched(_) => "launched",
        LaunchAnswer::Refused(_) => "refused",
        LaunchAnswer::Uncertain(_) => "uncertain",
    }
}

fn remember(fact: &mut Fact, answer: LaunchAnswer, now: contract::Timestamp) {
    fact.launch = match answer {
        LaunchAnswer::Launched(_) => LaunchSaid::Launched,
        LaunchAnswer::Refused(refusal) => LaunchSaid::Refused(refusal),
        LaunchAnswer::Uncertain(_) => {
            let pause = (UNCLEAR_FIRST << fact.uncertain.min(10)).min(UNCLEAR_LONGEST);
            fact.uncertain += 1;
            LaunchSaid::Uncertain { again_at: now.plus_millis(i64::try_from(pause).unwrap_or(0)) }
        }
    };
}
