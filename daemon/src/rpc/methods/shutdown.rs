//! `shutdown`: stops the daemon in order.

use crate::daemon::Daemon;
use crate::error::Error;
use proto::method::{Shutdown, ShutdownAnswer};

pub(super) fn shutdown(daemon: &Daemon, _params: &Shutdown) -> Result<ShutdownAnswer, Error> {
    tracing::info!("asked to shut down");
    daemon.stop.cancel();
    Ok(ShutdownAnswer { pid: std::process::id() })
}
