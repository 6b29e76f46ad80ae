//! Which keys an artifact may have.

use crate::artifacts::ArtifactsError;

/// The most bytes of a key: S3's limit, so that what is stored here can be stored there.
const LONGEST_KEY: usize = 1024;
/// The most bytes between two slashes: `NAME_MAX` of the usual file systems.
const LONGEST_PART: usize = 255;
/// How the names of unfinished files begin; no key may have a part like it.
pub(super) const DRAFT: &str = ".draft-";

/// Checks that `key` is relative and stays below the root whatever it is joined to: no empty part, no `.`
/// or `..`, no backslash, no control character, no name of an unfinished file.
pub(crate) fn check(key: &str) -> Result<(), ArtifactsError> {
    let good = |part: &str| {
        !matches!(part, "" | "." | "..") && part.len() <= LONGEST_PART && !part.starts_with(DRAFT)
    };
    let odd = |c: char| c == '\\' || c.is_control();
    if key.len() <= LONGEST_KEY && !key.contains(odd) && key.split('/').all(good) {
        Ok(())
    } else {
        Err(ArtifactsError::Key(key.chars().take(LONGEST_KEY).collect()))
    }
}

/// The folder and the name of a checked key. A key without a slash lies in the root, `.`.
pub(super) fn split(key: &str) -> (&str, &str) {
    key.rsplit_once('/').unwrap_or((".", key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_could_leave_the_root_or_confuse_a_reader_are_refused() {
        let long = "x".repeat(256);
        let deep = "x/".repeat(512) + "x";
        for bad in [
            "",
            "/",
            "/etc/passwd",
            "a/",
            "a//b",
            ".",
            "..",
            "a/../b",
            "a/./b",
            "a\\b",
            "a\nb",
            "a\u{7f}",
            "a\0b",
            "a\u{85}b",
            "a/.draft-1",
            &long,
            &deep,
        ] {
            assert!(check(bad).is_err(), "{bad:?} was accepted");
        }
        for good in ["a", "jobs/a/result.json", "a/..b/c.", "a/ b", "ä/…", &long[..255], &deep[..1023]] {
            assert!(check(good).is_ok(), "{good:?} was refused");
        }
    }
}
