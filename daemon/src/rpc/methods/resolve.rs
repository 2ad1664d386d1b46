//! `resolve`: pins a version and writes its lock.

use super::{load, warnings};
use crate::ctx::Ctx;
use crate::daemon::Daemon;
use crate::error::Error;
use crate::resolve::{self as room, Mode};
use crate::store::places::lock_file;
use proto::method::{Resolve, ResolveAnswer};

pub(super) async fn resolve(daemon: &Daemon, ctx: &Ctx, params: Resolve) -> Result<ResolveAnswer, Error> {
    let (loaded, home) = load(daemon, &params.target)?;
    let _work = daemon.ladder.work_on(&params.target);
    let offline = params.offline || daemon.config.offline || loaded.spec.options.offline;
    let mode = Mode { update: params.update, offline, ..Mode::default() };
    let found = room::resolve(ctx, &daemon.sources, &loaded.spec, &home, mode).await?;
    let found = found.or_later(&loaded.spec, &home)?;
    found.save(&daemon.sources)?;
    let mut warnings = warnings(&loaded);
    warnings.extend(found.warnings);
    warnings.extend(found.missing.iter().map(|missing| format!("not cached, and offline: {missing}")));
    let changes = found.previous.as_ref().map(|old| room::changes(old, &found.lock)).unwrap_or_default();
    let path = lock_file(&daemon.config, &found.lock.version_id).display().to_string();
    Ok(ResolveAnswer { lock: found.lock, path, changes, warnings })
}
