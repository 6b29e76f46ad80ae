//! [`RedisRecords`]: the port on top of the scripts.

use super::feed;
use super::link::{Fault, Link};
use super::read;
use super::scripts::Scripts;
use crate::hints::{ChangeFeed, Hints, HintsError, Interest};
use crate::records::{
    Closed, ControlWrite, CreateAnswer, GateAnswer, ListQuery, Loaded, NewJob, Page, RecordsBackend,
    RecordsError, Revision, StartAnswer, WriteAnswer,
};
use async_trait::async_trait;
use contract::{
    Claim, Closing, Control, Created, Desired, Gate, Job, JobId, LaunchToken, LeaveReason, Raw, Report,
    StatusView, TaskId, Timestamp,
};
use redis::{Script, Value};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The most jobs on a page.
const PAGE_JOBS: usize = 1000;
/// A page ends early when its sections have this many bytes together.
const PAGE_BYTES: usize = 4 << 20;
/// The most expired jobs in one answer.
const EXPIRED: usize = 10_000;
/// The shards of the active index.
const SHARDS: &[&str] = &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "a", "b", "c", "d", "e", "f"];
/// Jobs in one slice of a resync. The server does nothing else meanwhile: some 20 µs for each.
const SLICE: &[u8] = b"64";
/// Keys in one slice of the scan for edits that nobody announced.
const SCANNED: u64 = 1000;
/// Keys that a resync scans at least; a whole scan takes at most as many resyncs as [`SCAN_SHARE`] says.
const SCAN_KEYS: u64 = 10_000;
const SCAN_SHARE: u64 = 10;

/// Records in Redis. See [the module](super).
#[derive(Debug)]
pub struct RedisRecords {
    pub(super) link: Arc<Link>,
    /// Where the scan goes on.
    scan: Mutex<String>,
}

/// What a conditional write answers.
fn written(code: i64) -> WriteAnswer {
    match code {
        1 => WriteAnswer::Written,
        -1 => WriteAnswer::NotFound,
        _ => WriteAnswer::Conflict,
    }
}

/// An optional text as two arguments: whether it is there, and what it is.
fn maybe<T>(raw: Option<&Raw<T>>) -> [&[u8]; 2] {
    raw.map_or([b"0", b""], |raw| [b"1", raw.text().as_bytes()])
}

fn flag(is_so: bool) -> &'static [u8] {
    if is_so { b"1" } else { b"0" }
}

/// What the scripts that write `control` take: the two fields it depends on, and what is stored.
struct Controlled<'a> {
    expected: Option<&'a Raw<Control>>,
    seen: &'a Raw<Desired>,
    newest: String,
    control: Raw<Control>,
    status: Raw<StatusView>,
    expires: String,
}

impl<'a> Controlled<'a> {
    fn of(write: &ControlWrite<'a>) -> Self {
        let ControlWrite { expected, seen, newest, control, settled: _ } = *write;
        let expires = control.expires_at.map_or_else(String::new, |at| at.millis().to_string());
        let (newest, status) = (newest.to_string(), Raw::of(&control.view()));
        Self { expected, seen, newest, control: Raw::of(control), status, expires }
    }

    fn arguments(&self) -> [&[u8]; 7] {
        let [known, expected] = maybe(self.expected);
        let texts = [self.seen.text(), &self.newest, self.control.text(), self.status.text(), &self.expires];
        let [seen, newest, control, status, expires] = texts.map(str::as_bytes);
        [known, expected, seen, newest, control, status, expires]
    }
}

/// What the gate of an attempt holds, after a script looked at it.
struct AtGate {
    moved: bool,
    gate: Option<Raw<Gate>>,
    claim: Raw<Claim>,
}

impl RedisRecords {
    /// On the server of `url`, without asking it anything: what a worker opens.
    ///
    /// # Errors
    /// [`RecordsError::Unusable`] when the URL is not one of Redis.
    pub fn lazy(url: &str) -> Result<Arc<Self>, RecordsError> {
        Ok(Arc::new(Self { link: Link::new(url)?, scan: Mutex::new("0".to_owned()) }))
    }

    /// On the server of `url`. Warns of settings of the server with which it can lose what it has answered
    /// for. To be called within a tokio runtime.
    ///
    /// # Errors
    /// As [`RedisRecords::lazy`], and when the server is not reachable or a version of the records is stored
    /// there that this program does not know.
    pub async fn open(url: &str) -> Result<Arc<Self>, RecordsError> {
        let records = Self::lazy(url)?;
        super::server::check(&records.link).await?;
        Ok(records)
    }

    async fn read(
        &self,
        script: impl Fn(&Scripts) -> &Script,
        arguments: &[&[u8]],
    ) -> Result<Value, RecordsError> {
        self.link.call(script, arguments).await.map_err(Fault::of_read)
    }

    async fn write(
        &self,
        script: impl Fn(&Scripts) -> &Script,
        arguments: &[&[u8]],
    ) -> Result<WriteAnswer, RecordsError> {
        self.link.call(script, arguments).await.map(written).map_err(Fault::of_write)
    }

    /// Moves the gate to `gate` and writes `report`, where they are given, while it is `expected`. `None`:
    /// there is no such attempt.
    async fn at_gate(
        &self,
        (job_id, token): (&JobId, &LaunchToken),
        expected: Option<&Raw<Gate>>,
        gate: Option<&Gate>,
        report: Option<&Report>,
    ) -> Result<Option<AtGate>, RecordsError> {
        let [known, expected] = maybe(expected);
        let gate = gate.map(Raw::of).map_or_else(String::new, |raw| raw.text().to_owned());
        let report = report.map(Raw::of).map_or_else(String::new, |raw| raw.text().to_owned());
        let (id, token) = (job_id.as_str().as_bytes(), token.as_str().as_bytes());
        let arguments = [id, token, known, expected, gate.as_bytes(), report.as_bytes()];
        let answer: Value = self.link.call(|s| &s.gate, &arguments).await.map_err(Fault::of_write)?;
        if answer == Value::Nil {
            return Ok(None);
        }
        let values = read::array(answer)?;
        let stored = |index: usize| values.get(index).and_then(read::text);
        Ok(Some(AtGate {
            moved: matches!(values.first(), Some(Value::Int(1))),
            gate: stored(1).map(Raw::stored),
            claim: Raw::stored(stored(2).unwrap_or_default()),
        }))
    }

    /// Writes `report`, and moves the gate to `gate` if that is given, while the gate is started(`task`) in
    /// whatever spelling. `Err`: it is not, and this is what it is.
    async fn while_started(
        &self,
        key: (&JobId, &LaunchToken),
        task: &TaskId,
        gate: Option<&Gate>,
        report: &Report,
    ) -> Result<Option<Result<(), Option<Raw<Gate>>>>, RecordsError> {
        let mut expected = Raw::of(&Gate::Started { task: task.clone() });
        loop {
            let Some(at) = self.at_gate(key, Some(&expected), gate, Some(report)).await? else {
                return Ok(None);
            };
            match at.gate {
                _ if at.moved => return Ok(Some(Ok(()))),
                // Somebody wrote the same in other words: that is the text to compare with.
                Some(stored)
                    if stored != expected
                        && matches!(stored.parse(), Ok(Gate::Started { task: by }) if by == *task) =>
                {
                    expected = stored;
                }
                other => return Ok(Some(Err(other))),
            }
        }
    }

    /// Closes an attempt and, if it is closed then, does what follows, in one script.
    async fn end(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        closing: &Closing,
        follows: Option<ControlWrite<'_>>,
    ) -> Result<Closed, RecordsError> {
        let raw = Raw::of(closing);
        let next = follows.map(|write| (Controlled::of(&write), flag(write.settled)));
        let mut arguments = [job_id.as_str(), token.as_str(), raw.text()].map(str::as_bytes).to_vec();
        if let Some((controlled, settled)) = &next {
            arguments.extend(controlled.arguments());
            arguments.push(settled);
        }
        let answer: Value = self.link.call(|s| &s.close, &arguments).await.map_err(Fault::of_write)?;
        let values = read::array(answer)?;
        let closing = match values.first() {
            Some(Value::Int(1)) => WriteAnswer::Written,
            Some(Value::Int(-1)) => WriteAnswer::NotFound,
            Some(Value::Int(-2)) => {
                return Err(RecordsError::Refused(
                    "an attempt is closed only after its gate is finished or sealed".to_owned(),
                ));
            }
            _ => {
                let stored: Raw<Closing> =
                    Raw::stored(values.get(1).and_then(read::text).unwrap_or_default());
                let same = stored.parse().is_ok_and(|stored| stored.write == closing.write);
                if same { WriteAnswer::Written } else { WriteAnswer::Conflict }
            }
        };
        let control = match values[..] {
            [Value::Int(1), Value::Int(code)] => follows.map(|_| written(code)),
            _ => None,
        };
        Ok(Closed { closing, control })
    }

    /// The next part of the scan for what was edited while nobody listened.
    async fn scan(&self) -> Result<(), RecordsError> {
        let keys: u64 = self.link.query(&redis::cmd("DBSIZE")).await.map_err(Fault::of_read)?;
        let slices = (keys / SCAN_SHARE).max(SCAN_KEYS).div_ceil(SCANNED);
        let mut cursor = self.scan.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for _ in 0..slices {
            let arguments = [cursor.as_bytes(), &SCANNED.to_string().into_bytes()];
            cursor = self.link.call(|s| &s.scan, &arguments).await.map_err(Fault::of_read)?;
            if cursor == "0" {
                break;
            }
        }
        *self.scan.lock().unwrap_or_else(PoisonError::into_inner) = cursor;
        Ok(())
    }

    async fn list_shard(
        &self,
        shard: &str,
        active: &mut HashMap<JobId, Revision>,
    ) -> Result<(), RecordsError> {
        let mut cursor = "0".to_owned();
        loop {
            let answer = self.read(|s| &s.active, &[shard.as_bytes(), cursor.as_bytes(), SLICE]).await?;
            let values = read::array(answer)?;
            let Some((next, pairs)) = values.split_first() else {
                return Err(RecordsError::Unusable("a slice without a cursor".to_owned()));
            };
            for pair in pairs.chunks_exact(2) {
                let (Some(id), Some(digest)) = (read::text(&pair[0]), read::text(&pair[1])) else { continue };
                let revision = i64::from_str_radix(&digest, 16).unwrap_or_default();
                active.extend(read::key(&id).map(|id| (id, Revision(revision))));
            }
            cursor = read::text(next).unwrap_or_default();
            if cursor == "0" {
                return Ok(());
            }
        }
    }
}

#[async_trait]
impl ChangeFeed for RedisRecords {
    async fn subscribe(&self, interest: Interest) -> Result<Option<Box<dyn Hints>>, HintsError> {
        feed::subscribe(self.link.clone(), interest)
            .await
            .map(|hints| Some(Box::new(hints) as Box<dyn Hints>))
    }
}

#[async_trait]
impl RecordsBackend for RedisRecords {
    async fn job(&self, job_id: &JobId) -> Result<Option<Job>, RecordsError> {
        read::job(job_id, self.read(|s| &s.job, &[job_id.as_str().as_bytes()]).await?)
    }

    async fn load(&self, job_id: &JobId) -> Result<Option<Loaded>, RecordsError> {
        read::loaded(job_id, self.read(|s| &s.load, &[job_id.as_str().as_bytes()]).await?)
    }

    async fn writable(&self) -> Result<(), RecordsError> {
        self.link.writable().await.map_err(Fault::of_write)
    }

    async fn list_active(&self) -> Result<Vec<(JobId, Revision)>, RecordsError> {
        self.scan().await?;
        // A slice may name a job that an earlier one has named.
        let mut active = HashMap::new();
        for shard in SHARDS {
            self.list_shard(shard, &mut active).await?;
        }
        Ok(active.into_iter().collect())
    }

    async fn list_expired(&self, now: Timestamp, limit: usize) -> Result<Vec<JobId>, RecordsError> {
        let (now, limit) = (now.millis().to_string(), limit.min(EXPIRED).to_string());
        let ids = read::array(self.read(|s| &s.expired, &[now.as_bytes(), limit.as_bytes()]).await?)?;
        Ok(ids.iter().filter_map(read::text).filter_map(|id| read::key(&id)).collect())
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, RecordsError> {
        let below = match query.cursor.as_deref().map(str::parse::<u64>) {
            None => "+inf".to_owned(),
            Some(Ok(place)) => format!("({place}"),
            Some(Err(_)) => {
                return Err(RecordsError::Refused("the cursor is not one of a listing".to_owned()));
            }
        };
        let limit = query.limit.clamp(1, PAGE_JOBS).to_string();
        let bytes = PAGE_BYTES.to_string();
        let arguments = [below.as_bytes(), limit.as_bytes(), bytes.as_bytes()];
        let mut values = read::array(self.read(|s| &s.list, &arguments).await?)?.into_iter();
        let more = values.next() == Some(Value::Int(1));
        let (mut jobs, mut last) = (Vec::new(), None);
        for value in values {
            let (job, place) = read::listed(&read::array(value)?);
            jobs.extend(job);
            last = Some(place);
        }
        Ok(Page { jobs, next: last.filter(|_| more) })
    }

    async fn create(&self, new: &NewJob) -> Result<CreateAnswer, RecordsError> {
        let (created, desired) = (Raw::of(&new.created), new.desired.to_text());
        let arguments = [new.job_id.as_str().as_bytes(), created.text().as_bytes(), desired.as_bytes()];
        let answer = self.link.call(|s| &s.create, &arguments).await.map_err(Fault::of_write)?;
        let Some(job) = read::job(&new.job_id, answer)? else { return Ok(CreateAnswer::Created) };
        let same = job.created.parse().is_ok_and(|stored: Created| stored.write == new.created.write);
        Ok(if same { CreateAnswer::Created } else { CreateAnswer::Exists(Box::new(job)) })
    }

    async fn write_desired(
        &self,
        job_id: &JobId,
        expected: &Raw<Desired>,
        desired: &Raw<Desired>,
    ) -> Result<WriteAnswer, RecordsError> {
        let retry = |raw: &Raw<Desired>| Desired::parse(raw.text()).map(|desired| desired.retry);
        if let (Ok(before), Ok(after)) = (retry(expected), retry(desired))
            && after < before
        {
            return match self.job(job_id).await? {
                None => Ok(WriteAnswer::NotFound),
                Some(job) if job.desired == *expected => {
                    Err(RecordsError::Refused("desired.retry only grows".to_owned()))
                }
                Some(job) if job.desired == *desired => Ok(WriteAnswer::Written),
                Some(_) => Ok(WriteAnswer::Conflict),
            };
        }
        let texts = [job_id.as_str(), expected.text(), desired.text()].map(str::as_bytes);
        self.write(|s| &s.desired, &texts).await
    }

    async fn write_control(
        &self,
        job_id: &JobId,
        write: ControlWrite<'_>,
    ) -> Result<WriteAnswer, RecordsError> {
        let controlled = Controlled::of(&write);
        let mut arguments = vec![job_id.as_str().as_bytes()];
        arguments.extend(controlled.arguments());
        arguments.push(flag(write.settled));
        self.write(|s| &s.control, &arguments).await
    }

    async fn delete(
        &self,
        job_id: &JobId,
        expected: &Raw<Control>,
        seen: &Raw<Desired>,
    ) -> Result<WriteAnswer, RecordsError> {
        let texts = [job_id.as_str(), expected.text(), seen.text()].map(str::as_bytes);
        self.write(|s| &s.delete, &texts).await
    }

    async fn draft(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        claim: &Claim,
    ) -> Result<WriteAnswer, RecordsError> {
        let (number, claim) = (claim.number.to_string(), Raw::of(claim));
        let texts = [job_id.as_str(), token.as_str(), &number, claim.text()].map(str::as_bytes);
        self.write(|s| &s.draft, &texts).await
    }

    async fn claim(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        claim: &Claim,
        expected: Option<&Raw<Control>>,
        seen: &Raw<Desired>,
        control: &Control,
    ) -> Result<WriteAnswer, RecordsError> {
        let newest = claim.number;
        let controlled = Controlled::of(&ControlWrite { expected, seen, newest, control, settled: false });
        let (number, claim) = (claim.number.to_string(), Raw::of(claim));
        let mut arguments = controlled.arguments().to_vec();
        arguments.extend([job_id.as_str(), token.as_str(), &number, claim.text()].map(str::as_bytes));
        self.write(|s| &s.claim, &arguments).await
    }

    async fn seal(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        why: LeaveReason,
    ) -> Result<GateAnswer, RecordsError> {
        let (mut expected, mut started) = (None, None);
        // Each round starts from what the last one found; the gate moves at most twice.
        loop {
            let sealed = Gate::Sealed { why, started };
            let at = self.at_gate((job_id, token), expected.as_ref(), Some(&sealed), None).await?;
            let Some(AtGate { moved, gate, .. }) = at else { return Ok(GateAnswer::NotFound) };
            if moved {
                return Ok(GateAnswer::Written);
            }
            started = match gate.as_ref().map(Raw::parse) {
                None => None,
                Some(Ok(Gate::Started { task })) => Some(task),
                Some(Ok(Gate::Sealed { .. })) => return Ok(GateAnswer::Written),
                // A gate that cannot be decoded is not sealed over: whoever started could not be named.
                Some(Ok(Gate::Finished { .. }) | Err(_)) => return Ok(GateAnswer::Refused(gate)),
            };
            expected = gate;
        }
    }

    async fn close(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        closing: &Closing,
    ) -> Result<WriteAnswer, RecordsError> {
        Ok(self.end(job_id, token, closing, None).await?.closing)
    }

    async fn close_and_write(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        closing: &Closing,
        write: ControlWrite<'_>,
    ) -> Result<Closed, RecordsError> {
        self.end(job_id, token, closing, Some(write)).await
    }

    async fn start(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        task: &TaskId,
        report: &Report,
    ) -> Result<StartAnswer, RecordsError> {
        let started = Gate::Started { task: task.clone() };
        let at = self.at_gate((job_id, token), None, Some(&started), Some(report)).await?;
        let Some(AtGate { moved, gate, claim }) = at else { return Ok(StartAnswer::NotFound) };
        match gate {
            _ if moved => Ok(StartAnswer::Started(Box::new(claim))),
            Some(gate) if gate.parse() == Ok(started) => Ok(StartAnswer::Started(Box::new(claim))),
            Some(gate) => Ok(StartAnswer::Lost(gate)),
            None => Err(RecordsError::Busy("the gate moved".to_owned())),
        }
    }

    async fn heartbeat(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        task: &TaskId,
        report: &Report,
    ) -> Result<GateAnswer, RecordsError> {
        Ok(match self.while_started((job_id, token), task, None, report).await? {
            None => GateAnswer::NotFound,
            Some(Ok(())) => GateAnswer::Written,
            Some(Err(gate)) => GateAnswer::Refused(gate),
        })
    }

    async fn finish(
        &self,
        job_id: &JobId,
        token: &LaunchToken,
        task: &TaskId,
        report: &Report,
    ) -> Result<GateAnswer, RecordsError> {
        let finished = Gate::Finished { task: task.clone() };
        Ok(match self.while_started((job_id, token), task, Some(&finished), report).await? {
            None => GateAnswer::NotFound,
            Some(Ok(())) => GateAnswer::Written,
            Some(Err(Some(gate))) if gate.parse() == Ok(finished) => GateAnswer::Written,
            Some(Err(gate)) => GateAnswer::Refused(gate),
        })
    }
}
