//! Publishers that meet, and publications that are interrupted.

use super::{Stage, is_put, run, scripted, stage};
use crate::aws_support::proxy::{Fate, Request};
use backends::s3::S3Artifacts;
use backends::{Artifacts, ArtifactsError, Content, Publication};
use contract::attempt::ManifestEntry;
use contract::{JobId, LaunchToken};
use std::sync::{Arc, Mutex};

const PLAIN: &str = "jobs/j/result.json";

fn token(number: u32) -> LaunchToken {
    LaunchToken::from_bits(u128::from(number) << 96)
}

/// Stores the result `{"n":<number>}` of an attempt.
fn result(artifacts: &S3Artifacts, number: u32) -> ManifestEntry {
    let key = format!("jobs/j/attempts/{number}-0000000{number}/result.json");
    let text = format!("{{\"n\":{number}}}");
    let stored = run(artifacts.put(&key, Content::Bytes(text.as_bytes()))).unwrap();
    ManifestEntry { path: "result.json".to_owned(), size: stored.size, sha256: stored.sha256 }
}

fn publish(
    artifacts: &S3Artifacts,
    number: u32,
    entry: &ManifestEntry,
) -> Result<Publication, ArtifactsError> {
    run(artifacts.publish(&JobId::new("j").unwrap(), number, &token(number), entry))
}

fn is_publication(request: &Request) -> bool {
    is_put(request) && request.target.contains("/jobs/j/result.json")
}

impl Stage {
    fn published(&self) -> Option<String> {
        run(self.direct.get(PLAIN, None)).unwrap().map(|bytes| String::from_utf8(bytes).unwrap())
    }
}

/// Once, right before the first publication that comes through the proxy.
fn meanwhile(act: impl FnOnce() + Send + 'static) -> impl FnMut(&Request) -> Fate + Send + 'static {
    let mut act = Some(act);
    move |request| {
        if is_publication(request)
            && let Some(act) = act.take()
        {
            act();
        }
        Fate::Pass
    }
}

#[test]
fn a_publication_survives_what_may_pass_away() {
    for fates in [
        vec![Fate::CutAfter],
        vec![Fate::Cut],
        vec![Fate::Stall],
        vec![Fate::Answer(503, "SlowDown"); 3],
        vec![Fate::Answer(409, "ConditionalRequestConflict"); 3],
        vec![Fate::CutAfter, Fate::CutAfter, Fate::CutAfter],
    ] {
        let what = format!("{fates:?}");
        let Some(s) = scripted(is_publication, fates) else { return };
        for number in 1..3 {
            let entry = result(&s.direct, number);
            assert_eq!(publish(&s.artifacts, number, &entry).unwrap(), Publication::Published, "{what}");
            assert_eq!(s.published().unwrap(), format!("{{\"n\":{number}}}"), "{what}");
        }
    }
}

#[test]
fn a_publisher_that_was_paused_before_its_write_does_not_replace_a_newer_result() {
    for older_is_there in [false, true] {
        let other = Arc::new(Mutex::new(None::<(S3Artifacts, ManifestEntry)>));
        let late = other.clone();
        let rule = meanwhile(move || {
            let (artifacts, entry) = late.lock().unwrap().take().unwrap();
            assert_eq!(publish(&artifacts, 3, &entry).unwrap(), Publication::Published);
        });
        let Some(s) = stage(rule) else { return };
        let entries: Vec<_> = (1..4).map(|number| result(&s.direct, number)).collect();
        if older_is_there {
            publish(&s.direct, 1, &entries[0]).unwrap();
        }
        let server = crate::aws_support::Ministack::shared().unwrap();
        let artifacts = s.bucket.artifacts(&server.endpoint(), super::long());
        *other.lock().unwrap() = Some((artifacts, entries[2].clone()));
        let answer = publish(&s.artifacts, 2, &entries[1]).unwrap();
        assert_eq!(answer, Publication::Newer { number: 3 });
        assert_eq!(s.published().unwrap(), "{\"n\":3}");
    }
}

#[test]
fn a_result_that_was_deleted_or_replaced_by_hand_meanwhile_is_published_again() {
    for deleted in [true, false] {
        let bucket = Arc::new(Mutex::new(None));
        let name = bucket.clone();
        let rule = meanwhile(move || {
            let (client, bucket): (aws_sdk_s3::Client, String) = name.lock().unwrap().take().unwrap();
            if deleted {
                run(client.delete_object().bucket(bucket).key(PLAIN).send()).unwrap();
            } else {
                run(client.put_object().bucket(bucket).key(PLAIN).body(b"by hand".to_vec().into()).send())
                    .unwrap();
            }
        });
        let Some(s) = stage(rule) else { return };
        let entries: Vec<_> = (1..3).map(|number| result(&s.direct, number)).collect();
        publish(&s.direct, 1, &entries[0]).unwrap();
        *bucket.lock().unwrap() = Some((s.bucket.client.clone(), s.bucket.name.clone()));
        assert_eq!(publish(&s.artifacts, 2, &entries[1]).unwrap(), Publication::Published);
        assert_eq!(s.published().unwrap(), "{\"n\":2}");
    }
}

#[test]
fn publishers_at_once_never_go_back() {
    let Some(s) = stage(|_: &Request| Fate::Pass) else { return };
    let entries: Vec<_> = (1..=8).map(|number| result(&s.direct, number)).collect();
    std::thread::scope(|scope| {
        for (number, entry) in (1u32..).zip(&entries) {
            let s = &s;
            scope.spawn(move || {
                let newer = loop {
                    match publish(&s.direct, number, entry) {
                        Ok(Publication::Unreadable(why)) => panic!("{why}"),
                        Ok(Publication::Newer { number: newer }) => break newer,
                        Ok(Publication::Published) => break number,
                        Err(e) => assert!(e.to_string().contains("another writer"), "{e}"),
                    }
                };
                let there = s.published().unwrap();
                assert!(there >= format!("{{\"n\":{newer}}}"), "{there} after {newer}");
            });
        }
    });
    assert_eq!(s.published().unwrap(), "{\"n\":8}");
}

#[test]
fn a_store_that_cannot_be_read_publishes_nothing() {
    let rule = |request: &Request| {
        let source = request.method == "GET" && request.target.contains("/attempts/");
        if source { Fate::Answer(500, "InternalError") } else { Fate::Pass }
    };
    let Some(s) = stage(rule) else { return };
    let entry = result(&s.direct, 1);
    let answer = publish(&s.artifacts, 1, &entry);
    assert!(matches!(answer, Err(ArtifactsError::Unavailable { .. })), "{answer:?}");
    assert_eq!(s.published(), None);
}
