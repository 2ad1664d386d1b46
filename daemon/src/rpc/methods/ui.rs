//! `ui`: starts ComfyUI for a person and leaves it running.

use crate::ctx::Ctx;
use crate::daemon::Daemon;
use crate::error::Error;
use crate::resolve::Mode;
use crate::start::{Address, Wanted};
use crate::supervise::Purpose;
use proto::method::{Ui, UiAnswer};

pub(super) async fn ui(daemon: &Daemon, ctx: &Ctx, params: Ui) -> Result<UiAnswer, Error> {
    let address = Address { port: params.port, listen: params.listen };
    let target = params.target.clone();
    let mode = Mode { update: false, offline: params.offline, no_install_scripts: params.no_install_scripts };
    let _work = daemon.ladder.work_on(&params.target);
    let wanted =
        Wanted { target: target.clone(), mode, address, purpose: Purpose::Lease, models: Vec::new() };
    let started = daemon.starter.start(ctx, wanted).await?;
    daemon.prefetch.note(&started.version_id, &target);
    Ok(UiAnswer { already_running: !started.ready.started, instance: started.ready.info })
}
