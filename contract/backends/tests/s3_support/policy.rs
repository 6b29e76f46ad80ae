//! The conformance suite again, where S3 refuses what the bucket's policy refuses: everything below
//! `jobs/*/attempts/*` is created under a condition or not at all. Parts of a large object are exempt, and a
//! copy cannot state the condition (403), nor can S3 copy under one (501 in many regions and other stores).

use super::{S3Limits, block_on, stage};
use crate::aws_support::proxy::{Fate, Request};
use backends::conformance::artifacts::Fixture;
use std::sync::Arc;

fn as_the_policy_says(request: &Request) -> Fate {
    let path = request.target.split('?').next().unwrap_or_default();
    let query = request.target.split_once('?').map_or("", |(_, query)| query);
    let covered = path.contains("/attempts/");
    let is_part = query.contains("partNumber=");
    let creates =
        (request.method == "PUT" && !is_part) || (request.method == "POST" && query.contains("uploadId="));
    if !request.header("x-amz-copy-source").is_empty() {
        return Fate::Answer(501, "NotImplemented");
    }
    if covered && creates && request.header("if-none-match") != "*" {
        return Fate::Answer(403, "AccessDenied");
    }
    Fate::Pass
}

fn fixture() -> Option<Fixture> {
    let stage = stage(as_the_policy_says)?;
    let folder = tempfile::tempdir().unwrap();
    Some(Fixture {
        artifacts: Arc::new(stage.bucket.artifacts(&stage.proxy.endpoint(), S3Limits::default())),
        scratch: folder.path().to_owned(),
        block_on,
        guard: Box::new(folder),
    })
}

backends::artifacts_conformance!(fixture);

#[test]
fn an_unconditional_write_would_be_refused_here() {
    let Some(stage) = stage(as_the_policy_says) else { return };
    let config = aws_sdk_s3::config::Builder::from(&super::config(&stage.proxy.endpoint()));
    let client = aws_sdk_s3::Client::from_conf(config.force_path_style(true).build());
    let put = |key: &str| {
        let answer = super::run(client.put_object().bucket(&stage.bucket.name).key(key).send());
        answer.map_or_else(|e| e.raw_response().map(|answer| answer.status().as_u16()), |_| Some(200))
    };
    assert_eq!(put("jobs/j/attempts/1-a/x"), Some(403));
    assert_eq!(put("jobs/j/result.json"), Some(200));
}
