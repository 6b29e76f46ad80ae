//! Content that is stored in parts.

use super::{Stage, run, scripted, stage};
use crate::aws_support::proxy::{Fate, Request, script};
use backends::{Artifacts, ArtifactsError, Content, Publication};
use contract::attempt::ManifestEntry;
use contract::{JobId, LaunchToken};
use std::path::Path;

const KEY: &str = "jobs/j/attempts/1-00000000/result.json";
/// Two parts, the last one short.
const SIZE: usize = PART + 1000;
/// The least that S3 takes, so that the tests hash as little as they can.
const PART: usize = 5 << 20;

fn content(seed: u8) -> Vec<u8> {
    (0..SIZE).map(|i| (i % 251) as u8 ^ seed).collect()
}

fn file(folder: &Path, seed: u8) -> std::path::PathBuf {
    let path = folder.join(format!("content-{seed}"));
    std::fs::write(&path, content(seed)).unwrap();
    path
}

fn is_part(request: &Request) -> bool {
    request.method == "PUT" && request.target.contains("partNumber=")
}

fn is_completion(request: &Request) -> bool {
    request.method == "POST" && request.target.contains("uploadId=")
}

fn is_beginning(request: &Request) -> bool {
    request.method == "POST" && request.target.contains("uploads")
}

impl Stage {
    fn put_file(&self, path: &Path) -> Result<backends::Stored, ArtifactsError> {
        run(self.artifacts.put(KEY, Content::File(path)))
    }

    fn count(&self, wanted: fn(&Request) -> bool) -> usize {
        self.proxy.seen(wanted).len()
    }

    /// The large content of seed 0 is there, and nothing else was left behind.
    fn holds_it(&self, what: &str) {
        assert!(run(self.direct.get(KEY, None)).unwrap().unwrap() == content(0), "{what}");
        assert_eq!(self.bucket.unfinished_uploads(), 0, "{what}");
    }
}

#[test]
fn a_large_file_is_stored_in_parts_once() {
    let Some(s) = stage(|_: &Request| Fate::Pass) else { return };
    let folder = tempfile::tempdir().unwrap();
    let stored = s.put_file(&file(folder.path(), 0)).unwrap();
    assert_eq!(stored.size, SIZE as u64);
    s.holds_it("stored");
    let sizes: Vec<usize> = s.proxy.seen(is_part).iter().map(|part| part.body.len()).collect();
    assert_eq!(sizes, [PART, 1000]);
    assert!(s.proxy.seen(is_part).iter().all(|part| !part.header("x-amz-checksum-sha256").is_empty()));
    assert_eq!(s.proxy.seen(is_completion)[0].header("if-none-match"), "*");

    assert_eq!(s.put_file(&file(folder.path(), 0)).unwrap(), stored, "the same again");
    assert_eq!(run(s.artifacts.put(KEY, Content::Bytes(&content(0)))).unwrap(), stored, "the same as bytes");
    for other in [Content::File(&file(folder.path(), 1)), Content::Bytes(b"small")] {
        assert!(matches!(run(s.artifacts.put(KEY, other)), Err(ArtifactsError::Exists(_))));
    }
    s.holds_it("in the end");
}

#[test]
fn an_upload_in_parts_survives_what_may_pass_away() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), 0);
    type Wanted = fn(&Request) -> bool;
    let cases: [(&str, Wanted, Vec<Fate>); 9] = [
        ("a throttled part", is_part, vec![Fate::Answer(503, "SlowDown"); 2]),
        ("a part that was cut off", is_part, vec![Fate::Cut]),
        ("a part whose answer was lost", is_part, vec![Fate::CutAfter]),
        ("a part that nobody reads", is_part, vec![Fate::Stall]),
        ("a beginning whose answer was lost", is_beginning, vec![Fate::Cut]),
        ("a completion whose answer was lost", is_completion, vec![Fate::CutAfter]),
        (
            "a completed upload that is forgotten",
            is_completion,
            vec![Fate::CutAfter, Fate::Answer(404, "NoSuchUpload")],
        ),
        ("a throttled completion", is_completion, vec![Fate::Answer(503, "SlowDown")]),
        // S3 wants the whole upload again then.
        ("a conflict", is_completion, vec![Fate::Answer(409, "ConditionalRequestConflict")]),
    ];
    for (what, wanted, fates) in cases {
        let Some(s) = scripted(wanted, fates) else { return };
        s.put_file(&path).unwrap_or_else(|e| panic!("{what}: {e}"));
        s.holds_it(what);
        assert_eq!(
            s.count(is_beginning),
            if what == "a conflict" || what.starts_with("a beg") { 2 } else { 1 }
        );
    }
}

#[test]
fn an_upload_that_fails_is_aborted() {
    let rule = |request: &Request| match request {
        request if is_part(request) && request.target.contains("partNumber=2") => {
            Fate::Answer(403, "AccessDenied")
        }
        _ => Fate::Pass,
    };
    let Some(s) = stage(rule) else { return };
    let folder = tempfile::tempdir().unwrap();
    let refused = s.put_file(&file(folder.path(), 0)).unwrap_err().to_string();
    assert!(refused.contains("AccessDenied"), "{refused}");
    assert_eq!(s.bucket.unfinished_uploads(), 0);
    assert_eq!(run(s.direct.get(KEY, None)).unwrap(), None);
}

#[test]
fn a_file_that_changes_while_it_is_stored_is_not_stored() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), 0);
    let changed = path.clone();
    let rule = move |request: &Request| {
        if is_beginning(request) {
            std::fs::write(&changed, content(1)).unwrap();
        }
        Fate::Pass
    };
    let Some(s) = stage(rule) else { return };
    let refused = s.put_file(&path).unwrap_err().to_string();
    assert!(refused.contains("changed"), "{refused}");
    assert_eq!(run(s.direct.get(KEY, None)).unwrap(), None);
    assert_eq!(s.bucket.unfinished_uploads(), 0);
}

#[test]
fn a_large_result_is_published_in_parts() {
    let Some(s) = stage(script(is_completion, [Fate::Pass, Fate::CutAfter])) else { return };
    let folder = tempfile::tempdir().unwrap();
    let stored = s.put_file(&file(folder.path(), 0)).unwrap();
    let entry = ManifestEntry { path: "result.json".to_owned(), size: stored.size, sha256: stored.sha256 };
    let (job_id, token) = (JobId::new("j").unwrap(), LaunchToken::from_bits(0));
    for _ in 0..2 {
        let answer = run(s.artifacts.publish(&job_id, 1, &token, &entry)).unwrap();
        assert_eq!(answer, Publication::Published);
    }
    assert!(run(s.direct.get("jobs/j/result.json", None)).unwrap().unwrap() == content(0));
    assert!(s.proxy.seen(|_| true).iter().all(|request| request.body.len() <= PART));
    let other = ManifestEntry { sha256: "0".repeat(64), ..entry };
    let answer = run(s.artifacts.publish(&JobId::new("j").unwrap(), 1, &token, &other)).unwrap();
    assert!(matches!(answer, Publication::Unreadable(_)), "{answer:?}");
    assert_eq!(s.bucket.unfinished_uploads(), 0);
}
