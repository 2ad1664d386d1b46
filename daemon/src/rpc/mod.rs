//! The control socket: JSON-RPC 2.0, one object a line. The only room that knows the wire.

mod connection;
mod leases;
mod listener;
mod methods;

pub use listener::listen;

use crate::daemon::Daemon;
use interprocess::local_socket::tokio::Listener;
use interprocess::local_socket::traits::tokio::Listener as _;
use std::sync::Arc;
use std::time::Duration;
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
}

impl RpcServer {
    /// Returns a server that has not accepted anything yet. Cancelling `work` cancels every call.
    pub fn new(daemon: Arc<Daemon>, work: CancellationToken) -> Self {
        Self { daemon, work, connections: TaskTracker::new() }
    }

    /// Accepts connections until `stop` is cancelled. Calls under way go on.
    pub async fn serve(&self, listener: Listener, stop: &CancellationToken) {
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok(stream) if listener::is_trusted(&stream) => {
                    let serving =
                        connection::serve(Arc::clone(&self.daemon), stream, self.work.child_token());
                    self.connections.spawn(serving);
                }
                Ok(_) => tracing::warn!("refused a connection of another user"),
                Err(error) => {
                    tracing::warn!(%error, "failed to accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Waits until every connection has told its last answer; the work token must have been cancelled.
    pub async fn ended(&self) {
        self.connections.close();
        self.connections.wait().await;
    }
}
