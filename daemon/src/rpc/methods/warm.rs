//! `warm`: makes a version's ComfyUI ready and claims it for the connection.

use crate::ctx::Ctx;
use crate::daemon::Daemon;
use crate::error::Error;
use crate::resolve::Mode;
use crate::rpc::leases::Leases;
use crate::start::{Address, Wanted};
use crate::supervise::Purpose;
use proto::method::{Warm, WarmAnswer, Warmth};

pub(super) async fn warm(
    daemon: &Daemon,
    leases: &Leases,
    ctx: &Ctx,
    params: Warm,
) -> Result<WarmAnswer, Error> {
    let target = params.target.clone();
    let mode = Mode { update: false, offline: params.offline, no_install_scripts: params.no_install_scripts };
    let work = daemon.ladder.work_on(&params.target);
    let wanted = Wanted {
        target: target.clone(),
        mode,
        address: Address::default(),
        purpose: Purpose::Lease,
        models: Vec::new(),
    };
    let started = daemon.starter.warm(ctx, wanted).await?;
    daemon.prefetch.note(&started.version_id, &target);
    if started.how == Warmth::Running {
        work.changed_nothing();
    }
    let instance = started.ready.info();
    let lease = leases.take(started.held).ok_or(Error::Leases)?;
    Ok(WarmAnswer { lease, instance, how: started.how, timings: started.timings })
}
