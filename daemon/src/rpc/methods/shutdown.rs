//! `shutdown`: stops the daemon in order.

use crate::daemon::Daemon;
use proto::method::{Shutdown, ShutdownAnswer};

pub(super) fn shutdown(daemon: &Daemon, _params: &Shutdown) -> ShutdownAnswer {
    tracing::info!("asked to shut down");
    daemon.stop.cancel();
    ShutdownAnswer { pid: std::process::id() }
}
