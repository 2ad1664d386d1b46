//! `rollback`: makes the generation before current again.

use super::{load, warnings};
use crate::ctx::Ctx;
use crate::daemon::Daemon;
use crate::error::Error;
use crate::realize;
use crate::store::places::lock_file;
use proto::method::{Rollback, RollbackAnswer};
use std::sync::Arc;

pub(super) async fn rollback(daemon: &Daemon, ctx: &Ctx, params: Rollback) -> Result<RollbackAnswer, Error> {
    let (loaded, home) = load(daemon, &params.target)?;
    let _work = daemon.ladder.work_on(&params.target);
    let mut warnings = warnings(&loaded);
    let spec = Arc::new(loaded.spec);
    let done = realize::rollback(ctx, &daemon.sources, Arc::clone(&spec), home.clone()).await?;
    warnings.extend(done.warnings);
    Ok(RollbackAnswer {
        version_id: spec.version_id.clone(),
        home: home.root.display().to_string(),
        generation: done.generation,
        previous: done.previous,
        forward: done.forward,
        lock_path: lock_file(&daemon.config, &spec.version_id).display().to_string(),
        changes: done.changes,
        warnings,
        instance: daemon.supervisor.find(&home.root),
    })
}
