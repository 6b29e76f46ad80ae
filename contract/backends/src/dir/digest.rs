//! SHA-256 of what is stored or read.

use crate::artifacts::Stored;
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use std::os::fd::OwnedFd;

/// Bytes per read: past 64 KiB the price of the call no longer shows beside that of hashing.
const CHUNK: usize = 64 * 1024;

/// Size and checksum of `bytes`.
pub(crate) fn of_bytes(bytes: &[u8]) -> Stored {
    Stored { size: bytes.len() as u64, sha256: hex(&Sha256::digest(bytes)) }
}

/// Size and checksum of the rest of `file`.
pub(crate) fn of(file: &OwnedFd) -> Result<Stored, Errno> {
    each_chunk(file, |_| Ok(()))
}

/// Calls `take` with each piece of the rest of `file`; size and checksum of all of it.
pub(crate) fn each_chunk(
    file: &OwnedFd,
    mut take: impl FnMut(&[u8]) -> Result<(), Errno>,
) -> Result<Stored, Errno> {
    let mut hash = Sha256::new();
    let mut size = 0;
    let mut buffer = vec![0; CHUNK];
    loop {
        let n = rustix::io::retry_on_intr(|| rustix::io::read(file, &mut buffer[..]))?;
        if n == 0 {
            return Ok(Stored { size, sha256: hex(&hash.finalize()) });
        }
        take(&buffer[..n])?;
        hash.update(&buffer[..n]);
        size += n as u64;
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|b| [b >> 4, b & 15]).map(|d| char::from(DIGITS[usize::from(d)])).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_checksum_is_sha256_in_lowercase_hex() {
        // FIPS 180-2, example B.1.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(super::of_bytes(b"abc").sha256, abc);
    }
}
