//! The folders: one per launch token, each with the file `lock`, which worker and agent hold locked.
//!
//! A folder becomes visible under its token together with a lock that is already held: it is made under
//! another name and renamed. So whoever finds a folder can trust its lock, at any instant and in any
//! process; "not locked" never means "not locked yet".
//!
//! The holder's lock is exclusive, and every probe takes a shared one. Probes therefore never see each
//! other, only the task.

use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::fs::{DirBuilder, File, Metadata};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use backends::crash::{self, Act};
use contract::LaunchToken;

/// The name of the locked file in a token's folder.
pub(super) const LOCK: &str = "lock";
/// What all workers write to stderr, in one file beside the folders.
const WORKER_LOG: &str = "worker.log";
/// The one before it.
const LAST_WORKER_LOG: &str = "worker.log.1";
/// Folders that are being made have names that start so.
const UNFINISHED: &str = ".new-";
/// Bytes of a lock file that are read. The lines that count come first and have less than 300 bytes
/// together; an agent that writes into the file it inherited cannot make it costly to read.
const READ_LIMIT: usize = 4096;

/// The folder of folders.
#[derive(Debug)]
pub(super) struct Root {
    path: PathBuf,
    dir: OwnedFd,
    identity: (u64, u64),
    process: u32,
    next: AtomicU64,
}

/// What a probe found under a token.
#[derive(Debug)]
pub(super) enum Probe {
    /// Nothing, and the root is where it should be.
    Absent,
    /// A folder without its file: somebody deleted by hand, or a removal was cut off.
    Lockless,
    /// Worker or agent hold the lock.
    Held(File),
    /// Nobody holds it. As long as the file is open, the probe holds its own shared lock.
    Free(File),
}

/// The answer to [`Root::create`].
#[derive(Debug)]
pub(super) enum Creation {
    /// The folder is new; the file is locked and stays so for as long as anybody has it open.
    Created(File),
    /// There was one already.
    Exists,
}

fn identity(of: &Metadata) -> (u64, u64) {
    (of.dev(), of.ino())
}

impl Root {
    /// Opens the folder, and makes it if need be, for this user alone: the names in it are launch tokens,
    /// and whoever knows a token may report on its attempt.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        // As the kernel names it, so that names found below /proc can be compared.
        let path = path.canonicalize()?;
        let dir = File::open(&path)?;
        let identity = identity(&dir.metadata()?);
        let (process, next) = (std::process::id(), AtomicU64::new(0));
        let root = Self { path, dir: dir.into(), identity, process, next };
        root.enter()?;
        Ok(root)
    }

    /// Sweeps, if no other process works in this folder, and keeps a shared lock of the folder for as long
    /// as it is open. A launch is unprotected before its file is locked, and whoever makes one has the shared
    /// lock already; so what somebody finds who has the folder for himself belongs to nobody.
    fn enter(&self) -> io::Result<()> {
        // Where it cannot be had at all (some network file systems), the remains stay; they are empty.
        if rustix::fs::flock(&self.dir, FlockOperation::NonBlockingLockExclusive).is_ok() {
            self.sweep()?;
        }
        // A second one waits here for no longer than a sweep takes.
        Ok(rustix::io::retry_on_intr(|| rustix::fs::flock(&self.dir, FlockOperation::LockShared))?)
    }

    /// The folder of a token, absolute.
    pub(super) fn folder(&self, token: &LaunchToken) -> PathBuf {
        self.path.join(token.as_str())
    }

    /// The file that collects the stderr of all workers.
    pub(super) fn worker_log(&self) -> io::Result<File> {
        File::options().create(true).append(true).open(self.path.join(WORKER_LOG))
    }

    /// A new one; the present one gets another name and the one before it goes.
    pub(super) fn next_worker_log(&self) -> io::Result<File> {
        rustix::fs::renameat(&self.dir, WORKER_LOG, &self.dir, LAST_WORKER_LOG)?;
        self.worker_log()
    }

    /// Whether the folder is still at its path: after a move or a removal, finding nothing proves nothing.
    fn check(&self) -> io::Result<()> {
        let there = std::fs::metadata(&self.path)?;
        if identity(&there) == self.identity {
            Ok(())
        } else {
            Err(io::Error::other("the folder of tasks was replaced by another one"))
        }
    }

    /// Makes the folder of `token` with a locked file that starts with `line`. On an error there is none.
    pub(super) fn create(&self, token: &LaunchToken, line: &str) -> io::Result<Creation> {
        let unfinished = loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let name = format!("{UNFINISHED}{}-{number}", self.process);
            match rustix::fs::mkdirat(&self.dir, &*name, Mode::RWXU) {
                Ok(()) => break name,
                // Left by a process that had this number once.
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
        };
        let created = self.fill(&unfinished, token, line);
        if !matches!(created, Ok(Creation::Created(_))) {
            // What cannot be removed now is swept at a later start.
            let _ = self.discard(&unfinished);
        }
        created
    }

    fn fill(&self, unfinished: &str, token: &LaunchToken, line: &str) -> io::Result<Creation> {
        // Append: worker and agent write through this very open file description.
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::APPEND | OFlags::CLOEXEC;
        let lock = format!("{unfinished}/{LOCK}");
        let mut file: File = rustix::fs::openat(&self.dir, &*lock, flags, Mode::RUSR | Mode::WUSR)?.into();
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        file.write_all(line.as_bytes())?;
        crash::before(Act::Folder);
        let renamed = self.rename_new(unfinished, token.as_str());
        crash::after(Act::Folder);
        match renamed {
            Ok(()) => Ok(Creation::Created(file)),
            Err(Errno::EXIST | Errno::NOTEMPTY) => Ok(Creation::Exists),
            Err(errno) => Err(errno.into()),
        }
    }

    fn rename_new(&self, from: &str, to: &str) -> Result<(), Errno> {
        #[cfg(any(target_os = "linux", target_vendor = "apple"))]
        match rustix::fs::renameat_with(&self.dir, from, &self.dir, to, rustix::fs::RenameFlags::NOREPLACE) {
            // Some network and overlay file systems cannot do it. The plain rename does as well, because no
            // folder of a token is empty, and a folder that is not empty is never replaced.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
            answer => return answer,
        }
        rustix::fs::renameat(&self.dir, from, &self.dir, to)
    }

    /// The lock file of `token`, to be read.
    pub(super) fn lock_file(&self, token: &LaunchToken) -> Result<File, Errno> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        rustix::fs::openat(&self.dir, &*format!("{}/{LOCK}", token.as_str()), flags, Mode::empty())
            .map(File::from)
    }

    /// Looks whether anybody holds the lock of `token`. Never waits.
    pub(super) fn probe(&self, token: &LaunchToken) -> io::Result<Probe> {
        let file = match self.lock_file(token) {
            Ok(file) => file,
            Err(Errno::NOENT) if !self.exists(token)? => return self.check().map(|()| Probe::Absent),
            // The folder may have appeared since, and its file with it.
            Err(Errno::NOENT) => match self.lock_file(token) {
                Ok(file) => file,
                Err(Errno::NOENT) => return Ok(Probe::Lockless),
                Err(errno) => return Err(errno.into()),
            },
            Err(errno) => return Err(errno.into()),
        };
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(Probe::Free(file)),
            Err(Errno::WOULDBLOCK) => Ok(Probe::Held(file)),
            Err(errno) => Err(errno.into()),
        }
    }

    fn exists(&self, token: &LaunchToken) -> io::Result<bool> {
        match rustix::fs::statat(&self.dir, token.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Every token that has a folder. Other names are not ours and are left alone.
    pub(super) fn tokens(&self) -> io::Result<Vec<LaunchToken>> {
        self.check()?;
        let mut tokens = Vec::new();
        for entry in Dir::read_from(&self.dir)? {
            let entry = entry?;
            let token = entry.file_name().to_str().ok().and_then(|name| LaunchToken::new(name).ok());
            if matches!(entry.file_type(), FileType::Directory | FileType::Unknown) {
                tokens.extend(token);
            }
        }
        Ok(tokens)
    }

    /// Removes what launches left behind that a crash cut off before they were visible.
    fn sweep(&self) -> io::Result<()> {
        for entry in Dir::read_from(&self.dir)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            if name.starts_with(UNFINISHED) {
                let _ = self.discard(name);
            }
        }
        Ok(())
    }

    fn discard(&self, folder: &str) -> Result<(), Errno> {
        match rustix::fs::unlinkat(&self.dir, &*format!("{folder}/{LOCK}"), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
        crash::before(Act::Remove);
        let removed = rustix::fs::unlinkat(&self.dir, folder, AtFlags::REMOVEDIR);
        crash::after(Act::Remove);
        match removed {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Removes the folder of `token`. The caller has made sure that nobody holds its lock. `false`: there
    /// is more in it than the lock, and [`Root::remove_all`] is needed, which can take long.
    pub(super) fn remove(&self, token: &LaunchToken) -> io::Result<bool> {
        match self.discard(token.as_str()) {
            Ok(()) => Ok(true),
            Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Removes the folder of `token` with everything in it.
    pub(super) fn remove_all(&self, token: &LaunchToken) -> io::Result<()> {
        backends::remove_tree(&self.folder(token))
    }
}

/// Waits until nobody holds the lock of `file` any more. Blocks the thread.
pub(super) fn wait_until_free(file: &File) -> io::Result<()> {
    loop {
        match rustix::fs::flock(file, FlockOperation::LockShared) {
            Err(Errno::INTR) => {}
            answer => return answer.map_err(io::Error::from),
        }
    }
}

/// The beginning of a lock file, without moving the offset that worker and agent share.
pub(super) fn read_lines(file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; READ_LIMIT];
    let mut length = 0;
    while length < bytes.len() {
        match file.read_at(&mut bytes[length..], length as u64) {
            Ok(0) => break,
            Ok(n) => length += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(length);
    Ok(bytes)
}
