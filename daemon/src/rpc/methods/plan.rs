//! `plan`: what `realize` would do.

use super::{load, request, warnings};
use crate::ctx::Ctx;
use crate::daemon::Daemon;
use crate::error::Error;
use crate::realize::dry_run;
use crate::resolve::Mode;
use proto::Plan;
use proto::method::GetPlan;

pub(super) async fn plan(daemon: &Daemon, ctx: &Ctx, params: GetPlan) -> Result<Plan, Error> {
    let (loaded, home) = load(daemon, &params.target)?;
    let GetPlan { update, offline, no_install_scripts, .. } = params;
    let mode = Mode { update, offline, no_install_scripts };
    let mut plan = dry_run(ctx, &daemon.sources, &request(daemon, &loaded, home, mode)).await?;
    plan.warnings.splice(0..0, warnings(&loaded));
    Ok(plan)
}
