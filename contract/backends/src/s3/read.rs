//! Reading, listing and deleting.

use super::fault::Fault;
use super::source::base64_of_hex;
use super::{S3Artifacts, Tries};
use crate::artifacts::Stored;
use crate::dir::key;
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::types::{ChecksumMode, ChecksumType, Delete, ObjectIdentifier};
use std::collections::HashMap;
use std::ops::Range;

/// Tries of a body that breaks off or stands still; fewer than of a request, since each may take as long as
/// a stall is borne.
const BODY_TRIES: u32 = 3;

/// The most memory that is taken for a body before it arrives.
const MOST_AHEAD: usize = 8 << 20;

/// What S3 says of an object.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) size: u64,
    pub(super) etag: String,
    pub(super) metadata: HashMap<String, String>,
    /// The SHA-256 of the whole content in base64, where S3 has compared it.
    checksum: Option<String>,
}

/// Whether an object holds what is wanted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Same {
    Yes,
    No,
    /// There is no object.
    Absent,
}

impl S3Artifacts {
    /// `None`: no such object.
    pub(super) async fn head(&self, key: &str) -> Result<Option<Head>, Fault> {
        let request = self.clients.get().head_object().bucket(&self.bucket).key(key);
        match request.checksum_mode(ChecksumMode::Enabled).send().await.map_err(|e| Fault::of(&e)) {
            Ok(head) => Ok(Some(Head {
                size: unsigned(head.content_length),
                etag: head.e_tag.unwrap_or_default(),
                metadata: head.metadata.unwrap_or_default(),
                checksum: head
                    .checksum_sha256
                    .filter(|_| head.checksum_type != Some(ChecksumType::Composite)),
            })),
            Err(Fault::Absent) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// Bytes of `key`, cut at its end. `None`: no such object.
    pub(super) async fn read(&self, key: &str, range: Option<Range<u64>>) -> Result<Option<Vec<u8>>, Fault> {
        if range.as_ref().is_some_and(|range| range.end <= range.start) {
            return Ok(self.head(key).await?.map(|_| Vec::new()));
        }
        match self.read_if(key, range, None).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(Fault::Absent) => Ok(None),
            // It exists, and nothing of it lies there.
            Err(Fault::Range) => Ok(Some(Vec::new())),
            Err(fault) => Err(fault),
        }
    }

    /// As [`S3Artifacts::read`], of the object with this ETag only. The SDK repeats requests; a body that
    /// breaks off is repeated here.
    async fn read_if(
        &self,
        key: &str,
        range: Option<Range<u64>>,
        etag: Option<&str>,
    ) -> Result<Vec<u8>, Fault> {
        let size = range.as_ref().map_or(u64::MAX, |range| range.end - range.start);
        // S3 counts in signed 64-bit numbers and both ends in.
        let range = range.map(|range| match i64::try_from(range.end) {
            Ok(end) => format!("bytes={}-{}", range.start, end - 1),
            Err(_) => format!("bytes={}-", range.start),
        });
        let mut tries = Tries::default();
        loop {
            let request = self.clients.get().get_object().bucket(&self.bucket).key(key);
            let request = request.set_range(range.clone()).set_if_match(etag.map(str::to_owned));
            let answer = request.customize().config_override(self.clients.transfer(size)).send().await;
            let fault = match body(answer.map_err(|e| Fault::of(&e))?).await {
                Ok(bytes) => return Ok(bytes),
                Err(fault) => fault,
            };
            if tries.0 + 1 == BODY_TRIES || !tries.another().await {
                return Err(fault);
            }
        }
    }

    /// Whether `key` holds content of this size and checksum.
    pub(super) async fn holds(&self, key: &str, wanted: &Stored) -> Result<Same, Fault> {
        let Some(head) = self.head(key).await? else { return Ok(Same::Absent) };
        if head.size != wanted.size {
            return Ok(Same::No);
        }
        let same = match &head.checksum {
            Some(found) => base64_of_hex(&wanted.sha256).as_ref() == Some(found),
            None => self.hash(key, &head).await? == wanted.sha256,
        };
        Ok(if same { Same::Yes } else { Same::No })
    }

    /// At most `length` bytes of an object from `from` on; at least one.
    pub(super) async fn piece(
        &self,
        key: &str,
        head: &Head,
        from: u64,
        length: u64,
    ) -> Result<Vec<u8>, Fault> {
        let piece = self.read_if(key, Some(from..from.saturating_add(length)), Some(&head.etag)).await?;
        if piece.is_empty() { Err(Fault::Range) } else { Ok(piece) }
    }

    pub(super) async fn list_below(&self, folder: &str) -> Result<Vec<(String, u64)>, Fault> {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = self.page(folder, after).await?;
            for object in page.contents.unwrap_or_default() {
                let Some(name) = object.key else { continue };
                // The console makes empty objects that end in a slash and calls them folders.
                if key::check(&name).is_ok() {
                    found.push((name, unsigned(object.size)));
                }
            }
            after = page.next_continuation_token;
            if after.is_none() {
                break;
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Deletes whatever lies below `folder`, a page of up to 1,000 objects at a time.
    pub(super) async fn delete_below(&self, folder: &str) -> Result<(), Fault> {
        let mut after = None;
        loop {
            let page = self.page(folder, after).await?;
            let names = page.contents.unwrap_or_default().into_iter().filter_map(|object| object.key);
            let objects: Vec<ObjectIdentifier> =
                names.filter_map(|name| ObjectIdentifier::builder().key(name).build().ok()).collect();
            if !objects.is_empty() {
                self.delete(objects).await?;
            }
            after = page.next_continuation_token;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    async fn delete(&self, objects: Vec<ObjectIdentifier>) -> Result<(), Fault> {
        let delete = Delete::builder().set_objects(Some(objects)).quiet(true).build();
        let delete = delete.map_err(|e| Fault::Refused(e.to_string()))?;
        let request = self.clients.get().delete_objects().bucket(&self.bucket).delete(delete);
        let answer = request.send().await.map_err(|e| Fault::of(&e))?;
        match answer.errors().first() {
            None => Ok(()),
            Some(error) => {
                let part = |text: Option<&str>| text.unwrap_or_default().to_owned();
                let (key, code) = (part(error.key()), part(error.code()));
                Err(Fault::Uncertain(format!("{key}: {code}: {}", part(error.message()))))
            }
        }
    }

    /// A page of up to 1,000 objects below `folder`.
    async fn page(&self, folder: &str, after: Option<String>) -> Result<ListObjectsV2Output, Fault> {
        let request = self.clients.get().list_objects_v2().bucket(&self.bucket);
        let request = request.prefix(format!("{folder}/")).set_continuation_token(after);
        request.send().await.map_err(|e| Fault::of(&e))
    }
}

fn unsigned(size: Option<i64>) -> u64 {
    size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0)
}

/// Collects a body; the time limits of the request end with its head, so only the protection against stalled
/// streams ends this.
async fn body(mut answer: GetObjectOutput) -> Result<Vec<u8>, Fault> {
    let length = usize::try_from(unsigned(answer.content_length)).unwrap_or(0);
    let mut bytes = Vec::with_capacity(length.min(MOST_AHEAD));
    while let Some(chunk) = answer.body.next().await {
        bytes.extend_from_slice(&chunk.map_err(|e| Fault::Uncertain(format!("the content broke off: {e}")))?);
    }
    Ok(bytes)
}
