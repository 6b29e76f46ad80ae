//! `edit`: what is wanted of a job, in an editor.
//!
//! The text is written to two files: the one that is edited, and beside it (`.base`) the text it was made
//! from. Both stay until a write is confirmed, so nothing that a person typed is ever lost; with `--from`
//! the next try begins where this one ended, and knows what was changed by whom.

mod document;
mod files;
mod patch;
pub(super) mod preview;

use super::describe::last_change;
use super::{VerbError, checked};
use crate::args::Edit;
use crate::client::{Call, Client, ClientError};
use crate::exit::Exit;
use crate::follow::View;
use crate::tree::Tree;
use crate::{ask, output};
use contract::{FieldError, JobId};
use files::Files;
use preview::Preview;

/// A job as it is stored now.
struct Stored {
    /// The version of `desired`.
    etag: String,
    desired: Tree,
    text: String,
    /// Who changed it last, and why.
    changed: Option<String>,
}

pub(super) fn edit(api: &Client, args: &Edit) -> Result<Exit, VerbError> {
    let id = checked(std::slice::from_ref(&args.id))?.remove(0);
    if !args.yes && !args.dry_run && !ask::can_ask() {
        return Err(VerbError::Usage(format!(
            "nobody is at a terminal to agree to what would be written\n\
             add --yes, or type: agent-runner set {id} FIELD=VALUE"
        )));
    }
    let stored = stored(api, &id)?;
    let files = match &args.from {
        None => Files::new(&id, &stored.text)?,
        Some(file) => Files::kept(file)?,
    };
    let done = Session { api, args, id: &id, files: &files, stored }.run();
    done.map_err(|e| {
        if args.from.is_none() && files.are_untouched() {
            files.remove();
            return e;
        }
        VerbError::Kept(Box::new(e), files.again(&id))
    })
}

fn stored(api: &Client, id: &JobId) -> Result<Stored, ClientError> {
    let answer = api.answer(Call::get(format!("/jobs/{id}")))?;
    let (job, view): (Tree, View) = (api.decoded(&answer.body)?, api.decoded(&answer.body)?);
    let desired = job.get("desired").filter(|d| matches!(d, Tree::Map(_)));
    let desired = desired.cloned().unwrap_or(Tree::Map(Vec::new())).without("updated");
    let text = document::text(&job, &view, &desired);
    Ok(Stored {
        etag: answer.etag.unwrap_or_else(|| "*".to_owned()),
        changed: last_change(&job),
        desired,
        text,
    })
}

/// What a text leads to.
enum Checked {
    /// It cannot be written as it is.
    Wrong(Vec<FieldError>),
    /// Nothing would change.
    Same,
    /// It can be written.
    Good { patch: Tree, preview: Box<Preview> },
}

struct Session<'a> {
    api: &'a Client,
    args: &'a Edit,
    id: &'a JobId,
    files: &'a Files,
    stored: Stored,
}

impl Session<'_> {
    fn run(self) -> Result<Exit, VerbError> {
        let mut wants_editor = self.args.from.is_none();
        loop {
            let before = self.files.read()?;
            if wants_editor {
                self.files.edit()?;
            }
            let text = self.files.read()?;
            let Some(mine) = document::read(&text).transpose() else {
                return self.leave("the text is empty: nothing was written");
            };
            let errors = match mine.map_err(|e| vec![e]).map(|mine| self.check(&mine)) {
                Ok(Ok(Checked::Good { patch, preview })) => return self.agree(&patch, &preview),
                Ok(Ok(Checked::Same)) => return self.leave("nothing changed"),
                Ok(Ok(Checked::Wrong(errors))) | Err(errors) => errors,
                Ok(Err(e)) => return Err(self.explained(e)),
            };
            let marked = document::with_errors(&text, &errors);
            self.files.write(&marked)?;
            // Saved as it was shown means giving up; and a script would make the same mistake for ever.
            if (wants_editor && before == marked) || !ask::can_ask() {
                return Err(VerbError::Failed(listed(&errors)));
            }
            wants_editor = true;
        }
    }

    /// Checks a text here and by the API, which also says what would come of it.
    fn check(&self, mine: &Tree) -> Result<Checked, ClientError> {
        let base = self.files.base().unwrap_or_else(|| self.stored.desired.clone());
        let Some(before) = base.get("job_type").filter(|t| mine.get("job_type") != Some(t)) else {
            return self.asked(&base, mine);
        };
        let value = mine.get("job_type").map_or("nothing".to_owned(), Tree::json);
        let message = format!("it is {}, and that never changes", before.json());
        let mut errors = vec![FieldError { pointer: "/job_type".into(), value, message }];
        // Whatever else is wrong is told at once.
        if let Checked::Wrong(others) = self.asked(&base, mine)? {
            errors.extend(others.into_iter().filter(|e| e.pointer != "/job_type"));
        }
        Ok(Checked::Wrong(errors))
    }

    /// What the API says of a text.
    fn asked(&self, base: &Tree, mine: &Tree) -> Result<Checked, ClientError> {
        let patch = match patch::patch(base, mine) {
            Ok(Some(patch)) => patch,
            Ok(None) => return Ok(Checked::Same),
            Err(errors) => return Ok(Checked::Wrong(errors)),
        };
        let path = format!("/jobs/{}?dry_run=true", self.id);
        match self.api.json::<Preview>(Call::patch(path, patch.json(), Some(self.stored.etag.clone()))) {
            Ok(preview) if preview.changes_something() => {
                Ok(Checked::Good { patch, preview: Box::new(preview) })
            }
            Ok(_) => Ok(Checked::Same),
            Err(ClientError::Refused(p)) if p.status == 422 || p.token() == "invalid-json" => {
                let mut errors = p.errors.clone();
                if errors.is_empty() {
                    let (pointer, value) = (String::new(), String::new());
                    errors.push(FieldError { pointer, value, message: p.what() });
                }
                Ok(Checked::Wrong(errors))
            }
            Err(e) => Err(e),
        }
    }

    /// Shows what would be written, asks, and writes.
    fn agree(&self, patch: &Tree, preview: &Preview) -> Result<Exit, VerbError> {
        let colours = output::stdout_colours();
        let names = ["stored", "yours"];
        output::data(&document::diff(
            &self.stored.desired,
            &preview.desired.clone().without("updated"),
            names,
            colours,
        ))?;
        output::data(&preview.decision())?;
        let quarrels = self.quarrels(patch);
        for (pointer, theirs) in &quarrels {
            let theirs = output::one_line(&theirs.json());
            output::say(&format!(
                "somebody else has changed {pointer} to {theirs} meanwhile; yours replaces it"
            ));
        }
        if self.args.dry_run {
            output::say("a dry run: nothing was written");
            output::say(&self.files.again(self.id));
            return Ok(Exit::Done);
        }
        if self.args.yes && !quarrels.is_empty() {
            return Err(VerbError::Failed("nothing was written: --yes does not decide between two changes of one field; leave it out to be asked".to_owned()));
        }
        if !self.args.yes && !ask::confirm("write this?")? {
            output::say("nothing was written");
            output::say(&self.files.again(self.id));
            return Ok(Exit::Done);
        }
        self.write(patch, &preview.etag)
    }

    /// What others changed since the text was made, and this text changes too.
    fn quarrels(&self, patch: &Tree) -> Vec<(String, Tree)> {
        let theirs =
            self.files.base().and_then(|base| patch::patch(&base, &self.stored.desired).ok().flatten());
        theirs.map_or_else(Vec::new, |theirs| patch::quarrels(patch, &theirs))
    }

    fn write(&self, patch: &Tree, etag: &str) -> Result<Exit, VerbError> {
        let path = format!("/jobs/{}{}", self.id, self.args.why.query(None));
        let call = Call::patch(path, patch.json(), Some(etag.to_owned()));
        match self.api.call(call) {
            Ok(_) => {}
            // Whether it was stored shows in what is stored: then the patch would change nothing any more.
            Err(ClientError::Lost { .. }) if self.is_stored(patch)? => {}
            Err(e) => return Err(self.explained(e)),
        }
        self.files.remove();
        output::data(&format!("{} changed\n", self.id))?;
        Ok(Exit::Done)
    }

    fn is_stored(&self, patch: &Tree) -> Result<bool, ClientError> {
        let path = format!("/jobs/{}?dry_run=true", self.id);
        let preview: Preview = self.api.json(Call::patch(path, patch.json(), None))?;
        Ok(!preview.changes_something())
    }

    /// A conflict with the change that others made, anything else as it is.
    fn explained(&self, e: ClientError) -> VerbError {
        if e.problem().is_none_or(|p| p.status != 412) {
            return e.into();
        }
        let now = match stored(self.api, self.id) {
            Ok(now) => now,
            Err(e) => return e.into(),
        };
        let names = ["as you saw it", "as it is now"];
        let theirs = document::diff(&self.stored.desired, &now.desired, names, output::stderr_colours());
        let who = now.changed.map(|changed| format!(", {changed}")).unwrap_or_default();
        VerbError::Failed(format!(
            "nothing was written: somebody else has changed this job meanwhile{who}\n{theirs}"
        ))
    }

    /// Ends without a write that anybody wanted.
    fn leave(&self, why: &str) -> Result<Exit, VerbError> {
        output::say(why);
        if self.args.from.is_none() {
            self.files.remove();
        }
        Ok(Exit::Done)
    }
}

fn listed(errors: &[FieldError]) -> String {
    let lines: String =
        errors.iter().map(|e| format!("\n  {}", output::one_line(&document::shown(e)))).collect();
    format!("nothing was written; the text has errors:{lines}")
}
