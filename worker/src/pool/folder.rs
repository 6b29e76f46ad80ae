//! Whether tasks can have their folders. A worker without is no use, and worse: it is idle as soon as it has failed
//! one attempt, so it would take every job that waits and fail it. So it offers no slots while it cannot write here.

use std::io;
use std::path::Path;

/// The least that a task needs: a page for the names and one for what it writes.
const PROBE: [u8; 4096] = [0; 4096];

/// Makes a folder in the folder of the tasks and a file in it, and removes both.
pub(super) fn check(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    // Of this process, since a worker and its health check may look at once.
    let probe = folder.join(format!(".probe-{}", std::process::id()));
    std::fs::create_dir_all(&probe)?;
    let written = std::fs::write(probe.join("file"), PROBE);
    std::fs::remove_dir_all(&probe)?;
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_none_is_found_out_and_nothing_stays_in_one_that_is() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("a/b");
        check(&folder).unwrap();
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
        std::fs::remove_dir(&folder).unwrap();
        std::fs::write(&folder, "a file").unwrap();
        assert!(check(&folder).is_err());
    }
}
