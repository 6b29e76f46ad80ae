//! Artifacts as answers. Content is read in pieces, so that a large file needs no memory of its size. Where the
//! store gives out URLs a large file does not pass through here at all; a small one does, because one answer is
//! quicker than two and needs no way to the store. Results and logs always do: whoever asks for them wants the text,
//! and the command line has no TLS.

use crate::Shared;
use crate::problem::Problem;
use axum::body::{Body, Bytes};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use backends::{Artifacts, ArtifactsError};
use futures_util::stream;
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// Bytes read at once.
const PIECE: u64 = 256 * 1024;

/// `key` whole, or the way to it. `None` when there is no such artifact.
pub(crate) async fn download(
    shared: &Shared,
    key: &str,
    content_type: &'static str,
) -> Result<Option<Response>, Problem> {
    let artifacts = &shared.app.artifacts;
    let Some(size) = artifacts.size(key).await? else { return Ok(None) };
    if size > PIECE
        && let Some(url) = artifacts.download_url(key, content_type).await?
        && let Ok(url) = HeaderValue::from_str(&url)
    {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
        response.headers_mut().insert(header::LOCATION, url);
        // The URL is good for some minutes only.
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        return Ok(Some(response));
    }
    artifact_of(shared, key, 0..size, content_type).await
}

/// `key` from byte `from` on; `None` when there is no such artifact.
pub(crate) async fn artifact(
    shared: &Shared,
    key: &str,
    from: u64,
    content_type: &'static str,
) -> Result<Option<Response>, Problem> {
    let Some(size) = shared.app.artifacts.size(key).await? else { return Ok(None) };
    artifact_of(shared, key, from.min(size)..size, content_type).await
}

async fn artifact_of(
    shared: &Shared,
    key: &str,
    Range { start: from, end: size }: Range<u64>,
    content_type: &'static str,
) -> Result<Option<Response>, Problem> {
    let artifacts = shared.app.artifacts.clone();
    let body = if size - from <= PIECE {
        match artifacts.get(key, Some(from..size)).await? {
            Some(bytes) => bytes.into(),
            None => return Ok(None),
        }
    } else {
        Body::from_stream(pieces(artifacts, key.to_owned(), from..size))
    };
    let mut response = Response::new(body);
    let mut set = |name: HeaderName, value: HeaderValue| response.headers_mut().insert(name, value);
    set(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    set(header::CONTENT_LENGTH, (size - from).into());
    Ok(Some(response))
}

fn pieces(
    artifacts: Arc<dyn Artifacts>,
    key: String,
    rest: Range<u64>,
) -> impl futures_util::Stream<Item = io::Result<Bytes>> {
    stream::try_unfold(rest, move |rest| {
        let (artifacts, key) = (artifacts.clone(), key.clone());
        async move {
            if rest.is_empty() {
                return Ok(None);
            }
            let end = rest.end.min(rest.start + PIECE);
            let piece = artifacts.get(&key, Some(rest.start..end)).await.map_err(io::Error::other)?;
            let piece = piece.filter(|p| !p.is_empty()).ok_or(io::ErrorKind::UnexpectedEof)?;
            let next = rest.start + piece.len() as u64..rest.end;
            Ok(Some((Bytes::from(piece), next)))
        }
    })
}

/// Where the last `lines` lines of `key` begin, found from its end. A newline at the very end ends the last
/// line and starts none.
pub(crate) async fn tail_start(
    artifacts: &dyn Artifacts,
    key: &str,
    size: u64,
    lines: u32,
) -> Result<u64, ArtifactsError> {
    let (mut end, mut missing) = (size, u64::from(lines));
    while end > 0 {
        let start = end.saturating_sub(PIECE);
        let Some(piece) = artifacts.get(key, Some(start..end)).await? else { return Ok(0) };
        for (at, byte) in piece.iter().enumerate().rev() {
            let place = start + at as u64;
            if *byte == b'\n' && place + 1 != size {
                missing = missing.saturating_sub(1);
                if missing == 0 {
                    return Ok(place + 1);
                }
            }
        }
        end = start;
    }
    Ok(0)
}
