//! `up`: API and reconciler in one process, until Ctrl-C or SIGTERM.

use super::VerbError;
use crate::client::Client;
use crate::exit::Exit;
use crate::node::{self, Node, NodeError};
use crate::output::say;
use crate::settings::{self, reachable};
use backends::settings::Layers;
use backends::stores::Stores;
use reconciler::assembly::Places;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// The end must come within two seconds of the signal; what is left then is safe to abandon.
const LAST_WORK: Duration = Duration::from_millis(1800);

pub(super) fn up(layers: &Layers) -> Result<Exit, VerbError> {
    let settings = settings::settings(layers)?;
    node::log(&settings, layers, false);
    let runtime = node::runtime()?;
    let ended = runtime.block_on(async {
        // The port first: a second `up` by mistake then opens nothing.
        let listener = listen(settings.listen).await?;
        serve(listener, Node::open(&settings, layers).await?).await
    });
    runtime.shutdown_background();
    ended
}

async fn serve(listener: TcpListener, node: Node) -> Result<Exit, VerbError> {
    let address = listener.local_addr()?;
    // Before anything runs that a signal should end in good order.
    let signal = node::interruption()?;
    let role = role(&node).await;
    let banner = banner(address, &node.places, &node.stores);
    let (stop, stopped) = watch::channel(false);
    let asked = |mut stopped: watch::Receiver<bool>| async move {
        // A sender that is dropped asks as well.
        let _ = stopped.wait_for(|stop| *stop).await;
    };
    let (app, mut reconciler) = node.start(asked(stopped.clone()));
    let mut server = tokio::spawn(api::serve(listener, app, asked(stopped)));
    say(&banner);
    role.iter().for_each(|role| say(role));
    let what = tokio::select! {
        _ = signal => None,
        // A half that ended by itself must not leave the other one looking healthy.
        ended = &mut reconciler => Some(("the reconciler", ended)),
        ended = &mut server => Some(("the API", ended)),
    };
    if let Some((what, ended)) = what {
        return Err(VerbError::Ended(what, ended.err().map_or_else(String::new, |e| e.to_string())));
    }
    let again = node::interruption()?;
    stop.send_replace(true);
    say("ending; workers live on and are taken over at the next start (Ctrl-C again: at once)");
    tokio::select! {
        _ = async { tokio::join!(server, reconciler) } => {}
        () = tokio::time::sleep(LAST_WORK) => tracing::warn!("work that did not end in time is left"),
        _ = again => {}
    }
    Ok(Exit::Done)
}

/// Takes the lease if it is free; says who has it otherwise. Where neither can be known now, because somebody
/// writes in the database, the reconciler asks again every second, and says so.
async fn role(node: &Node) -> Option<String> {
    let view = match node.lease.acquire(&node.holder).await {
        Ok(None) => node.lease.view().await.ok()?,
        Ok(Some(_)) | Err(_) => return None,
    };
    let who = view.map_or_else(|| "another orchestrator".to_owned(), |view| view.holder);
    Some(format!("{who} works on these records: serving the API, and standing by to take over\n"))
}

/// How long an address may be in use by nobody who answers. When an orchestrator is killed while it starts a
/// worker, the worker-to-be still has its listener, until its `exec` closes it.
const LISTENER_LEFT: Duration = Duration::from_secs(2);
/// The pause between two tries.
const LISTEN_AGAIN: Duration = Duration::from_millis(10);

async fn listen(address: SocketAddr) -> Result<TcpListener, NodeError> {
    let since = Instant::now();
    let mut ours = None;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                return Err(NodeError::Listen { address, error });
            }
            Err(_) => {}
        }
        let ours = *ours.get_or_insert_with(|| is_ours(address));
        if ours || since.elapsed() >= LISTENER_LEFT {
            return Err(NodeError::AddressInUse { address, ours });
        }
        tokio::time::sleep(LISTEN_AGAIN).await;
    }
}

/// Whether an agent-runner answers at an address.
fn is_ours(address: SocketAddr) -> bool {
    Client::http(&format!("http://{}", reachable(address))).is_ok_and(|client| client.is_there())
}

fn banner(address: SocketAddr, places: &Places, stores: &Stores) -> String {
    let url = format!("http://{}", reachable(address));
    let job_types =
        places.job_types.as_ref().map_or("the built-in echo only".into(), |f| f.display().to_string());
    // As it was typed: after `cargo run` it is not on the PATH.
    let program = std::env::args().next().unwrap_or_else(|| "agent-runner".to_owned());
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
         \x20 {program}{option} run echo --payload '{{\"message\":\"Hello, World!\"}}'\n\
         \x20 {program}{option} get\n\
         Ctrl-C ends this; running workers live on.\n",
        version = env!("CARGO_PKG_VERSION"),
        records = node::shown(&stores.records_at),
        artifacts = node::shown(&stores.artifacts_at),
        tasks = places.tasks.display(),
    )
}
