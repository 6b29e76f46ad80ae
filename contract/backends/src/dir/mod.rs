//! Artifacts in a directory of a local file system.
//!
//! A file appears under its key complete or not at all: it is written as `.draft-…` beside its place and
//! renamed without replacing (hard-linked where the file system cannot do that). A crash leaves at most a
//! draft behind, which no key can name, no listing shows and the deletion of the job removes. With
//! [`Durability::Power`] files and the names on the way to them are on disk when a call returns; with
//! [`Durability::Process`] they survive the death of any process.
//!
//! Keys come from agents' file names: besides the check of the key, symbolic links below the root are not
//! followed, except for a published result (see `publish`), which leads back into its job's folder. The
//! root itself may be a link.

pub(crate) mod digest;
pub(crate) mod key;
mod publish;
pub(crate) mod tree;

use crate::artifacts::{Artifacts, ArtifactsError, Content, Publication, Stored};
use crate::crash::{self, Act};
use crate::durability::Durability;
use async_trait::async_trait;
use contract::attempt::ManifestEntry;
use contract::{JobId, LaunchToken, PayloadRef};
use key::DRAFT;
use rustix::io::Errno;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Artifacts in a directory. See the module's description.
#[derive(Debug)]
pub struct DirArtifacts {
    root: OwnedFd,
    path: PathBuf,
    durability: Durability,
    drafts: AtomicU32,
}

impl DirArtifacts {
    /// Opens `root`, making it if it does not exist.
    ///
    /// # Errors
    /// [`ArtifactsError::Unavailable`] with the system's words.
    pub fn open(root: &Path, durability: Durability) -> Result<Self, ArtifactsError> {
        let failed = |message: String| ArtifactsError::Unavailable {
            key: root.display().to_string(),
            verb: "opened",
            message,
        };
        let fd = match tree::root(root) {
            Err(Errno::NOENT) => {
                std::fs::create_dir_all(root).map_err(|e| failed(e.to_string()))?;
                tree::root(root)
            }
            fd => fd,
        };
        let fd = fd.map_err(|e| failed(e.to_string()))?;
        Ok(Self { root: fd, path: root.to_owned(), durability, drafts: AtomicU32::new(0) })
    }

    fn syncs(&self) -> bool {
        self.durability == Durability::Power
    }

    /// A name that no other living process on this machine uses; whoever shares the directory from another
    /// machine or container meets `EEXIST` and goes on to the next.
    fn next_draft(&self) -> String {
        format!("{}-{}", std::process::id(), self.drafts.fetch_add(1, Ordering::Relaxed))
    }

    fn put_now(&self, key: &str, content: Content<'_>) -> Result<Stored, ArtifactsError> {
        key::check(key)?;
        let (folder, name) = key::split(key);
        let failed = |e: Errno| unavailable(key, "stored", e);
        let dir = tree::folder_made(&self.root, folder, self.syncs()).map_err(failed)?;
        // An empty file is complete as soon as it exists, so it needs no draft.
        if matches!(content, Content::Bytes([])) {
            match tree::create(&dir, name) {
                Ok(file) => self.settle(&dir, Some(&file)).map_err(failed)?,
                Err(Errno::EXIST) => return self.keep(&dir, name, key, digest::of_bytes(b"")),
                Err(e) => return Err(failed(e)),
            }
            return Ok(digest::of_bytes(b""));
        }
        crash::before(Act::Draft);
        let mut draft = Draft::create(self, &dir).map_err(failed)?;
        let stored = draft.fill(content).map_err(failed)?;
        if self.syncs() {
            rustix::fs::fsync(&draft.file).map_err(failed)?;
        }
        crash::after(Act::Draft);
        match draft.settle(name) {
            Ok(()) => self.settle(&dir, None).map_err(failed)?,
            Err(Errno::EXIST) => return self.keep(&dir, name, key, stored),
            Err(e) => return Err(failed(e)),
        }
        Ok(stored)
    }

    fn settle(&self, dir: &OwnedFd, file: Option<&OwnedFd>) -> Result<(), Errno> {
        if self.syncs() {
            file.map_or(Ok(()), rustix::fs::fsync)?;
            rustix::fs::fsync(dir)?;
        }
        Ok(())
    }

    /// The key exists: the same content is a success, and what an earlier call may have left to the page
    /// cache is made durable now.
    fn keep(&self, dir: &OwnedFd, name: &str, key: &str, wanted: Stored) -> Result<Stored, ArtifactsError> {
        let failed = |e: Errno| unavailable(key, "read", e);
        let exists = || ArtifactsError::Exists(key.to_owned());
        let (file, size) = match tree::read(dir, name) {
            Err(Errno::LOOP) => None,
            file => file.map_err(failed)?,
        }
        .ok_or_else(exists)?;
        if size != wanted.size || digest::of(&file).map_err(failed)? != wanted {
            return Err(exists());
        }
        self.settle(dir, Some(&file)).map_err(failed)?;
        Ok(wanted)
    }

    fn get_now(&self, key: &str, range: Option<Range<u64>>) -> Result<Option<Vec<u8>>, ArtifactsError> {
        key::check(key)?;
        let failed = |e: Errno| unavailable(key, "read", e);
        let Some((file, size)) = tree::read_key(&self.root, key).map_err(failed)? else {
            return Ok(None);
        };
        let range = range.unwrap_or(0..size);
        let start = range.start.min(size);
        let end = range.end.clamp(start, size);
        let mut bytes = vec![0; usize::try_from(end - start).unwrap_or(usize::MAX)];
        let mut filled = 0;
        while filled < bytes.len() {
            let at = start + filled as u64;
            match rustix::io::retry_on_intr(|| rustix::io::pread(&file, &mut bytes[filled..], at)) {
                Ok(0) => bytes.truncate(filled),
                Ok(n) => filled += n,
                Err(e) => return Err(failed(e)),
            }
        }
        Ok(Some(bytes))
    }

    fn list_now(&self, prefix: &str) -> Result<Vec<(String, u64)>, ArtifactsError> {
        key::check(prefix)?;
        let failed = |e: Errno| unavailable(prefix, "listed", e);
        let mut found = Vec::new();
        let mut waiting = vec![prefix.to_owned()];
        while let Some(folder) = waiting.pop() {
            let dir = match tree::folder(&self.root, &folder) {
                // Deleted meanwhile, or the prefix is no folder.
                Err(Errno::NOENT | Errno::NOTDIR) => continue,
                dir => dir.map_err(failed)?,
            };
            for entry in tree::entries(&dir).map_err(failed)? {
                match entry {
                    tree::Entry::Folder(name) => waiting.push(format!("{folder}/{name}")),
                    tree::Entry::File(name, size) => found.push((format!("{folder}/{name}"), size)),
                }
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    fn delete_now(&self, key: String) -> Result<(), ArtifactsError> {
        // `remove_dir_all` does not follow links below what it is given; the check before it makes sure
        // that what it is given is no link either.
        match tree::folder(&self.root, &key) {
            Err(Errno::NOENT) => return Ok(()),
            folder => drop(folder.map_err(|e| unavailable(&key, "deleted", e))?),
        }
        match std::fs::remove_dir_all(self.path.join(&key)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(ArtifactsError::Unavailable { key, verb: "deleted", message: e.to_string() })
            }
            _ => Ok(()),
        }
    }
}

fn unavailable(key: &str, verb: &'static str, e: Errno) -> ArtifactsError {
    ArtifactsError::Unavailable { key: key.to_owned(), verb, message: e.to_string() }
}

/// A file that has no key yet; removed unless it gets one.
struct Draft<'a> {
    dir: &'a OwnedFd,
    file: OwnedFd,
    name: String,
    settled: bool,
}

impl<'a> Draft<'a> {
    fn create(owner: &DirArtifacts, dir: &'a OwnedFd) -> Result<Self, Errno> {
        loop {
            let name = format!("{DRAFT}{}", owner.next_draft());
            match tree::create(dir, &name) {
                Ok(file) => return Ok(Self { dir, file, name, settled: false }),
                Err(Errno::EXIST) => {}
                Err(e) => return Err(e),
            }
        }
    }

    fn fill(&mut self, content: Content<'_>) -> Result<Stored, Errno> {
        match content {
            Content::Bytes(bytes) => {
                write_all(&self.file, bytes)?;
                Ok(digest::of_bytes(bytes))
            }
            Content::File(path) => {
                let source = tree::read_outside(path)?;
                digest::each_chunk(&source, |chunk| write_all(&self.file, chunk))
            }
        }
    }

    /// Gives the file its name, unless something has it.
    fn settle(mut self, name: &str) -> Result<(), Errno> {
        #[cfg(any(target_os = "linux", target_vendor = "apple"))]
        {
            let keep = rustix::fs::RenameFlags::NOREPLACE;
            crash::before(Act::Rename);
            let renamed = rustix::fs::renameat_with(self.dir, self.name.as_str(), self.dir, name, keep);
            crash::after(Act::Rename);
            match renamed {
                // The file system cannot rename without replacing: some network file systems.
                Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
                answer => {
                    self.settled = answer.is_ok();
                    return answer;
                }
            }
        }
        self.settled = false;
        rustix::fs::linkat(self.dir, self.name.as_str(), self.dir, name, rustix::fs::AtFlags::empty())
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if !self.settled {
            let _ = rustix::fs::unlinkat(self.dir, self.name.as_str(), rustix::fs::AtFlags::empty());
        }
    }
}

fn write_all(file: &OwnedFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        let n = rustix::io::retry_on_intr(|| rustix::io::write(file, bytes))?;
        bytes = &bytes[n..];
    }
    Ok(())
}

#[async_trait]
impl Artifacts for DirArtifacts {
    async fn put(&self, key: &str, content: Content<'_>) -> Result<Stored, ArtifactsError> {
        crash::before(Act::Put);
        let stored = self.put_now(key, content);
        crash::after(Act::Put);
        stored
    }

    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<Option<Vec<u8>>, ArtifactsError> {
        self.get_now(key, range)
    }

    async fn size(&self, key: &str) -> Result<Option<u64>, ArtifactsError> {
        key::check(key)?;
        let file = tree::read_key(&self.root, key).map_err(|e| unavailable(key, "read", e))?;
        Ok(file.map(|(_, size)| size))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<(String, u64)>, ArtifactsError> {
        self.list_now(prefix)
    }

    async fn publish(
        &self,
        job_id: &JobId,
        number: u32,
        token: &LaunchToken,
        expected: &ManifestEntry,
    ) -> Result<Publication, ArtifactsError> {
        self.publish_now(job_id, number, token, expected)
    }

    async fn delete_job(&self, job_id: &JobId) -> Result<(), ArtifactsError> {
        crash::before(Act::Erase);
        let deleted = self.delete_now(format!("jobs/{job_id}"));
        crash::after(Act::Erase);
        deleted
    }

    async fn delete_payloads(&self, job_id: &JobId) -> Result<(), ArtifactsError> {
        self.delete_now(PayloadRef::folder(job_id))
    }
}
