//! Successful answers: compact JSON that ends with a newline, so that a shell prompt stands below it.

use crate::problem::Problem;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use sha2::{Digest, Sha256};

/// `value` as a JSON answer. `?pretty` is seen to by [`crate::edge`].
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Result<Response, Problem> {
    let mut text = Vec::with_capacity(1024);
    serde_json::to_writer(&mut text, value)
        .map_err(|e| Problem::Internal(format!("an answer could not be written as JSON: {e}")))?;
    text.push(b'\n');
    Ok((status, [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], text).into_response())
}

/// Lowercase hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)].into());
        text.push(DIGITS[usize::from(byte & 15)].into());
    }
    text
}

/// The entity tag of a raw `desired`: what `If-Match` guards. 64 bits are enough to notice an edit, and the
/// write itself compares the whole text.
pub(crate) fn etag(desired: &str) -> String {
    format!("\"{}\"", hex(&Sha256::digest(desired)[..8]))
}
