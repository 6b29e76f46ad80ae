//! The listener and its connections.
//!
//! Not `axum::serve`: that sets no timer, so a client that sends half a header would hold its connection
//! for ever, and its graceful shutdown has no end.

use crate::{App, router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// The pause after an accept that failed for lack of resources (open files), as in axum and hyper 0.14.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves the API on `listener` until `shutdown` is done, then lets running requests finish for
/// [`crate::Limits::shutdown_grace`]; long polls are answered at once with what is there. Returns when every
/// connection is closed.
pub async fn serve(listener: TcpListener, app: App, shutdown: impl Future<Output = ()>) {
    let (limits, changes) = (app.limits.clone(), app.changes.clone());
    let service = TowerToHyperService::new(router(app));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.header_timeout);

    let (closing, closed) = watch::channel(false);
    let places = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = accept(&listener, &places) => accepted,
            // Reaps ended connections; otherwise the set would grow with every one there ever was.
            Some(_) = connections.join_next() => continue,
        };
        let Some((stream, place)) = accepted else { continue };
        let connection = http.serve_connection(TokioIo::new(stream), service.clone());
        let mut closed = closed.clone();
        connections.spawn(async move {
            let _place = place;
            let mut connection = pin!(connection);
            tokio::select! {
                // A connection that broke is its client's matter.
                _ = connection.as_mut() => return,
                _ = closed.wait_for(|closed| *closed) => connection.as_mut().graceful_shutdown(),
            }
            let _ = connection.await;
        });
    }
    drop(listener);
    closing.send_replace(true);
    changes.end();
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(limits.shutdown_grace, drained).await.is_err() {
        tracing::warn!(open = connections.len(), "connections cut at the end of the shutdown grace");
    }
    connections.shutdown().await;
}

type Place = tokio::sync::OwnedSemaphorePermit;

async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> Option<(TcpStream, Place)> {
    let place = places.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => {
            // Answers are written whole; waiting for more to send only adds 40 ms.
            let _ = stream.set_nodelay(true);
            Some((stream, place))
        }
        Err(e) => {
            use std::io::ErrorKind as K;
            let of_the_client = [K::ConnectionRefused, K::ConnectionAborted, K::ConnectionReset];
            if !of_the_client.contains(&e.kind()) {
                tracing::error!(error = %e, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            None
        }
    }
}
