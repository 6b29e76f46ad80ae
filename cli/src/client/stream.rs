//! Answers that come bit by bit: logs that are followed.

use super::{Call, Client, ClientError, PATIENCE};
use axum::body::Body;
use futures_util::StreamExt;
use std::io::Read;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;
use tower::ServiceExt;

/// Bits that may wait for their reader; then the sender does.
const WAITING: usize = 16;
/// The largest bit.
const BIT: usize = 64 * 1024;

/// What came next.
pub(crate) enum Next {
    /// Some bytes.
    Bytes(Vec<u8>),
    /// Nothing within the time.
    Nothing,
    /// The answer is complete.
    End,
}

/// An answer that is still coming.
pub(crate) struct Stream {
    /// The header `agent-runner-attempt`.
    pub(crate) attempt: Option<u32>,
    bits: Receiver<Result<Vec<u8>, String>>,
    place: String,
}

impl Stream {
    /// What comes within `patience`.
    ///
    /// # Errors
    /// [`ClientError::Lost`] when the answer breaks off.
    pub(crate) fn next(&self, patience: Duration) -> Result<Next, ClientError> {
        match self.bits.recv_timeout(patience) {
            Ok(Ok(bytes)) => Ok(Next::Bytes(bytes)),
            Ok(Err(message)) => Err(ClientError::Lost { place: self.place.clone(), message }),
            Err(RecvTimeoutError::Timeout) => Ok(Next::Nothing),
            Err(RecvTimeoutError::Disconnected) => Ok(Next::End),
        }
    }
}

impl Client {
    /// Begins to read a long answer. Only its header has a time limit; whoever reads it says how long
    /// silence may last.
    pub(crate) fn stream(&self, call: &Call) -> Result<Stream, ClientError> {
        let (sender, bits) = sync_channel(WAITING);
        let place = self.place().to_owned();
        let attempt = match self {
            Self::Http { url, agent, .. } => {
                let unsendable = |e: axum::http::Error| ClientError::Unsendable(e.to_string());
                let request = self.head(call, format!("{url}{}", call.path)).body(()).map_err(unsendable)?;
                let request = agent
                    .configure_request(request)
                    .timeout_global(None)
                    .timeout_recv_response(Some(PATIENCE))
                    .build();
                let mut answer = agent.run(request).map_err(|e| self.failure(&e))?;
                if !answer.status().is_success() {
                    let body = answer.body_mut().read_to_vec().map_err(|e| self.failure(&e))?;
                    return Err(self.refusal(answer.status().as_u16(), &body));
                }
                let attempt = attempt(answer.headers());
                let reader = answer.into_body().into_with_config().limit(u64::MAX).reader();
                std::thread::spawn(move || pass_on(reader, &sender));
                attempt
            }
            Self::InProcess { runtime, router } => {
                let request = call.head(call.path.clone()).body(Body::empty());
                let request = request.map_err(|e| ClientError::Unsendable(e.to_string()))?;
                let Ok(answer) = runtime.block_on(router.clone().oneshot(request));
                if !answer.status().is_success() {
                    let status = answer.status().as_u16();
                    let body = runtime.block_on(axum::body::to_bytes(answer.into_body(), BIT));
                    return Err(self.refusal(status, &body.unwrap_or_default()));
                }
                let attempt = attempt(answer.headers());
                let mut body = answer.into_body().into_data_stream();
                let handle = runtime.clone();
                std::thread::spawn(move || {
                    while let Some(bit) = handle.block_on(body.next()) {
                        let bit = bit.map(|bytes| bytes.to_vec()).map_err(|e| e.to_string());
                        if sender.send(bit).is_err() {
                            return;
                        }
                    }
                });
                attempt
            }
        };
        Ok(Stream { attempt, bits, place })
    }
}

fn attempt(headers: &axum::http::HeaderMap) -> Option<u32> {
    headers.get("agent-runner-attempt")?.to_str().ok()?.parse().ok()
}

/// Reads until the end, or until nobody listens any more.
fn pass_on(mut reader: impl Read, to: &SyncSender<Result<Vec<u8>, String>>) {
    let mut buffer = vec![0; BIT];
    loop {
        let bit = match reader.read(&mut buffer) {
            Ok(0) => return,
            Ok(n) => Ok(buffer[..n].to_vec()),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => Err(e.to_string()),
        };
        let failed = bit.is_err();
        if to.send(bit).is_err() || failed {
            return;
        }
    }
}
