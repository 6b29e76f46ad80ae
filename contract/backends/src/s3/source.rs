//! What is stored, read in pieces, so that a large file needs no memory of its size.

use super::S3Artifacts;
use super::fault::Fault;
use super::read::Head;
use crate::artifacts::{Content, Stored};
use crate::dir::{digest, tree};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::os::fd::OwnedFd;

/// The most parts of an upload (multipart upload limits, S3 user guide).
const MOST_PARTS: u64 = 10_000;

/// Bytes per part of an upload of `size` bytes, where `least` is enough for as many parts as S3 allows.
pub(super) fn part_size(size: u64, least: u64) -> u64 {
    least.max(size.div_ceil(MOST_PARTS))
}

/// Content that can be read more than once.
pub(super) enum Source<'a> {
    /// Of this machine.
    Local(Local<'a>),
    /// An object of the same bucket.
    Object(&'a str, Head),
}

impl Source<'_> {
    /// At most `length` bytes from `from` on; fewer only at the end.
    pub(super) async fn piece(&self, s3: &S3Artifacts, from: u64, length: u64) -> Result<Vec<u8>, Fault> {
        match self {
            Self::Local(local) => local.piece(from, length).map_err(|e| Fault::Refused(e.to_string())),
            Self::Object(key, head) => s3.piece(key, head, from, length).await,
        }
    }
}

impl S3Artifacts {
    /// An object as a source, with its size and checksum. It is read once for that, and a small one is kept.
    pub(super) async fn source<'a>(&self, key: &'a str, head: Head) -> Result<(Source<'a>, Stored), Fault> {
        let part = self.clients.part();
        if head.size <= part {
            let bytes = if head.size == 0 { Vec::new() } else { self.piece(key, &head, 0, part).await? };
            let stored = digest::of_bytes(&bytes);
            return Ok((Source::Local(Local::Bytes(Cow::Owned(bytes))), stored));
        }
        let stored = Stored { size: head.size, sha256: self.hash(key, &head).await? };
        Ok((Source::Object(key, head), stored))
    }

    /// The SHA-256 of an object's content, in hex.
    pub(super) async fn hash(&self, key: &str, head: &Head) -> Result<String, Fault> {
        let mut hash = Sha256::new();
        let mut at = 0;
        while at < head.size {
            let piece = self.piece(key, head, at, self.clients.part()).await?;
            at += piece.len() as u64;
            hash.update(&piece);
        }
        Ok(digest::hex(&hash.finalize()))
    }
}

/// Content of this machine.
pub(super) enum Local<'a> {
    Bytes(Cow<'a, [u8]>),
    File(OwnedFd),
}

impl<'a> Local<'a> {
    /// Opens it. What is no regular file, a symbolic link among others, is refused.
    pub(super) fn open(content: Content<'a>) -> Result<Self, Errno> {
        Ok(match content {
            Content::Bytes(bytes) => Self::Bytes(Cow::Borrowed(bytes)),
            Content::File(path) => Self::File(tree::read_outside(path)?),
        })
    }

    /// Size and checksum, read once from the beginning.
    pub(super) fn measure(&self) -> Result<Stored, Errno> {
        match self {
            Self::Bytes(bytes) => Ok(digest::of_bytes(bytes)),
            Self::File(file) => {
                rustix::fs::seek(file, rustix::fs::SeekFrom::Start(0))?;
                digest::of(file)
            }
        }
    }

    /// At most `length` bytes from `from` on; fewer only at the end.
    pub(super) fn piece(&self, from: u64, length: u64) -> Result<Vec<u8>, Errno> {
        let length = usize::try_from(length).map_err(|_| Errno::NOMEM)?;
        match self {
            Self::Bytes(bytes) => {
                let start = usize::try_from(from).unwrap_or(usize::MAX).min(bytes.len());
                Ok(bytes[start..start.saturating_add(length).min(bytes.len())].to_vec())
            }
            Self::File(file) => {
                let mut bytes = vec![0; length];
                let mut filled = 0;
                while filled < length {
                    let at = from + filled as u64;
                    match rustix::io::retry_on_intr(|| rustix::io::pread(file, &mut bytes[filled..], at))? {
                        0 => break,
                        n => filled += n,
                    }
                }
                bytes.truncate(filled);
                Ok(bytes)
            }
        }
    }
}

/// `bytes` in base64, as S3 writes checksums (RFC 4648, section 4).
pub(super) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits =
            group.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            let digit = ALPHABET[(bits >> (18 - 6 * place)) as usize & 63];
            out.push(if place <= group.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

/// A checksum in hex, as S3 writes it. `None`: it is not hex.
pub(super) fn base64_of_hex(hex: &str) -> Option<String> {
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    hex.as_bytes().chunks(2).map(pair).collect::<Option<Vec<u8>>>().map(|bytes| base64(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_standard() {
        // RFC 4648, section 10.
        for (plain, wanted) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), wanted);
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xbf]), "+/+/");
        assert_eq!(base64_of_hex("fbFFbf").as_deref(), Some("+/+/"));
        assert_eq!(base64_of_hex("fb0"), None);
        assert_eq!(base64_of_hex("zz"), None);
    }

    #[test]
    fn an_upload_of_any_size_fits_into_the_parts_that_s3_allows() {
        let least = 8 << 20;
        assert_eq!(part_size(1, least), least);
        assert_eq!(part_size(least * MOST_PARTS, least), least);
        for size in [least * MOST_PARTS + 1, 5 << 40] {
            assert!(size.div_ceil(part_size(size, least)) <= MOST_PARTS, "{size}");
        }
    }

    #[test]
    fn pieces_end_with_the_content() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"0123456789").unwrap();
        for content in [Content::Bytes(b"0123456789"), Content::File(file.path())] {
            let source = Local::open(content).unwrap();
            assert_eq!(source.measure().unwrap().size, 10);
            assert_eq!(source.measure().unwrap(), digest::of_bytes(b"0123456789"), "measured twice");
            assert_eq!(source.piece(0, 4).unwrap(), b"0123");
            assert_eq!(source.piece(8, 4).unwrap(), b"89");
            assert_eq!(source.piece(10, 4).unwrap(), b"");
            assert_eq!(source.piece(99, 4).unwrap(), b"");
        }
    }
}
