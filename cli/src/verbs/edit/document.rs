//! The text that is edited: `desired` as YAML, with where the job is as comments above it. What went wrong
//! with an earlier version of the text stands at its very top.

use super::super::describe::last_change;
use crate::follow::View;
use crate::output::{one_line, wrapped};
use crate::tree::Tree;
use contract::FieldError;

/// Begins the lines that say what is wrong; they are taken out before the text is read or shown again.
const WRONG: &str = "#! ";
/// The widest comment.
const WIDTH: usize = 100;

/// The text for a job as it is now.
pub(super) fn text(job: &Tree, view: &View, desired: &Tree) -> String {
    let mut out = String::new();
    let mut comment = |text: &str| {
        let lines = wrapped(text, 2, WIDTH).replace("\n  ", "\n#   ");
        out.push_str(format!("# {lines}").trim_end());
        out.push('\n');
    };
    comment(&format!("What is wanted of job {}. Lines that begin with # are ignored.", view.job_id));
    comment(
        "cancel, suspend, priority and deadlines act at once; payload, env and resources at the next attempt; \
         on a finished job only retry and ttl_seconds_after_finished. job_type never changes, retry never \
         shrinks. A field that is deleted gets its default again. Save nothing, or an empty file, to leave it \
         as it is.",
    );
    comment("");
    let reason = view.reason.as_ref().map(|r| format!(" ({r})")).unwrap_or_default();
    comment(&format!("status: {}{reason}, attempt {}", view.status, view.attempt));
    if !view.message.is_empty() {
        comment(&format!("message: {}", view.message));
    }
    let times = [("created", view.created_at), ("started", view.started_at), ("finished", view.finished_at)];
    for (name, at) in times.into_iter().filter_map(|(name, at)| Some((name, at?))) {
        comment(&format!("{name}: {at}"));
    }
    if let Some(change) = last_change(job) {
        comment(&format!("changed: {change}"));
    }
    for section in job.get("invalid").map_or(&[][..], Tree::items) {
        for error in section.get("errors").map_or(&[][..], Tree::items) {
            let of = |name: &str| error.get(name).map_or(String::new(), Tree::short);
            let section = section.get("section").map_or(String::new(), Tree::short);
            comment(&format!(
                "broken: {section}{}: {} is not allowed: {}",
                of("pointer"),
                of("value"),
                of("message")
            ));
        }
    }
    if let Some(stored) = job.get("desired").and_then(Tree::text) {
        comment("desired as it is stored is no JSON object; what you write here replaces it:");
        comment(stored);
    }
    if !desired.members().is_empty() {
        out.push_str(&desired.yaml());
    }
    out
}

/// The text without what was said to be wrong with it.
pub(super) fn without_errors(text: &str) -> String {
    let kept = text.lines().skip_while(|line| line.starts_with(WRONG.trim_end()));
    kept.map(|line| line.to_owned() + "\n").collect()
}

/// The same text with what is wrong with it at its top.
pub(super) fn with_errors(text: &str, errors: &[FieldError]) -> String {
    let mut out = String::new();
    let mut say = |text: &str| {
        out.push_str(&format!(
            "{WRONG}{}\n",
            wrapped(text, 3, WIDTH).replace("\n   ", &format!("\n{WRONG}  "))
        ));
    };
    let count = if errors.len() == 1 { "1 error".to_owned() } else { format!("{} errors", errors.len()) };
    say(&format!("{count}; nothing was written. Correct your text, or save it as it is to give up."));
    errors.iter().for_each(|error| say(&one_line(&shown(error))));
    out + &without_errors(text)
}

/// An error with what to do instead.
pub(super) fn shown(error: &FieldError) -> String {
    let text = match error.pointer.is_empty() {
        true => error.message.clone(),
        false => error.to_string(),
    };
    match error.pointer.as_str() {
        "/job_type" => format!("{text}; for a new job of another type: agent-runner resubmit --type"),
        "/retry" => format!("{text}; for another run: agent-runner retry"),
        _ => text,
    }
}

/// What is wanted by the text; `None` when nothing stands in it.
pub(super) fn read(text: &str) -> Result<Option<Tree>, FieldError> {
    let wrong = |message: String| FieldError { pointer: String::new(), value: String::new(), message };
    match Tree::of_yaml(&without_errors(text)) {
        Ok(Tree::Null) => Ok(None),
        Ok(map @ Tree::Map(_)) => Ok(Some(map)),
        Ok(other) => Err(wrong(format!("fields are needed, as in `priority: 5`; this is {}", other.short()))),
        Err(e) => Err(wrong(format!("not YAML: {}", one_line(&e)))),
    }
}

/// What changes, as a unified diff; empty when nothing does.
pub(super) fn diff(before: &Tree, after: &Tree, names: [&str; 2], colours: bool) -> String {
    let (left, right) = (before.yaml(), after.yaml());
    let diff = similar::TextDiff::from_lines(&left, &right);
    let text = diff.unified_diff().context_radius(2).header(names[0], names[1]).to_string();
    if !colours {
        return text;
    }
    let colour = |line: &str| match line.as_bytes().first() {
        Some(b'+') => format!("\x1b[32m{line}\x1b[0m\n"),
        Some(b'-') => format!("\x1b[31m{line}\x1b[0m\n"),
        _ => format!("{line}\n"),
    };
    text.lines().map(colour).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(pointer: &str, value: &str, message: &str) -> FieldError {
        FieldError { pointer: pointer.into(), value: value.into(), message: message.into() }
    }

    #[test]
    fn errors_stand_above_the_users_own_text_and_go_away_again() {
        let text = "# mine\npriority: 5 # why\n#! not an error, below the first line\n";
        let errors =
            [error("/priority", "5000", "-1000 to 1000"), error("/job_type", "\"x\"", "never changes")];
        let shown = with_errors(text, &errors);
        assert!(shown.starts_with("#! 2 errors; nothing was written."), "{shown}");
        assert!(shown.contains("#! /priority: 5000 is not allowed: -1000 to 1000\n"), "{shown}");
        assert!(shown.contains("resubmit --type"), "{shown}");
        assert!(shown.ends_with(text), "{shown}");
        assert_eq!(without_errors(&shown), text);
        let again = with_errors(&shown, &errors[..1]);
        assert!(
            again.starts_with("#! 1 error;") && again.ends_with(text) && !again.contains("2 errors"),
            "{again}"
        );
    }

    #[test]
    fn what_is_no_set_of_fields_is_said_to_be_none() {
        assert_eq!(read("# nothing\n\n").unwrap(), None);
        assert!(read("just words").unwrap_err().message.contains("fields are needed"));
        assert!(read("a: [1").unwrap_err().message.starts_with("not YAML: "));
        assert_eq!(read("#! wrong\na: 1\n").unwrap().unwrap().json(), r#"{"a":1}"#);
    }

    #[test]
    fn a_diff_shows_what_changes_and_little_around_it() {
        let tree = |text: &str| Tree::of_json(text).unwrap();
        let (before, after) =
            (tree(r#"{"a":1,"b":2,"c":3,"d":4,"e":5}"#), tree(r#"{"a":1,"b":2,"c":3,"d":9,"e":5}"#));
        let text = diff(&before, &after, ["stored", "yours"], false);
        assert_eq!(text, "--- stored\n+++ yours\n@@ -2,4 +2,4 @@\n b: 2\n c: 3\n-d: 4\n+d: 9\n e: 5\n");
        assert_eq!(diff(&before, &before, ["stored", "yours"], true), "");
    }
}
