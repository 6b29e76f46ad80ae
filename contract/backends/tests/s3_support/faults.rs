//! A network and an S3 that fail, and what is stored and read in the end.

use super::{Stage, is_get, is_put, run, scripted, stage};
use crate::aws_support::proxy::{Fate, Request, script};
use backends::{Artifacts, ArtifactsError, Content};
use sha2::{Digest, Sha256};
use std::time::{Duration, Instant};

const KEY: &str = "jobs/j/attempts/1-00000000/result.json";

impl Stage {
    fn put(&self, bytes: &[u8]) -> Result<backends::Stored, ArtifactsError> {
        run(self.artifacts.put(KEY, Content::Bytes(bytes)))
    }

    /// What the bucket holds in the end.
    fn content(&self) -> Option<Vec<u8>> {
        run(self.direct.get(KEY, None)).unwrap()
    }

    fn puts(&self) -> usize {
        self.proxy.seen(is_put).len()
    }
}

fn is_read(request: &Request) -> bool {
    is_get(request) || request.method == "HEAD"
}

#[test]
fn a_put_is_repeated_after_whatever_may_pass_away() {
    for (name, fates, puts) in [
        ("throttled", vec![Fate::Answer(503, "SlowDown"); 3], 4),
        ("a fault of S3", vec![Fate::Answer(500, "InternalError")], 2),
        ("another conditional write at work", vec![Fate::Answer(409, "ConditionalRequestConflict"); 3], 4),
        ("another operation at work", vec![Fate::Answer(409, "OperationAborted")], 2),
        ("damaged on the way", vec![Fate::Answer(400, "BadDigest")], 2),
        ("cut before it was carried out", vec![Fate::Cut, Fate::Cut], 3),
        ("no answer", vec![Fate::Stall], 2),
    ] {
        let Some(s) = scripted(is_put, fates) else { return };
        let stored = s.put(b"{}").unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(stored.size, 2, "{name}");
        assert_eq!(s.content().unwrap(), b"{}", "{name}");
        assert_eq!(s.puts(), puts, "{name}");
    }
}

#[test]
fn a_put_whose_answer_was_lost_finds_its_own_object() {
    let Some(s) = stage(script(is_put, [Fate::CutAfter, Fate::CutAfter])) else { return };
    s.put(b"{}").unwrap();
    assert_eq!(s.content().unwrap(), b"{}");
    assert!(matches!(s.put(b"other"), Err(ArtifactsError::Exists(_))));
}

#[test]
fn a_lost_answer_hides_no_other_content() {
    let Some(s) = stage(script(is_put, [Fate::Cut])) else { return };
    run(s.direct.put(KEY, Content::Bytes(b"first"))).unwrap();
    assert!(matches!(s.put(b"second"), Err(ArtifactsError::Exists(_))));
    assert_eq!(s.content().unwrap(), b"first");
}

#[test]
fn who_may_not_read_what_he_wrote_recognises_it_by_his_own_uncertain_try() {
    // The role of a worker. The first call ends with the tries; the object was stored by the first of them.
    let mut puts = [Fate::CutAfter].into_iter().chain(vec![Fate::Answer(503, "SlowDown"); 4]);
    let rule = move |request: &Request| match request {
        request if is_put(request) => puts.next().unwrap_or(Fate::Pass),
        request if is_read(request) => Fate::Answer(403, "AccessDenied"),
        _ => Fate::Pass,
    };
    let Some(s) = stage(rule) else { return };
    assert!(matches!(s.put(b"{}"), Err(ArtifactsError::Unavailable { .. })));
    s.put(b"{}").unwrap();
    assert_eq!(s.content().unwrap(), b"{}");
    // It has been told, and knows nothing of other content.
    let refused = s.put(b"other");
    assert!(matches!(refused, Err(ArtifactsError::Unavailable { .. })), "{refused:?}");
    // The answer to a HEAD has no words.
    assert!(refused.unwrap_err().to_string().contains("403"));
}

#[test]
fn a_refusal_for_good_is_not_repeated() {
    let rule =
        |request: &Request| if is_put(request) { Fate::Answer(403, "AccessDenied") } else { Fate::Pass };
    let Some(s) = stage(rule) else { return };
    let refused = s.put(b"{}").unwrap_err().to_string();
    assert!(refused.contains(KEY) && refused.contains("AccessDenied: scripted"), "{refused}");
    assert_eq!((s.puts(), s.content()), (1, None));
}

#[test]
fn every_put_is_conditional_and_carries_the_checksum_of_its_content() {
    let Some(s) = stage(|_: &Request| Fate::Pass) else { return };
    s.put(b"abc").unwrap();
    let put = &s.proxy.seen(is_put)[0];
    assert_eq!(put.header("if-none-match"), "*");
    // FIPS 180-2, example B.1, in base64.
    assert_eq!(put.header("x-amz-checksum-sha256"), "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
    assert_eq!(put.header("content-type"), "application/json");
}

#[test]
fn a_body_that_breaks_off_or_stands_still_is_read_again() {
    let content: Vec<u8> = (0..400_000u32).map(|i| (i % 251) as u8).collect();
    for fate in [Fate::CutBody(100_000), Fate::StallBody(100_000), Fate::CutBody(0), Fate::Cut, Fate::Stall] {
        let Some(s) = scripted(is_get, vec![fate.clone()]) else { return };
        run(s.direct.put(KEY, Content::Bytes(&content))).unwrap();
        let read = run(s.artifacts.get(KEY, Some(5..400_000))).unwrap().unwrap();
        assert!(read == content[5..], "{fate:?}: {} bytes", read.len());
    }
}

#[test]
fn a_store_that_stands_still_for_ever_is_unavailable_in_bounded_time() {
    for (fate, limit) in [(Fate::StallBody(10), 30), (Fate::Stall, 20)] {
        let rule = move |request: &Request| if is_read(request) { fate.clone() } else { Fate::Pass };
        let Some(s) = stage(rule).map(Stage::in_a_hurry) else { return };
        run(s.direct.put(KEY, Content::Bytes(&[7; 100_000]))).unwrap();
        let begun = Instant::now();
        let read = run(s.artifacts.get(KEY, None));
        assert!(matches!(read, Err(ArtifactsError::Unavailable { .. })), "{read:?}");
        assert!(begun.elapsed() < Duration::from_secs(limit), "after {:?}", begun.elapsed());
    }
}

#[test]
fn a_connection_that_was_idle_is_not_used_again() {
    let Some(s) = stage(|_: &Request| Fate::Pass) else { return };
    let reads = |idle| {
        let limits = super::S3Limits { idle, ..super::long() };
        let artifacts = s.bucket.artifacts(&s.proxy.endpoint(), limits);
        run(async {
            for _ in 0..2 {
                artifacts.size(KEY).await.unwrap();
            }
        });
    };
    reads(Duration::from_secs(3600));
    reads(Duration::ZERO);
    let connections: Vec<usize> = s.proxy.seen(is_read).iter().map(|request| request.connection).collect();
    assert_eq!(connections, [0, 0, 1, 2]);
}

#[test]
fn a_listing_and_a_deletion_go_through_all_pages() {
    let Some(s) = stage(|_: &Request| Fate::Pass) else { return };
    let keys: Vec<String> = (0..1_003).map(|n| format!("jobs/many/attempts/1-0/artifacts/{n:04}")).collect();
    run(async {
        for some in keys.chunks(17) {
            let puts = some.iter().map(|key| s.direct.put(key, Content::Bytes(b"")));
            let answers = backends::conformance::wait::all(puts.collect()).await;
            assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        }
    });
    let listed = run(s.artifacts.list("jobs/many")).unwrap();
    assert_eq!(listed.into_iter().map(|(key, _)| key).collect::<Vec<_>>(), keys);
    run(s.artifacts.delete_job(&contract::JobId::new("many").unwrap())).unwrap();
    assert_eq!(run(s.direct.list("jobs/many")).unwrap(), []);
}

#[test]
fn a_deletion_that_fails_says_so_and_is_done_by_the_next_one() {
    let is_deletion = |request: &Request| request.method == "POST";
    let Some(s) = stage(script(is_deletion, vec![Fate::Answer(503, "SlowDown"); 3])) else { return };
    let job_id = contract::JobId::new("j").unwrap();
    run(s.direct.put(KEY, Content::Bytes(b"{}"))).unwrap();
    let refused = run(s.artifacts.delete_job(&job_id)).unwrap_err().to_string();
    assert!(refused.contains("SlowDown"), "{refused}");
    run(s.artifacts.delete_job(&job_id)).unwrap();
    assert_eq!(s.content(), None);
}

#[test]
fn a_presigned_url_gives_the_content_as_a_download_to_whoever_has_it() {
    let Some(s) = stage(|_: &Request| Fate::Pass) else { return };
    s.put(b"{\"n\":1}").unwrap();
    let url = run(s.artifacts.download_url(KEY, "text/plain")).unwrap().unwrap();
    assert!(url.contains("X-Amz-Expires=900") && url.contains("X-Amz-Signature="), "{url}");
    let before = s.proxy.seen(is_get).len();
    let answer = raw_get(&url);
    assert_eq!(s.proxy.seen(is_get).len(), before + 1);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.to_lowercase().contains("content-type: text/plain"), "{head}");
    assert!(head.to_lowercase().contains("content-disposition: attachment"), "{head}");
    assert_eq!(body, "{\"n\":1}");
    assert!(matches!(run(s.artifacts.download_url("../x", "text/plain")), Err(ArtifactsError::Key(_))));
}

fn raw_get(url: &str) -> String {
    use std::io::{Read, Write};
    let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut connection = std::net::TcpStream::connect(host).unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(connection, "GET /{path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").unwrap();
    connection.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn the_artifacts_of_a_small_job_cost_four_puts_and_its_publication_three_reads() {
    let Some(s) = stage(|_: &Request| Fate::Pass) else { return };
    for name in ["result.json", "stdout.log", "stderr.log"] {
        let key = format!("jobs/j/attempts/1-00000000/{name}");
        run(s.artifacts.put(&key, Content::Bytes(b"{}"))).unwrap();
    }
    let sha256 = backends_hex(&Sha256::digest(b"{}"));
    let entry = contract::attempt::ManifestEntry { path: "result.json".to_owned(), size: 2, sha256 };
    let token = contract::LaunchToken::from_bits(0);
    let job_id = contract::JobId::new("j").unwrap();
    let answer = run(s.artifacts.publish(&job_id, 1, &token, &entry)).unwrap();
    assert_eq!(answer, backends::Publication::Published);
    assert_eq!((s.puts(), s.proxy.seen(is_read).len(), s.proxy.seen(|_| true).len()), (4, 3, 7));
}

fn backends_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
