//! `explain`: why a job is where it is, since when, what happens next and who has to act. The answer is the
//! API's; here it is only put into lines.

use super::{VerbError, advice, checked};
use crate::args::{ConfigForm, Explain};
use crate::client::{Call, Client};
use crate::exit::Exit;
use crate::follow::View;
use crate::output::{self, moment, one_line, wrapped};
use crate::tree::Tree;
use contract::Timestamp;
use serde::Deserialize;

/// The API's answer, of this version or of one that names blockers by their word alone.
#[derive(Debug, Deserialize)]
pub(super) struct Explanation {
    pub(super) status: String,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    message: String,
    #[serde(default)]
    since: Option<Timestamp>,
    #[serde(default)]
    next: Next,
    #[serde(default)]
    blockers: Vec<Blocker>,
    #[serde(default)]
    position: Option<Position>,
    #[serde(default)]
    act: Option<String>,
    /// Fields of `desired` that cannot be decoded.
    #[serde(default)]
    errors: Vec<contract::FieldError>,
    /// What `describe` shows; absent in answers of earlier versions.
    #[serde(default)]
    conditions: Vec<Condition>,
}

/// What holds of a job, as Kubernetes has it.
#[derive(Debug, Deserialize)]
struct Condition {
    r#type: String,
    status: String,
    #[serde(default)]
    since: Option<Timestamp>,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    message: String,
}

#[derive(Debug, Default, Deserialize)]
struct Next {
    #[serde(default)]
    what: String,
    #[serde(default)]
    at: Option<Timestamp>,
    #[serde(default)]
    who: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Blocker {
    Word(String),
    Told {
        reason: String,
        #[serde(default)]
        message: String,
        #[serde(default)]
        since: Option<Timestamp>,
    },
}

#[derive(Debug, Deserialize)]
struct Position {
    place: u64,
    of: u64,
    #[serde(default)]
    limit: Option<Tree>,
}

pub(super) fn explain(api: &Client, args: &Explain) -> Result<Exit, VerbError> {
    let mut json = Vec::new();
    for (at, id) in checked(&args.ids)?.iter().enumerate() {
        let call = Call::get(format!("/jobs/{id}/explain"));
        if args.output == ConfigForm::Json {
            json.push(String::from_utf8_lossy(&api.call(call)?).trim_end().to_owned());
            continue;
        }
        let told: Explanation = api.json(call)?;
        let gap = if at > 0 { "\n" } else { "" };
        output::data(&format!("{gap}{}", text(id.as_str(), &told, api.now())))?;
    }
    match json.as_slice() {
        [] => {}
        [one] => output::data(&format!("{one}\n"))?,
        all => output::data(&format!("[{}]\n", all.join(",")))?,
    }
    Ok(Exit::Done)
}

fn text(id: &str, told: &Explanation, now: Timestamp) -> String {
    let colours = output::stdout_colours();
    let mut out = format!("{id}\n");
    out.push_str(&lines(told, now, colours));
    let view = told.view(id);
    if told.who() != Some("nobody") || view.is_finished() {
        let steps = advice::lines(&view);
        if !steps.is_empty() {
            out.push_str(&format!("What you can type:\n{steps}"));
        }
    }
    out
}

/// The lines of an explanation, as `describe` shows them too.
pub(super) fn lines(told: &Explanation, now: Timestamp, colours: bool) -> String {
    let mut out = String::new();
    let mut say = |name: &str, text: &str| out.push_str(&format!("{name:<11}{text}\n"));
    let status = output::status(&one_line(&told.status), 0, colours);
    match &told.reason {
        Some(reason) => say("Status", &format!("{status} ({})", one_line(reason))),
        None => say("Status", &status),
    }
    // The fields say it again, one by one.
    if !told.message.is_empty() && told.errors.is_empty() {
        say("Why", &wrapped(&told.message, 11, output::WIDTH));
    }
    if let Some(since) = told.since {
        say("Since", &moment(since, now));
    }
    for error in &told.errors {
        say("Field", &wrapped(&error.to_string(), 11, output::WIDTH));
    }
    for blocker in &told.blockers {
        say("Also", &wrapped(&as_typed(&blocker.text(now)), 11, output::WIDTH));
    }
    if let Some(position) = &told.position {
        let limit = position.limit.as_ref().map(|l| format!(" for {}", one_line(&l.short())));
        say(
            "Place",
            &format!("{} of {} that wait{}", position.place, position.of, limit.unwrap_or_default()),
        );
    }
    if !told.next.what.is_empty() {
        say("Next", &wrapped(&as_typed(&told.next.what), 11, output::WIDTH));
    }
    if let Some(at) = told.next.at {
        say("At", &moment(at, now));
    }
    if let Some(who) = told.who() {
        let who = match who {
            "nobody" => "nobody has to act",
            "owner" | "you" => "whoever submitted the job",
            "operator" => "the operator",
            other => other,
        };
        say("Who acts", &one_line(who));
    }
    out
}

/// The conditions, one a line: type, status, since when, and why where that is not the job's message again.
pub(super) fn conditions(told: &Explanation, now: Timestamp) -> String {
    let mut out = String::new();
    for condition in &told.conditions {
        let age = condition.since.map_or("-".into(), |at| output::age(now.millis_since(at)));
        let (kind, status) = (one_line(&condition.r#type), one_line(&condition.status));
        let begin = format!("  {kind:<10} {status:<8} {age:<5} ");
        let said = Some(condition.message.as_str()).filter(|m| !m.is_empty() && *m != told.message);
        let why = [condition.reason.as_deref(), said].into_iter().flatten().collect::<Vec<_>>().join(": ");
        let why = wrapped(&as_typed(&why), begin.chars().count(), output::WIDTH);
        out.push_str(format!("{begin}{why}").trim_end());
        out.push('\n');
    }
    out
}

/// The API speaks of its own paths; whoever reads this types verbs.
fn as_typed(text: &str) -> String {
    let verbs = ["retry", "resume", "cancel", "suspend"];
    let text = verbs.iter().fold(text.to_owned(), |text, verb| {
        text.replace(&format!("POST /jobs/{{id}}/{verb}"), &format!("`agent-runner {verb}`"))
    });
    text.replace("PATCH the job", "`agent-runner edit`")
}

impl Explanation {
    fn who(&self) -> Option<&str> {
        self.act.as_deref().or(self.next.who.as_deref())
    }

    fn view(&self, id: &str) -> View {
        View::new(id, &self.status, self.reason.as_deref())
    }
}

impl Blocker {
    fn text(&self, now: Timestamp) -> String {
        match self {
            Self::Word(word) => word.clone(),
            Self::Told { reason, message, since } => {
                let colon = if message.is_empty() { "" } else { ": " };
                let since = since.map(|at| format!(", since {}", moment(at, now))).unwrap_or_default();
                format!("{reason}{colon}{message}{since}")
            }
        }
    }
}
