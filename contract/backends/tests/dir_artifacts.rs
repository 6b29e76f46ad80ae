//! `DirArtifacts` against the conformance suite, and what is special about a directory.

#![cfg(feature = "conformance")]

use backends::conformance::artifacts::Fixture;
use backends::dir::DirArtifacts;
use backends::{Artifacts, ArtifactsError, Content, Durability, Publication};
use contract::attempt::ManifestEntry;
use contract::{JobId, LaunchToken};
use pollster::block_on;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn open(durability: Durability) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let artifacts = DirArtifacts::open(&folder.path().join("not/made/yet"), durability).unwrap();
    Fixture {
        artifacts: Arc::new(artifacts),
        scratch: folder.path().to_owned(),
        block_on: |future| block_on(future),
        guard: Box::new(folder),
    }
}

mod process {
    backends::artifacts_conformance!(|| super::open(backends::Durability::Process));
}

mod power {
    backends::artifacts_conformance!(|| super::open(backends::Durability::Power));
}

struct Store {
    root: PathBuf,
    artifacts: DirArtifacts,
    folder: tempfile::TempDir,
}

fn store() -> Store {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    let artifacts = DirArtifacts::open(&root, Durability::Process).unwrap();
    Store { root, artifacts, folder }
}

impl Store {
    fn put(&self, key: &str, bytes: &[u8]) -> Result<backends::Stored, ArtifactsError> {
        block_on(self.artifacts.put(key, Content::Bytes(bytes)))
    }

    fn result(&self, number: u32) -> ManifestEntry {
        let key = format!("jobs/j/attempts/{number}-0000000{number}/result.json");
        let stored = self.put(&key, format!("{{\"n\":{number}}}").as_bytes()).unwrap();
        ManifestEntry { path: "result.json".to_owned(), size: stored.size, sha256: stored.sha256 }
    }

    fn publish(&self, number: u32, expected: &ManifestEntry) -> Result<Publication, ArtifactsError> {
        let token = LaunchToken::from_bits(u128::from(number) << 96);
        block_on(self.artifacts.publish(&JobId::new("j").unwrap(), number, &token, expected))
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_published_result_is_a_relative_link_that_survives_moving_the_folder() {
    let s = store();
    let entry = s.result(1);
    assert_eq!(s.publish(1, &entry).unwrap(), Publication::Published);
    let moved = s.folder.path().join("moved");
    fs::rename(&s.root, &moved).unwrap();
    assert_eq!(fs::read(moved.join("jobs/j/result.json")).unwrap(), b"{\"n\":1}");
    let link = fs::read_link(moved.join("jobs/j/result.json")).unwrap();
    assert_eq!(link, Path::new("attempts/1-00000001/result.json"));
    assert_eq!(names(&moved.join("jobs/j")), ["attempts", "result.json"], "something was left behind");
}

#[test]
fn publishers_at_once_never_go_back() {
    let s = store();
    let entries: Vec<ManifestEntry> = (1..=8).map(|n| s.result(n)).collect();
    std::thread::scope(|scope| {
        for (number, entry) in (1u32..).zip(&entries) {
            let s = &s;
            scope.spawn(move || {
                loop {
                    match s.publish(number, entry) {
                        Ok(Publication::Unreadable(why)) => panic!("{why}"),
                        Ok(_) => break,
                        Err(e) => assert!(e.to_string().contains("another publisher"), "{e}"),
                    }
                }
            });
        }
    });
    assert_eq!(fs::read(s.root.join("jobs/j/result.json")).unwrap(), b"{\"n\":8}");
    assert_eq!(names(&s.root.join("jobs/j")), ["attempts", "result.json"]);
}

#[test]
fn a_publisher_that_was_stopped_in_the_middle_does_not_hang_the_next_one() {
    let s = store();
    let entry = s.result(1);
    let held = fs::File::open(s.root.join("jobs/j")).unwrap();
    held.lock().unwrap();
    assert!(s.publish(1, &entry).unwrap_err().to_string().contains("another publisher is at work"));
    drop(held);
    assert_eq!(s.publish(1, &entry).unwrap(), Publication::Published);
}

#[test]
fn a_result_restored_from_a_backup_without_links_is_replaced() {
    let s = store();
    let entry = s.result(2);
    fs::write(s.root.join("jobs/j/result.json"), "old").unwrap();
    assert_eq!(s.publish(2, &entry).unwrap(), Publication::Published);
    assert_eq!(block_on(s.artifacts.get("jobs/j/result.json", None)).unwrap().unwrap(), b"{\"n\":2}");
}

#[test]
fn links_that_lead_out_of_the_root_are_followed_by_nothing() {
    let s = store();
    let outside = s.folder.path().join("outside");
    fs::create_dir_all(outside.join("sub")).unwrap();
    fs::write(outside.join("secret"), "secret").unwrap();
    fs::write(outside.join("sub/secret"), "secret").unwrap();
    fs::write(outside.join("result.json"), "secret").unwrap();
    let job = s.root.join("jobs/j");
    fs::create_dir_all(job.join("attempts")).unwrap();
    symlink(&outside, job.join("attempts/1-00000001")).unwrap();
    symlink(outside.join("secret"), job.join("file")).unwrap();
    symlink(outside.join("result.json"), job.join("result.json")).unwrap();

    for key in [
        "jobs/j/attempts/1-00000001/secret",
        "jobs/j/attempts/1-00000001/sub/secret",
        "jobs/j/file",
        "jobs/j/result.json",
    ] {
        assert!(!matches!(block_on(s.artifacts.get(key, None)), Ok(Some(_))), "{key} was read");
        assert!(!matches!(block_on(s.artifacts.size(key)), Ok(Some(_))), "{key} was seen");
        assert!(s.put(key, b"overwritten").is_err(), "{key} was written");
    }
    assert!(s.put("jobs/j/attempts/1-00000001/new", b"x").is_err());
    assert_eq!(block_on(s.artifacts.list("jobs/j")).unwrap(), []);
    let entry = ManifestEntry { path: "result.json".to_owned(), size: 6, sha256: String::new() };
    let answer = s.publish(1, &entry).unwrap();
    assert!(matches!(answer, Publication::Unreadable(_)), "{answer:?}");
    block_on(s.artifacts.delete_job(&JobId::new("j").unwrap())).unwrap();
    assert_eq!(names(&outside), ["result.json", "secret", "sub"], "a write or the deletion followed a link");
    assert_eq!(fs::read(outside.join("secret")).unwrap(), b"secret");
}

#[test]
fn a_draft_that_a_crash_left_is_neither_listed_nor_in_the_way() {
    let s = store();
    s.put("jobs/j/x", b"x").unwrap();
    for n in 0..10 {
        fs::write(s.root.join(format!("jobs/j/.draft-{}-{n}", std::process::id())), "half").unwrap();
    }
    s.put("jobs/j/y", b"y").unwrap();
    let listed = block_on(s.artifacts.list("jobs/j")).unwrap();
    assert_eq!(listed, [("jobs/j/x".to_owned(), 1), ("jobs/j/y".to_owned(), 1)]);
    assert!(s.put("jobs/j/.draft-1-1", b"x").is_err());
}

#[test]
fn what_is_no_regular_file_cannot_be_stored_or_read() {
    let s = store();
    let fifo = s.folder.path().join("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let link = s.folder.path().join("link");
    fs::write(s.folder.path().join("target"), "x").unwrap();
    symlink(s.folder.path().join("target"), &link).unwrap();
    for path in [&fifo, &link] {
        assert!(block_on(s.artifacts.put("jobs/j/x", Content::File(path))).is_err(), "{path:?}");
    }
    fs::rename(&fifo, s.root.join("jobs/j/fifo")).unwrap();
    assert_eq!(block_on(s.artifacts.get("jobs/j/fifo", None)).unwrap(), None);
    assert_eq!(names(&s.root.join("jobs/j")), ["fifo"], "a draft was left behind");
}

#[test]
fn an_error_carries_the_words_of_the_system() {
    let s = store();
    s.put("jobs/file", b"x").unwrap();
    let e = s.put("jobs/file/below", b"x").unwrap_err();
    assert!(e.to_string().contains("artifact jobs/file/below could not be stored: "), "{e}");
    assert!(e.to_string().contains("ot a directory"), "{e}");
    let e = DirArtifacts::open(&s.root.join("jobs/file"), Durability::Process).unwrap_err();
    assert!(e.to_string().contains("ot a directory"), "{e}");
}
