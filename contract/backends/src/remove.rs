//! Removing what an agent left behind.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// What their owner needs to empty a folder.
const OPEN: u32 = 0o700;

/// Removes `folder` with everything in it; it need not exist. Agents leave folders that not even their owner may
/// write to (the module cache of Go is made of them), and those must not fill the disk for good.
///
/// # Errors
///
/// When something could not be removed all the same.
pub fn remove_tree(folder: &Path) -> io::Result<()> {
    let removed = match fs::remove_dir_all(folder) {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            open_up(folder)?;
            fs::remove_dir_all(folder)
        }
        answer => answer,
    };
    match removed {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        answer => answer,
    }
}

/// Lets the owner into every folder of the tree. Symbolic links are not followed: an agent can point them anywhere.
fn open_up(folder: &Path) -> io::Result<()> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        fs::set_permissions(&folder, Permissions::from_mode(OPEN))?;
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    // Root may remove anything, so that this one bites for everybody else only.
    #[test]
    fn a_tree_that_its_owner_may_not_write_to_is_removed_and_what_links_point_to_stays() {
        let root = tempfile::tempdir().unwrap();
        let (tree, outside) = (root.path().join("tree"), root.path().join("outside"));
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("kept"), "x").unwrap();
        fs::set_permissions(&outside, Permissions::from_mode(0o500)).unwrap();
        fs::create_dir_all(tree.join("cache/closed")).unwrap();
        fs::write(tree.join("cache/closed/file"), "x").unwrap();
        symlink(&outside, tree.join("cache/link")).unwrap();
        for (folder, mode) in [("cache/closed", 0), ("cache", 0o500)] {
            fs::set_permissions(tree.join(folder), Permissions::from_mode(mode)).unwrap();
        }

        remove_tree(&tree).unwrap();

        assert!(!tree.exists());
        assert!(outside.join("kept").exists());
        assert_eq!(fs::metadata(&outside).unwrap().permissions().mode() & 0o777, 0o500);
        remove_tree(&tree).unwrap();
    }
}
