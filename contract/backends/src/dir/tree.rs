//! Opening folders and files below the root without ever following a symbolic link that somebody put there.
//! The one link that is followed is the published result, and only to where a publication can have pointed
//! it.

use super::key;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Read and write for everybody, cut by the umask.
const FILE_MODE: Mode = Mode::from_raw_mode(0o666);
const FOLDER_MODE: Mode = Mode::from_raw_mode(0o777);
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// `NONBLOCK`: opening a FIFO that somebody put here must not hang.
const READ: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// Opens the root itself, which may be (below) a symbolic link.
pub(super) fn root(path: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::open(path, FOLDER.difference(OFlags::NOFOLLOW), Mode::empty())
}

/// Opens the folder at `path`, a checked key or `.`, below `root`.
pub(super) fn folder(root: impl AsFd, path: &str) -> Result<OwnedFd, Errno> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::ResolveFlags;
        let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        match rustix::fs::openat2(&root, path, FOLDER, Mode::empty(), inside) {
            // Linux before 5.6, or a container runtime whose filter does not know the call.
            Err(Errno::NOSYS | Errno::PERM) => {}
            answer => return answer,
        }
    }
    walk(root, path, |dir, part| rustix::fs::openat(dir, part, FOLDER, Mode::empty()))
}

/// Opens the folder at `path`, making what is missing. With `sync` each new name is on disk afterwards.
pub(super) fn folder_made(root: impl AsFd, path: &str, sync: bool) -> Result<OwnedFd, Errno> {
    match folder(&root, path) {
        Err(Errno::NOENT) => {}
        answer => return answer,
    }
    walk(root, path, |dir, part| {
        match rustix::fs::mkdirat(dir, part, FOLDER_MODE) {
            Ok(()) if sync => rustix::fs::fsync(dir)?,
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(e),
        }
        rustix::fs::openat(dir, part, FOLDER, Mode::empty())
    })
}

fn walk(
    root: impl AsFd,
    path: &str,
    step: impl Fn(&OwnedFd, &str) -> Result<OwnedFd, Errno>,
) -> Result<OwnedFd, Errno> {
    let mut dir = rustix::fs::openat(root, ".", FOLDER, Mode::empty())?;
    for part in path.split('/').filter(|part| *part != ".") {
        dir = step(&dir, part)?;
    }
    Ok(dir)
}

/// Creates the file `name` in `dir`; it must not exist.
pub(super) fn create(dir: impl AsFd, name: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, FILE_MODE)
}

/// Opens the regular file `name` in `dir` and tells its size. `None`: there is none, or it is something
/// else. `LOOP`: it is a symbolic link.
pub(super) fn read(dir: impl AsFd, name: &str) -> Result<Option<(OwnedFd, u64)>, Errno> {
    match rustix::fs::openat(dir, name, READ, Mode::empty()) {
        Ok(file) => regular(file),
        // A socket, or a FIFO or device of which nobody has the other end.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::NXIO | Errno::NODEV) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Opens the regular file at the checked key `path`, following a published result.
pub(super) fn read_key(root: impl AsFd, path: &str) -> Result<Option<(OwnedFd, u64)>, Errno> {
    let (parent, name) = key::split(path);
    let dir = match folder(root, parent) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        dir => dir?,
    };
    match read(&dir, name) {
        Err(Errno::LOOP) => match super::publish::pointed(&dir, name)? {
            Some(target) => read_below(&dir, &target.path),
            None => Err(Errno::LOOP),
        },
        answer => answer,
    }
}

/// Opens the regular file at `path` below `dir`, following no link at all.
pub(super) fn read_below(dir: impl AsFd, path: &str) -> Result<Option<(OwnedFd, u64)>, Errno> {
    let (parent, name) = key::split(path);
    match folder(dir, parent) {
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        dir => read(dir?, name),
    }
}

/// Opens a file outside of the root, to be stored: a link or a device in its place is an error.
pub(crate) fn read_outside(path: &Path) -> Result<OwnedFd, Errno> {
    let file = rustix::fs::open(path, READ, Mode::empty())?;
    regular(file)?.map(|(file, _)| file).ok_or(Errno::INVAL)
}

fn regular(file: OwnedFd) -> Result<Option<(OwnedFd, u64)>, Errno> {
    let stat = rustix::fs::fstat(&file)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
        Ok(Some((file, u64::try_from(stat.st_size).unwrap_or(0))))
    } else {
        Ok(None)
    }
}

/// What a folder holds, as far as artifacts go.
pub(super) enum Entry {
    Folder(String),
    File(String, u64),
}

/// The folders and files directly in `dir`: regular files and published results. Names that no key can
/// have (not UTF-8, unfinished files) are left out.
pub(super) fn entries(dir: &OwnedFd) -> Result<Vec<Entry>, Errno> {
    let mut found = Vec::new();
    for entry in rustix::fs::Dir::read_from(dir)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str() else { continue };
        if key::check(name).is_err() {
            continue;
        }
        let stat = match rustix::fs::statat(dir, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => continue,
            stat => stat?,
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => found.push(Entry::Folder(name.to_owned())),
            FileType::RegularFile => {
                found.push(Entry::File(name.to_owned(), u64::try_from(stat.st_size).unwrap_or(0)));
            }
            FileType::Symlink => {
                if let Some(target) = super::publish::pointed(dir, name)?
                    && let Some((_, size)) = read_below(dir, &target.path)?
                {
                    found.push(Entry::File(name.to_owned(), size));
                }
            }
            _ => {}
        }
    }
    Ok(found)
}
