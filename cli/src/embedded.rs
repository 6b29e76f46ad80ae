//! An orchestrator inside `run`, without a port. It takes the lease if it is free. If another process holds
//! it, that one does the work, and this one only stores the job in the same database and follows it there;
//! should the other end before the job has, this one takes over within a second.

use crate::client::Client;
use crate::exit::Exit;
use crate::node::{self, Node, NodeError};
use crate::output::say;
use backends::settings::{Layers, Settings};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How long passes may take to end; they are safe to abandon.
const LAST_PASSES: Duration = Duration::from_secs(2);

/// A running orchestrator; ends with [`Embedded::stop`]. Workers live on.
pub(crate) struct Embedded {
    runtime: Runtime,
    client: Client,
    place: String,
    shutdown: oneshot::Sender<()>,
    reconciler: JoinHandle<()>,
}

impl Embedded {
    /// Opens the stores of the settings and starts to reconcile.
    pub(crate) fn start(settings: &Settings, layers: &Layers) -> Result<Self, NodeError> {
        node::log(settings, layers, true);
        let runtime = node::runtime()?;
        let (shutdown, asked) = oneshot::channel();
        let node = runtime.block_on(Node::open(settings, layers))?;
        let guard = runtime.enter();
        let place = node::shown(&node.stores.records_at);
        let (app, reconciler) = node.start(async {
            // A sender that is dropped asks as well.
            let _ = asked.await;
        });
        let reconciler = tokio::spawn(watched(reconciler));
        let client = Client::InProcess { runtime: runtime.handle().clone(), router: api::router(app) };
        drop(guard);
        Ok(Self { runtime, client, place, shutdown, reconciler })
    }

    /// The client of the API in this process.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// The database file, for people.
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// Gives the lease back and ends.
    pub(crate) fn stop(self) {
        // The receiver is gone only if the reconciler has ended by itself.
        let _ = self.shutdown.send(());
        let ended = self.runtime.block_on(async { tokio::time::timeout(LAST_PASSES, self.reconciler).await });
        if ended.is_err() {
            tracing::warn!("the reconciler did not end in time and is left");
        }
        self.runtime.shutdown_background();
    }
}

/// Whoever follows a job would wait for ever for a reconciler that broke.
async fn watched(reconciler: JoinHandle<()>) {
    if let Err(e) = reconciler.await {
        say(&format!("error: the reconciler ended by itself: {e}"));
        std::process::exit(Exit::Failed.code().into());
    }
}
