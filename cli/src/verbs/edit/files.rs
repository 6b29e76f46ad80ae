//! The files of an edit, and the editor.

use super::super::VerbError;
use super::document;
use crate::ask;
use crate::tree::Tree;
use contract::JobId;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The file that is edited, and the text that it was made from.
pub(super) struct Files {
    file: PathBuf,
}

impl Files {
    /// New files, which only this user can read: payloads and variables may be secrets.
    pub(super) fn new(id: &JobId, text: &str) -> Result<Self, VerbError> {
        let fresh = backends::clock::fresh_token();
        let name = format!("agent-runner-{id}-{}.yaml", fresh.prefix());
        let files = Self { file: std::env::temp_dir().join(name) };
        for path in [&files.base_path(), &files.file] {
            let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
            file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|e| unusable(path, &e))?;
        }
        Ok(files)
    }

    /// The files that an earlier edit kept.
    pub(super) fn kept(file: &Path) -> Result<Self, VerbError> {
        let files = Self { file: file.to_owned() };
        files.read().map(|_| files)
    }

    fn base_path(&self) -> PathBuf {
        let mut name = self.file.clone().into_os_string();
        name.push(".base");
        name.into()
    }

    /// The text.
    pub(super) fn read(&self) -> Result<String, VerbError> {
        std::fs::read_to_string(&self.file).map_err(|e| unusable(&self.file, &e))
    }

    /// Replaces the text.
    pub(super) fn write(&self, text: &str) -> Result<(), VerbError> {
        std::fs::write(&self.file, text).map_err(|e| unusable(&self.file, &e))
    }

    /// What was wanted when the text was made; `None` when that is not known.
    pub(super) fn base(&self) -> Option<Tree> {
        let text = std::fs::read_to_string(self.base_path()).ok()?;
        let tree = Tree::of_yaml(&document::without_errors(&text)).ok()?;
        // A job whose stored text is no object had nothing but comments.
        Some(if tree == Tree::Null { Tree::Map(Vec::new()) } else { tree })
    }

    /// Whether nobody has typed anything.
    pub(super) fn are_untouched(&self) -> bool {
        let text = |path: &Path| std::fs::read_to_string(path).ok();
        text(&self.file).is_some_and(|typed| text(&self.base_path()) == Some(typed))
    }

    /// After a confirmed write, or when nothing was typed. What cannot be removed does no harm.
    pub(super) fn remove(&self) {
        let _ = std::fs::remove_file(&self.file);
        let _ = std::fs::remove_file(self.base_path());
    }

    /// What to say when the text is kept.
    pub(super) fn again(&self, id: &JobId) -> String {
        format!("your text is kept; try again with: agent-runner edit {id} --from {}", self.file.display())
    }

    /// Opens the editor and waits for its end.
    pub(super) fn edit(&self) -> Result<(), VerbError> {
        let chosen = ["VISUAL", "EDITOR"]
            .into_iter()
            .find_map(|name| std::env::var(name).ok().filter(|editor| !editor.trim().is_empty()));
        if chosen.is_none() && !ask::can_ask() {
            return Err(VerbError::Usage(
                "nobody is at a terminal for vi\n\
                 set VISUAL or EDITOR to a program that edits by itself, or type: agent-runner set JOB_ID FIELD=VALUE"
                    .into(),
            ));
        }
        let editor = chosen.unwrap_or_else(|| "vi".to_owned());
        // By a shell, because the variables hold words (`code --wait`).
        let ended =
            Command::new("sh").arg("-c").arg(format!("{editor} \"$1\"")).arg("sh").arg(&self.file).status();
        let ended = ended.map_err(|e| VerbError::Failed(format!("sh cannot be started: {e}")))?;
        if ended.success() {
            return Ok(());
        }
        let what = if ended.code() == Some(127) { "is not there" } else { "failed" };
        Err(VerbError::Failed(format!(
            "nothing was written: the editor `{editor}` {what} ({ended})\n\
             set VISUAL or EDITOR to an editor that waits until the file is closed"
        )))
    }
}

fn unusable(file: &Path, e: &std::io::Error) -> VerbError {
    VerbError::Failed(format!("{} cannot be used: {e}", file.display()))
}
