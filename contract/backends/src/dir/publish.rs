//! Publishing a result: `jobs/<job_id>/result.json` becomes a relative symbolic link to
//! `attempts/<n>-<token prefix>/result.json`.
//!
//! A link because replacing it by a rename is atomic whatever the size of the result, because it costs no
//! second copy, and because the number of the attempt that is published stays readable in it, which makes
//! "forward only" a comparison. Two publishers (a paused leader and its successor) take turns by a lock on
//! the job's folder; the lock goes with the process. A regular file in the link's place (somebody restored
//! a backup without links) names no attempt and is replaced.

use super::key::DRAFT;
use super::{DirArtifacts, digest, tree};
use crate::artifacts::{ArtifactsError, Publication};
use crate::crash::{self, Act};
use contract::attempt::{ManifestEntry, RESULT_FILE};
use contract::{JobId, LaunchToken};
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};

/// Where a published result lies, as its link says.
pub(super) struct Pointed {
    /// The attempt's number.
    pub(super) number: u32,
    /// `attempts/<n>-<token prefix>/result.json`.
    pub(super) path: String,
}

/// Reads the link `name` in `dir`. `None`: not a link, or not one that a publication makes.
pub(super) fn pointed(dir: impl AsFd, name: &str) -> Result<Option<Pointed>, Errno> {
    if name != RESULT_FILE {
        return Ok(None);
    }
    match rustix::fs::readlinkat(dir, name, Vec::new()) {
        Ok(target) => Ok(target.into_string().ok().and_then(parse)),
        Err(Errno::NOENT | Errno::INVAL) => Ok(None),
        Err(e) => Err(e),
    }
}

fn parse(path: String) -> Option<Pointed> {
    let attempt = path.strip_prefix("attempts/")?.strip_suffix("/result.json")?;
    let (number, prefix) = attempt.split_once('-')?;
    let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    let number = number.parse().ok()?;
    (prefix.len() == 8 && prefix.bytes().all(hex)).then_some(Pointed { number, path })
}

impl DirArtifacts {
    pub(super) fn publish_now(
        &self,
        job_id: &JobId,
        number: u32,
        token: &LaunchToken,
        expected: &ManifestEntry,
    ) -> Result<Publication, ArtifactsError> {
        let folder = format!("jobs/{job_id}");
        let failed = |message: String| ArtifactsError::Unavailable {
            key: format!("{folder}/{RESULT_FILE}"),
            verb: "stored",
            message,
        };
        let words = |e: Errno| failed(e.to_string());
        let dir = match tree::folder(&self.root, &folder) {
            Err(Errno::NOENT) => return Ok(Publication::Unreadable(format!("{folder} does not exist"))),
            dir => dir.map_err(words)?,
        };
        // Not waiting: a publisher that was stopped while it holds the lock must not stop the next one's
        // thread too.
        match rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => return Err(failed("another publisher is at work".to_owned())),
            locked => locked.map_err(words)?,
        }
        let now = pointed(&dir, RESULT_FILE).map_err(words)?;
        if let Some(now) = now.as_ref().filter(|now| now.number > number) {
            return Ok(Publication::Newer { number: now.number });
        }
        let path = format!("attempts/{number}-{}/{RESULT_FILE}", token.prefix());
        if let Some(why) = mismatch(&dir, &path, expected).map_err(words)? {
            return Ok(Publication::Unreadable(format!("{folder}/{path} {why}")));
        }
        if now.is_none_or(|now| now.path != path) {
            self.point(&dir, &path).map_err(words)?;
        }
        if self.syncs() {
            rustix::fs::fsync(&dir).map_err(words)?;
        }
        Ok(Publication::Published)
    }

    /// Makes the link, in one step for whoever reads it.
    fn point(&self, dir: &OwnedFd, path: &str) -> Result<(), Errno> {
        crash::before(Act::Link);
        match rustix::fs::symlinkat(path, dir, RESULT_FILE) {
            Err(Errno::EXIST) => {}
            answer => {
                crash::after(Act::Link);
                return answer;
            }
        }
        let draft = loop {
            let draft = format!("{DRAFT}{}", self.next_draft());
            match rustix::fs::symlinkat(path, dir, draft.as_str()) {
                Ok(()) => break draft,
                Err(Errno::EXIST) => {}
                Err(e) => return Err(e),
            }
        };
        crash::before(Act::Relink);
        rustix::fs::renameat(dir, draft.as_str(), dir, RESULT_FILE).inspect_err(|_| {
            let _ = rustix::fs::unlinkat(dir, draft.as_str(), rustix::fs::AtFlags::empty());
        })?;
        crash::after(Act::Relink);
        Ok(())
    }
}

/// What is wrong with the file at `path`, compared with `expected`.
fn mismatch(dir: &OwnedFd, path: &str, expected: &ManifestEntry) -> Result<Option<String>, Errno> {
    let Some((file, size)) = (match tree::read_below(dir, path) {
        Err(Errno::LOOP | Errno::ACCESS) => None,
        file => file?,
    }) else {
        return Ok(Some("is not a readable file".to_owned()));
    };
    if size != expected.size {
        return Ok(Some(format!("has {size} bytes instead of {}", expected.size)));
    }
    let found = digest::of(&file)?;
    let same = found.sha256 == expected.sha256;
    Ok((!same).then(|| format!("has the SHA-256 {} instead of {}", found.sha256, expected.sha256)))
}
