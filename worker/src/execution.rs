//! What an execution left, and how it is stored.

use crate::agent;
use crate::drive::block_on;
use crate::patience::Patience;
use crate::reporter::{Beat, Reporter};
use crate::settings::Settings;
use crate::signals::Signals;
use backends::{Artifacts, ArtifactsError, Content, Stored};
use contract::{Attempt, Failure, FailureClass, Manifest, ManifestEntry, Outcome, Timestamp};
use std::path::PathBuf;
use std::time::Duration;

/// The name of the log of what the agent wrote to stdout.
pub(crate) const STDOUT_LOG: &str = "stdout.log";
/// The name of the log of what the agent wrote to stderr.
pub(crate) const STDERR_LOG: &str = "stderr.log";

/// How an execution ended, and the files that it left, `result.json` first if there is one. An empty log is
/// a file like any other, so that nobody wonders where it went.
#[derive(Debug)]
pub(crate) struct Execution {
    pub(crate) finished_at: Timestamp,
    pub(crate) failure: Option<Failure>,
    pub(crate) files: Vec<LeftFile>,
}

/// A file of an execution.
#[derive(Debug)]
pub(crate) struct LeftFile {
    /// Below the attempt's folder.
    pub(crate) path: String,
    pub(crate) content: LeftContent,
}

/// Where the content of a file is.
#[derive(Debug)]
pub(crate) enum LeftContent {
    Bytes(Vec<u8>),
    File(PathBuf),
}

/// The end of an execution.
#[derive(Debug)]
pub(crate) enum Ended {
    /// It left something to be stored and reported.
    Left(Execution),
    /// The attempt was taken away; there is nothing to say any more.
    Lost,
}

impl Execution {
    /// An execution that failed before there was anything to store.
    pub(crate) fn failed(class: FailureClass, message: impl Into<String>) -> Self {
        Self {
            finished_at: now(),
            failure: Some(Failure { class, exit_code: None, message: message.into() }),
            files: Vec::new(),
        }
    }
}

impl LeftFile {
    /// These bytes, to be stored as `path`.
    pub(crate) fn bytes(path: &str, bytes: impl Into<Vec<u8>>) -> Self {
        Self { path: path.to_owned(), content: LeftContent::Bytes(bytes.into()) }
    }
}

/// The machine's wall-clock time.
pub(crate) fn now() -> Timestamp {
    std::time::SystemTime::now().into()
}

/// Opens the store of artifacts.
pub(crate) type OpenArtifacts<'a> = &'a dyn Fn() -> Result<Box<dyn Artifacts>, ArtifactsError>;

/// The store of artifacts, opened when it is first needed: a worker that loses the gate never does.
pub(crate) struct Shelf<'a> {
    open: OpenArtifacts<'a>,
    opened: Option<Box<dyn Artifacts>>,
}

impl<'a> Shelf<'a> {
    pub(crate) fn new(open: OpenArtifacts<'a>) -> Self {
        Self { open, opened: None }
    }

    fn artifacts(&mut self) -> Result<&dyn Artifacts, ArtifactsError> {
        if self.opened.is_none() {
            self.opened = Some((self.open)()?);
        }
        // Opened just above, so the error is never made.
        self.opened.as_deref().ok_or_else(|| ArtifactsError::Key(String::new()))
    }

    /// Reads an artifact whole.
    pub(crate) fn get(&mut self, key: &str) -> Result<Option<Vec<u8>>, ArtifactsError> {
        block_on(self.artifacts()?.get(key, None))
    }

    fn put(&mut self, key: &str, content: &LeftContent) -> Result<Stored, ArtifactsError> {
        let content = match content {
            LeftContent::Bytes(bytes) => Content::Bytes(bytes),
            LeftContent::File(path) => Content::File(path),
        };
        block_on(self.artifacts()?.put(key, content))
    }
}

/// What storing needs besides the files.
pub(crate) struct Storing<'a, 'b> {
    pub(crate) settings: &'a Settings,
    pub(crate) reporter: &'a mut Reporter<'b>,
    pub(crate) signals: Option<&'a Signals>,
    /// How long whoever says stop waits.
    pub(crate) grace: Duration,
}

impl Storing<'_, '_> {
    /// Stores the files of `execution`. What cannot be stored in time makes a success a failure, and adds
    /// to the message of a failure, whose cause it is not. `None`: the attempt was taken away.
    pub(crate) fn store(
        &mut self,
        shelf: &mut Shelf<'_>,
        number: u32,
        execution: Execution,
    ) -> Option<Outcome> {
        let folder = Attempt::folder(&self.settings.job_id, number, &self.settings.token);
        let mut patience = Patience::of(self.settings.artifacts_patience);
        let mut manifest = Manifest { files: Vec::with_capacity(execution.files.len()) };
        let mut problem = None;
        for file in execution.files {
            let key = format!("{folder}/{}", file.path);
            match self.put(shelf, &key, &file.content, &mut patience)? {
                Ok(Stored { size, sha256 }) => {
                    manifest.files.push(ManifestEntry { path: file.path, size, sha256 });
                }
                Err(e) => {
                    problem = Some(e);
                    break;
                }
            }
        }
        let failure = match (execution.failure, problem) {
            (failure, None) => failure,
            (Some(failure), Some(problem)) => {
                let message = format!("{}; not everything was stored: {problem}", failure.message);
                Some(Failure { message, ..failure })
            }
            // The agent chose the name; trying again would not change it.
            (None, Some(e @ ArtifactsError::Key(_))) => {
                let class = FailureClass::InvalidResult;
                Some(Failure { class, exit_code: Some(0), message: e.to_string() })
            }
            (None, Some(e)) => {
                let class = FailureClass::ArtifactsNotStored;
                Some(Failure { class, exit_code: None, message: e.to_string() })
            }
        };
        Some(Outcome { finished_at: execution.finished_at, failure, manifest })
    }

    /// Stores one file. `None`: the attempt was taken away.
    fn put(
        &mut self,
        shelf: &mut Shelf<'_>,
        key: &str,
        content: &LeftContent,
        patience: &mut Patience,
    ) -> Option<Result<Stored, ArtifactsError>> {
        loop {
            if self.reporter.beat() == Beat::Lost {
                return None;
            }
            match shelf.put(key, content) {
                Err(e @ ArtifactsError::Unavailable { .. }) => {
                    self.reporter.say(&e.to_string());
                    agent::make_room(&self.settings.task_folder);
                    if !patience.pause(self.signals, self.grace) {
                        return Some(Err(e));
                    }
                }
                answer => return Some(answer),
            }
        }
    }
}
