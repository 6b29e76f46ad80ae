//! `up`: API and reconciler in one process, until Ctrl-C or SIGTERM.

use super::VerbError;
use crate::exit::Exit;
use crate::node::{self, Node, NodeError, Places};
use crate::output::say;
use crate::settings::reachable;
use backends::settings::Layers;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// The end must come within two seconds of the signal; what is left then is safe to abandon.
const LAST_WORK: Duration = Duration::from_millis(1800);

pub(super) fn up(layers: &Layers) -> Result<Exit, VerbError> {
    let settings = node::read_settings(layers)?;
    node::log(&settings, layers, false);
    let runtime = node::runtime()?;
    runtime.block_on(async {
        // The port first: a second `up` by mistake then opens nothing.
        let listener = listen(settings.listen).await?;
        let address = listener.local_addr()?;
        let node = Node::open(&settings, layers)?;
        let leads = node.lease.acquire(&node.holder).await.map_err(NodeError::from)?.is_some();
        let other = if leads { None } else { node.lease.view().await.map_err(NodeError::from)? };
        let places = node.places.clone();
        let (stop, stopped) = watch::channel(false);
        let ended = |mut stopped: watch::Receiver<bool>| async move {
            // A sender that is dropped asks as well.
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        let (app, reconciler) = node.start(ended(stopped.clone()));
        let server = tokio::spawn(api::serve(listener, app, ended(stopped)));
        say(&banner(address, &places));
        if !leads {
            let who = other.map_or_else(|| "another orchestrator".to_owned(), |view| view.holder);
            say(&format!("{who} works on these records: serving the API, and standing by to take over"));
        }
        node::interrupted().await?;
        stop.send_replace(true);
        say("ending; workers live on and are taken over at the next start (Ctrl-C again: at once)");
        tokio::select! {
            _ = async { tokio::join!(server, reconciler) } => {}
            () = tokio::time::sleep(LAST_WORK) => tracing::warn!("work that did not end in time is left"),
            _ = node::interrupted() => {}
        }
        Ok::<_, VerbError>(())
    })?;
    runtime.shutdown_background();
    Ok(Exit::Done)
}

async fn listen(address: SocketAddr) -> Result<TcpListener, NodeError> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => NodeError::AddressInUse { address },
        _ => NodeError::Listen { address, error },
    })
}

fn banner(address: SocketAddr, places: &Places) -> String {
    let url = format!("http://{}", reachable(address));
    let job_types =
        places.job_types.as_ref().map_or("the built-in echo only".into(), |f| f.display().to_string());
    let option = if url == "http://127.0.0.1:8000" { String::new() } else { format!(" --url {url}") };
    format!(
        "agent-runner {version} is up\n\
         \n\
         API        {url}\n\
         metrics    {url}/metrics\n\
         records    {records}\n\
         artifacts  {artifacts}\n\
         tasks      {tasks}\n\
         job types  {job_types}\n\
         \n\
         In another terminal:\n\
         \x20 agent-runner{option} run echo --payload '{{\"message\":\"Hello, World!\"}}'\n\
         \x20 agent-runner{option} get\n\
         Ctrl-C ends this; running workers live on.\n",
        version = env!("CARGO_PKG_VERSION"),
        records = places.records.display(),
        artifacts = places.artifacts.display(),
        tasks = places.tasks.display(),
    )
}
