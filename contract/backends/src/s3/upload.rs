//! Writing an object under a condition: by one request, or in parts when it is large.

use super::fault::Fault;
use super::source::{Source, base64, base64_of_hex, part_size};
use super::{S3Artifacts, Tries};
use crate::artifacts::Stored;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use sha2::{Digest, Sha256};
use std::collections::HashMap;

/// What must hold for an object to be written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Condition<'a> {
    /// There is none.
    Absent,
    /// It has this ETag.
    Is(&'a str),
}

impl Condition<'_> {
    fn if_none_match(self) -> Option<String> {
        matches!(self, Self::Absent).then(|| "*".to_owned())
    }

    fn if_match(self) -> Option<String> {
        match self {
            Self::Absent => None,
            Self::Is(etag) => Some(etag.to_owned()),
        }
    }
}

/// An object to be written.
pub(super) struct Upload<'a> {
    pub(super) key: &'a str,
    pub(super) source: &'a Source<'a>,
    /// Size and checksum of the source.
    pub(super) stored: &'a Stored,
    pub(super) condition: Condition<'a>,
    pub(super) metadata: Option<HashMap<String, String>>,
}

impl S3Artifacts {
    /// Writes an object once; the caller repeats. A fault says what may have become of it.
    pub(super) async fn upload(&self, upload: &Upload<'_>) -> Result<(), Fault> {
        if upload.stored.size <= self.clients.part() {
            self.whole(upload).await
        } else {
            self.in_parts(upload).await
        }
    }

    async fn whole(&self, upload: &Upload<'_>) -> Result<(), Fault> {
        let size = upload.stored.size;
        let bytes = upload.source.piece(self, 0, size).await?;
        let Some(checksum) = base64_of_hex(&upload.stored.sha256) else {
            return Err(Fault::Refused(format!("{:?} is no SHA-256 in hex", upload.stored.sha256)));
        };
        let request = self.clients.get().put_object().bucket(&self.bucket).key(upload.key);
        let request = request
            .set_if_none_match(upload.condition.if_none_match())
            .set_if_match(upload.condition.if_match())
            .set_metadata(upload.metadata.clone())
            .content_type(content_type(upload.key))
            .checksum_sha256(checksum)
            .body(ByteStream::from(bytes));
        let once = self.clients.transfer_once(size);
        request.customize().config_override(once).send().await.map(drop).map_err(|e| Fault::of(&e))
    }

    async fn in_parts(&self, upload: &Upload<'_>) -> Result<(), Fault> {
        let request = self.clients.get().create_multipart_upload().bucket(&self.bucket).key(upload.key);
        let request = request
            .set_metadata(upload.metadata.clone())
            .content_type(content_type(upload.key))
            .checksum_algorithm(ChecksumAlgorithm::Sha256);
        let begun = request.send().await.map_err(|e| Fault::of(&e))?;
        let id = begun.upload_id.ok_or_else(|| Fault::Uncertain("an upload without a name".to_owned()))?;
        let answer = match self.parts(upload, &id).await {
            Ok(parts) => self.complete(upload, &id, parts).await,
            Err(fault) => Err(fault),
        };
        if answer.is_err() {
            // What cannot be aborted now is left to the lifecycle of the bucket.
            let abort = self.clients.get().abort_multipart_upload().bucket(&self.bucket).key(upload.key);
            if let Err(e) = abort.upload_id(&id).send().await {
                let e = Fault::of(&e).words();
                tracing::debug!(key = upload.key, error = %e, "an unfinished upload could not be aborted");
            }
        }
        answer
    }

    async fn parts(&self, upload: &Upload<'_>, id: &str) -> Result<Vec<CompletedPart>, Fault> {
        let size = upload.stored.size;
        let length = part_size(size, self.clients.part());
        let (mut parts, mut at, mut hash) = (Vec::new(), 0, Sha256::new());
        for number in 1.. {
            if at == size {
                break;
            }
            let bytes = upload.source.piece(self, at, length.min(size - at)).await?;
            at += bytes.len() as u64;
            hash.update(&bytes);
            let checksum = base64(&Sha256::digest(&bytes));
            let request = self.clients.get().upload_part().bucket(&self.bucket).key(upload.key).upload_id(id);
            let request =
                request.part_number(number).checksum_sha256(&checksum).body(ByteStream::from(bytes));
            let bulk = self.clients.transfer(length);
            let part = request.customize().config_override(bulk).send().await.map_err(|e| Fault::of(&e))?;
            let part = CompletedPart::builder().part_number(number).set_e_tag(part.e_tag);
            parts.push(part.checksum_sha256(checksum).build());
        }
        if crate::dir::digest::hex(&hash.finalize()) == upload.stored.sha256 {
            Ok(parts)
        } else {
            Err(changed())
        }
    }

    /// The one step of an upload in parts that makes it visible. It may be repeated: once it was carried out
    /// S3 knows the upload no more, and then the object tells what came of it.
    async fn complete(&self, upload: &Upload<'_>, id: &str, parts: Vec<CompletedPart>) -> Result<(), Fault> {
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let mut tries = Tries::default();
        loop {
            let request = self.clients.get().complete_multipart_upload().bucket(&self.bucket).key(upload.key);
            let request = request
                .upload_id(id)
                .set_if_none_match(upload.condition.if_none_match())
                .set_if_match(upload.condition.if_match())
                .multipart_upload(parts.clone());
            let once = self.clients.transfer_once(upload.stored.size);
            match request.customize().config_override(once).send().await.map_err(|e| Fault::of(&e)) {
                Ok(_) => return Ok(()),
                Err(Fault::Uncertain(_)) if tries.another().await => {}
                Err(Fault::NoUpload) if tries.0 > 0 => return Err(Fault::Precondition),
                Err(fault) => return Err(fault),
            }
        }
    }
}

/// The content is not what was measured before.
pub(super) fn changed() -> Fault {
    Fault::Refused("it changed while it was being stored".to_owned())
}

/// By the ending of the key: what a person who opens the object in a console sees.
fn content_type(key: &str) -> &'static str {
    match key.rsplit_once('.').map(|(_, ending)| ending) {
        Some("json") => "application/json",
        Some("log" | "txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
