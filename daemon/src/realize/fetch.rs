//! The rung `fetched`: what a version needs of others is here, and its home is as it was.
//!
//! Only what all versions share is written: git objects, checkouts of custom nodes, models. So the home's lock
//! is not needed, and nobody waits for this work.

use super::execute::Work;
use super::{RealizeError, models, repositories};
use crate::ctx::Ctx;
use proto::RelPath;
use proto::plan::{ModelAction, ModelStep};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Fetches what the plan wants. Cancel-safe: what is half done is gone on with by the next call.
///
/// # Errors
/// The first thing that could not be fetched.
pub(super) async fn fetch(ctx: &Ctx, mut work: Work) -> Result<(), RealizeError> {
    ctx.progress.phase("fetch");
    let ctx = ctx.child();
    // Fires on the first error, or when nobody waits any more: blocking siblings see it too.
    let _stop = ctx.cancel.clone().drop_guard();
    leave_occupied(&mut work);
    let work = Arc::new(work);
    tokio::try_join!(
        repositories::comfy_objects(&ctx, &work),
        repositories::custom_nodes(&ctx, &work),
        models::fetch(&ctx, &work),
    )?;
    Ok(())
}

/// Leaves models alone whose place holds another link's file: nobody has asked for the change yet, and a
/// version may be running with that file. The realize replaces it.
fn leave_occupied(work: &mut Work) {
    let steps = work.plan.models.iter().zip(&work.disk.models);
    let is_settled = |step: &ModelStep| matches!(step.action, ModelAction::Present | ModelAction::Skipped);
    let occupied = steps.filter(|(step, stands)| stands.is_some() && !is_settled(step));
    let occupied: BTreeSet<RelPath> = occupied.map(|(step, _)| step.target.clone()).collect();
    work.plan.models.retain(|step| {
        let from = if let ModelAction::Link { from } = &step.action { Some(from) } else { None };
        !occupied.contains(&step.target) && from.is_none_or(|from| !occupied.contains(from))
    });
}
