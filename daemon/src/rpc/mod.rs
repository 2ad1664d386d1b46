//! The control socket: JSON-RPC 2.0, one object a line. The only room that knows the wire.

mod answers;
mod bounds;
mod connection;
mod leases;
mod lines;
mod listener;
mod methods;
mod peer;
mod probe;

pub use listener::{Closed, ControlSocket, Life, ListenError};
pub use probe::answers;

use crate::daemon::Daemon;
use bounds::{Bounds, Patience};
use futures_util::FutureExt as _;
use interprocess::local_socket::tokio::Stream;
use peer::{Peer, Served};
use proto::ErrorKind;
use proto::rpc::Message;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Pause after a failed accept: out of file descriptors, say. An immediate retry would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections and answers them.
pub struct RpcServer {
    daemon: Arc<Daemon>,
    /// Cancels every call.
    work: CancellationToken,
    connections: TaskTracker,
    bounds: Arc<Bounds>,
}

impl RpcServer {
    /// Returns a server that has not accepted anything yet. Cancelling `work` cancels every call. The process
    /// may have `open_files` open, which bounds the connections.
    pub fn new(daemon: Arc<Daemon>, work: CancellationToken, open_files: u64) -> Self {
        let bounds = Arc::new(Bounds::new(open_files, Patience::default()));
        Self { daemon, work, connections: TaskTracker::new(), bounds }
    }

    /// Accepts connections until `stop` is cancelled. Calls under way go on.
    pub async fn serve(&self, mut socket: ControlSocket, stop: &CancellationToken) -> Closed {
        let served = Served::new(socket.group().cloned());
        // What went wrong is told when it begins, not ten times a second.
        let (mut is_deaf, mut is_lost, mut is_full) = (false, false, false);
        loop {
            tokio::select! {
                () = stop.cancelled() => return socket.close(),
                accepted = socket.accept() => match accepted {
                    Ok(stream) => {
                        is_deaf = false;
                        let was_full = std::mem::replace(&mut is_full, !self.take(stream, &served));
                        if is_full && !was_full {
                            tracing::warn!("refusing connections: {}", self.full());
                        }
                    }
                    Err(error) => {
                        if !std::mem::replace(&mut is_deaf, true) {
                            tracing::warn!(%error, "failed to accept a connection");
                        }
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                () = socket.lost() => match socket.listen_again() {
                    Ok(waiting) => {
                        is_lost = false;
                        tracing::warn!("the socket's file was deleted or replaced; listening at its name again");
                        for stream in waiting {
                            self.take(stream, &served);
                        }
                    }
                    Err(error) if !std::mem::replace(&mut is_lost, true) => {
                        let causes = crate::error::chain(&error);
                        tracing::error!("the socket's file was deleted or replaced, and cannot be had again: {causes}");
                    }
                    Err(_) => (),
                },
            }
        }
    }

    /// Serves a client, or tells it why not. Returns false when there are too many.
    fn take(&self, stream: Stream, served: &Served) -> bool {
        let peer = Peer::of(&stream, served);
        let is_owner = peer.as_ref().is_some_and(|peer| served.owns(peer));
        if !peer.as_ref().is_some_and(|peer| served.allows(peer)) {
            tracing::warn!(?peer, "refused a connection of another user");
            turn_away(stream, &served.refusal(peer.as_ref()));
            return true;
        }
        let Some(place) = self.bounds.connection() else {
            let hint = "end clients that are not in use, then try again".to_owned();
            turn_away(stream, &peer::refusal(ErrorKind::Busy, self.full(), hint));
            return false;
        };
        let (daemon, bounds) = (Arc::clone(&self.daemon), Arc::clone(&self.bounds));
        let serving = connection::serve(daemon, bounds, (stream, is_owner), self.work.child_token());
        self.connections.spawn(async move {
            serving.await;
            drop(place);
        });
        true
    }

    fn full(&self) -> String {
        format!("the daemon serves {} connections already", self.bounds.max_connections())
    }

    /// Waits until every connection has told its last answer; the work token must have been cancelled.
    pub async fn ended(&self) {
        self.connections.close();
        self.connections.wait().await;
    }
}

/// Tells a client why its connection ends. Does not wait: a connection that is new takes a line at once.
fn turn_away(mut stream: Stream, why: &Message) {
    let line = serde_json::to_string(why).unwrap_or_default() + "\n";
    // A client that is gone already need not be told.
    drop(stream.write_all(line.as_bytes()).now_or_never());
}
