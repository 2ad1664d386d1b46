//! `prefetch`: gets ready for what is likely to be asked for.

use crate::ctx::Ctx;
use crate::daemon::Daemon;
use crate::error::Error;
use proto::method::{Prefetch, PrefetchAnswer};

pub(super) async fn prefetch(daemon: &Daemon, ctx: &Ctx, params: Prefetch) -> Result<PrefetchAnswer, Error> {
    if params.plan {
        let plan = daemon.prefetch.plan(&params.targets).await?;
        return Ok(PrefetchAnswer { plan, done: Vec::new() });
    }
    daemon.prefetch.pass(ctx, &params.targets).await
}
