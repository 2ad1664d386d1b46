//! `ui`: starts ComfyUI for a person and leaves it running.

use super::{load, request};
use crate::ctx::Ctx;
use crate::daemon::Daemon;
use crate::error::Error;
use crate::resolve::Mode;
use crate::start::{Address, start};
use proto::method::{Ui, UiAnswer};

pub(super) async fn ui(daemon: &Daemon, ctx: &Ctx, params: Ui) -> Result<UiAnswer, Error> {
    let (loaded, home) = load(daemon, &params.target)?;
    let request = request(daemon, &loaded, home, Mode { update: false, offline: params.offline });
    let address = Address { port: params.port, listen: params.listen };
    let (_, ready) =
        start(ctx, &daemon.sources, &daemon.jobs, &daemon.supervisor, (request, address)).await?;
    Ok(UiAnswer { already_running: !ready.started, instance: ready.info })
}
