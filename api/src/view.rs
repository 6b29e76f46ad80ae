//! A job as it is shown. Everything is read leniently: a section that a hand edit broke is shown as it is
//! stored, with what is wrong beside it, and never hides the rest of the job.

use crate::author::LastChange;
use contract::decode::{FieldError, Invalid};
use contract::json::JsonText;
use contract::{Control, Created, Desired, Job, Reason, Status, StatusView, Timestamp};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// What the sections of a job say.
pub(crate) struct Seen {
    pub(crate) desired: Result<Desired, Invalid>,
    pub(crate) control: Option<Result<Control, Invalid>>,
    pub(crate) created: Result<Created, Invalid>,
    pub(crate) view: StatusView,
}

impl Seen {
    pub(crate) fn of(job: &Job) -> Self {
        let desired = job.desired();
        let control = job.control.as_ref().map(contract::Raw::parse);
        let known = control.as_ref().and_then(|c| c.as_ref().ok());
        let wants = desired.as_ref().ok().map(|d| Wants { retry: d.retry, cancel: d.cancel });
        let mut view = view(job, known, wants.as_ref());
        if let Err(invalid) = &desired {
            say_invalid(&mut view, invalid);
        }
        Self { desired, control, created: job.created.parse(), view }
    }

    /// The reconciler's memory, where it can be read.
    pub(crate) fn control(&self) -> Option<&Control> {
        self.control.as_ref().and_then(|c| c.as_ref().ok())
    }

    /// Since when `reason` holds, where the reconciler has stored both.
    pub(crate) fn reason_since(&self, reason: Option<Reason>) -> Option<Timestamp> {
        self.control().filter(|c| c.reason == reason).and_then(|c| c.reason_since)
    }

    /// Whether the job has ended and no retry is asked for.
    pub(crate) fn is_finished(&self) -> bool {
        self.view.status.is_terminal()
    }

    /// Whether a forced retry is asked for that the reconciler has not begun.
    pub(crate) fn retry_is_pending(&self) -> bool {
        match (&self.desired, self.control()) {
            (Ok(desired), Some(control)) => desired.retry > control.seen_retry,
            (Ok(desired), None) => desired.retry > 0,
            (Err(_), _) => false,
        }
    }
}

/// The members of `desired` that bear on how a stored status reads.
pub(crate) struct Wants {
    pub(crate) retry: u64,
    pub(crate) cancel: bool,
}

/// The projection for people. A finished job whose forced retry the reconciler has not seen yet reads
/// `QUEUED`/`PendingEvaluation`: somebody who asks for a retry and then waits for the end must not be
/// shown the end of the run before. (A retry of a job whose `cancel` is set starts nothing.)
pub(crate) fn view(job: &Job, control: Option<&Control>, wants: Option<&Wants>) -> StatusView {
    let stored = job.status.as_ref().and_then(|raw| raw.parse().ok());
    let mut view = stored.or_else(|| control.map(Control::view)).unwrap_or_else(StatusView::fresh);
    let asked = wants.zip(control).is_some_and(|(w, c)| w.retry > c.seen_retry && !w.cancel);
    if asked && view.status.is_terminal() {
        view.status = Status::Queued;
        view.reason = Some(Reason::PendingEvaluation);
        view.message = "a retry is requested; the reconciler has not looked at it yet".to_owned();
        view.finished_at = None;
    }
    view
}

/// A `desired` that cannot be decoded is the reason of its job, whether or not the reconciler has got round to saying so.
/// It writes no reason over that of a job that has ended, yet such a job has to be found by whoever can mend it.
pub(crate) fn say_invalid(view: &mut StatusView, invalid: &Invalid) {
    view.reason = Some(Reason::InvalidRecord);
    view.message = invalid.to_string();
}

/// A stored section as it is shown: JSON where it is JSON, else a string with its text.
pub(crate) struct Section<'a>(pub(crate) Cow<'a, str>);

impl Section<'_> {
    /// A section that may name launch tokens, without them.
    pub(crate) fn without_tokens(text: &str) -> Section<'_> {
        Section(without_tokens(text))
    }
}

impl Serialize for Section<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match serde_json::from_str::<&RawValue>(&self.0) {
            Ok(raw) => raw.serialize(s),
            Err(_) => s.serialize_str(&self.0),
        }
    }
}

/// Digits of a launch token; see `contract::LaunchToken`.
const TOKEN_DIGITS: usize = 32;
/// What is shown of it, as in the names of artifact folders.
const SHOWN_DIGITS: usize = 8;

/// `text` with every launch token cut to its first eight digits. A token is the right to report on its
/// attempt, so somebody who may read jobs must not learn it; task ids and launch requests hold it too.
pub(crate) fn without_tokens(text: &str) -> Cow<'_, str> {
    let is_digit = |b: &u8| b.is_ascii_digit() || (b'a'..=b'f').contains(b);
    let (mut out, mut kept, mut at) = (String::new(), 0, 0);
    let bytes = text.as_bytes();
    while at < bytes.len() {
        let run = bytes[at..].iter().take_while(|b| is_digit(b)).count();
        if run == TOKEN_DIGITS {
            out.push_str(&text[kept..at + SHOWN_DIGITS]);
            out.push('…');
            kept = at + run;
        }
        at += run.max(1);
    }
    if kept == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[kept..]);
    Cow::Owned(out)
}

/// A section that cannot be decoded.
#[derive(Serialize)]
pub(crate) struct Broken {
    pub(crate) section: &'static str,
    pub(crate) errors: Vec<FieldError>,
}

/// The result of a job, as far as it can be shown.
#[derive(Default)]
pub(crate) struct Shown {
    pub(crate) result: Option<JsonText>,
    pub(crate) url: Option<String>,
    pub(crate) problem: Option<String>,
}

/// The answer of `GET /jobs/{id}`: flat fields for people and scripts, then the sections as stored.
#[derive(Serialize)]
pub(crate) struct JobView<'a> {
    job_id: &'a str,
    job_type: Option<Cow<'a, str>>,
    payload: Option<&'a RawValue>,
    status: Status,
    reason: Option<Reason>,
    message: Cow<'a, str>,
    attempt: u32,
    created_at: Option<Timestamp>,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    updated_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    updated_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    change_cause: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<JsonText>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result_problem: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    invalid: Vec<Broken>,
    desired: Section<'a>,
    control: Option<Section<'a>>,
    created: Section<'a>,
    active: bool,
}

/// The members of `desired` that listings show and filter by, read without judging the rest.
#[derive(serde::Deserialize, Default)]
pub(crate) struct Head<'a> {
    #[serde(borrow, default)]
    pub(crate) job_type: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(crate) payload: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(crate) labels: Option<&'a RawValue>,
    #[serde(default)]
    pub(crate) retry: u64,
    #[serde(default)]
    pub(crate) cancel: bool,
    #[serde(borrow, default)]
    pub(crate) updated: Option<&'a RawValue>,
}

impl<'a> Head<'a> {
    /// Whatever can be read; one broken member does not hide the others.
    pub(crate) fn of(desired: &'a str) -> Self {
        serde_json::from_str(desired).unwrap_or_else(|_| Self::of_broken(desired))
    }

    fn of_broken(desired: &'a str) -> Self {
        let members: BTreeMap<Cow<'a, str>, &'a RawValue> = serde_json::from_str(desired).unwrap_or_default();
        let text = |name| members.get(name).map(|raw| raw.get());
        Self {
            job_type: text("job_type").and_then(|t| serde_json::from_str::<String>(t).ok()).map(Cow::Owned),
            payload: members.get("payload").copied(),
            labels: members.get("labels").copied(),
            retry: text("retry").and_then(|t| serde_json::from_str(t).ok()).unwrap_or(0),
            cancel: text("cancel").and_then(|t| serde_json::from_str(t).ok()).unwrap_or(false),
            updated: members.get("updated").copied().filter(|raw| raw.get() != "null"),
        }
    }
}

impl<'a> JobView<'a> {
    pub(crate) fn new(job: &'a Job, seen: &'a Seen, shown: Shown) -> Self {
        let head = Head::of(job.desired.text());
        let (updated_by, updated_at, change_cause) = match LastChange::of(job, seen, &head) {
            None => (None, None, None),
            Some(LastChange { by, at, cause }) => (Some(by), at, cause),
        };
        Self {
            job_id: job.job_id.as_str(),
            job_type: head.job_type,
            payload: head.payload,
            status: seen.view.status,
            reason: seen.view.reason,
            message: without_tokens(&seen.view.message),
            attempt: seen.view.attempt,
            created_at: seen.created.as_ref().ok().map(|c| c.at),
            started_at: seen.view.started_at,
            finished_at: seen.view.finished_at,
            updated_by,
            updated_at,
            change_cause,
            result: shown.result,
            result_url: shown.url,
            result_problem: shown.problem,
            invalid: broken(job, seen),
            desired: Section(job.desired.text().into()),
            control: job.control.as_ref().map(|raw| Section::without_tokens(raw.text())),
            created: Section(job.created.text().into()),
            active: job.active,
        }
    }
}

fn broken(job: &Job, seen: &Seen) -> Vec<Broken> {
    let mut found = Vec::new();
    let mut note = |section: &'static str, invalid: &Invalid| {
        let mut errors = invalid.errors.clone();
        errors.iter_mut().for_each(|e| e.value = without_tokens(&e.value).into_owned());
        found.push(Broken { section, errors });
    };
    if let Err(invalid) = &seen.desired {
        note("desired", invalid);
    }
    if let Some(Err(invalid)) = &seen.control {
        note("control", invalid);
    }
    if let Some(Err(invalid)) = job.status.as_ref().map(contract::Raw::parse) {
        note("status", &invalid);
    }
    if let Err(invalid) = &seen.created {
        note("created", invalid);
    }
    found
}

/// One job of a listing: the flat fields and the labels; no payload, which may have 256 KiB.
#[derive(Serialize)]
pub(crate) struct Summary<'a> {
    job_id: &'a str,
    job_type: Option<Cow<'a, str>>,
    status: Status,
    reason: Option<Reason>,
    message: String,
    attempt: u32,
    created_at: Option<Timestamp>,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    labels: Section<'a>,
}

impl<'a> Summary<'a> {
    pub(crate) fn new(job: &'a Job, head: Head<'a>, view: StatusView) -> Self {
        Self {
            job_id: job.job_id.as_str(),
            job_type: head.job_type,
            status: view.status,
            reason: view.reason,
            message: without_tokens(&view.message).into_owned(),
            attempt: view.attempt,
            created_at: job.created.parse().ok().map(|c| c.at),
            started_at: view.started_at,
            finished_at: view.finished_at,
            labels: Section(head.labels.map_or("{}", RawValue::get).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_cut_wherever_they_stand_and_nothing_else_is() {
        let token = "0123456789abcdef0123456789abcdef";
        let text = format!("{{\"task\":\"process:{token}\",\"sha256\":\"{token}{token}\",\"v\":\"0123\"}}");
        assert_eq!(
            without_tokens(&text),
            format!("{{\"task\":\"process:01234567…\",\"sha256\":\"{token}{token}\",\"v\":\"0123\"}}")
        );
        assert!(matches!(without_tokens("nothing to cut"), Cow::Borrowed(_)));
        assert_eq!(without_tokens(token), "01234567…");
    }

    #[test]
    fn one_broken_member_does_not_hide_the_others() {
        let head = Head::of(r#"{"job_type":"echo","payload":{"a":1},"retry":"many","cancel":true}"#);
        assert_eq!(head.job_type.as_deref(), Some("echo"));
        assert_eq!((head.payload.map(RawValue::get), head.retry, head.cancel), (Some("{\"a\":1}"), 0, true));
        assert!(Head::of("not JSON").job_type.is_none());
    }
}
