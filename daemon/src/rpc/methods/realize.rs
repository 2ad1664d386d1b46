//! `realize`: makes a version's home complete.

use super::{elapsed_ms, load, request, warnings};
use crate::ctx::Ctx;
use crate::daemon::Daemon;
use crate::error::Error;
use crate::realize::Request;
use crate::resolve::Mode;
use proto::method::{Realize, RealizeAnswer, RealizeOutcome};
use std::time::Instant;

pub(super) async fn realize(daemon: &Daemon, ctx: &Ctx, params: Realize) -> Result<RealizeAnswer, Error> {
    let started = Instant::now();
    let (loaded, home) = load(daemon, &params.target)?;
    let _work = daemon.ladder.work_on(&params.target);
    let Realize { update, offline, no_install_scripts, background, .. } = params;
    let mode = Mode { update, offline, no_install_scripts };
    let wanted = Request { background, ..request(daemon, &loaded, home, mode) };
    if !background {
        daemon.prefetch.note(&loaded.spec.version_id, &params.target);
    }
    let mut answer = RealizeAnswer {
        version_id: loaded.spec.version_id.clone(),
        outcome: RealizeOutcome::Detached,
        home: wanted.home.root.display().to_string(),
        generation: String::new(),
        missing: Vec::new(),
        skipped_install_scripts: Vec::new(),
        warnings: warnings(&loaded),
        elapsed_ms: 0,
    };
    if params.detach {
        daemon.jobs.realize_detached(wanted);
        return Ok(answer);
    }
    let done = daemon.jobs.realize(ctx, wanted).await?;
    answer.outcome = done.outcome;
    answer.generation.clone_from(&done.layout.generation);
    answer.missing.clone_from(&done.missing);
    answer.skipped_install_scripts.clone_from(&done.skipped_install_scripts);
    answer.warnings.extend(done.warnings.iter().cloned());
    answer.elapsed_ms = elapsed_ms(started);
    Ok(answer)
}
