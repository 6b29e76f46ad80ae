//! What an agent left in its task's folder. Nothing of it runs any more, so nothing changes while it is
//! looked at.

use super::folder::TaskFolder;
use crate::execution::{Execution, LeftContent, LeftFile, STDERR_LOG, STDOUT_LOG};
use contract::attempt::{MANIFEST_LIMIT, RESULT_FILE};
use contract::{Failure, FailureClass, JsonText, Timestamp};
use rustix::fs::{Mode, OFlags};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// The largest result: it is answered by the API as a part of the job, whose requests end at 1 MiB too.
const RESULT_LIMIT: u64 = 1024 * 1024;
/// The most files besides the result and the two logs.
const FILES_LIMIT: usize = MANIFEST_LIMIT - 3;
/// The most bytes of all files together.
const BYTES_LIMIT: u64 = 1024 * 1024 * 1024;

/// How many of the things that are left out are named.
const NAMED: usize = 10;

/// The logs of an agent that never ran.
pub(super) fn empty_logs() -> Vec<LeftFile> {
    vec![LeftFile::bytes(STDOUT_LOG, ""), LeftFile::bytes(STDERR_LOG, "")]
}

/// What the agent left. A success whose result or files cannot be accepted becomes a failure; a failure
/// keeps its logs and files, without a result.
pub(super) fn left(
    folder: &TaskFolder,
    finished_at: Timestamp,
    mut failure: Option<Failure>,
    mut note: impl FnMut(&str),
) -> Execution {
    let mut files = Vec::new();
    let mut refuse = |message: String| match &mut failure {
        None => failure = Some(Failure { class: FailureClass::InvalidResult, exit_code: Some(0), message }),
        Some(failure) => {
            failure.message.push_str("; ");
            failure.message.push_str(&message);
        }
    };
    let found = found_files(&folder.artifacts, &mut note).unwrap_or_else(|message| {
        refuse(message);
        Vec::new()
    });
    if failure.is_none() {
        match result(&folder.result) {
            Ok(bytes) => files.push(LeftFile::bytes(RESULT_FILE, bytes)),
            Err(message) => {
                let class = FailureClass::InvalidResult;
                failure = Some(Failure { class, exit_code: Some(0), message });
            }
        }
    }
    for (path, log) in [(STDOUT_LOG, &folder.stdout), (STDERR_LOG, &folder.stderr)] {
        let empty = fs::metadata(log).is_ok_and(|m| m.len() == 0);
        let content = if empty { LeftContent::Bytes(Vec::new()) } else { LeftContent::File(log.clone()) };
        files.push(LeftFile { path: path.to_owned(), content });
    }
    files.extend(found);
    Execution { finished_at, failure, files }
}

/// The result's bytes, or why they are none.
fn result(path: &Path) -> Result<Vec<u8>, String> {
    let cannot = |e: io::Error| format!("the result file cannot be read: {e}");
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::NOENT) => return Ok(b"{}".to_vec()),
        Err(rustix::io::Errno::LOOP) => {
            return Err("the result is a symbolic link, not a regular file".to_owned());
        }
        Err(e) => return Err(cannot(e.into())),
    };
    if !file.metadata().map_err(cannot)?.is_file() {
        return Err("the result is not a regular file".to_owned());
    }
    let mut bytes = Vec::new();
    file.take(RESULT_LIMIT + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > RESULT_LIMIT {
        return Err(format!("the result is larger than {RESULT_LIMIT} bytes"));
    }
    let text = std::str::from_utf8(&bytes).map_err(|e| format!("the result is not UTF-8: {e}"))?;
    let text = JsonText::new(text).map_err(|e| format!("the result is not one JSON value: {e}"))?;
    text.is_readable().map_err(|e| format!("the result: {e}"))?;
    Ok(bytes)
}

/// The regular files below the artifacts folder, sorted. Links, sockets and the like are left out.
fn found_files(root: &Path, note: &mut impl FnMut(&str)) -> Result<Vec<LeftFile>, String> {
    let cannot = |e: io::Error| format!("the folder of artifacts cannot be read: {e}");
    let mut found = Vec::new();
    let mut bytes = 0;
    let mut left_out = Vec::new();
    let mut waiting = vec![(root.to_owned(), "artifacts".to_owned())];
    while let Some((folder, key)) = waiting.pop() {
        for entry in fs::read_dir(folder).map_err(cannot)? {
            let entry = entry.map_err(cannot)?;
            let name = entry
                .file_name()
                .into_string()
                .map_err(|name| format!("the artifact {name:?} has a name that is not UTF-8"))?;
            let path = format!("{key}/{name}");
            let metadata = entry.metadata().map_err(cannot)?;
            if metadata.is_dir() {
                waiting.push((entry.path(), path));
            } else if metadata.is_file() {
                // An agent that takes the right to read away from us is at fault, not the store.
                File::open(entry.path()).map_err(|e| format!("{path} cannot be read: {e}"))?;
                bytes += metadata.len();
                found.push(LeftFile { path, content: LeftContent::File(entry.path()) });
            } else {
                left_out.push(path);
            }
            if found.len() > FILES_LIMIT {
                return Err(format!("the agent left more than {FILES_LIMIT} files as artifacts"));
            }
            if bytes > BYTES_LIMIT {
                return Err(format!("the agent left more than {BYTES_LIMIT} bytes as artifacts"));
            }
        }
    }
    left_out.sort_unstable();
    for path in left_out.iter().take(NAMED) {
        note(&format!("{path} is not a regular file and was left out"));
    }
    if let Some(more) = left_out.len().checked_sub(NAMED).filter(|more| *more > 0) {
        note(&format!("{more} more are no regular files and were left out"));
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_result_is_one_json_value_of_at_most_a_mebibyte_in_a_regular_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("result.json");
        assert_eq!(result(&path).unwrap(), b"{}", "no file is an empty result");
        let limit = usize::try_from(RESULT_LIMIT).unwrap();
        let string = |n: usize| format!("\"{}\"", "x".repeat(n - 2));
        for (content, good) in [
            (" {\"a\": 1.0}\n".to_owned(), true),
            ("null".to_owned(), true),
            (string(limit), true),
            (string(limit + 1), false),
            (String::new(), false),
            ("{} {}".to_owned(), false),
            ("{\"a\":}".to_owned(), false),
            ("plain words".to_owned(), false),
            (format!("{}{}", "[".repeat(100), "]".repeat(100)), true),
            (format!("{}{}", "[".repeat(101), "]".repeat(101)), false),
            ("\"\\ud800\"".to_owned(), false),
        ] {
            fs::write(&path, &content).unwrap();
            let found = result(&path);
            assert_eq!(found.is_ok(), good, "{}", &content[..content.len().min(20)]);
            if good {
                assert_eq!(found.unwrap(), content.as_bytes(), "the result is stored as it is");
            }
        }
        fs::write(&path, b"\"\xff\"").unwrap();
        assert!(result(&path).unwrap_err().contains("UTF-8"));
        fs::remove_file(&path).unwrap();
        symlink("/etc/passwd", &path).unwrap();
        assert!(result(&path).unwrap_err().contains("not a regular file"), "a link was followed");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(result(&path).is_err());
    }

    #[test]
    fn artifacts_are_the_regular_files_in_order_and_nothing_behind_links() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("deep/down")).unwrap();
        for name in ["z", "deep/down/a", "deep/b"] {
            fs::write(root.join(name), name).unwrap();
        }
        symlink("/etc", root.join("folder-link")).unwrap();
        symlink("/etc/passwd", root.join("link")).unwrap();
        let mut notes = Vec::new();
        let found = found_files(root, &mut |note: &str| notes.push(note.to_owned())).unwrap();
        let paths: Vec<&str> = found.iter().map(|f| f.path.as_str()).collect();
        assert_eq!(paths, ["artifacts/deep/b", "artifacts/deep/down/a", "artifacts/z"]);
        assert_eq!(notes.len(), 2, "{notes:?}");
        (0..20).for_each(|n| symlink("/etc", root.join(format!("many-{n}"))).unwrap());
        notes.clear();
        found_files(root, &mut |note: &str| notes.push(note.to_owned())).unwrap();
        assert_eq!(notes.len(), NAMED + 1);
        assert_eq!(notes[NAMED], "12 more are no regular files and were left out");
    }

    #[test]
    fn too_many_files_or_bytes_are_refused_with_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        for n in 0..FILES_LIMIT {
            fs::write(folder.path().join(n.to_string()), "").unwrap();
        }
        assert_eq!(found_files(folder.path(), &mut |_: &str| ()).unwrap().len(), FILES_LIMIT);
        fs::write(folder.path().join("more"), "").unwrap();
        assert!(found_files(folder.path(), &mut |_: &str| ()).unwrap_err().contains("197 files"));
        let folder = tempfile::tempdir().unwrap();
        // Sparse: takes no space.
        File::create(folder.path().join("a")).unwrap().set_len(BYTES_LIMIT).unwrap();
        assert!(found_files(folder.path(), &mut |_: &str| ()).is_ok());
        fs::write(folder.path().join("b"), "x").unwrap();
        assert!(found_files(folder.path(), &mut |_: &str| ()).unwrap_err().contains("bytes"));
    }
}
