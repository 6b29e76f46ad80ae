//! What every store of artifacts must do. [`artifacts_conformance`](crate::artifacts_conformance) turns
//! each check into a test.

use crate::artifacts::{Artifacts, ArtifactsError, Content, Publication, Stored};
use contract::attempt::ManifestEntry;
use contract::{Attempt, JobId, LaunchToken, PayloadRef};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A store to be checked. The checks use different keys, so they may share one store.
pub struct Fixture {
    /// The store.
    pub artifacts: Arc<dyn Artifacts>,
    /// A folder for files that are to be stored.
    pub scratch: PathBuf,
    /// Drives a future to its end on the calling thread.
    pub block_on: fn(Pin<Box<dyn Future<Output = ()> + '_>>),
    /// Dropped at the end: a temporary folder, a server.
    pub guard: Box<dyn std::any::Any>,
}

/// Makes one test of each check: `artifacts_conformance!(fixture)`, where `fixture()` opens a
/// [`Fixture`](crate::conformance::artifacts::Fixture), or `None` where the store is not installed.
#[macro_export]
macro_rules! artifacts_conformance {
    ($fixture:expr) => {
        $crate::artifacts_conformance!(@each $fixture,
            content_is_stored_once_and_the_same_content_again_is_a_success
            a_file_is_stored_like_bytes
            ranges_are_cut_at_the_end_of_the_artifact
            what_does_not_exist_is_absent_and_no_error
            keys_that_leave_the_store_are_refused_by_every_call
            a_listing_is_sorted_and_holds_what_lies_below_the_folder_only
            a_publication_checks_the_result_and_moves_forward_only
            concurrent_puts_of_one_key_leave_one_content
            deleting_a_job_leaves_the_others_and_may_be_repeated);
    };
    (@each $fixture:expr, $($check:ident)*) => {
        $(#[test]
        fn $check() {
            let fixture: Option<$crate::conformance::artifacts::Fixture> = Into::into($fixture());
            let Some(fixture) = fixture else { return };
            (fixture.block_on)(Box::pin($crate::conformance::artifacts::$check(&fixture)));
        })*
    };
}

fn token(bits: u128) -> LaunchToken {
    LaunchToken::from_bits(bits << 96)
}

fn job(name: &str) -> JobId {
    JobId::new(name).expect("a good id")
}

async fn put(f: &Fixture, key: &str, bytes: &[u8]) -> Result<Stored, ArtifactsError> {
    f.artifacts.put(key, Content::Bytes(bytes)).await
}

async fn get(f: &Fixture, key: &str) -> Option<Vec<u8>> {
    f.artifacts.get(key, None).await.expect("the store answers")
}

/// The first content of a key stays, also the empty one.
pub async fn content_is_stored_once_and_the_same_content_again_is_a_success(f: &Fixture) {
    for (key, first, second) in
        [("jobs/once/attempts/1-a/x", &b"one"[..], &b"two"[..]), ("jobs/once/attempts/1-a/e", b"", b"two")]
    {
        let stored = put(f, key, first).await.unwrap();
        assert_eq!(stored.size, first.len() as u64);
        assert_eq!(stored.sha256.len(), 64);
        assert_eq!(put(f, key, first).await.unwrap(), stored, "{key}");
        for other in [second, &first[..first.len() / 2], b"longer than the first one"] {
            if other != first {
                let refused = put(f, key, other).await;
                assert!(matches!(refused, Err(ArtifactsError::Exists(_))), "{key}: {refused:?}");
            }
        }
        assert_eq!(get(f, key).await.unwrap(), first, "{key}");
        assert_eq!(f.artifacts.size(key).await.unwrap(), Some(first.len() as u64));
    }
}

/// Bytes and a file with the same content are the same, and a missing file is an error.
pub async fn a_file_is_stored_like_bytes(f: &Fixture) {
    let content: Vec<u8> = (0..300_000u32).map(|i| (i % 251) as u8).collect();
    let path = f.scratch.join("content");
    std::fs::write(&path, &content).unwrap();
    let key = "jobs/file/attempts/1-a/artifacts/deep/down.bin";
    let stored = f.artifacts.put(key, Content::File(&path)).await.unwrap();
    assert_eq!(put(f, key, &content).await.unwrap(), stored);
    assert_eq!(get(f, key).await.unwrap(), content);
    let missing = f.artifacts.put("jobs/file/x", Content::File(&f.scratch.join("nothing"))).await;
    assert!(matches!(missing, Err(ArtifactsError::Unavailable { .. })), "{missing:?}");
    assert_eq!(get(f, "jobs/file/x").await, None);
}

/// Ranges.
pub async fn ranges_are_cut_at_the_end_of_the_artifact(f: &Fixture) {
    let key = "jobs/range/log";
    put(f, key, b"0123456789").await.unwrap();
    for (range, wanted) in
        [(0..3, "012"), (3..5, "34"), (8..99, "89"), (10..12, ""), (50..60, ""), (0..u64::MAX, "0123456789")]
    {
        let got = f.artifacts.get(key, Some(range.clone())).await.unwrap().unwrap();
        assert_eq!(String::from_utf8(got).unwrap(), wanted, "{range:?}");
    }
    assert_eq!(f.artifacts.get("jobs/range/none", Some(0..3)).await.unwrap(), None);
}

/// Absence, also of folders and below files.
pub async fn what_does_not_exist_is_absent_and_no_error(f: &Fixture) {
    put(f, "jobs/absent/folder/file", b"x").await.unwrap();
    for key in ["jobs/absent/none", "jobs/absent/folder", "jobs/absent/folder/file/below", "nowhere/at/all"] {
        assert_eq!(get(f, key).await, None, "{key}");
        assert_eq!(f.artifacts.size(key).await.unwrap(), None, "{key}");
    }
    assert_eq!(f.artifacts.list("jobs/absent/none").await.unwrap(), []);
}

/// Bad keys.
pub async fn keys_that_leave_the_store_are_refused_by_every_call(f: &Fixture) {
    for key in ["", "/etc/passwd", "jobs/../../x", "jobs//x", "jobs/./x", "jobs/x/", "jobs/a\\b", "jobs/a\nb"]
    {
        let refused = |answer: Result<(), ArtifactsError>| {
            assert!(matches!(answer, Err(ArtifactsError::Key(_))), "{key:?}: {answer:?}");
        };
        refused(put(f, key, b"x").await.map(drop));
        refused(f.artifacts.get(key, None).await.map(drop));
        refused(f.artifacts.size(key).await.map(drop));
        refused(f.artifacts.list(key).await.map(drop));
    }
}

/// Listings.
pub async fn a_listing_is_sorted_and_holds_what_lies_below_the_folder_only(f: &Fixture) {
    for key in ["b", "a/z", "a/b/c", "a-b", "aa"] {
        put(f, &format!("jobs/list/{key}"), key.as_bytes()).await.unwrap();
    }
    let all: Vec<(String, u64)> = [("a-b", 3), ("a/b/c", 5), ("a/z", 3), ("aa", 2), ("b", 1)]
        .map(|(key, size)| (format!("jobs/list/{key}"), size))
        .into();
    assert_eq!(f.artifacts.list("jobs/list").await.unwrap(), all);
    assert_eq!(f.artifacts.list("jobs/list/a").await.unwrap(), all[1..3]);
}

/// Publication.
pub async fn a_publication_checks_the_result_and_moves_forward_only(f: &Fixture) {
    let id = job("publish");
    let mut entries = Vec::new();
    for number in 1..=3u32 {
        let key = format!("{}/result.json", Attempt::folder(&id, number, &token(number.into())));
        let Stored { size, sha256 } = put(f, &key, format!("{{\"n\":{number}}}").as_bytes()).await.unwrap();
        entries.push(ManifestEntry { path: "result.json".to_owned(), size, sha256 });
    }
    let publish = async |number: u32, bits: u128, expected: &ManifestEntry| {
        f.artifacts.publish(&id, number, &token(bits), expected).await.unwrap()
    };
    let plain = "jobs/publish/result.json";
    let unreadable = |p: Publication| assert!(matches!(p, Publication::Unreadable(_)), "{p:?}");
    // The checksum of attempt 1 is not that of attempt 2, and attempt 4 left nothing.
    unreadable(publish(2, 2, &entries[0]).await);
    unreadable(publish(1, 1, &ManifestEntry { size: 8, ..entries[0].clone() }).await);
    unreadable(publish(4, 4, &entries[0]).await);
    unreadable(publish(1, 9, &entries[0]).await);
    assert_eq!(get(f, plain).await, None, "an unreadable result was published");

    assert_eq!(publish(2, 2, &entries[1]).await, Publication::Published);
    assert_eq!(publish(2, 2, &entries[1]).await, Publication::Published);
    assert_eq!(get(f, plain).await.unwrap(), b"{\"n\":2}");
    assert_eq!(publish(1, 1, &entries[0]).await, Publication::Newer { number: 2 });
    assert_eq!(get(f, plain).await.unwrap(), b"{\"n\":2}");
    assert_eq!(publish(3, 3, &entries[2]).await, Publication::Published);
    assert_eq!(get(f, plain).await.unwrap(), b"{\"n\":3}");
    assert_eq!(f.artifacts.size(plain).await.unwrap(), Some(7));
    let listed = f.artifacts.list("jobs/publish").await.unwrap();
    assert_eq!(listed.len(), 4, "{listed:?}");
    assert_eq!(listed[3], (plain.to_owned(), 7));
    unreadable(
        f.artifacts.publish(&job("publish-nothing"), 1, &token(1), &entries[0]).await.expect("an answer"),
    );
}

/// Races: exactly one of several different contents wins, and everybody else is told.
pub async fn concurrent_puts_of_one_key_leave_one_content(f: &Fixture) {
    for round in 0..20 {
        let key = &format!("jobs/race/attempts/{round}-a/x");
        let contents: Vec<Vec<u8>> = (0..4u8).map(|i| vec![i; 50_000]).collect();
        let results = [const { AtomicBool::new(false) }; 4];
        std::thread::scope(|scope| {
            for (content, result) in contents.iter().zip(&results) {
                let (artifacts, block_on) = (f.artifacts.clone(), f.block_on);
                scope.spawn(move || {
                    block_on(Box::pin(async move {
                        let answer = artifacts.put(key, Content::Bytes(content)).await;
                        result.store(answer.is_ok(), Ordering::Relaxed);
                    }));
                });
            }
        });
        let won: Vec<usize> = (0..4).filter(|i| results[*i].load(Ordering::Relaxed)).collect();
        assert_eq!(won.len(), 1, "round {round}: {won:?}");
        assert_eq!(get(f, key).await.unwrap(), contents[won[0]]);
        let listed = f.artifacts.list(&format!("jobs/race/attempts/{round}-a")).await.unwrap();
        assert_eq!(listed, [(key.clone(), 50_000)], "something was left behind");
    }
}

/// Deletion.
pub async fn deleting_a_job_leaves_the_others_and_may_be_repeated(f: &Fixture) {
    for key in ["jobs/gone/attempts/1-00000000/result.json", "jobs/gone/attempts/1-00000000/artifacts/x"] {
        put(f, key, b"{}").await.unwrap();
    }
    put(f, "jobs/gone-not/x", b"stays").await.unwrap();
    let (payload, other) = (PayloadRef::key(&job("gone"), "ab"), PayloadRef::key(&job("gone-not"), "ab"));
    for key in [&payload, &other] {
        put(f, key, b"payload").await.unwrap();
    }
    let stored = put(f, "jobs/gone/attempts/1-00000000/result.json", b"{}").await.unwrap();
    let entry = ManifestEntry { path: "result.json".to_owned(), size: stored.size, sha256: stored.sha256 };
    let published = f.artifacts.publish(&job("gone"), 1, &token(0), &entry).await.unwrap();
    assert_eq!(published, Publication::Published);
    for _ in 0..2 {
        f.artifacts.delete_job(&job("gone")).await.unwrap();
        assert_eq!(f.artifacts.list("jobs/gone").await.unwrap(), []);
        assert_eq!(get(f, "jobs/gone/result.json").await, None);
    }
    assert_eq!(get(f, &payload).await.unwrap(), b"payload");
    for _ in 0..2 {
        f.artifacts.delete_payloads(&job("gone")).await.unwrap();
        assert_eq!(get(f, &payload).await, None);
    }
    assert_eq!(get(f, &other).await.unwrap(), b"payload");
    assert_eq!(get(f, "jobs/gone-not/x").await.unwrap(), b"stays");
}
