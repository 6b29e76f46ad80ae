//! `S3Artifacts` against the conformance suite, with MiniStack as S3.

#![cfg(all(feature = "conformance", feature = "s3"))]

mod aws_support;
mod s3_support;

use aws_support::{Ministack, leave_out};
use backends::conformance::artifacts::Fixture;
use backends::s3::S3Limits;
use s3_support::{Bucket, block_on};
use std::sync::Arc;

fn fixture() -> Option<Fixture> {
    let server = Ministack::shared().inspect_err(|why| leave_out("S3", why)).ok()?;
    let folder = tempfile::tempdir().unwrap();
    let artifacts = Bucket::create(server).artifacts(&server.endpoint(), S3Limits::default());
    Some(Fixture {
        artifacts: Arc::new(artifacts),
        scratch: folder.path().to_owned(),
        block_on,
        guard: Box::new(folder),
    })
}

backends::artifacts_conformance!(fixture);
