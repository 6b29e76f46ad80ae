//! A log as it is now: the stored one if the attempt has ended, else the pieces that its worker has shipped.

use super::attempts::{load, told};
use crate::Shared;
use crate::problem::Problem;
use axum::body::Bytes;
use backends::{Artifacts, ArtifactsError};
use contract::live_log::{self, LogPiece};
use contract::{Attempt, JobId, LaunchToken, Timestamp};
use futures_util::stream::{self, Stream};
use std::sync::Arc;
use std::time::Duration;

/// How often a follower looks for more. Workers ship every two seconds where nobody changed it.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// The most bytes handed to a client at once.
const AT_ONCE: u64 = 256 * 1024;

/// The log of one attempt.
#[derive(Debug, Clone)]
pub(super) struct Log {
    pub(super) job_id: JobId,
    pub(super) number: u32,
    pub(super) token: LaunchToken,
    /// `stdout.log` or `stderr.log`.
    pub(super) file: &'static str,
}

/// The pieces of a live log with their sizes, in order and without gaps.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    all: Vec<(LogPiece, String, u64)>,
}

impl Log {
    fn folder(&self) -> String {
        Attempt::folder(&self.job_id, self.number, &self.token)
    }

    /// The key of the stored log.
    pub(super) fn key(&self) -> String {
        format!("{}/{}", self.folder(), self.file)
    }

    /// What was shipped.
    pub(super) async fn pieces(&self, artifacts: &dyn Artifacts) -> Result<Pieces, ArtifactsError> {
        let listed = artifacts.list(&live_log::folder(&self.folder(), self.file)).await?;
        let mut pieces = Pieces::default();
        for (key, size) in listed {
            // A piece that was stored without its worker learning of it is followed by one that starts at the
            // same place and holds it too.
            let Some(piece) = LogPiece::of_key(&key) else { continue };
            if let Some((last, ..)) = pieces.all.last()
                && last.offset == piece.offset
            {
                pieces.all.pop();
            }
            if piece.offset != pieces.end() {
                break;
            }
            pieces.all.push((piece, key, size));
        }
        Ok(pieces)
    }

    /// Where what was written after `since` begins, as far as the times of the pieces tell; `size` is that of the
    /// stored log, if there is one.
    pub(super) fn since(
        &self,
        pieces: &Pieces,
        size: Option<u64>,
        since: Timestamp,
        ended: Option<Timestamp>,
    ) -> u64 {
        let first = pieces.all.iter().find(|(piece, ..)| piece.shipped_at > since);
        let rest =
            || if ended.is_some_and(|at| at <= since) { size.unwrap_or(pieces.end()) } else { pieces.end() };
        first.map_or_else(rest, |(piece, ..)| piece.offset)
    }
}

impl Pieces {
    /// How far the pieces go.
    pub(super) fn end(&self) -> u64 {
        self.all.last().map_or(0, |(piece, _, size)| piece.offset + size)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The bytes from `from` on, at most [`AT_ONCE`] of them. Empty at the end.
    async fn read(&self, artifacts: &dyn Artifacts, from: u64) -> Result<Vec<u8>, ArtifactsError> {
        let holds =
            |(piece, _, size): &&(LogPiece, String, u64)| piece.offset <= from && from < piece.offset + size;
        let Some((piece, key, size)) = self.all.iter().find(holds) else { return Ok(Vec::new()) };
        let start = from - piece.offset;
        let range = start..(start + AT_ONCE).min(*size);
        Ok(artifacts.get(key, Some(range)).await?.unwrap_or_default())
    }

    /// All bytes from `from` on. A log is at most 10 MiB.
    pub(super) async fn read_all(
        &self,
        artifacts: &dyn Artifacts,
        from: u64,
    ) -> Result<Vec<u8>, ArtifactsError> {
        let mut all = Vec::new();
        loop {
            let bytes = self.read(artifacts, from + all.len() as u64).await?;
            if bytes.is_empty() {
                return Ok(all);
            }
            all.extend(bytes);
        }
    }
}

/// Where the last `lines` lines of `text` begin. A newline at the very end ends the last line and starts none.
pub(super) fn tail(text: &[u8], lines: u32) -> usize {
    let body = text.strip_suffix(b"\n").unwrap_or(text);
    let newlines = body.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n');
    match usize::try_from(lines) {
        Ok(0) => text.len(),
        Ok(lines) => newlines.skip(lines - 1).map(|(at, _)| at + 1).next().unwrap_or(0),
        Err(_) => 0,
    }
}

/// Where a follower stands.
struct Follower {
    shared: Arc<Shared>,
    log: Log,
    from: u64,
}

/// The log from `from` on, until its attempt has ended and all of it was sent.
pub(super) fn follow(shared: Arc<Shared>, log: Log, from: u64) -> impl Stream<Item = Result<Bytes, Problem>> {
    let follower = Follower { shared, log, from };
    stream::try_unfold(follower, |mut follower| async move {
        loop {
            // Asked before the stored log is looked for, so that none is missed that is stored in between.
            let over = follower.is_over().await?;
            let news = follower.news().await?;
            if !news.is_empty() {
                follower.from += news.len() as u64;
                return Ok(Some((Bytes::from(news), follower)));
            }
            if over {
                return Ok(None);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    })
}

impl Follower {
    async fn news(&self) -> Result<Vec<u8>, Problem> {
        let artifacts = self.shared.app.artifacts.as_ref();
        let key = self.log.key();
        if let Some(size) = artifacts.size(&key).await? {
            let range = self.from..(self.from + AT_ONCE).min(size);
            let empty = range.is_empty();
            return Ok(if empty {
                Vec::new()
            } else {
                artifacts.get(&key, Some(range)).await?.unwrap_or_default()
            });
        }
        Ok(self.log.pieces(artifacts).await?.read(artifacts, self.from).await?)
    }

    /// Whether nothing will be added any more: the attempt is closed, or its worker has reported its end, which
    /// it does after it has stored the log.
    async fn is_over(&self) -> Result<bool, Problem> {
        let loaded = match load(&self.shared, &self.log.job_id).await {
            Err(Problem::NoJob(_)) => return Ok(true),
            loaded => loaded?,
        };
        let attempts = told(&loaded);
        let attempt = attempts.iter().find(|attempt| *attempt.token == self.log.token);
        Ok(attempt.is_none_or(|attempt| {
            let reported = attempt.report.as_ref().is_some_and(|report| report.outcome.is_some());
            attempt.closing.is_some() || reported
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_begin_after_the_newline_before_them() {
        for (text, lines, expected) in [
            ("a\nb\nc\n", 1, "c\n"),
            ("a\nb\nc", 1, "c"),
            ("a\nb\nc\n", 2, "b\nc\n"),
            ("a\nb\nc\n", 3, "a\nb\nc\n"),
            ("a\nb\nc\n", 9, "a\nb\nc\n"),
            ("a\n\n", 1, "\n"),
            ("a\nb", 0, ""),
            ("", 5, ""),
        ] {
            assert_eq!(&text[tail(text.as_bytes(), lines)..], expected, "{lines} of {text:?}");
        }
    }
}
