//! The writes of a job: creation, `desired`, `control`, deletion.

use super::client::{Failure, Item, Write, Written, failed_read, patiently, string, write};
use super::order::Order;
use super::read::job_of;
use super::records::DynamoRecords;
use super::schema::{active_shard, expiry_shard};
use super::section::{Section, attribute, attribute_of, text};
use super::transaction::{Step, transact};
use crate::clock::fresh_write_id;
use crate::records::{ControlWrite, CreateAnswer, NewJob, RecordsError, WriteAnswer};
use aws_sdk_dynamodb::types::AttributeValue;
use contract::{Attempt, Control, Desired, JobId, Raw, Timestamp};

/// The largest `desired` in bytes of text. An item ends at 400 KB (developer guide, "Service quotas"), and
/// this one also holds `control`, `status` and what the indexes need.
const LARGEST_DESIRED: usize = 360 * 1024;
/// Attempts that are deleted together with their job. A transaction has at most 100 actions.
const TOGETHER: usize = 99;

fn fits(desired: &str) -> Result<(), RecordsError> {
    let bytes = desired.len();
    if bytes <= LARGEST_DESIRED {
        return Ok(());
    }
    let message = format!(
        "desired has {bytes} bytes; at most {LARGEST_DESIRED} are allowed, because an item of DynamoDB ends at 400 KB"
    );
    Err(RecordsError::Refused(message))
}

/// A section as a writer saw it: the text, and the attribute that stands for it.
pub(super) struct Seen<'r> {
    text: Option<&'r str>,
    attribute: Option<AttributeValue>,
}

impl<'r> Seen<'r> {
    pub(super) fn of<T: Section>(raw: Option<&'r Raw<T>>) -> Self {
        let text = raw.map(Raw::text);
        Self { text, attribute: text.map(attribute::<T>) }
    }

    pub(super) fn attribute(&self) -> Option<&AttributeValue> {
        self.attribute.as_ref()
    }

    /// Whether `stored` is what was seen in another spelling (an operator's string in place of the map). Then
    /// it is what the condition compares from now on.
    pub(super) fn respelled<T: Section>(&mut self, stored: Option<&AttributeValue>) -> Respelled {
        let same = match (self.text, stored) {
            (Some(seen), Some(stored)) => text::<T>(stored).text() == seen,
            (Some(seen), None) => seen.is_empty(),
            (None, stored) => stored.is_none(),
        };
        if !same {
            return Respelled::Differs;
        }
        let changed = self.attribute.as_ref() != stored;
        self.attribute = stored.cloned();
        if changed { Respelled::Yes } else { Respelled::No }
    }
}

/// How a stored section relates to the one that a condition compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Respelled {
    /// The same text; the condition has to compare another attribute.
    Yes,
    /// The same attribute.
    No,
    /// Another text.
    Differs,
}

impl Respelled {
    /// Whether a write may be tried again after both of its conditions were compared.
    pub(super) fn again(self, other: Self) -> bool {
        matches!((self, other), (Self::Yes, Self::Yes | Self::No) | (Self::No, Self::Yes))
    }
}

/// The number of the newest attempt that was claimed. It stands beside `control`, because that may be wiped or put back
/// by hand, and the attempts are items of their own, which no condition of this one reaches.
pub(super) const NEWEST: &str = "newest_attempt";

/// The write of `control` and everything that goes with it.
pub(super) fn control_write(
    table: &str,
    job_id: &JobId,
    expected: &Seen<'_>,
    seen: &Seen<'_>,
    wanted: &ControlWrite<'_>,
) -> Write {
    let (next, settled) = (wanted.control, wanted.settled);
    let write = Write::to(table, [("job_id", job_id.as_str())])
        .set("control", attribute_of(next))
        .set("status", attribute_of(&next.view()))
        .if_there("job_id")
        .if_is("desired", seen.attribute())
        .if_is("control", expected.attribute())
        .if_at_most(NEWEST, wanted.newest);
    // An unsettled job gets its mark back even if somebody removed it by hand.
    let write = match settled {
        true => write.remove("active_shard"),
        false => write.set("active_shard", string(active_shard(job_id))),
    };
    match next.expires_at.map(Timestamp::millis) {
        Some(millis) => write
            .set("expiry_shard", string(expiry_shard(job_id)))
            .set("expires_at", AttributeValue::N(millis.to_string())),
        None => write.remove("expiry_shard").remove("expires_at"),
    }
}

impl DynamoRecords {
    pub(super) async fn create_job(&self, new: &NewJob, order: &Order) -> Result<CreateAnswer, RecordsError> {
        let desired = new.desired.to_text();
        fits(&desired)?;
        let (day, created_order) = order.next();
        let update = Write::to(&self.tables.jobs, [("job_id", new.job_id.as_str())])
            .set("created", attribute_of(&new.created))
            .set("desired", attribute::<Desired>(&desired))
            .set("active_shard", string(active_shard(&new.job_id)))
            .set("rev", string(fresh_write_id().as_str()))
            .set("day", string(day))
            .set("created_order", string(created_order))
            .if_is("job_id", None);
        match write(&self.client, &update).await? {
            Written::Done => Ok(CreateAnswer::Created),
            Written::Refused(Some(item)) => {
                let job = job_of(new.job_id.clone(), &item);
                let same = job.created.parse().is_ok_and(|stored| stored.write == new.created.write);
                Ok(if same { CreateAnswer::Created } else { CreateAnswer::Exists(Box::new(job)) })
            }
            Written::Refused(None) => Err(RecordsError::Busy("the job was deleted meanwhile".to_owned())),
        }
    }

    pub(super) async fn replace_desired(
        &self,
        job_id: &JobId,
        expected: &Raw<Desired>,
        desired: &Raw<Desired>,
    ) -> Result<WriteAnswer, RecordsError> {
        fits(desired.text())?;
        let (mut expected, next) = (Seen::of(Some(expected)), attribute::<Desired>(desired.text()));
        loop {
            let update = Write::to(&self.tables.jobs, [("job_id", job_id.as_str())])
                .set("desired", next.clone())
                .set("active_shard", string(active_shard(job_id)))
                .set("rev", string(fresh_write_id().as_str()))
                .if_there("job_id")
                .if_is("desired", expected.attribute());
            let item = match write(&self.client, &update).await? {
                Written::Done => return Ok(WriteAnswer::Written),
                Written::Refused(None) => return Ok(WriteAnswer::NotFound),
                Written::Refused(Some(item)) => item,
            };
            let stored = item.get("desired");
            if stored == Some(&next) {
                return Ok(WriteAnswer::Written);
            }
            if expected.respelled::<Desired>(stored) != Respelled::Yes {
                return Ok(WriteAnswer::Conflict);
            }
        }
    }

    pub(super) async fn replace_control(
        &self,
        job_id: &JobId,
        wanted: &ControlWrite<'_>,
    ) -> Result<WriteAnswer, RecordsError> {
        let (mut expected, mut seen) = (Seen::of(wanted.expected), Seen::of(Some(wanted.seen)));
        loop {
            let update = control_write(&self.tables.jobs, job_id, &expected, &seen, wanted);
            match write(&self.client, &update).await? {
                Written::Done => return Ok(WriteAnswer::Written),
                Written::Refused(item) => {
                    if let Some(answer) =
                        control_refused(item.as_ref(), &mut expected, &mut seen, wanted.control)
                    {
                        return Ok(answer);
                    }
                }
            }
        }
    }

    /// Deletes the job and its attempts while the job is as seen and every attempt is closed; not even a first batch goes beside an open one. Attempts beyond
    /// what fits into one transaction go before, the oldest first, each batch on the same condition: what is
    /// closed is not alive, so losing it early endangers nothing.
    pub(super) async fn delete_job(
        &self,
        job_id: &JobId,
        expected: &Raw<Control>,
        seen: &Raw<Desired>,
    ) -> Result<WriteAnswer, RecordsError> {
        let (mut expected, mut seen) = (Seen::of(Some(expected)), Seen::of(Some(seen)));
        let attempts = self.read_attempts(job_id).await?;
        if attempts.iter().any(|attempt| attempt.closing.is_none()) {
            let exists = self.exists(job_id).await?;
            return Ok(if exists { WriteAnswer::Conflict } else { WriteAnswer::NotFound });
        }
        let mut rest = &attempts[..];
        loop {
            let (batch, last) = match rest.len() {
                0..=TOGETHER => (rest, true),
                more => (&rest[..TOGETHER.min(more - TOGETHER)], false),
            };
            let mut job = Write::to(&self.tables.jobs, [("job_id", job_id.as_str())])
                .if_there("job_id")
                .if_is("desired", seen.attribute())
                .if_is("control", expected.attribute());
            if !last {
                // Changes nothing; a condition alone would need one more right.
                if let Some(control) = expected.attribute() {
                    job = job.set("control", control.clone());
                }
            }
            let mut steps = vec![if last { Step::Delete(job) } else { Step::Update(job) }];
            steps.extend(batch.iter().map(|attempt| Step::Delete(self.closed(attempt))));
            let reasons = match patiently(|| transact(&self.client, &steps)).await? {
                Ok(()) if last => return Ok(WriteAnswer::Written),
                Ok(()) => {
                    rest = &rest[batch.len()..];
                    continue;
                }
                Err(reasons) => reasons,
            };
            let Some(refused) = reasons.into_iter().next().flatten() else {
                return Ok(WriteAnswer::Conflict);
            };
            let Written::Refused(Some(item)) = refused else { return Ok(WriteAnswer::NotFound) };
            let control = expected.respelled::<Control>(item.get("control"));
            if !control.again(seen.respelled::<Desired>(item.get("desired"))) {
                return Ok(WriteAnswer::Conflict);
            }
        }
    }

    fn closed(&self, attempt: &Attempt) -> Write {
        let key = [("job_id", attempt.job_id.as_str()), ("token", attempt.token.as_str())];
        Write::to(&self.tables.attempts, key).if_there("closing")
    }

    /// Whether the job exists.
    pub(super) async fn exists(&self, job_id: &JobId) -> Result<bool, RecordsError> {
        let call = self
            .client
            .get_item()
            .table_name(&self.tables.jobs)
            .key("job_id", string(job_id.as_str()))
            .projection_expression("#job_id")
            .expression_attribute_names("#job_id", "job_id")
            .consistent_read(true);
        let answer = crate::aws::within(call.send()).await.map_err(|e| failed_read(&e))?;
        Ok(answer.item.is_some())
    }
}

/// What a refused write of `control` means; `None`: try again with what was seen in its stored spelling.
pub(super) fn control_refused(
    item: Option<&Item>,
    expected: &mut Seen<'_>,
    seen: &mut Seen<'_>,
    next: &Control,
) -> Option<WriteAnswer> {
    let Some(item) = item else { return Some(WriteAnswer::NotFound) };
    if item.get("control") == Some(&attribute_of(next)) {
        return Some(WriteAnswer::Written);
    }
    let control = expected.respelled::<Control>(item.get("control"));
    let again = control.again(seen.respelled::<Desired>(item.get("desired")));
    (!again).then_some(WriteAnswer::Conflict)
}

/// Lets [`patiently`] name the failure of a transaction.
pub(super) type Met<T> = Result<T, Failure>;
