//! `stop`: stops a version's ComfyUI.

use crate::daemon::Daemon;
use crate::error::Error;
use crate::rpc::methods::load;
use proto::method::{Stop, StopAnswer};

pub(super) async fn stop(daemon: &Daemon, params: &Stop) -> Result<StopAnswer, Error> {
    let (_, home) = load(daemon, &params.target)?;
    Ok(StopAnswer { stopped: daemon.supervisor.stop(&home.root).await })
}
